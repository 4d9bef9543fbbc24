"""The slow and obvious implementation in NumPy, against which the others are tested.

It has the exact risk by stepping second moments, and the Monte Carlo contract.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import noise as formulas
from .contract import (
    ALL,
    LEAF,
    LIMIT,
    Backend,
    Chunk,
    Floats,
    Measured,
    Model,
    Noise,
    Timeline,
    nothing_measured,
    spread,
)
from .exact import vectorized
from .rules import rule_of

Array = NDArray[np.float64]


def stepped_risk(
    h: Array,
    c: Array,
    second_moment0: Array,
    count: Array,
    lr: Array,
    batch_size: Array,
    momentum: float,
    ema: float,
    power: float,
) -> Array:
    """Return the risk of SGD at steps 0 .. T, for one learning rate and batch size per step.

    The state per coordinate is (w, v, e). Its second-moment matrix S follows
    ``S' = A S A^T + b b^T c / B``. All per-coordinate arguments have shape (d,), `lr` and
    `batch_size` have shape (T,), and the result has shape (T + 1,).
    """
    d = h.size
    k = h**-power
    S = np.zeros((d, 3, 3))
    for a in (0, 2):
        for b in (0, 2):
            S[:, a, b] = second_moment0
    risk = [0.5 * np.sum(count * h * S[:, 2, 2])]
    for eta, batch in zip(lr, batch_size, strict=True):
        velocity = np.zeros((d, 3))
        velocity[:, 0] = h
        velocity[:, 1] = momentum
        iterate = -eta * k[:, None] * velocity
        iterate[:, 0] += 1.0
        average = (1.0 - ema) * iterate
        average[:, 2] += ema
        A = np.stack([iterate, velocity, average], axis=1)
        kick = np.stack([-eta * k, np.ones(d), -(1.0 - ema) * eta * k], axis=1)
        noise = np.einsum("i,ia,ib->iab", c / batch, kick, kick)
        S = A @ S @ A.transpose(0, 2, 1) + noise
        risk.append(0.5 * np.sum(count * h * S[:, 2, 2]))
    return np.array(risk)


# -- parts of the Monte Carlo backend -----------------------------------------------------


def normals(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return four normals for each row of four words."""
    a, b, c, d = words.T
    pairs = (*formulas.box_muller(a, b), *formulas.box_muller(c, d))
    return np.stack(pairs, axis=1)


def _draw_words(noise: Noise, size: int, quad: int, replica: int, block: int, purpose: int) -> Any:
    """Return the four words of every coordinate, each with shape (size,)."""
    coordinates = np.arange(noise.first, noise.first + size, dtype=np.uint64)
    c1, c2, c3 = formulas.counter(quad, replica, block, purpose)
    return formulas.philox(coordinates, c1, c2, c3, noise.key[0], noise.key[1])


