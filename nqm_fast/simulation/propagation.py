"""The propagation of coordinates through the steps of a run, chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array
from ..kernels.contract import BackendState, padded
from .lowering import Group, timeline
from .models import initial_factors, model_or_formula, start_law
from .recorder import SavedArrays
from .task import Task


class LaunchedGroup(NamedTuple):
    """A group of settings for which a backend is computing a chunk."""

    state: BackendState
    numbers: list[int]  # of the group's settings, among those of the run
    alive: NDArray[np.bool_]  # (settings, replicas): which have not diverged before
    records: slice  # the records of the run that are in the chunk


class Propagation:
    """Takes coordinates of a run, all or a block of them, through its steps."""

    def __init__(self, task: Task, begin: int, end: int) -> None:
        self.task, self.size = task, end - begin
        self.noise = task.noise._replace(first=task.noise.first + begin)
        mean, deviation, size = start_law(task.problem, begin, end)
        w0 = task.backend.start(self.noise, mean, deviation, task.workers, size)
        self.states = [self._initial_state(group, w0, begin, end) for group in task.groups]
        self.launched: list[LaunchedGroup] = []
        self.values = np.zeros((task.records.size, *task.record_shape))
        self.diverged_at = np.full(task.record_shape[:2], -1, dtype=np.int64)
        self.done = 0  # steps
        self.started = False  # whether a chunk was collected, or a saved state restored

    def _initial_state(self, group: Group, w0: Array, begin: int, end: int) -> BackendState:
        """Hand the state of a group at step 0 to the backend; `w0` is (replicas, d)."""
        task = self.task
        model, formula = model_or_formula(
            group, task.problem, begin, end, task.layout, task.backend, task.leaps
        )
        factors = initial_factors(group)
        state = w0[None, :, None, :]
        if factors.size > 1 or factors[0, 0] != 1.0 or len(task.groups) > 1:
            state = factors[:, None, :, None] * state
        return task.backend.new_state(self.noise, model, state, task.workers, formula)

    def launch(self, end: int) -> None:
        """Let the backend begin to compute the chunk up to step `end`."""
        task = self.task
        rows = slice(self.records, int(np.searchsorted(task.records, end, side="right")))
        self.chunk_end = end
        self.timeline_seconds = 0.0
        for group, state in zip(task.groups, self.states, strict=True):
            numbers = list(group.numbers)
            alive = self.diverged_at[numbers] < 0
            if alive.any():
                begin = time.perf_counter()
                chunk = timeline(group, self.done, end, task.records[rows], task.sample_scale)
                self.timeline_seconds += time.perf_counter() - begin
                state.launch(chunk, alive, task.leaps)
                self.launched.append(LaunchedGroup(state, numbers, alive, rows))

    def collect(self) -> float:
        """Wait for the end of the chunk, and store what was measured in it.

        Returns the seconds that the chunk took, without compiling.
        """
        group_seconds = []
        for state, numbers, alive, rows in self.launched:
            (values, first), seconds = state.collect()
            self.values[rows, numbers, :, : values.shape[-1]] = values
            self.diverged_at[numbers] = np.where(alive, first, self.diverged_at[numbers])
            group_seconds.append(seconds)
        self.launched = []
        self.done = self.chunk_end
        self.started = True
        # The groups of an asynchronous backend are computed at the same time.
        together = max(group_seconds) if self.is_asynchronous else sum(group_seconds)
        return self.timeline_seconds + together

    @property
    def is_asynchronous(self) -> bool:
        """Whether the backend computes a chunk while Python goes on."""
        return self.task.backend.asynchronous

    @property
    def ended(self) -> bool:
        """Whether the last step is done, or all settings and replicas have diverged."""
        at_end = self.done == self.task.steps or bool((self.diverged_at >= 0).all())
        return self.started and at_end

    @property
    def records(self) -> int:
        """How many records are complete."""
        if self.ended:
            return self.task.records.size
        return int(np.searchsorted(self.task.records, self.done, side="right")) * self.started

    @property
    def coordinate_steps(self) -> int:
        """The number of steps done, times coordinates, settings and replicas."""
        return self.done * self.size * self.task.setting_count * self.task.replica_count

    def state_to_save(self) -> SavedArrays:
        """The arrays that `restore` needs, but for the records so far.

        Checkpoints contain them under these names, in which states have the numbers of settings: a
        run that has become longer may have other groups.
        """
        states = {
            f"state_{number}": of_setting
            for group, state in zip(self.task.groups, self.states, strict=True)
            for number, of_setting in zip(group.numbers, state.read(), strict=True)
        }
        return states | {"done": np.array(self.done), "diverged_at": self.diverged_at.copy()}

    def restore(self, saved: SavedArrays) -> None:
        """Return to the step at which the arrays of the same coordinates were saved."""
        for group, state in zip(self.task.groups, self.states, strict=True):
            state.write(np.stack([saved[f"state_{number}"] for number in group.numbers]))
        self.values[: len(saved["values"])] = saved["values"]
        self.diverged_at[:] = saved["diverged_at"]
        self.done = int(saved["done"])
        self.started = True

    def final_states(self) -> list[Array]:
        """State of every setting, (replicas, components, d); inf where it diverged."""
        by_number: dict[int, Array] = {}
        for group, state in zip(self.task.groups, self.states, strict=True):
            for number, padded_state in zip(group.numbers, state.read(), strict=True):
                final = padded_state[:, :, : self.size].copy()
                final[self.diverged_at[number] >= 0] = np.inf
                by_number[number] = final
        return [by_number[number] for number in sorted(by_number)]


def state_of_finished(task: Task, states: Sequence[Array]) -> SavedArrays:
    """The arrays that `Propagation.restore` needs after the last step, from the final states.

    The records are not among them, nor is where settings diverged. `states` has an array
    (replicas, components, d) for each setting.
    """
    saved = {}
    for number, state in enumerate(states):
        whole = np.zeros((*state.shape[:-1], padded(state.shape[-1])))
        whole[..., : state.shape[-1]] = state
        saved[f"state_{number}"] = whole
    return saved | {"done": np.array(task.steps)}
