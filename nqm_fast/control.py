"""The controller of a run: how far a kernel goes at a time, and what happens in between.

A kernel runs to the next event. Then progress is reported, the recorder may write, and signals
are looked at.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .beside import Beside, writer
from .checks import Array
from .kernels.contract import LEAF, padded

if TYPE_CHECKING:
    from types import FrameType

    from .engine import Stretch, Work
    from .run import Run

PARTIAL_BYTES = 1 << 25  # sums of leaves that a kernel may hold for the records of one call
SECONDS = 0.2  # that a call of a kernel should take: between calls, Ctrl-C is answered
FIRST_GUESS = 2e-10  # seconds for a coordinate-step of a setting, until a call was timed
BURST = 32  # a call has a multiple of so many steps, where it can
LAID_OUT = 1 << 16  # steps of batch sizes that are looked at at a time

Arrays = dict[str, NDArray[Any]]


class Pace:
    """How far the next call of a kernel goes, so that it takes about `SECONDS`."""

    def __init__(self, work: Work, size: int) -> None:
        self.work = work
        settings = [setting for group in work.groups for setting in group.settings]
        self.batch_sizes = [] if work.drawn is None else [s.batch_size for s in settings]
        each = padded(size) * work.replicas * work.settings
        most = 8 * BURST * self._samples(0, 1)[0]
        self.length = min(SECONDS / FIRST_GUESS / each, most)  # in samples of a coordinate
        record = 8 * math.prod(work.sums) * padded(size) // LEAF
        self.most_records = max(PARTIAL_BYTES // record, 1)

    def _samples(self, begin: int, end: int) -> Array:
        """Variates that a step of a coordinate takes, at most, in any setting."""
        if not self.batch_sizes:
            return np.ones(end - begin)
        steps = np.arange(begin, end)
        largest: Array = np.max([b.values(steps) for b in self.batch_sizes], axis=0)
        return largest

    def _steps(self, done: int) -> int:
        """Steps from `done` on that have `length` samples."""
        if not self.batch_sizes:
            return int(self.length)
        most = min(LAID_OUT, self.work.steps - done, int(self.length) + 1)
        samples = self._samples(done, done + most)
        return int(np.searchsorted(np.cumsum(samples), self.length, side="right"))

    def end(self, done: int) -> int:
        """The step to go to from `done`."""
        work = self.work
        next_record = int(np.searchsorted(work.records, done, side="right"))
        last = next_record + self.most_records - 1
        if work.leaps:  # a jump may end at records only, or it would be another jump
            last = min(last, next_record + int(self.length))
            return int(work.records[last]) if last < work.records.size else work.steps
        end = done + self._steps(done)
        if end - done >= BURST:
            end -= end % BURST
        if last < work.records.size:
            end = min(end, int(work.records[last]))
        return min(max(end, done + 1), work.steps)

    def took(self, seconds: float) -> None:
        """Adapt."""
        change = np.clip(SECONDS / max(seconds, 1e-6), 0.25, 4.0)
        self.length = float(np.clip(self.length * change, 1.0, 2.0**40))


class Stopped(KeyboardInterrupt):
    """A signal came before a run had anything to lose, or twice."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def ending() -> list[int]:
    """Signals that ask a process to end, and after which a run with a file is saved."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


class Signals:
    """Whether a signal came that stops the run at its next event."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.waiting = False  # for an event; until the first of a run, kernels are compiled
        self._shielded = False
        self._late = False

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Remember the signal; what cannot wait, or came before, stops the run at once."""
        urgent = self.number is not None or not self.waiting
        self.number = number
        if urgent and self._shielded:
            self._late = True
        elif urgent:
            raise Stopped(number)

    @contextmanager
    def shield(self) -> Generator[None]:
        """Let files be written to their end: what would stop the run within does so after."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        if self._late and self.number is not None:
            self._late = False
            raise Stopped(self.number)


