"""Sums over coordinates in the order of the contract, for GPUs.

A block of threads has a leaf of coordinates, and folds it. Leaves are added in pairs, 256 of them
in a block; their sums come back, to be added in pairs again. So no sum depends on how many blocks
are at work at a time, or on how many devices.
"""

from __future__ import annotations

import numpy as np

from ..contract import LEAF
from .jit import cuda, device, kernel, read_at, write_at

GROUP = 256  # leaves that are added up on the device


@device
def leaf_sum(x, own):
    """Sum of the block's `own` numbers, left in x[0], which is shared; all threads call it.

    The leaf's size is taken from the block, so that the loop stays a loop, and registers free.
    """
    me = cuda.threadIdx.x
    half = cuda.blockDim.x // 2
    write_at(x, me, own)
    while half > 0:
        cuda.syncthreads()
        if me < half:
            write_at(x, me, read_at(x, me) + read_at(x, me + half))
        half //= 2


@kernel
def add_leaves(partial, leaves, groups, out):
    """Sums of neighbouring leaves: (rows leaves,) to (rows groups,), `GROUP` leaves in each."""
    x = cuda.shared.array(GROUP, np.float64)
    me = cuda.threadIdx.x
    row = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
    if row * groups >= out.size:
        return
    leaf = cuda.blockIdx.x * GROUP + me
    write_at(x, me, read_at(partial, row * leaves + leaf) if leaf < leaves else 0.0)
    width = 1
    while width < cuda.blockDim.x:
        cuda.syncthreads()
        if me & (2 * width - 1) == 0:
            write_at(x, me, read_at(x, me) + read_at(x, me + width))
        width *= 2
    if me == 0:
        write_at(out, row * groups + cuda.blockIdx.x, read_at(x, 0))


@kernel
def clear(x):
    """Zeros."""
    i = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
    if i < x.size:
        write_at(x, i, 0.0)
