"""The backend for CPUs that Numba compiles while a program runs.

A thread takes one tile of coordinates through many steps before the next (see `step`).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import LEAF, NARROW, Floats, Load, Noise, padded
from ..tiled import TiledBackend, TileJob, tile_leaves
from .jit import address_for, clock, is_ready, team
from .jit import threads as using_threads
from .leap import leap_tile
from .loops import all_parallel, all_serial
from .noise import make_normals
from .rule import advance_rule_tile
from .start import philox_rows, start_tiles
from .step import advance_tile
from .tile import add_leaves


def leaf_tuple(leaves: int) -> tuple[int, ...]:
    """Return a tuple with an item for each leaf of a tile, see `lanes`."""
    return (0,) * leaves


class NumbaBackend(TiledBackend):
    """The backend whose kernels are compiled when first called, and kept in a cache."""

    @cached_property
    def moments(self) -> Any:
        """The module of the exact second moments."""
        from ..exact import moments

        return moments

    @cached_property
    def closed_form(self) -> Any:
        """The module of the closed form for recurrences of one component."""
        from ..exact import closed_form

        return closed_form

    @cached_property
    def first_passage(self) -> Any:
        """The module of the search for the first passage."""
        from ..exact import first_passage

        return first_passage

    @cached_property
    def array_moments(self) -> Any:
        """The module of the moments of arrays in cells of curvature."""
        from ..exact import array_moments

        return array_moments

    def compile_seconds(self) -> float:
        """Return the seconds spent on compiling kernels, or loading them from the cache, so far."""
        return float(clock.duration) if clock.done else 0.0

    def philox4x32(
        self, counters: NDArray[np.uint32], keys: NDArray[np.uint32]
    ) -> NDArray[np.uint32]:
        """Return the words of the generator, (m, 4), for counters (m, 4) and keys (m, 2)."""
        words = np.empty((len(counters), 4), dtype=np.uint32)
        philox_rows(counters, keys, words)
        return words

    def start_tiles(
        self, noise: Noise, mean: Floats, deviation: Floats, w: Floats, leaves: int
    ) -> None:
        """Write the initial iterates to w, (replicas, d)."""
        start_tiles(leaf_tuple(leaves), noise, mean, deviation, w)

    def advance_tiles(self, job: TileJob, leaves: int, threads: int) -> None:
        """Take every tile and replica through the job step by step."""
        summing = (0,) * bool(job.noise.summed)
        if job.model.rule:
            self._run(advance_rule_tile, (), leaves, summing, job, threads)
        else:
            zeros = (0.0,) * job.state.shape[2]
            self._run(advance_tile, zeros, leaves, summing, job, threads)

    def leap_tiles(self, job: TileJob, leaves: int, threads: int) -> None:
        """Take every tile through the job by leaps."""
        self._run(leap_tile, (0.0,) * job.state.shape[2], leaves, (), job, threads)

    @staticmethod
    def _run(
        tile_kernel: Any,
        zeros: tuple[float, ...],
        leaves: int,
        summing: tuple[int, ...],
        job: TileJob,
        threads: int,
    ) -> None:
        """Call a kernel for every tile, on several threads if there is work for two."""
        arguments = (zeros, leaf_tuple(leaves), summing, *job)
        address = address_for(tile_kernel, *arguments)
        most = team(min(threads, job.turns))
        if most == 1:
            all_serial(address, *arguments)
        else:
            with using_threads(min(threads, most)):
                all_parallel(address, *arguments)

    def prepare(self, workers: Any) -> None:
        """Make sure that there is a threading layer."""
        team(workers)

    def is_ready(self, load: Load) -> bool:
        """Whether the kernels of a run are compiled, now or by an earlier process."""
        size = padded(load.dim)
        leaves = tile_leaves(size)
        turns = size // (LEAF * leaves) * (1 if load.leaps else load.replicas)
        loop = all_serial if min(load.threads, turns) == 1 else all_parallel
        tile_kernel = leap_tile if load.leaps else advance_tile
        narrow = load.dim <= NARROW and not load.leaps
        wanted = [(tile_kernel, (0.0,) * n, 0 if narrow else leaves) for n in load.components]
        wanted += [(advance_rule_tile, (), leaves)] * load.has_rules
        summing = (0,) * load.summed
        return all(
            is_ready(kernel, zeros, leaf_tuple(count), summing)
            and is_ready(loop, 0, zeros, leaf_tuple(count), summing)
            for kernel, zeros, count in wanted
        )

    def add_leaves(self, partial: Floats, values: Floats) -> None:
        """Sum `partial`, (rows, leaves), over leaves into `values`, (rows,)."""
        add_leaves(partial, values)

    def make_normals(
        self, leaves: int, words: NDArray[np.uint32], begin: int, z: NDArray[np.float32]
    ) -> None:
        """Write the normals of a tile for four steps to z[begin:]."""
        make_normals(leaf_tuple(leaves), words, begin, z)


BACKEND = NumbaBackend()
