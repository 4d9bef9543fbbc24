"""Expected risk of least squares on a finite data set, exactly, from dense second moments.

With the distance w from the optimum at which the gradient is taken, a sample adds the gradient
``x (x . w + e) + pull`` beside its mean, so that a batch adds the covariance

    ( mean of x x^T (x . w + e)^2  -  (F w - pull) (F w - pull)^T ) / B,      F = mean of x x^T.

Its expectation needs the first two moments of w, which are propagated for all d^2 pairs of
coordinates. A step costs two products of matrices of the size of the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...algorithms.base import LinearAlgorithm
from ...foundation.validation import Array, InputError
from ...noise import DataSet
from ...output.progress import track
from ...problem import Problem
from ...schedules import Schedule
from ...schedules.timeline import piece_at
from ..coupled.maps import CoupledBlock, Recurrences
from ..timeline import every_step

MOST_COORDINATES = 1 << 11
"""More coordinates have second moments that take too long, and too much memory."""
MOST_STEPS = 1 << 20
"""Steps that a search goes through, one by one."""
COMPARED_STEPS = 1 << 10
"""Steps after which the search compares the risk with that before."""
SETTLED = 1e-13
"""Relative change over so many steps below which the risk stays as it is."""


class _Step(NamedTuple):
    """The map of a step, of the n numbers that make up a coordinate's state."""

    A: Array
    """Its matrix, shape (d, n, n)."""
    kicks: Array
    """Products of the factors of the gradient, shape (n, n, d, d)."""
    entries: list[tuple[int, int]]
    """Rows and columns of the matrix in which it is not 0 everywhere."""


class _Moments:
    """First and second moments of the states of all coordinates, and their steps."""

    def __init__(self, problem: Problem, algorithm: LinearAlgorithm, data: DataSet) -> None:
        d, rows = problem.dim, data.rows
        zero = np.zeros(d)
        block = CoupledBlock(problem.h, zero, zero, np.ones(d), zero, zero, zero)
        self._rows = Recurrences(algorithm, block)
        self._pull, self._risk_weight = data.pull, 0.5 * problem.h
        # Products of matrices are faster in columns, of which triangular ones take half the time.
        self._x = np.asfortranarray(np.column_stack([rows, data.errors]))
        self._buffer = np.empty_like(self._x)
        self._once = np.triu(np.full((d, d), 2.0), 1) + np.eye(d)
        self._half = np.asfortranarray(np.eye(d + 1))
        # In the coordinates of the problem the features are not correlated.
        self._features = np.einsum("kj,kj->j", rows, rows) / len(rows)
        self._expected = np.outer(self._features, self._features)
        self._pulled = np.outer(data.pull, data.pull)
        self._last: tuple[Array, _Step] | None = None
        start, mean0 = self._rows.start_vector, problem.mean0
        self.mean = start[:, None] * mean0
        """First moments, shape (n, d)."""
        second = np.outer(mean0, mean0) + np.diag(problem.var0)
        self.second = np.multiply.outer(np.outer(start, start), second)
        """Second moments, shape (n, n, d, d)."""

    def risk(self) -> float:
        """Return the risk of the evaluated iterate."""
        read = self._rows.read_vector
        square = np.einsum("a,b,abii->i", read, read, self.second)
        return float(np.vdot(self._risk_weight, square))

    def covariance(self) -> Array:
        """Return the covariance of one sample's gradient, shape (d, d)."""
        from scipy.linalg.blas import dtrmm  # It takes long to load.

        point, pull = self._rows.point_vector, self._pull
        mean = point @ self.mean
        second = self._second_at(point)
        # The mean square of a row's error is a quadratic form of its features and the error at the
        # optimum, to which half of the symmetric matrix is enough.
        d, half = len(second), self._half
        np.multiply(self._once, second, out=half[:d, :d])
        half[:d, d] = 2.0 * mean
        # Memory for an array like the data is taken once, as that takes as long as a product.
        np.copyto(self._buffer, self._x)
        rows = dtrmm(1.0, half, self._buffer, side=1, overwrite_b=1)
        rows *= self._x
        # It is not negative, but for rounding errors.
        square = np.maximum(rows @ np.ones(d + 1), 0.0)
        root = np.sqrt(square / len(rows))
        weighted = np.multiply(self._x[:, :d], root[:, None], out=self._buffer[:, :d])
        pulled = np.outer(self._features * mean, pull)
        expected = self._expected * second - pulled - pulled.T + self._pulled
        return np.asarray(weighted.T @ weighted - expected)

    def _second_at(self, point: Array) -> Array:
        """Return the second moments of a combination of the state, shape (d, d)."""
        used = np.flatnonzero(point)
        if used.size == 1:
            k = int(used[0])
            return np.asarray(point[k] ** 2 * self.second[k, k])
        return np.tensordot(np.outer(point, point), self.second, 2)

    def step(self, weights: Array, inverse_batch: float) -> None:
        """Go a step on."""
        added = self.covariance() * inverse_batch
        A, kicks, entries = self._step(weights)
        self.mean = np.einsum("iab,bi->ai", A, self.mean)
        moved = np.zeros_like(self.second)
        for i, j in entries:
            moved[i] += A[:, i, j, None] * self.second[j]
        second = kicks * added
        for i, j in entries:
            second[:, i] += moved[:, j] * A[:, i, j]
        self.second = second

    def _step(self, weights: Array) -> _Step:
        """Return what a step does with weights of the terms, which mostly are those of the last."""
        if self._last is None or not np.array_equal(self._last[0], weights):
            change, b = self._rows.matrices(weights)
            n = change.shape[1]
            A = change + np.eye(n)
            kicks = b.T[:, None, :, None] * b.T[None, :, None, :]
            entries = [(i, j) for i in range(n) for j in range(n) if A[:, i, j].any()]
            self._last = weights, _Step(A, kicks, entries)
        return self._last[1]


