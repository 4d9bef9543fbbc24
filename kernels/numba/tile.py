"""Coefficients, updates and risk of a tile of coordinates, for the CPU.

Each is one vectorised loop over the tile, as in `noise`. The tuple `zeros` has an item for each
component of the state, so that loops over components are unrolled, and a coordinate's state stays
in registers. Arrays are flat: a state has a row of T numbers for each component; coefficients have,
for each component, n rows of A - I and one of b, which are T + GAP apart; for leaps, maybe more
rows of kicks.
"""

from __future__ import annotations

import numpy as np

from ..contract import ALL, LEAF, LIMIT
from .jit import inlined, kernel, replace_component
from .lanes import lanes, place

MANY = 8  # steps that a narrow tile takes together: its few states wait for those before
GAP = 8  # numbers between rows of coefficients, so that they do not compete for cache lines


@kernel
def load_state(leaves, state, at, own):
    """Copy the states of a tile's coordinates from `state`, (n, d), to `own`, (n T,)."""
    # A loop, as Numba would compile for two seconds what an assignment of slices may raise.
    T = lanes(leaves)
    for a in range(state.shape[0]):
        for j in range(T):
            # an unsigned index spares the test for a negative one
            own[a * T + j] = state[a, np.uint64(at) + np.uint64(j)]


@kernel
def store_state(leaves, own, at, state):
    """Copy the states of a tile's coordinates from `own`, (n T,), to `state`, (n, d)."""
    T = lanes(leaves)
    for a in range(state.shape[0]):
        for j in range(T):
            state[a, np.uint64(at) + np.uint64(j)] = own[a * T + j]


@kernel
def add_scaled_row(leaves, factor, values, begin, out, at):
    """Add a multiple of values[begin:] to the row of `out` that begins at `at`."""
    for j in range(lanes(leaves)):
        # an unsigned index spares the test for a negative one
        out[np.uint64(at) + np.uint64(j)] += factor * values[np.uint64(begin) + np.uint64(j)]


@kernel
def add_to_row(leaves, amount, out, at):
    """Add a number to the row of `out` that begins at `at`."""
    for j in range(lanes(leaves)):
        out[np.uint64(at) + np.uint64(j)] += amount


@kernel
def scale_kick_row(leaves, amplitude, sigma, begin, out, at):
    """Multiply the row of `out` that begins at `at`, of the kick b, by ``sigma amplitude``."""
    for j in range(lanes(leaves)):
        size = sigma[np.uint64(begin) + np.uint64(j)] * amplitude
        out[np.uint64(at) + np.uint64(j)] *= size


@kernel
def build_coefficients(
    zeros,
    leaves,
    columns,
    entries,
    factors,
    begin,
    end,
    weights,
    values,
    sigma,
    amplitude,
    first,
    out,
):
    """Write ``A - I`` and ``b sigma amplitude`` of a setting for the tile that begins at `first`.

    There are so many columns, n + 1 without further kicks. The setting's entries are begin ..
    end - 1; `values` is flat, with rows as long as `sigma`.
    """
    T = lanes(leaves)
    n = len(zeros)
    out[:] = 0.0
    for e in range(begin, end):
        source = entries[e, 3]
        factor = weights[entries[e, 0]] * factors[e]
        at = (entries[e, 1] * columns + entries[e, 2]) * (T + GAP)
        if source < 0:
            add_to_row(leaves, factor, out, at)
        else:
            add_scaled_row(leaves, factor, values, source * sigma.size + first, out, at)
    for a in range(n):
        for column in range(n, columns):
            at = (a * columns + column) * (T + GAP)
            scale_kick_row(leaves, amplitude, sigma, first, out, at)


@kernel
def write_scaled_row(leaves, factor, values, begin, out, at):
    """Write a multiple of values[begin:] to the row of `out` that begins at `at`."""
    for j in range(lanes(leaves)):
        # an unsigned index spares the test for a negative one
        out[np.uint64(at) + np.uint64(j)] = 0.0 + factor * values[np.uint64(begin) + np.uint64(j)]


