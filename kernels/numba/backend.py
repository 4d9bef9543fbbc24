"""The Monte Carlo backend for CPUs that Numba compiles.

Coordinates are worked on in tiles, each run through many steps (see `step`).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import Floats, Noise
from ..tiled import TiledBackend, TileJob, tile_leaves
from .jit import clock
from .jit import threads as using_threads
from .leap import leap_parallel, leap_serial
from .noise import make_normals
from .start import philox_rows, start_tiles
from .step import advance_parallel, advance_serial
from .tile import add_leaves


def unit(leaves: int) -> tuple[int, ...]:
    """A tuple as long as tiles are in leaves, so that the compiler knows their length."""
    return (0,) * leaves


class NumbaBackend(TiledBackend):
    """Kernels that are compiled while a program runs, and kept in a cache."""

    @cached_property
    def moments(self) -> Any:
        """The kernels of the exact second moments."""
        from ..exact import moments

        return moments

    @cached_property
    def closed_form(self) -> Any:
        """The closed form for recurrences of one component."""
        from ..exact import closed_form

        return closed_form

    @cached_property
    def first_passage(self) -> Any:
        """The search for the first passage."""
        from ..exact import first_passage

        return first_passage

    def compile_seconds(self) -> float:
        """Seconds that compiling kernels, or loading them from the cache, has taken so far."""
        return float(clock.duration) if clock.done else 0.0

    def philox4x32(
        self, counters: NDArray[np.uint32], keys: NDArray[np.uint32]
    ) -> NDArray[np.uint32]:
        """Words of the generator, (m, 4), from counters (m, 4) and keys (m, 2)."""
        words = np.empty((len(counters), 4), dtype=np.uint32)
        philox_rows(counters, keys, words)
        return words

    def start(self, noise: Noise, mean: Floats, deviation: Floats, workers: Any) -> Floats:
        """Initial iterates, shape (replicas, d)."""
        w = np.empty((noise.replicas.size, mean.size))
        start_tiles(unit(tile_leaves(mean.size)), noise, mean, deviation, w)
        return w

    def advance_tiles(self, job: TileJob, leaves: int, threads: int) -> None:
        """Take every tile and replica through the job step by step."""
        self._run(advance_serial, advance_parallel, job, leaves, threads)

    def leap_tiles(self, job: TileJob, leaves: int, threads: int) -> None:
        """Take every tile through the job from stop to stop."""
        self._run(leap_serial, leap_parallel, job, leaves, threads)

    @staticmethod
    def _run(serial: Any, parallel: Any, job: TileJob, leaves: int, threads: int) -> None:
        """Run one of the two loops over tiles."""
        zeros = (0.0,) * job.state.shape[2]
        if threads == 1 or job.items == 1:
            serial(zeros, unit(leaves), *job)
        else:
            with using_threads(threads):
                parallel(zeros, unit(leaves), *job)

    def add_leaves(self, partial: Floats, values: Floats) -> None:
        """Add up the leaves: (rows, leaves) to (rows,)."""
        add_leaves(partial, values)

    def make_normals(
        self, leaves: int, words: NDArray[np.uint32], begin: int, z: NDArray[np.float32]
    ) -> None:
        """Normals of a tile for four steps, into z[begin:]."""
        make_normals(unit(leaves), words, begin, z)


BACKEND = NumbaBackend()
