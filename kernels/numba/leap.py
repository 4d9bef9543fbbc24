"""The loop that takes a tile of coordinates through a timeline by leaps, for CPUs.

A leap of k steps draws the state from its Gaussian law (see `exact.leap_map`). Leaps end at stops:
the recorded steps and the ends of segments. Where a segment repeats a period, k is a number of
periods.
"""

from __future__ import annotations

import numpy as np

from .. import noise as formulas
from ..contract import LEAF
from ..exact.leap_map import map_of_many_steps
from ..exact.maps import end_of_columns
from ..noise import LEAP
from .jit import kernel, replace_component
from .lanes import lanes
from .noise import draw_words, make_normals
from .tile import GAP, build_coefficients, is_beyond, load_state, measure, weighted_squares


@kernel
def leap_state(zeros, leaves, M, L, z, state):
    """Replace the state s, (n, T), by ``M s + L z``, summed from the left."""
    n = len(zeros)
    T = lanes(leaves)
    for j in range(T):
        s = zeros
        for a in range(n):
            s = replace_component(s, a, state[a, j])
        for a in range(n):
            total = M[a * n * T + j] * s[0]
            for b in range(1, n):
                total = total + M[(a * n + b) * T + j] * s[b]
            for b in range(n):
                total = total + L[(a * n + b) * T + j] * np.float64(z[b * T + j])
            state[a, j] = total


@kernel
def leap_tile(
    zeros, leaves, summing, noise, model, timeline, stops, tile, state, alive, partial, diverged_at
):
    """Take one tile of all replicas from stop to stop; no samples are summed."""
    n = len(zeros)
    T = lanes(leaves)
    at = tile * T
    settings, replicas = alive.shape
    columns = end_of_columns(n, model.entries)
    coefficient = np.empty(n * columns * (T + GAP))
    maps = np.empty((3, (n * n + n + n * (n + 1) // 2) * T))
    low = np.empty(maps.shape)
    M = np.empty(n * n * T)
    L = np.empty(n * n * T)
    words = np.empty(4 * T, dtype=np.uint32)
    z = np.empty((n + 3) // 4 * 4 * T, dtype=np.float32)
    tile_state = np.empty(n * T)
    risk = np.empty(T)
    selected = np.empty(T)
    weight, rows, group = model.weight.ravel(), model.rows, model.group
    values = model.values.ravel()
    made_for = (-1, -1, -1)
    t = timeline.begin
    segment = 0
    record = 0
    stop = 0
    while True:
        recorded = record < timeline.records.size and timeline.records[record] == t
        for g in range(settings):
            read = model.read[g]
            for r in range(replicas):
                if not alive[g, r]:
                    continue
                load_state(leaves, state[g, r], at, tile_state)
                if recorded:
                    out = partial[record, g, r, :, at // LEAF : at // LEAF + len(leaves)]
                    measure(
                        zeros, leaves, read, weight, model.sigma.size, rows, group, at, tile_state,
                        risk, selected, out,
                    )  # fmt: skip
                weighted_squares(zeros, leaves, read, weight, at, tile_state, risk)
                if diverged_at[g, r, tile] < 0 and is_beyond(leaves, risk):
                    diverged_at[g, r, tile] = t
        if recorded:
            record += 1
        if t == timeline.end:
            return
        steps = stops[stop] - t
        if timeline.spans.size:
            steps = steps // timeline.spans[segment]
        for g in range(settings):
            count = 0
            for r in range(replicas):
                count += 1 if alive[g, r] else 0
            if count == 0:
                continue
            if made_for != (g, segment, steps):
                build_coefficients(
                    zeros, leaves, columns, model.entries, model.factors, model.offsets[g],
                    model.offsets[g + 1], timeline.weights[segment, g], values, model.sigma,
                    timeline.amplitude[segment, g], at, coefficient,
                )  # fmt: skip
                map_of_many_steps(
                    zeros, leaves, steps, columns, coefficient, T + GAP, maps, low, M, L
                )
                made_for = (g, segment, steps)
            for r in range(replicas):
                if alive[g, r]:
                    for block in range((n + 3) // 4):
                        c1, c2, c3 = formulas.counter(t, noise.replicas[r], block, LEAP)
                        coordinate = noise.first + at
                        draw_words(
                            leaves, coordinate, c1, c2, c3, noise.key[0], noise.key[1], words, 0
                        )
                        make_normals(leaves, words, 4 * block * T, z)
                    leap_state(zeros, leaves, M, L, z, state[g, r, :, at : at + T])
        t = stops[stop]
        stop += 1
        if t == timeline.segment_end[segment]:
            segment += 1
