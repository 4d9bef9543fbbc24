"""The loops of a Monte Carlo run: coordinates and steps in pieces, records put together."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import Array
from .control import Arrays, Control, Standing
from .kernels.contract import NEVER, TILE, Held, Noise, holder
from .problem import Problem
from .settings import Group, described, starts, timeline, whole_leaves


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
    workers: int | tuple[int, ...]  # threads, or numbers of devices

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


class Piece(NamedTuple):
    """What a group is on its way through."""

    held: Held
    numbers: list[int]  # of its settings
    alive: NDArray[np.bool_]
    records: slice


class Stretch:
    """Some coordinates of a run, on their way through its steps."""

    def __init__(self, work: Work, begin: int, end: int) -> None:
        self.work, self.size = work, end - begin
        self.noise = work.noise._replace(first=begin)
        mean, deviation = (
            whole_leaves(x[begin:end], self.size) for x in (work.problem.mean0, work.problem.var0)
        )
        w = work.backend.start(self.noise, mean, np.sqrt(deviation), work.workers)
        self.held = [self._held(group, w, begin, end) for group in work.groups]
        self.running: list[Piece] = []
        self.risk = np.zeros((work.records.size, *work.sums))
        self.diverged_at = np.full(work.sums[:2], -1, dtype=np.int64)
        self.done = 0
        self.started = False

    def _held(self, group: Group, w: Array, begin: int, end: int) -> Held:
        """All settings and replicas of a group at the start."""
        work, kind = self.work, holder(self.work.backend)
        model, formula = described(group, work.problem, begin, end, work.bands, kind.formulas)
        state = starts(group)[:, None, :, None] * w[None, :, None, :]
        return kind(work.backend, self.noise, model, state, work.workers, formula)

    def launch(self, end: int) -> None:
        """Set out for step `end`."""
        work = self.work
        rows = slice(self.records, int(np.searchsorted(work.records, end, side="right")))
        self.next = end
        self.seconds = 0.0  # for laying out the way
        for group, held in zip(work.groups, self.held, strict=True):
            numbers = list(group.numbers)
            alive = self.diverged_at[numbers] < 0
            if alive.any():
                begin = time.perf_counter()
                way = timeline(group, self.done, end, work.records[rows], work.drawn)
                self.seconds += time.perf_counter() - begin
                held.launch(way, alive, work.leaps)
                self.running.append(Piece(held, numbers, alive, rows))

    def collect(self) -> float:
        """Arrive there; the seconds that it took, but for compiling."""
        each = []
        for held, numbers, alive, rows in self.running:
            risk, first, seconds = held.collect()
            self.risk[rows, numbers] = risk
            self.diverged_at[numbers] = np.where(alive, first, self.diverged_at[numbers])
            each.append(seconds)
        self.running = []
        self.done = self.next
        self.started = True
        return self.seconds + (max(each) if self.beside else sum(each))

    @property
    def beside(self) -> bool:
        """Whether it goes on while Python does something else."""
        return holder(self.work.backend).beside

    @property
    def ended(self) -> bool:
        """Nothing is left to do."""
        done = self.done == self.work.steps or bool((self.diverged_at >= 0).all())
        return self.started and done

    @property
    def records(self) -> int:
        """Records that are complete."""
        if self.ended:
            return self.work.records.size
        return int(np.searchsorted(self.work.records, self.done, side="right")) * self.started

    @property
    def coordinate_steps(self) -> int:
        """Coordinates, settings and replicas times steps, up to here."""
        return self.done * self.size * self.work.settings * self.work.replicas

    def saved(self) -> Arrays:
        """All that `restore` needs to go on from here, but for the risk so far."""
        states = {f"state_{k}": held.read() for k, held in enumerate(self.held)}
        return states | {"done": np.array(self.done), "diverged_at": self.diverged_at.copy()}

    def restore(self, saved: Arrays) -> None:
        """Go to where a stretch of the same coordinates once was."""
        for k, held in enumerate(self.held):
            held.write(saved[f"state_{k}"])
        self.risk[: len(saved["risk"])] = saved["risk"]
        self.diverged_at[:] = saved["diverged_at"]
        self.done = int(saved["done"])
        self.started = True

    def state(self) -> list[Array]:
        """State of every setting, (replicas, components, d); inf where it diverged."""
        found: dict[int, Array] = {}
        for group, held in zip(self.work.groups, self.held, strict=True):
            for number, rows in zip(group.numbers, held.read(), strict=True):
                own = rows[:, :, : self.size].copy()
                own[self.diverged_at[number] >= 0] = np.inf
                found[number] = own
        return [found[number] for number in sorted(found)]


@dataclass
class Outcome:
    """What the loops found; `done` counts steps, or coordinates in the order of blocks."""

    risk: Array  # (records, settings, replicas, 1 + bands)
    records: int  # complete ones
    diverged_at: NDArray[np.int64]
    states: list[Array] | None
    done: int
    coordinate_steps: int
    interrupted: bool


def by_steps(work: Work, control: Control, saved: Arrays | None, keep_state: bool) -> Outcome:
    """All coordinates through a piece of the steps, then the next piece."""
    stretch = Stretch(work, 0, work.problem.dim)
    if saved is not None:
        stretch.restore(saved)

    def standing() -> Standing:
        return Standing(
            stretch.records,
            stretch.risk,
            stretch.diverged_at,
            stretch.coordinate_steps,
            control.spent,
            stretch.saved,
        )

    control.drive(stretch, standing)
    return Outcome(
        stretch.risk,
        stretch.records,
        stretch.diverged_at,
        stretch.state() if keep_state else None,
        stretch.done,
        stretch.coordinate_steps,
        not stretch.ended,
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
    most = max(holder(work.backend).block_bytes // (8 * work.components), 1)
    return max(TILE, 1 << most.bit_length() - 1)


class Totals:
    """What the blocks done so far add up to."""

    def __init__(self, work: Work) -> None:
        self.risk = PairSum()
        self.first = np.full(work.sums[:2], NEVER)
        self.size = block_size(work)
        self.done = 0  # coordinates
        self.coordinate_steps = 0

    def add(self, stretch: Stretch) -> None:
        """The next block is done."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.risk.add(stretch.risk)
        diverged_at = np.where(stretch.diverged_at < 0, NEVER, stretch.diverged_at)
        self.first = np.minimum(self.first, diverged_at)
        self.done += stretch.size
        self.coordinate_steps += stretch.coordinate_steps

    def saved(self) -> Arrays:
        """All that `restore` needs."""
        branches = {f"branch_{k}": branch for k, (_, branch) in enumerate(self.risk.branches)}
        levels = np.array([level for level, _ in self.risk.branches], dtype=np.int64)
        done = np.array([self.done, self.coordinate_steps, self.size])
        return branches | {"levels": levels, "first": self.first, "blocks": done}

    def restore(self, saved: Arrays) -> None:
        """Go to where the same run once was."""
        levels = saved["levels"].tolist()
        self.risk.branches = [(level, saved[f"branch_{k}"]) for k, level in enumerate(levels)]
        self.first = saved["first"]
        self.done, self.coordinate_steps, self.size = saved["blocks"].tolist()


