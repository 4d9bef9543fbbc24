"""Coordinates on their way through the steps of a run, chunk by chunk."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels.contract import Held, holder
from ..validation import Array
from .lowering import Group, described, starts, timeline, whole_leaves
from .recorder import SavedArrays
from .task import Task


class Piece(NamedTuple):
    """What a group is on its way through."""

    held: Held
    numbers: list[int]  # of its settings
    alive: NDArray[np.bool_]
    records: slice


class Propagation:
    """Some coordinates of a run, on their way through its steps."""

    def __init__(self, task: Task, begin: int, end: int) -> None:
        self.task, self.size = task, end - begin
        self.noise = task.noise._replace(first=begin)
        mean, deviation = (
            whole_leaves(x[begin:end], self.size) for x in (task.problem.mean0, task.problem.var0)
        )
        w = task.backend.start(self.noise, mean, np.sqrt(deviation), task.workers)
        self.held = [self._held(group, w, begin, end) for group in task.groups]
        self.running: list[Piece] = []
        self.risk = np.zeros((task.records.size, *task.sums))
        self.diverged_at = np.full(task.sums[:2], -1, dtype=np.int64)
        self.done = 0
        self.started = False

    def _held(self, group: Group, w: Array, begin: int, end: int) -> Held:
        """All settings and replicas of a group at the start."""
        task, kind = self.task, holder(self.task.backend)
        model, formula = described(group, task.problem, begin, end, task.bands, kind.formulas)
        state = starts(group)[:, None, :, None] * w[None, :, None, :]
        return kind(task.backend, self.noise, model, state, task.workers, formula)

    def launch(self, end: int) -> None:
        """Set out for step `end`."""
        task = self.task
        rows = slice(self.records, int(np.searchsorted(task.records, end, side="right")))
        self.next = end
        self.seconds = 0.0  # for laying out the way
        for group, held in zip(task.groups, self.held, strict=True):
            numbers = list(group.numbers)
            alive = self.diverged_at[numbers] < 0
            if alive.any():
                begin = time.perf_counter()
                way = timeline(group, self.done, end, task.records[rows], task.drawn)
                self.seconds += time.perf_counter() - begin
                held.launch(way, alive, task.leaps)
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
        return holder(self.task.backend).beside

    @property
    def ended(self) -> bool:
        """Nothing is left to do."""
        done = self.done == self.task.steps or bool((self.diverged_at >= 0).all())
        return self.started and done

    @property
    def records(self) -> int:
        """Records that are complete."""
        if self.ended:
            return self.task.records.size
        return int(np.searchsorted(self.task.records, self.done, side="right")) * self.started

    @property
    def coordinate_steps(self) -> int:
        """Coordinates, settings and replicas times steps, up to here."""
        return self.done * self.size * self.task.settings * self.task.replicas

    def saved(self) -> SavedArrays:
        """All that `restore` needs to go on from here, but for the risk so far."""
        states = {f"state_{k}": held.read() for k, held in enumerate(self.held)}
        return states | {"done": np.array(self.done), "diverged_at": self.diverged_at.copy()}

    def restore(self, saved: SavedArrays) -> None:
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
        for group, held in zip(self.task.groups, self.held, strict=True):
            for number, rows in zip(group.numbers, held.read(), strict=True):
                own = rows[:, :, : self.size].copy()
                own[self.diverged_at[number] >= 0] = np.inf
                found[number] = own
        return [found[number] for number in sorted(found)]
