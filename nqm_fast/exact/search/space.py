"""The risk at many points of the box of hyper-parameters that tuning searches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import kernels
from ...algorithms.sparse import checked_recurrence, sparse_recurrence, sum_of_terms, term_weights
from ...coordinates.blocks import Block
from ...foundation.validation import Array
from ...machine.parallel import in_threads
from ...problem import Problem
from ...schedules import Constant, Schedule
from ..coupled.curve import Curve
from ..coupled.maps import CoupledBlock, Recurrences
from ..coupled.risk import continuous_passage
from ..coupled.settings import is_worth_steps, settings_risk
from ..periodic import Period, find_period, with_period
from ..risk import block_risk, constant_partials, partials
from ..timeline import period_records, recorded_segments, rough_segments, with_records
from .box import Kind, Point, SearchBox
from .factored import Factored, factored

# How the risk at many points is computed.
HOPELESS = 1e9
"""Risk, relative to that at the start, at which the curve of a setting is taken to diverge."""
ROUGH_CHANGE = 0.02
"""Part by which settings of steps that are taken together differ."""
STACKED_COORDINATES = 1 << 14
"""Coordinates of all points together that a thread works on, so that they stay in its cache."""


class SearchSpace(SearchBox):
    """The risk at points of a box, on a block of nodes.

    With constant settings many points are computed at once.
    """

    factors: Factored | None = None
    """The recurrence of all points, which differ in the weights of its terms alone; or None,
    and each point has a copy of the spectrum."""

    def __init__(
        self,
        kind: Kind,
        over: Sequence[str],
        fixed: dict[str, Any],
        batch_size: Schedule,
        problem: Problem,
        block: Block | CoupledBlock,
    ) -> None:
        super().__init__(kind, over, fixed, problem)
        self.batch_size = batch_size
        recurrence = checked_recurrence(self.template, block.h)
        self.terms, self.components = len(recurrence.terms), len(recurrence.read)
        self.dim = block.h.size
        is_constant = (
            not self.template.depends_on_step
            and isinstance(batch_size, Constant)
            and all(
                isinstance(schedule, Constant) or schedule.period
                for schedule in self.template.schedules.values()
            )
        )
        self.noise = problem.noise_model
        self.stackable = is_constant and self.noise is None
        """Whether the risk at many points is computed at once."""
        self.period = find_period(self.template, batch_size) if self.stackable else None
        self.is_rough = False
        """Whether steps whose settings differ by little are taken together, as a search begins."""
        self.has_quick_curves = is_constant
        """Whether many steps take hardly longer than few."""
        if isinstance(block, Block):
            backend = kernels.fastest_backend()
            tile = (backend.closed_form if self.components == 1 else backend.moments).TILE
            self.block: Block = _padded(block, tile)
            if self.stackable and self.period is None:
                names = [name for name in over if name != "lr"]
                self.factors = factored(self.template, names, self.block)
        else:
            self.coupled_block = block
            if is_constant and find_period(self.template, batch_size) is None:
                names = [name for name in over if name != "lr"]
                self.factors = factored(self.template, names, block)
            if self.factors is not None:
                self.coupled_rows = Recurrences(self.factors.algorithm, block)

    def log_risks(self, points: Array, steps: NDArray[np.int64]) -> Array:
        """Compute the log of the risk at points (G, searched) and ascending steps: (G, steps)."""
        with np.errstate(over="ignore", divide="ignore"):
            if self._are_in_step(len(points), steps):
                risks = self._risks_in_step(points, steps)
            elif not self.stackable:
                risks = np.array([self._risks_at(point, steps) for point in points])
            else:
                risks = self._stacked_risks(points, steps)
            logs: Array = np.log(risks)
        return logs

    def _risks_at(self, point: Array, steps: NDArray[np.int64]) -> Array:
        """Compute the risk at one point and ascending steps, shape (steps,)."""
        algorithm = self.algorithm(point.tolist())
        if self.noise is not None:
            curve = Curve(self.coupled_block, algorithm, self.batch_size, self.noise)
            return curve.at(steps, most=HOPELESS * curve.start)
        if self.is_rough:
            stop = max(int(steps[-1]), 1)
            rough = rough_segments(algorithm, self.batch_size, stop, ROUGH_CHANGE)
            if rough is not None:
                return block_risk(self.block, algorithm, with_records(iter([rough]), steps))
        timeline = recorded_segments(algorithm, self.batch_size, steps)
        return block_risk(self.block, algorithm, timeline)

    def _are_in_step(self, points: int, steps: NDArray[np.int64]) -> bool:
        """Whether points are gone through step by step, all together."""
        if self.noise is None or self.factors is None:
            return False
        return is_worth_steps(self.coupled_rows, points, int(steps[-1]))

    def _risks_in_step(self, points: Array, steps: NDArray[np.int64]) -> Array:
        """Compute the risk at points under noise that depends on the iterate, step by step."""
        assert self.noise is not None
        assert self.factors is not None
        values = self.hyper_parameters(points)
        lr = values.pop("lr", np.full(len(points), self.template.lr.least))
        batch = self.template.batches_per_step * self.batch_size.least
        inverse_batch = float(self.noise.inverse_batch(np.array([batch]))[0])
        return settings_risk(
            self.coupled_rows, self.factors.weights(lr, values), inverse_batch, steps
        )

    def passage(self, point: Point, log_target: float, limit: int) -> tuple[float, float]:
        """Find the first passage of a point under noise that depends on the iterate.

        Returns steps, which are continuous between the last step above the target and the first
        that is not, and 0; or the limit, and the log of risk / target there, where it is not
        reached before.
        """
        assert self.noise is not None
        curve = Curve(self.coupled_block, self.algorithm(point), self.batch_size, self.noise)
        return continuous_passage(curve, log_target, limit, HOPELESS)

    def _stacked_risks(self, points: Array, steps: NDArray[np.int64]) -> Array:
        """Compute the risk at points of constant settings, shape (G, steps), on all cores."""
        count = self.at_a_time
        values = self.hyper_parameters(points)
        lr = values.pop("lr", np.full(len(points), self.template.lr.least))
        weights = None if self.factors is None else self.factors.weights(lr, values)

        def risks(first: int) -> Array:
            some = slice(first, first + count)
            if self.factors is not None and weights is not None:
                return self.factors.risks(weights[some], self.inverse_batch, steps)
            chosen = {name: x[some] for name, x in values.items()}
            if self.period is not None:
                return self._periodic_risks(self.period, lr[some], chosen, steps)
            return self._copied_risks(lr[some], chosen, steps)

        starts = range(0, len(points), count)
        if len(starts) == 1:
            return risks(0)
        return np.concatenate(in_threads(risks, starts, "settings"))

    @property
    def inverse_batch(self) -> float:
        """1 / batch size of all points."""
        return 1.0 / (self.template.batches_per_step * self.batch_size.least)

    def _copied_risks(self, lr: Array, values: dict[str, Array], steps: NDArray[np.int64]) -> Array:
        """Compute the risk at points on as many copies of the spectrum, which form a long block.

        Their learning rates differ, so that the terms of the recurrence are added up for each
        coordinate beforehand. The answer has shape (G, steps).
        """
        count, size = lr.size, self.block.h.size
        weights = term_weights(self.template, self.terms, lr, np.zeros(count, dtype=np.int64))
        per_coordinate = {name: np.repeat(x, size) for name, x in values.items()}
        block = self._copied(count)
        terms = self.template.with_values(**per_coordinate).recurrence(block.h)
        recurrence = sum_of_terms(terms, np.repeat(weights, size, axis=0).T)
        sparse = sparse_recurrence(recurrence, block.h.size)
        partial = constant_partials(block, sparse, np.ones(1), self.inverse_batch, steps)
        risks: Array = partial.reshape(steps.size, count, -1).sum(axis=2).T
        return risks

    @cached_property
    def _copies(self) -> Block:
        """As many copies of the spectrum as are computed at a time."""
        return Block(*(np.tile(x, self.at_a_time) for x in self.block))

    def _copied(self, count: int) -> Block:
        """Return so many copies of the spectrum, of those that are computed at a time."""
        return Block(*(x[: count * self.block.h.size] for x in self._copies))

    @property
    def at_a_time(self) -> int:
        """How many points a thread works on at a time."""
        return max(STACKED_COORDINATES // self.block.h.size, 1)

    def _periodic_risks(
        self, period: Period, lr: Array, values: dict[str, Array], steps: NDArray[np.int64]
    ) -> Array:
        """Compute the risk at points of settings that repeat after a period, shape (G, steps)."""
        count, size = lr.size, self.block.h.size
        block = self._copied(count)
        per_coordinate = {name: np.repeat(x, size) for name, x in values.items()}
        whole = self.template.with_values(**per_coordinate).recurrence(block.h)
        starts = period.begin + np.cumsum(period.length) - period.length
        terms: list[Any] = []
        for start in starts.tolist():
            weights = term_weights(self.template, self.terms, lr, np.full(count, start))
            terms += sum_of_terms(whole, np.repeat(weights, size, axis=0).T).terms
        sparse = sparse_recurrence(whole._replace(terms=terms), block.h.size)
        own = period._replace(weights=np.eye(len(terms)))
        recurrence = with_period(sparse, block.h.size, own)
        partial = partials(block, recurrence, [period_records(own, steps)])
        risks: Array = partial.reshape(steps.size, count, -1).sum(axis=2).T
        return risks


def _padded(block: Block, tile: int) -> Block:
    """Fill the last tile with copies of the last coordinate without initial iterate or noise."""
    size = block.h.size
    missing = -size % tile

    def pad(name: str, field: Array) -> Array:
        full = np.broadcast_to(field, (size,))
        is_zero = name in ("c", "second_moment")
        return np.append(full, np.full(missing, 0.0 if is_zero else field[-1]))

    return Block(*(pad(name, field) for name, field in block._asdict().items()))
