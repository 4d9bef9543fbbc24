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

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import LinearAlgorithm
from ..noise import DataSet
from ..problem import Problem
from ..progress import track
from ..schedules import Schedule
from ..timeline import piece_at
from ..validation import Array, InputError
from .coupled.maps import CoupledBlock, Recurrences
from .timeline import every_step

MOST_COORDINATES = 1 << 11
"""More coordinates have second moments that take too long, and too much memory."""
MOST_STEPS = 1 << 20
"""Steps that a search goes through, one by one."""
COMPARED_STEPS = 1 << 10
"""Steps after which the search compares the risk with that before."""
SETTLED = 1e-13
"""Relative change over so many steps below which the risk stays as it is."""


class _Moments:
    """First and second moments of the states of all coordinates, and their steps."""

    def __init__(self, problem: Problem, algorithm: LinearAlgorithm, data: DataSet) -> None:
        d, rows = problem.dim, data.rows
        zero = np.zeros(d)
        block = CoupledBlock(problem.h, zero, zero, np.ones(d), zero, zero, zero)
        self._rows = Recurrences(algorithm, block)
        self._data, self._risk_weight = data, 0.5 * problem.h
        # In the coordinates of the problem the features are not correlated.
        self._features = np.einsum("kj,kj->j", rows, rows) / len(rows)
        self._buffer = np.empty(rows.shape)
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
        point, x, features = self._rows.point_vector, self._data.rows, self._features
        errors, pull = self._data.errors, self._data.pull
        mean = point @ self.mean
        second = np.tensordot(np.outer(point, point), self.second, 2)
        # Memory for an array like the data is taken once, as that takes as long as a product.
        rows = np.matmul(x, second, out=self._buffer)
        rows *= x
        # The mean square of a row's error is not negative, but for rounding errors.
        square = rows @ np.ones(rows.shape[1]) + errors * (2.0 * (x @ mean) + errors)
        root = np.sqrt(np.maximum(square, 0.0) / len(x))
        weighted = np.multiply(x, root[:, None], out=self._buffer)
        pulled = np.outer(features * mean, pull)
        expected = np.outer(features, features) * second - pulled - pulled.T + np.outer(pull, pull)
        return np.asarray(weighted.T @ weighted - expected)

    def step(self, weights: Array, inverse_batch: float) -> None:
        """Go a step on."""
        added = self.covariance() * inverse_batch
        change, b = self._rows.matrices(weights)
        n = change.shape[1]
        A = change + np.eye(n)
        entries = [(i, j) for i in range(n) for j in range(n) if A[:, i, j].any()]
        self.mean = np.einsum("iab,bi->ai", A, self.mean)
        moved = np.zeros_like(self.second)
        for i, j in entries:
            moved[i] += A[:, i, j, None] * self.second[j]
        second = np.multiply.outer(np.ones((n, n)), added)
        second *= b.T[:, None, :, None] * b.T[None, :, None, :]
        for i, j in entries:
            second[:, i] += moved[:, j] * A[:, i, j]
        self.second = second


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
