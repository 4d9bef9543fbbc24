"""The Monte Carlo contract for the CPU, compiled by Numba.

Coordinates are worked on in tiles, each run through many steps (see `numba_walk`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import noise as formulas
from .compile import kernel
from .compile import threads as with_threads
from .contract import LEAF, TILE, Floats, Ints, Model, Noise, Timeline, empty_result
from .noise import START
from .numba_leap import leap_parallel, leap_serial
from .numba_noise import draw_words, make_normals
from .numba_tile import add_leaves
from .numba_walk import advance_parallel, advance_serial

QUADS = 4  # of steps in a burst of noise
SHARED_QUADS = 8  # the same, if several settings share it


def _unit(size: int) -> tuple[int, ...]:
    """A tuple as long as tiles are in leaves: full tiles, or single leaves where they fit."""
    return (0,) * (TILE // LEAF if size % TILE == 0 else 1)


def philox4x32(counters: NDArray[np.uint32], keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Words of the generator, (m, 4), from counters (m, 4) and keys (m, 2)."""
    words = np.empty((len(counters), 4), dtype=np.uint32)
    _philox_rows(counters, keys, words)
    return words


@kernel
def _philox_rows(counters, keys, words):
    for i in range(counters.shape[0]):
        c, k = counters[i], keys[i]
        words[i] = formulas.philox(
            np.uint64(c[0]), np.uint64(c[1]), np.uint64(c[2]), np.uint64(c[3]),
            np.uint64(k[0]), np.uint64(k[1]),
        )  # fmt: skip


def normals(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Four normals from each row of four words."""
    rows = -(-len(words) // LEAF)
    padded = np.zeros((rows * LEAF, 4), dtype=np.uint32)
    padded[: len(words)] = words
    z = np.empty((rows, 4, LEAF), dtype=np.float32)
    for row, block in enumerate(padded.reshape(rows, LEAF, 4)):
        make_normals((0,), np.ascontiguousarray(block.T).ravel(), 0, z[row].ravel())
    return z.transpose(0, 2, 1).reshape(-1, 4)[: len(words)]


@kernel
def _start_serial(unit, noise, mean, deviation, w):
    T = LEAF * len(unit)
    words = np.empty(4 * T, dtype=np.uint32)
    z = np.empty(4 * T, dtype=np.float32)
    for r in range(noise.replicas.size):
        c1, c2, c3 = formulas.counter(0, noise.replicas[r], 0, START)
        for at in range(0, mean.size, T):
            draw_words(unit, noise.first + at, c1, c2, c3, noise.key[0], noise.key[1], words)
            make_normals(unit, words, 0, z)
            for j in range(T):
                w[r, at + j] = mean[at + j] + deviation[at + j] * np.float64(z[j])


def start(noise: Noise, mean: Floats, deviation: Floats, threads: int) -> Floats:
    """Initial iterates, shape (replicas, d)."""
    w = np.empty((noise.replicas.size, mean.size))
    _start_serial(_unit(mean.size), noise, mean, deviation, w)
    return w


def _solve(
    serial: Any,
    parallel: Any,
    described: tuple[Any, ...],
    items: int,
    state: Floats,
    alive: NDArray[np.bool_],
    threads: int,
    model: Model,
    timeline: Timeline,
    unit: tuple[int, ...],
) -> tuple[Floats, Ints]:
    """Run one of the two loops over items, and add up what they measured."""
    risk, first = empty_result(model, timeline, state)
    leaves = state.shape[-1] // LEAF
    partial = np.zeros((*risk.shape, leaves))
    exceeded = np.full((*first.shape, leaves // len(unit)), -1, dtype=np.int64)
    arguments = (*described, items, state, alive, partial, exceeded)
    if threads == 1 or items == 1:
        serial(*arguments)
    else:
        with with_threads(threads):
            parallel(*arguments)
    add_leaves(partial.reshape(-1, leaves), risk.reshape(-1))
    found = (exceeded >= 0).any(axis=2)
    never = np.iinfo(np.int64).max
    first[found] = np.where(exceeded < 0, never, exceeded).min(axis=2)[found]
    return risk, first


def advance(
    noise: Noise,
    model: Model,
    timeline: Timeline,
    state: Floats,
    alive: NDArray[np.bool_],
    threads: int,
    unit: tuple[int, ...] = (),
) -> tuple[Floats, Ints]:
    """Step by step; the tiles of all replicas are spread over the threads."""
    settings, replicas, n, d = state.shape
    unit = unit or _unit(d)
    separate = noise.summed and bool(np.ptp(timeline.samples, axis=1).any())
    burst = -4 if separate else 4 * (SHARED_QUADS if settings > 1 else QUADS)
    described = ((0.0,) * n, unit, noise, model, timeline, burst)
    items = replicas * (d // (LEAF * len(unit)))
    loops = advance_serial, advance_parallel
    return _solve(*loops, described, items, state, alive, threads, model, timeline, unit)


def leap(
    noise: Noise,
    model: Model,
    timeline: Timeline,
    state: Floats,
    alive: NDArray[np.bool_],
    threads: int,
    unit: tuple[int, ...] = (),
) -> tuple[Floats, Ints]:
    """From stop to stop; tiles are spread over the threads, replicas share their maps."""
    n, d = state.shape[2:]
    unit = unit or _unit(d)
    stops = np.union1d(timeline.segment_end, timeline.records[timeline.records > timeline.begin])
    described = ((0.0,) * n, unit, noise, model, timeline, stops)
    tiles = d // (LEAF * len(unit))
    loops = leap_serial, leap_parallel
    return _solve(*loops, described, tiles, state, alive, threads, model, timeline, unit)
