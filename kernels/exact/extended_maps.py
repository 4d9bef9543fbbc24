"""The maps of `maps` with twice the digits, for settings that oscillate near their limit.

With momentum and a large step the iterate flips its sign in every step. The map of k steps then has
entries of up to ``min(k, 1 / (1 - momentum))`` whose squares cancel, so that a double loses twice
as many digits as the square of that has. Here a number is the sum of two doubles, `high` and
`low`, of which the second is at most half a unit in the last place of the first. That has 32
digits, and what remains is the error of the input alone.

Arrays come in pairs of the same layout as in `maps`.
"""

from __future__ import annotations

import numpy as np

from ..numba.jit import inlined, kernel, product_error
from .maps import TILE, build_kick, end_of_columns, square
from .sums import tree_sum

MOST_CANCELLATION = 3.0
"""Terms of the square of two steps' map, relative to their sum or 1, above which digits are lost.

With momentum near 1 that is reached at three quarters of the largest stable learning rate."""
ONE_STEP_CANCELLATION = 2.0
"""The same for the map of one step; it saves the square where nothing can be lost."""


@inlined
def plus(high, low, x, x_low):
    """Add two numbers of two doubles each."""
    total = high + x
    part = total - high
    rest = ((high - (total - part)) + (x - part)) + (low + x_low)
    answer = total + rest
    return answer, rest - (answer - total)


@inlined
def plus_product(high, low, x, x_low, y, y_low):
    """Add a product to a number; all are of two doubles each."""
    product = x * y
    error = product_error(x, y, product) + (x * y_low + x_low * y)
    return plus(high, low, product, error)


@kernel
def loses_digits(read, pair, flags):
    """Return how many coordinates of a tile lose digits when the map in `pair` is squared.

    It is decided by the maps of one step and of two: the second is left behind the first.
    """
    n = len(read)
    rows = n * n + n + n * (n + 1) // 2
    count = 0.0
    if n == 1:
        return count
    for level in range(2):
        if level == 1:
            square(read, pair)
        begin = level * rows
        allowed = MOST_CANCELLATION if level == 1 else ONE_STEP_CANCELLATION
        for j in range(TILE):
            worst = 0.0
            for a in range(n):
                terms = 0.0
                result = 0.0
                for k in range(n):
                    x = pair[(begin + a * n + k) * TILE + j] * pair[(begin + k * n + a) * TILE + j]
                    terms += abs(x)
                    result += x
                worst = max(terms - allowed * max(abs(result), 1.0), worst)
            flags[j] = 1.0 if worst > 0.0 else 0.0
        count = tree_sum(flags)
        if count == 0.0:
            return count
    return count


@kernel
def one_step_map_extended(
    read, values, entries, factors, weight, noise, first, last, step, step_low
):
    """Write the map of one step, see `maps.one_step_map`."""
    n = len(read)
    dev = n * n
    cov = dev + n
    for j in range((cov + n) * TILE):
        step[j] = 0.0
        step_low[j] = 0.0
    for e in range(entries.shape[0]):
        row, column, source = entries[e, 1], entries[e, 2], entries[e, 3]
        if column > n:
            continue
        # b is built in the first n rows of the covariance, where its square ends up
        at = (cov + row) * TILE if column == n else (row * n + column) * TILE
        f = weight[entries[e, 0]] * factors[e]
        f_low = product_error(weight[entries[e, 0]], factors[e], f)
        if source < 0:
            for j in range(TILE):
                x, x_low = plus(step[at + j], step_low[at + j], f, f_low)
                step[at + j] = x
                step_low[at + j] = x_low
        else:
            for j in range(last - first):
                x, x_low = plus_product(
                    step[at + j], step_low[at + j], f, f_low, values[source, first + j], 0.0
                )
                step[at + j] = x
                step_low[at + j] = x_low
    for j in range(TILE):
        for a in range(n):
            d = step[(a * n + a) * TILE + j]
            d_low = step_low[(a * n + a) * TILE + j]
            step[(dev + a) * TILE + j] = d
            step_low[(dev + a) * TILE + j] = d_low
            x, x_low = plus(1.0, 0.0, d, d_low)
            step[(a * n + a) * TILE + j] = x
            step_low[(a * n + a) * TILE + j] = x_low
        for a in range(n - 1, -1, -1):
            for b in range(a, -1, -1):
                # from the last pair down: no b is overwritten before its last use
                x, x_low = plus_product(
                    0.0,
                    0.0,
                    step[(cov + a) * TILE + j],
                    step_low[(cov + a) * TILE + j],
                    noise[j],
                    0.0,
                )
                x, x_low = plus_product(
                    0.0,
                    0.0,
                    x,
                    x_low,
                    step[(cov + b) * TILE + j],
                    step_low[(cov + b) * TILE + j],
                )
                at = cov + a * (a + 1) // 2 + b
                step[at * TILE + j] = x
                step_low[at * TILE + j] = x_low
    for column in range(n + 1, end_of_columns(n, entries)):
        add_kick_extended(
            read, values, entries, factors, weight, noise, first, last, column, step, step_low
        )


