"""Noise on a tile of coordinates, for the CPU.

Every stage (words, variates, sums) is one loop over the tile, which LLVM vectorises. Buffers are
flat, with rows of the tile's length T, so that one base pointer and constant offsets leave no doubt
about overlap. A tile has as many leaves as the tuple `leaves` has items, because the compiler knows
the length of a tuple. A quad is four consecutive steps, which one block of words serves.
"""

from __future__ import annotations

from functools import cache, reduce

import numpy as np

from .. import noise as formulas
from ..contract import NARROW
from ..noise import GRADIENT, LAWS, WORD
from .jit import kernel, one_of, uncached_kernel
from .lanes import QUADS, lanes, pitch, place

_LOW = np.uint64(0xFFFFFFFF)

ONE_LEAF = (0,)


@kernel
def draw_words(leaves, first, c1, c2, c3, k0, k1, words, begin):
    """Write the words for coordinates first, first + 1, ... to words[begin:], in four rows."""
    W = pitch(leaves)
    for j in range(lanes(leaves)):
        a, b, c, d = formulas.philox(np.uint64(first + j), c1, c2, c3, k0, k1)
        at = np.uint64(begin) + np.uint64(j)
        words[at] = a
        words[at + np.uint64(W)] = b
        words[at + np.uint64(2 * W)] = c
        words[at + np.uint64(3 * W)] = d


@kernel
def make_normals(leaves, words, begin, z):
    """Make normals for four steps of the words, and write them to z[begin:] in four rows."""
    T, W = lanes(leaves), pitch(leaves)
    for j in range(T):
        at = np.uint64(begin) + np.uint64(j)  # unsigned: Python's negative indices need no test
        a, b = formulas.box_muller(words[j], words[W + j])
        z[at] = a
        z[at + np.uint64(T)] = b
        a, b = formulas.box_muller(words[2 * W + j], words[3 * W + j])
        z[at + np.uint64(2 * T)] = a
        z[at + np.uint64(3 * T)] = b


@kernel
def make_first_normals(leaves, words, z):
    """Make the first of the four normals of the words."""
    W = pitch(leaves)
    for j in range(lanes(leaves)):
        a, _ = formulas.box_muller(words[j], words[W + j])
        z[j] = a


@kernel
def add_to(leaves, x, total):
    """Add float32 variates to float64 sums, (T,)."""
    for j in range(lanes(leaves)):
        total[j] += np.float64(x[j])


@kernel
def counts_to_sums(leaves, factor, shift, count, total):
    """Turn counts into float64 sums, ``factor count + shift``."""
    for j in range(lanes(leaves)):
        total[j] = np.float64(factor * count[j]) + shift


@kernel
def draw_block(leaves, k0, k1, coordinate, replica, quad, block, words, begin):
    """Write the words of one block of samples to words[begin:], for the whole tile."""
    c1, c2, c3 = formulas.counter(quad, replica, block, GRADIENT)
    draw_words(leaves, coordinate, c1, c2, c3, k0, k1, words, begin)


# -- sums of samples, by law --------------------------------------------------------------


@kernel
def largest_number(samples):
    """Return the largest number of samples in the four steps."""
    return max(max(samples[0], samples[1]), max(samples[2], samples[3]))


@cache
def variates_kernel(law):
    """Return a kernel that makes variates of one block of words, a row for each step."""
    if law.stages is not None:
        return staged_variates_kernel(law)
    variates, steps = law.variates, law.steps

    @uncached_kernel(f"law {law.code}")
    def make_variates(leaves, parameter, words, x):
        T, W = lanes(leaves), pitch(leaves)
        for j in range(T):
            drawn = variates(words[j], words[W + j], words[2 * W + j], words[3 * W + j], parameter)
            for i in range(steps):
                x[i * T + j] = drawn[i]

    return make_variates


def staged_variates_kernel(law):
    """Return such a kernel for a law of two words a variate, which is made in two stages."""
    of_first, of_both = law.stages
    steps = law.steps

    @uncached_kernel(f"law {law.code}")
    def make_variates(leaves, parameter, words, x):
        T, W = lanes(leaves), pitch(leaves)
        for i in range(steps):
            row, first = np.uint64(i * T), np.uint64(2 * i * W)
            second = first + np.uint64(W)
            for j in range(T):
                k = np.uint64(j)  # unsigned indices spare the tests for negative ones
                x[row + k] = of_first(words[first + k], parameter)
            for j in range(T):
                k = np.uint64(j)
                x[row + k] = of_both(x[row + k], words[second + k])

    return make_variates


@cache
def count_kernel(law):
    """Return a kernel that adds to counts those of words, in which it uses the masked bits."""
    count_of, masked = law.count_of, law.per_word > 1

    @uncached_kernel(f"law {law.code}")
    def add_counts(leaves, mask, words, count):
        for j in range(lanes(leaves)):
            word = np.uint32(words[j] & mask) if masked else words[j]
            count[j] += np.int64(count_of(word))

    return add_counts


