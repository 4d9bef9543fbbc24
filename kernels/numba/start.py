"""The initial iterates, and the generator's words for the tests, on CPUs."""

from __future__ import annotations

import numpy as np

from .. import noise as formulas
from ..noise import START
from .jit import kernel
from .lanes import lanes
from .noise import draw_words, make_normals


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
    """Write the initial iterates to w, (replicas, d)."""
    T = lanes(leaves)
    words = np.empty(4 * T, dtype=np.uint32)
    z = np.empty(4 * T, dtype=np.float32)
    for r in range(noise.replicas.size):
        c1, c2, c3 = formulas.counter(0, noise.replicas[r], 0, START)
        for at in range(0, mean.size, T):
            draw_words(leaves, noise.first + at, c1, c2, c3, noise.key[0], noise.key[1], words)
            make_normals(leaves, words, 0, z)
            for j in range(T):
                w[r, at + j] = mean[at + j] + deviation[at + j] * np.float64(z[j])
