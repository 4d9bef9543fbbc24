"""Lower bounds on the risk at all steps of an interval (see `first_passage`)."""

from __future__ import annotations

import math

from ..numba.jit import kernel
from .maps import TILE
from .sums import weighted_sum


@kernel
def double_reach(read, step, reach, doubled):
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
def bound_risk(read, table, per_level, level, carried, injected, risk_weights, buffers):
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
        total += weighted_sum(risk_weights[tile, 0], risk_weights[tile, 1], buffers[0], buffers[1])
    return total
