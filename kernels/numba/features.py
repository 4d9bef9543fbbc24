"""Least squares on drawn features, compiled: the loops of `kernels.features`, to the same bits."""

from __future__ import annotations

import numpy as np

from .. import noise as formulas
from ..contract import LEAF
from ..feature_laws import (
    FEATURES,
    LABELS,
    LAPLACE,
    LAPLACE_UNIT,
    NORMAL,
    UNIFORM,
    UNIFORM_UNIT,
)
from .in_step import combine, folded, move
from .jit import kernel
from .noise import ONE_LEAF, draw_words


@kernel
def draw(law, k0, k1, first, step, replica, block, purpose, words, z):
    """Write four samples of features for a leaf of coordinates to z, in four rows."""
    c1, c2, c3 = formulas.counter(step, replica, block, purpose)
    draw_words(ONE_LEAF, first, c1, c2, c3, k0, k1, words, 0)
    if law == NORMAL:
        for j in range(LEAF):
            x, y = formulas.box_muller(words[j], words[LEAF + j])
            z[j] = np.float64(x)
            z[LEAF + j] = np.float64(y)
        for j in range(2 * LEAF, 3 * LEAF):
            x, y = formulas.box_muller(words[j], words[LEAF + j])
            z[j] = np.float64(x)
            z[LEAF + j] = np.float64(y)
    elif law == LAPLACE:
        for j in range(4 * LEAF):
            z[j] = np.float64(formulas.laplace(words[j])) * LAPLACE_UNIT
    elif law == UNIFORM:
        for j in range(4 * LEAF):
            z[j] = (np.float64(formulas.signed(words[j])) + 0.5) * UNIFORM_UNIT
    else:
        for j in range(4 * LEAF):
            z[j] = np.float64(np.int64(words[j] >> np.uint32(31)) * 2 - 1)


@kernel
def draw_all(law, k0, k1, step, replica, block, words, drawn, z):
    """Write four samples of features for all coordinates to z, (4, d)."""
    d = z.shape[1]
    for first in range(0, d, LEAF):
        draw(law, k0, k1, first, step, replica, block, FEATURES, words, drawn)
        for lane in range(4):
            for j in range(LEAF):
                z[lane, first + j] = drawn[lane * LEAF + j]


@kernel
def add_sample(z, root, label, q, error, product, leaf, sums, xi):
    """Add the gradient of a sample to xi, (d,), with a label noise of variance 1."""
    for j in range(q.size):
        product[j] = (z[j] * root[j]) * q[j]
    total = folded(product, leaf, sums)
    for j in range(q.size):
        xi[j] = xi[j] + z[j] * (root[j] * total + label[j] * error)


@kernel
def advance_state(
    law, k0, k1, root, variance, label, point, change, kick, batch, replica, begin, end, state
):
    """Take a state through the steps begin .. end - 1; see `kernels.features.advance_features`."""
    n, d = state.shape
    words = np.zeros(4 * LEAF, dtype=np.uint32)
    drawn, errors = np.zeros(4 * LEAF), np.zeros(4 * LEAF)
    z, new = np.zeros((4, d)), np.zeros((n, d))
    q, xi, product = np.zeros(d), np.zeros(d), np.zeros(d)
    leaf, sums = np.zeros(LEAF), np.zeros(d // LEAF + 1)
    inverse = 1.0 / batch
    for step in range(begin, end):
        combine(point, state, q)
        xi[:] = 0.0
        for block in range((batch + 3) // 4):
            draw_all(law, k0, k1, step, replica, block, words, drawn, z)
            draw(NORMAL, k0, k1, 0, step, replica, block, LABELS, words, errors)
            used = min(batch - 4 * block, 4)
            for lane in range(used):
                error = errors[lane * LEAF]
                add_sample(z[lane], root, label, q, error, product, leaf, sums, xi)
        for j in range(d):
            xi[j] = xi[j] * inverse - variance[j] * q[j]
        move(change, kick, xi, state, new)


def advance_features(samples, change, kick, batch, replica, begin, end, state):
    """Take a state through the steps begin .. end - 1 of equal settings, in place."""
    law, (k0, k1), *arrays = samples
    advance_state(law, k0, k1, *arrays, change, kick, batch, replica, begin, end, state)
