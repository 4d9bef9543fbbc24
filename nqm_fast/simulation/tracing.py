"""The tracing of coordinates: their state is seen at every record, beside the run itself.

A traced coordinate is computed once more, with the 63 others of its leaf. Noise is a function of
the coordinate and the step, and neither chunks nor other settings change bits, so these are the
numbers of the run itself, which goes on in chunks as long as before. What it costs does not depend
on the number of coordinates of the problem.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..algorithms.base import LinearAlgorithm
from ..foundation.validation import Array
from ..kernels.contract import Load, Model, Timeline
from .lowering import Group, timeline
from .models import initial_factors, model, start_law
from .observables import PATHS
from .propagation import Propagation
from .recorder import SavedArrays
from .task import Task, traced_ranges

SECONDS_PER_STEP = 5e-10
"""Time of a coordinate-step on one core, roughly."""
SECONDS_PER_CALL = 3e-4
"""Time of a call of a kernel that has little to do, roughly."""
MOST_COPIES = 16
"""Copies of a setting at most, each of which stops at another record of one call."""


def propagation_of(task: Task, begin: int, end: int) -> Propagation:
    """Make a propagation of coordinates begin .. end - 1, which traces those of them it shall."""
    return (TracingPropagation if task.traced.size else Propagation)(task, begin, end)


class TracingPropagation(Propagation):
    """A propagation that records the paths of coordinates as well."""

    def __init__(self, task: Task, begin: int, end: int) -> None:
        super().__init__(task, begin, end)
        shape = (*self.values.shape[:-1], len(PATHS), task.traced.size)
        self.paths = self.values[..., len(task.layout.rows) :].reshape(shape)
        # What is added to it by other blocks' zeros keeps its bits, also those of a zero.
        self.paths[:] = -0.0
        own = _task_of_pieces(task)
        self.pieces = [
            (Piece(own, group, first, last, first - begin), self._columns(first, last))
            for first, last in traced_ranges(task.traced, begin, end)
            for group in task.groups
        ]

    def _columns(self, first: int, last: int) -> slice:
        """Where coordinates first .. last - 1 are among all that are traced."""
        low, high = np.searchsorted(self.task.traced, [first, last]).tolist()
        return slice(low, high)

    def collect(self) -> float:
        """Trace coordinates through the chunk, then wait for its end, and store the records."""
        begin = time.perf_counter()
        first = self.records
        last = int(np.searchsorted(self.task.records, self.chunk_end, side="right"))
        for piece, columns in self.pieces:
            # The group's settings are chosen by a list, whose array is a copy.
            numbers = list(piece.group.numbers)
            paths = self.paths[first:last, numbers][..., columns]
            piece.trace(self.task.records[first:last], self.chunk_end, paths)
            self.paths[first:last, numbers, :, :, columns] = paths
        seconds = time.perf_counter() - begin
        beside = super().collect()
        return max(seconds, beside) if self.is_asynchronous else seconds + beside

    def restore(self, saved: SavedArrays) -> None:
        """Return to the step at which the arrays were saved, which have all coordinates' state."""
        super().restore(saved)
        for piece, _ in self.pieces:
            piece.restore(saved)


