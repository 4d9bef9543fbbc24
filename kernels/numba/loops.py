"""The loops over tiles and replicas, on one thread and on several.

They call what takes a tile through its work by its address. A call by name would put a copy of that
code into each loop, for LLVM to optimise again, which takes longer than all else there is to
compile.
"""

from __future__ import annotations

import numpy as np

from .jit import call_address, kernel, parallel_kernel, prange


@kernel
def all_serial(
    address, zeros, leaves, summing, noise, model, timeline, plan, turns, state, alive, partial,
    diverged_at,
):  # fmt: skip
    """Call what is at the address for each turn, one after the other."""
    for turn in range(turns):
        call_address(
            address,
            (
                zeros, leaves, summing, noise, model, timeline, plan, turn, state, alive, partial,
                diverged_at,
            ),
        )  # fmt: skip


@parallel_kernel
def all_parallel(
    address, zeros, leaves, summing, noise, model, timeline, plan, turns, state, alive, partial,
    diverged_at,
):  # fmt: skip
    """Call what is at the address for each turn, on all threads.

    It is a function of its own because Numba's cache would mistake one kind of loop for the other.
    """
    for turn in prange(turns):
        call_address(
            address,
            (
                zeros, leaves, summing, noise, model, timeline, plan, np.int64(turn), state, alive,
                partial, diverged_at,
            ),
        )  # fmt: skip
