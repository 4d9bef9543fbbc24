"""Coefficients, updates and risk of a tile of coordinates, for the CPU.

One vectorised loop each, as in `numba_noise`. The number of components is the length of the
tuple `zeros`: loops over components are unrolled, and a coordinate's state is in registers.
"""

from __future__ import annotations

import numpy as np

from ..contract import ALL, LEAF, LIMIT
from .jit import inlined, kernel, replaced

GAP = 8  # elements between rows of coefficients, which would else compete for cache lines


@kernel
def scaled_row(unit, factor, values, begin, out, at):
    """Add a multiple of values[begin:] to a row of `out`."""
    for j in range(LEAF * len(unit)):
        # an index without a sign needs no look at whether it counts from the end
        out[np.uint64(at) + np.uint64(j)] += factor * values[np.uint64(begin) + np.uint64(j)]


@kernel
def raised_row(unit, amount, out, at):
    """Add a number to a row of `out`."""
    for j in range(LEAF * len(unit)):
        out[np.uint64(at) + np.uint64(j)] += amount


@kernel
def kick_row(unit, amplitude, sigma, begin, out, at):
    """Multiply b, a row of `out`, with the size of the noise."""
    for j in range(LEAF * len(unit)):
        size = sigma[np.uint64(begin) + np.uint64(j)] * amplitude
        out[np.uint64(at) + np.uint64(j)] *= size


@kernel
def build_coefficients(
    zeros, unit, entries, factors, begin, end, weights, values, sigma, amplitude, first, out
):
    """Rows ``A - I`` and ``b sigma amplitude`` of a setting: for each a, n of A and one of b.

    The setting's entries are begin .. end - 1; `values` is flat, with rows as long as `sigma`.
    """
    T = LEAF * len(unit)
    n = len(zeros)
    out[:] = 0.0
    for e in range(begin, end):
        source = entries[e, 3]
        factor = weights[entries[e, 0]] * factors[e]
        at = (entries[e, 1] * (n + 1) + entries[e, 2]) * (T + GAP)
        if source < 0:
            raised_row(unit, factor, out, at)
        else:
            scaled_row(unit, factor, values, source * sigma.size + first, out, at)
    for a in range(n):
        kick_row(unit, amplitude, sigma, first, out, (a * (n + 1) + n) * (T + GAP))


@inlined
def together(zeros, unit, steps, begin, coefficient, z, state):
    """Some steps with the state in registers; the noise of the first is in z[begin:]."""
    n = len(zeros)
    T = LEAF * len(unit)
    for j in range(T):
        s = zeros
        for a in range(n):
            s = replaced(s, a, state[a * T + j])
        for i in range(steps):
            # an index without a sign needs no look at whether it counts from the end
            x = np.float64(z[np.uint64(begin) + np.uint64(i * T + j)])
            s = moved(zeros, T + GAP, s, x, coefficient, j)
        for a in range(n):
            state[a * T + j] = s[a]


@kernel
def whole_quads(zeros, unit, begin, end, coefficient, z, state):
    """Steps begin .. end - 1, four at a time; row i of `z` is i's."""
    for step in range(begin, end, 4):
        together(zeros, unit, 4, step * LEAF * len(unit), coefficient, z, state)


@kernel
def one_step(zeros, unit, begin, coefficient, z, state):
    """One step with the noise of z[begin:]."""
    together(zeros, unit, 1, begin, coefficient, z, state)


@inlined
def moved(zeros, stride, s, x, coefficient, j):
    """A coordinate's state one step on; sums are of pairs, for a shorter chain of additions."""
    n = len(zeros)
    new = s
    for a in range(n):
        row = a * (n + 1) * stride
        total = coefficient[row + n * stride + j] * x + coefficient[row + j] * s[0]
        for b in range(1, n - 1, 2):
            pair = coefficient[row + b * stride + j] * s[b]
            total = total + (pair + coefficient[row + (b + 1) * stride + j] * s[b + 1])
        if n % 2 == 0:
            total = total + coefficient[row + (n - 1) * stride + j] * s[n - 1]
        new = replaced(new, a, s[a] + total)
    return new


