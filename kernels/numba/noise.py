"""Noise on a tile of coordinates, for the CPU.

Every stage (words, variates, sums) is one loop over a tile of its own, which LLVM vectorises;
buffers are flat, with rows of the tile's length, so that one base pointer and constant offsets
leave no doubt about overlap. The tile's length is that of the tuple `unit`, in leaves: known
to the compiler.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from .. import noise as formulas
from ..contract import LEAF
from ..noise import GRADIENT, LAWS, WORD
from .jit import kernel, uncached_kernel

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
def add_to(unit, x, total):
    """Add variates to sums."""
    for j in range(LEAF * len(unit)):
        total[j] += np.float64(x[j])


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


# -- sums of samples, by law --------------------------------------------------------------


@kernel
def most_of(samples):
    """The largest number of samples in the four steps."""
    return max(max(samples[0], samples[1]), max(samples[2], samples[3]))


def variates_kernel(law):
    """A loop that makes of a tile's words the variates of one block, a row for each step."""
    variates, steps = law.variates, law.steps

    @uncached_kernel
    def make_variates(unit, parameter, words, x):
        T = LEAF * len(unit)
        for j in range(T):
            drawn = variates(words[j], words[T + j], words[2 * T + j], words[3 * T + j], parameter)
            for i in range(steps):
                x[i * T + j] = drawn[i]

    return make_variates


def count_kernel(law):
    """A loop that adds the counts of a tile's words, whose bits under the mask are used."""
    count_of, masked = law.count_of, law.per_word > 1

    @uncached_kernel
    def add_counts(unit, mask, words, count):
        for j in range(LEAF * len(unit)):
            word = np.uint32(words[j] & mask) if masked else words[j]
            count[j] += np.int64(count_of(word))

    return add_counts


def sums_of_variates(law):
    """Sums of real samples: `samples` is one number for each of the quad's steps."""
    make_variates, steps = variates_kernel(law), law.steps
    blocks = 4 // steps  # for a sample of all four steps

    @uncached_kernel
    def draw_sums(unit, noise, coordinate, replica, quad, samples, words, x, count, z):
        T = LEAF * len(unit)
        z[:] = 0.0
        for block in range(most_of(samples) * blocks):
            sample = block // blocks
            draw_block(unit, noise.key[0], noise.key[1], coordinate, replica, quad, block, words)
            make_variates(unit, noise.parameter, words, x)
            first = block % blocks * steps
            for i in range(steps):
                if sample < samples[first + i]:
                    row = (first + i) * T
                    add_to(unit, x[i * T : (i + 1) * T], z[row : row + T])

    return draw_sums


def sums_of_counts(law):
    """Sums of whole samples, as float64 numbers."""
    add_counts, per_word, factor, shift = count_kernel(law), law.per_word, law.factor, law.shift

    @uncached_kernel
    def draw_sums(unit, noise, coordinate, replica, quad, samples, words, x, count, z):
        T = LEAF * len(unit)
        count[:] = 0
        for block in range((most_of(samples) + per_word - 1) // per_word):
            draw_block(unit, noise.key[0], noise.key[1], coordinate, replica, quad, block, words)
            for i in range(4):
                used = min(samples[i] - block * per_word, per_word)
                if used > 0:
                    mask = np.uint32(_LOW >> np.uint64(WORD - used))
                    row, end = i * T, (i + 1) * T
                    add_counts(unit, mask, words[row:end], count[row:end])
        for i in range(4):
            row, end = i * T, (i + 1) * T
            moved = shift * np.float64(samples[i])
            as_sum(unit, factor, moved, count[row:end], z[row:end])

    return draw_sums


def _or_else(others, code):
    """The sums of a law where the noise has its code, and others where it does not."""
    sums = SUMS[code]

    @uncached_kernel
    def draw_sums(unit, noise, coordinate, replica, quad, samples, words, x, count, z):
        if noise.law == code:
            sums(unit, noise, coordinate, replica, quad, samples, words, x, count, z)
        else:
            others(unit, noise, coordinate, replica, quad, samples, words, x, count, z)

    return draw_sums


SUMS = {
    law.code: sums_of_variates(law) if law.count_of is None else sums_of_counts(law)
    for law in LAWS.values()
}
"""Kernels that draw sums of samples on a tile, by the code of the law."""

draw_sums = reduce(_or_else, list(SUMS)[1:], next(iter(SUMS.values())))


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
