"""What backends for the CPU share: tiles, bursts of noise, and what they measured, added up.

Such a backend has loops over tiles (see `Loops`); the contract's functions on top are here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .contract import LEAF, NO_STEP, TILE, Floats, Ints, Model, Noise, Timeline, empty_result

QUADS = 4  # of steps in a burst of noise
SHARED_QUADS = 8  # the same, if several settings share it


class Job(NamedTuple):
    """What a loop over tiles is given; `partial` and `exceeded` it fills."""

    noise: Noise
    model: Model
    timeline: Timeline
    by: int | Ints  # length of a burst of noise, or the stops to leap to
    items: int  # tiles, of each replica or of all
    state: Floats
    alive: NDArray[np.bool_]
    partial: Floats = np.empty(0)  # (records, settings, replicas, 1 + bands, leaves): risk
    exceeded: Ints = np.empty(0, dtype=np.int64)  # (settings, replicas, tiles): of divergence


class Loops(NamedTuple):
    """Of a backend: loops over tiles of so many leaves, on so many threads, and what tests need."""

    advance: Callable[[Job, int, int], None]
    leap: Callable[[Job, int, int], None]
    add_leaves: Callable[[Floats, Floats], Any]
    make_normals: Callable[[int, NDArray[np.uint32], int, NDArray[np.float32]], Any]


def tile_leaves(size: int) -> int:
    """Leaves in a tile: as many as fit the arrays."""
    return TILE // LEAF if size % TILE == 0 else 1


def normals(loops: Loops, words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Four normals from each row of four words."""
    rows = -(-len(words) // LEAF)
    padded = np.zeros((rows * LEAF, 4), dtype=np.uint32)
    padded[: len(words)] = words
    z = np.empty((rows, 4, LEAF), dtype=np.float32)
    for row, block in enumerate(padded.reshape(rows, LEAF, 4)):
        loops.make_normals(1, np.ascontiguousarray(block.T).ravel(), 0, z[row].ravel())
    return z.transpose(0, 2, 1).reshape(-1, 4)[: len(words)]


def _solve(
    loops: Loops, loop: Callable[[Job, int, int], None], job: Job, leaves: int, threads: int
) -> tuple[Floats, Ints]:
    """Run a loop over items, and add up what it measured."""
    risk, first = empty_result(job.model, job.timeline, job.state.shape[1])
    in_all = job.state.shape[-1] // LEAF
    partial = np.zeros((*risk.shape, in_all))
    exceeded = np.full((*first.shape, in_all // leaves), -1, dtype=np.int64)
    loop(job._replace(partial=partial, exceeded=exceeded), leaves, threads)
    loops.add_leaves(partial.reshape(-1, in_all), risk.reshape(-1))
    found = (exceeded >= 0).any(axis=2)
    first[found] = np.where(exceeded < 0, NO_STEP, exceeded).min(axis=2)[found]
    return risk, first


def advance(
    loops: Loops,
    noise: Noise,
    model: Model,
    timeline: Timeline,
    state: Floats,
    alive: NDArray[np.bool_],
    threads: int,
) -> tuple[Floats, Ints]:
    """Step by step; the tiles of all replicas are spread over the threads."""
    settings, replicas, _, d = state.shape
    leaves = tile_leaves(d)
    separate = noise.summed and bool(np.ptp(timeline.samples, axis=1).any())
    burst = -4 if separate else 4 * (SHARED_QUADS if settings > 1 else QUADS)
    items = replicas * (d // (LEAF * leaves))
    job = Job(noise, model, timeline, burst, items, state, alive)
    return _solve(loops, loops.advance, job, leaves, threads)


def leap(
    loops: Loops,
    noise: Noise,
    model: Model,
    timeline: Timeline,
    state: Floats,
    alive: NDArray[np.bool_],
    threads: int,
) -> tuple[Floats, Ints]:
    """From stop to stop; tiles are spread over the threads, replicas share their maps."""
    d = state.shape[-1]
    leaves = tile_leaves(d)
    stops = np.union1d(timeline.segment_end, timeline.records[timeline.records > timeline.begin])
    items = d // (LEAF * leaves)
    job = Job(noise, model, timeline, stops, items, state, alive)
    return _solve(loops, loops.leap, job, leaves, threads)
