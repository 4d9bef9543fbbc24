"""A tile of coordinates through a timeline by leaps: powers of the one-step map."""

from __future__ import annotations

import numpy as np

from .. import noise as formulas
from ..contract import LEAF
from ..noise import LEAP
from .jit import kernel, parallel_kernel, prange, replaced
from .noise import draw_words, make_normals
from .tile import GAP, build_coefficients, is_beyond, measure, weighted_squares


@kernel
def one_step_map(zeros, unit, coefficient, out):
    """Rows ``A - I``, then the covariance ``(b sigma amplitude) (b sigma amplitude)^T``."""
    n = len(zeros)
    T = LEAF * len(unit)
    for a in range(n):
        for b in range(n):
            at = (a * n + b) * T
            kick = (a * (n + 1) + n) * (T + GAP), (b * (n + 1) + n) * (T + GAP)
            for j in range(T):
                out[at + j] = coefficient[(a * (n + 1) + b) * (T + GAP) + j]
                out[n * n * T + at + j] = coefficient[kick[0] + j] * coefficient[kick[1] + j]


@kernel
def compose(zeros, unit, second, first, out):
    """The map of `first`, then `second`; the third part of `out` is used on the way."""
    n = len(zeros)
    T = LEAF * len(unit)
    V, X = n * n * T, 2 * n * n * T
    for j in range(T):
        for a in range(n):
            for b in range(n):
                total = second[a * n * T + j] * first[b * T + j]
                moved = second[a * n * T + j] * first[V + b * T + j]
                for c in range(1, n):
                    total = total + second[(a * n + c) * T + j] * first[(c * n + b) * T + j]
                    moved = moved + second[(a * n + c) * T + j] * first[V + (c * n + b) * T + j]
                at = (a * n + b) * T + j
                out[at] = (second[at] + first[at]) + total
                out[X + at] = first[V + at] + moved
        for a in range(n):
            for b in range(n):
                total = out[X + a * n * T + j] * second[b * n * T + j]
                for c in range(1, n):
                    total = total + out[X + (a * n + c) * T + j] * second[(b * n + c) * T + j]
                at = (a * n + b) * T + j
                out[V + at] = second[V + at] + (out[X + at] + total)


@kernel
def factorize(zeros, unit, whole, L):
    """Lower factors of the covariances; a column without variance is zero."""
    n = len(zeros)
    T = LEAF * len(unit)
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
def map_of_many_steps(zeros, unit, steps, coefficient, maps):
    """Leave the map of `steps` steps in maps[0] and its Cholesky factors in maps[1]."""
    whole, power, spare = 0, 1, 2
    maps[whole] = 0.0
    one_step_map(zeros, unit, coefficient, maps[power])
    while steps:
        if steps & 1:
            compose(zeros, unit, maps[power], maps[whole], maps[spare])
            whole, spare = spare, whole
        steps >>= 1
        if steps:
            compose(zeros, unit, maps[power], maps[power], maps[spare])
            power, spare = spare, power
    if whole != 0:
        maps[0] = maps[whole]
    factorize(zeros, unit, maps[0], maps[1])


@kernel
def jump(zeros, unit, whole, L, z, state):
    """Draw the state at the end of a jump."""
    n = len(zeros)
    T = LEAF * len(unit)
    for j in range(T):
        s = zeros
        for a in range(n):
            s = replaced(s, a, state[a, j])
        for a in range(n):
            total = whole[a * n * T + j] * s[0]
            for b in range(1, n):
                total = total + whole[(a * n + b) * T + j] * s[b]
            for b in range(n):
                total = total + L[(a * n + b) * T + j] * np.float64(z[b * T + j])
            state[a, j] = s[a] + total


@kernel
def leap_item(zeros, unit, noise, model, timeline, stops, tile, state, alive, partial, exceeded):
    """One tile of all replicas, from stop to stop."""
    n = len(zeros)
    T = LEAF * len(unit)
    at = tile * T
    settings, replicas = alive.shape
    coefficient = np.empty(n * (n + 1) * (T + GAP))
    maps = np.empty((3, 3 * n * n * T))
    words = np.empty(4 * T, dtype=np.uint32)
    z = np.empty((n + 3) // 4 * 4 * T, dtype=np.float32)
    local = np.empty(n * T)
    risk = np.empty(T)
    spare = np.empty(T)
    first = np.full((settings, replicas), -1)
    weight, rows, group = model.weight.ravel(), model.rows, model.group
    values = model.values.ravel()
    made = (-1, -1, -1)
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
                    local[a * T : (a + 1) * T] = state[g, r, a, at : at + T]
                if recorded:
                    out = partial[record, g, r, :, at // LEAF : at // LEAF + len(unit)]
                    measure(
                        zeros, unit, read, weight, model.sigma.size, rows, group, at, local,
                        risk, spare, out,
                    )  # fmt: skip
                weighted_squares(zeros, unit, read, weight, at, local, risk)
                beyond = is_beyond(unit, risk)
                if beyond and first[g, r] < 0:
                    first[g, r] = t
                if t == timeline.end and beyond:
                    exceeded[g, r, tile] = first[g, r]
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
            if made != (g, segment, steps):
                build_coefficients(
                    zeros, unit, model.entries, model.factors, model.offsets[g],
                    model.offsets[g + 1], timeline.weights[segment, g], values, model.sigma,
                    timeline.amplitude[segment, g], at, coefficient,
                )  # fmt: skip
                map_of_many_steps(zeros, unit, steps, coefficient, maps)
                made = (g, segment, steps)
            for r in range(replicas):
                if alive[g, r]:
                    for block in range((n + 3) // 4):
                        c1, c2, c3 = formulas.counter(t, noise.replicas[r], block, LEAP)
                        coordinate = noise.first + at
                        draw_words(unit, coordinate, c1, c2, c3, noise.key[0], noise.key[1], words)
                        make_normals(unit, words, 4 * block * T, z)
                    jump(zeros, unit, maps[0], maps[1], z, state[g, r, :, at : at + T])
        t = stops[stop]
        stop += 1
        if t == timeline.segment_end[segment]:
            segment += 1


@kernel
def leap_serial(zeros, unit, noise, model, timeline, stops, tiles, state, alive, partial, exceeded):
    """All tiles in turn."""
    for tile in range(tiles):
        leap_item(zeros, unit, noise, model, timeline, stops, tile, state, alive, partial, exceeded)


@parallel_kernel
def leap_parallel(
    zeros, unit, noise, model, timeline, stops, tiles, state, alive, partial, exceeded
):
    """All tiles, on all threads; apart from the other as in `numba_walk`."""
    for tile in prange(tiles):
        leap_item(
            zeros,
            unit,
            noise,
            model,
            timeline,
            stops,
            np.int64(tile),
            state,
            alive,
            partial,
            exceeded,
        )
