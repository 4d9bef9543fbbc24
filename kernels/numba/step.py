"""The loop that takes a tile of coordinates through a timeline step by step, for CPUs.

The tile's state, its coefficients and a burst of noise stay in cache meanwhile, so that no step
waits for memory.
"""

from __future__ import annotations

import numpy as np

from ..contract import ALL, LEAF
from .dense import QUAD, find_products, record_quad, sum_quad, walk_burst, write_factors
from .jit import kernel
from .lanes import lanes, pitch
from .noise import noise_buffer, noise_burst
from .start import write_harmonic
from .tile import (
    GAP,
    build_coefficients,
    change_coefficients,
    is_beyond,
    is_harmless,
    load_state,
    measure,
    step_burst,
    store_state,
    weighted_squares,
)


@kernel
def step_tile(
    zeros, leaves, summing, noise, model, timeline, burst, coordinate, at, values, sigma, weight,
    replica, settings, searching, states, suspect, partial,
):  # fmt: skip
    """Take the chosen settings of one tile and replica through the timeline.

    The tile begins at `coordinate` of the stream, and at element `at` of the rows of `values`,
    `sigma` and `weight`, which are those of the model or of the tile; `states` is (settings, n T).
    ``partial[record, g, row]`` receives the sums of the tile's leaves. `burst` is the number of
    steps whose noise is drawn at a time; it is negative if settings sum different numbers of
    samples, and draw their own. The tuple `summing` is empty unless steps sum samples. `suspect`,
    (settings,), is set to 1 for those whose state is not harmless at one of the looks.

    If `searching`, there is one setting: go step by step, record nothing, and return the first step
    at which it has diverged. Else return -1.
    """
    T = lanes(leaves)
    n = len(zeros)
    length = abs(burst)
    words = np.empty(4 * pitch(leaves), dtype=np.uint32)
    x = np.empty(4 * pitch(leaves) * len(summing), dtype=np.float32)
    count = np.empty(4 * T * len(summing), dtype=np.int64)
    z = noise_buffer(summing, max(length * T, 4 * pitch(leaves)))
    coefficient = np.empty((states.shape[0], n * (n + 1) * (T + GAP)))
    built_for = np.full(states.shape[0], -1)  # the segment that a setting's coefficients are for
    measured = np.empty((QUAD + 2) * T + QUAD * 8 * max(len(leaves), 1))
    risk, selected = measured[:T], measured[T : 2 * T]
    squares, folded = measured[2 * T : (QUAD + 2) * T], measured[(QUAD + 2) * T :]
    walk = np.empty((3, length))
    found = np.zeros((states.shape[0], 2), dtype=np.int64)
    # Arrays instead of the model: passing all of a model costs more than a stage.
    entries, factors, offsets, read = model.entries, model.factors, model.offsets, model.read
    rows, group = model.rows, model.group
    weights, amplitude = timeline.weights, timeline.amplitude
    # whether settings that change at every step are walked, and dense records taken, by `dense`
    walks = len(summing) == 0
    for g in settings:
        if not find_products(zeros, entries, offsets[g], offsets[g + 1], found[g]):
            walks = False
    one_row = len(summing) == 0 and rows.shape[0] == 1 and rows[0, 1] == ALL
    t = timeline.begin
    drawn_for = -1
    segment = np.int64(0)  # a constant would be a type of its own, to compile for anew
    record = 0
    look = 0
    while True:
        if look < timeline.looks.size and timeline.looks[look] == t:
            for g in settings:
                if not is_harmless(zeros, leaves, states[g], timeline.harmless[g]):
                    suspect[g] = 1
            look += 1
        begin = t - t % length
        stop = min(begin + length, timeline.end)
        if look < timeline.looks.size:
            stop = min(stop, timeline.looks[look])
        if not walks and t < timeline.end:
            stop = min(stop, timeline.segment_end[segment])
        quad = False
        if one_row and not searching and record + QUAD <= timeline.records.size:
            fourth = timeline.records[record + QUAD - 1]
            if timeline.records[record] == t and fourth == t + QUAD - 1:
                quad = stop - t >= QUAD
        if searching:
            g = settings[0]
            weighted_squares(zeros, leaves, read[g], weight, at, states[g], risk)
            if is_beyond(leaves, risk):
                return t
        elif not quad and record < timeline.records.size and timeline.records[record] == t:
            for g in settings:
                out = partial[record, g]
                measure(
                    zeros, leaves, read[g], weight, sigma.size, rows, group, at, states[g],
                    risk, selected, out,
                )  # fmt: skip
            record += 1
        if t == timeline.end:
            return -1
        if quad:
            stop = t + QUAD
        elif searching:
            stop = t + 1
        elif record < timeline.records.size:
            stop = min(stop, timeline.records[record])
        if timeline.segment_end[segment] - t >= QUAD:
            stop = min(stop, timeline.segment_end[segment])
        walked = timeline.segment_end[segment] < stop  # through segments that are short
        for g in settings:
            if drawn_for != begin or burst < 0:
                until = min(begin + length, timeline.end)
                noise_burst(
                    summing, leaves, noise, timeline, g, coordinate, replica, t, until, length,
                    words, x, count, z,
                )  # fmt: skip
                drawn_for = begin
            if walked:
                write_factors(timeline, segment, g, t, stop, entries, factors, found[g], walk)
                walk_burst(
                    zeros, leaves, quad, t - begin, stop - begin, walk, entries, found[g], values,
                    sigma, at, z, states[g], read[g], weight, squares,
                )  # fmt: skip
            else:
                other = built_for[g]
                if other < 0:
                    build_coefficients(
                        zeros, leaves, n + 1, entries, factors, offsets[g], offsets[g + 1],
                        weights[segment, g], values, sigma, amplitude[segment, g], at,
                        coefficient[g],
                    )  # fmt: skip
                elif other != segment:
                    change_coefficients(
                        zeros, leaves, entries, factors, offsets[g], offsets[g + 1],
                        weights[segment, g], weights[other, g], values, sigma,
                        amplitude[segment, g], amplitude[other, g], at, coefficient[g],
                    )  # fmt: skip
                built_for[g] = segment
                first, last = t - begin, stop - begin
                if quad:
                    record_quad(
                        zeros, leaves, first, coefficient[g], z, states[g], read[g], weight, at,
                        squares,
                    )  # fmt: skip
                else:
                    step_burst(zeros, leaves, first, last, coefficient[g], z, states[g])
            if quad:
                sum_quad(leaves, squares, folded, partial, record, g)
        if quad:
            record += QUAD
        t = stop
        while segment < timeline.segment_end.size and timeline.segment_end[segment] <= t:
            segment += 1


