"""The best constant hyper-parameters by simulation, for algorithms of any kind.

Settings are compared on one noise stream, which takes most of the variance out of the comparison.
A coarse grid is simulated up to more and more steps until one of its settings reaches the target.
From its best three, a pattern is moved: the settings one spacing away in each hyper-parameter,
with which it goes to the best of them, or else halves the spacing. What the best needs is found
once more on noise that the search has not seen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..algorithms.base import Algorithm, LinearAlgorithm, as_simulated_algorithm
from ..foundation.validation import Array
from ..output.html import facts_table
from ..problem import Problem
from ..schedules import Schedule
from .steps import GROWTH, SimulatedSteps, passage, simulated_curves, spread_steps

FIRST_STEPS = 64
"""Steps up to which the coarse grid is simulated first."""
COARSE = math.log(10.0)
"""Spacing of the coarse grid, in the log of a hyper-parameter, or of 1 minus one in [0, 1)."""
DECADES = 5
"""Decades of learning rates in the coarse grid, below the largest."""
GAP_DECADES, FEWER_GAP_DECADES = 3, 2
"""Decades of 1 minus a hyper-parameter in [0, 1); fewer where two or more are searched."""
OTHER_DECADES = 2
"""Decades of another positive hyper-parameter, on either side of its default."""
STARTS = 3
"""Points of the coarse grid from which the search goes on, as momentum has many troughs."""
FINEST = 0.05
"""The search ends when the spacing is below."""
LEAST_GAP = 1e-7
"""The least 1 minus a hyper-parameter in [0, 1)."""
MOST_MOVES = 60
"""Patterns that are simulated at most."""
ALL_NEIGHBOURS = 3
"""Up to so many hyper-parameters, a pattern has all combinations; else they change one by one."""

Point = tuple[float, ...]


class SimulatedTuned(NamedTuple):
    """The best setting that a search by simulation has found.

    Attributes
    ----------
    steps : int or math.inf
        First step at which the mean risk of runs of `algorithm`, on noise of their own, reaches the
        target; inf if nothing does.
    algorithm : Algorithm
        The best setting; if nothing reaches the target, the one with the lowest risk.
    risk : float
        Mean excess risk at `steps`, or the lowest if the target is not reached.
    low, high : int or math.inf
        Ends of the 95 % interval of `steps`, as `simulated_steps_to_target` has them.
    """

    steps: int | float
    algorithm: Algorithm
    risk: float
    low: int | float
    high: int | float

    def _repr_html_(self) -> str:
        facts = {
            "steps": f"{self.steps:g}", "95 % interval": f"{self.low:g} to {self.high:g}",
            "algorithm": repr(self.algorithm), "risk": self.risk,
        }  # fmt: skip
        return facts_table("SimulatedTuned", facts)


class Search(NamedTuple):
    """The hyper-parameters that are searched, and the runs that they are simulated in."""

    problem: Problem
    kind: type[Algorithm] | Algorithm
    """A class of algorithms, or one whose other hyper-parameters are kept."""
    names: list[str]
    fixed: dict[str, Any]
    batch: Schedule
    target: float
    limit: int
    arguments: dict[str, Any]  # of `simulate`

    def algorithm(self, point: Point) -> Algorithm:
        """Return the algorithm at a point: the log of each hyper-parameter, or of 1 minus it.

        Of the learning rate it is the log of the effective one, ``lr * gain``.
        """
        values = {}
        for name, x in zip(self.names, point, strict=True):
            is_gap = self.kind.tunable[name] == "unit"
            values[name] = (-math.expm1(x) if x else 0.0) if is_gap else math.exp(x)
        if "lr" in values:
            values["lr"] /= float(self.kind.gain(self.fixed | values))
        return self.made(values)

    def made(self, values: dict[str, float]) -> Algorithm:
        """Make an algorithm with some hyper-parameters."""
        if isinstance(self.kind, type):
            return self.kind(**values, **self.fixed)
        return self.kind.with_hyper_parameters(**values, **self.fixed)

    def axes(self) -> list[Array]:
        """Return the coarse grid's values of each hyper-parameter, ascending."""
        units = [name for name in self.names if self.kind.tunable[name] == "unit"]
        gap_decades = FEWER_GAP_DECADES if len(units) > 1 else GAP_DECADES
        # A setting with the largest gain may have the largest learning rate, too.
        gain = self.kind.gain(self.fixed | dict.fromkeys(units, 1.0 - 0.1**gap_decades))
        above = math.ceil(math.log10(max(float(gain), 1.0)) - 0.5)
        axes = []
        for name in self.names:
            if self.kind.tunable[name] == "unit":
                decades = np.arange(-gap_decades, 1.0)
            elif name == "lr":
                decades = np.arange(-DECADES, above + 1.0) + math.log10(self.largest_lr())
            else:
                around = math.log10(self._default(name) or 1.0)
                decades = np.arange(-OTHER_DECADES, OTHER_DECADES + 1.0) + around
            axes.append(decades * COARSE)
        return axes

    def largest_lr(self) -> float:
        """Return a learning rate that is large: half the limit, or a step as long as the start."""
        example = self._example
        if isinstance(example, LinearAlgorithm):
            limit = float(example.largest_lr(np.array(self.problem.curvature_range)))
            return 0.5 * limit
        block = self.problem.block(0, self.problem.dim)
        return math.sqrt(float(np.mean(block.second_moment))) or 1.0

    def _default(self, name: str) -> float:
        """Return the value that a hyper-parameter has if it is not given."""
        return float(self._example.hyper_parameter(name))

    @property
    def _example(self) -> Algorithm:
        """An algorithm of the kind."""
        has_lr = "lr" in self.fixed or not isinstance(self.kind, type)
        return self.made({} if has_lr else {"lr": 1.0})

    def is_allowed(self, point: Point) -> bool:
        """Whether all hyper-parameters are within their limits."""
        gaps = [x for name, x in zip(self.names, point, strict=True)
                if self.kind.tunable[name] in ("unit", "gap")]  # fmt: skip
        return all(math.log(LEAST_GAP) <= x <= 0.0 for x in gaps)

    def scores(self, points: Sequence[Point], last: int) -> list[tuple[float, float]]:
        """Simulate points up to a step; return when each reaches the target, and its risk then.

        A point that does not is at infinity, with its risk at the last step.
        """
        algorithms = [self.algorithm(point) for point in points]
        curves = simulated_curves(
            self.problem, algorithms, self.batch, spread_steps(last), self.arguments
        )
        return [_score(curves.steps, mean, self.target) for mean in curves.mean]


