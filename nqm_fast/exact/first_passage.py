"""First passage: the first step at which the expected risk reaches a target."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import kernels
from ..algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ..algorithms.sparse import checked_recurrence, sparse_recurrence
from ..backends import takes_backend
from ..blocks import Block
from ..problem import Problem, as_problem
from ..schedules import Schedule, as_single_schedule
from ..validation import integer, number
from .certified import FINE, certified_block, summed_nodes
from .risk import RiskSums, expected_risk
from .timeline import weighted_segments

# Where the search stops, and how its answer is confirmed.
MARGINS = (1e-9, 1e-12)
"""The search aims at a target raised by these parts of it, one after the other.

It sums in another order than `expected_risk`, so that at the target itself rounding errors could
make it miss the step. A wide margin may stop it too early, therefore a narrow one comes next.
"""
CONFIRMED_STEPS = 64
"""Steps from the answer of the search on at which `expected_risk` is compared with the target."""
SCANNED_WORK = 1 << 27
"""Steps times coordinates that are looked at one by one after them, where the search has failed."""
NODES = 1 << 10
"""Coordinates that stand for all others, about."""
PROBED_STEPS = 100
"""Steps, evenly spread in their logarithm, that bracket the answer after those."""

CHECKED_STEPS = 32
"""Steps, evenly spread in their logarithm, at which the nodes that are searched are certified."""


@takes_backend
def steps_to_target(
    problem: Problem,
    algorithm: Algorithm,
    batch_size: ArrayLike | Schedule,
    target: float,
    *,
    max_steps: int = 10**9,
    backend: str = "auto",
) -> int | float:
    """First step at which the expected excess risk is at most `target`.

    The true first passage, also where the risk oscillates (momentum) or rises again:
    blocks of steps are excluded by a lower bound, the answer is confirmed by
    `expected_risk` at the step itself. Many coordinates are searched as the nodes that
    `expected_risk` would use at steps up to the answer.

    Parameters
    ----------
    problem : Problem
    algorithm : Algorithm
    batch_size : number, ndarray of shape (steps,), or schedule
        Not a list, which might mean several batch sizes.
    target : float
        Excess risk, > 0.
    max_steps : int
        Give up after this many steps; schedules given as arrays end earlier.
    backend : {"auto", "numba", "cython", "numpy"}
        As in `expected_risk`.

    Returns
    -------
    int or math.inf
        Steps, 0 if the initial risk is low enough; inf if the target is never reached, also where
        a schedule of one value per step ends before.

    Raises
    ------
    InputError
        If an argument is outside its limits.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> nqm.steps_to_target(nqm.Problem.power_law(10_000), nqm.SGD(1.9), 2**20, 0.01)
    7023
    """
    as_problem(problem)
    algorithm = as_algorithm("algorithm", algorithm)
    batch = as_single_schedule("batch_size", batch_size, least=1.0)
    target = number("target", target, above=0.0)
    limit = integer("max_steps", max_steps, least=0)
    limit = int(min(limit, algorithm.lr.length, batch.length))
    nodes = summed_nodes(problem)
    block = problem.block(0, problem.dim) if nodes is None else nodes.joined(FINE)
    steps = np.zeros(1, dtype=np.int64)
    while True:
        found = _confirmed_passage(problem, block, algorithm, batch, target, limit)
        if nodes is None or block.h.size == problem.dim:
            return found
        checked = np.geomspace(1.0, max(min(found, limit), 1), CHECKED_STEPS).astype(np.int64)
        steps = np.union1d(steps, np.minimum(checked, limit))
        finer = certified_block(problem, nodes, RiskSums(algorithm, batch, steps))
        if finer.h.size == block.h.size:
            return found
        block = finer


def _confirmed_passage(
    problem: Problem,
    block: Block,
    algorithm: LinearAlgorithm,
    batch: Schedule,
    target: float,
    limit: int,
) -> int | float:
    """Search the first passage on nodes, and confirm it on all of the problem."""
    skip = -1
    for margin in MARGINS:
        found = _searched_passage(block, algorithm, batch, target * (1.0 + margin), limit, skip)
        if found is None:
            return math.inf
        candidates = np.arange(found, min(found + CONFIRMED_STEPS, limit + 1))
        first = _first_reached(problem, algorithm, batch, target, candidates)
        if first is not None:
            return first
        skip = int(candidates[-1])
    return _scanned_passage(problem, algorithm, batch, target, skip, limit)


def _first_reached(
    problem: Problem,
    algorithm: LinearAlgorithm,
    batch: Schedule,
    target: float,
    steps: NDArray[np.int64],
) -> int | None:
    """Return the first of the steps at which the expected risk is at most the target."""
    reached = expected_risk(problem, algorithm, batch, steps) <= target
    return int(steps[np.argmax(reached)]) if reached.any() else None


def _scanned_passage(
    problem: Problem,
    algorithm: LinearAlgorithm,
    batch: Schedule,
    target: float,
    low: int,
    limit: int,
) -> int | float:
    """Look at the steps after `low` one by one, where the target is within rounding of a plateau.

    The risk hardly changes any more, and rounding errors of `expected_risk` itself decide. Where
    that goes on for too long to look at every step, the answer is one step of several.
    """
    last = min(low + max(SCANNED_WORK // min(problem.dim, NODES), CONFIRMED_STEPS), limit)
    size = CONFIRMED_STEPS
    while low < last:
        steps = np.arange(low + 1, min(low + size, last) + 1)
        first = _first_reached(problem, algorithm, batch, target, steps)
        if first is not None:
            return first
        low = int(steps[-1])
        size = min(2 * size, 1 << 14)
    return _bisected_passage(problem, algorithm, batch, target, low, limit)


def _bisected_passage(
    problem: Problem,
    algorithm: LinearAlgorithm,
    batch: Schedule,
    target: float,
    low: int,
    limit: int,
) -> int | float:
    """Bisect for a passage after step `low`, where the target is not reached: the last resort."""
    if low >= limit:
        return math.inf
    later = np.unique(np.geomspace(low + 1, limit, PROBED_STEPS).astype(np.int64))
    high = _first_reached(problem, algorithm, batch, target, later)
    if high is None:
        return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        if expected_risk(problem, algorithm, batch, middle) <= target:
            high = middle
        else:
            low = middle
    return high


def _searched_passage(
    block: Block,
    algorithm: LinearAlgorithm,
    batch: Schedule,
    target: float,
    limit: int,
    skip: int,
) -> int | None:
    """Find the first step in (skip, limit] at which the risk is at most `target`."""
    kernel = kernels.fastest_backend().first_passage
    recurrence = sparse_recurrence(checked_recurrence(algorithm, block.h), block.h.size)
    n = len(recurrence.read)
    tiles = -(-block.h.size // kernel.TILE)
    # Each tile has a row with the n means and the n (n + 1) / 2 covariances of its coordinates. The
    # kernel keeps apart the moments of the start and the noise that is injected later.
    moments = np.zeros((2, tiles, (n + n * (n + 1) // 2) * kernel.TILE))
    moments[0, :, : n * kernel.TILE] = np.repeat(recurrence.start, kernel.TILE)
    injected_noise = np.zeros_like(moments)
    done = 0
    read, _, values, entries, factors = recurrence
    # The last segment has one step more, so that the risk after the last step is looked at too.
    for part in weighted_segments(algorithm, batch, max(limit, 1)):
        length = part.length.copy()
        is_last = part.start[-1] + length[-1] >= limit
        length[-1] += bool(is_last)
        status, step = kernel.first_passage(
            read,
            values,
            entries,
            factors,
            part.weights,
            part.inverse_batch,
            length,
            bool(is_last),
            target,
            skip - done,
            done > 0,
            *block[:4],
            moments,
            injected_noise,
        )
        if status == kernel.FOUND:
            return done + int(step) if done + step <= limit else None
        if status == kernel.UNREACHABLE:
            return None
        done += int(step)
    return None
