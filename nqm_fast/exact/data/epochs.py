"""Expected risk of passes through a data set in random order, under noise at the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ...algorithms.sparse import term_weights
from ...certified_sums import coordinate_sums
from ...coordinates.blocks import Block, joined_blocks
from ...foundation.arithmetic import in_usual_arithmetic
from ...foundation.validation import Array, InputError, integer, step_array
from ...noise import without_replacement
from ...problem import Problem, as_additive_problem
from ...schedules import Constant
from ...schedules.timeline import values_at
from ..coupled.maps import CoupledBlock, Recurrences
from ..coupled.single_steps import applied

MOST_BATCHES = 1 << 22
"""Batches of an epoch, which are gone through one by one."""


@in_usual_arithmetic
def epochs(
    problem: Problem,
    algorithm: Algorithm,
    batch_size: int,
    samples: int,
    epochs: ArrayLike,
) -> Any:
    """Expected excess risk after passes through a data set, each in a new random order.

    The samples of an epoch are cut into ``T = samples / batch_size`` batches, so that the noise of
    its steps sums to 0: a batch has the variance ``v = c / B (n - B) / (n - 1)``, and two of an
    epoch the covariance ``-v / (T - 1)``. The noise is that at the optimum everywhere.

    Parameters
    ----------
    problem : Problem
        Whose noise c is the variance of a sample drawn from the data set.
    algorithm : Algorithm
        With a constant learning rate, and updates that do not depend on the step.
    batch_size : int
        Samples per step B, a divisor of `samples`.
    samples : int
        Samples of the data set n, >= 2.
    epochs : array_like of int
        Any shape, any order, >= 0.

    Returns
    -------
    float or ndarray
        Excess risk, of the shape of `epochs`.

    Raises
    ------
    InputError
        If an argument is outside its limits, or the algorithm's steps are not all alike.

    Examples
    --------
    One coordinate whose gradient vanishes at a batch of all samples:

    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem([1.0], var0=0.0)
    >>> nqm.epochs(problem, nqm.SGD(0.5), 64, 64, [1, 2]).tolist()
    [0.0, 0.0]
    """
    as_additive_problem(problem, "epochs")
    algorithm = as_algorithm("algorithm", algorithm)
    is_constant = all(isinstance(schedule, Constant) for schedule in algorithm.schedules.values())
    if not is_constant or algorithm.depends_on_step or algorithm.batches_per_step != 1:
        raise InputError(
            "algorithm must have constant hyper-parameters and equal steps of one batch for epochs"
        )
    samples = integer("samples", samples, least=2)
    size = integer("batch_size", batch_size, least=1, most=samples)
    if samples % size:
        raise InputError(
            f"batch_size must be a divisor of samples, {samples}, so that all batches are equal, "
            f"not {size}"
        )
    batches = samples // size
    if batches > MOST_BATCHES:
        raise InputError(f"samples must make at most {MOST_BATCHES} batches, not {batches}")
    asked = step_array("epochs", epochs)
    if not asked.size:
        return np.zeros(asked.shape)
    ordered, position = np.unique(asked, return_inverse=True)
    variance = float(without_replacement(np.array([float(size)]), samples)[0])

    epoch = _EpochSums(algorithm, variance, batches, ordered)
    risk = coordinate_sums(problem, epoch, "epochs")
    answer = risk[position].reshape(asked.shape)
    return answer if asked.ndim else float(answer)


class _Steps(NamedTuple):
    """Some equal steps of coordinates, and what the noise of one of them becomes in the others."""

    number: int
    K: Array
    """The map of all steps on the state, minus the identity, shape (coordinates, n, n)."""
    D: Array
    """The map of all steps on second moments, minus the identity, shape (coordinates, p, p)."""
    mean: Array
    """The mean over all steps of the response at the end to a step's noise, (coordinates, n)."""
    spread: Array
    """The sum over all steps of the squared distance from it, shape (coordinates, p)."""

    def followed_by(self, earlier: _Steps, rows: Recurrences) -> _Steps:
        """Return these steps after earlier ones, which are powers of the same step."""
        number = self.number + earlier.number
        moved = earlier.mean + applied(self.K, earlier.mean[:, :, None])[:, :, 0]
        gap = rows.moments(self.mean - moved) * (self.number * earlier.number / number)
        spread = earlier.spread + applied(self.D, earlier.spread[:, :, None])[:, :, 0]
        return _Steps(
            number,
            self.K + earlier.K + applied(self.K, earlier.K),
            self.D + earlier.D + applied(self.D, earlier.D),
            (self.number * self.mean + earlier.number * moved) / number,
            self.spread + spread + gap,
        )


class _EpochSums:
    """The risk of blocks of coordinates after some epochs, as `certified_sums` takes it."""

    def __init__(
        self, algorithm: LinearAlgorithm, variance: float, batches: int, epochs: NDArray[np.int64]
    ) -> None:
        """Take ascending numbers of epochs, and a batch's share of the variance of a sample."""
        self._algorithm, self._variance, self._batches = algorithm, variance, batches
        self._epochs = epochs
        self.rows = epochs.size

    def __call__(self, blocks: Sequence[Block], rows: NDArray[np.intp]) -> Array:
        """Compute the risk of each block after epochs of given indices, shape (rows, blocks)."""
        whole = joined_blocks(blocks)
        starts = np.cumsum([0] + [block.h.size for block in blocks[:-1]])
        with np.errstate(over="ignore", invalid="ignore"):
            risk = np.add.reduceat(self._risks(whole, self._epochs[rows]), starts, axis=1)
        return np.where(np.isnan(risk), np.inf, risk)

    def _risks(self, block: Block, epochs: NDArray[np.int64]) -> Array:
        """Compute the risk of each coordinate after some epochs, shape (epochs, coordinates)."""
        zero = np.zeros(block.h.size)
        recurrences = Recurrences(self._algorithm, CoupledBlock(*block[:4], zero, zero, zero))
        lr = values_at(self._algorithm.lr, np.zeros(1, dtype=np.int64))
        weights = term_weights(self._algorithm, recurrences.terms, lr, np.zeros(1, dtype=np.int64))[
            0
        ]
        K, b = recurrences.matrices(weights)
        step = recurrences.step(weights, 1.0)
        one = _Steps(1, K, step.change, b, np.zeros(step.kick.shape))
        epoch = _power(one, self._batches, recurrences)
        noise = self._variance * block.c[:, None] * epoch.spread
        noise *= self._batches / max(self._batches - 1, 1)
        risks = []
        for number in epochs.tolist():
            moments = recurrences.start
            if number:
                change, added = _repeated(epoch.D, noise, number)
                moments = moments + applied(change, moments[:, :, None])[:, :, 0] + added
            risks.append((recurrences.risk_weight * moments).sum(axis=1))
        return np.array(risks)


def _power(one: _Steps, number: int, rows: Recurrences) -> _Steps:
    """Return a number of equal steps, by doubling."""
    power = one
    for bit in bin(number)[3:]:
        power = power.followed_by(power, rows)
        if bit == "1":
            power = power.followed_by(one, rows)
    return power


def _repeated(change: Array, added: Array, number: int) -> tuple[Array, Array]:
    """Return an affine map of moments, repeated so many times, by doubling."""
    D, k = change, added
    for bit in bin(number)[3:]:
        k = 2.0 * k + applied(D, k[:, :, None])[:, :, 0]
        D = 2.0 * D + applied(D, D)
        if bit == "1":
            k = k + applied(change, k[:, :, None])[:, :, 0] + added
            D = D + change + applied(change, D)
    return D, k