@kernel
def fill_row(leaves, amount, out, at):
    """Write a number to the row of `out` that begins at `at`."""
    for j in range(lanes(leaves)):
        out[np.uint64(at) + np.uint64(j)] = amount


@kernel
def change_coefficients(
    zeros, leaves, entries, factors, begin, end, weights, before, values, sigma, amplitude,
    amplitude_before, first, out,
):  # fmt: skip
    """Write those elements anew whose weights or amplitude are not those of another segment.

    The entries of an element follow each other, and are added up in the same order as by
    `build_coefficients`.
    """
    T = lanes(leaves)
    n = len(zeros)
    e = begin
    while e < end:
        row, column = entries[e, 1], entries[e, 2]
        changed = column == n and amplitude != amplitude_before
        last = e
        while last < end and entries[last, 1] == row and entries[last, 2] == column:
            if weights[entries[last, 0]] != before[entries[last, 0]]:
                changed = True
            last += 1
        if changed:
            at = (row * (n + 1) + column) * (T + GAP)
            for k in range(e, last):
                source = entries[k, 3]
                factor = weights[entries[k, 0]] * factors[k]
                if source < 0 and k == e:
                    fill_row(leaves, 0.0 + factor, out, at)
                elif source < 0:
                    add_to_row(leaves, factor, out, at)
                elif k == e:
                    write_scaled_row(leaves, factor, values, source * sigma.size + first, out, at)
                else:
                    add_scaled_row(leaves, factor, values, source * sigma.size + first, out, at)
            if column == n:
                scale_kick_row(leaves, amplitude, sigma, first, out, at)
        e = last


@inlined
def steps_in_registers(zeros, leaves, steps, first, coefficient, z, state):
    """Take the tile a few steps of a burst on, with a coordinate's state in registers meanwhile."""
    n = len(zeros)
    T = lanes(leaves)
    for j in range(T):
        s = zeros
        for a in range(n):
            s = replace_component(s, a, state[a * T + j])
        for i in range(steps):
            # an unsigned index spares the test for a negative one
            x = np.float64(z[np.uint64(place(leaves, first + i)) + np.uint64(j)])
            s = stepped(zeros, T + GAP, s, x, coefficient, j)
        for a in range(n):
            state[a * T + j] = s[a]


@kernel
def step_quads(zeros, leaves, begin, end, coefficient, z, state):
    """Take steps begin .. end - 1 of a burst, four at a time, or more where a tile is narrow."""
    if len(leaves) == 0:
        while end - begin >= MANY:
            steps_in_registers(zeros, leaves, MANY, begin, coefficient, z, state)
            begin += MANY
    for step in range(begin, end, 4):
        steps_in_registers(zeros, leaves, 4, step, coefficient, z, state)


@kernel
def step_once(zeros, leaves, step, coefficient, z, state):
    """Take one step of a burst."""
    steps_in_registers(zeros, leaves, 1, step, coefficient, z, state)


@inlined
def stepped(zeros, stride, s, x, coefficient, j):
    """Return a coordinate's state one step on.

    Terms are added in pairs, which makes the chain of dependent additions shorter.
    """
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
        new = replace_component(new, a, s[a] + total)
    return new


@kernel
def step_burst(zeros, leaves, begin, end, coefficient, z, state):
    """Take steps begin .. end - 1 of a burst, four at a time where they are whole quads."""
    while begin < end:
        if begin % 4 == 0 and end - begin >= 4:
            whole = begin + (end - begin) // 4 * 4
            step_quads(zeros, leaves, begin, whole, coefficient, z, state)
            begin = whole
        else:
            step_once(zeros, leaves, begin, coefficient, z, state)
            begin += 1


@kernel
def weighted_squares(zeros, leaves, read, weight, begin, state, values):
    """Write ``(weight x) x`` with the evaluated iterate x; weights begin at weight[begin]."""
    n = len(zeros)
    T = lanes(leaves)
    for j in range(T):
        x = read[0] * state[j]
        for a in range(1, n):
            x = x + read[a] * state[a * T + j]
        # an unsigned index spares the test for a negative one
        values[j] = (weight[np.uint64(begin) + np.uint64(j)] * x) * x


