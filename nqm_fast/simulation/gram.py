"""Coordinates that are alike as one Gram matrix, and how a leap moves it.

Alike coordinates, n of them with states of k numbers, enter the risk through their Gram matrix
G = S S^T alone, which is k by k. A leap takes S to M S + L Z with Z standard normal. Given the
factor K of G = K K^T,

    G' = (M K + L Z1) (M K + L Z1)^T + L W L^T,

with Z1 of k by k normals and W a Wishart matrix of n - k degrees of freedom, drawn as B B^T by
Bartlett's decomposition. Gamma variates make the degrees real, so that n may be the weight of a
quadrature's node. Few coordinates are a state each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..coordinates.blocks import Block
from ..exact.states import Passage, States
from ..foundation.validation import Array, InputError
from .settings import Setting


@dataclass(frozen=True)
class Kinds:
    """Coordinates that are alike, kind by kind; arrays of shape (kinds,)."""

    h: Array
    c: Array
    mean0: Array
    var0: Array
    count: Array

    @property
    def fields(self) -> tuple[Array, ...]:
        """All arrays, in their order."""
        return self.h, self.c, self.mean0, self.var0, self.count

    @property
    def block(self) -> Block:
        """The kinds as the exact engine takes them."""
        return Block(self.h, self.c, self.mean0**2 + self.var0, self.count, self.var0)

    def some(self, rows: Any) -> Kinds:
        """Some of the kinds."""
        return Kinds(*(x[rows] for x in self.fields))


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
            with np.errstate(over="ignore", invalid="ignore"):
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
        columns: list[Array] = []
        for a in range(n):
            start = tuple(float(a == b) for b in range(n))
            carried = states.moved(way[0], None, start)
            for passage in way[1:]:
                carried = states.moved(passage, carried, start)
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
        self.states = States(kinds.block, setting.linear)

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
        self.states = States(kinds.block, setting.linear)
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