def _score(steps: Any, mean: Array, target: float) -> tuple[float, float]:
    """Return when a curve reaches the target, between records on a line through logs; and its end.

    The first number is infinite if it does not reach the target.
    """
    reached = np.flatnonzero(mean <= target)
    end = float(mean[-1])
    if not reached.size:
        return math.inf, end
    k = int(reached[0])
    if k == 0:
        return 0.0, end
    above, below = math.log(mean[k - 1] / target), math.log(target / max(mean[k], 1e-300))
    share = above / (above + below) if math.isfinite(above) else 1.0
    return float(steps[k - 1] + share * (steps[k] - steps[k - 1])), end


def tune_by_simulation(search: Search) -> SimulatedTuned:
    """Search the hyper-parameters that reach the target in the fewest steps."""
    starts, last = _coarse(search)
    ends = list(dict.fromkeys(_refined(search, start, last) for start in starts))
    scores = search.scores(ends, last)
    best = ends[min(range(len(ends)), key=lambda k: scores[k])]
    algorithm = as_simulated_algorithm("algorithm", search.algorithm(best))
    count = search.arguments["replicas"]
    others = search.arguments | {"replicas": list(range(count, 2 * count))}
    found: SimulatedSteps = passage(
        search.problem, algorithm, search.batch, search.target, search.limit, others
    )
    return SimulatedTuned(found.steps, algorithm, found.risk, found.low, found.high)


def _coarse(search: Search) -> tuple[list[Point], int]:
    """Return the best points of the coarse grid, and the steps after which the first is so."""
    points = list(itertools.product(*(axis.tolist() for axis in search.axes())))
    last = min(FIRST_STEPS, search.limit)
    while True:
        scores = search.scores(points, last)
        best = sorted(range(len(points)), key=lambda k: scores[k])[:STARTS]
        steps = scores[best[0]][0]
        if steps < math.inf or last == search.limit:
            return [points[k] for k in best], max(min(math.ceil(min(steps, last)), last), 1)
        last = min(GROWTH * last, search.limit)


def _refined(search: Search, best: Point, last: int) -> Point:
    """Move and narrow a pattern from a point that needs so many steps."""
    spacing = 0.5 * COARSE
    for _ in range(MOST_MOVES):
        if spacing < FINEST:
            break
        points = [p for p in _pattern(best, spacing) if search.is_allowed(p)]
        scores = search.scores(points, last)
        # The first point is the best so far, which wins where all are alike.
        at, (steps, _) = min(enumerate(scores), key=lambda item: (item[1], item[0]))
        if at == 0:
            spacing *= 0.5
        best = points[at]
        last = min(max(math.ceil(min(steps, last)), 1), search.limit)
    return best


def _pattern(centre: Point, spacing: float) -> list[Point]:
    """Return a point and its neighbours, each once."""
    moves = list(itertools.product((0.0, -spacing, spacing), repeat=len(centre)))
    if len(centre) > ALL_NEIGHBOURS:
        moves = [move for move in moves if np.count_nonzero(move) < 2]
    # 1 minus a hyper-parameter stops at 1, where that is 0.
    near = [tuple(float(x + y) for x, y in zip(centre, move, strict=True)) for move in moves]
    return list(dict.fromkeys(near))
