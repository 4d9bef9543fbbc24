"""Noise of one coordinate, for GPUs: a thread draws it for four steps at a time.

It is left in rows of `z`, from z[at] on, a row for each step; rows are `stride` apart. Where sums
of samples are drawn, samples[own], ... are their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import noise as formulas
from ..noise import GRADIENT, WORD
from .jit import cuda, device, read_at, write_at

BATCH = -1  # instead of the code of a law: one normal for the mean of a batch

_LOW = np.uint64(0xFFFFFFFF)


@device
def words_of(noise, coordinate, replica, quad, block, purpose):
    """The four words of a block.

    No block's number is as large as 2^30, so that the key is found where it is, but not before the
    loop over blocks: ten rounds' keys would take as many pairs of registers.
    """
    c1, c2, c3 = formulas.counter(quad, replica, block, purpose)
    late = 2 * (block >> 30)
    k0, k1 = read_at(noise.key, late), read_at(noise.key, late + 1)
    return formulas.philox(np.uint64(coordinate), c1, c2, c3, k0, k1)


@device
def normals_of(noise, coordinate, replica, quad, block, purpose):
    """Four normals from a block of words."""
    w0, w1, w2, w3 = words_of(noise, coordinate, replica, quad, block, purpose)
    a, b = formulas.box_muller(w0, w1)
    c, d = formulas.box_muller(w2, w3)
    return a, b, c, d


@device
def batch_means(noise, coordinate, replica, quad, samples, own, z, at, stride):
    """One normal for each step."""
    a, b, c, d = normals_of(noise, coordinate, replica, quad, 0, GRADIENT)
    write_at(z, at, a)
    write_at(z, at + stride, b)
    write_at(z, at + 2 * stride, c)
    write_at(z, at + 3 * stride, d)


@device
def most_of(samples, own):
    """The largest number of samples in the four steps."""
    most = np.int64(0)
    for i in range(4):
        most = max(most, read_at(samples, own + i))
    return most


def sums_of_counts(law: formulas.Law) -> Any:
    """A function that draws sums of whole samples."""
    count_of, per_word, factor, shift = law.count_of, law.per_word, law.factor, law.shift

    @device
    def draw(noise, coordinate, replica, quad, samples, own, z, at, stride):
        blocks = np.int32((most_of(samples, own) + per_word - 1) // per_word)
        count = cuda.local.array(4, np.int64)
        for i in range(4):
            count[i] = 0
        block = np.int32(0)
        while block < blocks:
            words = words_of(noise, coordinate, replica, quad, block, GRADIENT)
            for i in range(4):
                used = min(read_at(samples, own + i) - block * per_word, per_word)
                if used > 0:
                    if per_word > 1:
                        mask = np.uint32(_LOW >> np.uint64(WORD - used))
                        count[i] += np.int64(count_of(np.uint32(words[i] & mask)))
                    else:
                        count[i] += np.int64(count_of(words[i]))
            block = np.int32(block + 1)
        for i in range(4):
            moved = shift * np.float64(read_at(samples, own + i))
            write_at(z, at + i * stride, np.float64(factor * count[i]) + moved)

    return draw


def sums_of_variates(law: formulas.Law) -> Any:
    """A function that draws sums of real samples."""
    variates, steps = law.variates, law.steps
    blocks_each = 4 // steps  # for a sample of all four steps

    @device
    def draw(noise, coordinate, replica, quad, samples, own, z, at, stride):
        for i in range(4):
            write_at(z, at + i * stride, 0.0)
        blocks = np.int32(blocks_each * most_of(samples, own))
        block = np.int32(0)
        while block < blocks:
            a, b, c, d = words_of(noise, coordinate, replica, quad, block, GRADIENT)
            drawn = variates(a, b, c, d, noise.parameter)
            sample = block // blocks_each
            first = block % blocks_each * steps
            for i in range(steps):
                if sample < read_at(samples, own + first + i):
                    row = at + (first + i) * stride
                    write_at(z, row, read_at(z, row) + np.float64(drawn[i]))
            block = np.int32(block + 1)

    return draw


DRAWS: dict[int, Callable[..., Any]] = {BATCH: batch_means} | {
    law.code: sums_of_variates(law) if law.count_of is None else sums_of_counts(law)
    for law in formulas.LAWS.values()
}
"""Functions that draw four steps of noise, by the code of the law of the data."""