@kernel
def is_beyond(leaves, risk):
    """Whether the risk of a coordinate is beyond the limit, or not a number."""
    beyond = 0
    for j in range(lanes(leaves)):
        beyond += 0 if risk[j] <= LIMIT else 1  # false for NaN
    return beyond > 0


@kernel
def is_harmless(zeros, leaves, state, sizes):
    """Whether no component of a coordinate's state is beyond its size, or not a number."""
    T = lanes(leaves)
    beyond = 0
    for a in range(len(zeros)):
        size = sizes[a]
        for j in range(T):
            beyond += 0 if abs(state[a * T + j]) <= size else 1  # false for NaN
    return beyond == 0


@kernel
def select_group(leaves, number, group, begin, values, selected):
    """Copy the values of a group's coordinates, and set the others to 0."""
    T = lanes(leaves)
    if number == ALL:
        for j in range(T):
            selected[j] = values[j]
    else:
        for j in range(T):
            inside = group[np.uint64(begin) + np.uint64(j)] == number
            selected[j] = values[j] if inside else 0.0


@kernel
def leaf_sums(leaves, x, out):
    """Sum every leaf of a tile in the order of the contract, which overwrites `x`.

    What a leaf has beyond a narrow tile is zero, and adds nothing.
    """
    if len(leaves) == 0:
        for j in range(8):
            x[j] = x[j] + x[j + 8]
        out[0] = ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
    for leaf in range(len(leaves)):
        at = leaf * LEAF
        for j in range(at, at + 8):  # fold by 32, 16 and 8 at once
            x[j] = ((x[j] + x[j + 32]) + (x[j + 16] + x[j + 48])) + (
                (x[j + 8] + x[j + 40]) + (x[j + 24] + x[j + 56])
            )
        out[leaf] = ((x[at] + x[at + 4]) + (x[at + 2] + x[at + 6])) + (
            (x[at + 1] + x[at + 5]) + (x[at + 3] + x[at + 7])
        )


@kernel
def pair_sum(x):
    """Add neighbours until one number is left, in x[0]."""
    size = x.size
    while size > 1:
        for i in range(size // 2):
            x[i] = x[2 * i] + x[2 * i + 1]
        if size % 2:
            x[size // 2] = x[size - 1]
        size = (size + 1) // 2


@kernel
def measure(zeros, leaves, read, weight, size, rows, group, at, state, values, selected, out):
    """Sum every row of a record over each leaf of the tile, which begins at coordinate `at`.

    `weight` is flat, in rows of `size` coordinates; `out` is (rows, leaves). Rows with the same
    weight follow each other, and share its products.
    """
    T = lanes(leaves)
    count = rows.shape[0]
    lowest, highest = 1, 0  # groups that are in the tile
    if group.size:
        lowest, highest = group[at], group[at]
        for j in range(T):
            number = group[np.uint64(at) + np.uint64(j)]
            lowest, highest = min(lowest, number), max(highest, number)
    made_with = -1  # the weight that `values` were made with, or -1
    for row in range(count - 1, -1, -1):  # backwards: groups come before ALL
        number = rows[row, 1]
        if number == ALL or lowest <= number <= highest:
            if made_with != rows[row, 0]:
                made_with = rows[row, 0]
                weighted_squares(zeros, leaves, read, weight, made_with * size + at, state, values)
            if row == 0 or rows[row - 1, 0] != made_with:
                made_with = -1  # no other row needs them, so that they may be overwritten
            if made_with < 0 and number == ALL:
                leaf_sums(leaves, values, out[row])
            else:
                select_group(leaves, number, group, at, values, selected)
                leaf_sums(leaves, selected, out[row])


@kernel
def add_leaves(partial, values):
    """Sum `partial`, (rows, leaves), over leaves into `values`, (rows,)."""
    for row in range(partial.shape[0]):
        pair_sum(partial[row])
        values[row] = partial[row, 0]
