"""Steps of a tile at which much happens: settings that change at every step, and dense records.

Where steps are alike, and few are recorded, `tile` builds coefficients once and measures apart.
Here both are done on the way, with a coordinate's state in registers: a coefficient is the product
of a factor of the step and of a row of values, in the order of `tile.build_coefficients`, and the
weighted squares of four steps are summed over leaves together. The bits are the same.
"""

from __future__ import annotations

import numpy as np

from ..contract import LEAF, NARROW
from .jit import inlined, kernel, replace_component
from .lanes import lanes, place
from .tile import GAP, stepped

QUAD = 4  # steps that are taken together


@kernel
def find_products(zeros, entries, begin, end, found):
    """Write the numbers of the entries that ``A - I`` and b of one component consist of.

    Return 1 if each is one entry, the first of which has a row of values; else 0.
    """
    if len(zeros) != 1:
        return 0
    found[0] = -1
    found[1] = -1
    for e in range(begin, end):
        column = entries[e, 2]
        if found[column] >= 0:
            return 0
        found[column] = e
    if found[0] < 0 or found[1] < 0 or entries[found[0], 3] < 0:
        return 0
    return 1


@kernel
def write_factors(timeline, segment, g, t, stop, entries, factors, found, walk):
    """Write the factors of ``A - I`` and b, and the amplitude, of each of the steps t .. stop - 1.

    They are rows of `walk`; `segment` is the one that step t is in.
    """
    for i in range(stop - t):
        while timeline.segment_end[segment] <= t + i:
            segment += 1
        for k in range(2):
            e = found[k]
            walk[k, i] = timeline.weights[segment, g, entries[e, 0]] * factors[e]
        walk[2, i] = timeline.amplitude[segment, g]


@inlined
def walk_in_registers(
    leaves, steps, has_row, is_recorded, first, walk, drift, kick, values, sigma, at, step, z,
    state, read, weight, squares,
):  # fmt: skip
    """Take one component a few steps on, whose factors are columns of `walk` from `first` on.

    The first of them is `step` of the burst. ``A - I`` is a multiple of values[drift:], and b
    one of values[kick:], or a number where the tuple `has_row` is empty. If `is_recorded` has an
    item, the weighted squares before each step are written to rows of `squares`.
    """
    T = lanes(leaves)
    a = (0.0, 0.0, 0.0, 0.0)
    b = (0.0, 0.0, 0.0, 0.0)
    c = (0.0, 0.0, 0.0, 0.0)
    for i in range(steps):
        a = replace_component(a, i, walk[0, first + i])
        b = replace_component(b, i, walk[1, first + i])
        c = replace_component(c, i, walk[2, first + i])
    scale = read[0]
    for j in range(T):
        # an unsigned index spares the test for a negative one
        k = np.uint64(at) + np.uint64(j)
        s = state[j]
        h = values[np.uint64(drift) + np.uint64(j)]
        unit = 1.0
        if len(has_row) > 0:
            unit = values[np.uint64(kick) + np.uint64(j)]
        size = sigma[k]
        for i in range(steps):
            if len(is_recorded) > 0:
                evaluated = scale * s
                squares[i * T + j] = (weight[k] * evaluated) * evaluated
            x = np.float64(z[np.uint64(place(leaves, step + i)) + np.uint64(j)])
            s = s + (((0.0 + b[i] * unit) * (size * c[i])) * x + (0.0 + a[i] * h) * s)
        state[j] = s


@kernel
def walk_burst(
    zeros, leaves, is_recorded, begin, end, walk, entries, found, values, sigma, at, z, state, read,
    weight, squares,
):  # fmt: skip
    """Take steps begin .. end - 1 of a burst, four at a time.

    If `is_recorded`, they are four, and the weighted squares before each are wanted.
    """
    if len(zeros) == 1:
        drift = entries[found[0], 3] * sigma.size + at
        kick = entries[found[1], 3] * sigma.size + at
        if entries[found[1], 3] < 0:
            walk_all(
                leaves, (), is_recorded, begin, end, walk, drift, kick, values, sigma, at, z, state,
                read, weight, squares,
            )  # fmt: skip
        else:
            walk_all(
                leaves, (1,), is_recorded, begin, end, walk, drift, kick, values, sigma, at, z,
                state, read, weight, squares,
            )  # fmt: skip


@kernel
def walk_all(
    leaves, has_row, is_recorded, begin, end, walk, drift, kick, values, sigma, at, z, state, read,
    weight, squares,
):  # fmt: skip
    """Take the steps of `walk_burst`, given where the rows of values are."""
    if is_recorded:
        walk_in_registers(
            leaves, QUAD, has_row, (1,), 0, walk, drift, kick, values, sigma, at, begin, z, state,
            read, weight, squares,
        )  # fmt: skip
        return
    whole = (end - begin) // QUAD * QUAD
    for i in range(0, whole, QUAD):
        walk_in_registers(
            leaves, QUAD, has_row, (), i, walk, drift, kick, values, sigma, at, begin + i, z, state,
            read, weight, squares,
        )  # fmt: skip
    for i in range(whole, end - begin):
        walk_in_registers(
            leaves, 1, has_row, (), i, walk, drift, kick, values, sigma, at, begin + i, z, state,
            read, weight, squares,
        )  # fmt: skip


@kernel
def record_quad(zeros, leaves, step, coefficient, z, state, read, weight, at, squares):
    """Take four steps of a burst, and write the weighted squares before each."""
    n = len(zeros)
    T = lanes(leaves)
    scale = zeros
    for a in range(n):
        scale = replace_component(scale, a, read[a])
    for j in range(T):
        s = zeros
        for a in range(n):
            s = replace_component(s, a, state[a * T + j])
        for i in range(QUAD):
            evaluated = scale[0] * s[0]
            for a in range(1, n):
                evaluated = evaluated + scale[a] * s[a]
            # an unsigned index spares the test for a negative one
            w = weight[np.uint64(at) + np.uint64(j)]
            squares[i * T + j] = (w * evaluated) * evaluated
            x = np.float64(z[np.uint64(place(leaves, step + i)) + np.uint64(j)])
            s = stepped(zeros, T + GAP, s, x, coefficient, j)
        for a in range(n):
            state[a * T + j] = s[a]


@kernel
def sum_quad(leaves, squares, folded, partial, record, g):
    """Sum the rows of `squares` over each leaf, in the order of the contract, to four records.

    All leaves are folded to eight numbers each, and these to one, so that both are vectorised.
    """
    rows = max(len(leaves), 1)
    count = QUAD * rows
    x = squares
    if len(leaves) == 0:
        for i in range(QUAD):
            for j in range(8):
                k = i * NARROW + j
                folded[i * 8 + j] = x[k] + x[k + 8]
    for leaf in range(QUAD * len(leaves)):
        at = leaf * LEAF
        for j in range(8):
            k = at + j
            folded[leaf * 8 + j] = ((x[k] + x[k + 32]) + (x[k + 16] + x[k + 48])) + (
                (x[k + 8] + x[k + 40]) + (x[k + 24] + x[k + 56])
            )
    for leaf in range(count):
        k = leaf * 8
        y = folded
        squares[leaf] = ((y[k] + y[k + 4]) + (y[k + 2] + y[k + 6])) + (
            (y[k + 1] + y[k + 5]) + (y[k + 3] + y[k + 7])
        )
    for i in range(QUAD):
        for leaf in range(rows):
            partial[record + i, g, 0, leaf] = squares[i * rows + leaf]
