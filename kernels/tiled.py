"""What backends for the CPU share: tiles, bursts of noise, and sums of what tiles measured.

Such a backend has loops over tiles; the methods of the contract stand on them.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .contract import (
    LEAF,
    NO_STEP,
    TILE,
    Backend,
    Chunk,
    Floats,
    Ints,
    Measured,
    Model,
    Noise,
    Timeline,
    nothing_measured,
)

QUADS = 4  # of steps in a burst of noise
SHARED_QUADS = 8  # the same, if several settings share it


class TileJob(NamedTuple):
    """What a loop over tiles is given, in the order of the kernels' arguments."""

    noise: Noise
    model: Model
    timeline: Timeline
    by: int | Ints  # length of a burst of noise, or the stops to leap to
    items: int  # tiles, of each replica or of all
    state: Floats
    alive: NDArray[np.bool_]
    partial: Floats  # (records, settings, replicas, rows, leaves), to be filled with sums
    exceeded: Ints  # (settings, replicas, tiles), to be filled with first steps of divergence


class TiledBackend(Backend):
    """A backend with loops over tiles of coordinates."""

    @abstractmethod
    def advance_tiles(self, job: TileJob, leaves: int, threads: int) -> None:
        """Take every tile of so many leaves, and every replica, through the job step by step."""

    @abstractmethod
    def leap_tiles(self, job: TileJob, leaves: int, threads: int) -> None:
        """Take every tile of so many leaves through the job from stop to stop."""

    @abstractmethod
    def add_leaves(self, partial: Floats, values: Floats) -> None:
        """Add up the leaves: (rows, leaves) to (rows,)."""

    @abstractmethod
    def make_normals(
        self, leaves: int, words: NDArray[np.uint32], begin: int, z: NDArray[np.float32]
    ) -> None:
        """Normals of a tile for four steps, into z[begin:]."""

    def normals(self, words: NDArray[np.uint32]) -> NDArray[np.float32]:
        """Four normals from each row of four words."""
        rows = -(-len(words) // LEAF)
        padded = np.zeros((rows * LEAF, 4), dtype=np.uint32)
        padded[: len(words)] = words
        z = np.empty((rows, 4, LEAF), dtype=np.float32)
        for row, block in enumerate(padded.reshape(rows, LEAF, 4)):
            self.make_normals(1, np.ascontiguousarray(block.T).ravel(), 0, z[row].ravel())
        return z.transpose(0, 2, 1).reshape(-1, 4)[: len(words)]

    def advance(self, chunk: Chunk) -> Measured:
        """Go step by step; the tiles of all replicas are spread over the threads."""
        settings, replicas, _, d = chunk.state.shape
        separate = chunk.noise.summed and bool(np.ptp(chunk.timeline.samples, axis=1).any())
        burst = -4 if separate else 4 * (SHARED_QUADS if settings > 1 else QUADS)
        items = replicas * (d // (LEAF * tile_leaves(d)))
        return self._measured(chunk, self.advance_tiles, burst, items)

    def leap(self, chunk: Chunk) -> Measured:
        """Go from stop to stop; tiles are spread over the threads, replicas share their maps."""
        d, timeline = chunk.state.shape[-1], chunk.timeline
        later = timeline.records[timeline.records > timeline.begin]
        stops = np.union1d(timeline.segment_end, later)
        items = d // (LEAF * tile_leaves(d))
        return self._measured(chunk, self.leap_tiles, stops, items)

    def _measured(self, chunk: Chunk, loop: Any, by: int | Ints, items: int) -> Measured:
        """Run a loop over tiles, and add up what they measured."""
        values, first = nothing_measured(chunk)
        leaves = tile_leaves(chunk.state.shape[-1])
        in_all = chunk.state.shape[-1] // LEAF
        partial = np.zeros((*values.shape, in_all))
        exceeded = np.full((*first.shape, in_all // leaves), -1, dtype=np.int64)
        job = TileJob(*chunk[:3], by, items, chunk.state, chunk.alive, partial, exceeded)
        loop(job, leaves, chunk.workers)
        self.add_leaves(partial.reshape(-1, in_all), values.reshape(-1))
        found = (exceeded >= 0).any(axis=2)
        first[found] = np.where(exceeded < 0, NO_STEP, exceeded).min(axis=2)[found]
        return Measured(values, first)


def tile_leaves(size: int) -> int:
    """Leaves in a tile: as many as fit the arrays."""
    return TILE // LEAF if size % TILE == 0 else 1
