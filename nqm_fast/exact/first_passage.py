"""First passage: the first step at which the expected risk reaches a target."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import kernels
from ..algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ..algorithms.sparse import SparseRecurrence
from ..certified_sums import COARSE, FINE, certified_block, summed_nodes
from ..coordinates.blocks import Block
from ..foundation.validation import Array, integer, number
from ..machine.backends import takes_backend
from ..problem import Problem, as_problem
from ..schedules import Schedule
from ..schedules.base import as_single_schedule
from ..schedules.timeline import shortest_length
from .coupled.risk import coupled_passage
from .data.data_noise import data_passage
from .data.population import population_batch
from .periodic import (
    WHOLE,
    Period,
    engine_recurrence,
    find_period,
    one_step_maps,
    with_period,
    without_period,
)
from .risk import RiskSums, expected_risk
from .states import first_weights
from .timeline import weighted_segments
from .units import block_in_units, is_moderate, recurrence_with_units

# Where the search stops, and how its answer is confirmed.
MARGINS = (1e-9, 1e-12)
"""The search aims at a target raised by these parts of it, one after the other.

It sums in another order than `expected_risk`, so that at the target itself rounding errors could
make it miss the step. A wide margin may stop it too early, therefore a narrow one comes next.
"""
CONFIRMED_STEPS = 4, 60
"""Steps from the answer of the search on at which `expected_risk` is compared with the target.

