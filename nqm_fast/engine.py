"""The loops of a Monte Carlo run: coordinates and steps in pieces, records put together."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, ModuleType

import numpy as np
from numpy.typing import NDArray

from .checks import Array
from .kernels.contract import LEAF, TILE, Noise, padded
from .problem import Problem
from .progress import track
from .settings import Group, model, starts, timeline, whole_leaves

BLOCK_BYTES = 1 << 22  # state of a block of coordinates that goes through all steps at once
PARTIAL_BYTES = 1 << 25  # sums of leaves that a kernel may hold for the records of one call
SECONDS = 0.2  # that a call of a kernel should take: between calls, Ctrl-C is answered
FIRST_GUESS = 2e-10  # seconds for a coordinate-step of a setting, until a call was timed
BURST = 32  # a call has a multiple of so many steps, where it can


@dataclass(frozen=True)
class Work:
    """Everything that a run is determined by."""

    problem: Problem
    groups: list[Group]
    steps: int
    records: NDArray[np.int64]
    noise: Noise
    drawn: float | None  # scale of one sample, if every one is drawn
    leaps: bool
    bands: Array | None
    backend: ModuleType
    threads: int

    @property
    def settings(self) -> int:
        """How many settings."""
        return sum(len(group.numbers) for group in self.groups)

    @property
    def replicas(self) -> int:
        """How many replicas."""
        return int(self.noise.replicas.size)

    @property
    def components(self) -> int:
        """Numbers in the state of a coordinate, of all settings and replicas."""
        return self.replicas * sum(len(g.numbers) * g.components for g in self.groups)

    @property
    def sums(self) -> tuple[int, int, int]:
        """What a record holds: settings, replicas, the whole risk and that of each band."""
        return self.settings, self.replicas, 1 if self.bands is None else self.bands.size


class Stretch:
    """Some coordinates of a run, on their way through its steps."""

    def __init__(self, work: Work, begin: int, end: int) -> None:
        self.work, self.size = work, end - begin
        self.noise = work.noise._replace(first=begin)
        mean, deviation = (
            whole_leaves(x[begin:end], self.size) for x in (work.problem.mean0, work.problem.var0)
        )
        w = work.backend.start(self.noise, mean, np.sqrt(deviation), work.threads)
        self.models = [model(group, work.problem, begin, end, work.bands) for group in work.groups]
        self.states = []
        for group in work.groups:
            first = starts(group)
            self.states.append(first[:, None, :, None] * w[None, :, None, :])
        self.risk = np.zeros((work.records.size, *work.sums))
        self.diverged_at = np.full(work.sums[:2], -1, dtype=np.int64)
        self.done = 0

    def advance(self, end: int) -> None:
        """Go on to step `end`."""
        work = self.work
        low = 0 if self.done == 0 else int(np.searchsorted(work.records, self.done, side="right"))
        high = int(np.searchsorted(work.records, end, side="right"))
        move = work.backend.leap if work.leaps else work.backend.advance
        for group, described, state in zip(work.groups, self.models, self.states, strict=True):
            numbers = list(group.numbers)
            alive = self.diverged_at[numbers] < 0
            if alive.any():
                piece = timeline(group, self.done, end, work.records[low:high], work.drawn)
                risk, first = move(self.noise, described, piece, state, alive, work.threads)
                self.risk[low:high, numbers] = risk
                self.diverged_at[numbers] = np.where(alive, first, self.diverged_at[numbers])
        self.done = end

    def run(self, pace: Pace, pressed: Callable[[], bool]) -> None:
        """Go on to the end, or until `pressed`."""
        while True:
            before = time.perf_counter()
            self.advance(pace.end(self.done))
            pace.took(time.perf_counter() - before)
            if self.ended or pressed():
                return

    @property
    def ended(self) -> bool:
        """Nothing is left to do."""
        return self.done == self.work.steps or bool((self.diverged_at >= 0).all())

    def state(self) -> list[Array]:
        """State of every setting, (replicas, components, d); inf where it diverged."""
        found: dict[int, Array] = {}
        for group, state in zip(self.work.groups, self.states, strict=True):
            for number, rows in zip(group.numbers, state, strict=True):
                own = rows[:, :, : self.size].copy()
                own[self.diverged_at[number] >= 0] = np.inf
                found[number] = own
        return [found[number] for number in sorted(found)]


class Pace:
    """How far the next call of a kernel goes, so that it takes about `SECONDS`."""

    def __init__(self, work: Work, size: int) -> None:
        samples = 1.0
        if work.drawn is not None:
            zero = np.zeros(1, dtype=np.int64)
            batches = (
                s.batch_size.values(zero)[0] for group in work.groups for s in group.settings
            )
            samples = max(batches)
        each = padded(size) * work.replicas * work.settings
        self.length = int(np.clip(SECONDS / FIRST_GUESS / (each * samples), 4, 8 * BURST))
        record = 8 * math.prod(work.sums) * padded(size) // LEAF
        self.most_records = max(PARTIAL_BYTES // record, 1)
        self.work = work
        self.calls = 0

    def end(self, done: int) -> int:
        """The step to go to from `done`."""
        work = self.work
        next_record = int(np.searchsorted(work.records, done, side="right"))
        last = next_record + self.most_records - 1
        if work.leaps:  # a jump may end at records only, or it would be another jump
            last = min(last, next_record + self.length)
            return int(work.records[last]) if last < work.records.size else work.steps
        end = done + self.length
        if end >= BURST:
            end -= end % BURST
        if last < work.records.size:
            end = min(end, int(work.records[last]))
        return min(max(end, done + 1), work.steps)

    def took(self, seconds: float) -> None:
        """Adapt, but for the first call, which may have compiled."""
        self.calls += 1
        if self.calls > 1:
            change = np.clip(SECONDS / max(seconds, 1e-6), 0.25, 4.0)
            self.length = int(np.clip(self.length * change, 1, 1 << 20))


@contextmanager
def interrupts() -> Generator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed within; a second one interrupts at once.

    Only where Python's own handler is in charge, and in the main thread, which gets signals.
    """
    pressed = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    usual = signal.getsignal(signal.SIGINT)
    mine = (
        threading.current_thread() is threading.main_thread()
        and usual is signal.default_int_handler
    )
    if mine:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        if mine:
            signal.signal(signal.SIGINT, usual)


