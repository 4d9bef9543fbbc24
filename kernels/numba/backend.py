"""The Monte Carlo contract for the CPU, compiled by Numba.

Coordinates are worked on in tiles, each run through many steps (see `numba_walk`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import noise as formulas
from .. import tiled
from ..contract import LEAF, Floats, Ints, Model, Noise, Timeline
from ..noise import START
from .jit import kernel
from .jit import threads as with_threads
from .leap import leap_parallel, leap_serial
from .noise import draw_words, make_normals
from .step import advance_parallel, advance_serial
from .tile import add_leaves


def philox4x32(counters: NDArray[np.uint32], keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Words of the generator, (m, 4), from counters (m, 4) and keys (m, 2)."""
    words = np.empty((len(counters), 4), dtype=np.uint32)
    philox_rows(counters, keys, words)
    return words


@kernel
def philox_rows(counters, keys, words):
    """Words of the generator from counters and keys, row by row."""
    for i in range(counters.shape[0]):
        c, k = counters[i], keys[i]
        w0, w1, w2, w3 = formulas.philox(
            np.uint64(c[0]), np.uint64(c[1]), np.uint64(c[2]), np.uint64(c[3]),
            np.uint64(k[0]), np.uint64(k[1]),
        )  # fmt: skip
        words[i, 0] = w0
        words[i, 1] = w1
        words[i, 2] = w2
        words[i, 3] = w3


@kernel
def start_tiles(unit, noise, mean, deviation, w):
    """Initial iterates into w, (replicas, d)."""
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
    start_tiles(_unit(tiled.tile_leaves(mean.size)), noise, mean, deviation, w)
    return w


def _unit(leaves: int) -> tuple[int, ...]:
    """A tuple as long as tiles are in leaves, so that the compiler knows it."""
    return (0,) * leaves


def _loop(serial: Any, parallel: Any) -> Callable[..., None]:
    """One of the two loops over items."""

    def run(job: tiled.Job, leaves: int, threads: int) -> None:
        zeros = (0.0,) * job.state.shape[2]
        if threads == 1 or job.items == 1:
            serial(zeros, _unit(leaves), *job)
        else:
            with with_threads(threads):
                parallel(zeros, _unit(leaves), *job)

    return run


LOOPS = tiled.Loops(
    _loop(advance_serial, advance_parallel),
    _loop(leap_serial, leap_parallel),
    add_leaves,
    lambda leaves, *arguments: make_normals(_unit(leaves), *arguments),
)


def normals(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Four normals from each row of four words."""
    return tiled.normals(LOOPS, words)


def advance(
    noise: Noise,
    model: Model,
    timeline: Timeline,
    state: Floats,
    alive: NDArray[np.bool_],
    threads: int,
) -> tuple[Floats, Ints]:
    """Step by step; the tiles of all replicas are spread over the threads."""
    return tiled.advance(LOOPS, noise, model, timeline, state, alive, threads)


def leap(
    noise: Noise,
    model: Model,
    timeline: Timeline,
    state: Floats,
    alive: NDArray[np.bool_],
    threads: int,
) -> tuple[Floats, Ints]:
    """From stop to stop; tiles are spread over the threads, replicas share their maps."""
    return tiled.leap(LOOPS, noise, model, timeline, state, alive, threads)
