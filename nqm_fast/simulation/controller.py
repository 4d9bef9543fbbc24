"""The controller of a run: it drives the kernels from event to event.

A kernel runs to the next event. Then progress is reported, the recorder may write, and signals
are looked at.
"""

from __future__ import annotations

from collections.abc import Callable

from .async_recorder import AsyncRecorder, recording_asynchronously
from .chunking import ChunkSizer
from .propagation import Propagation
from .recorder import Recorder, RunProgress
from .signals import Signals


class Controller:
    """Drives stretches of coordinates from event to event."""

    def __init__(
        self,
        chunk_sizer: ChunkSizer,
        signals: Signals,
        recorder: Recorder,
        report: Callable[[int], None],
    ) -> None:
        self.chunk_sizer, self.signals, self.recorder, self.report = (
            chunk_sizer,
            signals,
            recorder,
            report,
        )
        self.compile, self.compute = recorder.spent
        self.compile_seconds = chunk_sizer.task.backend.compile_seconds
        self.compiled = self.compile_seconds()

    @property
    def spent(self) -> tuple[float, float]:
        """Seconds compiling and computing."""
        return self.compile, self.compute

    @property
    def stopped(self) -> bool:
        """A signal came."""
        return self.signals.number is not None

    def drive(self, propagation: Propagation, progress: Callable[[], RunProgress]) -> bool:
        """Run to the stretch's end, or until a signal came; whether one did, and the run is saved.

        Where kernels run beside Python, they are on their way to the next event while what was
        found is written, and do not wait for it.
        """
        self.compile += self._compiled()
        now = None
        with recording_asynchronously(
            self.recorder, propagation.is_asynchronous, self.signals
        ) as recorder:
            while not propagation.ended:
                self._launch(propagation, progress, recorder)
                self._collect(propagation)
                now = progress()
                if propagation.is_asynchronous and not self.stopped:
                    self._launch(propagation, progress, recorder)
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
        before, self.compiled = self.compiled, self.compile_seconds()
        return self.compiled - before

    def _launch(
        self,
        propagation: Propagation,
        progress: Callable[[], RunProgress],
        recorder: Recorder | AsyncRecorder,
    ) -> None:
        """Set out for the next event, if that was not done yet, and if there is one.

        Where memory is too full for it, what was collected before is saved.
        """
        if propagation.launched or propagation.ended:
            return
        try:
            propagation.launch(self.chunk_sizer.next_stop(propagation.done))
        except MemoryError:
            if propagation.started:
                now = progress()
                with self.signals.shield():
                    recorder.event(now)
                    recorder.stop(now)
            raise

    def _collect(self, propagation: Propagation) -> None:
        """Arrive there."""
        seconds = propagation.collect()
        self.signals.waiting = True
        self.compile += self._compiled()
        self.compute += seconds
        self.chunk_sizer.adapt(seconds)
