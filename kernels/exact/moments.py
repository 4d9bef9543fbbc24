"""Risk at recorded steps, from second moments that maps take along, tile by tile.

Where a tile loses digits, it is computed with twice as many (see `extended_maps`): then arrays have
a second one, with `low` in its name, which otherwise is zero or not used.
"""

from __future__ import annotations

import numpy as np

from ..numba.jit import kernel
from .extended_maps import (
    apply_extended,
    loses_digits,
    one_step_map_extended,
    responses_extended,
    square_extended,
)
from .maps import TILE, apply, bit_length, one_step_map, responses, square
from .sums import add_tiles, weighted_sum, write_noise, write_risk_weights

SHORT = 8  # segments up to this length go step by step, longer ones by powers of the map


@kernel
def advance(read, is_extended, step, step_low, source, source_low, target, target_low):
    """Apply the map `step`, noise included, to the state `source`, into `target`."""
    if is_extended:
        apply_extended(read, step, step_low, source, source_low, target, target_low, 1.0)
    else:
        apply(read, step, source, target, 1.0)


@kernel
def _step_by_step(read, is_extended, maps, maps_low, stack, stack_low, steps):
    """Take the state at the start of `stack` on by single steps."""
    size = (len(read) + len(read) * (len(read) + 1) // 2) * TILE
    for _ in range(steps):
        advance(read, is_extended, maps, maps_low, stack, stack_low, stack[size:], stack_low[size:])
        for j in range(size):
            stack[j] = stack[size + j]
        if is_extended:
            for j in range(size):
                stack_low[j] = stack_low[size + j]


@kernel
def _propagate_segment(
    read,
    is_extended,
    maps,
    maps_low,
    stack,
    stack_low,
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
        top = bit_length(furthest)
        for level in range(top - 1):
            begin = level * per_map * TILE
            if is_extended:
                square_extended(read, maps[begin:], maps_low[begin:])
            else:
                square(read, maps[begin:])
    slot[top] = 0
    previous = 0
    for record in range(records + 1):
        offset = end if record == records else offsets[record]
        if offset < 0:
            break
        if is_short:
            _step_by_step(read, is_extended, maps, maps_low, stack, stack_low, offset - previous)
        else:
            fresh = top if record == 0 else bit_length(offset ^ previous)
            for level in range(fresh - 1, -1, -1):
                slot[level] = slot[level + 1]
                if (offset >> level) & 1:
                    old = slot[level + 1] * rows * TILE
                    new = (top - level) * rows * TILE
                    slot[level] = top - level
                    begin = level * per_map * TILE
                    advance(
                        read,
                        is_extended,
                        maps[begin:],
                        maps_low[begin:],
                        stack[old:],
                        stack_low[old:],
                        stack[new:],
                        stack_low[new:],
                    )
        previous = offset
        at = slot[0] * rows * TILE
        if record < records:
            if is_extended:
                responses_extended(read, stack, stack_low, at, signal, noise)
            else:
                responses(read, stack, at, signal, noise)
            risk[record, 0] = weighted_sum(signal_weight, noise_weight, signal, noise)
        elif at:
            for j in range(rows * TILE):
                stack[j] = stack[at + j]
            if is_extended:
                for j in range(rows * TILE):
                    stack_low[j] = stack_low[at + j]


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
        Sparse recurrence, see `one_step_map`.
    weights : (segments, terms) floats; inverse_batch : (segments,) floats
        Weights of terms, and one over the batch size, in each segment.
    lengths : (segments,) ints
        Steps in each segment.
    record_segment, record_offset : (records,) ints, ascending
        A recorded step is `record_offset` steps after the start of segment `record_segment`.
    h : (d,) floats; c, second_moment, count : (d,) or (1,) floats
        Curvature, gradient noise, E[w0^2], and how many coordinates each one stands for.
    carried : (2, n + n(n+1)/2, d) floats
        The state at the first segment's start, unless `is_first`, and its second digits. The call
        replaces it by that at the last segment's end, unless `is_last`.
    partial : (records, tiles) floats
        Receives the risk of each tile of `TILE` coordinates.
    """
    n = len(read)
    rows = n + n * (n + 1) // 2
    segments = lengths.shape[0]
    longest = SHORT
    for segment in range(segments):
        longest = max(longest, lengths[segment])
    levels = bit_length(longest)
    maps = np.empty((levels + 1) * (n * n + rows) * TILE)
    stack = np.empty((levels + 1) * rows * TILE)
    # Untouched pages cost nothing.
    maps_low = np.empty(maps.size)
    stack_low = np.empty(stack.size)
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
                    stack_low[a * TILE + j] = 0.0
        else:
            for a in range(rows):
                for j in range(last - first):
                    stack[a * TILE + j] = carried[0, a, first + j]
                    stack_low[a * TILE + j] = carried[1, a, first + j]
        was_extended = True
        write_risk_weights(
            h, c, second_moment, count, first, last, signal_weight, noise_weight, signal
        )
        record = 0
        for segment in range(segments):
            if is_last and record == record_segment.shape[0]:
                break
            write_noise(c, inverse_batch[segment], first, last, noise)
            one_step_map(
                read,
                values,
                entries,
                factors,
                weights[segment],
                noise,
                first,
                last,
                maps,
            )
            is_extended = loses_digits(read, maps, signal) > 0.0
            if is_extended:
                one_step_map_extended(
                    read,
                    values,
                    entries,
                    factors,
                    weights[segment],
                    noise,
                    first,
                    last,
                    maps,
                    maps_low,
                )
            elif was_extended:
                for j in range(rows * TILE):
                    stack_low[j] = 0.0
            was_extended = is_extended
            next_record = record
            while next_record < record_segment.shape[0] and record_segment[next_record] == segment:
                next_record += 1
            _propagate_segment(
                read,
                is_extended,
                maps,
                maps_low,
                stack,
                stack_low,
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
                    carried[0, a, first + j] = stack[a * TILE + j]
                    carried[1, a, first + j] = stack_low[a * TILE + j]


@kernel
def settings_risk(
    read,
    start,
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

    The arguments are those of `propagate`; `weights` has shape (settings, terms), `inverse_batch`
    is a number, `steps` has shape (records,), and `risk` has shape (settings, records).
    """
    records = steps.shape[0]
    tiles = (h.shape[0] + TILE - 1) // TILE
    partial = np.empty((records, tiles))
    carried = np.empty((2, 0, 0))
    level = np.empty(1)
    level[0] = inverse_batch
    length = np.empty(1, dtype=np.int64)
    length[0] = max(steps[records - 1], SHORT + 1)
    segment = np.empty(records, dtype=np.int64)
    for record in range(records):
        segment[record] = 0
    for setting in range(weights.shape[0]):
        propagate(
            read,
            start,
            values,
            entries,
            factors,
            weights[setting : setting + 1],
            level,
            length,
            segment,
            steps,
            h,
            c,
            second_moment,
            count,
            carried,
            1,
            1,
            partial,
        )
        add_tiles(partial, risk[setting])
