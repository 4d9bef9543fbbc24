"""Sums over coordinates, and their moves, for kernels that take all coordinates in step."""

from __future__ import annotations

from ..contract import LEAF
from .jit import kernel


@kernel
def combine(weights, state, x):
    """Write a combination of the components of a state, (n, d), to x, (d,)."""
    n, d = state.shape
    for j in range(d):
        x[j] = weights[0] * state[0, j]
    for a in range(1, n):
        for j in range(d):
            x[j] = x[j] + weights[a] * state[a, j]


@kernel
def folded(values, leaf, sums):
    """Sum coordinates in the order of the contract; `values` are overwritten."""
    leaves = values.size // LEAF
    for i in range(leaves):
        for j in range(LEAF):
            leaf[j] = values[i * LEAF + j]
        half = LEAF // 2
        while half > 0:
            for j in range(half):
                leaf[j] = leaf[j] + leaf[half + j]
            half //= 2
        sums[i] = leaf[0]
    while leaves > 1:
        if leaves % 2:
            sums[leaves] = 0.0
            leaves += 1
        for i in range(leaves // 2):
            sums[i] = sums[2 * i] + sums[2 * i + 1]
        leaves //= 2
    return sums[0]


@kernel
def move(change, kick, xi, state, new):
    """Take a state a step on: the kick and the first component are added first, then pairs."""
    n, d = state.shape
    for a in range(n):
        for j in range(d):
            new[a, j] = kick[a, j] * xi[j] + change[a, 0, j] * state[0, j]
        for b in range(1, n, 2):
            if b + 1 < n:
                for j in range(d):
                    pair = change[a, b, j] * state[b, j] + change[a, b + 1, j] * state[b + 1, j]
                    new[a, j] = new[a, j] + pair
            else:
                for j in range(d):
                    new[a, j] = new[a, j] + change[a, b, j] * state[b, j]
    for a in range(n):
        for j in range(d):
            state[a, j] = state[a, j] + new[a, j]
