"""A search by first passages, for noise that depends on the iterate.

There a point of the search space costs milliseconds, and one curve has the risk at all steps. So
each point is judged by its first passage, made continuous between two steps: a grid, of which no
point is followed for much longer than the best one needs, then minimisation and a scan for other
troughs. That uses few nodes. What they lack beside all coordinates is hardly different at points
nearby, so that the target is corrected by it, in place of a search on many nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...foundation.validation import Array
from ...problem import Problem
from ..risk import expected_risk
from .box import Point
from .descent import lowest_point
from .fewest_steps import fewest_steps
from .minimiser import EXCESS_LIMIT, GAP_SPREAD, Minimiser, evenly_filling_points, local_minima

FOLLOWED = 1.2
"""Steps up to which a point of the grid is followed, over those that the best one needs."""
WORSE = 4
"""Learning rates in a row, each worse than the one before, after which still smaller ones are."""
SEED_SLACK = 1.01
"""The same for a seed, whose steps on the searched nodes can be some more than on all."""
SEPARATION = 2.0
"""Least distance of local minima of the grid, about two spacings."""
STARTS = 3
"""Local minima of the grid that are refined."""
REACH = 0.5
"""Size of that minimisation, about a spacing of the grid."""
ROUGH, FINE = 3e-3, 1e-7
"""Tolerances of the log of the steps: by which starts are compared, and of the best of them."""
FINE_REACH = 0.03
"""Size of the minimisation that follows the rough one."""
SCANNED = 96
"""Points of a scan for other troughs, where two or more hyper-parameters are searched."""
SCAN_SPREAD = 0.5
"""Size of the scanned box, in log learning rate."""
SCAN_MARGIN = 0.02
"""Log of steps above the best point up to which a point of the scan is refined."""

CORRECTIONS = 4
"""Corrections of the target by what nodes lack beside all coordinates, at most."""
LARGEST_CORRECTION = 1e-2
"""Correction of the log of the target above which the nodes are too few."""
CLEAR = 10.0
"""A step is known to reach the target, or not to, if its risk is off it by so many times the last
change of the correction."""
AGREEMENT = 1e-10
"""Change of the correction below which it is a rounding error."""


NOTHING = math.inf, ()
"""The excess and the point where none is known."""


class Passage(NamedTuple):
    """The best point of a search, and its steps: all that may be taken if it does not reach."""

    steps: int
    point: Point
    is_reached: bool


class _Passages:
    """The log of the first passage as a continuous function of points."""

    def __init__(self, search: Minimiser, limit: float) -> None:
        self.search, self.limit = search, int(limit)
        self.best: tuple[float, Point] = NOTHING
        self.is_reached = False
        """Whether the best point reaches the target within the limit."""

    def __call__(self, point: Array | Sequence[float]) -> float:
        """Return the log of the steps; where they exceed the limit, that and the excess there."""
        at = tuple(np.asarray(point, dtype=np.float64).tolist())
        steps, excess = self.search.space.passage(at, self.search.log_target, self.limit)
        self.is_reached |= excess <= 0.0
        log_steps = math.log(max(steps, 0.5)) + min(max(excess, 0.0), EXCESS_LIMIT)
        self.best = min(self.best, (log_steps, at))
        return log_steps

    def minimise(self, start: Sequence[float], reach: float, tolerance: float) -> None:
        """Minimise from a start, of which `best` is told."""

        def of_points(points: Array) -> Array:
            return np.array([self(point) for point in points])

        lowest_point(of_points, start, reach, tolerance, self.search.bounds)

    def shorten(self, factor: float) -> None:
        """Follow points for no longer than so many times the best steps."""
        if self.is_reached:
            self.limit = min(self.limit, math.ceil(factor * math.exp(self.best[0])) + 1)


def search_passages(search: Minimiser, seeds: Sequence[Point], limit: int) -> Passage:
    """Find the point of the first of all passages, up to a number of steps.

    Seeds are points of known answers, the best of them first.
    """
    passages = _Passages(search, limit)
    for seed in seeds:
        passages(seed)
        passages.shorten(SEED_SLACK)
    points, heights = _grid(passages)
    starts = local_minima(points, heights, SEPARATION)[:STARTS]
    starts += [seed for seed in seeds if seed == passages.best[1]]
    for start in starts:
        passages.minimise(start, REACH, ROUGH)
        passages.shorten(SEED_SLACK)
    if passages.is_reached and len(search.bounds) > 1:
        _scan(passages)
    passages.minimise(passages.best[1], FINE_REACH, FINE)
    log_steps, best = passages.best
    steps = math.ceil(math.exp(log_steps)) if passages.is_reached else limit
    return Passage(min(max(steps, 1), limit), best, passages.is_reached)


def _grid(passages: _Passages) -> tuple[Array, Array]:
    """Look at a grid; points (points, searched) and their heights (points,).

    The largest learning rates are first, which diverge soon or reach the target soon. Where smaller
    ones only do less and less within the limit, those that are smaller still are left out.
    """
    space = passages.search.space
    points = space.grid(passages.limit)
    low, _ = space.useful_box(points, passages.limit)
    points = points[(points >= low).all(axis=1)]
    points = points[np.argsort(-(points @ space.is_lr), kind="stable")]
    _, group = np.unique(points[:, ~space.is_lr], axis=0, return_inverse=True)
    looked_at, heights = [], []
    for number in range(int(group.max()) + 1):
        last, worse = math.inf, 0
        for point in points[group.ravel() == number]:
            height = passages(point)
            looked_at.append(point)
            heights.append(height)
            passages.shorten(FOLLOWED)
            worse = worse + 1 if last < height else 0
            last = height
            if worse == WORSE and height > math.log(passages.limit):
                break
    return np.array(looked_at), np.array(heights)


def _scan(passages: _Passages) -> None:
    """Look for lower troughs in a box around the best point, and refine the lowest."""
    search = passages.search
    height, best = passages.best
    box = SCAN_SPREAD * np.where(search.space.is_lr, 1.0, GAP_SPREAD)
    low = np.maximum(best - box, search.bounds[:, 0])
    high = np.minimum(best + box, search.bounds[:, 1])
    points = low + (high - low) * evenly_filling_points(SCANNED, len(best))
    heights = np.array([passages(point) for point in points])
    spacing = SCAN_SPREAD * SCANNED ** (-1.0 / len(best))
    for start in local_minima(points, heights, spacing)[:STARTS]:
        if passages(start) < height + SCAN_MARGIN:
            passages.minimise(start, 0.5 * spacing, ROUGH)


def settled_steps(problem: Problem, search: Minimiser, steps: int, limit: int) -> int | None:
    """Find the fewest steps up to a limit at which a point reaches the target on all coordinates.

    The search begins with a number of steps whose best point is known. The answer is None where
    its nodes are too few, or the limit too low.
    """
    change = _lacking(problem, search, steps)
    for _ in range(CORRECTIONS):
        if not abs(search.correction + change) < LARGEST_CORRECTION:
            return None
        search.correct(change)
        enough = steps
        while search.best.get(enough, NOTHING)[0] > 0.0 and search.lowest_excess(enough) > 0.0:
            if enough >= limit:
                return None
            enough = min(enough + max(enough // 1000, 1), limit)
        steps = fewest_steps(search.lowest_excess, steps, enough)
        change = _lacking(problem, search, steps)
        near = [search.best[t][0] for t in (steps, steps - 1) if t in search.best]
        if abs(change) <= max(AGREEMENT, min(map(abs, near)) / CLEAR):
            search.rough_lowest_excess(steps)  # Of the steps it is the best point, not any.
            return steps
    return None


def _lacking(problem: Problem, search: Minimiser, steps: int) -> float:
    """Return how much larger the log of the best point's risk is on all coordinates."""
    excess, point = search.best[steps]
    algorithm = search.space.algorithm(point)
    risk = float(expected_risk(problem, algorithm, search.space.batch_size, steps))
    if not 0.0 < risk < math.inf:
        return math.inf
    return math.log(risk) - (search.log_target + search.correction) - excess
