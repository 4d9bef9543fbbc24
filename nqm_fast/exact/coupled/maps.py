"""The map of a step on second moments, where the noise depends on the iterate.

A coordinate has the second moments ``M = E s s^T`` of its state s. A step takes them to

    A M A^T + b b^T ( c + own g M g^T + shared S ) / B,     S = sum_k count_k weight_k g M_k g^T,

with the point g at which the gradient is taken. All but S is a map of the coordinate alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...algorithms.base import LinearAlgorithm
from ...algorithms.sparse import checked_recurrence, sparse_recurrence
from ...foundation.validation import Array

CHUNK_NUMBERS = 1 << 18
"""Numbers of the matrices of different steps that are made at a time."""


class CoupledBlock(NamedTuple):
    """Coordinates whose noise depends on each other; every field has shape (coordinates,)."""

    h: Array
    """Curvature."""
    c: Array
    """Variance of the gradient at the optimum."""
    second_moment: Array
    """``E[w_0^2]`` of the initial iterate."""
    multiplicity: Array
    """Number of identical coordinates that an entry stands for."""
    own: Array
    """Factor of the coordinate's own square in its noise."""
    shared: Array
    """Factor of the sum over all coordinates in its noise."""
    weight: Array
    """Weight of a coordinate's square in that sum, for one of those that it stands for."""


class StepMap(NamedTuple):
    """A step on the p = n (n + 1) / 2 second moments of each coordinate's state of n numbers."""

    change: Array
    """The map of each coordinate alone, minus the identity, shape (coordinates, p, p)."""
    kick: Array
    """Factors of the sum over all coordinates, in what is added, shape (coordinates, p)."""
    constant: Array
    """The noise that is added in each step besides, shape (coordinates, p)."""