@kernel
def many_steps(zeros, unit, begin, end, coefficient, z, state):
    """Steps begin .. end - 1 of a burst."""
    T = LEAF * len(unit)
    while begin < end:
        if begin % 4 == 0 and end - begin >= 4:
            whole = begin + (end - begin) // 4 * 4
            whole_quads(zeros, unit, begin, whole, coefficient, z, state)
            begin = whole
        else:
            one_step(zeros, unit, begin * T, coefficient, z, state)
            begin += 1


@kernel
def weighted_squares(zeros, unit, read, weight, begin, state, values):
    """``(weight x) x`` with the evaluated iterate x, for a tile whose weights begin at `begin`."""
    n = len(zeros)
    T = LEAF * len(unit)
    for j in range(T):
        x = read[0] * state[j]
        for a in range(1, n):
            x = x + read[a] * state[a * T + j]
        # an index without a sign needs no look at whether it counts from the end
        values[j] = (weight[np.uint64(begin) + np.uint64(j)] * x) * x


@kernel
def is_beyond(unit, risk):
    """Whether a coordinate's risk is beyond the limit."""
    beyond = 0
    for j in range(LEAF * len(unit)):
        beyond += 0 if risk[j] <= LIMIT else 1  # not so for NaN
    return beyond > 0


@kernel
def select_group(unit, number, group, begin, values, selected):
    """The values of a group's coordinates, and 0 for the others."""
    T = LEAF * len(unit)
    if number == ALL:
        for j in range(T):
            selected[j] = values[j]
    else:
        for j in range(T):
            inside = group[np.uint64(begin) + np.uint64(j)] == number
            selected[j] = values[j] if inside else 0.0


@kernel
def leaf_sums(unit, x, out):
    """Sum every leaf of a tile in the order of the contract; `x` is used up."""
    for leaf in range(len(unit)):
        at = leaf * LEAF
        for j in range(at, at + 8):  # folded by 32, 16 and 8 at once
            x[j] = ((x[j] + x[j + 32]) + (x[j + 16] + x[j + 48])) + (
                (x[j + 8] + x[j + 40]) + (x[j + 24] + x[j + 56])
            )
        out[leaf] = ((x[at] + x[at + 4]) + (x[at + 2] + x[at + 6])) + (
            (x[at + 1] + x[at + 5]) + (x[at + 3] + x[at + 7])
        )


@kernel
def pair_sum(x):
    """Add neighbours again and again; the sum is left in x[0]."""
    size = x.size
    while size > 1:
        for i in range(size // 2):
            x[i] = x[2 * i] + x[2 * i + 1]
        if size % 2:
            x[size // 2] = x[size - 1]
        size = (size + 1) // 2


@kernel
def measure(zeros, unit, read, weight, size, rows, group, at, state, values, spare, out):
    """Every row of the observables, summed over each leaf of the tile at `at`, into out[row].

    `weight` is flat, with rows of so many coordinates. Rows with the same weight follow each other,
    and share its products.
    """
    T = LEAF * len(unit)
    count = rows.shape[0]
    least, most = 1, 0  # numbers of the groups that are in the tile
    if group.size:
        least, most = group[at], group[at]
        for j in range(T):
            number = group[np.uint64(at) + np.uint64(j)]
            least, most = min(least, number), max(most, number)
    made = -1  # the weight that `values` are made with
    for row in range(count - 1, -1, -1):  # all coordinates come before their groups, and last here
        number = rows[row, 1]
        if number == ALL or least <= number <= most:
            if made != rows[row, 0]:
                made = rows[row, 0]
                weighted_squares(zeros, unit, read, weight, made * size + at, state, values)
            if row == 0 or rows[row - 1, 0] != made:
                made = -1  # they are used up
            if made < 0 and number == ALL:
                leaf_sums(unit, values, out[row])
            else:
                select_group(unit, number, group, at, values, spare)
                leaf_sums(unit, spare, out[row])


@kernel
def add_leaves(partial, values):
    """Add up the leaves: (rows, leaves) to (rows,)."""
    for row in range(partial.shape[0]):
        pair_sum(partial[row])
        values[row] = partial[row, 0]
