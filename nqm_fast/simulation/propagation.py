"""Coordinates on their way through the steps of a run, chunk by chunk."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels.contract import BackendState
from ..validation import Array
from .lowering import Group, model_or_formula, starts, timeline, whole_leaves
from .recorder import SavedArrays
from .task import Task


class Launched(NamedTuple):
    """A group of settings on its way through a chunk."""

    state: BackendState
    numbers: list[int]  # of the group's settings in the run
    alive: NDArray[np.bool_]
    records: slice


class Propagation:
    """Some coordinates of a run, all or a block of them, on their way through its steps."""

    def __init__(self, task: Task, begin: int, end: int) -> None:
        self.task, self.size = task, end - begin
        self.noise = task.noise._replace(first=begin)
        mean, variance = (
            whole_leaves(x[begin:end], self.size) for x in (task.problem.mean0, task.problem.var0)
        )
        w = task.backend.start(self.noise, mean, np.sqrt(variance), task.workers)
        self.states = [self._initial_state(group, w, begin, end) for group in task.groups]
        self.launched: list[Launched] = []
        self.values = np.zeros((task.records.size, *task.record_shape))
        self.diverged_at = np.full(task.record_shape[:2], -1, dtype=np.int64)
        self.done = 0  # steps
        self.started = False

    def _initial_state(self, group: Group, w: Array, begin: int, end: int) -> BackendState:
        """All settings and replicas of a group at step 0."""
        task = self.task
        model, formula = model_or_formula(
            group, task.problem, begin, end, task.layout, task.backend
        )
        state = starts(group)[:, None, :, None] * w[None, :, None, :]
        return task.backend.new_state(self.noise, model, state, task.workers, formula)

    def launch(self, end: int) -> None:
        """Set out for step `end`."""
        task = self.task
        rows = slice(self.records, int(np.searchsorted(task.records, end, side="right")))
        self.next = end
        self.seconds = 0.0  # for laying out the timeline
        for group, state in zip(task.groups, self.states, strict=True):
            numbers = list(group.numbers)
            alive = self.diverged_at[numbers] < 0
            if alive.any():
                begin = time.perf_counter()
                chunk = timeline(group, self.done, end, task.records[rows], task.drawn)
                self.seconds += time.perf_counter() - begin
                state.launch(chunk, alive, task.leaps)
                self.launched.append(Launched(state, numbers, alive, rows))

    def collect(self) -> float:
        """Arrive at the end of the chunk; the seconds that it took, without compiling."""
        each = []
        for state, numbers, alive, rows in self.launched:
            (values, first), seconds = state.collect()
            self.values[rows, numbers] = values
            self.diverged_at[numbers] = np.where(alive, first, self.diverged_at[numbers])
            each.append(seconds)
        self.launched = []
        self.done = self.next
        self.started = True
        return self.seconds + (max(each) if self.is_asynchronous else sum(each))

    @property
    def is_asynchronous(self) -> bool:
        """Whether the chunk is computed while Python does something else."""
        return self.task.backend.asynchronous

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        done = self.done == self.task.steps or bool((self.diverged_at >= 0).all())
        return self.started and done

    @property
    def records(self) -> int:
        """How many records are complete."""
        if self.ended:
            return self.task.records.size
        return int(np.searchsorted(self.task.records, self.done, side="right")) * self.started

    @property
    def coordinate_steps(self) -> int:
        """Coordinates, settings and replicas times steps, up to here."""
        return self.done * self.size * self.task.settings * self.task.replicas

    def saved(self) -> SavedArrays:
        """All that `restore` needs to go on from here, but for the records so far."""
        states = {f"state_{k}": state.read() for k, state in enumerate(self.states)}
        return states | {"done": np.array(self.done), "diverged_at": self.diverged_at.copy()}

    def restore(self, saved: SavedArrays) -> None:
        """Go to where the same coordinates once were."""
        for k, state in enumerate(self.states):
            state.write(saved[f"state_{k}"])
        self.values[: len(saved["values"])] = saved["values"]
        self.diverged_at[:] = saved["diverged_at"]
        self.done = int(saved["done"])
        self.started = True

    def final_states(self) -> list[Array]:
        """State of every setting, (replicas, components, d); inf where it diverged."""
        found: dict[int, Array] = {}
        for group, state in zip(self.task.groups, self.states, strict=True):
            for number, rows in zip(group.numbers, state.read(), strict=True):
                own = rows[:, :, : self.size].copy()
                own[self.diverged_at[number] >= 0] = np.inf
                found[number] = own
        return [found[number] for number in sorted(found)]
