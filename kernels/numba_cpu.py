"""The Monte Carlo contract for the CPU: tiles of coordinates, each run through many steps.

A tile's state, its coefficients and a burst of noise stay in cache while it is stepped, so
that neither goes through memory. Every stage (words, variates, sums, coefficients, updates) is
one loop over a tile of its own, which LLVM vectorises; buffers are flat, with rows of the
tile's length, so that one base pointer and constant offsets leave no doubt about overlap.

Tile length and number of components are the lengths of the tuples `unit` (in leaves) and
`zeros`: known to the compiler, which unrolls what depends on them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import noise as formulas
from .compile import inlined, kernel, parallel_kernel, prange, replaced
from .compile import threads as with_threads
from .contract import LEAF, LIMIT, TILE, Floats, Ints, Model, Noise, Timeline, empty_result
from .noise import BITS, GRADIENT, LAPLACE, LEAP, NORMAL, RADEMACHER, START, STUDENT, UNIFORM

QUADS = 4  # of steps in a burst of noise
SHARED_QUADS = 8  # the same, if several settings share it

_HALF_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


# -- noise on a tile ---------------------------------------------------------------------


@kernel
def _words(unit, first, c1, c2, c3, k0, k1, words):
    T = LEAF * len(unit)
    for j in range(T):
        a, b, c, d = formulas.philox(np.uint64(first + j), c1, c2, c3, k0, k1)
        words[j] = a
        words[T + j] = b
        words[2 * T + j] = c
        words[3 * T + j] = d


@kernel
def _normals(unit, words, begin, z):
    """Normals for four steps into z[begin:]."""
    T = LEAF * len(unit)
    for j in range(T):
        at = np.uint64(begin) + np.uint64(j)  # without a sign: it never counts from the end
        a, b = formulas.box_muller(words[j], words[T + j])
        z[at] = a
        z[at + np.uint64(T)] = b
        a, b = formulas.box_muller(words[2 * T + j], words[3 * T + j])
        z[at + np.uint64(2 * T)] = a
        z[at + np.uint64(3 * T)] = b


@kernel
def _laplaces(unit, words, z):
    for j in range(4 * LEAF * len(unit)):
        z[j] = formulas.laplace(words[j])


@kernel
def _students(unit, exponent, words, z):
    T = LEAF * len(unit)
    for j in range(T):
        z[j] = formulas.student_t(words[j], words[T + j], exponent)
        z[T + j] = formulas.student_t(words[2 * T + j], words[3 * T + j], exponent)


@kernel
def _add(unit, x, total):
    for j in range(LEAF * len(unit)):
        total[j] += np.float64(x[j])


@kernel
def _add_signed(unit, words, count):
    for j in range(LEAF * len(unit)):
        count[j] += np.int64(np.uint32(words[j]).view(np.int32))


@kernel
def _add_ones(unit, mask, words, count):
    for j in range(LEAF * len(unit)):
        count[j] += np.int64(formulas.ones(np.uint32(words[j] & mask)))


@kernel
def _as_sum(unit, factor, shift, count, total):
    for j in range(LEAF * len(unit)):
        total[j] = np.float64(factor * count[j]) + shift


@kernel
def _draw(unit, k0, k1, coordinate, replica, quad, block, words):
    """Words of one counter block for the whole tile."""
    c1, c2, c3 = formulas.counter(quad, replica, block, GRADIENT)
    _words(unit, coordinate, c1, c2, c3, k0, k1, words)


@kernel
def _sums(unit, noise, coordinate, replica, quad, samples, words, x, count, z):
    """Sums of `samples` (one number for each of the quad's steps) on a tile."""
    T = LEAF * len(unit)
    most = max(max(samples[0], samples[1]), max(samples[2], samples[3]))
    z[:] = 0.0
    count[:] = 0
    if noise.data == RADEMACHER:
        for block in range((most + BITS - 1) // BITS):
            _draw(unit, noise.key[0], noise.key[1], coordinate, replica, quad, block, words)
            for i in range(4):
                used = min(samples[i] - block * BITS, BITS)
                if used > 0:
                    mask = np.uint32(_LOW >> np.uint64(BITS - used))
                    row = slice(i * T, (i + 1) * T)
                    _add_ones(unit, mask, words[row], count[row])
        for i in range(4):
            row = slice(i * T, (i + 1) * T)
            _as_sum(unit, 2, -np.float64(samples[i]), count[row], z[row])
        return
    per_sample = 2 if noise.data == STUDENT else 1
    for block in range(most * per_sample):
        sample = block // per_sample
        _draw(unit, noise.key[0], noise.key[1], coordinate, replica, quad, block, words)
        begin, end = 0, 4
        if noise.data == NORMAL:
            _normals(unit, words, 0, x)
        elif noise.data == LAPLACE:
            _laplaces(unit, words, x)
        elif noise.data == STUDENT:
            _students(unit, noise.exponent, words, x)
            begin = 2 * (block % 2)
            end = begin + 2
        for i in range(begin, end):
            if sample < samples[i]:
                to = slice(i * T, (i + 1) * T)
                if noise.data == UNIFORM:
                    _add_signed(unit, words[to], count[to])
                else:
                    _add(unit, x[(i - begin) * T : (i - begin + 1) * T], z[to])
    if noise.data == UNIFORM:
        for i in range(4):
            row = slice(i * T, (i + 1) * T)
            _as_sum(unit, 1, 0.5 * np.float64(samples[i]), count[row], z[row])


# -- a tile's coefficients, updates and risk -----------------------------------------------


@kernel
def _scaled_row(unit, factor, values, row):
    for j in range(LEAF * len(unit)):
        row[j] += factor * values[j]


@kernel
def _raised_row(unit, amount, row):
    for j in range(LEAF * len(unit)):
        row[j] += amount


@kernel
def _kick_row(unit, amplitude, sigma, row):
    for j in range(LEAF * len(unit)):
        row[j] *= sigma[j] * amplitude


@kernel
def _coefficients(zeros, unit, model, timeline, segment, g, first, out):
    """Rows ``A - I`` and ``b sigma amplitude`` of a setting: for each a, n of A and one of b."""
    T = LEAF * len(unit)
    n = len(zeros)
    out[:] = 0.0
    for e in range(model.offsets[g], model.offsets[g + 1]):
        term, a, b, source = model.entries[e]
        factor = timeline.weights[segment, g, term] * model.factors[e]
        at = (a * (n + 1) + b) * T
        if source < 0:
            _raised_row(unit, factor, out[at : at + T])
        else:
            _scaled_row(unit, factor, model.values[source, first : first + T], out[at : at + T])
    amplitude = timeline.amplitude[segment, g]
    for a in range(n):
        at = (a * (n + 1) + n) * T
        _kick_row(unit, amplitude, model.sigma[first : first + T], out[at : at + T])


@kernel
def _quads(zeros, unit, begin, end, coefficient, z, state):
    """Steps begin .. end - 1, four at a time with the state in registers; row i of `z` is i's."""
    n = len(zeros)
    T = LEAF * len(unit)
    for step in range(begin, end, 4):
        row = np.uint64(step * T)
        for j in range(T):
            s = zeros
            for a in range(n):
                s = replaced(s, a, state[a * T + j])
            for i in range(4):
                # an index without a sign needs no look at whether it counts from the end
                x = np.float64(z[row + np.uint64(i * T + j)])
                s = _moved(zeros, T, s, x, coefficient, j)
            for a in range(n):
                state[a * T + j] = s[a]


@kernel
def _step(zeros, unit, begin, coefficient, z, state):
    """One step with the noise of z[begin:]."""
    n = len(zeros)
    T = LEAF * len(unit)
    for j in range(T):
        s = zeros
        for a in range(n):
            s = replaced(s, a, state[a * T + j])
        x = np.float64(z[np.uint64(begin) + np.uint64(j)])
        s = _moved(zeros, T, s, x, coefficient, j)
        for a in range(n):
            state[a * T + j] = s[a]


@inlined
def _moved(zeros, T, s, x, coefficient, j):
    n = len(zeros)
    new = s
    for a in range(n):
        row = a * (n + 1) * T
        total = coefficient[row + j] * s[0]
        for b in range(1, n):
            total = total + coefficient[row + b * T + j] * s[b]
        total = total + coefficient[row + n * T + j] * x
        new = replaced(new, a, s[a] + total)
    return new


@kernel
def _many_steps(zeros, unit, begin, end, coefficient, z, state):
    """Steps begin .. end - 1 of a burst."""
    T = LEAF * len(unit)
    while begin < end:
        if begin % 4 == 0 and end - begin >= 4:
            whole = begin + (end - begin) // 4 * 4
            _quads(zeros, unit, begin, whole, coefficient, z, state)
            begin = whole
        else:
            _step(zeros, unit, begin * T, coefficient, z, state)
            begin += 1


@kernel
def _risk(zeros, unit, read, weight, state, risk):
    n = len(zeros)
    T = LEAF * len(unit)
    for j in range(T):
        x = read[0] * state[j]
        for a in range(1, n):
            x = x + read[a] * state[a * T + j]
        risk[j] = (weight[j] * x) * x


@kernel
def _is_beyond(unit, risk):
    beyond = 0
    for j in range(LEAF * len(unit)):
        beyond += 0 if risk[j] <= LIMIT else 1  # not so for NaN
    return beyond > 0


@kernel
def _only(unit, number, band, risk, out):
    for j in range(LEAF * len(unit)):
        out[j] = risk[j] if band[j] == number else 0.0


@kernel
def _folded(unit, x):
    """Sum of a tile in the order of the contract; `x` is used up."""
    leaves = len(unit)
    for leaf in range(leaves):
        at = leaf * LEAF
        half = LEAF // 2
        while half >= 8:
            _fold(half, x[at : at + half], x[at + half : at + 2 * half])
            half //= 2
        while half:
            for j in range(half):
                x[at + j] += x[at + half + j]
            half //= 2
        x[leaf] = x[at]
    _pair_sum(x[:leaves])
    return x[0]


@kernel
def _fold(half, x, y):
    for j in range(half):
        x[j] += y[j]


@kernel
def _pair_sum(x):
    """Add neighbours again and again; the sum is left in x[0]."""
    size = x.size
    while size > 1:
        for i in range(size // 2):
            x[i] = x[2 * i] + x[2 * i + 1]
        if size % 2:
            x[size // 2] = x[size - 1]
        size = (size + 1) // 2


@kernel
def _measure(zeros, unit, model, g, first, state, risk, spare, out):
    """Risk of a tile, whole and by band, into out[band]."""
    T = LEAF * len(unit)
    _risk(zeros, unit, model.read[g], model.weight[first : first + T], state, risk)
    band = model.band[first : first + T]
    if model.bands:
        for number in range(band.min(), band.max() + 1):
            if number > 0:
                _only(unit, number, band, risk, spare)
                out[number] = _folded(unit, spare)
    out[0] = _folded(unit, risk)


# -- a tile through a timeline -------------------------------------------------------------


@kernel
def _samples_of_quad(timeline, g, quad, samples):
    """How many samples each step of the quad sums; none outside the timeline."""
    for i in range(4):
        t = 4 * quad + i
        samples[i] = 0
        if timeline.begin <= t < timeline.end:
            segment = np.searchsorted(timeline.segment_end, t, side="right")
            samples[i] = timeline.samples[segment, g]


@kernel
def _normal_burst(unit, k0, k1, coordinate, replica, begin, end, length, words, z):
    """One normal for each of the steps begin .. end - 1 of a burst, in rows of `z`."""
    T = LEAF * len(unit)
    for quad in range(begin // 4, (end + 3) // 4):
        _draw(unit, k0, k1, coordinate, replica, quad, 0, words)
        _normals(unit, words, 4 * quad % length * T, z)


@kernel
def _summed_burst(
    unit, noise, timeline, g, coordinate, replica, begin, end, length, words, x, count, z
):
    """A sum of samples for each of the steps begin .. end - 1 of a burst, in rows of `z`."""
    T = LEAF * len(unit)
    samples = np.zeros(4, dtype=np.int64)
    for quad in range(begin // 4, (end + 3) // 4):
        row = 4 * quad % length * T
        _samples_of_quad(timeline, g, quad, samples)
        _sums(
            unit, noise, coordinate, replica, quad, samples,
            words, x, count, z[row : row + 4 * T],
        )  # fmt: skip


@kernel
def _walk(
    zeros, unit, noise, model, timeline, burst, at, replica, settings, cautious, local, partial
):
    """Move the chosen settings of one tile and replica along the timeline.

    ``partial[record, g, band]`` gets the tile's risk. If `cautious`, there is one setting:
    go step by step, measure nothing, and return the first step at which it has diverged.
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
    coefficient = np.empty((local.shape[0], n * (n + 1) * T))
    built = np.full(local.shape[0], -1)  # the segment that a setting's coefficients are for
    risk = np.empty(T)
    spare = np.empty(T)
    weight = model.weight[at : at + T]
    t = timeline.begin
    filled = -1
    segment = 0
    record = 0
    while True:
        if cautious:
            g = settings[0]
            _risk(zeros, unit, model.read[g], weight, local[g], risk)
            if _is_beyond(unit, risk):
                return t
        elif record < timeline.records.size and timeline.records[record] == t:
            for g in settings:
                out = partial[record, g]
                _measure(zeros, unit, model, g, at, local[g], risk, spare, out)
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
                    _summed_burst(
                        unit, noise, timeline, g, coordinate, replica, t, until, length,
                        words, x, count, sums,
                    )  # fmt: skip
                else:
                    _normal_burst(unit, k0, k1, coordinate, replica, t, until, length, words, z)
                filled = begin
            if built[g] != segment:
                _coefficients(zeros, unit, model, timeline, segment, g, at, coefficient[g])
                built[g] = segment
            if summed:
                _many_steps(zeros, unit, t - begin, stop - begin, coefficient[g], sums, local[g])
            else:
                _many_steps(zeros, unit, t - begin, stop - begin, coefficient[g], z, local[g])
        t = stop
        if t == timeline.segment_end[segment]:
            segment += 1


@kernel
def _advance_item(
    zeros, unit, noise, model, timeline, burst, item, state, alive, partial, exceeded
):
    """One tile of one replica: load, walk, look for divergence, store."""
    n = len(zeros)
    T = LEAF * len(unit)
    tiles = model.sigma.size // T
    r, tile = item // tiles, item % tiles
    at = tile * T
    settings = np.flatnonzero(alive[:, r])
    local = _loaded(zeros, unit, state, r, at)
    replica = noise.replicas[r]
    out = partial[:, :, r, :, tile]
    _walk(zeros, unit, noise, model, timeline, burst, at, replica, settings, False, local, out)
    risk = np.empty(T)
    weight = model.weight[at : at + T]
    for g in settings:
        _risk(zeros, unit, model.read[g], weight, local[g], risk)
        if _is_beyond(unit, risk):
            again = _loaded(zeros, unit, state, r, at)
            one = np.array([g])
            exceeded[g, r, tile] = _walk(
                zeros, unit, noise, model, timeline, burst, at, replica, one, True, again, out
            )
    for g in settings:
        for a in range(n):
            state[g, r, a, at : at + T] = local[g, a * T : (a + 1) * T]


@kernel
def _loaded(zeros, unit, state, r, at):
    """State of a tile and replica, (settings, n T)."""
    T = LEAF * len(unit)
    local = np.empty((state.shape[0], len(zeros) * T))
    for g in range(state.shape[0]):
        for a in range(len(zeros)):
            local[g, a * T : (a + 1) * T] = state[g, r, a, at : at + T]
    return local


@kernel
def _advance_serial(
    zeros, unit, noise, model, timeline, burst, items, state, alive, partial, exceeded
):
    for item in range(items):
        _advance_item(
            zeros, unit, noise, model, timeline, burst, item, state, alive, partial, exceeded
        )


@parallel_kernel
def _advance_parallel(
    zeros, unit, noise, model, timeline, burst, items, state, alive, partial, exceeded
):
    for item in prange(items):
        _advance_item(
            zeros, unit, noise, model, timeline, burst, item, state, alive, partial, exceeded
        )


@kernel
def _combined(partial, risk):
    """Add up the tiles: (rows, tiles) to (rows,)."""
    for row in range(partial.shape[0]):
        _pair_sum(partial[row])
        risk[row] = partial[row, 0]


# -- leaps: powers of the one-step map ---------------------------------------------------


@kernel
def _one_step_map(zeros, unit, coefficient, out):
    """Rows ``A - I``, then the covariance ``(b sigma amplitude) (b sigma amplitude)^T``."""
    n = len(zeros)
    T = LEAF * len(unit)
    for a in range(n):
        for b in range(n):
            at = (a * n + b) * T
            kick = (a * (n + 1) + n) * T, (b * (n + 1) + n) * T
            for j in range(T):
                out[at + j] = coefficient[(a * (n + 1) + b) * T + j]
                out[n * n * T + at + j] = coefficient[kick[0] + j] * coefficient[kick[1] + j]


@kernel
def _composed(zeros, unit, second, first, out):
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
def _cholesky(zeros, unit, whole, L):
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
def _map_of_many_steps(zeros, unit, steps, coefficient, maps):
    """Leave the map of `steps` steps in maps[0] and its Cholesky factors in maps[1]."""
    whole, power, spare = 0, 1, 2
    maps[whole] = 0.0
    _one_step_map(zeros, unit, coefficient, maps[power])
    while steps:
        if steps & 1:
            _composed(zeros, unit, maps[power], maps[whole], maps[spare])
            whole, spare = spare, whole
        steps >>= 1
        if steps:
            _composed(zeros, unit, maps[power], maps[power], maps[spare])
            power, spare = spare, power
    if whole != 0:
        maps[0] = maps[whole]
    _cholesky(zeros, unit, maps[0], maps[1])


@kernel
def _jump(zeros, unit, whole, L, z, state):
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
def _leap_item(zeros, unit, noise, model, timeline, stops, tile, state, alive, partial, exceeded):
    """One tile of all replicas, from stop to stop."""
    n = len(zeros)
    T = LEAF * len(unit)
    at = tile * T
    settings, replicas = alive.shape
    coefficient = np.empty(n * (n + 1) * T)
    maps = np.empty((3, 3 * n * n * T))
    words = np.empty(4 * T, dtype=np.uint32)
    z = np.empty((n + 3) // 4 * 4 * T, dtype=np.float32)
    local = np.empty(n * T)
    risk = np.empty(T)
    spare = np.empty(T)
    first = np.full((settings, replicas), -1)
    made = (-1, -1, -1)
    t = timeline.begin
    segment = 0
    record = 0
    stop = 0
    while True:
        recorded = record < timeline.records.size and timeline.records[record] == t
        for g in range(settings):
            for r in range(replicas):
                if not alive[g, r]:
                    continue
                for a in range(n):
                    local[a * T : (a + 1) * T] = state[g, r, a, at : at + T]
                if recorded:
                    out = partial[record, g, r, :, tile]
                    _measure(zeros, unit, model, g, at, local, risk, spare, out)
                _risk(zeros, unit, model.read[g], model.weight[at : at + T], local, risk)
                beyond = _is_beyond(unit, risk)
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
            if not alive[g].any():
                continue
            if made != (g, segment, steps):
                _coefficients(zeros, unit, model, timeline, segment, g, at, coefficient)
                _map_of_many_steps(zeros, unit, steps, coefficient, maps)
                made = (g, segment, steps)
            for r in range(replicas):
                if alive[g, r]:
                    for block in range((n + 3) // 4):
                        c1, c2, c3 = formulas.counter(t, noise.replicas[r], block, LEAP)
                        coordinate = noise.first + at
                        _words(unit, coordinate, c1, c2, c3, noise.key[0], noise.key[1], words)
                        _normals(unit, words, 4 * block * T, z)
                    _jump(zeros, unit, maps[0], maps[1], z, state[g, r, :, at : at + T])
        t = stops[stop]
        stop += 1
        if t == timeline.segment_end[segment]:
            segment += 1


@kernel
def _leap_serial(
    zeros, unit, noise, model, timeline, stops, tiles, state, alive, partial, exceeded
):
    for tile in range(tiles):
        _leap_item(
            zeros, unit, noise, model, timeline, stops, tile, state, alive, partial, exceeded
        )


@parallel_kernel
def _leap_parallel(
    zeros, unit, noise, model, timeline, stops, tiles, state, alive, partial, exceeded
):
    for tile in prange(tiles):
        _leap_item(
            zeros, unit, noise, model, timeline, stops, tile, state, alive, partial, exceeded
        )


# -- the contract ------------------------------------------------------------------------


def _unit(size: int) -> tuple[int, ...]:
    """A tuple as long as tiles are in leaves: full tiles, or single leaves where they fit."""
    return (0,) * (TILE // LEAF if size % TILE == 0 else 1)


def philox4x32(counters: NDArray[np.uint32], keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Words of the generator, (m, 4), from counters (m, 4) and keys (m, 2)."""
    words = np.empty((len(counters), 4), dtype=np.uint32)
    _philox_rows(counters, keys, words)
    return words


@kernel
def _philox_rows(counters, keys, words):
    for i in range(counters.shape[0]):
        c, k = counters[i], keys[i]
        words[i] = formulas.philox(
            np.uint64(c[0]), np.uint64(c[1]), np.uint64(c[2]), np.uint64(c[3]),
            np.uint64(k[0]), np.uint64(k[1]),
        )  # fmt: skip


def normals(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Four normals from each row of four words."""
    rows = -(-len(words) // LEAF)
    padded = np.zeros((rows * LEAF, 4), dtype=np.uint32)
    padded[: len(words)] = words
    z = np.empty((rows, 4, LEAF), dtype=np.float32)
    for row, block in enumerate(padded.reshape(rows, LEAF, 4)):
        _normals((0,), np.ascontiguousarray(block.T).ravel(), 0, z[row].ravel())
    return z.transpose(0, 2, 1).reshape(-1, 4)[: len(words)]


@kernel
def _start_serial(unit, noise, mean, deviation, w):
    T = LEAF * len(unit)
    words = np.empty(4 * T, dtype=np.uint32)
    z = np.empty(4 * T, dtype=np.float32)
    for r in range(noise.replicas.size):
        c1, c2, c3 = formulas.counter(0, noise.replicas[r], 0, START)
        for at in range(0, mean.size, T):
            _words(unit, noise.first + at, c1, c2, c3, noise.key[0], noise.key[1], words)
            _normals(unit, words, 0, z)
            for j in range(T):
                w[r, at + j] = mean[at + j] + deviation[at + j] * np.float64(z[j])


def start(noise: Noise, mean: Floats, deviation: Floats, threads: int) -> Floats:
    """Initial iterates, shape (replicas, d)."""
    w = np.empty((noise.replicas.size, mean.size))
    _start_serial(_unit(mean.size), noise, mean, deviation, w)
    return w


def _solve(serial, parallel, described, items, state, alive, threads, model, timeline, unit):
    """Run one of the two loops over items, and add up what their tiles measured."""
    risk, first = empty_result(model, timeline, state)
    tiles = state.shape[-1] // (LEAF * len(unit))
    partial = np.zeros((*risk.shape, tiles))
    exceeded = np.full((*first.shape, tiles), -1, dtype=np.int64)
    arguments = (*described, items, state, alive, partial, exceeded)
    if threads == 1 or items == 1:
        serial(*arguments)
    else:
        with with_threads(threads):
            parallel(*arguments)
    _combined(partial.reshape(-1, tiles), risk.reshape(-1))
    found = (exceeded >= 0).any(axis=2)
    never = np.iinfo(np.int64).max
    first[found] = np.where(exceeded < 0, never, exceeded).min(axis=2)[found]
    return risk, first


def advance(
    noise: Noise,
    model: Model,
    timeline: Timeline,
    state: Floats,
    alive: NDArray[np.bool_],
    threads: int,
    unit: tuple[int, ...] = (),
) -> tuple[Floats, Ints]:
    """Step by step; the tiles of all replicas are spread over the threads."""
    settings, replicas, n, d = state.shape
    unit = unit or _unit(d)
    separate = noise.summed and bool(np.ptp(timeline.samples, axis=1).any())
    burst = -4 if separate else 4 * (SHARED_QUADS if settings > 1 else QUADS)
    described = ((0.0,) * n, unit, noise, model, timeline, burst)
    items = replicas * (d // (LEAF * len(unit)))
    loops = _advance_serial, _advance_parallel
    return _solve(*loops, described, items, state, alive, threads, model, timeline, unit)


def leap(
    noise: Noise,
    model: Model,
    timeline: Timeline,
    state: Floats,
    alive: NDArray[np.bool_],
    threads: int,
    unit: tuple[int, ...] = (),
) -> tuple[Floats, Ints]:
    """From stop to stop; tiles are spread over the threads, replicas share their maps."""
    n, d = state.shape[2:]
    unit = unit or _unit(d)
    stops = np.union1d(timeline.segment_end, timeline.records[timeline.records > timeline.begin])
    described = ((0.0,) * n, unit, noise, model, timeline, stops)
    tiles = d // (LEAF * len(unit))
    loops = _leap_serial, _leap_parallel
    return _solve(*loops, described, tiles, state, alive, threads, model, timeline, unit)
