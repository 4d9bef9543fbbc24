"""The map of many steps of a tile of coordinates, and the factor of its noise, for leaps.

A leap of k steps draws the state from its Gaussian law, ``s' = M s + L z``. There (M, V) is the map
of one step to the power of k, V is the covariance of the noise, and V = L L^T. A map has the rows
of those in `maps`, but a tile here has any number of leaves, T = LEAF len(leaves) coordinates. A
coordinate that would lose digits is computed with sums of two doubles, as in `extended_maps`,
whatever the others of its tile are.

V is in units of the squared ``scale``, the largest entry of a coordinate's kicks, as the square of
a kick may be beyond the range of a double where the kick is not. The map of a whole period, which
is raised to a power like that of a step, has several kicks.
"""

from __future__ import annotations

import numpy as np

from ..contract import LEAF
from ..numba.jit import kernel
from .extended_maps import MOST_CANCELLATION, ONE_STEP_CANCELLATION, plus, plus_product


@kernel
def largest_kicks(zeros, leaves, columns, coefficient, stride, scale):
    """Write the largest entry of each coordinate's kicks to `scale`, or 1 if all are zero."""
    n = len(zeros)
    T = LEAF * len(leaves)
    for j in range(T):
        scale[j] = 0.0
    for a in range(n):
        for column in range(n, columns):
            at = (a * columns + column) * stride
            for j in range(T):
                scale[j] = max(scale[j], abs(coefficient[at + j]))
    for j in range(T):
        scale[j] = scale[j] if scale[j] > 0.0 else 1.0


