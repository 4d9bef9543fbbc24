"""The part that the compiled backends for the CPU share: tiles, bursts of noise, and their sums.

A backend has only to provide the loops over tiles; here the methods of the contract call them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .contract import (
    LEAF,
    NARROW,
    NO_STEP,
    TILE,
    Backend,
    BackendState,
    Chunk,
    Floats,
    Formula,
    Ints,
    Measured,
    Model,
    Noise,
    Timeline,
    nothing_measured,
    padded,
)
from .excursions import watched

QUADS = 4  # quads of steps in a burst of noise
SHARED_QUADS = 8  # quads in a burst that several settings share


class TileJob(NamedTuple):
    """The arguments of a loop over tiles, in the order of the kernels' arguments."""

    noise: Noise
    model: Model
    timeline: Timeline
    burst_or_stops: int | Ints  # see `step.step_tile`, or the steps to leap to, ascending
    turns: int  # turns of the loop: one for each tile and replica, or for each tile
    state: Floats  # as in a Chunk
    alive: NDArray[np.bool_]  # as in a Chunk
    partial: Floats  # (records, settings, replicas, rows, leaves): receives the sums of leaves
    diverged_at: Ints  # (settings, replicas, tiles): receives first steps of divergence


class TiledBackend(Backend):
    """A backend that works on tiles of coordinates, in loops that threads share."""

    untimed_steps = 1 << 16  # a step of few coordinates takes less than a microsecond
    blocks_of_formulas = 4
    compiled_components: ClassVar[float] = math.inf
    """The largest number of components that its own loops take; NumPy has those beyond."""

    def takes_formula(
        self, coordinates: int, components: int, rule: int, leaps: bool, bands: bool
    ) -> bool:
        """Whether so many curvatures may be a `Formula`: more than a leaf, that are stepped."""
        return (
            coordinates > LEAF
            and components <= self.compiled_components
            and not (rule or leaps or bands)
        )

    def new_state(
        self,
        noise: Noise,
        model: Model,
        state: Floats,
        workers: Any,
        formula: Formula | None = None,
    ) -> BackendState:
        """Return the state, with the formula in the model."""
        if formula is not None:
            model = model._replace(first=formula.first, size=formula.size)
        return super().new_state(noise, model, state, workers)

    def start(
        self, noise: Noise, mean: Floats, deviation: Floats, workers: Any, size: int | None = None
    ) -> Floats:
        """Return the initial iterates, (replicas, d)."""
        w = np.empty((noise.replicas.size, mean.size if size is None else padded(size)))
        self.start_tiles(noise, mean, deviation, w, tile_leaves(w.shape[1]))
        if size is not None:
            w[:, size:] = 0.0
        return w

    @abstractmethod
    def start_tiles(
        self, noise: Noise, mean: Floats, deviation: Floats, w: Floats, leaves: int
    ) -> None:
        """Write the initial iterates to w, (replicas, d), a tile of `leaves` leaves at a time."""

    @abstractmethod
    def advance_tiles(self, job: TileJob, leaves: int, threads: int) -> None:
        """Take every tile and replica through the job step by step; a tile has `leaves` leaves.

        It has none if there is one tile, of the first `NARROW` coordinates of a leaf.
        """

    @abstractmethod
    def leap_tiles(self, job: TileJob, leaves: int, threads: int) -> None:
        """Take every tile through the job by leaps; a tile has `leaves` leaves."""

    @abstractmethod
    def add_leaves(self, partial: Floats, values: Floats) -> None:
        """Sum `partial`, (rows, leaves), over leaves into `values`, (rows,)."""

    @abstractmethod
    def make_normals(
        self, leaves: int, words: NDArray[np.uint32], begin: int, z: NDArray[np.float32]
    ) -> None:
        """Write the normals of a tile for four steps to z[begin:]."""

    def normals(self, words: NDArray[np.uint32]) -> NDArray[np.float32]:
        """Return four normals for each row of four words, (m, 4)."""
        rows = -(-len(words) // LEAF)
        padded = np.zeros((rows * LEAF, 4), dtype=np.uint32)
        padded[: len(words)] = words
        z = np.empty((rows, 4, LEAF), dtype=np.float32)
        for row, block in enumerate(padded.reshape(rows, LEAF, 4)):
            self.make_normals(1, np.ascontiguousarray(block.T).ravel(), 0, z[row].ravel())
        return z.transpose(0, 2, 1).reshape(-1, 4)[: len(words)]

    def advance(self, chunk: Chunk) -> Measured:
        """Go through a chunk step by step; threads share the tiles of all replicas."""
        settings, replicas, _, d = chunk.state.shape
        separate = chunk.noise.summed and bool(np.ptp(chunk.timeline.samples, axis=1).any())
        burst = -4 if separate else 4 * (SHARED_QUADS if settings > 1 else QUADS)
        leaves = 0 if is_narrow(chunk) else tile_leaves(d)
        timeline = chunk.timeline if chunk.model.rule else watched(*chunk[:3], chunk.alive)
        chunk = chunk._replace(model=sorted_by_element(chunk.model), timeline=timeline)
        return self._measured(chunk, self.advance_tiles, leaves, burst, replicas)

    def leap(self, chunk: Chunk) -> Measured:
        """Go through a chunk by leaps; threads share the tiles, and replicas share the maps."""
        d, timeline = chunk.state.shape[-1], chunk.timeline
        later = timeline.records[timeline.records > timeline.begin]
        stops = np.union1d(timeline.segment_end, later)
        return self._measured(chunk, self.leap_tiles, tile_leaves(d), stops, 1)

    def _measured(
        self, chunk: Chunk, loop: Any, leaves: int, burst_or_stops: int | Ints, turns_of_tile: int
    ) -> Measured:
        """Run a loop over tiles, sum their records, and find the first steps of divergence."""
        values, first = nothing_measured(chunk)
        all_leaves = chunk.state.shape[-1] // LEAF
        tiles = all_leaves // max(leaves, 1)
        partial = np.zeros((*values.shape, all_leaves))
        diverged_at = np.full((*first.shape, tiles), -1, dtype=np.int64)
        turns = turns_of_tile * tiles
        job = TileJob(
            *chunk[:3], burst_or_stops, turns, chunk.state, chunk.alive, partial, diverged_at
        )
        loop(job, leaves, chunk.workers)
        self.add_leaves(partial.reshape(-1, all_leaves), values.reshape(-1))
        found = (diverged_at >= 0).any(axis=2)
        first[found] = np.where(diverged_at < 0, NO_STEP, diverged_at).min(axis=2)[found]
        return Measured(values, first)


def sorted_by_element(model: Model) -> Model:
    """Return the model with the entries of an element, which are added up, behind each other."""
    setting = np.repeat(np.arange(model.offsets.size - 1), np.diff(model.offsets))
    order = np.lexsort((model.entries[:, 2], model.entries[:, 1], setting))
    return model._replace(entries=model.entries[order], factors=model.factors[order])


def is_narrow(chunk: Chunk) -> bool:
    """Whether all coordinates but the first `NARROW` stand for none: they rest, and weigh nothing.

    Their states are zero, as those of padding are from the start.
    """
    model, state = chunk.model, chunk.state
    if state.shape[-1] != LEAF or model.rule:
        return False
    arrays = model.sigma, model.weight, state
    return not any(array[..., NARROW:].any() for array in arrays)


def tile_leaves(size: int) -> int:
    """Return the leaves in a tile: one, unless `size` is a multiple of `TILE`."""
    return TILE // LEAF if size % TILE == 0 else 1