class Recurrences:
    """The recurrence of an algorithm at some coordinates, as arrays of all its entries."""

    def __init__(self, algorithm: LinearAlgorithm, block: CoupledBlock) -> None:
        size = block.h.size
        recurrence = checked_recurrence(algorithm, block.h)
        sparse = sparse_recurrence(recurrence, size)
        n = len(recurrence.read)
        self.block = block
        self.terms = len(recurrence.terms)
        self.changes = np.zeros((self.terms, size, n, n))
        """``A - I`` as a sum of terms, shape (terms, coordinates, n, n)."""
        self.kicks = np.zeros((self.terms, size, n))
        """b as a sum of terms, shape (terms, coordinates, n)."""
        for (term, row, column, source), factor in zip(sparse.entries, sparse.factors, strict=True):
            with np.errstate(over="ignore"):
                entry = factor * (sparse.values[source] if source >= 0 else 1.0)
            if column < n:
                self.changes[term, :, row, column] += entry
            else:
                self.kicks[term, :, row] += entry
        point = [1.0] + [0.0] * (n - 1) if recurrence.gradient is None else recurrence.gradient
        self.start_vector, self.read_vector = np.array(sparse.start), np.array(sparse.read)
        self.point_vector = np.array(point, dtype=np.float64)
        self.first, self.second = np.triu_indices(n)
        self.start = self.moments(self.start_vector) * block.second_moment[:, None]
        """Second moments of the initial state, shape (coordinates, p)."""
        self.point = self.functional(self.point_vector)
        self.read = self.functional(self.read_vector)
        """The squares of the point of the gradient, and of the evaluated iterate, shape (p,)."""
        self.sum_weight = (block.multiplicity * block.weight)[:, None] * self.point
        """Weights of all moments in the sum that noise depends on, shape (coordinates, p)."""
        self.risk_weight = (0.5 * block.multiplicity * block.h)[:, None] * self.read
        """Weights of all moments in the risk, shape (coordinates, p)."""
        self.is_sum_twice_the_risk = bool(np.array_equal(self.sum_weight, 2.0 * self.risk_weight))

    def moments(self, vector: Array) -> Array:
        """Return the products of all pairs of elements, shape (..., p)."""
        return np.asarray(vector[..., self.first] * vector[..., self.second])

    def functional(self, vector: Array) -> Array:
        """Return the weights of second moments in the square of a combination, shape (p,)."""
        return self.moments(vector) * np.where(self.first == self.second, 1.0, 2.0)

    def matrices(self, weights: Array) -> tuple[Array, Array]:
        """Return A - I and b for weights of the terms, of shape (..., terms).

        Their shapes are (..., coordinates, n, n) and (..., coordinates, n).
        """
        weights = weights[..., : self.terms]  # That of a whole period may follow them.
        if self.terms == 1:
            one = weights[..., None]
            return one[..., None] * self.changes[0], one * self.kicks[0]
        return np.tensordot(weights, self.changes, 1), np.tensordot(weights, self.kicks, 1)

    def step(self, weights: Array, inverse_batch: float) -> StepMap:
        """Return the map of a step with weights of the terms, of shape (..., terms).

        Those of many settings come before the coordinates in the shapes of its fields.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            K, b = self.matrices(weights)
            kick = self.moments(b) * inverse_batch
            change = self.pairs(K)
            change += (self.block.own[:, None] * kick)[..., None] * self.point
            shared, constant = (
                kick * factor[:, None] for factor in (self.block.shared, self.block.c)
            )
        return StepMap(change, shared, constant)

    def stepped(self, moments: Array, weights: Array, inverse_batch: Array) -> tuple[Array, Array]:
        """Go through steps of different settings one by one.

        Parameters
        ----------
        moments : ndarray, shape (coordinates, p)
        weights : ndarray, shape (steps, terms)
        inverse_batch : ndarray, shape (steps,)

        Returns
        -------
        risk : ndarray, shape (steps + 1,)
            Before each step and after the last.
        moments : ndarray, shape (coordinates, p)
        """
        size, n = self.kicks.shape[1:]
        M = np.empty((size, n, n))
        M[:, self.first, self.second] = M[:, self.second, self.first] = moments
        path = np.empty((len(weights) + 1, size * n * n))
        count = max(CHUNK_NUMBERS // (size * n * n), 1)
        with np.errstate(over="ignore", invalid="ignore"):
            for begin in range(0, len(weights), count):
                chosen = slice(begin, begin + count)
                M = self._stepped(M, weights[chosen], inverse_batch[chosen], path[chosen])
            path[-1] = M.ravel()
            risk = np.einsum("ij,j->i", path, self._matrix_weights(self.risk_weight))
        return np.where(np.isnan(risk), np.inf, risk), M[:, self.first, self.second]

    def _stepped(self, M: Array, weights: Array, inverse_batch: Array, path: Array) -> Array:
        """Go through some steps from moments (coordinates, n, n), which `path` is filled with."""
        K, b = self.matrices(weights)
        kick = (b[..., :, None] * b[..., None, :]) * inverse_batch[:, None, None, None]
        sum_weight, block = self._matrix_weights(self.sum_weight), self.block
        if M.shape[1] == 1:
            return self._stepped_numbers(M, K, kick, path)
        point = np.outer(self.point_vector, self.point_vector).ravel()
        for t in range(len(K)):
            flat = path[t]
            flat[:] = M.ravel()
            square = flat.reshape(len(M), -1) @ point
            total = float(np.dot(sum_weight, flat))
            variance = block.c + block.own * square + block.shared * total
            M = M + K[t] @ M
            M += M @ K[t].transpose(0, 2, 1)
            M += variance[:, None, None] * kick[t]
        return M

    def _stepped_numbers(self, M: Array, K: Array, kick: Array, path: Array) -> Array:
        """Go through steps where a state is one number, of which more is done beforehand."""
        numbers, kick = M.ravel(), kick[:, :, 0, 0]
        constant, shared = kick * self.block.c, kick * self.block.shared
        own = kick * (self.block.own * self.point_vector[0] ** 2)
        change = K[:, :, 0, 0] * (2.0 + K[:, :, 0, 0]) + own
        sum_weight = self.sum_weight.ravel()
        for t in range(len(K)):
            path[t] = numbers
            total = float(np.dot(sum_weight, numbers))
            numbers = numbers + (change[t] * numbers + (constant[t] + total * shared[t]))
        return numbers.reshape(M.shape)

    def _matrix_weights(self, weight: Array) -> Array:
        """Return weights of moments as those of whole matrices, shape (coordinates * n * n,)."""
        size, n = self.kicks.shape[1:]
        half = np.where(self.first == self.second, 1.0, 0.5) * weight
        full = np.empty((size, n, n))
        full[:, self.first, self.second] = full[:, self.second, self.first] = half
        return full.ravel()

    def pairs(self, K: Array) -> Array:
        """Return ``A M A^T - M`` as maps of the moments M, for stacked A = I + K."""
        a, b = self.first[:, None], self.second[:, None]
        c, d = self.first[None], self.second[None]

        def image(c: NDArray[np.intp], d: NDArray[np.intp]) -> Array:
            rows, columns = K[..., a, c], K[..., b, d]
            return np.asarray(rows * (b == d) + (a == c) * columns + rows * columns)

        return np.where(c == d, image(c, d), image(c, d) + image(d, c))
