"""First passage of the exact risk below a target, without visiting every step.

From a state at step t, every step of the block t .. t + 2^K - 1 is bounded below at once.
After j steps the response to w0 has changed by ``sum_{i<j} q A^i (A - I) z``, which is at
most ``G |(A - I) z|`` with G the sum of all |q A^i| of the block, entry by entry; noise
injected since the run began only accumulates. A block whose bound stays above the target
is jumped over with one precomposed map, another is halved, down to single steps, for
which the bound is the risk itself. So the answer is the true first passage, whatever the
risk does in between.
"""

from __future__ import annotations

import math

import numpy as np

from ..numba.jit import kernel
from .moments import (
    TILE,
    _apply,
    _bits,
    _one_step,
    _responses,
    _risk_weights,
    _square,
    _weighted_sum,
)

FOUND, NOT_YET, UNREACHABLE = 0, 1, 2
RETRY = 8  # successes at one block length before a longer one that failed is tried again


@kernel
def _widen(q, step, reach, wider):
    """Bounds on the sum of |q A^i| over i < 2K (`wider`) from that over i < K (`reach`)."""
    n = len(q)
    for j in range(TILE):
        for b in range(n):
            x = reach[b * TILE + j]
            for a in range(n):
                x += reach[a * TILE + j] * abs(step[(a * n + b) * TILE + j])
            wider[b * TILE + j] = x


