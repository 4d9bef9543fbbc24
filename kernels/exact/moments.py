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
SHORT = 8  # segments up to this length go step by step, longer ones by powers of the map


@kernel
def _square(read, pair):
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
def _apply(read, step, source, target, fresh_noise):
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
def _one_step_map(read, values, entries, factors, weight, inverse_batch, first, last, step):
    """Write the map of one step for coordinates first..last-1 into `step`.

    Entry e of the recurrence adds ``weight[term] * factors[e]``, times ``values[source]``
    unless source is negative, to row `row`, column `column` of D; column n is the kick b.
    """
    n = len(read)
    dev = n * n
    cov = dev + n
    for j in range((cov + n) * TILE):
        step[j] = 0.0
    for e in range(entries.shape[0]):
        row, column, source = entries[e, 1], entries[e, 2], entries[e, 3]
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
                x = step[(cov + a) * TILE + j] * step[(cov + b) * TILE + j]
                step[(cov + a * (a + 1) // 2 + b) * TILE + j] = inverse_batch * x


@kernel
def _multiply_field(base, field, first, last, product):
    """Multiply `base` by one tile of a field, which has length 1 if it is the same everywhere."""
    if field.shape[0] == 1:
        for j in range(last - first):
            product[j] = base[j] * field[0]
    else:
        for j in range(last - first):
            product[j] = base[j] * field[first + j]


@kernel
def _risk_weights(h, c, second_moment, count, first, last, signal_weight, noise_weight, spare):
    """Write the risk per squared response to w0 = 1, and per noise variance, on one tile."""
    for j in range(last - first):
        noise_weight[j] = 0.5 * h[first + j]
    _multiply_field(noise_weight, count, first, last, spare)
    _multiply_field(spare, second_moment, first, last, signal_weight)
    _multiply_field(spare, c, first, last, noise_weight)
    for j in range(last - first, signal_weight.shape[0]):
        signal_weight[j] = 0.0
        noise_weight[j] = 0.0


@kernel
def _responses(read, states, at, signal, noise):
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
        noise[j] = v


@kernel
def _tree_sum(values):
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
def _weighted_sum(signal_weight, noise_weight, signal, noise):
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
    return _tree_sum(signal)


@kernel
def _bit_length(number):
    """Return how many bits a whole number has, up to the highest that is set."""
    count = 0
    while number > 0:
        number >>= 1
        count += 1
    return count


@kernel
def _step_by_step(read, maps, stack, steps):
    """Take the state at the start of `stack` on by single steps."""
    rows = len(read) + len(read) * (len(read) + 1) // 2
    for _ in range(steps):
        _apply(read, maps, stack, stack[rows * TILE :], 1.0)
        for j in range(rows * TILE):
            stack[j] = stack[rows * TILE + j]


@kernel
def _propagate_segment(
    read,
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
    """Write the risk of one tile at a segment's records to `risk`, (records, 1).

    `maps` starts with the map of one step, `stack` with the state at the segment's start. The
    state at an offset applies the maps of its bits from the highest down, so that offsets
    share the work of their common leading bits and the result depends on nothing else:
    ``slot[k]`` is the place in `stack` of the state with bits k and above applied. The state
    at `end` is left at the start of `stack`; with ``end < 0`` nobody needs it.
    """
    n = len(read)
    rows = n + n * (n + 1) // 2
    per_map = n * n + rows
    records = offsets.shape[0]
    furthest = max(end, offsets[records - 1] if records else -1)
    top = 0
    if not is_short:
        top = _bit_length(furthest)
        for level in range(top - 1):
            _square(read, maps[level * per_map * TILE :])
    slot[top] = 0
    previous = 0
    for record in range(records + 1):
        offset = end if record == records else offsets[record]
        if offset < 0:
            break
        if is_short:
            _step_by_step(read, maps, stack, offset - previous)
        else:
            fresh = top if record == 0 else _bit_length(offset ^ previous)
            for level in range(fresh - 1, -1, -1):
                slot[level] = slot[level + 1]
                if (offset >> level) & 1:
                    old = slot[level + 1] * rows * TILE
                    new = (top - level) * rows * TILE
                    slot[level] = top - level
                    _apply(read, maps[level * per_map * TILE :], stack[old:], stack[new:], 1.0)
        previous = offset
        at = slot[0] * rows * TILE
        if record < records:
            _responses(read, stack, at, signal, noise)
            risk[record, 0] = _weighted_sum(signal_weight, noise_weight, signal, noise)
        elif at:
            for j in range(rows * TILE):
                stack[j] = stack[at + j]


@kernel
def propagate(
    read,
    start,
    values,
    entries,
    factors,
    weights,
    inverse_batch,
    lengths,
    record_segment,
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
    """Write the risk of a range of coordinates at the recorded steps to `partial`.

    Parameters
    ----------
    read, start : tuples of n floats
        The evaluated iterate is ``read . s``; s starts at ``start * w0``.
    values : (arrays, d) floats; entries : (entries, 4) ints; factors : (entries,) floats
        Sparse recurrence, see `_one_step_map`.
    weights : (segments, terms) floats; inverse_batch : (segments,) floats
        Weights of terms, and one over the batch size, in each segment.
    lengths : (segments,) ints
        Steps in each segment.
    record_segment, record_offset : (records,) ints, ascending
        A recorded step is `record_offset` steps after the start of segment `record_segment`.
    h : (d,) floats; c, second_moment, count : (d,) or (1,) floats
        Curvature, gradient noise, E[w0^2], and how many coordinates each one stands for.
    carried : (n + n(n+1)/2, d) floats
        The state at the first segment's start, unless `is_first`. The call replaces it by that at
        the last segment's end, unless `is_last`.
    partial : (records, tiles) floats
        Receives the risk of each tile of `TILE` coordinates.
    """
    n = len(read)
    rows = n + n * (n + 1) // 2
    segments = lengths.shape[0]
    longest = SHORT
    for segment in range(segments):
        longest = max(longest, lengths[segment])
    levels = _bit_length(longest)
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
        for segment in range(segments):
            if is_last and record == record_segment.shape[0]:
                break
            _one_step_map(
                read,
                values,
                entries,
                factors,
                weights[segment],
                inverse_batch[segment],
                first,
                last,
                maps,
            )
            next_record = record
            while next_record < record_segment.shape[0] and record_segment[next_record] == segment:
                next_record += 1
            _propagate_segment(
                read,
                maps,
                stack,
                slot,
                lengths[segment] if segment < segments - 1 or not is_last else -1,
                lengths[segment] <= SHORT,
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
