"""First passage of the exact risk below a target, without visiting every step.

From a state at step t, the risk at all steps of the interval t .. t + 2^K - 1 is bounded below at
once. After j steps the response to w0 has changed by ``sum_{i<j} q A^i (A - I) z``, where q is
`read`. That is at most ``G |(A - I) z|`` with G, the reach, the sum of all |q A^i| of the interval,
entry by entry. Noise injected since the segment began only accumulates. An interval whose bound
stays above the target is skipped by one precomposed map, another is halved, down to single steps,
for which the bound is the risk itself. So the answer is the true first passage, whatever the
risk does in between.
"""

from __future__ import annotations

import numpy as np

from ..numba.jit import kernel
from .extended_maps import (
    apply_extended,
    loses_digits,
    one_step_map_extended,
    plus,
    responses_extended,
    square_extended,
)
from .maps import TILE, apply, bit_length, one_step_map, responses, square
from .risk_bounds import bound_risk, double_reach
from .sums import weighted_sum, write_noise, write_risk_weights

FOUND, NOT_YET, UNREACHABLE = 0, 1, 2  # the status of a search
RETRY = 8  # intervals that are skipped before the double length, which failed, is tried again


@kernel
def _noise_risk(read, is_extended, injected, risk_weights, buffers):
    """Return the risk of the noise injected since the segment began, which can only grow."""
    total = 0.0
    for tile in range(injected.shape[1]):
        if is_extended[tile]:
            responses_extended(
                read, injected[0, tile], injected[1, tile], 0, buffers[0], buffers[1]
            )
        else:
            responses(read, injected[0, tile], 0, buffers[0], buffers[1])
        for j in range(TILE):
            buffers[0, j] = 0.0
        total += weighted_sum(risk_weights[tile, 0], risk_weights[tile, 1], buffers[0], buffers[1])
    return total


@kernel
def _apply_to_mean(read, step, state, buffer):
    """Apply the map `step` to the response in a state that has no noise."""
    n = len(read)
    for j in range(TILE):
        for a in range(n):
            x = 0.0
            for k in range(n):
                x += step[(a * n + k) * TILE + j] * state[k * TILE + j]
            buffer[a * TILE + j] = x
    state[: n * TILE] = buffer[: n * TILE]


@kernel
def _advance_extended(read, step, step_low, state, state_low, buffer, buffer_low, fresh_noise):
    """Apply the map `step` to a state, in place, with twice the digits."""
    apply_extended(read, step, step_low, state, state_low, buffer, buffer_low, fresh_noise)
    state[:] = buffer
    state_low[:] = buffer_low


@kernel
def _advance_states(
    read, is_extended, table, table_low, per_level, level, carried, injected, has_noise, buffers
):
    """Take both parts of the state of every tile 2^level steps on."""
    size = carried.shape[2]
    at = level * per_level * TILE
    end = at + per_level * TILE
    buffer = buffers.reshape(-1)[:size]
    buffer_low = buffers.reshape(-1)[size : 2 * size]
    for tile in range(carried.shape[1]):
        step = table[tile, at:end]
        if is_extended[tile]:
            step_low = table_low[tile, at:end]
            _advance_extended(
                read, step, step_low, carried[0, tile], carried[1, tile], buffer, buffer_low, 0.0
            )
            _advance_extended(
                read, step, step_low, injected[0, tile], injected[1, tile], buffer, buffer_low, 1.0
            )
            continue
        if has_noise:
            apply(read, step, carried[0, tile], buffer, 0.0)
            carried[0, tile] = buffer
        else:
            _apply_to_mean(read, step, carried[0, tile], buffer)
        apply(read, step, injected[0, tile], buffer, 1.0)
        injected[0, tile] = buffer


@kernel
def _build_level(read, is_extended, table, table_low, per_level, level):
    """Append the map of 2^level steps and its reach to the table of every tile."""
    n = len(read)
    size = (per_level - n) * TILE
    begin = level * per_level * TILE
    previous = begin - per_level * TILE
    pair = np.empty(2 * size)
    pair_low = np.empty(2 * size)
    for tile in range(table.shape[0]):
        pair[:size] = table[tile, previous : previous + size]
        if is_extended[tile]:
            pair_low[:size] = table_low[tile, previous : previous + size]
            square_extended(read, pair, pair_low)
            table_low[tile, begin : begin + size] = pair_low[size:]
        else:
            square(read, pair)
        table[tile, begin : begin + size] = pair[size:]
        double_reach(
            read,
            pair[:size],
            table[tile, previous + size : begin],
            table[tile, begin + size : begin + per_level * TILE],
        )


@kernel
def _search_segment(
    read,
    is_extended,
    table,
    table_low,
    carried,
    injected,
    has_noise,
    length,
    endless,
    target,
    skip,
    risk_weights,
    buffers,
):
    """Search one segment of constant settings; return the status and the steps taken."""
    n = len(read)
    per_level = 2 * n + n * n + n * (n + 1) // 2
    t = 0
    level = 0
    built = 0
    wait = 0
    moves = 0
    while t < length:
        bound = bound_risk(
            read, table, per_level, level, carried[0], injected[0], risk_weights, buffers
        )
        if bound <= target:
            if level > 0:
                level -= 1
                wait = RETRY
                continue
            if t > skip:
                return FOUND, t
        _advance_states(
            read,
            is_extended,
            table,
            table_low,
            per_level,
            level,
            carried,
            injected,
            has_noise,
            buffers,
        )
        t += 1 << level
        moves += 1
        if (
            endless
            and (level > 3 or moves % 64 == 0)
            and _noise_risk(read, is_extended, injected, risk_weights, buffers) > target
        ):
            return UNREACHABLE, t
        wait -= 1
        if wait <= 0:
            level += 1
        while level > 0 and (1 << level) > length - t:
            level -= 1
        if level > built:
            _build_level(read, is_extended, table, table_low, per_level, level)
            built = level
    return NOT_YET, t