@kernel
def add_kick_extended(
    read, values, entries, factors, weight, noise, first, last, column, step, step_low
):
    """Add the covariance of the kick in a column beyond the first, see `maps.add_kick`."""
    n = len(read)
    cov = n * n + n
    kick = np.empty(n * TILE)
    build_kick(values, entries, factors, weight, first, last, column, kick)
    for j in range(TILE):
        for a in range(n):
            for b in range(a + 1):
                at = (cov + a * (a + 1) // 2 + b) * TILE + j
                x, x_low = plus_product(0.0, 0.0, kick[a * TILE + j], 0.0, noise[j], 0.0)
                x, x_low = plus_product(step[at], step_low[at], x, x_low, kick[b * TILE + j], 0.0)
                step[at] = x
                step_low[at] = x_low


@kernel
def apply_extended(read, step, step_low, source, source_low, target, target_low, fresh_noise):
    """Apply the map `step` to the state `source`, into `target`, see `maps.apply`."""
    n = len(read)
    cov = n * n + n
    for j in range(TILE):
        for a in range(n):
            x = 0.0
            x_low = 0.0
            for k in range(n):
                x, x_low = plus_product(
                    x,
                    x_low,
                    step[(a * n + k) * TILE + j],
                    step_low[(a * n + k) * TILE + j],
                    source[k * TILE + j],
                    source_low[k * TILE + j],
                )
            target[a * TILE + j] = x
            target_low[a * TILE + j] = x_low
    for j in range(TILE):
        for a in range(n):
            for b in range(a + 1):
                at = (cov + a * (a + 1) // 2 + b) * TILE + j
                x = fresh_noise * step[at]
                x_low = fresh_noise * step_low[at]
                for k in range(n):
                    mv = 0.0
                    mv_low = 0.0
                    for i in range(n):
                        hi, lo = (k, i) if k > i else (i, k)
                        v = (n + hi * (hi + 1) // 2 + lo) * TILE + j
                        m = (a * n + i) * TILE + j
                        mv, mv_low = plus_product(
                            mv, mv_low, step[m], step_low[m], source[v], source_low[v]
                        )
                    m = (b * n + k) * TILE + j
                    x, x_low = plus_product(x, x_low, mv, mv_low, step[m], step_low[m])
                target[(n + a * (a + 1) // 2 + b) * TILE + j] = x
                target_low[(n + a * (a + 1) // 2 + b) * TILE + j] = x_low


@kernel
def square_extended(read, pair, pair_low):
    """Write the map of 2k steps just behind that of k steps, see `maps.square`."""
    n = len(read)
    dev = n * n
    rows = dev + n + n * (n + 1) // 2
    # The covariance goes as that of a state does, behind rows for means, which are written below.
    apply_extended(
        read,
        pair,
        pair_low,
        pair[dev * TILE :],
        pair_low[dev * TILE :],
        pair[(rows + dev) * TILE :],
        pair_low[(rows + dev) * TILE :],
        1.0,
    )
    for j in range(TILE):
        for a in range(n):
            for b in range(n):
                x = 0.0
                x_low = 0.0
                for k in range(n):
                    if a != b or k != a:
                        x, x_low = plus_product(
                            x,
                            x_low,
                            pair[(a * n + k) * TILE + j],
                            pair_low[(a * n + k) * TILE + j],
                            pair[(k * n + b) * TILE + j],
                            pair_low[(k * n + b) * TILE + j],
                        )
                if a == b:
                    d = pair[(dev + a) * TILE + j]
                    d_low = pair_low[(dev + a) * TILE + j]
                    m = pair[(a * n + a) * TILE + j]
                    m_low = pair_low[(a * n + a) * TILE + j]
                    d, d_low = plus_product(2.0 * d, 2.0 * d_low, d, d_low, d, d_low)
                    d, d_low = plus(d, d_low, x, x_low)
                    m, m_low = plus_product(x, x_low, m, m_low, m, m_low)
                    x, x_low = plus(1.0, 0.0, d, d_low)
                    far, far_low = plus(m, m_low, -1.0, 0.0)
                    near_one = abs(d) < 0.5
                    x = x if near_one else m
                    x_low = x_low if near_one else m_low
                    pair[(rows + dev + a) * TILE + j] = d if near_one else far
                    pair_low[(rows + dev + a) * TILE + j] = d_low if near_one else far_low
                pair[(rows + a * n + b) * TILE + j] = x
                pair_low[(rows + a * n + b) * TILE + j] = x_low


@kernel
def responses_extended(read, states, states_low, at, signal, noise):
    """Write the squared response and the noise variance, see `maps.responses`."""
    n = len(read)
    for j in range(TILE):
        y = 0.0
        y_low = 0.0
        v = 0.0
        v_low = 0.0
        for a in range(n):
            y, y_low = plus_product(
                y,
                y_low,
                read[a],
                0.0,
                states[at + a * TILE + j],
                states_low[at + a * TILE + j],
            )
            for b in range(n):
                hi, lo = (a, b) if a > b else (b, a)
                place = at + (n + hi * (hi + 1) // 2 + lo) * TILE + j
                weight = read[a] * read[b]
                v, v_low = plus_product(
                    v,
                    v_low,
                    weight,
                    product_error(read[a], read[b], weight),
                    states[place],
                    states_low[place],
                )
        signal[j] = y * y
        noise[j] = 0.0 if v < 0.0 else v  # A variance below zero is a rounding error.
