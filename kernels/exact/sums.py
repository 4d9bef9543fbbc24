"""The risk of a tile as a weighted sum, in a fixed order."""

from __future__ import annotations

import math

from ..numba.jit import kernel
from .maps import TILE


@kernel
def multiply_field(base, field, first, last, product):
    """Multiply `base` by one tile of a field, which has length 1 if it is the same everywhere."""
    if field.shape[0] == 1:
        for j in range(last - first):
            product[j] = base[j] * field[0]
    else:
        for j in range(last - first):
            product[j] = base[j] * field[first + j]


@kernel
def write_risk_weights(h, c, second_moment, count, first, last, signal_weight, noise_weight, spare):
    """Write the risk per squared response to w0 = 1, and per variance, on one tile.

    The second is 0 where there is no gradient noise, whose response may be beyond a double.
    """
    for j in range(last - first):
        spare[j] = 0.5 * h[first + j]
    multiply_field(spare, count, first, last, noise_weight)
    multiply_field(noise_weight, second_moment, first, last, signal_weight)
    for j in range(last - first):
        spare[j] = 1.0
    multiply_field(spare, c, first, last, spare)
    for j in range(last - first):
        noise_weight[j] = 0.0 if spare[j] == 0.0 else noise_weight[j]
    for j in range(last - first, signal_weight.shape[0]):
        signal_weight[j] = 0.0
        noise_weight[j] = 0.0


@kernel
def write_noise(c, inverse_batch, first, last, noise):
    """Write the variance of the gradient on one tile, 0 for coordinates beyond the last."""
    for j in range(noise.shape[0]):
        noise[j] = inverse_batch
    multiply_field(noise, c, first, last, noise)
    for j in range(last - first, noise.shape[0]):
        noise[j] = 0.0


@kernel
def add_tiles(partial, risk):
    """Add up the tiles of each record, (records, tiles), into `risk`, (records,)."""
    for record in range(partial.shape[0]):
        x = 0.0
        for tile in range(partial.shape[1]):
            x += partial[record, tile]
        risk[record] = x


@kernel
def tree_sum(values):
    """Sum a tile pairwise in a fixed order, which overwrites it."""
    half = values.shape[0] // 2
    while half >= 8:
        for j in range(half):
            values[j] += values[half + j]
        half //= 2
    return ((values[0] + values[4]) + (values[2] + values[6])) + (
        (values[1] + values[5]) + (values[3] + values[7])
    )


@kernel
def weighted_sum(signal_weight, noise_weight, signal, noise):
    """Sum weight times response over a tile, pairwise in a fixed order.

    Responses overflow to inf, or to NaN where two infinities met; both mean a risk
    beyond the range of a double. A weight of zero takes no part.
    """
    for j in range(TILE):
        s = signal_weight[j]
        v = noise_weight[j]
        x = s * signal[j]
        y = v * noise[j]
        x = (0.0 if s == 0.0 else x) + (0.0 if v == 0.0 else y)
        signal[j] = x if x == x else math.inf
    return tree_sum(signal)
