"""The space of hyper-parameters that tuning searches, and the risk at many of its points."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..algorithms.base import LinearAlgorithm
from ..algorithms.sparse import (
    checked_recurrence,
    sparse_recurrence,
    sum_of_terms,
    term_weights,
)
from ..blocks import Block
from ..parallel import in_threads
from ..problem import Problem
from ..schedules import Constant, Schedule
from ..validation import Array
from .coupled.curve import Curve
from .coupled.maps import CoupledBlock, Recurrences
from .coupled.risk import continuous_passage
from .coupled.settings import is_worth_steps, settings_risk
from .factored import Factored, factored
from .periodic import Period, find_period, with_period
from .risk import block_risk, constant_partials, partials
from .timeline import (
    period_records,
    recorded_segments,
    rough_segments,
    with_records,
)

# The limits of the space.
LOG_LEAST_GAP = math.log(1e-7)
"""Log of the least 1 - momentum and 1 - EMA, the limits that `tune` documents."""
LOG_LR_RANGE = 100.0
"""How far the log of the learning rate may go below the largest: far beyond the grid."""
NEGLIGIBLE = 1e-15
"""Stands for momentum 0 or EMA 0, so that all points have recurrences of the same components."""
LOG_POSITIVE_RANGE = math.log(1e6)
"""How far the log of another positive hyper-parameter may go from its default, or from 1."""
LOG_SMALLEST_USEFUL_GAP = math.log(0.03)
"""Log of the least gap times steps that differs from no gap at all."""
LOG_SMALLEST_USEFUL_LR = math.log(1e-3)
"""Log of the least learning rate, times steps over the largest one, that differs from 0."""
LARGEST = 1e300
"""Stands for a largest learning rate beyond the range of a double."""

# The coarse grid from which the search starts.
GRID_DECADES = 9
"""Decades of the effective learning rate: at the lowest, one e-fold takes over 10^8 steps."""
GRID_GAPS = 16, 9, 5
"""Values of momentum or EMA; fewer where three or more hyper-parameters have many combinations."""
GRID_LOG_LR_SPACING = math.log(2.0), math.log(2.0) * 1.5, math.log(2.0) * 2.0
"""Distance of learning rates in log; wider where three or more hyper-parameters are searched."""

# How the risk at many points is computed.
HOPELESS = 1e9
"""Risk, relative to that at the start, at which the curve of a setting is taken to diverge."""
ROUGH_CHANGE = 0.02
"""Part by which settings of steps that are taken together differ."""
STACKED_COORDINATES = 1 << 14
"""Coordinates of all points together that a thread works on, so that they stay in its cache."""

Point = tuple[float, ...]

Kind = type[LinearAlgorithm] | LinearAlgorithm
"""A class of algorithms, or one whose other hyper-parameters are kept."""


class SearchSpace:
    """Hyper-parameters of one kind of algorithm, as points of a box, on a block of nodes.

    A point holds, for each hyper-parameter that is searched, the log of the effective
    learning rate ``lr * gain``, the log of another positive hyper-parameter, or the log of 1
    minus one in [0, 1) (its gap). With constant settings many points are computed at once.
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
        self.kind, self.over, self.fixed, self.batch_size = kind, list(over), fixed, batch_size
        self.template = made(kind, example_values(over) | fixed)
        tunable = self.template.tunable
        self.others = {
            name: self.template.hyper_parameter(name) for name in tunable if name != "lr"
        }
        self.is_lr = np.array([name == "lr" for name in over])
        self.is_unit = np.array([tunable[name] == "unit" for name in over])
        self.is_gap = np.array([tunable[name] in ("unit", "gap") for name in over])
        self.middle = np.array([_middle(kind, name, fixed) for name in over])
        # Which rates are stable depends on the ends of the spectrum, which need not be nodes.
        ends = np.array(problem.curvature_range)
        room = float(self.template.headroom(self.others))
        self.largest_lr = min(self.template.largest_lr(ends) / room, LARGEST)
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

    def hyper_parameters(self, points: Array) -> dict[str, Any]:
        """Convert points of shape (G, searched) to values by name, arrays of shape (G,)."""
        columns = dict(zip(self.over, points.T, strict=True))
        values: dict[str, Any] = {
            name: -np.expm1(np.minimum(x, -NEGLIGIBLE)) if is_unit else np.exp(x)
            for (name, x), is_unit in zip(columns.items(), self.is_unit, strict=True)
            if name != "lr"
        }
        if "lr" in columns:
            values["lr"] = np.exp(columns["lr"]) / self.template.gain(self.others | values)
        return values

    def largest_lrs(self, values: dict[str, Any]) -> Any:
        """Return the largest learning rate beside the values of other hyper-parameters."""
        return self.largest_lr * self.template.headroom(self.others | values)

    def algorithm(self, point: Sequence[float]) -> LinearAlgorithm:
        """Return the algorithm with the hyper-parameters at one point."""
        values = self.hyper_parameters(np.array([point]))
        chosen = {name: float(x[0]) for name, x in values.items()}
        for name, is_unit in zip(self.over, self.is_unit, strict=True):
            if is_unit and chosen[name] <= NEGLIGIBLE:
                chosen[name] = 0.0
        return made(self.kind, chosen | self.fixed)

    def point(self, algorithm: LinearAlgorithm) -> Point:
        """Return the point at which the hyper-parameters of an algorithm are, or the nearest."""
        values = {name: algorithm.hyper_parameter(name) for name in self.over if name != "lr"}
        logs = []
        for name, is_unit in zip(self.over, self.is_unit, strict=True):
            if name == "lr":
                lr = max(algorithm.lr.least, sys.float_info.min)
                logs.append(math.log(lr) + math.log(self.template.gain(self.others | values)))
            else:
                least = sys.float_info.min  # A default may be 0, which has no log.
                value = values[name]
                logs.append(math.log1p(-value) if is_unit else math.log(max(value, least)))
        return tuple(np.clip(logs, *self.bounds().T).tolist())

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

    def bounds(self) -> Array:
        """Limits of the box, shape (searched, 2)."""
        log_largest = math.log(self.largest_lr)
        # The effective learning rate may exceed the largest one by the largest gain.
        lr_limits = log_largest - LOG_LR_RANGE, log_largest - LOG_LEAST_GAP
        return np.array(
            [
                lr_limits
                if is_lr
                else (LOG_LEAST_GAP, 0.0)
                if is_gap
                else (middle - LOG_POSITIVE_RANGE, middle + LOG_POSITIVE_RANGE)
                for is_lr, is_gap, middle in zip(self.is_lr, self.is_gap, self.middle, strict=True)
            ]
        )

    def useful_box(self, points: Array, steps: int) -> tuple[Array, Array]:
        """Limits of what can be best after `steps`, two arrays of the shape of points, (G, n).

        A gap far below ``1 / steps`` does not differ from none, nor does an effective learning
        rate far below ``largest_lr / steps`` from 0. The largest effective learning rate depends
        on the gain of the other hyper-parameters.
        """
        low, high = (np.tile(limit, (len(points), 1)) for limit in self.bounds().T)
        low[:, self.is_gap] = np.maximum(low, LOG_SMALLEST_USEFUL_GAP - math.log(steps))[
            :, self.is_gap
        ]
        if self.is_lr.any():
            column = int(self.is_lr.argmax())
            log_largest = math.log(self.largest_lr)
            values = self.hyper_parameters(points)
            gain = np.exp(points[:, column]) / values["lr"]
            low[:, column] = log_largest + LOG_SMALLEST_USEFUL_LR - math.log(steps)
            high[:, column] = np.log(self.largest_lrs(values)) + np.log(gain)
        return low, high

    def from_cube(self, cube: Array, steps: int) -> Array:
        """Map points of the unit cube, shape (G, searched), onto what can be best at `steps`."""
        low, high = self.useful_box(np.zeros(cube.shape), steps)
        points = low + cube * (high - low)
        low, high = self.useful_box(points, steps)  # The gain is known now.
        return np.asarray(low + cube * (high - low))

    def to_cube(self, points: Array, steps: int) -> Array:
        """Map points, shape (G, searched), back to the unit cube, or to the nearest point of it."""
        low, high = self.useful_box(points, steps)
        return np.clip((points - low) / (high - low), 0.0, 1.0)

    def grid(self, most_steps: int) -> Array:
        """Lay a coarse grid over all of the box that can be of use, shape (points, searched).

        In more steps than usual, lower learning rates get as far.
        """
        coarseness = min(max(len(self.over) - 2, 0), 2)
        gaps = np.linspace(0.0, LOG_LEAST_GAP, GRID_GAPS[coarseness])
        log_largest = math.log(self.largest_lr)
        lowest = log_largest - max(GRID_DECADES * math.log(10.0), math.log(most_steps))
        spacing = GRID_LOG_LR_SPACING[coarseness]
        log_lrs = np.arange(lowest, log_largest - LOG_LEAST_GAP, spacing)
        axes = [
            log_lrs if is_lr else gaps if is_gap else np.linspace(low, high, gaps.size)
            for is_lr, is_gap, (low, high) in zip(
                self.is_lr, self.is_gap, self.bounds(), strict=True
            )
        ]
        points = np.array(list(itertools.product(*axes)))
        if "lr" in self.over:
            values = self.hyper_parameters(points)
            points = points[values["lr"] < self.largest_lrs(values)]
        return points


