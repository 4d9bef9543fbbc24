"""Noise that grows with the risk, compiled: the loops of `kernels.scaled_noise`, to its bits."""

from __future__ import annotations

import numpy as np

from ..contract import LEAF
from .in_step import combine, folded, move
from .jit import kernel
from .noise import ONE_LEAF, draw_sums


@kernel
def draw_quad(noise, replica, quad, samples, words, x, count, leaf, z, held):
    """Write the sums of samples of the four steps of a quad to z, (4, d), unless it holds them."""
    if held[0] == quad and held[1] == samples:
        return
    held[0] = quad
    held[1] = samples
    numbers = np.full(4, samples)
    for first in range(0, z.shape[1], LEAF):
        draw_sums(ONE_LEAF, noise, first, replica, quad, numbers, words, x, count, leaf)
        for lane in range(4):
            for j in range(LEAF):
                z[lane, first + j] = leaf[lane * LEAF + j]


@kernel
def advance_scaled_state(
    noise, half, slope, point, z, held, change, kick, samples, replica, begin, end, state
):
    """Take a state through the steps begin .. end - 1; see `scaled_noise.advance_scaled`."""
    n, d = state.shape
    words, x = np.zeros(4 * LEAF, dtype=np.uint32), np.zeros(4 * LEAF, dtype=np.float32)
    count, drawn = np.zeros(4 * LEAF, dtype=np.int64), np.zeros(4 * LEAF)
    q, xi, product, new = np.zeros(d), np.zeros(d), np.zeros(d), np.zeros((n, d))
    leaf, sums = np.zeros(LEAF), np.zeros(d // LEAF + 1)
    for step in range(begin, end):
        lane = step % 4
        draw_quad(noise, replica, step // 4, samples, words, x, count, drawn, z, held)
        combine(point, state, q)
        for j in range(d):
            product[j] = (half[j] * q[j]) * q[j]
        root = np.sqrt(1.0 + slope * folded(product, leaf, sums))
        for j in range(d):
            xi[j] = root * z[lane, j]
        move(change, kick, xi, state, new)


def advance_scaled(scaled, change, kick, samples, replica, begin, end, state):
    """Take a state through the steps begin .. end - 1 of equal settings, in place."""
    advance_scaled_state(*scaled, change, kick, samples, replica, begin, end, state)
