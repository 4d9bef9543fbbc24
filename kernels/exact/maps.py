"""Maps that take the second moments of linear recurrences some steps on, tile by tile.

One coordinate obeys ``s' = (I + D) s + b xi``. Its iterate is ``w0 z + noise`` with ``z`` the
response to the initial iterate, and ``V`` the covariance of the noise. Both obey the affine map
(M, V) with M = I + D, and k steps of it compose into one map of the same kind; squaring maps
reaches step t in log2(t) stages.

Every stage is a loop over a tile of `TILE` coordinates that LLVM vectorises, in which
the loops over the n state components are unrolled: n is the length of a tuple, hence
known at compile time. A map occupies ``n*n`` rows for M, ``n`` for the diagonal of D
and ``n(n+1)/2`` for V; a state occupies n rows for z and ``n(n+1)/2`` for V.

The diagonal is kept twice. Near the identity D carries the digits (a step of 1e-12
would lose four of them in 1 - 1e-12, and all of them after 1e9 squarings); once a
component has decayed, M does.
"""

from __future__ import annotations

import numpy as np

from ..numba.jit import kernel

TILE = 128
MOST_UNROLLED = 6
"""Components up to which products of three matrices are unrolled, which takes n^4 operations."""


@kernel
def carry_covariance(read, step, source, fresh, fresh_noise, target):
    """Write ``fresh_noise fresh + M V M^T`` to `target`, row by row, with n^3 operations.

    M is that of the map `step`; `source` has V. Each element has the operations that it has where
    it is computed by itself, in their order.
    """
    n = len(read)
    row = np.empty(n * TILE)
    for a in range(n):
        for k in range(n):
            for j in range(TILE):
                row[k * TILE + j] = 0.0
            for i in range(n):
                hi, lo = (k, i) if k > i else (i, k)
                at = (hi * (hi + 1) // 2 + lo) * TILE
                for j in range(TILE):
                    row[k * TILE + j] += step[(a * n + i) * TILE + j] * source[at + j]
        for b in range(a + 1):
            at = (a * (a + 1) // 2 + b) * TILE
            for j in range(TILE):
                target[at + j] = fresh_noise * fresh[at + j]
            for k in range(n):
                for j in range(TILE):
                    target[at + j] += row[k * TILE + j] * step[(b * n + k) * TILE + j]


@kernel
def square(read, pair):
    """Write the map of 2k steps just behind that of k steps, which is at the start of `pair`."""
    n = len(read)
    dev = n * n
    cov = dev + n
    rows = cov + n * (n + 1) // 2
    for j in range(TILE):
        for a in range(n):
            for b in range(n):
                if a != b:
                    x = 0.0
                    for k in range(n):
                        x += pair[(a * n + k) * TILE + j] * pair[(k * n + b) * TILE + j]
                    pair[(rows + a * n + b) * TILE + j] = x
                else:
                    off = 0.0
                    for k in range(n):
                        if k != a:
                            off += pair[(a * n + k) * TILE + j] * pair[(k * n + a) * TILE + j]
                    d = pair[(dev + a) * TILE + j]
                    m = pair[(a * n + a) * TILE + j]
                    d = d * (2.0 + d) + off
                    m = 1.0 + d if abs(d) < 0.5 else m * m + off
                    # The two may not drift apart: squaring multiplies their difference by 2 m.
                    pair[(rows + dev + a) * TILE + j] = d if abs(d) < 0.5 else m - 1.0
                    pair[(rows + a * n + a) * TILE + j] = m
        for a in range(n if n <= MOST_UNROLLED else 0):
            for b in range(a + 1):
                x = pair[(cov + a * (a + 1) // 2 + b) * TILE + j]
                for k in range(n):
                    mv = 0.0
                    for i in range(n):
                        hi, lo = (k, i) if k > i else (i, k)
                        v = pair[(cov + hi * (hi + 1) // 2 + lo) * TILE + j]
                        mv += pair[(a * n + i) * TILE + j] * v
                    x += mv * pair[(b * n + k) * TILE + j]
                pair[(rows + cov + a * (a + 1) // 2 + b) * TILE + j] = x
    if n > MOST_UNROLLED:
        own = pair[cov * TILE : rows * TILE]
        carry_covariance(read, pair, own, own, 1.0, pair[(rows + cov) * TILE :])


@kernel
def apply(read, step, source, target, fresh_noise):
    """Apply the map `step` to the state `source`, into `target`.

    `fresh_noise` is 1 to add the map's noise, or 0 not to. The caller makes the slices: if they
    were made here, LLVM would assume that the two states overlap.
    """
    n = len(read)
    cov = n * n + n
    for j in range(TILE):
        for a in range(n):
            x = 0.0
            for k in range(n):
                x += step[(a * n + k) * TILE + j] * source[k * TILE + j]
            target[a * TILE + j] = x
            for b in range(a + 1 if n <= MOST_UNROLLED else 0):
                x = fresh_noise * step[(cov + a * (a + 1) // 2 + b) * TILE + j]
                for k in range(n):
                    mv = 0.0
                    for i in range(n):
                        hi, lo = (k, i) if k > i else (i, k)
                        v = source[(n + hi * (hi + 1) // 2 + lo) * TILE + j]
                        mv += step[(a * n + i) * TILE + j] * v
                    x += mv * step[(b * n + k) * TILE + j]
                target[(n + a * (a + 1) // 2 + b) * TILE + j] = x
    if n > MOST_UNROLLED:
        carry_covariance(
            read, step, source[n * TILE :], step[cov * TILE :], fresh_noise, target[n * TILE :]
        )


@kernel
def end_of_columns(n, entries):
    """Return the number of columns of D and of kicks that entries have, at least n + 1."""
    end = n + 1
    for e in range(entries.shape[0]):
        end = max(end, entries[e, 2] + 1)
    return end


@kernel
def build_kick(values, entries, factors, weight, first, last, column, kick):
    """Write the kick in a column beyond the first to `kick`."""
    for j in range(kick.shape[0]):
        kick[j] = 0.0
    for e in range(entries.shape[0]):
        if entries[e, 2] == column:
            at = entries[e, 1] * TILE
            source = entries[e, 3]
            f = weight[entries[e, 0]] * factors[e]
            if source < 0:
                for j in range(TILE):
                    kick[at + j] += f
            else:
                for j in range(last - first):
                    kick[at + j] += f * values[source, first + j]


@kernel
def add_kick(read, values, entries, factors, weight, noise, first, last, column, step):
    """Add the covariance of the kick in a column beyond the first to the map `step`."""
    n = len(read)
    cov = n * n + n
    kick = np.empty(n * TILE)
    build_kick(values, entries, factors, weight, first, last, column, kick)
    for j in range(TILE):
        for a in range(n):
            for b in range(a + 1):
                x = kick[a * TILE + j] * noise[j]
                x = x * kick[b * TILE + j]
                step[(cov + a * (a + 1) // 2 + b) * TILE + j] += x


@kernel
def one_step_map(read, values, entries, factors, weight, noise, first, last, step):
    """Write the map of one step for coordinates first..last-1 into `step`.

    `noise` has the variance of the gradient. It is multiplied with the kick's entries in turn, as
    their square may be beyond the range of a double where its product with the variance is not.

    Entry e of the recurrence adds ``weight[term] * factors[e]``, times ``values[source]``
    unless source is negative, to row `row`, column `column` of D; column n is the kick b. Columns
    beyond that are kicks too, of noise that is independent of the others and has their variance.
    """
    n = len(read)
    dev = n * n
    cov = dev + n
    for j in range((cov + n) * TILE):
        step[j] = 0.0
    for e in range(entries.shape[0]):
        row, column, source = entries[e, 1], entries[e, 2], entries[e, 3]
        if column > n:
            continue
        # b is built in the first n rows of the covariance, where its square ends up
        at = (cov + row) * TILE if column == n else (row * n + column) * TILE
        entry = step[at : at + TILE]
        f = weight[entries[e, 0]] * factors[e]
        if source < 0:
            for j in range(TILE):
                entry[j] += f
        elif last - first == TILE:
            for j in range(TILE):
                entry[j] += f * values[source, first + j]
        else:
            for j in range(last - first):
                entry[j] += f * values[source, first + j]
    for j in range(TILE):
        for a in range(n):
            d = step[(a * n + a) * TILE + j]
            step[(dev + a) * TILE + j] = d
            step[(a * n + a) * TILE + j] = 1.0 + d
        for a in range(n - 1, -1, -1):
            for b in range(a, -1, -1):
                # from the last pair down: no b is overwritten before its last use
                x = step[(cov + a) * TILE + j] * noise[j]
                x = x * step[(cov + b) * TILE + j]
                step[(cov + a * (a + 1) // 2 + b) * TILE + j] = x
    for column in range(n + 1, end_of_columns(n, entries)):
        add_kick(read, values, entries, factors, weight, noise, first, last, column, step)


@kernel
def responses(read, states, at, signal, noise):
    """Write the squared response to w0 = 1 and the noise variance of the evaluated iterate."""
    n = len(read)
    state = states[at:]
    for j in range(TILE):
        y = 0.0
        v = 0.0
        for a in range(n):
            y += read[a] * state[a * TILE + j]
            for b in range(n):
                hi, lo = (a, b) if a > b else (b, a)
                v += read[a] * read[b] * state[(n + hi * (hi + 1) // 2 + lo) * TILE + j]
        signal[j] = y * y
        noise[j] = 0.0 if v < 0.0 else v  # A variance below zero is a rounding error.


@kernel
def bit_length(number):
    """Return how many bits a whole number has, up to the highest that is set."""
    count = 0
    while number > 0:
        number >>= 1
        count += 1
    return count
