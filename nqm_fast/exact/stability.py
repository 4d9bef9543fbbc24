"""The largest learning rate at which an algorithm is stable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ..algorithms.sparse import term_weights
from ..coordinates.blocks import Block
from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.validation import Array, InputError, number
from ..noise import FinitePopulation
from ..problem import Problem, as_problem
from ..schedules import Constant, Schedule, as_schedule
from .coupled.maps import CoupledBlock, Recurrences
from .coupled.nodes import CoupledNodes, coupled_block
from .periodic import Period, find_period

SCANNED = 128
"""Learning rates at which stability is looked at first, evenly spread up to the largest."""
BISECTIONS = 60
"""Halvings of the interval between a stable rate and one that is not."""
ROUNDING = 1e-9
"""How far an eigenvalue may be above 1 by rounding errors, as that of an average always is 1."""
NODES = 64
"""Nodes of a span where noise depends on the iterate: the sum over them has a simple form."""


@in_usual_arithmetic
def largest_stable_lr(
    problem: Problem, algorithm: Algorithm, batch_size: ArrayLike | Schedule
) -> float:
    """The largest constant learning rate at which the expected risk stays finite.

    Where noise is the same everywhere that is where the mean stops to shrink, whatever the batch
    size: the spectral radius of the recurrence is 1. Noise that depends on the iterate can grow
    faster than the mean: there it is the spectral radius of the map of all second moments, which
    are coupled.

    Parameters
    ----------
    problem : Problem
    algorithm : Algorithm
        Whose learning rate does not matter. Where updates repeat after a period, all of its steps
        count; where they depend on the step otherwise, step 0.
    batch_size : number
        Samples per step, >= 1.

    Returns
    -------
    float
        The rate up to which all rates are stable; 0 if none is.

    Raises
    ------
    InputError
        If an argument is outside its limits, or the batch size is a schedule.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(100)
    >>> round(nqm.largest_stable_lr(problem, nqm.SGD(0.1), 1), 6)
    2.0
    >>> features = problem.with_noise(nqm.noise.Gaussian())
    >>> round(nqm.largest_stable_lr(features, nqm.SGD(0.1), 1), 6)
    0.336923
    """
    as_problem(problem)
    algorithm = as_algorithm("algorithm", algorithm)
    batch = as_schedule("batch_size", batch_size, least=1.0)
    if not isinstance(batch, Constant):
        raise InputError("batch_size must be one number, as stability is that of equal steps")
    noise = problem.noise_model
    if noise is not None and noise.is_data:
        raise InputError(
            "problem must have no noise of a data set for largest_stable_lr: nqm.noise.Gaussian() "
            "of the same curvatures is near"
        )
    if noise is None or isinstance(noise, FinitePopulation):
        return additive_limit(algorithm, problem.curvature_range)
    drawn = algorithm.batches_per_step * number("batch_size", batch.value)
    inverse_batch = float(noise.inverse_batch(np.array([drawn]))[0])
    nodes = CoupledNodes(problem)
    block = nodes.joined(NODES) if nodes.parts else nodes.every()
    # The ends of the spectrum, which need not be nodes, can be unstable by themselves.
    low, high = problem.curvature_range
    ends = Block(np.array([low, high]), *(np.zeros(1) for _ in range(4)))
    whole = CoupledBlock(
        *(np.concatenate(x) for x in zip(block, coupled_block(ends, noise), strict=True))
    )
    rows = Recurrences(algorithm, whole)
    steps = _steps_of_period(find_period(algorithm, Constant(1.0)))

    def is_stable(lr: float) -> bool:
        weights = [_weights(algorithm, rows.terms, lr, step) for step in steps]
        return _is_coupled_stable(rows, weights, inverse_batch)

    return _limit(is_stable, algorithm.largest_lr(np.array([low, high])))


def additive_limit(algorithm: LinearAlgorithm, curvature_range: tuple[float, float]) -> float:
    """Find the largest stable rate where noise does not depend on the iterate.

    Only the least and the largest curvature are looked at, and the weights of step 0, or of all
    steps of a period.
    """
    h = np.array(curvature_range)
    zero = np.zeros(h.size)
    rows = Recurrences(algorithm, CoupledBlock(h, *(zero for _ in range(6))))
    period = find_period(algorithm, Constant(1.0))

    def is_stable(lr: float) -> bool:
        with np.errstate(over="ignore", invalid="ignore"):
            if period is None:
                segments, lengths = [0], [1]
            else:
                segments = (period.begin + np.cumsum(period.length) - period.length).tolist()
                lengths = period.length.tolist()
            steps = [rows.matrices(_weights(algorithm, rows.terms, lr, t)) for t in segments]
            unit = _kick_units(np.array([kick for _, kick in steps]))
            whole = np.eye(rows.read_vector.size)
            if period is None:
                return _spectral_radius(_in_units(steps[0][0], unit)) <= 1.0 + ROUNDING
            for (part, _), length in zip(steps, lengths, strict=True):
                step = np.eye(rows.read_vector.size) + _in_units(part, unit)
                whole = np.linalg.matrix_power(step, length) @ whole
            change = whole - np.eye(rows.read_vector.size)
        return _spectral_radius(change) <= 1.0 + ROUNDING

    return _limit(is_stable, algorithm.largest_lr(h))


def _kick_units(kicks: Array) -> Array:
    """Return exponents of 2 of each component's kicks, which are (segments, d, n), shape (d, n).

    A component that is not kicked has that of the largest.
    """
    largest = np.abs(kicks).max(axis=0)
    known = np.where(largest > 0.0, largest, largest.max(axis=1, keepdims=True))
    return np.asarray(np.frexp(np.where((known > 0.0) & np.isfinite(known), known, 1.0))[1])


def _in_units(change: Array, unit: Array) -> Array:
    """Return matrices (d, n, n) with each component counted in its unit, 2 to a power.

    Components such as a velocity differ by factors as large as learning rates are, for which
    algorithms for eigenvalues have no room.
    """
    return np.ldexp(change, unit[:, None, :] - unit[:, :, None])


def _weights(algorithm: LinearAlgorithm, terms: int, lr: float, step: int) -> Array:
    """Return the weights of terms at a learning rate, in a step."""
    return np.asarray(term_weights(algorithm, terms, np.array([lr]), np.array([step]))[0])


def _spectral_radius(change: Array) -> float:
    """Return the largest absolute eigenvalue of I + change, for a stack of matrices."""
    if not np.isfinite(change).all():
        return np.inf
    return float(np.abs(1.0 + np.linalg.eigvals(change)).max())


def _steps_of_period(period: Period | None) -> list[int]:
    """List the steps of a period, or step 0, each as one that has the same weights."""
    if period is None:
        return [0]
    starts = period.begin + np.cumsum(period.length) - period.length
    steps: list[int] = np.repeat(starts, period.length).tolist()
    return steps


def _is_coupled_stable(rows: Recurrences, weights: list[Array], inverse_batch: float) -> bool:
    """Whether the map of all second moments shrinks them, over steps with these weights of terms.

    The map of a step is a map L of each coordinate alone plus what they get through their sum, and
    takes what are second moments to such. So does that of several steps, in which sums are taken,
    and what they add is moved on: ``L + U V^T``. It shrinks moments if L does, and what is added
    adds less than itself to the sums in all later periods: the spectral radius of
    ``V^T (I - L)^-1 U``, which has a row and a column for each step, is below 1.
    """
    change = np.zeros((rows.start.shape[0], rows.start.shape[1], rows.start.shape[1]))
    added: list[Array] = []
    sums: list[Array] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for weight in weights:
            step, kick, _ = rows.step(weight, inverse_batch)
            total = rows.sum_weight + np.einsum("ia,iab->ib", rows.sum_weight, change)
            for other, taken in zip(added, sums, strict=True):
                total = total + float(np.vdot(rows.sum_weight, other)) * taken
            added = [other + np.einsum("iab,ib->ia", step, other) for other in added]
            added.append(kick)
            sums.append(total)
            change = (step + change) + step @ change
    columns, row_sums = np.stack(added, axis=2), np.stack(sums)
    if not np.isfinite(columns).all() or _spectral_radius(change) > 1.0 + ROUNDING:
        return False
    is_coupled = (columns != 0.0).any(axis=(1, 2)) & (row_sums != 0.0).any(axis=(0, 2))
    try:
        later = np.linalg.solve(-change[is_coupled], columns[is_coupled])
    except np.linalg.LinAlgError:
        return False
    share = np.einsum("tia,iak->tk", row_sums[:, is_coupled], later)
    is_positive = bool((np.diagonal(share) >= 0.0).all())
    return is_positive and float(np.abs(np.linalg.eigvals(share)).max()) < 1.0


def _limit(is_stable: Callable[[float], bool], largest: float) -> float:
    """Return the rate up to which all rates are stable, at most the largest."""
    if not np.isfinite(largest):
        largest = float(np.finfo(float).max) / 2.0
    low, high = 0.0, largest
    for rate in largest * np.arange(1, SCANNED + 1) / SCANNED:
        if not is_stable(float(rate)):
            high = float(rate)
            break
        low = float(rate)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if is_stable(middle) else (low, middle)
    return low