def made(kind: Kind, values: dict[str, Any]) -> LinearAlgorithm:
    """Make an algorithm of a kind, or like another one, with hyper-parameters by name."""
    return kind(**values) if isinstance(kind, type) else kind.with_hyper_parameters(**values)


def example_values(over: Sequence[str]) -> dict[str, float]:
    """Return values at which an algorithm has all components that the search needs, by name."""
    return {name: 1.0 if name == "lr" else 0.5 for name in over}


def _middle(kind: Kind, name: str, fixed: dict[str, Any]) -> float:
    """Return the log of a positive hyper-parameter's default, or of 1 if it has none."""
    try:
        example = kind(**{"lr": 1.0} | fixed) if isinstance(kind, type) else kind
        default = example.hyper_parameter(name)
    except TypeError:  # The algorithm has hyper-parameters without a default.
        default = None
    is_positive = name != "lr" and isinstance(default, int | float) and default > 0.0
    return math.log(default) if is_positive else 0.0


def _padded(block: Block, tile: int) -> Block:
    """Fill the last tile with copies of the last coordinate without initial iterate or noise."""
    size = block.h.size
    missing = -size % tile

    def pad(name: str, field: Array) -> Array:
        full = np.broadcast_to(field, (size,))
        is_zero = name in ("c", "second_moment")
        return np.append(full, np.full(missing, 0.0 if is_zero else field[-1]))

    return Block(*(pad(name, field) for name, field in block._asdict().items()))