@kernel
def advance_tile(
    zeros, leaves, summing, noise, model, timeline, burst, turn, state, alive, partial, diverged_at
):
    """Advance one tile of one replica, and search for its divergence where that is possible.

    `turn` numbers the tile and the replica.
    """
    n = len(zeros)
    T = lanes(leaves)
    whole = max(len(leaves), 1)  # leaves that a tile is in
    tiles = state.shape[3] // (LEAF * whole)
    r, tile = turn // tiles, turn % tiles
    at = tile * T
    begin, values, sigma, weight = at, model.values.ravel(), model.sigma, model.weight.ravel()
    # One array for several, as each that is allocated takes time of its own.
    if model.size > 0:
        fields = np.empty(3 * T)
        begin, values, sigma, weight = 0, fields[:T], fields[T : 2 * T], fields[2 * T :]
        write_harmonic(leaves, model.first + at, model.size - at, values, sigma, weight)
    chosen = np.empty(alive.shape[0], dtype=np.int64)
    count = 0
    for g in range(alive.shape[0]):
        if alive[g, r]:
            chosen[count] = g
            count += 1
    all_states = np.empty((2, state.shape[0], n * T))
    states, replayed = all_states[0], all_states[1]
    replica = noise.replicas[r]
    out = partial[:, :, r, :, tile * whole : (tile + 1) * whole]
    suspect = np.zeros(alive.shape[0], dtype=np.int64)
    # One call serves the walk of all settings and the searches, as LLVM may put a copy into each.
    for search in range(count + 1):
        stepped, moving = chosen[:count], states
        if search > 0:
            stepped, moving = chosen[search - 1 : search], replayed
            if not suspect[stepped[0]]:
                continue
        for g in stepped:
            load_state(leaves, state[g, r], at, moving[g])
        first = step_tile(
            zeros, leaves, summing, noise, model, timeline, burst, noise.first + at, begin, values,
            sigma, weight, replica, stepped, search > 0, moving, suspect, out,
        )  # fmt: skip
        if search > 0:
            diverged_at[g, r, tile] = first
    for g in chosen[:count]:
        store_state(leaves, states[g], at, state[g, r])
