"""Noise on a tile of coordinates, for the CPU.

Every stage (words, variates, sums) is one loop over a tile of its own, which LLVM vectorises;
buffers are flat, with rows of the tile's length, so that one base pointer and constant offsets
leave no doubt about overlap. The tile's length is that of the tuple `unit`, in leaves: known
to the compiler.
"""

from __future__ import annotations

import numpy as np

from .. import noise as formulas
from ..contract import LEAF
from ..noise import BITS, GRADIENT, LAPLACE, NORMAL, RADEMACHER, STUDENT, UNIFORM
from .jit import kernel

_LOW = np.uint64(0xFFFFFFFF)


@kernel
def draw_words(unit, first, c1, c2, c3, k0, k1, words):
    """Words of the generator for coordinates first, first + 1, ..., in four rows."""
    T = LEAF * len(unit)
    for j in range(T):
        a, b, c, d = formulas.philox(np.uint64(first + j), c1, c2, c3, k0, k1)
        words[j] = a
        words[T + j] = b
        words[2 * T + j] = c
        words[3 * T + j] = d


@kernel
def make_normals(unit, words, begin, z):
    """Normals for four steps into z[begin:]."""
    T = LEAF * len(unit)
    for j in range(T):
        at = np.uint64(begin) + np.uint64(j)  # without a sign: it never counts from the end
        a, b = formulas.box_muller(words[j], words[T + j])
        z[at] = a
        z[at + np.uint64(T)] = b
        a, b = formulas.box_muller(words[2 * T + j], words[3 * T + j])
        z[at + np.uint64(2 * T)] = a
        z[at + np.uint64(3 * T)] = b


@kernel
def make_laplaces(unit, words, z):
    """Laplace variates from each of four rows of words."""
    for j in range(4 * LEAF * len(unit)):
        z[j] = formulas.laplace(words[j])


@kernel
def make_students(unit, exponent, words, z):
    """Student's t for two steps into two rows of z."""
    T = LEAF * len(unit)
    for j in range(T):
        z[j] = formulas.student_t(words[j], words[T + j], exponent)
        z[T + j] = formulas.student_t(words[2 * T + j], words[3 * T + j], exponent)


@kernel
def add_to(unit, x, total):
    """Add variates to sums."""
    for j in range(LEAF * len(unit)):
        total[j] += np.float64(x[j])


@kernel
def add_signed(unit, words, count):
    """Add words, as signed integers."""
    for j in range(LEAF * len(unit)):
        count[j] += np.int64(np.uint32(words[j]).view(np.int32))


@kernel
def add_ones(unit, mask, words, count):
    """Add the number of bits set under the mask."""
    for j in range(LEAF * len(unit)):
        count[j] += np.int64(formulas.ones(np.uint32(words[j] & mask)))


@kernel
def as_sum(unit, factor, shift, count, total):
    """Integer counts as float64 sums."""
    for j in range(LEAF * len(unit)):
        total[j] = np.float64(factor * count[j]) + shift


@kernel
def draw_block(unit, k0, k1, coordinate, replica, quad, block, words):
    """Words of one counter block for the whole tile."""
    c1, c2, c3 = formulas.counter(quad, replica, block, GRADIENT)
    draw_words(unit, coordinate, c1, c2, c3, k0, k1, words)


@kernel
def draw_sums(unit, noise, coordinate, replica, quad, samples, words, x, count, z):
    """Sums of `samples` (one number for each of the quad's steps) on a tile."""
    T = LEAF * len(unit)
    most = max(max(samples[0], samples[1]), max(samples[2], samples[3]))
    z[:] = 0.0
    count[:] = 0
    if noise.data == RADEMACHER:
        for block in range((most + BITS - 1) // BITS):
            draw_block(unit, noise.key[0], noise.key[1], coordinate, replica, quad, block, words)
            for i in range(4):
                used = min(samples[i] - block * BITS, BITS)
                if used > 0:
                    mask = np.uint32(_LOW >> np.uint64(BITS - used))
                    row, end = i * T, (i + 1) * T
                    add_ones(unit, mask, words[row:end], count[row:end])
        for i in range(4):
            row, end = i * T, (i + 1) * T
            as_sum(unit, 2, -np.float64(samples[i]), count[row:end], z[row:end])
        return
    per_sample = 2 if noise.data == STUDENT else 1
    for block in range(most * per_sample):
        sample = block // per_sample
        draw_block(unit, noise.key[0], noise.key[1], coordinate, replica, quad, block, words)
        first, last = 0, 4  # of the steps that the block is for
        if noise.data == NORMAL:
            make_normals(unit, words, 0, x)
        elif noise.data == LAPLACE:
            make_laplaces(unit, words, x)
        elif noise.data == STUDENT:
            make_students(unit, noise.exponent, words, x)
            first = 2 * (block % 2)
            last = first + 2
        for i in range(first, last):
            if sample < samples[i]:
                row, end = i * T, (i + 1) * T
                if noise.data == UNIFORM:
                    add_signed(unit, words[row:end], count[row:end])
                else:
                    add_to(unit, x[(i - first) * T : (i - first + 1) * T], z[row:end])
    if noise.data == UNIFORM:
        for i in range(4):
            row, end = i * T, (i + 1) * T
            as_sum(unit, 1, 0.5 * np.float64(samples[i]), count[row:end], z[row:end])


@kernel
def samples_of_quad(timeline, g, quad, samples):
    """How many samples each step of the quad sums; none outside the timeline."""
    for i in range(4):
        t = 4 * quad + i
        samples[i] = 0
        if timeline.begin <= t < timeline.end:
            segment = np.searchsorted(timeline.segment_end, t, side="right")
            samples[i] = timeline.samples[segment, g]


@kernel
def normal_burst(unit, k0, k1, coordinate, replica, begin, end, length, words, z):
    """One normal for each of the steps begin .. end - 1 of a burst, in rows of `z`."""
    T = LEAF * len(unit)
    for quad in range(begin // 4, (end + 3) // 4):
        draw_block(unit, k0, k1, coordinate, replica, quad, 0, words)
        make_normals(unit, words, 4 * quad % length * T, z)


@kernel
def summed_burst(
    unit, noise, timeline, g, coordinate, replica, begin, end, length, words, x, count, z
):
    """A sum of samples for each of the steps begin .. end - 1 of a burst, in rows of `z`."""
    T = LEAF * len(unit)
    samples = np.zeros(4, dtype=np.int64)
    for quad in range(begin // 4, (end + 3) // 4):
        row = 4 * quad % length * T
        samples_of_quad(timeline, g, quad, samples)
        draw_sums(
            unit, noise, coordinate, replica, quad, samples,
            words, x, count, z[row : row + 4 * T],
        )  # fmt: skip
