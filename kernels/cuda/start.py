"""Kernels for GPUs that start a run, and those that test the noise."""

from __future__ import annotations

import numpy as np

from .. import noise as formulas
from ..contract import LEAF
from ..noise import START
from .jit import cuda, device, kernel, read_at, square_root, write_at
from .noise import normals_of


@kernel
def start_rows(noise, mean, deviation, w):
    """Write the initial iterates of all replicas to w, (replicas d,)."""
    r = cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z
    if r >= noise.replicas.size:
        return
    j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
    z = normals_of(noise, noise.first + j, read_at(noise.replicas, r), 0, 0, START)
    at = r * mean.size + j
    write_at(w, at, read_at(mean, j) + read_at(deviation, j) * np.float64(z[0]))


@device
def band_of(edges, h):
    """Return the number of the band that a curvature is in, from 1, or 0 if it is in none."""
    number = 0
    while number < edges.size and read_at(edges, number) <= h:
        number += 1
    if number == edges.size and number > 0:
        return edges.size - 1 if h == read_at(edges, edges.size - 1) else 0
    return number


@kernel
def harmonic(first, size, edges, h, sigma, weight, group):
    """Write the arrays of a `Formula`: ``h_i = 1 / i`` with noise h, and zeros from `size` on."""
    j = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
    own = 1.0 / np.float64(first + j + 1) if j < size else 0.0
    write_at(h, j, own)
    write_at(sigma, j, square_root(own))
    write_at(weight, j, 0.5 * own)
    if group.size > 0:
        write_at(group, j, band_of(edges, own) if j < size else 0)


@kernel
def philox_rows(counters, keys, words):
    """Write the words of the generator for counters and keys, a row for each thread."""
    i = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
    if i < counters.size // 4:
        w0, w1, w2, w3 = formulas.philox(
            np.uint64(read_at(counters, 4 * i)), np.uint64(read_at(counters, 4 * i + 1)),
            np.uint64(read_at(counters, 4 * i + 2)), np.uint64(read_at(counters, 4 * i + 3)),
            np.uint64(read_at(keys, 2 * i)), np.uint64(read_at(keys, 2 * i + 1)),
        )  # fmt: skip
        write_at(words, 4 * i, w0)
        write_at(words, 4 * i + 1, w1)
        write_at(words, 4 * i + 2, w2)
        write_at(words, 4 * i + 3, w3)


@kernel
def normal_rows(words, z):
    """Write four normals for each row of four words, a row for each thread."""
    i = cuda.blockIdx.x * LEAF + cuda.threadIdx.x
    if i < words.size // 4:
        a, b = formulas.box_muller(read_at(words, 4 * i), read_at(words, 4 * i + 1))
        c, d = formulas.box_muller(read_at(words, 4 * i + 2), read_at(words, 4 * i + 3))
        write_at(z, 4 * i, a)
        write_at(z, 4 * i + 1, b)
        write_at(z, 4 * i + 2, c)
        write_at(z, 4 * i + 3, d)
