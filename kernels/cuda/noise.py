"""Noise of one coordinate, for GPUs: a thread draws it for four steps at a time.

It is written to z[at], z[at + stride], ..., one number for each step. Where samples are summed, the
four numbers samples[numbers], ... say how many for each step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import noise as formulas
from ..noise import GRADIENT, WORD
from .jit import cuda, device, read_at, write_at

BATCH = -1  # in place of the code of a law: one normal stands for the mean of a batch

_LOW = np.uint64(0xFFFFFFFF)


@device
def words_of(noise, coordinate, replica, quad, block, purpose):
    """Return the four words of a block of samples.

    The index of the key, ``2 (block >> 30)``, is always 0. It depends on the block so that the
    compiler does not compute the keys of all ten rounds before the loop over blocks, where they
    would take ten pairs of registers.
    """
    c1, c2, c3 = formulas.counter(quad, replica, block, purpose)
    zero = 2 * (block >> 30)
    k0, k1 = read_at(noise.key, zero), read_at(noise.key, zero + 1)
    return formulas.philox(np.uint64(coordinate), c1, c2, c3, k0, k1)


@device
def normals_of(noise, coordinate, replica, quad, block, purpose):
    """Return four normals from the words of a block."""
    w0, w1, w2, w3 = words_of(noise, coordinate, replica, quad, block, purpose)
    a, b = formulas.box_muller(w0, w1)
    c, d = formulas.box_muller(w2, w3)
    return a, b, c, d


@device
def batch_means(noise, coordinate, replica, quad, samples, numbers, z, at, stride):
    """Draw one normal for each step."""
    a, b, c, d = normals_of(noise, coordinate, replica, quad, 0, GRADIENT)
    write_at(z, at, a)
    write_at(z, at + stride, b)
    write_at(z, at + 2 * stride, c)
    write_at(z, at + 3 * stride, d)


@device
def largest_number(samples, numbers):
    """Return the largest number of samples in the four steps."""
    most = np.int64(0)
    for i in range(4):
        most = max(most, read_at(samples, numbers + i))
    return most


def sums_of_counts(law: formulas.Law) -> Any:
    """Return a function that draws sums of whole-number samples."""
    count_of, per_word, factor, shift = law.count_of, law.per_word, law.factor, law.shift

    @device
    def draw(noise, coordinate, replica, quad, samples, numbers, z, at, stride):
        blocks = np.int32((largest_number(samples, numbers) + per_word - 1) // per_word)
        count = cuda.local.array(4, np.int64)
        for i in range(4):
            count[i] = 0
        block = np.int32(0)
        while block < blocks:
            words = words_of(noise, coordinate, replica, quad, block, GRADIENT)
            for i in range(4):
                used = min(read_at(samples, numbers + i) - block * per_word, per_word)
                if used > 0:
                    if per_word > 1:
                        mask = np.uint32(_LOW >> np.uint64(WORD - used))
                        count[i] += np.int64(count_of(np.uint32(words[i] & mask)))
                    else:
                        count[i] += np.int64(count_of(words[i]))
            block = np.int32(block + 1)
        for i in range(4):
            shifted = shift * np.float64(read_at(samples, numbers + i))
            write_at(z, at + i * stride, np.float64(factor * count[i]) + shifted)

    return draw


def sums_of_variates(law: formulas.Law) -> Any:
    """Return a function that draws sums of real samples."""
    variates, steps = law.variates, law.steps
    blocks_each = 4 // steps  # blocks of words for one sample of all four steps

    @device
    def draw(noise, coordinate, replica, quad, samples, numbers, z, at, stride):
        for i in range(4):
            write_at(z, at + i * stride, 0.0)
        blocks = np.int32(blocks_each * largest_number(samples, numbers))
        block = np.int32(0)
        while block < blocks:
            a, b, c, d = words_of(noise, coordinate, replica, quad, block, GRADIENT)
            drawn = variates(a, b, c, d, noise.parameter)
            sample = block // blocks_each
            first = block % blocks_each * steps
            for i in range(steps):
                if sample < read_at(samples, numbers + first + i):
                    row = at + (first + i) * stride
                    write_at(z, row, read_at(z, row) + np.float64(drawn[i]))
            block = np.int32(block + 1)

    return draw


DRAWS: dict[int, Callable[..., Any]] = {BATCH: batch_means} | {
    law.code: sums_of_variates(law) if law.count_of is None else sums_of_counts(law)
    for law in formulas.LAWS.values()
}
"""Functions that draw four steps of noise, by the code of the law of the data."""