def sums_of_variates(law):
    """Return a kernel that draws sums of real samples for a quad; `samples` has four numbers."""
    make_variates, steps = variates_kernel(law), law.steps
    blocks = 4 // steps  # blocks of words for one sample of all four steps

    @uncached_kernel(f"law {law.code}")
    def draw_sums(leaves, noise, coordinate, replica, quad, samples, words, x, count, z):
        T, W = lanes(leaves), pitch(leaves)
        for i in range(4):
            z[i * W : i * W + T] = 0.0
        for block in range(largest_number(samples) * blocks):
            sample = block // blocks
            draw_block(
                leaves, noise.key[0], noise.key[1], coordinate, replica, quad, block, words, 0
            )
            make_variates(leaves, noise.parameter, words, x)
            first = block % blocks * steps
            for i in range(steps):
                if sample < samples[first + i]:
                    row = (first + i) * W
                    add_to(leaves, x[i * T : (i + 1) * T], z[row : row + T])

    return draw_sums


def sums_of_counts(law):
    """Return a kernel that draws sums of whole-number samples for a quad, as float64 numbers."""
    add_counts, per_word, factor, shift = count_kernel(law), law.per_word, law.factor, law.shift

    @uncached_kernel(f"law {law.code}")
    def draw_sums(leaves, noise, coordinate, replica, quad, samples, words, x, count, z):
        T, W = lanes(leaves), pitch(leaves)
        count[:] = 0
        for block in range((largest_number(samples) + per_word - 1) // per_word):
            draw_block(
                leaves, noise.key[0], noise.key[1], coordinate, replica, quad, block, words, 0
            )
            for i in range(4):
                used = min(samples[i] - block * per_word, per_word)
                if used > 0:
                    mask = np.uint32(_LOW >> np.uint64(WORD - used))
                    add_counts(leaves, mask, words[i * W :], count[i * T : (i + 1) * T])
        for i in range(4):
            shifted = shift * np.float64(samples[i])
            counts_to_sums(leaves, factor, shifted, count[i * T : (i + 1) * T], z[i * W :])

    return draw_sums


def _choose_law(others, code):
    """Return a kernel that draws by the law of that code, and calls `others` for other codes."""
    sums = SUMS[code]

    @uncached_kernel(f"law {code} or others")
    def draw_sums(leaves, noise, coordinate, replica, quad, samples, words, x, count, z):
        if noise.law == code:
            sums(leaves, noise, coordinate, replica, quad, samples, words, x, count, z)
        else:
            others(leaves, noise, coordinate, replica, quad, samples, words, x, count, z)

    return draw_sums


SUMS = {
    law.code: sums_of_variates(law) if law.count_of is None else sums_of_counts(law)
    for law in LAWS.values()
}
"""Kernels that draw sums of samples for a quad and a tile, by the code of the law."""

draw_sums = reduce(_choose_law, list(SUMS)[1:], next(iter(SUMS.values())))


@kernel
def segment_of(timeline, t):
    """Return the number of the segment that step t is in.

    It is by hand because Numba compiles long for `np.searchsorted`.
    """
    low, high = 0, timeline.segment_end.size - 1
    while low < high:
        middle = (low + high) // 2
        if timeline.segment_end[middle] <= t:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def samples_of_quad(timeline, g, quad, samples):
    """Write how many samples each step of the quad sums; steps outside the timeline sum none."""
    for i in range(4):
        t = 4 * quad + i
        samples[i] = 0
        if timeline.begin <= t < timeline.end:
            segment = segment_of(timeline, t)
            samples[i] = timeline.samples[segment, g]


# -- the noise of a burst of steps: one normal each, or sums of samples ----------------------


@kernel
def normal_buffer(size):
    """Return an array for the normals of `size` steps of coordinates."""
    return np.empty(size, dtype=np.float32)


@kernel
def summed_buffer(size):
    """Return an array for the sums of `size` steps of coordinates."""
    return np.empty(size)


@kernel
def normal_burst(
    leaves, noise, timeline, g, coordinate, replica, begin, end, length, words, x, count, z
):
    """Draw one normal for each of the steps begin .. end - 1 of a burst, into rows of `z`.

    A burst begins at a multiple of its length, and `z` has a row at the `place` of each step.
    """
    if len(leaves) > 0:
        for quad in range(begin // 4, (end + 3) // 4):
            draw_block(leaves, noise.key[0], noise.key[1], coordinate, replica, quad, 0, words, 0)
            make_normals(leaves, words, place(leaves, 4 * quad % length), z)
    else:  # quads together, as many numbers as a leaf has, so that few wait for each other
        together = 4 * QUADS  # steps
        for group in range(begin // together, (end + together - 1) // together):
            quad = group * QUADS
            for i in range(QUADS):
                draw_block(
                    leaves, noise.key[0], noise.key[1], coordinate, replica, quad + i, 0, words,
                    NARROW * i,
                )  # fmt: skip
            make_normals(ONE_LEAF, words, place(leaves, 4 * quad % length), z)


@kernel
def summed_burst(
    leaves, noise, timeline, g, coordinate, replica, begin, end, length, words, x, count, z
):
    """Draw a sum of samples for each of the steps begin .. end - 1 of a burst, into rows of `z`."""
    samples = np.zeros(4, dtype=np.int64)
    for quad in range(begin // 4, (end + 3) // 4):
        row = place(leaves, 4 * quad % length)
        samples_of_quad(timeline, g, quad, samples)
        draw_sums(
            leaves, noise, coordinate, replica, quad, samples,
            words, x, count, z[row:],
        )  # fmt: skip


noise_buffer = one_of(normal_buffer, summed_buffer)
"""``noise_buffer(summing, size)`` is for normals if the tuple `summing` is empty, else for sums."""

noise_burst = one_of(normal_burst, summed_burst)
"""``noise_burst(summing, ...)`` draws normals if the tuple `summing` is empty, else sums."""
