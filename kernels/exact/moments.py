"""Exact second moments of linear recurrences, tile by tile.

One coordinate obeys ``s' = (I + D) s + b xi``. Its iterate is ``w0 z + noise`` with
``z`` the response to the initial iterate and ``V`` the noise covariance per unit of
gradient noise. Both obey the affine map (M, V) with M = I + D, and k steps of it
compose into one map of the same kind; squaring maps reaches step t in log2(t) stages.

Every stage is a loop over a tile of `TILE` coordinates that LLVM vectorises, in which
the loops over the n state components are unrolled: n is the length of a tuple, hence
known at compile time. A map occupies ``n*n`` rows for M, ``n`` for the diagonal of D
and ``n(n+1)/2`` for V; a state occupies n rows for z and ``n(n+1)/2`` for V.

The diagonal is kept twice. Near the identity D carries the digits (a step of 1e-12
would lose four of them in 1 - 1e-12, and all of them after 1e9 squarings); once a
component has decayed, M does.
"""

from __future__ import annotations

import math

import numpy as np

from ..numba.jit import kernel

TILE = 128
SHORT = 8  # runs up to this length are stepped, longer ones squared


@kernel
def _square(q, pair):
    """From the map of k steps, at the start of `pair`, make that of 2k just behind it."""
    n = len(q)
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
                    pair[(rows + dev + a) * TILE + j] = d
                    pair[(rows + a * n + a) * TILE + j] = m
        for a in range(n):
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


