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

import math

import numpy as np

from ..numba.jit import kernel
from .moments import (
    TILE,
    _apply,
    _bit_length,
    _one_step_map,
    _responses,
    _risk_weights,
    _square,
    _weighted_sum,
)

FOUND, NOT_YET, UNREACHABLE = 0, 1, 2  # the status of a search
RETRY = 8  # intervals that are skipped before the double length, which failed, is tried again


@kernel
def _double_reach(read, step, reach, doubled):
    """Bound the reach of 2K steps, into `doubled`, given that of K steps and their map `step`."""
    n = len(read)
    for j in range(TILE):
        for b in range(n):
            x = reach[b * TILE + j]
            for a in range(n):
                x += reach[a * TILE + j] * abs(step[(a * n + b) * TILE + j])
            doubled[b * TILE + j] = x


@kernel
def _bound_tile(read, one_step, reach, is_interval, carried, injected, signal, noise):
    """Write lower bounds of squared response and noise variance in the interval, for one tile.

    `carried` is the state at the segment's start taken along without fresh noise, `injected` the
    noise since. With ``is_interval = 0`` the present step is meant alone, and the bounds are exact.
    """
    n = len(read)
    dev = n * n
    for j in range(TILE):
        y = 0.0
        kept = 0.0
        grown = 0.0
        signal_loss = 0.0
        noise_loss = 0.0
        for a in range(n):
            y += read[a] * carried[a * TILE + j]
            change = 0.0
            spread = 0.0
            for b in range(n):
                hi, lo = (a, b) if a > b else (b, a)
                at = (n + hi * (hi + 1) // 2 + lo) * TILE + j
                kept += read[a] * read[b] * carried[at]
                grown += read[a] * read[b] * injected[at]
                d = one_step[((dev + a) if a == b else (a * n + b)) * TILE + j]
                change += d * carried[b * TILE + j]
                for c in range(n):
                    hi, lo = (b, c) if b > c else (c, b)
                    e = one_step[((dev + a) if a == c else (a * n + c)) * TILE + j]
                    spread += d * e * carried[(n + hi * (hi + 1) // 2 + lo) * TILE + j]
            signal_loss += reach[a * TILE + j] * abs(change)
            noise_loss += reach[a * TILE + j] * math.sqrt(max(spread, 0.0))
        y = abs(y) - is_interval * signal_loss
        root = math.sqrt(max(kept, 0.0)) - is_interval * noise_loss
        # comparisons with NaN are false: an overflowed bound promises nothing
        signal[j] = y * y if y > 0.0 else 0.0
        noise[j] = grown + (root * root if root > 0.0 else 0.0)


@kernel
def _bound_risk(read, table, per_level, level, carried, injected, risk_weights, buffers):
    """Return a lower bound on the risk within the next 2^level steps."""
    n = len(read)
    reach = level * per_level * TILE + (per_level - n) * TILE
    is_interval = 1.0 if level > 0 else 0.0
    total = 0.0
    for tile in range(carried.shape[0]):
        _bound_tile(
            read,
            table[tile],
            table[tile, reach : reach + n * TILE],
            is_interval,
            carried[tile],
            injected[tile],
            buffers[0],
            buffers[1],
        )
        total += _weighted_sum(risk_weights[tile, 0], risk_weights[tile, 1], buffers[0], buffers[1])
    return total


@kernel
def _noise_risk(read, injected, risk_weights, buffers):
    """Return the risk of the noise injected since the segment began, which can only grow."""
    total = 0.0
    for tile in range(injected.shape[0]):
        _responses(read, injected[tile], 0, buffers[0], buffers[1])
        for j in range(TILE):
            buffers[0, j] = 0.0
        total += _weighted_sum(risk_weights[tile, 0], risk_weights[tile, 1], buffers[0], buffers[1])
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
def _advance_states(read, table, per_level, level, carried, injected, has_noise, buffers):
    """Take both parts of the state of every tile 2^level steps on."""
    size = carried.shape[1]
    at = level * per_level * TILE
    end = at + per_level * TILE
    buffer = buffers.reshape(-1)[:size]
    for tile in range(carried.shape[0]):
        step = table[tile, at:end]
        if has_noise:
            _apply(read, step, carried[tile], buffer, 0.0)
            carried[tile] = buffer
        else:
            _apply_to_mean(read, step, carried[tile], buffer)
        _apply(read, step, injected[tile], buffer, 1.0)
        injected[tile] = buffer


@kernel
def _build_level(read, table, per_level, level):
    """Append the map of 2^level steps and its reach to the table of every tile."""
    n = len(read)
    per_map = per_level - n
    begin = level * per_level * TILE
    previous = begin - per_level * TILE
    pair = np.empty(2 * per_map * TILE)
    for tile in range(table.shape[0]):
        pair[: per_map * TILE] = table[tile, previous : previous + per_map * TILE]
        _square(read, pair)
        table[tile, begin : begin + per_map * TILE] = pair[per_map * TILE :]
        _double_reach(
            read,
            pair[: per_map * TILE],
            table[tile, previous + per_map * TILE : begin],
            table[tile, begin + per_map * TILE : begin + per_level * TILE],
        )


@kernel
def _search_segment(
    read,
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
    """Search one segment of constant settings; return the status and the steps taken."""
    n = len(read)
    per_level = 2 * n + n * n + n * (n + 1) // 2
    t = 0
    level = 0
    built = 0
    wait = 0
    moves = 0
    while t < length:
        bound = _bound_risk(read, table, per_level, level, carried, injected, risk_weights, buffers)
        if bound <= target:
            if level > 0:
                level -= 1
                wait = RETRY
                continue
            if t > skip:
                return FOUND, t
        _advance_states(read, table, per_level, level, carried, injected, has_noise, buffers)
        t += 1 << level
        moves += 1
        if (
            endless
            and (level > 3 or moves % 64 == 0)
            and _noise_risk(read, injected, risk_weights, buffers) > target
        ):
            return UNREACHABLE, t
        wait -= 1
        if wait <= 0:
            level += 1
        while level > 0 and (1 << level) > length - t:
            level -= 1
        if level > built:
            _build_level(read, table, per_level, level)
            built = level
    return NOT_YET, t


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
    carried, injected : (tiles, rows * TILE) floats
        The state at the first segment's start, split as in `_bound_tile`; advanced in place.

    Returns
    -------
    status : FOUND, NOT_YET or UNREACHABLE
    step : the first passage, or the number of steps covered
    """
    n = len(read)
    per_level = 2 * n + n * n + n * (n + 1) // 2
    tiles = carried.shape[0]
    d = h.shape[0]
    levels = 1
    for segment in range(lengths.shape[0]):
        levels = max(levels, _bit_length(lengths[segment]))
    # untouched pages cost nothing: only the levels that are reached take memory
    table = np.empty((tiles, levels * per_level * TILE))
    buffers = np.empty((max(2, carried.shape[1] // TILE), TILE))
    risk_weights = np.empty((tiles, 2, TILE))
    for tile in range(tiles):
        first = tile * TILE
        last = min(first + TILE, d)
        _risk_weights(
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
        for tile in range(tiles):
            first = tile * TILE
            _one_step_map(
                read,
                values,
                entries,
                factors,
                weights[segment],
                inverse_batch[segment],
                first,
                min(first + TILE, d),
                table[tile, : (per_level - n) * TILE],
            )
            for a in range(n):
                at = (per_level - n + a) * TILE
                table[tile, at : at + TILE] = abs(read[a])
            carried[tile, n * TILE :] += injected[tile, n * TILE :]
            injected[tile] = 0.0
        last = segment == lengths.shape[0] - 1
        status, t = _search_segment(
            read,
            table,
            carried,
            injected,
            resumed or covered > 0,
            lengths[segment],
            last and endless,
            target,
            skip - covered,
            risk_weights,
            buffers,
        )
        covered += t
        if status != NOT_YET:
            return status, covered
    for tile in range(tiles):
        carried[tile, n * TILE :] += injected[tile, n * TILE :]
        injected[tile] = 0.0
    return NOT_YET, covered
