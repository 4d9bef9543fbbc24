"""Collapsed sampling: paths of the risk, exact in law, without the coordinates' own paths.

Alike coordinates, n of them with states of k numbers, enter the risk through their Gram matrix
G = S S^T alone, which is k by k. A leap takes S to M S + L Z with Z standard normal. Given the
factor K of G = K K^T,

    G' = (M K + L Z1) (M K + L Z1)^T + L W L^T,

with Z1 of k by k normals and W a Wishart matrix of n - k degrees of freedom, drawn as B B^T by
Bartlett's decomposition. Gamma variates make the degrees real, so that n may be the weight of a
quadrature's node. Few coordinates are a state each.

Each replica has a stream of its own, made of the seed and its number, so that bits depend neither
on threads nor on the other replicas.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..exact.states import Passage, States, passages
from ..kernels.contract import LIMIT
from ..parallel import in_threads, threads_limited
from ..problem import Block, Problem
from ..validation import Array, InputError
from .execution import ending
from .experiment import Experiment
from .lowering import band_numbers
from .memory import available_bytes
from .result import Run, with_public_axes
from .settings import Setting

CHUNK_NUMBERS = 1 << 14
"""Numbers of a state that a thread works on at a time, in whole replicas."""
DRAWN_NUMBERS = 1 << 13
"""Numbers of a replica that are drawn at a time, in whole leaps; the bits depend on it."""
MOST_ENTRIES = 1 << 24
"""Different coordinates that are sampled at most."""


@dataclass(frozen=True)
class Kinds:
    """Coordinates that are alike, kind by kind; arrays of shape (kinds,)."""

    h: Array
    c: Array
    mean0: Array
    var0: Array
    count: Array

    @property
    def block(self) -> Block:
        """The kinds as the exact engine takes them."""
        return Block(self.h, self.c, self.mean0**2 + self.var0, self.count, self.var0)

    def some(self, rows: Any) -> Kinds:
        """Some of the kinds."""
        return Kinds(*(x[rows] for x in (self.h, self.c, self.mean0, self.var0, self.count)))


def kinds_of(problem: Problem) -> Kinds:
    """Collect the coordinates of a problem that are alike, in the order of their curvatures.

    Raises
    ------
    InputError
        If there are too many that differ.
    """
    if problem.dim > MOST_ENTRIES:
        raise InputError(
            f"problem has {problem.dim} coordinates, of which sampling='collapsed' takes "
            f"{MOST_ENTRIES}: give those that are alike as one, with count"
        )
    fields = np.stack([problem.h, problem.c, problem.mean0, problem.var0])
    kinds, number = np.unique(fields, axis=1, return_inverse=True)
    count = np.bincount(number.ravel(), weights=problem.count, minlength=kinds.shape[1])
    return Kinds(*kinds, count)


def split_kinds(kinds: Kinds, components: int) -> tuple[Kinds, Kinds]:
    """Split off kinds of few coordinates, each of which then is a kind of its own.

    Raises
    ------
    InputError
        If a count is too low for a Wishart matrix and not whole.
    """
    least = 2 * components - 1
    is_few = kinds.count < least
    few = kinds.some(is_few)
    bad = few.count[few.count != np.round(few.count)]
    if bad.size:
        raise InputError(
            f"count must be whole, or at least {least} with {components} components of the "
            f"algorithm's state, for sampling='collapsed', but contains {bad[0]:g}"
        )
    each = few.some(np.repeat(np.arange(few.count.size), few.count.astype(np.int64)))
    ones = Kinds(each.h, each.c, each.mean0, each.var0, np.ones(each.h.size))
    return ones, kinds.some(~is_few)


# -- one leap ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leap:
    """How a leap moves the states of some kinds."""

    map: Array
    """M, shape (n, n, kinds)."""
    factor: Array
    """L, lower triangular, of the same shape."""


def lower_factor(covariance: Array) -> Array:
    """Return the lower Cholesky factor of matrices (n, n, ...); columns without variance are 0."""
    n = covariance.shape[0]
    factor = np.zeros_like(covariance)
    for b in range(n):
        for a in range(b, n):
            x = covariance[a, b].copy()
            for c in range(b):
                x -= factor[a, c] * factor[b, c]
            if a == b:
                pivot = np.sqrt(np.maximum(x, 0.0))
                factor[b, b] = pivot
                inverse = np.divide(1.0, pivot, out=np.zeros_like(pivot), where=pivot > 0.0)
            else:
                factor[a, b] = x * inverse
    return factor


def leaps_of(states: States, ways: Sequence[Sequence[Passage]]) -> Iterator[Leap]:
    """Yield the leap along each way, which is the passages between two records."""
    n = states.components
    for way in ways:
        columns = []
        for a in range(n):
            start = tuple(float(a == b) for b in range(n))
            carried = None
            for passage in way:
                carried = states.moved(passage, carried, start)
            assert carried is not None
            columns.append(states.response(carried).T)
        factor = lower_factor(np.moveaxis(states.covariance(carried), 0, -1))
        yield Leap(np.stack(columns, axis=1), factor)


Streams = list[np.random.Generator]
"""The streams of noise of some replicas, one for each."""


def streams_of(seed: int, replicas: NDArray[np.int64]) -> Streams:
    """Begin the streams of replicas, by their numbers."""
    return [
        np.random.Generator(
            np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(int(replica),)))
        )
        for replica in replicas
    ]


def normals(streams: Streams, shape: tuple[int, ...]) -> Array:
    """Draw normals of a shape for each replica."""
    drawn = np.empty((len(streams), *shape))
    for stream, row in zip(streams, drawn, strict=True):
        stream.standard_normal(out=row)
    return drawn


def chi_squares(streams: Streams, degrees: Array) -> Array:
    """Draw chi-squares of the shape of `degrees` for each replica."""
    drawn = np.empty((len(streams), *degrees.shape))
    half = 0.5 * degrees
    for stream, row in zip(streams, drawn, strict=True):
        stream.standard_gamma(half, out=row)
    drawn *= 2.0
    return drawn


class Noise(NamedTuple):
    """The noise of some leaps of some replicas; arrays (replicas, leaps, ..., kinds)."""

    normals: Array
    chi_squares: Array | None


class Ones:
    """Kinds of one coordinate each, which are states of k numbers: (replicas, k, kinds)."""

    def __init__(self, kinds: Kinds, setting: Setting) -> None:
        self.kinds = kinds
        self.states = States(kinds.block, setting.algorithm)

    def start(self, streams: Streams) -> Array:
        """Draw initial states."""
        z = normals(streams, (1, self.kinds.h.size))
        w0 = self.kinds.mean0 + np.sqrt(self.kinds.var0) * z
        return np.asarray(np.array(self.states.start)[:, None] * w0)

    def noise(self, streams: Streams, leaps: int) -> Noise:
        """Draw the noise of so many leaps."""
        return Noise(normals(streams, (leaps, self.states.components, self.kinds.h.size)), None)

    def moved(self, old: Array, leap: Leap, noise: Noise, number: int) -> Array:
        """Return the states after a leap, whose noise has a number."""
        n = old.shape[1]
        z = noise.normals[:, number]
        new = np.empty_like(old)
        for a in range(n):
            new[:, a] = leap.factor[a, 0] * z[:, 0]
            for b in range(1, a + 1):
                new[:, a] += leap.factor[a, b] * z[:, b]
            for b in range(n):
                new[:, a] += leap.map[a, b] * old[:, b]
        return new

    def squares(self, state: Array) -> Array:
        """Squared evaluated iterates, (replicas, kinds)."""
        iterate = sum(q * state[:, a] for a, q in enumerate(self.states.read) if q)
        return np.asarray(iterate * iterate)


class Many:
    """Kinds of many coordinates: Cholesky factors of Gram matrices, (replicas, k, k, kinds)."""

    def __init__(self, kinds: Kinds, setting: Setting) -> None:
        self.kinds = kinds
        self.states = States(kinds.block, setting.algorithm)
        # Bartlett's decomposition of a Wishart matrix has a chi-square on its diagonal, of one
        # degree less in each row.
        n = self.states.components
        self._degrees = kinds.count - n - np.arange(n)[:, None]

    def start(self, streams: Streams) -> Array:
        """Draw initial states, where all coordinates are along one vector."""
        kinds = self.kinds
        z = normals(streams, (kinds.h.size,))
        rest = chi_squares(streams, kinds.count - 1.0)
        along = np.sqrt(kinds.count) * kinds.mean0 + np.sqrt(kinds.var0) * z
        length = np.sqrt(along * along + kinds.var0 * rest)
        n = self.states.components
        state = np.zeros((len(streams), n, n, kinds.h.size))
        state[:, :, 0] = np.array(self.states.start)[:, None] * length[:, None]
        return state

    def noise(self, streams: Streams, leaps: int) -> Noise:
        """Draw the noise of so many leaps."""
        n = self.states.components
        rows = n * n + n * (n - 1) // 2
        degrees = np.broadcast_to(self._degrees, (leaps, *self._degrees.shape))
        return Noise(
            normals(streams, (leaps, rows, self.kinds.h.size)), chi_squares(streams, degrees)
        )

    def moved(self, old: Array, leap: Leap, noise: Noise, number: int) -> Array:
        """Return the factors after a leap, whose noise has a number."""
        assert noise.chi_squares is not None
        z, squares = noise.normals[:, number], noise.chi_squares[:, number]
        n = old.shape[1]
        L = leap.factor
        gram = np.empty((n, n, *squares[:, 0].shape))
        # Each row of the new state, as one in the frame of the old ones, and as one of the rest.
        along = []
        rest: list[list[Array]] = []
        for a in range(n):
            row = [L[a, 0] * z[:, b] for b in range(n)]
            fresh: list[Array] = []
            for b in range(n):
                for c in range(1, a + 1):
                    row[b] += L[a, c] * z[:, c * n + b]
                for c in range(b, n):  # Factors are lower triangular.
                    row[b] += leap.map[a, c] * old[:, c, b]
            for b in range(a + 1):
                x = L[a, b] * np.sqrt(squares[:, b])
                for c in range(b + 1, a + 1):
                    x += L[a, c] * z[:, n * n + c * (c - 1) // 2 + b]
                fresh.append(x)
            along.append(row)
            rest.append(fresh)
            for b in range(a + 1):
                pairs = [*zip(along[a], along[b], strict=True), *zip(fresh, rest[b], strict=False)]
                gram[a, b] = pairs[0][0] * pairs[0][1]
                for x, y in pairs[1:]:
                    gram[a, b] += x * y
        return np.moveaxis(lower_factor(gram), 2, 0)

    def squares(self, state: Array) -> Array:
        """Sums of the squared evaluated iterates of each kind, (replicas, kinds)."""
        n = state.shape[1]
        total = np.zeros_like(state[:, 0, 0])
        for b in range(n):
            along = sum(
                self.states.read[a] * state[:, a, b] for a in range(n) if self.states.read[a]
            )
            total += along * along
        return total


# -- a run -----------------------------------------------------------------------------------


def check_resources(backend: str, devices: Any, files: Any, executor: Any) -> None:
    """Refuse what collapsed sampling cannot use.

    Raises
    ------
    InputError
        If a backend, a device, a file or an executor is asked for.
    """
    if backend not in ("auto", "numpy"):
        raise InputError(
            f"backend must be 'numpy' or 'auto' for sampling='collapsed', not {backend!r}"
        )
    for name, value, what in (
        ("devices", devices, "which runs on the CPU"),
        ("out", files, "whose runs are in memory only"),
        ("executor", executor, "which uses the threads of one machine"),
    ):
        if value is not None:
            raise InputError(f"{name} must be left out for sampling='collapsed', {what}")


def run_collapsed(experiment: Experiment, threads: int) -> Run:
    """Sample all replicas under all settings.

    Raises
    ------
    InputError
        If the problem's counts do not allow it, or there is too little memory.
    """
    kinds = kinds_of(experiment.problem)
    layout, replicas = experiment.layout, experiment.replicas
    shape = experiment.records.size, len(experiment.settings), replicas.size, len(layout.rows)
    values = np.zeros(shape)
    begin = time.perf_counter()
    with threads_limited(threads):
        for number, setting in enumerate(experiment.settings):
            _sample(experiment, setting, kinds, values[:, number])
    diverged_at = _first_divergence(values[..., 0], experiment.records)
    public = with_public_axes(values, experiment.records, diverged_at)
    status, message = ending(experiment, diverged_at)
    run = Run(
        experiment.records.copy(),
        layout.split(public),
        status,
        message,
        diverged_at,
        None,
        {"backend": "numpy", "threads": threads, "order": "steps",
         "compute": time.perf_counter() - begin},
        experiment,
    )  # fmt: skip
    return run if experiment.listed else run.only_setting()


def _sample(experiment: Experiment, setting: Setting, kinds: Kinds, values: Array) -> None:
    """Write the records of one setting, (records, replicas, rows)."""
    records, replicas = experiment.records, experiment.replicas
    components = States(kinds.some(slice(0, 1)).block, setting.algorithm).components
    few, many = split_kinds(kinds, components)
    _check_memory(2 * values.size + 2 * components**2 * kinds.h.size * records.size)
    parts = [part for part in (Ones(few, setting), Many(many, setting)) if part.kinds.h.size]
    rows = [_row_weights(experiment, part.kinds) for part in parts]
    first = int(records.size > 0 and records[0] == 0)
    ways = _ways(setting, records[first:])
    leaps = [list(leaps_of(part.states, ways)) for part in parts]
    numbers = components**2 * (few.h.size + many.h.size)
    size = max(CHUNK_NUMBERS // numbers, 1)
    together = max(DRAWN_NUMBERS // numbers, 1)

    def sample_chunk(begin: int) -> None:
        """Take a chunk of the replicas through all records."""
        chunk = slice(begin, begin + size)
        streams = streams_of(experiment.seed, replicas[chunk])
        states = [part.start(streams) for part in parts]
        if first:
            for part, state, weights in zip(parts, states, rows, strict=True):
                values[0, chunk] += weighted_sums(part.squares(state), weights)
        for done in range(0, len(ways), together):
            stop = min(done + together, len(ways))
            for k, part in enumerate(parts):
                noise = part.noise(streams, stop - done)
                for record in range(done, stop):
                    states[k] = part.moved(states[k], leaps[k][record], noise, record - done)
                    squares = part.squares(states[k])
                    values[first + record, chunk] += weighted_sums(squares, rows[k])

    with np.errstate(over="ignore", invalid="ignore"):
        in_threads(sample_chunk, range(0, replicas.size, size), "simulation")


def _ways(setting: Setting, records: NDArray[np.int64]) -> list[list[Passage]]:
    """Return the passages to each record from the one before it, or from the start."""
    ways: list[list[Passage]] = [[]]
    if not records.size:
        return []
    for passage in passages(setting.algorithm, setting.batch_size, records):
        ways[-1].append(passage)
        if passage.ends_at_record:
            ways.append([])
    return ways[:-1]


def _row_weights(experiment: Experiment, kinds: Kinds) -> Array:
    """The weight of each kind in each row of a record, (rows, kinds)."""
    layout = experiment.layout
    weights = np.stack([weight(kinds.h) for weight in layout.weights])
    band = np.zeros(kinds.h.size, dtype=np.int64)
    if layout.edges is not None:
        band = band_numbers(layout.edges, kinds.h)
    columns = [weights[w] * ((group == 0) | (band == group)) for w, group in layout.rows.tolist()]
    return np.stack(columns)


def weighted_sums(squares: Array, weights: Array) -> Array:
    """Add up the squares of each replica with each row of weights, (replicas, rows).

    A replica's sums have one order, which a product of matrices does not promise.
    """
    return np.stack([(squares * row).sum(axis=1) for row in weights], axis=1)


def _first_divergence(risk: Array, records: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first record at which a risk is beyond all limits, or -1; (settings, replicas)."""
    if not records.size:
        return np.full(risk.shape[1:], -1)
    is_beyond = ~(risk <= LIMIT)
    first = np.where(is_beyond.any(axis=0), np.argmax(is_beyond, axis=0), -1)
    return np.where(first >= 0, records[first], -1)


def _check_memory(numbers: int) -> None:
    """Make sure that a run fits into memory."""
    needed, available = 8 * numbers, available_bytes()
    if needed > available:
        raise InputError(
            f"this run needs about {needed / 1e9:.1f} GB of memory, but {available / 1e9:.1f} GB "
            "are available: use fewer replicas, or record fewer steps"
        )