The first of them nearly always is the answer.
"""
SCANNED_WORK = 1 << 27
"""Steps times coordinates that are looked at one by one after them, where the search has failed."""
NODES = 1 << 10
"""Coordinates that stand for all others, about."""
PROBED_STEPS = 100
"""Steps, evenly spread in their logarithm, that bracket the answer after those."""

CHECKED_STEPS = 32
"""Steps, evenly spread in their logarithm, at which the nodes that are searched are certified."""
CHECKED_BITS = 3
"""Leading bits of these steps that are not zero: each further one takes a product of maps."""


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
    limit = int(min(limit, shortest_length(algorithm.schedules), batch.length))
    if problem.noise_model is not None:
        return _dependent_passage(problem, algorithm, batch, target, limit)
    nodes = summed_nodes(problem)
    # Nodes with which twice as many agree are as good for the search as those.
    first = problem.block(0, problem.dim) if nodes is None else nodes.joined(COARSE, rough=True)
    block = first
    steps = np.zeros(1, dtype=np.int64)
    while True:
        found = _confirmed_passage(problem, block, algorithm, batch, target, limit)
        if nodes is None or block.h.size == problem.dim:
            return found
        steps = np.union1d(steps, checked_steps(int(min(found, limit))))
        finer = certified_block(problem, nodes, RiskSums(algorithm, batch, steps))
        agreed = finer is nodes.joined(FINE) and block is first
        if agreed or finer.h.size == block.h.size:
            return found
        block = finer


def checked_steps(last: int) -> NDArray[np.int64]:
    """Choose steps up to a last one at which nodes are certified, ascending."""
    steps = np.geomspace(1.0, max(last, 1), CHECKED_STEPS).astype(np.int64)
    shift = np.maximum(np.frexp(steps)[1] - CHECKED_BITS, 0)
    return np.union1d(np.minimum(steps >> shift << shift, last), [last])


def _dependent_passage(
    problem: Problem, algorithm: LinearAlgorithm, batch: Schedule, target: float, limit: int
) -> int | float:
    """Find the first passage under noise that depends on the iterate or on the data."""
    assert problem.noise_model is not None
    if problem.noise_model.is_data:
        return data_passage(problem, algorithm, batch, target, limit)
    if not problem.noise_model.is_coupled:
        batch = population_batch(problem, batch)
        return steps_to_target(problem.with_noise(None), algorithm, batch, target, max_steps=limit)
    sums = partial(RiskSums, algorithm, batch)
    found = coupled_passage(problem, algorithm, batch, target, limit, sums)
    if found == math.inf:
        return found
    last = min(int(found) + sum(CONFIRMED_STEPS), limit)
    near = np.arange(max(int(found) - 1, 0), last + 1)
    first = _first_reached(problem, algorithm, batch, target, near)
    return found if first is None else first


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
        skip = found - 1
        for count in CONFIRMED_STEPS:
            candidates = np.arange(skip + 1, min(skip + count, limit) + 1)
            if not candidates.size:
                break
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
    last = min(low + max(SCANNED_WORK // min(problem.dim, NODES), sum(CONFIRMED_STEPS)), limit)
    size = sum(CONFIRMED_STEPS)
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
    recurrence = engine_recurrence(algorithm, block.h)
    if not is_moderate(block):
        first = first_weights(algorithm, batch, np.array([max(limit, 1)]))
        units, recurrence = recurrence_with_units(block, algorithm, first)
        block = block_in_units(block, units)
    search = _Search(block, recurrence, target)
    period = find_period(algorithm, batch)
    if period is not None and limit < period.begin + period.steps:
        period = None
    done = 0
    stop = max(limit, 1) if period is None else period.begin
    # The last segment has one step more, so that the risk after the last step is looked at too.
    for part in weighted_segments(algorithm, batch, stop) if stop else ():
        length = part.length.copy()
        is_last = period is None and part.start[-1] + length[-1] >= limit
        length[-1] += bool(is_last)
        status, step = search.go(
            part.weights, part.inverse_batch, length, is_last, skip - done, done > 0
        )
        if status == search.kernel.FOUND:
            return done + step if done + step <= limit else None
        if status == search.kernel.UNREACHABLE:
            return None
        done += step
    return None if period is None else _periodic_passage(search, period, limit, skip)


class _Search:
    """A search for the first passage of a block of coordinates, and where it has come to."""

    def __init__(self, block: Block, recurrence: SparseRecurrence, target: float) -> None:
        self.block, self.recurrence, self.target = block, recurrence, target
        self.kernel = kernels.fastest_backend().first_passage
        n = len(recurrence.read)
        tile = self.kernel.TILE
        # Each tile has a row with the n means and the n (n + 1) / 2 covariances of its coordinates.
        # The kernel keeps apart the moments of the start and the noise that is injected later.
        shape = 2, -(-block.h.size // tile), (n + n * (n + 1) // 2) * tile
        self.moments, self.injected_noise = np.zeros(shape), np.zeros(shape)
        self.moments[0, :, : n * tile] = np.repeat(recurrence.start, tile)

    def copy(self, recurrence: SparseRecurrence) -> _Search:
        """Return a search from the same state on, with another recurrence."""
        other = _Search(self.block, recurrence, self.target)
        other.moments[:], other.injected_noise[:] = self.moments, self.injected_noise
        return other

    def go(
        self,
        weights: Array,
        inverse_batch: Array,
        length: NDArray[np.int64],
        endless: bool,
        skip: int,
        resumed: bool,
        target: float | None = None,
    ) -> tuple[int, int]:
        """Go through segments; return the kernel's status, and the first passage or their steps."""
        read, _, values, entries, factors = self.recurrence
        status, step = self.kernel.first_passage(
            read,
            values,
            entries,
            factors,
            weights,
            inverse_batch,
            length,
            bool(endless),
            self.target if target is None else target,
            skip,
            resumed,
            *self.block[:4],
            self.moments,
            self.injected_noise,
        )
        return int(status), int(step)


def _periodic_passage(search: _Search, period: Period, limit: int, skip: int) -> int | None:
    """Find the first passage in (skip, limit] from the begin of segments that repeat for ever.

    The risk some steps after the begin of each period is a sequence of its own, of which one step
    is a whole period. The first passage is the earliest of those of these sequences.
    """
    size = search.block.h.size
    base = without_period(search.recurrence, period)
    read = np.array(base.read)
    moves = read @ one_step_maps(base, size, period.weights)
    is_moving = (moves != 0.0).any(axis=(1, 2))
    earliest: int | None = None
    for phase in range(period.steps):
        before = period.between(phase - 1, phase)
        # Where the last step has not moved the evaluated iterate, the risk is that of before.
        if before and not is_moving[before[0][0]]:
            continue
        first = period.begin + phase
        if first > limit:
            break
        rotated = period.rotated(phase)
        here = search.copy(with_period(base, size, rotated))
        if phase:
            begin = period.columns(period.between(0, phase))
            here.go(*begin, False, 0, period.begin > 0, -1.0)
        whole = period.columns([(WHOLE, (limit - first) // period.steps + 1)])
        status, count = here.go(*whole, True, (skip - first) // period.steps, first > 0)
        if status == here.kernel.FOUND:
            earliest = first + count * period.steps
            limit = earliest - 1
    return earliest