@kernel
def _apply(q, step, source, target, fresh_noise):
    """Move the state `source` by the map `step` to `target`, with or without noise (1 or 0).

    Slices come from the caller: made in here, LLVM would fear that the two states overlap.
    """
    n = len(q)
    cov = n * n + n
    for j in range(TILE):
        for a in range(n):
            x = 0.0
            for k in range(n):
                x += step[(a * n + k) * TILE + j] * source[k * TILE + j]
            target[a * TILE + j] = x
            for b in range(a + 1):
                x = fresh_noise * step[(cov + a * (a + 1) // 2 + b) * TILE + j]
                for k in range(n):
                    mv = 0.0
                    for i in range(n):
                        hi, lo = (k, i) if k > i else (i, k)
                        v = source[(n + hi * (hi + 1) // 2 + lo) * TILE + j]
                        mv += step[(a * n + i) * TILE + j] * v
                    x += mv * step[(b * n + k) * TILE + j]
                target[(n + a * (a + 1) // 2 + b) * TILE + j] = x


@kernel
def _one_step(q, values, place, scale, weight, inverse_batch, first, last, step):
    """Write the map of one step for coordinates first..last-1 into `step`.

    Entry e of the recurrence adds ``weight[term] * scale[e]``, times ``values[source]``
    unless source is negative, to row `row`, column `column` of D; column n is the kick b.
    """
    n = len(q)
    dev = n * n
    cov = dev + n
    for j in range((cov + n) * TILE):
        step[j] = 0.0
    for e in range(place.shape[0]):
        row, column, source = place[e, 1], place[e, 2], place[e, 3]
        # b is built in the first n rows of the covariance, where its square ends up
        at = (cov + row) * TILE if column == n else (row * n + column) * TILE
        entry = step[at : at + TILE]
        f = weight[place[e, 0]] * scale[e]
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
                x = step[(cov + a) * TILE + j] * step[(cov + b) * TILE + j]
                step[(cov + a * (a + 1) // 2 + b) * TILE + j] = inverse_batch * x


@kernel
def _scaled(base, field, first, last, product):
    """`base` times one tile of a field, an array or of length 1 where it is the same everywhere."""
    if field.shape[0] == 1:
        for j in range(last - first):
            product[j] = base[j] * field[0]
    else:
        for j in range(last - first):
            product[j] = base[j] * field[first + j]


@kernel
def _risk_weights(h, c, second_moment, count, first, last, signal_weight, noise_weight, spare):
    """Risk per squared response to w0 = 1 and per unit of noise variance, on one tile."""
    for j in range(last - first):
        noise_weight[j] = 0.5 * h[first + j]
    _scaled(noise_weight, count, first, last, spare)
    _scaled(spare, second_moment, first, last, signal_weight)
    _scaled(spare, c, first, last, noise_weight)
    for j in range(last - first, signal_weight.shape[0]):
        signal_weight[j] = 0.0
        noise_weight[j] = 0.0


@kernel
def _responses(q, states, at, signal, noise):
    """Squared response to the initial iterate, and noise variance, of the evaluated iterate."""
    n = len(q)
    state = states[at:]
    for j in range(TILE):
        y = 0.0
        v = 0.0
        for a in range(n):
            y += q[a] * state[a * TILE + j]
            for b in range(n):
                hi, lo = (a, b) if a > b else (b, a)
                v += q[a] * q[b] * state[(n + hi * (hi + 1) // 2 + lo) * TILE + j]
        signal[j] = y * y
        noise[j] = v


@kernel
def _tree_sum(values):
    """Sum of a tile in a fixed order, pairwise; overwrites it."""
    half = values.shape[0] // 2
    while half >= 8:
        for j in range(half):
            values[j] += values[half + j]
        half //= 2
    return ((values[0] + values[4]) + (values[2] + values[6])) + (
        (values[1] + values[5]) + (values[3] + values[7])
    )


@kernel
def _weighted_sum(signal_weight, noise_weight, signal, noise):
    """Sum of weight times response over a tile, pairwise in a fixed order.

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
    return _tree_sum(signal)


@kernel
def _bits(number):
    count = 0
    while number > 0:
        number >>= 1
        count += 1
    return count


@kernel
def _step_by_step(q, maps, stack, steps):
    """Move the state in slot 0 by `steps` single steps."""
    rows = len(q) + len(q) * (len(q) + 1) // 2
    for _ in range(steps):
        _apply(q, maps, stack, stack[rows * TILE :], 1.0)
        for j in range(rows * TILE):
            stack[j] = stack[rows * TILE + j]


@kernel
def _run(
    q,
    maps,
    stack,
    slot,
    end,
    is_short,
    offsets,
    signal_weight,
    noise_weight,
    signal,
    noise,
    risk,
):
    """Record the risk of one tile through a run, (records, 1); leave the state at `end` in slot 0.

    `maps` starts with the map of one step, `stack` with the state at the run's start. The
    state at an offset applies the maps of its bits from the highest down, so that offsets
    share the work of their common leading bits and the result depends on nothing else:
    ``slot[k]`` says where the state with bits k and above applied is. With ``end < 0``
    nobody needs the state at the end.
    """
    n = len(q)
    rows = n + n * (n + 1) // 2
    per_map = n * n + rows
    records = offsets.shape[0]
    furthest = max(end, offsets[records - 1] if records else -1)
    top = 0
    if not is_short:
        top = _bits(furthest)
        for level in range(top - 1):
            _square(q, maps[level * per_map * TILE :])
    slot[top] = 0
    previous = 0
    for record in range(records + 1):
        offset = end if record == records else offsets[record]
        if offset < 0:
            break
        if is_short:
            _step_by_step(q, maps, stack, offset - previous)
        else:
            fresh = top if record == 0 else _bits(offset ^ previous)
            for level in range(fresh - 1, -1, -1):
                slot[level] = slot[level + 1]
                if (offset >> level) & 1:
                    old = slot[level + 1] * rows * TILE
                    new = (top - level) * rows * TILE
                    slot[level] = top - level
                    _apply(q, maps[level * per_map * TILE :], stack[old:], stack[new:], 1.0)
        previous = offset
        at = slot[0] * rows * TILE
        if record < records:
            _responses(q, stack, at, signal, noise)
            risk[record, 0] = _weighted_sum(signal_weight, noise_weight, signal, noise)
        elif at:
            for j in range(rows * TILE):
                stack[j] = stack[at + j]


@kernel
def propagate(
    q,
    start,
    values,
    place,
    scale,
    weights,
    inverse_batch,
    lengths,
    record_run,
    record_offset,
    h,
    c,
    second_moment,
    count,
    carried,
    is_first,
    is_last,
    partial,
):
    """Risk of one block of coordinates at the recorded steps.

    Parameters
    ----------
    q, start : tuples of n floats
        The evaluated iterate is ``q . s``; s starts at ``start * w0``.
    values : (sources, d) floats; place : (entries, 4) ints; scale : (entries,) floats
        Sparse recurrence, see `_one_step`.
    weights : (runs, terms) floats; inverse_batch : (runs,) floats; lengths : (runs,) ints
        Runs of constant settings, in order.
    record_run, record_offset : (records,) ints, ascending
        Step `record_offset` after the start of run `record_run`.
    h : (d,) floats; c, second_moment, count : (d,) or (1,) floats
        Curvature, gradient noise, E[w0^2] and multiplicity.
    carried : (n + n(n+1)/2, d) floats
        State at the first run's start unless `is_first`; at the last run's end after
        the call unless `is_last`.
    partial : (records, tiles) floats
        Receives the risk of each tile of `TILE` coordinates.
    """
    n = len(q)
    rows = n + n * (n + 1) // 2
    runs = lengths.shape[0]
    longest = SHORT
    for r in range(runs):
        longest = max(longest, lengths[r])
    levels = _bits(longest)
    maps = np.empty((levels + 1) * (n * n + rows) * TILE)
    stack = np.empty((levels + 1) * rows * TILE)
    slot = np.empty(levels + 1, dtype=np.int64)
    signal = np.empty(TILE)
    noise = np.empty(TILE)
    signal_weight = np.empty(TILE)
    noise_weight = np.empty(TILE)
    d = h.shape[0]
    for tile in range((d + TILE - 1) // TILE):
        first = tile * TILE
        last = min(first + TILE, d)
        if is_first:
            for a in range(rows):
                x = start[a] if a < n else 0.0
                for j in range(TILE):
                    stack[a * TILE + j] = x
        else:
            for a in range(rows):
                for j in range(last - first):
                    stack[a * TILE + j] = carried[a, first + j]
        _risk_weights(h, c, second_moment, count, first, last, signal_weight, noise_weight, signal)
        record = 0
        for r in range(runs):
            if is_last and record == record_run.shape[0]:
                break
            _one_step(q, values, place, scale, weights[r], inverse_batch[r], first, last, maps)
            next_record = record
            while next_record < record_run.shape[0] and record_run[next_record] == r:
                next_record += 1
            _run(
                q,
                maps,
                stack,
                slot,
                lengths[r] if r < runs - 1 or not is_last else -1,
                lengths[r] <= SHORT,
                record_offset[record:next_record],
                signal_weight,
                noise_weight,
                signal,
                noise,
                partial[record:next_record, tile : tile + 1],
            )
            record = next_record
        if not is_last:
            for a in range(rows):
                for j in range(last - first):
                    carried[a, first + j] = stack[a * TILE + j]
