"""A tile of coordinates through a timeline, step by step.

The tile's state, its coefficients and a burst of noise stay in cache while it is stepped, so
that neither goes through memory.
"""

from __future__ import annotations

import numpy as np

from ..contract import LEAF
from .jit import kernel, parallel_kernel, prange
from .noise import normal_burst, summed_burst
from .tile import GAP, build_coefficients, is_beyond, many_steps, measure, weighted_squares


@kernel
def walk(
    zeros, unit, noise, model, timeline, burst, at, replica, settings, cautious, local, partial
):
    """Move the chosen settings of one tile and replica along the timeline.

    ``partial[record, g, row]`` gets what the tile's leaves add up to. If `cautious`, there is one
    setting: go step by step, measure nothing, and return the first step at which it has diverged.
    `burst` is how many steps of noise are made at a time, negative if settings differ in it.
    """
    T = LEAF * len(unit)
    n = len(zeros)
    length = abs(burst)
    summed = noise.summed
    k0, k1 = noise.key[0], noise.key[1]
    coordinate = noise.first + at
    words = np.empty(4 * T, dtype=np.uint32)
    x = np.empty(4 * T, dtype=np.float32)
    count = np.empty(4 * T, dtype=np.int64)
    z = np.empty(0 if summed else length * T, dtype=np.float32)
    sums = np.empty(length * T if summed else 0)
    coefficient = np.empty((local.shape[0], n * (n + 1) * (T + GAP)))
    built = np.full(local.shape[0], -1)  # the segment that a setting's coefficients are for
    risk = np.empty(T)
    spare = np.empty(T)
    # plain arrays: passing all of a model costs more than a stage
    entries, factors, offsets, sigma = model.entries, model.factors, model.offsets, model.sigma
    values, read = model.values.ravel(), model.read
    weight, rows, group = model.weight.ravel(), model.rows, model.group
    weights, amplitude = timeline.weights, timeline.amplitude
    t = timeline.begin
    filled = -1
    segment = 0
    record = 0
    while True:
        if cautious:
            g = settings[0]
            weighted_squares(zeros, unit, read[g], weight, at, local[g], risk)
            if is_beyond(unit, risk):
                return t
        elif record < timeline.records.size and timeline.records[record] == t:
            for g in settings:
                out = partial[record, g]
                measure(
                    zeros, unit, read[g], weight, sigma.size, rows, group, at, local[g],
                    risk, spare, out,
                )  # fmt: skip
            record += 1
        if t == timeline.end:
            return -1
        begin = t - t % length
        stop = min(begin + length, timeline.segment_end[segment])
        if cautious:
            stop = t + 1
        elif record < timeline.records.size:
            stop = min(stop, timeline.records[record])
        for g in settings:
            if filled != begin or burst < 0:
                until = min(begin + length, timeline.end)
                if summed:
                    summed_burst(
                        unit, noise, timeline, g, coordinate, replica, t, until, length,
                        words, x, count, sums,
                    )  # fmt: skip
                else:
                    normal_burst(unit, k0, k1, coordinate, replica, t, until, length, words, z)
                filled = begin
            if built[g] != segment:
                build_coefficients(
                    zeros, unit, entries, factors, offsets[g], offsets[g + 1],
                    weights[segment, g], values, sigma, amplitude[segment, g], at, coefficient[g],
                )  # fmt: skip
                built[g] = segment
            if summed:
                many_steps(zeros, unit, t - begin, stop - begin, coefficient[g], sums, local[g])
            else:
                many_steps(zeros, unit, t - begin, stop - begin, coefficient[g], z, local[g])
        t = stop
        if t == timeline.segment_end[segment]:
            segment += 1


@kernel
def advance_item(zeros, unit, noise, model, timeline, burst, item, state, alive, partial, exceeded):
    """One tile of one replica: load, walk, look for divergence, store."""
    n = len(zeros)
    T = LEAF * len(unit)
    tiles = model.sigma.size // T
    r, tile = item // tiles, item % tiles
    at = tile * T
    chosen = np.empty(alive.shape[0], dtype=np.int64)
    count = 0
    for g in range(alive.shape[0]):
        if alive[g, r]:
            chosen[count] = g
            count += 1
    settings = chosen[:count]
    local = np.empty((state.shape[0], n * T))
    load(zeros, unit, state, r, at, local)
    replica = noise.replicas[r]
    leaves = len(unit)
    out = partial[:, :, r, :, tile * leaves : (tile + 1) * leaves]
    walk(zeros, unit, noise, model, timeline, burst, at, replica, settings, 0, local, out)
    risk = np.empty(T)
    weight = model.weight.ravel()
    for g in settings:
        weighted_squares(zeros, unit, model.read[g], weight, at, local[g], risk)
        if is_beyond(unit, risk):
            again = np.empty((state.shape[0], n * T))
            load(zeros, unit, state, r, at, again)
            one = np.full(1, g)
            exceeded[g, r, tile] = walk(
                zeros, unit, noise, model, timeline, burst, at, replica, one, 1, again, out
            )
    for g in settings:
        for a in range(n):
            state[g, r, a, at : at + T] = local[g, a * T : (a + 1) * T]


@kernel
def load(zeros, unit, state, r, at, local):
    """State of a tile and replica into `local`, (settings, n T)."""
    T = LEAF * len(unit)
    for g in range(state.shape[0]):
        for a in range(len(zeros)):
            local[g, a * T : (a + 1) * T] = state[g, r, a, at : at + T]


@kernel
def advance_serial(
    zeros, unit, noise, model, timeline, burst, items, state, alive, partial, exceeded
):
    """All items in turn."""
    for item in range(items):
        advance_item(
            zeros, unit, noise, model, timeline, burst, item, state, alive, partial, exceeded
        )


@parallel_kernel
def advance_parallel(
    zeros, unit, noise, model, timeline, burst, items, state, alive, partial, exceeded
):
    """All items, on all threads; Numba's cache would mistake it for the other, were it one."""
    for item in prange(items):
        advance_item(
            zeros,
            unit,
            noise,
            model,
            timeline,
            burst,
            np.int64(item),
            state,
            alive,
            partial,
            exceeded,
        )