@kernel
def one_step_extended(zeros, leaves, columns, coefficient, stride, scale, out, low):
    """Write the map of one step from coefficients in rows `stride` apart, and its second digits.

    For each component there are so many rows of them: n, and one of each kick.
    """
    n = len(zeros)
    T = LEAF * len(leaves)
    dev = n * n
    cov = dev + n
    largest_kicks(zeros, leaves, columns, coefficient, stride, scale)
    for j in range(T):
        for a in range(n):
            for b in range(n):
                out[(a * n + b) * T + j] = coefficient[(a * columns + b) * stride + j]
                low[(a * n + b) * T + j] = 0.0
            d = coefficient[(a * columns + a) * stride + j]
            m, m_low = plus(1.0, 0.0, d, 0.0)
            out[(dev + a) * T + j] = d
            low[(dev + a) * T + j] = 0.0
            out[(a * n + a) * T + j] = m
            low[(a * n + a) * T + j] = m_low
            for b in range(a + 1):
                out[(cov + a * (a + 1) // 2 + b) * T + j] = 0.0
                low[(cov + a * (a + 1) // 2 + b) * T + j] = 0.0
    for column in range(n, columns):
        for j in range(T):
            for a in range(n):
                x = coefficient[(a * columns + column) * stride + j] / scale[j]
                for b in range(a + 1):
                    y = coefficient[(b * columns + column) * stride + j] / scale[j]
                    at = (cov + a * (a + 1) // 2 + b) * T
                    v, v_low = plus_product(out[at + j], low[at + j], x, 0.0, y, 0.0)
                    out[at + j] = v
                    low[at + j] = v_low


@kernel
def compose(zeros, leaves, second, first, out):
    """Write the map of `first`, then `second`, to `out`."""
    n = len(zeros)
    T = LEAF * len(leaves)
    dev = n * n
    cov = dev + n
    for j in range(T):
        for a in range(n):
            for b in range(n):
                x = 0.0
                for k in range(n):
                    if a != b or k != a:
                        x += second[(a * n + k) * T + j] * first[(k * n + b) * T + j]
                if a == b:
                    d2 = second[(dev + a) * T + j]
                    d1 = first[(dev + a) * T + j]
                    d = ((d2 + d1) + d2 * d1) + x
                    m = second[(a * n + a) * T + j] * first[(a * n + a) * T + j] + x
                    x = 1.0 + d if abs(d) < 0.5 else m
                    out[(dev + a) * T + j] = d if abs(d) < 0.5 else m - 1.0
                out[(a * n + b) * T + j] = x
        for a in range(n):
            for b in range(a + 1):
                x = second[(cov + a * (a + 1) // 2 + b) * T + j]
                for k in range(n):
                    mv = 0.0
                    for i in range(n):
                        hi, lo = (k, i) if k > i else (i, k)
                        v = first[(cov + hi * (hi + 1) // 2 + lo) * T + j]
                        mv += second[(a * n + i) * T + j] * v
                    x += mv * second[(b * n + k) * T + j]
                out[(cov + a * (a + 1) // 2 + b) * T + j] = x


@kernel
def compose_extended(zeros, leaves, second, second_low, first, first_low, out, out_low):
    """Write the map of `first`, then `second`, with numbers of two doubles each."""
    n = len(zeros)
    T = LEAF * len(leaves)
    dev = n * n
    cov = dev + n
    for j in range(T):
        for a in range(n):
            for b in range(n):
                x = 0.0
                low = 0.0
                for k in range(n):
                    if a != b or k != a:
                        p = (a * n + k) * T + j
                        q = (k * n + b) * T + j
                        x, low = plus_product(
                            x, low, second[p], second_low[p], first[q], first_low[q]
                        )
                if a == b:
                    p = (dev + a) * T + j
                    d, d_low = plus(second[p], second_low[p], first[p], first_low[p])
                    d, d_low = plus_product(
                        d, d_low, second[p], second_low[p], first[p], first_low[p]
                    )
                    d, d_low = plus(d, d_low, x, low)
                    q = (a * n + a) * T + j
                    m, m_low = plus_product(
                        x, low, second[q], second_low[q], first[q], first_low[q]
                    )
                    near, near_low = plus(1.0, 0.0, d, d_low)
                    far, far_low = plus(m, m_low, -1.0, 0.0)
                    x = near if abs(d) < 0.5 else m
                    low = near_low if abs(d) < 0.5 else m_low
                    out[p] = d if abs(d) < 0.5 else far
                    out_low[p] = d_low if abs(d) < 0.5 else far_low
                out[(a * n + b) * T + j] = x
                out_low[(a * n + b) * T + j] = low
        for a in range(n):
            for b in range(a + 1):
                at = (cov + a * (a + 1) // 2 + b) * T + j
                x = second[at]
                low = second_low[at]
                for k in range(n):
                    mv = 0.0
                    mv_low = 0.0
                    for i in range(n):
                        hi, lo = (k, i) if k > i else (i, k)
                        p = (a * n + i) * T + j
                        q = (cov + hi * (hi + 1) // 2 + lo) * T + j
                        mv, mv_low = plus_product(
                            mv, mv_low, second[p], second_low[p], first[q], first_low[q]
                        )
                    p = (b * n + k) * T + j
                    x, low = plus_product(x, low, mv, mv_low, second[p], second_low[p])
                out[at] = x
                out_low[at] = low


@kernel
def _note_cancellation(zeros, leaves, map_, allowed, flags):
    """Clear the flags of coordinates that lose no digits when the map is squared."""
    n = len(zeros)
    T = LEAF * len(leaves)
    for j in range(T):
        worst = 0.0
        for a in range(n):
            terms = 0.0
            result = 0.0
            for k in range(n):
                x = map_[(a * n + k) * T + j] * map_[(k * n + a) * T + j]
                terms += abs(x)
                result += x
            worst = max(terms - allowed * max(abs(result), 1.0), worst)
        flags[j] = flags[j] if worst > 0.0 else 0.0


@kernel
def _flag_lost_digits(zeros, leaves, first, second, flags):
    """Set the flag of every coordinate that loses digits, and return how many do.

    As in `extended_maps`, the maps of one step and of two decide; `second` receives the latter.
    """
    count = 0.0
    if len(zeros) > 1:
        flags[:] = 1.0
        _note_cancellation(zeros, leaves, first, ONE_STEP_CANCELLATION, flags)
        for lane in range(flags.shape[0]):
            count += flags[lane]
        if count > 0.0:
            compose(zeros, leaves, first, first, second)
            _note_cancellation(zeros, leaves, second, MOST_CANCELLATION, flags)
            count = 0.0
            for lane in range(flags.shape[0]):
                count += flags[lane]
    return count


@kernel
def _raise_to_power(zeros, leaves, is_extended, steps, maps, low):
    """Return the place of the map of `steps` steps, from that of one step in ``maps[1]``."""
    n = len(zeros)
    T = LEAF * len(leaves)
    whole, power, spare = 0, 1, 2
    maps[whole] = 0.0
    low[whole] = 0.0
    for a in range(n):
        for j in range(T):
            maps[whole, (a * n + a) * T + j] = 1.0
    while steps:
        if steps & 1:
            if is_extended:
                compose_extended(
                    zeros, leaves, maps[power], low[power], maps[whole], low[whole],
                    maps[spare], low[spare],
                )  # fmt: skip
            else:
                compose(zeros, leaves, maps[power], maps[whole], maps[spare])
            whole, spare = spare, whole
        steps >>= 1
        if steps:
            if is_extended:
                compose_extended(
                    zeros, leaves, maps[power], low[power], maps[power], low[power],
                    maps[spare], low[spare],
                )  # fmt: skip
            else:
                compose(zeros, leaves, maps[power], maps[power], maps[spare])
            power, spare = spare, power
    return whole


@kernel
def _factorize(zeros, leaves, whole, scale, L):
    """Write the lower Cholesky factors of the covariances; a column without variance is zero."""
    n = len(zeros)
    T = LEAF * len(leaves)
    cov = n * n + n
    L[:] = 0.0
    for j in range(T):
        for a in range(n):
            for b in range(a + 1):
                x = whole[(cov + a * (a + 1) // 2 + b) * T + j]
                for c in range(b):
                    x = x - L[(a * n + c) * T + j] * L[(b * n + c) * T + j]
                pivot = L[(b * n + b) * T + j]
                if a == b:
                    x = np.sqrt(x if x > 0.0 else 0.0)
                else:
                    x = x / (pivot if pivot > 0.0 else 1.0) if pivot > 0.0 else 0.0
                L[(a * n + b) * T + j] = x
    for a in range(n * n):
        for j in range(T):
            L[a * T + j] = L[a * T + j] * scale[j]


@kernel
def map_of_many_steps(zeros, leaves, steps, columns, coefficient, stride, maps, low, M, L):
    """Write the map of `steps` steps to M, and the factor of its noise to L, of n n rows each.

    For each component there are `columns` rows of coefficients, see `one_step_extended`. `maps` and
    `low` are memory for three maps, and their second digits.
    """
    n = len(zeros)
    T = LEAF * len(leaves)
    rows = n * n + n + n * (n + 1) // 2
    scale = np.empty(T)
    flags = np.empty(T)
    one_step_extended(zeros, leaves, columns, coefficient, stride, scale, maps[1], low[1])
    lost = _flag_lost_digits(zeros, leaves, maps[1], maps[2], flags)
    whole = _raise_to_power(zeros, leaves, False, steps, maps, low)
    if lost > 0.0:
        kept = np.empty(rows * T)
        for a in range(rows):
            for j in range(T):
                kept[a * T + j] = maps[whole, a * T + j]
        one_step_extended(zeros, leaves, columns, coefficient, stride, scale, maps[1], low[1])
        whole = _raise_to_power(zeros, leaves, True, steps, maps, low)
        for a in range(rows):
            for j in range(T):
                x = maps[whole, a * T + j]
                maps[whole, a * T + j] = x if flags[j] > 0.0 else kept[a * T + j]
    for a in range(n * n):
        for j in range(T):
            M[a * T + j] = maps[whole, a * T + j]
    _factorize(zeros, leaves, maps[whole], scale, L)