@dataclass
class Outcome:
    """What the loops found; `done` counts steps, or coordinates in the order of blocks."""

    risk: Array
    diverged_at: NDArray[np.int64]
    states: list[Array] | None
    done: int
    interrupted: bool
    seconds: float


def by_steps(work: Work, keep_state: bool) -> Outcome:
    """All coordinates through a piece of the steps, then the next piece."""
    with interrupts() as pressed:
        begin = time.perf_counter()
        stretch = Stretch(work, 0, work.problem.dim)
        pace = Pace(work, stretch.size)
        stretch.run(pace, pressed)
        seconds = time.perf_counter() - begin
    return Outcome(
        stretch.risk,
        stretch.diverged_at,
        stretch.state() if keep_state else None,
        stretch.done,
        not stretch.ended,
        seconds,
    )


class PairSum:
    """Sum of blocks in the order of a balanced tree, holding only unfinished branches."""

    def __init__(self) -> None:
        self.branches: list[tuple[int, Array]] = []

    def add(self, block: Array) -> None:
        """The next block."""
        level = 0
        while self.branches and self.branches[-1][0] == level:
            block = self.branches.pop()[1] + block
            level += 1
        self.branches.append((level, block))

    def total(self) -> Array:
        """Of the blocks so far."""
        total = self.branches[-1][1]
        for _, branch in reversed(self.branches[:-1]):
            total = branch + total
        return total


def block_size(work: Work) -> int:
    """Coordinates in a block: a power of two, so that a block is a branch of the sums."""
    most = max(BLOCK_BYTES // (8 * work.components), 1)
    return max(TILE, min(1 << 19, 1 << most.bit_length() - 1))


def by_blocks(work: Work) -> Outcome:
    """A block of coordinates through all steps, then the next: no array is as long as d."""
    size = block_size(work)
    dim = work.problem.dim
    risk = PairSum()
    never = np.iinfo(np.int64).max
    first = np.full(work.sums[:2], never)
    done = 0
    with interrupts() as pressed:
        begin = time.perf_counter()
        pace = Pace(work, size)
        for start in track(range(0, dim, size), -(-dim // size), "simulation"):
            end = min(start + size, dim)
            stretch = Stretch(work, start, end)
            stretch.run(pace, pressed)
            if not stretch.ended:
                break
            with np.errstate(over="ignore", invalid="ignore"):
                risk.add(stretch.risk)
            first = np.minimum(first, np.where(stretch.diverged_at < 0, never, stretch.diverged_at))
            done = end
            if pressed():
                break
        seconds = time.perf_counter() - begin
    diverged_at = np.where(first == never, -1, first)
    total = risk.total() if done else np.zeros((work.records.size, *work.sums))
    return Outcome(total, diverged_at, None, done, done < dim, seconds)
