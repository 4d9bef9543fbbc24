"""Risk of one-component recurrences (plain SGD) with constant settings, in closed form.

``R(t) = a^2t R(0) + b^2 c/B (1 - a^2t) / (1 - a^2)`` costs one logarithm per coordinate
and one exponential per coordinate and step. LLVM has no vector library here, so both are
written here: free of branches and of tables, so that the loops over a tile are vectorised.
"""

from __future__ import annotations

import math

import numpy as np

from ..numba.jit import fma, kernel
from .sums import add_tiles, tree_sum, write_noise, write_risk_weights

TILE = 512

LOG2_HIGH = 0.6931471803691238  # log(2) to 33 bits, so that k * LOG2_HIGH is exact
LOG2_LOW = 1.9082149292705877e-10
ROUND = 1.5 * 2.0**52  # adding it rounds to a whole number, which its low bits then hold
ROUND_BITS = 0x4338000000000000
ONE_BITS = 0x3FF0000000000000
HALF_ROOT_BITS = 0x3FE6A09E667F3BCD  # sqrt(1/2)
ODD = tuple(1.0 / n for n in range(19, 1, -2))
FACTORIALS = tuple(1.0 / math.factorial(n) for n in range(13, 1, -1))
BEYOND = 1.0e4  # stands for the infinite logarithms of 0 and of overflow
TINY, HUGE = 1e-280, 1e280  # between them products keep their digits
SCALE = 2.0**-512  # numbers whose square overflows are multiplied by it
LOG_SCALE = 1024.0 * math.log(2.0)  # which is taken from the logarithm of their square
MOST_GROWTH = 700.0  # the exponential of a larger number may be beyond a double


@kernel
def _log_square(d):
    """Return the log of ``(1 + d)^2``, to full relative precision also for tiny d."""
    x = d * (2.0 + d)
    m = 1.0 + d
    y = 1.0 + x if x > -0.5 else m * m
    bits = np.float64(max(y, 2.3e-308)).view(np.int64)
    k = (bits - HALF_ROOT_BITS) >> 52
    fraction = np.int64(bits - (k << 52)).view(np.float64) - 1.0
    f = x if k == 0 else fraction
    # log(1 + f) = 2 atanh(s), |s| < 0.172
    s = f / (2.0 + f)
    z = s * s
    p = ODD[0]
    for coefficient in ODD[1:]:
        p = fma(p, z, coefficient)
    k_real = np.int64(k + ROUND_BITS).view(np.float64) - ROUND
    log = fma(k_real, LOG2_HIGH, fma(k_real, LOG2_LOW, 2.0 * fma(s * z, p, s)))
    log = -BEYOND if y == 0.0 else log
    return log if y < 1.7e308 else BEYOND


@kernel
def _exp_pair(x):
    """Return ``exp(x)`` and ``exp(x) - 1``, both to full relative precision."""
    x = min(max(x, -1400.0), 1400.0)
    rounded = x * 1.4426950408889634 + ROUND
    k = np.float64(rounded).view(np.int64) - ROUND_BITS
    k_real = rounded - ROUND
    r = fma(k_real, -LOG2_LOW, fma(k_real, -LOG2_HIGH, x))
    p = FACTORIALS[0]
    for coefficient in FACTORIALS[1:]:
        p = fma(p, r, coefficient)
    p = fma(r * r, p, r)
    half = k >> 1
    low = np.int64(ONE_BITS + (half << 52)).view(np.float64)
    high = np.int64(ONE_BITS + ((k - half) << 52)).view(np.float64)
    e = (1.0 + p) * low * high
    return e, (p if k == 0 else e - 1.0)


@kernel
def _add_column(column, values, entries, factors, weights, first, last, total):
    """Sum the entries of one column of the recurrence on one tile, into `total`."""
    same = 0.0
    for e in range(entries.shape[0]):
        if entries[e, 2] == column and entries[e, 3] < 0:
            same += weights[entries[e, 0]] * factors[e]
    for j in range(TILE):
        total[j] = same
    for e in range(entries.shape[0]):
        source = entries[e, 3]
        if entries[e, 2] == column and source >= 0:
            f = weights[entries[e, 0]] * factors[e]
            for j in range(last - first):
                total[j] += f * values[source, first + j]


@kernel
def _mend(read, strange, change, kick, level, noise, rate, limit, log):
    """Compute again what is `strange`: its products leave the range of a double on the way.

    The arguments are those of `constant_risk` of the same names. A kick is about as large as the
    change over the curvature: in this order the products of the two stay near the result.
    """
    for j in range(TILE):
        x = change[j]
        lost = -x * (2.0 + x)
        first = noise[j] * kick[j]
        second = level[j] * kick[j]
        added = read * read * (first * second)
        total = read * read * ((first / -x) * (second / (2.0 + x)))
        # noise whose limit is beyond a double adds up until it gets there
        total = math.inf if lost == 0.0 else total
        added = 0.0 if abs(total) < math.inf else added
        total = total if abs(total) < math.inf else 0.0
        rate[j] = rate[j] if strange[j] == 0.0 else added
        limit[j] = limit[j] if strange[j] == 0.0 else total
        scaled = LOG_SCALE + _log_square(abs(1.0 + x) * SCALE - 1.0)
        log[j] = log[j] if log[j] < BEYOND else scaled