def _sums_of_samples(noise: Noise, size: int, quad: int, replica: int, samples: int) -> list[Any]:
    """Return the sums of `samples` samples for each of the quad's four steps."""
    law = next(law for law in formulas.LAWS.values() if law.code == noise.law)

    def words_of(block: int) -> Any:
        return _draw_words(noise, size, quad, replica, block, formulas.GRADIENT)

    if law.count_of is not None:
        counts = [np.zeros(size, dtype=np.int64)] * 4
        for block in range(-(-samples // law.per_word)):
            used = min(samples - block * law.per_word, law.per_word)
            mask = np.uint32((1 << used) - 1 if law.per_word > 1 else (1 << formulas.WORD) - 1)
            words = words_of(block)
            counts = [n + law.count_of(word & mask) for n, word in zip(counts, words, strict=True)]
        return [np.float64(law.factor * n) + law.shift * samples for n in counts]
    assert law.variates is not None
    sums = [np.zeros(size)] * 4
    blocks = 4 // law.steps  # blocks of words for one sample of all four steps
    for block in range(samples * blocks):
        variates = law.variates(*words_of(block), noise.parameter)
        for step, x in enumerate(variates, block % blocks * law.steps):
            sums[step] = sums[step] + x
    return sums


def _gradient_noise(noise: Noise, size: int, step: int, replica: int, samples: int) -> Any:
    """Return the noise z of a step, which multiplies ``b sigma amplitude``, as float64."""
    quad, lane = divmod(step, 4)
    if noise.summed:
        return _sums_of_samples(noise, size, quad, replica, samples)[lane]
    words = _draw_words(noise, size, quad, replica, 0, formulas.GRADIENT)
    return np.float64(normals(np.stack(words, axis=1))[:, lane])


def _coefficients(model: Model, timeline: Timeline, segment: int, g: int) -> tuple[Floats, Floats]:
    """Return ``A - I``, (n, n, d), and ``b sigma amplitude``, (n, kicks, d), of a setting."""
    n, d = model.read.shape[1], model.sigma.size
    both = np.zeros((n, max(n, model.entries[:, 2].max(initial=0)) + 1, d))
    for e in range(model.offsets[g], model.offsets[g + 1]):
        term, row, column, source = model.entries[e]
        factor = timeline.weights[segment, g, term] * model.factors[e]
        both[row, column] += factor if source < 0 else factor * model.values[source]
    return both[:, :n], both[:, n:] * (model.sigma * timeline.amplitude[segment, g])


def _stepped(change: Floats, kick: Floats, state: Floats, z: Floats) -> Floats:
    """Return ``s + ((b z + change_0 s_0) + (change_1 s_1 + change_2 s_2) + ...)``."""
    new = []
    for a, row in enumerate(change):
        terms = [kick[a] * z, *(row[b] * state[b] for b in range(len(state)))]
        total = terms[0] + terms[1]
        for first in range(2, len(terms), 2):
            pair = terms[first : first + 2]
            total = total + (pair[0] + pair[1] if len(pair) == 2 else pair[0])
        new.append(state[a] + total)
    return np.array(new)


def _stepped_by_rule(
    model: Model, timeline: Timeline, segment: int, g: int, state: Floats, z: Floats
) -> Floats:
    """Return the state one step on by the model's rule, the average of the iterates last."""
    rule, numbers = rule_of(abs(model.rule)), timeline.weights[segment, g]
    noise = (model.sigma * timeline.amplitude[segment, g]) * z
    gradient = model.values[0] * state[0] + noise
    new = list(rule.update(tuple(state[: rule.components]), gradient, tuple(numbers)))
    if model.rule < 0:
        decay = numbers[-1]
        new.append(decay * state[-1] + (1.0 - decay) * new[0])
    return np.array(new)


def _leapt(whole: Floats, factor: Floats, state: Floats, draws: list[Any]) -> Floats:
    """Return ``whole s + factor draws``, summed from the left."""
    new = []
    for a, row in enumerate(whole):
        total = row[0] * state[0]
        for b in range(1, len(state)):
            total = total + row[b] * state[b]
        for b, z in enumerate(draws):
            total = total + factor[a, b] * z
        new.append(total)
    return np.array(new)


def _combined(weights: Floats, state: Floats) -> Floats:
    """Return a combination of the components of a state, (d,)."""
    x: Floats = weights[0] * state[0]
    for a in range(1, len(state)):
        x = x + weights[a] * state[a]
    return x


def _evaluated_iterate(model: Model, g: int, state: Floats) -> Floats:
    """Return the evaluated iterate of every coordinate, (d,)."""
    if model.rule:  # other components may be infinite
        evaluated: Floats = state[int(np.flatnonzero(model.read[g])[0])]
        return evaluated
    return _combined(model.read[g], state)


def tree_sum(values: Floats) -> Floats:
    """Sum over the last axis, which has whole leaves, in the order of the contract."""
    x = values.reshape(*values.shape[:-1], -1, LEAF)
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        x = x[..., :half] + x[..., half:]
    return pair_sum(x[..., 0])


def pair_sum(x: Floats) -> Floats:
    """Sum over the last axis by adding neighbours until one number is left."""
    while x.shape[-1] > 1:
        if x.shape[-1] % 2:
            x = np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1)
        x = x[..., 0::2] + x[..., 1::2]
    return x[..., 0]


def _measure(model: Model, g: int, state: Floats, out: Floats) -> None:
    """Write every row of the observables, summed over coordinates, to `out`."""
    x = _evaluated_iterate(model, g, state)
    for row, (weight, group) in enumerate(model.rows):
        value = (model.weight[weight] * x) * x
        out[row] = tree_sum(value if group == ALL else np.where(model.group == group, value, 0.0))


def _has_diverged(model: Model, g: int, state: Floats) -> bool:
    """Whether the risk of a coordinate is beyond `LIMIT`, or not a number."""
    x = _evaluated_iterate(model, g, state)
    return not bool(np.all((model.weight[0] * x) * x <= LIMIT))


Move = Callable[[Floats, int, int, int, int], tuple[Floats, int]]
"""From (state, setting, replica, step, segment) to the next state and its step."""


def _run_timeline(chunk: Chunk, move: Move) -> Measured:
    """Take every setting and replica to the timeline's end by `move`, and measure at records.

    Each has diverged where it first is beyond the limit, among the steps at which `move` arrives.
    """
    model, timeline = chunk.model, chunk.timeline
    values, diverged_at = nothing_measured(chunk)
    for g, r in np.argwhere(chunk.alive):
        step = timeline.begin
        s = chunk.state[g, r]
        with np.errstate(over="ignore", invalid="ignore"):
            while True:
                for record in np.flatnonzero(timeline.records == step):
                    _measure(model, g, s, values[record, g, r])
                if diverged_at[g, r] < 0 and _has_diverged(model, g, s):
                    diverged_at[g, r] = step
                if step == timeline.end:
                    break
                segment = int(np.searchsorted(timeline.segment_end, step, side="right"))
                s, step = move(s, int(g), int(r), step, segment)
        chunk.state[g, r] = s
    return Measured(values, diverged_at)


def _leap_map(change: Floats, kicks: Floats, steps: int) -> tuple[Floats, Floats]:
    """Return the map of many steps and the factor of its noise, (n, n, d) each."""
    n, more, d = kicks.shape
    zeros, leaves = (0.0,) * n, (0,) * (d // LEAF)
    coefficient = np.concatenate([change, kicks], axis=1)
    maps, low = np.empty((2, 3, (n * n + n + n * (n + 1) // 2) * d))
    M, L = np.empty((2, n * n * d))
    find = vectorized.load()["leap_map"].map_of_many_steps
    find(zeros, leaves, steps, n + more, coefficient.ravel(), d, maps, low, M, L)
    return M.reshape(n, n, d), L.reshape(n, n, d)


class ReferenceBackend(Backend):
    """The contract written out, for one setting and replica after the other."""

    relative_time = 1e9  # no rival: with few coordinates it is still slower than elsewhere

    @property
    def moments(self) -> Any:
        """The module of the exact second moments, on NumPy's arrays."""
        return vectorized.load()["moments"]

    @property
    def closed_form(self) -> Any:
        """The module of the closed form for one component, on NumPy's arrays."""
        return vectorized.load()["closed_form"]

    @property
    def first_passage(self) -> Any:
        """The module of the search for the first passage, on NumPy's arrays."""
        return vectorized.load()["first_passage"]

    @property
    def array_moments(self) -> Any:
        """The module of the moments of arrays in cells of curvature, on NumPy's arrays."""
        return vectorized.load(vectorized.SIMPLE_TILE)["array_moments"]

    def philox4x32(
        self, counters: NDArray[np.uint32], keys: NDArray[np.uint32]
    ) -> NDArray[np.uint32]:
        """Return the words of the generator, (m, 4), for counters (m, 4) and keys (m, 2)."""
        both = np.concatenate([counters, keys], axis=1).astype(np.uint64)
        words = formulas.philox(*(column for column in both.T))
        return np.stack(words, axis=1)

    def normals(self, words: NDArray[np.uint32]) -> NDArray[np.float32]:
        """Return four normals for each row of four words, (m, 4)."""
        return normals(words)

    def start(
        self, noise: Noise, mean: Floats, deviation: Floats, workers: Any, size: int | None = None
    ) -> Floats:
        """Return the initial iterates, (replicas, d)."""
        mean, deviation = spread(mean, deviation, size)
        rows = []
        for replica in noise.replicas:
            a, b, _, _ = _draw_words(noise, mean.size, 0, replica, 0, formulas.START)
            z, _ = formulas.box_muller(a, b)
            rows.append(mean + deviation * np.float64(z))
        return np.array(rows)

    def advance(self, chunk: Chunk) -> Measured:
        """Go through a chunk step by step."""
        noise, model, timeline = chunk[:3]

        def move(s: Floats, g: int, r: int, step: int, segment: int) -> tuple[Floats, int]:
            samples = int(timeline.samples[segment, g])
            z = _gradient_noise(noise, s.shape[1], step, int(noise.replicas[r]), samples)
            if model.rule:
                return _stepped_by_rule(model, timeline, segment, g, s, z), step + 1
            change, kicks = _coefficients(model, timeline, segment, g)
            return _stepped(change, kicks[:, 0], s, z), step + 1

        return _run_timeline(chunk, move)

    def leap(self, chunk: Chunk) -> Measured:
        """Go through a chunk by leaps, whose maps are powers of the map of one step."""
        noise, model, timeline = chunk[:3]
        stops = np.union1d(timeline.segment_end, timeline.records)

        def move(s: Floats, g: int, r: int, step: int, segment: int) -> tuple[Floats, int]:
            n, d = s.shape
            stop = int(stops[np.searchsorted(stops, step, side="right")])
            change, kicks = _coefficients(model, timeline, segment, g)
            span = int(timeline.spans[segment]) if timeline.spans.size else 1
            whole, factor = _leap_map(change, kicks, (stop - step) // span)
            draws = []
            for block in range(-(-n // 4)):
                words = _draw_words(noise, d, step, int(noise.replicas[r]), block, formulas.LEAP)
                draws += list(normals(np.stack(words, axis=1)).T.astype(np.float64))
            return _leapt(whole, factor, s, draws[:n]), stop

        return _run_timeline(chunk, move)


BACKEND = ReferenceBackend()