@kernel
def _search_extended_segment(
    read,
    values,
    entries,
    factors,
    weight,
    inverse_batch,
    c,
    d,
    is_extended,
    table,
    carried,
    injected,
    has_noise,
    length,
    endless,
    target,
    skip,
    risk_weights,
    buffers,
):
    """Do what `_search_segment` does where tiles need twice the digits."""
    n = len(read)
    per_map = n * n + n + n * (n + 1) // 2
    table_low = np.empty(table.shape)
    for tile in range(table.shape[0]):
        if is_extended[tile]:
            first = tile * TILE
            last = min(first + TILE, d)
            write_noise(c, inverse_batch, first, last, buffers[0])
            one_step_map_extended(
                read,
                values,
                entries,
                factors,
                weight,
                buffers[0],
                first,
                last,
                table[tile, : per_map * TILE],
                table_low[tile, : per_map * TILE],
            )
    return _search_segment(
        read,
        is_extended,
        table,
        table_low,
        carried,
        injected,
        has_noise,
        length,
        endless,
        target,
        skip,
        risk_weights,
        buffers,
    )


@kernel
def _merge_noise(n, is_extended, carried, injected):
    """Add the noise of a segment to the state that is carried on from its end."""
    for tile in range(carried.shape[1]):
        for j in range(n * TILE, carried.shape[2]):
            if is_extended[tile]:
                x, x_low = plus(
                    carried[0, tile, j],
                    carried[1, tile, j],
                    injected[0, tile, j],
                    injected[1, tile, j],
                )
            else:
                x, x_low = carried[0, tile, j] + injected[0, tile, j], 0.0
            carried[0, tile, j] = x
            carried[1, tile, j] = x_low
        injected[0, tile] = 0.0
        injected[1, tile] = 0.0
        if not is_extended[tile]:
            carried[1, tile] = 0.0


@kernel
def first_passage(
    read,
    values,
    entries,
    factors,
    weights,
    inverse_batch,
    lengths,
    endless,
    target,
    skip,
    resumed,
    h,
    c,
    second_moment,
    count,
    carried,
    injected,
):
    """Find the first step with risk <= target, over consecutive segments of constant settings.

    Parameters
    ----------
    read, values, entries, factors, weights, inverse_batch, lengths, h, c, second_moment, count
        These are as in `moments.propagate`.
    endless : bool
        Whether the last segment goes on for ever; then noise above the target ends the search.
    target : float
    skip : int
        Steps up to this one are not accepted; -1 accepts all.
    resumed : bool
        Whether `carried` already has noise, from an earlier call.
    carried, injected : (2, tiles, rows * TILE) floats
        The state at the first segment's start, split as in `risk_bounds`, and its second digits
        (see `extended_maps`); advanced in place.

    Returns
    -------
    status : FOUND, NOT_YET or UNREACHABLE
    step : the first passage, or the number of steps covered
    """
    n = len(read)
    per_level = 2 * n + n * n + n * (n + 1) // 2
    tiles = carried.shape[1]
    d = h.shape[0]
    levels = 2
    for segment in range(lengths.shape[0]):
        levels = max(levels, bit_length(lengths[segment]))
    # untouched pages cost nothing: only the levels that are reached take memory
    table = np.empty((tiles, levels * per_level * TILE))
    is_extended = np.zeros(tiles, dtype=np.int64)
    buffers = np.empty((max(2, 2 * carried.shape[2] // TILE), TILE))
    risk_weights = np.empty((tiles, 2, TILE))
    for tile in range(tiles):
        first = tile * TILE
        last = min(first + TILE, d)
        write_risk_weights(
            h,
            c,
            second_moment,
            count,
            first,
            last,
            risk_weights[tile, 0],
            risk_weights[tile, 1],
            buffers[0],
        )
    covered = 0
    for segment in range(lengths.shape[0]):
        extended = 0
        for tile in range(tiles):
            first = tile * TILE
            last = min(first + TILE, d)
            write_noise(c, inverse_batch[segment], first, last, buffers[0])
            one_step_map(
                read,
                values,
                entries,
                factors,
                weights[segment],
                buffers[0],
                first,
                last,
                table[tile],
            )
            # The square that this leaves behind the map is replaced by its reach, and later levels.
            is_extended[tile] = 1 if loses_digits(read, table[tile], buffers[0]) > 0.0 else 0
            extended += is_extended[tile]
            for a in range(n):
                at = (per_level - n + a) * TILE
                table[tile, at : at + TILE] = abs(read[a])
        _merge_noise(n, is_extended, carried, injected)
        is_last = segment == lengths.shape[0] - 1
        if extended:
            status, t = _search_extended_segment(
                read,
                values,
                entries,
                factors,
                weights[segment],
                inverse_batch[segment],
                c,
                d,
                is_extended,
                table,
                carried,
                injected,
                resumed or covered > 0,
                lengths[segment],
                is_last and endless,
                target,
                skip - covered,
                risk_weights,
                buffers,
            )
        else:
            status, t = _search_segment(
                read,
                is_extended,
                table,
                table,
                carried,
                injected,
                resumed or covered > 0,
                lengths[segment],
                is_last and endless,
                target,
                skip - covered,
                risk_weights,
                buffers,
            )
        covered += t
        if status != NOT_YET:
            return status, covered
    _merge_noise(n, is_extended, carried, injected)
    return NOT_YET, covered
