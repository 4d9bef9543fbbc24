"""The search for learning rates and batch sizes, where noise depends on the iterate.

Batch sizes cannot be eliminated in closed form here, as the noise of a piece depends on those of
the pieces before. They are searched together with the learning rates. What is free of them is how
much each piece takes of the samples that are left when all batches are as small as they may be: a
budget holds whatever these numbers are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...algorithms.base import LinearAlgorithm
from ...bounds import SMALLEST_RISK
from ...coordinates.blocks import Block
from ...foundation.validation import Array
from ...problem import Problem
from ..coupled.maps import CoupledBlock
from .additive_search import (
    MOST_LOG_RISK,
    SCAN_STEP,
    ControlLimits,
    ControlSearch,
    Descended,
    Found,
    has_few,
)
from .batch_budget import BestBatches
from .coupled_pieces import CoupledModel
from .piece_layout import Layout
from .piece_models import is_plain
from .quasi_newton import lowest_point

PLAIN_TOLERANCES, STATE_TOLERANCES = (1e-8, 1e-6), (1e-7, 1e-5)
"""Changes of the log of the risk at which a search ends, and one that a longer one follows: of
plain SGD, and of others, for which a risk takes longer."""
HIGHER_STARTS = 1, 2
"""Constant rates above the best with which searches of few pieces begin, as scanned ones."""
MUCH_BETTER = 0.1
"""By how much the log of the risk of falling rates must be lower to begin with them."""
SHARE_RANGE = 30.0
"""Largest size of a free number, the log of what a piece takes."""
LEAST_SHARE = 1e-3
"""Least part of the mean that a piece begins with."""
MOVED_RANGE = 750.0
"""Beyond it logistic functions are 0 and 1."""
HALVINGS = 64
"""Halvings of the interval in which a budget is spent."""


class CoupledSearch(ControlSearch):
    """The lowest risk of budgets, where noise depends on the iterate."""

    def __init__(
        self,
        problem: Problem,
        block: Block | CoupledBlock,
        algorithm: LinearAlgorithm,
        pieces: int | NDArray[np.int64],
        limits: ControlLimits,
    ) -> None:
        super().__init__(problem, block, algorithm, pieces, limits)
        self._has_state = not is_plain(algorithm)
        tolerances = STATE_TOLERANCES if self._has_state else PLAIN_TOLERANCES
        self.tolerance, self.rough_tolerance = tolerances
        self._constants: dict[tuple[int, float], tuple[float, float]] = {}

    def _begun(self, steps: int, layouts: list[Layout], batches: BestBatches) -> Found | None:
        """Begin with few pieces, but where batch sizes are searched too.

        There a search of all pieces from a constant rate on takes fewer risks.
        """
        return None if batches.limits.is_free else super()._begun(steps, layouts, batches)

    def _best_constant(self, coarse: Layout, batches: BestBatches) -> tuple[float, float]:
        """Scan constant rates once, in few pieces and in batches that are all alike."""
        steps = int(coarse.lengths.sum())
        key = (steps, batches.samples)
        if key not in self._constants:
            few = self._coarse(steps, [coarse])
            self._constants[key] = super()._best_constant(few, batches.even)
        return self._constants[key]

    def _starts(self, coarse: Layout, batches: BestBatches) -> list[Array]:
        """Return the best constant rate, and the best falling one where pieces are few.

        A falling one that is much better stands alone: to constant ones the way is short otherwise.
        """

        def log_risk(start: Array) -> float:
            return self.log_risk(coarse.log_rates(start), coarse.lengths, batches.even)[0]

        constant, *falling = super()._starts(coarse, batches)
        best = min(falling, key=log_risk)
        if has_few(coarse):
            # What oscillates has several valleys, at constant rates above the best as well.
            higher = [constant + k * SCAN_STEP for k in HIGHER_STARTS] if self._has_state else []
            inside = [np.minimum(x, self.log_limit) for x in higher] if coarse.may_rise else []
            return [constant, best, *inside]
        return [best if log_risk(best) < log_risk(constant) - MUCH_BETTER else constant]

    def weights(self, found: Found, samples: float) -> Array:
        """Return weights for which the batch sizes that were found are the best."""
        if found.batch is None:
            return super().weights(found, samples)
        return found.layout.lengths * found.batch**2

    def _descended(
        self,
        pieces: Layout,
        start: Array,
        batches: BestBatches,
        tolerance: float,
        batch: Array | None,
    ) -> Descended:
        """Minimise the risk over the free numbers of a layout and over batch sizes."""
        model, lengths = self.model, pieces.lengths
        shares = Shares(batches, lengths)
        if not isinstance(model, CoupledModel) or not shares.are_free:
            return super()._descended(pieces, start, batches, tolerance, None)
        groups, size = model.groups(lengths), len(start)

        def objective(point: Array) -> tuple[float, Array]:
            log_rates = pieces.log_rates(point[:size])
            batch, change = shares.batches(point[size:], log_rates)
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                found = model.risk_and_slopes(log_rates, groups, 1.0 / batch)
            if found.risk == 0.0:
                return math.log(SMALLEST_RISK), np.zeros_like(point)
            if not (0.0 < found.risk < math.inf and np.isfinite(found.slope).all()):
                return MOST_LOG_RISK, np.zeros_like(point)
            by_share, by_followed = shares.slopes(-found.weights / batch**2 / found.risk, change)
            by_rate = pieces.slope_by_free(found.slope / found.risk + by_followed)
            return math.log(found.risk), np.append(by_rate, by_share)

        log_rates = pieces.log_rates(start)
        begin = [batch] if batch is not None else self._begin_batches(log_rates, lengths, batches)
        first = min(
            (np.append(start, shares.free_of(x, log_rates)) for x in begin),
            key=lambda point: objective(point)[0],
        )
        bounds = pieces.bounds(self.log_limit) + shares.bounds
        scales = np.append(pieces.scales, shares.scales)
        value, point = lowest_point(objective, first, bounds, tolerance, scales)
        log_rates = pieces.log_rates(point[:size])
        return Descended(value, point[:size], shares.batches(point[size:], log_rates)[0])

    def _begin_batches(
        self, log_rates: Array, lengths: NDArray[np.int64], batches: BestBatches
    ) -> list[Array]:
        """Return equal batch sizes, and those that would be the best after them, to begin with."""
        even = batches.even(np.zeros(len(lengths)), lengths)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            weights = self.model.evaluated(log_rates, lengths, batches.even).weights
        return [even, batches(np.maximum(weights, 0.0), lengths)]


def control_search(
    problem: Problem,
    block: Block | CoupledBlock,
    algorithm: LinearAlgorithm,
    pieces: int | NDArray[np.int64],
    limits: ControlLimits,
) -> ControlSearch:
    """Return the search on the nodes of a block, whatever the noise."""
    kind = CoupledSearch if isinstance(block, CoupledBlock) else ControlSearch
    return kind(problem, block, algorithm, pieces, limits)


class Shares:
    """Batch sizes as a function of free numbers, which all keep a budget and its limits.

    Each is the least one and what a piece takes: in proportion to the exponential of its number, or
    where there is a largest one, to that of a logistic function, moved so that the budget is spent.
    Larger learning rates take more, as the best batches of additive noise do, so that what a free
    number does is hardly changed by them; but where batch sizes may not fall.
    """

    def __init__(self, batches: BestBatches, lengths: NDArray[np.int64]) -> None:
        self._lengths = lengths.astype(float)
        limits = batches.limits
        self._least, self._span = float(limits.least), limits.most - limits.least
        self._may_fall = limits.may_fall
        steps = int(lengths.sum())
        self._left = batches.samples - limits.least * steps
        is_between = math.isfinite(batches.samples) and 0.0 < self._left < self._span * steps
        self.are_free = limits.is_free and len(lengths) > 1 and is_between

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Bounds of the free numbers."""
        one, pieces = (-SHARE_RANGE, SHARE_RANGE), len(self._lengths)
        return [one] * pieces if self._may_fall else [one] + [(0.0, SHARE_RANGE)] * (pieces - 1)

    @property
    def scales(self) -> Array:
        """Relative sizes of changes of the free numbers that change the risk alike."""
        steps = self._lengths / self._lengths.mean()
        return np.asarray(1.0 / np.sqrt(steps if self._may_fall else np.cumsum(steps[::-1])[::-1]))

    def batches(self, free: Array, log_rates: Array) -> tuple[Array, Array]:
        """Return batch sizes, and their derivatives each by the log of what its piece takes."""
        log = free + log_rates if self._may_fall else np.cumsum(free)
        if math.isinf(self._span):
            part = np.exp(log - log.max())
            taken = part * (self._left / np.dot(self._lengths, part))
            return self._least + taken, taken
        share = _logistic(log + self._moved(log))
        return self._least + self._span * share, self._span * share * (1.0 - share)

    def _moved(self, log: Array) -> float:
        """Return by how much all numbers are moved so that the budget is spent."""
        low, high = -log.max() - MOVED_RANGE, -log.min() + MOVED_RANGE
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            spent = self._span * np.dot(self._lengths, _logistic(log + middle))
            low, high = (middle, high) if spent < self._left else (low, middle)
        return 0.5 * float(low + high)

    def slopes(self, by_batch: Array, change: Array) -> tuple[Array, Array]:
        """Return derivatives by the free numbers and by log rates, of those by batch sizes."""
        direct, spent = by_batch * change, self._lengths * change
        by_log = direct - spent * (direct.sum() / spent.sum())
        if self._may_fall:
            return by_log, by_log
        return np.cumsum(by_log[::-1])[::-1], np.zeros_like(by_log)

    def free_of(self, batch: Array, log_rates: Array) -> Array:
        """Return the free numbers of batch sizes, or near them."""
        mean = self._left / self._lengths.sum()
        log = np.log(np.maximum(batch - self._least, LEAST_SHARE * mean))
        if math.isfinite(self._span):
            room = self._span - mean
            log -= np.log(np.maximum(self._least + self._span - batch, LEAST_SHARE * room))
        if self._may_fall:
            log -= log_rates
        log = np.clip(log - log.mean(), -SHARE_RANGE, SHARE_RANGE)
        if self._may_fall:
            return np.asarray(log)
        rising = np.maximum.accumulate(log)
        return np.concatenate([rising[:1], np.diff(rising)])


def _logistic(x: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))
