"""Sums over coordinates in the order of the contract, for GPUs.

A block of threads folds the numbers of its leaf. Another kernel adds up a group of 256 leaves in
pairs, and the processor goes on with the groups. So no sum depends on how many blocks are at work
at a time, or on how many devices.
"""

from __future__ import annotations

import numpy as np

from ..contract import LEAF
from .jit import cuda, device, kernel, read_at, write_at

GROUP = 256  # leaves whose sums are added up on the device


@device
def leaf_sum(x, own):
    """Sum the numbers `own` of a block's threads into x[0], in shared memory; all threads call it.

    The leaf's size is read from the block, so that the loop is not unrolled, which saves registers.
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
    """Sum groups of `GROUP` neighbouring leaves: (rows leaves,) to (rows groups,)."""
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
    """Fill an array with zeros."""
    i = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
    if i < x.size:
        write_at(x, i, 0.0)