class Piece:
    """Neighbouring leaves with traced coordinates, under the settings of a group.

    There are copies of the settings, so that one call of a kernel gives the state at several steps:
    a copy whose weights and noise are zero from a step on keeps its state of then.
    """

    def __init__(self, task: Task, group: Group, begin: int, end: int, place: int) -> None:
        """Take coordinates begin .. end - 1 of the problem, the first of which is at `place`."""
        self.task, self.group, self.place, self.size = task, group, place, end - begin
        self.places = task.traced[(begin <= task.traced) & (task.traced < end)] - begin
        self.seconds_per_step = SECONDS_PER_STEP * task.backend.relative_time * self.size
        self.seconds_per_step *= len(group.numbers) * task.replica_count
        # Zero weights are the identity of a linear recurrence alone, and a leap has no steps.
        is_linear = all(isinstance(s.algorithm, LinearAlgorithm) for s in group.settings)
        worth = math.isqrt(int(SECONDS_PER_CALL / self.seconds_per_step))
        self.copies = min(max(worth, 1), MOST_COPIES) if is_linear and not task.leaps else 1
        noise = task.noise._replace(first=task.noise.first + begin)
        mean, deviation, size = start_law(task.problem, begin, end)
        w0 = task.backend.start(noise, mean, deviation, task.workers, size)
        factors = np.tile(initial_factors(group), (self.copies, 1))
        state = factors[:, None, :, None] * w0[None, :, None, :]
        described = model(group, task.problem, begin, end, task.layout)
        self.read_factors = described.read
        several = _copied(described, self.copies)
        self.state = task.backend.new_state(noise, several, state, task.workers)
        self.alive = np.ones(state.shape[:2], dtype=bool)[: len(group.settings)]
        self.done = self.latest = 0  # the step, and the copy whose state is of it

    def trace(self, records: NDArray[np.int64], end: int, paths: Array) -> None:
        """Go on to step `end`; write to `paths`, (records, settings, replicas, 2, traced)."""
        row = 0
        if records.size and records[0] == self.done:
            self._write(self._states()[self.latest, None], paths[:1])
            row = 1
        while row < records.size:
            stops = records[row : row + self._count(records[row:])]
            self._advance(stops)
            after = row + stops.size
            self._write(self._states()[: stops.size], paths[row:after])
            row = after
        if end > self.done:
            self._advance(np.array([end]))

    def _count(self, records: NDArray[np.int64]) -> int:
        """How many of the next records are worth a copy of the settings in one call."""
        near = records[: self.copies]
        seconds = np.arange(1, near.size + 1) * (near - self.done) * self.seconds_per_step
        return max(int(np.searchsorted(seconds, SECONDS_PER_CALL, side="right")), 1)

    def _states(self) -> Array:
        """The state by copies of the settings, (copies, settings, replicas, n, d)."""
        state = self.state.read()
        return state.reshape(self.copies, -1, *state.shape[1:])

    def _advance(self, stops: NDArray[np.int64]) -> None:
        """Go to the last of some steps; copies 0, 1, ... have the state at each of them then."""
        states = self._states().copy()
        states[: stops.size] = states[self.latest]
        self.state.write(states.reshape(-1, *states.shape[2:]))
        alive = np.zeros((self.copies, *self.alive.shape), dtype=bool)
        alive[: stops.size] = self.alive
        chunk = timeline(self.group, self.done, int(stops[-1]), _NO_RECORDS, self.task.sample_scale)
        self.state.launch(
            _until(chunk, stops, self.copies), alive.reshape(-1, alive.shape[-1]), self.task.leaps
        )
        (_, diverged_at), _ = self.state.collect()
        self.latest, self.done = stops.size - 1, int(stops[-1])
        self.alive = self.alive & (diverged_at.reshape(alive.shape)[self.latest] < 0)

    def _write(self, states: Array, paths: Array) -> None:
        """Write the paths of states (records, settings, replicas, n, d)."""
        components = np.moveaxis(states[..., self.places], 3, 0)
        factors = self.read_factors.T[:, None, :, None, None]
        with np.errstate(over="ignore", invalid="ignore"):
            evaluated = factors[0] * components[0]
            for factor, component in zip(factors[1:], components[1:], strict=True):
                evaluated = evaluated + factor * component
        paths[..., 0, :], paths[..., 1, :] = components[0], evaluated

    def restore(self, saved: SavedArrays) -> None:
        """Return to the step at which the arrays were saved, which have all coordinates' state."""
        own = slice(self.place, self.place + self.size)
        states = self._states().copy()
        self.done, self.latest = int(saved["done"]), 0
        for g, number in enumerate(self.group.numbers):
            states[0, g, ..., : self.size] = saved[f"state_{number}"][..., own]
            self.alive[g] = saved["diverged_at"][number] < 0
        self.state.write(states.reshape(-1, *states.shape[2:]))


_NO_RECORDS = np.zeros(0, dtype=np.int64)


def _copied(one: Model, copies: int) -> Model:
    """The model of so many copies of the settings, one set of them after the other."""
    if copies == 1:
        return one
    begins = np.arange(copies)[:, None] * one.factors.size + one.offsets[:-1]
    return one._replace(
        entries=np.tile(one.entries, (copies, 1)),
        offsets=np.append(begins.ravel(), copies * one.factors.size),
        factors=np.tile(one.factors, copies),
        read=np.tile(one.read, (copies, 1)),
    )


def _until(chunk: Timeline, stops: NDArray[np.int64], copies: int) -> Timeline:
    """The timeline of copies of the settings, each of which rests from another of the steps on."""
    if copies == 1:
        return chunk
    ends = np.union1d(chunk.segment_end, stops)
    segment = np.searchsorted(chunk.segment_end, ends)
    moving = np.zeros((ends.size, copies, 1))
    moving[:, : stops.size, 0] = ends[:, None] <= stops
    count = chunk.amplitude.shape[1]
    weights = chunk.weights[segment][:, None] * moving[..., None]
    amplitude = chunk.amplitude[segment][:, None] * moving
    samples = np.tile(chunk.samples[segment], copies)
    return chunk._replace(
        segment_end=ends,
        weights=weights.reshape(ends.size, copies * count, -1),
        amplitude=amplitude.reshape(ends.size, -1),
        samples=samples,
    )


def _task_of_pieces(task: Task) -> Task:
    """The task of traced coordinates; beside a GPU they are computed by the CPU, which waits."""
    alone = replace(task, layout=replace(task.layout, traced=0))
    if not task.backend.asynchronous:
        return alone
    components = tuple(sorted({group.components for group in task.groups}))
    size = sum(b - a for a, b in traced_ranges(task.traced, 0, task.problem.dim))
    seconds = size * task.replica_count * task.setting_count * task.steps * SECONDS_PER_STEP
    load = Load(
        components,
        size,
        task.replica_count,
        1,
        task.leaps,
        seconds,
        summed=task.noise.summed,
    )
    return replace(alone, backend=kernels.soonest_backend(load)[1], workers=1)