@contextmanager
def caught(numbers: Sequence[int]) -> Generator[Signals]:
    """Note signals within: those that would raise KeyboardInterrupt, or end the process.

    Only in the main thread, which gets signals; somebody else's handler is left alone.
    """
    signals = Signals()
    usual = {
        number: signal.getsignal(number)
        for number in numbers
        if threading.current_thread() is threading.main_thread()
    }
    mine = [n for n, f in usual.items() if f in (signal.default_int_handler, signal.SIG_DFL)]
    for number in mine:
        signal.signal(number, signals.note)
    try:
        yield signals
    finally:
        for number in mine:
            signal.signal(number, usual[number])


class Standing(NamedTuple):
    """Where a run is, for whoever writes it down."""

    records: int  # how many are complete
    risk: Array  # of all records, as in `engine.Outcome`
    diverged_at: NDArray[np.int64]
    coordinate_steps: int
    spent: tuple[float, float]  # seconds compiling and computing
    state: Callable[[], Arrays] | None  # what it takes to go on from here; None if it is not due


class Recorder:
    """Is told of events and may write; this one does not."""

    seconds = 0.0  # spent writing
    spent = (0.0, 0.0)  # compiling and computing, before a run was gone on with

    @property
    def is_due(self) -> bool:
        """Whether it asks for the state next."""
        return False

    def taken(self) -> Arrays | None:
        """What a run is to go on from, once."""
        return None

    def event(self, standing: Standing) -> None:
        """A kernel returned."""

    def settle(self) -> None:
        """Be done with what was told."""

    def stop(self, standing: Standing) -> None:
        """The run is stopped: the last chance to save."""

    def finish(self, run: Run) -> Run:
        """The run has ended, or is stopped; what it is to be known as."""
        return run


class Control:
    """Drives stretches of coordinates from event to event."""

    def __init__(
        self,
        pace: Pace,
        signals: Signals,
        recorder: Recorder,
        report: Callable[[int], None],
    ) -> None:
        self.pace, self.signals, self.recorder, self.report = pace, signals, recorder, report
        self.compile, self.compute = recorder.spent
        self.compiled = kernels.compile_seconds()

    @property
    def spent(self) -> tuple[float, float]:
        """Seconds compiling and computing."""
        return self.compile, self.compute

    @property
    def stopped(self) -> bool:
        """A signal came."""
        return self.signals.number is not None

    def drive(self, stretch: Stretch, standing: Callable[[], Standing]) -> bool:
        """Run to the stretch's end, or until a signal came; whether one did, and the run is saved.

        Where kernels run beside Python, they are on their way to the next event while what was
        found is written, and do not wait for it.
        """
        self.compile += self._compiled()
        now = None
        with writer(self.recorder, stretch.beside, self.signals) as recorder:
            while not stretch.ended:
                self._launch(stretch, standing, recorder)
                self._collect(stretch)
                now = standing()
                if stretch.beside and not self.stopped:
                    self._launch(stretch, standing, recorder)
                with self.signals.shield():
                    recorder.event(now)
                    stopped = self.stopped
                    if stopped:
                        recorder.stop(now)
                self.report(now.coordinate_steps)
                if stopped:
                    return True
            with self.signals.shield():
                recorder.settle()
                if now is None or not self.stopped:
                    return False
                recorder.stop(now)
        return True

    def _compiled(self) -> float:
        """Seconds spent compiling since this was last asked."""
        before, self.compiled = self.compiled, kernels.compile_seconds()
        return self.compiled - before

    def _launch(
        self, stretch: Stretch, standing: Callable[[], Standing], recorder: Recorder | Beside
    ) -> None:
        """Set out for the next event, if that was not done yet, and if there is one.

        Where memory is too full for it, what was collected before is saved.
        """
        if stretch.running or stretch.ended:
            return
        try:
            stretch.launch(self.pace.end(stretch.done))
        except MemoryError:
            if stretch.started:
                now = standing()
                with self.signals.shield():
                    recorder.event(now)
                    recorder.stop(now)
            raise

    def _collect(self, stretch: Stretch) -> None:
        """Arrive there."""
        seconds = stretch.collect()
        self.signals.waiting = True
        self.compile += self._compiled()
        self.compute += seconds
        self.pace.took(seconds)
