"""The effect of pieces of constant learning rate on the second moments of linear recurrences.

A step takes the second moments S of a coordinate's state to ``M S M^T + b b^T c / B``, with
``M = I + D``. A piece is this map some times, by squaring, with its derivative by the log of the
learning rate. Matrices have their two indices first: arrays have shape (n, n, pieces, nodes), and
products are sums of products of such arrays, as NumPy is slow on many small matrices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...algorithms.base import Entry, LinearAlgorithm
from ...algorithms.sparse import checked_recurrence, term_weights
from ...coordinates.blocks import Block
from ...foundation.validation import Array, InputError
from .piece_maps import Batches, Evaluated, evaluated_sweep

MOST_COMPONENTS = 4
"""Components of a state, whose products take n^3 operations."""
FEW = 1e-12
"""Relative deviation up to which weights are linear in the learning rate."""


class PowerMaps(NamedTuple):
    """Affine maps of second moments ``S -> M S M^T + G``, with derivatives by log rates."""

    matrix: Array
    matrix_slope: Array
    noise: Array
    noise_slope: Array

    def of(self, pieces: NDArray[np.intp]) -> PowerMaps:
        """Return the maps of some pieces."""
        return PowerMaps(*(x[:, :, pieces] for x in self))

    def after(self, other: PowerMaps) -> PowerMaps:
        """Return the map that is another one followed by this one."""
        m, dm, g, dg = self
        moved = _product(m, other.noise)
        # A term and its transpose are the derivative by the matrix on both sides.
        half = _product(_product(dm, other.noise), _transposed(m))
        inner = _product(_product(m, other.noise_slope), _transposed(m))
        return PowerMaps(
            _product(m, other.matrix),
            _product(dm, other.matrix) + _product(m, other.matrix_slope),
            g + _product(moved, _transposed(m)),
            dg + inner + half + _transposed(half),
        )


class LinearModel:
    """Nodes as a linear algorithm sees them, whose updates depend on the learning rate alone."""

    def __init__(self, block: Block, algorithm: LinearAlgorithm) -> None:
        recurrence = checked_recurrence(algorithm, block.h)
        self.algorithm = algorithm
        size = block.h.size
        n = len(recurrence.read)
        self.changes = np.array(
            [[[_dense(x, size) for x in row] for row in matrix] for matrix, _ in recurrence.terms]
        )
        """A - I of each term, shape (terms, n, n, nodes)."""
        self.kicks = np.array([[_dense(x, size) for x in kick] for _, kick in recurrence.terms])
        """b of each term, shape (terms, n, nodes)."""
        start, read = np.array(recurrence.start), np.array(recurrence.read)
        second_moment = np.broadcast_to(block.second_moment, (size,))
        self.start = np.multiply.outer(np.outer(start, start), second_moment)
        """Second moments of the initial state, shape (n, n, nodes)."""
        weight = np.broadcast_to(0.5 * block.multiplicity * block.h, (size,))
        self.read = np.multiply.outer(np.outer(read, read), weight)
        """The risk as weights of second moments, shape (n, n, nodes)."""
        self.variance = np.broadcast_to(block.c, (size,))
        self.identity = np.eye(n)[:, :, None, None]

    def sweep(self, log_rates: Array, lengths: NDArray[np.int64], /) -> LinearSweep:
        """Go through pieces with log learning rates and lengths of shape (pieces,)."""
        maps = self._powers(self._steps(np.exp(log_rates)), lengths)
        later = np.empty((*self.read.shape[:2], len(lengths), self.read.shape[2]))
        current = self.read
        for k in reversed(range(len(lengths))):
            later[:, :, k] = current
            matrix = maps.matrix[:, :, k]
            current = _product(_product(_transposed(matrix), current), matrix)
        return LinearSweep(self.start, self.variance, maps, later)

    def evaluated(
        self, log_rates: Array, lengths: NDArray[np.int64], batches: Batches, /
    ) -> Evaluated:
        """Compute the risk at the batch sizes that `batches` gives."""
        return evaluated_sweep(self.sweep(log_rates, lengths), lengths, batches)

    def _steps(self, lr: Array) -> PowerMaps:
        """Return the maps of one step."""
        weights, slopes = linear_weights(self.algorithm, len(self.changes), lr)
        matrix = np.einsum("pt,tabi->abpi", weights, self.changes) + self.identity
        matrix_slope = np.einsum("pt,tabi->abpi", slopes, self.changes)
        kick = np.einsum("pt,tai->api", weights, self.kicks)
        kick_slope = np.einsum("pt,tai->api", slopes, self.kicks)
        half = kick[:, None] * kick_slope[None]
        noise = kick[:, None] * kick[None]
        return PowerMaps(matrix, matrix_slope, noise, half + _transposed(half))

    def _powers(self, step: PowerMaps, lengths: NDArray[np.int64]) -> PowerMaps:
        """Return the maps of all steps of each piece."""
        whole = PowerMaps(*(np.zeros_like(x) for x in step))
        whole.matrix[:] = self.identity
        left = lengths.copy()
        pieces = np.arange(len(lengths))
        while pieces.size:
            odd = left[pieces] & 1 == 1
            chosen = pieces[odd]
            for total, more in zip(
                whole, step.of(np.flatnonzero(odd)).after(whole.of(chosen)), strict=True
            ):
                total[:, :, chosen] = more
            left[pieces] >>= 1
            goes_on = np.flatnonzero(left[pieces] > 0)
            step, pieces = step.of(goes_on), pieces[goes_on]
            step = step.after(step)
        return whole


class LinearSweep(NamedTuple):
    """Pieces of a linear algorithm, as `Sweep` says."""

    start: Array
    variance: Array
    """Variance of gradients, shape (nodes,)."""
    maps: PowerMaps
    later: Array
    """The risk at the end as weights of second moments after each piece."""

    @property
    def weights(self) -> Array:
        """The noise at the end that each piece leaves at batch size 1, shape (pieces,)."""
        return np.asarray((self.maps.noise * self.later).sum(axis=(0, 1)) @ self.variance)

    def risk_and_slope(self, inverse_batch: Array) -> tuple[float, Array]:
        """Compute the risk after the last piece, and its derivatives by log learning rates."""
        matrix, matrix_slope, noise, noise_slope = self.maps
        moved = np.empty_like(matrix)
        current = self.start
        for k, inverse in enumerate(inverse_batch):
            part = _product(matrix[:, :, k], current)
            moved[:, :, k] = 2.0 * _product(matrix_slope[:, :, k], _transposed(part))
            part = _product(part, _transposed(matrix[:, :, k]))
            current = part + inverse * self.variance * noise[:, :, k]
        moved += inverse_batch[:, None] * self.variance * noise_slope
        risk = float((self.later[:, :, -1] * current).sum())
        return risk, np.asarray((moved * self.later).sum(axis=(0, 1, 3)))


def linear_weights(algorithm: LinearAlgorithm, terms: int, lr: Array) -> tuple[Array, Array]:
    """Return weights of terms, (rates, terms), and their derivatives by the log of the rates.

    Raises
    ------
    InputError
        If they are not linear in the learning rate.
    """
    first = np.zeros(lr.size, dtype=np.int64)
    weights, fixed, double = (
        term_weights(algorithm, terms, x, first) for x in (lr, np.zeros_like(lr), 2.0 * lr)
    )
    slopes = weights - fixed
    if not np.allclose(double - weights, slopes, rtol=FEW, atol=0.0):
        raise InputError(
            f"algorithm must have a recurrence that is linear in the learning rate for "
            f"optimal_control, which that of {type(algorithm).__name__} is not"
        )
    return weights, slopes


def _dense(entry: Entry, size: int) -> Array:
    """Return an entry of a recurrence as an array of shape (nodes,)."""
    value = entry[0] * entry[1] if isinstance(entry, tuple) else entry
    return np.broadcast_to(np.asarray(value, dtype=float), (size,))


def _transposed(matrix: Array) -> Array:
    """Return the transpose of matrices whose indices come first."""
    return matrix.swapaxes(0, 1)


def _product(one: Array, other: Array) -> Array:
    """Return the product of matrices whose indices come first."""
    n = len(one)
    product = np.empty((n, n, *np.broadcast(one[0, 0], other[0, 0]).shape))
    for a in range(n):
        for b in range(n):
            total = one[a, 0] * other[0, b]
            for k in range(1, n):
                total += one[a, k] * other[k, b]
            product[a, b] = total
    return product
