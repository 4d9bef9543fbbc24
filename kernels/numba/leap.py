"""The loop that takes a tile of coordinates through a timeline by leaps, for CPUs.

A leap of k steps draws the state from its Gaussian law, whose map is the k-th power of the map of
one step. A map has three parts of n n rows of T numbers: A - I, the covariance V of the noise, and
scratch space. The factor L of a covariance has n n rows. Leaps end at stops: the recorded steps and
the ends of segments.
"""

from __future__ import annotations

import numpy as np

from .. import noise as formulas
from ..contract import LEAF
from ..noise import LEAP
from .jit import kernel, parallel_kernel, prange, replace_component
from .noise import draw_words, make_normals
from .tile import GAP, build_coefficients, is_beyond, measure, weighted_squares


@kernel
def one_step_map(zeros, leaves, coefficient, out):
    """Write the map of one step: ``A - I`` and ``(b sigma amplitude) (b sigma amplitude)^T``."""
    n = len(zeros)
    T = LEAF * len(leaves)
    for a in range(n):
        for b in range(n):
            at = (a * n + b) * T
            kick = (a * (n + 1) + n) * (T + GAP), (b * (n + 1) + n) * (T + GAP)
            for j in range(T):
                out[at + j] = coefficient[(a * (n + 1) + b) * (T + GAP) + j]
                out[n * n * T + at + j] = coefficient[kick[0] + j] * coefficient[kick[1] + j]


@kernel
def compose(zeros, leaves, second, first, out):
    """Write the map of `first`, then `second`, to `out`, whose third part is scratch space."""
    n = len(zeros)
    T = LEAF * len(leaves)
    V, X = n * n * T, 2 * n * n * T
    for j in range(T):
        for a in range(n):
            for b in range(n):
                total = second[a * n * T + j] * first[b * T + j]
                carried = second[a * n * T + j] * first[V + b * T + j]
                for c in range(1, n):
                    total = total + second[(a * n + c) * T + j] * first[(c * n + b) * T + j]
                    carried = carried + second[(a * n + c) * T + j] * first[V + (c * n + b) * T + j]
                at = (a * n + b) * T + j
                out[at] = (second[at] + first[at]) + total
                out[X + at] = first[V + at] + carried
        for a in range(n):
            for b in range(n):
                total = out[X + a * n * T + j] * second[b * n * T + j]
                for c in range(1, n):
                    total = total + out[X + (a * n + c) * T + j] * second[(b * n + c) * T + j]
                at = (a * n + b) * T + j
                out[V + at] = second[V + at] + (out[X + at] + total)


@kernel
def factorize(zeros, leaves, whole, L):
    """Write the lower Cholesky factors of the covariances; a column without variance is zero."""
    n = len(zeros)
    T = LEAF * len(leaves)
    V = n * n * T
    L[:] = 0.0
    for j in range(T):
        for a in range(n):
            for b in range(a + 1):
                x = whole[V + (a * n + b) * T + j]
                for c in range(b):
                    x = x - L[(a * n + c) * T + j] * L[(b * n + c) * T + j]
                pivot = L[(b * n + b) * T + j]
                if a == b:
                    x = np.sqrt(x if x > 0.0 else 0.0)
                else:
                    x = x / (pivot if pivot > 0.0 else 1.0) if pivot > 0.0 else 0.0
                L[(a * n + b) * T + j] = x


@kernel
def map_of_many_steps(zeros, leaves, steps, coefficient, maps):
    """Leave the map of `steps` steps in maps[0], and its Cholesky factors in maps[1]."""
    whole, power, spare = 0, 1, 2
    maps[whole] = 0.0
    one_step_map(zeros, leaves, coefficient, maps[power])
    while steps:
        if steps & 1:
            compose(zeros, leaves, maps[power], maps[whole], maps[spare])
            whole, spare = spare, whole
        steps >>= 1
        if steps:
            compose(zeros, leaves, maps[power], maps[power], maps[spare])
            power, spare = spare, power
    if whole != 0:
        maps[0] = maps[whole]
    factorize(zeros, leaves, maps[0], maps[1])


@kernel
def leap_state(zeros, leaves, whole, L, z, state):
    """Replace the state, (n, T), by one drawn at the end of a leap."""
    n = len(zeros)
    T = LEAF * len(leaves)
    for j in range(T):
        s = zeros
        for a in range(n):
            s = replace_component(s, a, state[a, j])
        for a in range(n):
            total = whole[a * n * T + j] * s[0]
            for b in range(1, n):
                total = total + whole[(a * n + b) * T + j] * s[b]
            for b in range(n):
                total = total + L[(a * n + b) * T + j] * np.float64(z[b * T + j])
            state[a, j] = s[a] + total


@kernel
def leap_tile(
    zeros, leaves, noise, model, timeline, stops, tile, state, alive, partial, diverged_at
):
    """Take one tile of all replicas from stop to stop."""
    n = len(zeros)
    T = LEAF * len(leaves)
    at = tile * T
    settings, replicas = alive.shape
    coefficient = np.empty(n * (n + 1) * (T + GAP))
    maps = np.empty((3, 3 * n * n * T))
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
                for a in range(n):
                    tile_state[a * T : (a + 1) * T] = state[g, r, a, at : at + T]
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
        for g in range(settings):
            count = 0
            for r in range(replicas):
                count += 1 if alive[g, r] else 0
            if count == 0:
                continue
            if made_for != (g, segment, steps):
                build_coefficients(
                    zeros, leaves, model.entries, model.factors, model.offsets[g],
                    model.offsets[g + 1], timeline.weights[segment, g], values, model.sigma,
                    timeline.amplitude[segment, g], at, coefficient,
                )  # fmt: skip
                map_of_many_steps(zeros, leaves, steps, coefficient, maps)
                made_for = (g, segment, steps)
            for r in range(replicas):
                if alive[g, r]:
                    for block in range((n + 3) // 4):
                        c1, c2, c3 = formulas.counter(t, noise.replicas[r], block, LEAP)
                        coordinate = noise.first + at
                        draw_words(
                            leaves, coordinate, c1, c2, c3, noise.key[0], noise.key[1], words
                        )
                        make_normals(leaves, words, 4 * block * T, z)
                    leap_state(zeros, leaves, maps[0], maps[1], z, state[g, r, :, at : at + T])
        t = stops[stop]
        stop += 1
        if t == timeline.segment_end[segment]:
            segment += 1


@kernel
def leap_serial(
    zeros, leaves, noise, model, timeline, stops, tiles, state, alive, partial, diverged_at
):
    """Take all tiles through the timeline, one after the other."""
    for tile in range(tiles):
        leap_tile(
            zeros, leaves, noise, model, timeline, stops, tile, state, alive, partial, diverged_at
        )


@parallel_kernel
def leap_parallel(
    zeros, leaves, noise, model, timeline, stops, tiles, state, alive, partial, diverged_at
):
    """Take all tiles through the timeline on all threads (see `step.advance_parallel`)."""
    for tile in prange(tiles):
        leap_tile(
            zeros,
            leaves,
            noise,
            model,
            timeline,
            stops,
            np.int64(tile),
            state,
            alive,
            partial,
            diverged_at,
        )
