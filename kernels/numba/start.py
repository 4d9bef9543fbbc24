"""The initial iterates, and the generator's words for the tests, on CPUs."""

from __future__ import annotations

import numpy as np

from .. import noise as formulas
from ..noise import START
from .jit import kernel
from .lanes import lanes
from .noise import draw_words, make_first_normals


@kernel
def philox_rows(counters, keys, words):
    """Write the words of the generator for each row of counters and keys."""
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
def start_tiles(leaves, noise, mean, deviation, w):
    """Write the initial iterates to w, (replicas, d); mean and deviation may have one number."""
    T = lanes(leaves)
    words = np.empty(4 * T, dtype=np.uint32)
    z = np.empty(T, dtype=np.float32)
    for r in range(noise.replicas.size):
        c1, c2, c3 = formulas.counter(0, noise.replicas[r], 0, START)
        for at in range(0, w.shape[1], T):
            draw_words(leaves, noise.first + at, c1, c2, c3, noise.key[0], noise.key[1], words, 0)
            make_first_normals(leaves, words, z)
            own = w[r, at : at + T]
            if mean.size == 1:
                write_start(leaves, mean[0], deviation[0], z, own)
            else:
                for j in range(T):
                    own[j] = mean[at + j] + deviation[at + j] * np.float64(z[j])


@kernel
def write_start(leaves, mean, deviation, z, w):
    """Write the initial iterates of a tile whose coordinates have one mean and deviation."""
    for j in range(lanes(leaves)):
        w[j] = mean + deviation * np.float64(z[j])


@kernel
def write_harmonic(leaves, first, size, h, sigma, weight):
    """Write the arrays of a tile of a `Formula`: ``1 / i`` from i = first + 1 on, noise h.

    There are zeros from coordinate `size` of the tile on.
    """
    before = np.float64(first + 1)
    T = lanes(leaves)
    for j in range(T):
        own = 1.0 / (before + np.float64(np.int32(j)))
        h[j] = own
        sigma[j] = np.sqrt(own)
        weight[j] = 0.5 * own
    for j in range(min(size, T), T):
        h[j] = 0.0
        sigma[j] = 0.0
        weight[j] = 0.0
