"""Noise of one coordinate, for GPUs: a thread draws it for four steps at a time.

It is left in rows of `z`, from z[at] on, a row for each step; rows are `stride` apart. Where sums
of samples are drawn, samples[own], ... are their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import noise as formulas
from ..noise import BITS, GRADIENT, LAPLACE, NORMAL, RADEMACHER, STUDENT, UNIFORM
from .jit import cuda, device, pick, put

BATCH = -1  # instead of a code of noise.DATA: one normal for the mean of a batch

_LOW = np.uint64(0xFFFFFFFF)


@device
def words_of(noise, coordinate, replica, quad, block, purpose):
    """The four words of a block.

    No block's number is as large as 2^30, so that the key is found where it is, but not before the
    loop over blocks: ten rounds' keys would take as many pairs of registers.
    """
    c1, c2, c3 = formulas.counter(quad, replica, block, purpose)
    late = 2 * (block >> 30)
    k0, k1 = pick(noise.key, late), pick(noise.key, late + 1)
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
    put(z, at, a)
    put(z, at + stride, b)
    put(z, at + 2 * stride, c)
    put(z, at + 3 * stride, d)


@device
def most_of(samples, own):
    """The largest number of samples in the four steps."""
    most = np.int64(0)
    for i in range(4):
        most = max(most, pick(samples, own + i))
    return most


@device
def rademacher_sums(noise, coordinate, replica, quad, samples, own, z, at, stride):
    """Sums of signs: twice the bits set, less the number of samples."""
    blocks = np.int32((most_of(samples, own) + BITS - 1) // BITS)
    count = cuda.local.array(4, np.int64)
    for i in range(4):
        count[i] = 0
    block = np.int32(0)
    while block < blocks:
        words = words_of(noise, coordinate, replica, quad, block, GRADIENT)
        for i in range(4):
            used = min(pick(samples, own + i) - block * BITS, BITS)
            if used > 0:
                mask = np.uint32(_LOW >> np.uint64(BITS - used))
                count[i] += np.int64(formulas.ones(np.uint32(words[i] & mask)))
        block = np.int32(block + 1)
    for i in range(4):
        put(z, at + i * stride, np.float64(2 * count[i] - pick(samples, own + i)))


@device
def uniform_sums(noise, coordinate, replica, quad, samples, own, z, at, stride):
    """Sums of words as signed integers, and a half for each."""
    most = np.int32(most_of(samples, own))
    count = cuda.local.array(4, np.int64)
    for i in range(4):
        count[i] = 0
    block = np.int32(0)
    while block < most:
        words = words_of(noise, coordinate, replica, quad, block, GRADIENT)
        for i in range(4):
            if block < pick(samples, own + i):
                count[i] += np.int64(np.uint32(words[i]).view(np.int32))
        block = np.int32(block + 1)
    for i in range(4):
        drawn = np.float64(pick(samples, own + i))
        put(z, at + i * stride, np.float64(count[i]) + 0.5 * drawn)


@device
def no_sums(samples, own, z, at, stride):
    """Set the sums of four steps to zero; the largest number of samples that are to come."""
    for i in range(4):
        put(z, at + i * stride, 0.0)
    return np.int32(most_of(samples, own))


@device
def add_sample(sample, samples, own, x, z, at):
    """Add a variate to the sum of step i, if that has as many."""
    if sample < pick(samples, own):
        put(z, at, pick(z, at) + np.float64(x))


@device
def student_sums(noise, coordinate, replica, quad, samples, own, z, at, stride):
    """Sums of variates, two blocks a sample."""
    most = no_sums(samples, own, z, at, stride)
    block = np.int32(0)
    while block < np.int32(2 * most):
        words = words_of(noise, coordinate, replica, quad, block, GRADIENT)
        i = 2 * (block & 1)
        x = formulas.student_t(words[0], words[1], noise.exponent)
        add_sample(block // 2, samples, own + i, x, z, at + i * stride)
        i += 1
        x = formulas.student_t(words[2], words[3], noise.exponent)
        add_sample(block // 2, samples, own + i, x, z, at + i * stride)
        block = np.int32(block + 1)


@device
def normal_sums(noise, coordinate, replica, quad, samples, own, z, at, stride):
    """Sums of variates, of which a block has one for each step."""
    most = no_sums(samples, own, z, at, stride)
    block = np.int32(0)
    while block < most:
        words = words_of(noise, coordinate, replica, quad, block, GRADIENT)
        a, b = formulas.box_muller(words[0], words[1])
        add_sample(block, samples, own, a, z, at)
        add_sample(block, samples, own + 1, b, z, at + stride)
        a, b = formulas.box_muller(words[2], words[3])
        add_sample(block, samples, own + 2, a, z, at + 2 * stride)
        add_sample(block, samples, own + 3, b, z, at + 3 * stride)
        block = np.int32(block + 1)


@device
def laplace_sums(noise, coordinate, replica, quad, samples, own, z, at, stride):
    """The same of another law."""
    most = no_sums(samples, own, z, at, stride)
    block = np.int32(0)
    while block < most:
        words = words_of(noise, coordinate, replica, quad, block, GRADIENT)
        for i in range(4):
            add_sample(block, samples, own + i, formulas.laplace(words[i]), z, at + i * stride)
        block = np.int32(block + 1)


DRAWS: dict[int, Callable[..., Any]] = {
    BATCH: batch_means,
    NORMAL: normal_sums,
    UNIFORM: uniform_sums,
    RADEMACHER: rademacher_sums,
    LAPLACE: laplace_sums,
    STUDENT: student_sums,
}
"""What draws four steps of noise, by the law of the data."""
