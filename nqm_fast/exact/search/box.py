"""The box of hyper-parameters that tuning searches: its points, its limits, and a coarse grid."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...algorithms.base import LinearAlgorithm
from ...foundation.validation import Array
from ...problem import Problem

# The limits of the space.
LOG_LEAST_GAP = math.log(1e-7)
"""Log of the least 1 - momentum and 1 - EMA, the limits that `tune` documents."""
LOG_LR_RANGE = 100.0
"""Length of the box in the log of the learning rate, far beyond the grid."""
NEGLIGIBLE = 1e-15
"""Stands for momentum 0 or EMA 0, so that all points have recurrences of the same components."""
LOG_POSITIVE_RANGE = math.log(1e6)
"""Half the length of the box in the log of another positive hyper-parameter, around its default."""
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

Point = tuple[float, ...]

Kind = type[LinearAlgorithm] | LinearAlgorithm
"""A class of algorithms, or one whose other hyper-parameters are kept."""


class SearchBox:
    """Hyper-parameters of one kind of algorithm, as points of a box.

    A point holds, for each hyper-parameter that is searched, the log of the effective
    learning rate ``lr * gain``, the log of another positive hyper-parameter, or the log of 1
    minus one in [0, 1) (its gap).
    """

    def __init__(
        self, kind: Kind, over: Sequence[str], fixed: dict[str, Any], problem: Problem
    ) -> None:
        self.kind, self.over, self.fixed = kind, list(over), fixed
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