def by_blocks(work: Work, control: Control, saved: Arrays | None) -> Outcome:
    """A block of coordinates through all steps, then the next: no array is as long as d.

    No record is complete before the last block is done.
    """
    dim = work.problem.dim
    totals = Totals(work)
    if saved is not None:
        totals.restore(saved)
    while totals.done < dim:
        stretch = Stretch(work, totals.done, min(totals.done + totals.size, dim))
        if saved is not None:
            stretch.restore(saved)
            saved = None

        def standing(stretch: Stretch = stretch) -> Standing:
            return Standing(
                0,
                stretch.risk,
                stretch.diverged_at,
                totals.coordinate_steps + stretch.coordinate_steps,
                control.spent,
                lambda: (
                    totals.saved() | stretch.saved() | {"risk": stretch.risk[: stretch.records]}
                ),
            )

        stopped = control.drive(stretch, standing)
        if not stretch.ended:
            break
        totals.add(stretch)
        if stopped:
            break
    ended = totals.done == dim
    return Outcome(
        totals.risk.total() if ended else np.zeros((work.records.size, *work.sums)),
        work.records.size if ended else 0,
        np.where(totals.first == NEVER, -1, totals.first),
        None,
        totals.done,
        totals.coordinate_steps + (0 if stretch.ended else stretch.coordinate_steps),
        not ended,
    )


def arranged(risk: Array, steps: NDArray[np.int64], diverged_at: NDArray[np.int64]) -> Array:
    """Risk with the axes of the public API, and inf after divergence.

    From (records, settings, replicas, bands) to (settings, replicas, records, bands).
    """
    late = (diverged_at[..., None] >= 0) & (steps >= diverged_at[..., None])
    return np.where(late[..., None], np.inf, np.moveaxis(risk, 0, 2))
