"""Many equal steps at once, solved step by step: for a sum that oscillates too fast for panels.

The sum in each of them is its response to start and constant noise, convolved with the resolvent
of the discrete Volterra equation. Nothing is approximated, and first steps do not depend on later
ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...foundation.validation import Array
from .maps import Recurrences, StepMap

STACKED = 4
"""Rows that are multiplied at a time, which divides how many there are."""


class SingleSteps:
    """So many steps of constant settings, from their first moments to the risk in each."""

    def __init__(
        self,
        recurrences: Recurrences,
        step: StepMap,
        change: Sequence[Array],
        constant: Sequence[Array],
        level: int,
    ) -> None:
        """Prepare 2^level steps, from what each power of two of them up to that does."""
        size = (1 << level) + 1
        self._change, self._constant = change[level], constant[level]
        self._sum_rows = rows_at(recurrences.sum_weight, change, 0, level).reshape(size, -1)
        self._risk_rows: Array | None = None
        """Rows on the first moments, shape (steps + 1, coordinates * p); None for half the sum."""
        kick = step.kick.ravel()
        if not recurrences.is_sum_twice_the_risk:
            self._risk_rows = rows_at(recurrences.risk_weight, change, 0, level).reshape(size, -1)
            self._risk_constant = summed_constant(self._risk_rows, step.constant)
            self._risk_kernel = product(self._risk_rows[:-1], kick)
        self._sum_constant = summed_constant(self._sum_rows, step.constant)
        self._resolvent = resolvent(product(self._sum_rows[:-1], kick))
        self._kicks = kicks_of(step.kick, change, level)

    def solve(self, moments: Array) -> tuple[Array, Array]:
        """Return the risk at each step, with the first, and the last moments."""
        flat = moments.ravel()
        known = product(self._sum_rows, flat) + self._sum_constant
        sums = np.convolve(self._resolvent, known)[: known.size]
        risk = 0.5 * sums
        if self._risk_rows is not None:
            added = np.convolve(self._risk_kernel, sums[:-1])[: known.size - 1]
            risk = product(self._risk_rows, flat) + self._risk_constant + np.append(0.0, added)
        last = moments + applied(self._change, moments[:, :, None])[:, :, 0]
        last += self._constant
        last += self._kicks @ sums[:-1]
        return risk, last


def rows_at(weight: Array, change: Sequence[Array], level: int, parts: int) -> Array:
    """Return the rows of a weighted sum of moments at 2^parts + 1 points, 2^level steps apart.

    `change` has what each power of two of steps does. The shape is (points, coordinates, p).
    """
    rows = weight[:, None, :]
    for k in range(level, level + parts):
        rows = np.concatenate([rows, rows + applied(rows, change[k])], axis=1)
    last = weight[:, None, :]
    last = last + applied(last, change[level + parts])
    return np.concatenate([rows, last], axis=1).transpose(1, 0, 2).copy()


def kicks_of(kick: Array, change: Sequence[Array], level: int) -> Array:
    """Return the moments after 2^level steps for a sum in one, (coordinates, p, steps)."""
    columns = kick[:, :, None]
    for k in range(level):
        columns = np.concatenate([columns + applied(change[k], columns), columns], 2)
    return columns


def summed_constant(rows: Array, constant: Array) -> Array:
    """Return what constant noise, which is added between two points, adds at all of them."""
    return np.append(0.0, np.cumsum(product(rows[:-1], constant.ravel())))


def resolvent(kernel: Array) -> Array:
    """Return the series 1 / (1 - z kernel(z)), one term longer than the kernel.

    What is known of it is doubled again and again, by sums of products that have one sign where
    the kernel has.
    """
    lagged = np.append(0.0, kernel)
    known = np.ones(1)
    while known.size < lagged.size:
        size = known.size
        missing = np.convolve(lagged[: 2 * size], known)[size : 2 * size]
        known = np.append(known, np.convolve(missing, known)[: missing.size])
    return known[: lagged.size]


def lower_toeplitz(series: Array) -> Array:
    """Return the matrix that convolves with a series, shape (size, size)."""
    lag = np.arange(series.size)[:, None] - np.arange(series.size)
    return np.where(lag >= 0, series[lag], 0.0)


def product(rows: Array, columns: Array) -> Array:
    """Multiply a matrix by a vector, or by few columns, in one thread.

    Threads of BLAS wait for each other for longer than such products take.
    """
    if columns.ndim == 1:
        return np.asarray(np.einsum("ij,j->i", rows, columns))
    # A product of each stack is too small for threads.
    stacks = rows.reshape(len(rows) // STACKED, STACKED, -1)
    return np.asarray(stacks @ columns).reshape(len(rows), -1)


def applied(matrix: Array, columns: Array) -> Array:
    """Multiply stacks of matrices; stacks of numbers are multiplied as arrays, which is faster."""
    if matrix.shape[2] == 1 and 1 in (matrix.shape[1], columns.shape[2]):
        return matrix * columns
    return np.asarray(matrix @ columns)