def _curve(
    problem: Problem, algorithm: LinearAlgorithm, batch_size: Schedule, stop: int
) -> Iterator[tuple[int, float]]:
    """Yield the steps 0 .. stop, with the risk."""
    data = problem.noise_model
    assert isinstance(data, DataSet)
    if problem.dim > MOST_COORDINATES or problem.has_counts:
        raise InputError(
            f"problem must have at most {MOST_COORDINATES} coordinates, without counts, for the "
            "noise of a data set"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        moments = _Moments(problem, algorithm, data)
        yield 0, moments.risk()
        settings = every_step(algorithm, batch_size, stop)
        for step, (weights, inverse_batch) in enumerate(settings, start=1):
            moments.step(weights, float(data.inverse_batch(np.array([1.0 / inverse_batch]))[0]))
            risk = moments.risk()
            yield step, math.inf if math.isnan(risk) else risk


def data_risk(
    problem: Problem, algorithm: LinearAlgorithm, batch_size: Schedule, steps: NDArray[np.int64]
) -> Array:
    """Compute the risk at ascending steps.

    Raises
    ------
    InputError
        If the problem has too many coordinates, or counts, or a batch more samples than there are.
    """
    last = int(steps[-1])
    asked = set(steps.tolist())
    curve = track(_curve(problem, algorithm, batch_size, last), last + 1, "expected risk")
    return np.array([risk for step, risk in curve if step in asked])


def data_passage(
    problem: Problem, algorithm: LinearAlgorithm, batch_size: Schedule, target: float, limit: int
) -> int | float:
    """Find the first step up to `limit` at which the risk is at most a target, inf if none is.

    Raises
    ------
    InputError
        As `data_risk`, or if too many steps would have to be taken.
    """
    before = math.inf
    schedules = [*algorithm.schedules.values(), batch_size]
    is_constant = not algorithm.depends_on_step and all(
        piece_at(schedule, 0) == (math.inf, True) for schedule in schedules
    )
    for step, risk in _curve(problem, algorithm, batch_size, min(limit, MOST_STEPS)):
        if risk <= target:
            return step
        if not math.isfinite(risk):
            return math.inf
        if step % COMPARED_STEPS == 0:
            if is_constant and abs(risk - before) <= SETTLED * risk:
                return math.inf
            before = risk
    if limit > MOST_STEPS:
        raise InputError(
            f"max_steps must be at most {MOST_STEPS} for the noise of a data set, whose steps are "
            f"taken one by one, as the target is not reached before, not {limit}"
        )
    return math.inf