@kernel
def _floor(q, one_step, reach, stay, old, new, signal, noise):
    """Lowest squared signal and noise variance that the block can contain.

    `old` is the state at the run's start carried along without fresh noise, `new` the
    noise injected since. With ``stay = 0`` the block is the present step alone, and exact.
    """
    n = len(q)
    dev = n * n
    for j in range(TILE):
        y = 0.0
        kept = 0.0
        grown = 0.0
        signal_loss = 0.0
        noise_loss = 0.0
        for a in range(n):
            y += q[a] * old[a * TILE + j]
            change = 0.0
            spread = 0.0
            for b in range(n):
                hi, lo = (a, b) if a > b else (b, a)
                at = (n + hi * (hi + 1) // 2 + lo) * TILE + j
                kept += q[a] * q[b] * old[at]
                grown += q[a] * q[b] * new[at]
                d = one_step[((dev + a) if a == b else (a * n + b)) * TILE + j]
                change += d * old[b * TILE + j]
                for c in range(n):
                    hi, lo = (b, c) if b > c else (c, b)
                    e = one_step[((dev + a) if a == c else (a * n + c)) * TILE + j]
                    spread += d * e * old[(n + hi * (hi + 1) // 2 + lo) * TILE + j]
            signal_loss += reach[a * TILE + j] * abs(change)
            noise_loss += reach[a * TILE + j] * math.sqrt(max(spread, 0.0))
        y = abs(y) - stay * signal_loss
        root = math.sqrt(max(kept, 0.0)) - stay * noise_loss
        # comparisons with NaN are false: an overflowed bound promises nothing
        signal[j] = y * y if y > 0.0 else 0.0
        noise[j] = grown + (root * root if root > 0.0 else 0.0)


@kernel
def _block_floor(q, table, per_level, level, old, new, weight, buffers):
    """Lower bound on the risk within the block of 2^level steps that begins here."""
    n = len(q)
    reach = level * per_level * TILE + (per_level - n) * TILE
    stay = 1.0 if level > 0 else 0.0
    total = 0.0
    for tile in range(old.shape[0]):
        _floor(
            q,
            table[tile],
            table[tile, reach : reach + n * TILE],
            stay,
            old[tile],
            new[tile],
            buffers[0],
            buffers[1],
        )
        total += _weighted_sum(weight[tile, 0], weight[tile, 1], buffers[0], buffers[1])
    return total


@kernel
def _grown_noise(q, new, weight, buffers):
    """Risk of the noise injected since the run began: it can only grow."""
    total = 0.0
    for tile in range(new.shape[0]):
        _responses(q, new[tile], 0, buffers[0], buffers[1])
        for j in range(TILE):
            buffers[0, j] = 0.0
        total += _weighted_sum(weight[tile, 0], weight[tile, 1], buffers[0], buffers[1])
    return total


@kernel
def _move_mean(q, step, state, buffer):
    n = len(q)
    for j in range(TILE):
        for a in range(n):
            x = 0.0
            for k in range(n):
                x += step[(a * n + k) * TILE + j] * state[k * TILE + j]
            buffer[a * TILE + j] = x
    state[: n * TILE] = buffer[: n * TILE]


@kernel
def _advance(q, table, per_level, level, old, new, has_old_noise, buffers):
    """Move both parts of the state of every tile by 2^level steps."""
    size = old.shape[1]
    at = level * per_level * TILE
    end = at + per_level * TILE
    buffer = buffers.reshape(-1)[:size]
    for tile in range(old.shape[0]):
        step = table[tile, at:end]
        if has_old_noise:
            _apply(q, step, old[tile], buffer, 0.0)
            old[tile] = buffer
        else:
            _move_mean(q, step, old[tile], buffer)
        _apply(q, step, new[tile], buffer, 1.0)
        new[tile] = buffer


@kernel
def _build_level(q, table, per_level, level):
    """Append the map of 2^level steps and its bound to the table of every tile."""
    n = len(q)
    per_map = per_level - n
    here = level * per_level * TILE
    below = here - per_level * TILE
    pair = np.empty(2 * per_map * TILE)
    for tile in range(table.shape[0]):
        pair[: per_map * TILE] = table[tile, below : below + per_map * TILE]
        _square(q, pair)
        table[tile, here : here + per_map * TILE] = pair[per_map * TILE :]
        _widen(
            q,
            pair[: per_map * TILE],
            table[tile, below + per_map * TILE : here],
            table[tile, here + per_map * TILE : here + per_level * TILE],
        )


@kernel
def _search_run(
    q,
    table,
    old,
    new,
    has_old_noise,
    length,
    endless,
    target,
    skip,
    weight,
    buffers,
):
    """First passage within one run of constant settings: (status, steps taken)."""
    n = len(q)
    per_level = 2 * n + n * n + n * (n + 1) // 2
    t = 0
    level = 0
    built = 0
    wait = 0
    turns = 0
    while t < length:
        floor = _block_floor(q, table, per_level, level, old, new, weight, buffers)
        if floor <= target:
            if level > 0:
                level -= 1
                wait = RETRY
                continue
            if t > skip:
                return FOUND, t
        _advance(q, table, per_level, level, old, new, has_old_noise, buffers)
        t += 1 << level
        turns += 1
        if (
            endless
            and (level > 3 or turns % 64 == 0)
            and _grown_noise(q, new, weight, buffers) > target
        ):
            return UNREACHABLE, t
        wait -= 1
        if wait <= 0:
            level += 1
        while level > 0 and (1 << level) > length - t:
            level -= 1
        if level > built:
            _build_level(q, table, per_level, level)
            built = level
    return NOT_YET, t


@kernel
def first_passage(
    q,
    values,
    place,
    scale,
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
    old,
    new,
):
    """First step with risk <= target, over consecutive runs of constant settings.

    Parameters
    ----------
    q, values, place, scale, weights, inverse_batch, lengths, h, c, second_moment, count
        As in `moments.propagate`.
    endless : bool
        Whether the last run goes on for ever, so that noise above the target settles it.
    target : float
    skip : int
        Steps up to this one are not accepted; -1 accepts all.
    resumed : bool
        Whether `old` already holds noise, from an earlier call.
    old, new : (tiles, rows * TILE) floats
        State at the first run's start, split as in `_floor`; advanced in place.

    Returns
    -------
    status : FOUND, NOT_YET or UNREACHABLE
    step : the first passage, or the steps covered
    """
    n = len(q)
    per_level = 2 * n + n * n + n * (n + 1) // 2
    tiles = old.shape[0]
    d = h.shape[0]
    levels = 1
    for r in range(lengths.shape[0]):
        levels = max(levels, _bits(lengths[r]))
    # untouched pages cost nothing: only the levels that are reached take memory
    table = np.empty((tiles, levels * per_level * TILE))
    buffers = np.empty((max(2, old.shape[1] // TILE), TILE))
    weight = np.empty((tiles, 2, TILE))
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
            weight[tile, 0],
            weight[tile, 1],
            buffers[0],
        )
    done = 0
    for r in range(lengths.shape[0]):
        for tile in range(tiles):
            first = tile * TILE
            _one_step(
                q,
                values,
                place,
                scale,
                weights[r],
                inverse_batch[r],
                first,
                min(first + TILE, d),
                table[tile, : (per_level - n) * TILE],
            )
            for a in range(n):
                at = (per_level - n + a) * TILE
                table[tile, at : at + TILE] = abs(q[a])
            old[tile, n * TILE :] += new[tile, n * TILE :]
            new[tile] = 0.0
        last = r == lengths.shape[0] - 1
        status, t = _search_run(
            q,
            table,
            old,
            new,
            resumed or done > 0,
            lengths[r],
            last and endless,
            target,
            skip - done,
            weight,
            buffers,
        )
        done += t
        if status != NOT_YET:
            return status, done
    for tile in range(tiles):
        old[tile, n * TILE :] += new[tile, n * TILE :]
        new[tile] = 0.0
    return NOT_YET, done