@kernel
def _write_wide_risk(t, signal, rate, limit, log, risk):
    """Write the risk of a tile after t steps, also where growth alone is beyond a double."""
    for j in range(TILE):
        growth = t * log[j]
        kept, less = _exp_pair(growth)
        quarter, _ = _exp_pair(0.25 * growth)
        x = signal[j] * kept
        y = limit[j] * -less
        # beside such growth the 1 that `less` takes away is nothing
        x = x if growth < MOST_GROWTH else signal[j] * quarter * quarter * quarter * quarter
        y = y if growth < MOST_GROWTH else -limit[j] * quarter * quarter * quarter * quarter
        x = 0.0 if signal[j] == 0.0 else x
        y = 0.0 if limit[j] == 0.0 else y
        x = x + y + rate[j] * t
        risk[j] = x if x == x else math.inf


@kernel
def constant_risk(
    start,
    read,
    values,
    entries,
    factors,
    weights,
    inverse_batch,
    steps,
    h,
    c,
    second_moment,
    count,
    partial,
):
    """Write the risk at `steps` to `partial`, for one component and constant settings.

    The arguments are those of `moments.propagate`, of which this is a special case; `weights` has
    shape (terms,), `steps` has shape (records,), and `partial` has shape (records, tiles).
    """
    signal = np.empty(TILE)
    noise = np.empty(TILE)
    change = np.empty(TILE)
    kick = np.empty(TILE)
    level = np.empty(TILE)
    rate = np.empty(TILE)
    limit = np.empty(TILE)
    strange = np.empty(TILE)
    log = np.empty(TILE)
    risk = np.empty(TILE)
    d = h.shape[0]
    for tile in range((d + TILE - 1) // TILE):
        first = tile * TILE
        last = min(first + TILE, d)
        write_risk_weights(h, c, second_moment, count, first, last, signal, noise, risk)
        write_noise(c, inverse_batch, first, last, level)
        _add_column(0, values, entries, factors, weights, first, last, change)
        _add_column(1, values, entries, factors, weights, first, last, kick)
        for j in range(TILE):
            x = change[j]
            signal[j] *= read * read * start * start
            # The kick's square may be beyond a double, where its product with the noise is not.
            square = kick[j] * level[j] * kick[j]
            added = noise[j] * (read * read) * square
            lost = -x * (2.0 + x)
            # at a^2 = 1 noise adds up without end: added is its rate, total its limit
            total = 0.0 if lost == 0.0 else added / lost
            rate[j] = added if lost == 0.0 else 0.0
            limit[j] = total
            log[j] = _log_square(x)
            low = min(square, added)
            high = max(max(square, added), max(abs(lost), abs(total)))
            flag = 1.0 if low < TINY else 0.0
            flag = flag if high < HUGE else 1.0
            flag = 0.0 if noise[j] == 0.0 else flag
            flag = 0.0 if kick[j] == 0.0 else flag
            strange[j] = flag
            risk[j] = 1.0 if log[j] > 0.0 else flag
        is_wide = tree_sum(risk) > 0.0
        if is_wide:
            _mend(read, strange, change, kick, level, noise, rate, limit, log)
        for record in range(steps.shape[0]):
            t = float(steps[record])
            if is_wide:
                _write_wide_risk(t, signal, rate, limit, log, risk)
            else:
                for j in range(TILE):
                    kept, less = _exp_pair(t * log[j])
                    x = 0.0 if signal[j] == 0.0 else signal[j] * kept
                    y = 0.0 if limit[j] == 0.0 else limit[j] * -less
                    x = x + y + rate[j] * t
                    risk[j] = x if x == x else math.inf
            partial[record, tile] = tree_sum(risk)


@kernel
def constant_settings_risk(
    start,
    read,
    values,
    entries,
    factors,
    weights,
    inverse_batch,
    steps,
    h,
    c,
    second_moment,
    count,
    risk,
):
    """Write the risk of all coordinates to `risk`, under many constant settings one by one.

    The arguments are those of `constant_risk`; `weights` has shape (settings, terms), and `risk`
    has shape (settings, records).
    """
    records = steps.shape[0]
    tiles = (h.shape[0] + TILE - 1) // TILE
    partial = np.empty((records, tiles))
    for setting in range(weights.shape[0]):
        constant_risk(
            start,
            read,
            values,
            entries,
            factors,
            weights[setting],
            inverse_batch,
            steps,
            h,
            c,
            second_moment,
            count,
            partial,
        )
        add_tiles(partial, risk[setting])
