"""The lowest risk after a number of steps that any point of a search space has.

The search remembers the best point for every number of steps that it has looked at, and starts
there for numbers nearby. Risk is measured by its excess, the log of risk / target, which is at most
0 where the target is reached. Points are those of the search space, whose coordinates are logs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ...foundation.validation import Array
from .box import Point
from .descent import by_slopes, lowest_point
from .space import SearchSpace

# Minimisation from a start.
EXCESS_LIMIT = 1e3
"""Excess is clipped to this size, because minimisers cannot compare infinite risks."""

# Tolerance of the lowest excess, by phase of the search.
LADDER_TOLERANCE = 1e-4
"""Suffices on the ladder of powers of two, because the excess differs much between its rungs."""
ROOT_TOLERANCE = 1e-7
"""Suffices while the root is bracketed, because single steps are not told apart yet."""
STEP_TOLERANCE = 1e-11
"""Needed for single steps at the end, which differ by little at long horizons."""

# The first passage of a point.
PARTS = 16
"""Parts of a range of steps, at whose edges the risk is computed together."""

# Starts from the best points at numbers of steps nearby.
REACH_PER_LOG_STEPS = 2.0
"""How far a best point may move when the log of the number of steps changes by 1."""
LEAST_REACH, LARGEST_REACH = 1e-3, 1.0
"""Limits of that distance: rounding errors must not stop a minimiser, nor a wide gap mislead it."""

# The ladder of powers of two that brackets the answer.
LADDER_STARTS = 3
"""Local minima of the grid that are refined on a rung: the grid may rank them in wrong order."""
LADDER_SEPARATION = 2.0
"""Least distance of these minima, about two spacings of the grid."""
LADDER_RADIUS = 0.7
"""First radius of the clouds around them, about a spacing of the grid."""
LADDER_REACH = 0.1
"""Size of the minimisation that follows, about twice the radius of the last clouds."""

# Shrinking clouds of points around a start, which find the basin of the lowest minimum.
CLOUD_POINTS = 11
"""Points around each start: few, because every round computes the risk at all of them."""
CLOUD_ROUNDS = 5
"""Each round halves the radius, so that the last clouds have 1/16 of the first."""

# Scans for other local minima, where momentum makes the risk ripple.
SCAN_POINTS = 256
"""Points of a scan where coordinates are many, so that ripples are low and each costs time."""
FINE_SCAN_POINTS = 4 * SCAN_POINTS
"""Points of a scan where coordinates are few, because ripples are high there."""
FEW_COORDINATES = 64
"""Up to so many coordinates a scan is cheap, and local minima can be anywhere."""
GAP_SPREAD = 0.3
"""Size of the box in the gaps of momentum and EMA, relative to that in the learning rate."""
SCAN_STARTS = 4
"""Local minima of a scan that are refined."""
SCAN_MARGIN = 1e-3
"""Excess above the best that a refined point may have: minimisation can still bring it down."""
SCAN_SAME_POINT = 1e-3
"""Distance, in spacings of the scan, at which a refined point is the best one found again."""
SCAN_REACH = 0.03
"""Size of the minimisation that follows, in spacings: half the radius of the last clouds."""

# Trying every step, where the phases of a few coordinates may line up at one step only.
EXHAUSTIVE_WORK = 7 * 10**8
"""Points times computed coordinates times steps, up to which it is done: some seconds.

A few coordinates are computed as a whole tile.
"""
EXHAUSTIVE_WORK_SHARE = 70
"""Divides that work for many coordinates, whose phases hardly ever line up."""
EXHAUSTIVE_LOG_RANGE = 18.0
"""Length of the box below its upper limits, about eight decades."""
EXHAUSTIVE_STARTS = 4
"""Lowest points at each step that are refined."""
EXHAUSTIVE_HOPE = 5.0
"""Excess at the lowest of them, above which refining has no chance."""
EXHAUSTIVE_REFINED = 1000
"""Steps at which they are refined, those with the lowest excess, which bounds the time."""
EXHAUSTIVE_RADIUS = 0.3
"""First radius of the clouds around them, about half the spacing of points in two dimensions."""
EXHAUSTIVE_MARGIN = 0.3
"""Excess of a refined point above which minimisation has no chance."""
EXHAUSTIVE_REACH = 0.02
"""Size of that minimisation, about the radius of the last clouds."""

# Local minima of a set of points.
COMPARED_POINTS = 200
"""Lowest points that are compared in pairs, which bounds the memory."""


class Minimiser:
    """The lowest excess that any point of a search space has, by number of steps."""

    def __init__(self, space: SearchSpace, target: float) -> None:
        self.space = space
        self.log_target = math.log(target)
        self.correction = 0.0
        """The sum of all changes that `correct` has made to the log of the risk."""
        self.bounds = space.bounds()
        self.has_few_coordinates = space.dim <= FEW_COORDINATES
        self.best: dict[int, tuple[float, Point]] = {}
        """Lowest excess found so far, and its point, by number of steps."""
        self.tolerances: dict[int, float] = {}
        """Tolerance to which each entry of `best` was found."""

    def excess(self, points: Any, steps: int) -> Array:
        """Compute the log of risk / target at points of shape (G, searched), shape (G,)."""
        logs = self.space.log_risks(np.atleast_2d(points), np.array([steps]))
        return np.clip(logs[:, 0] - self.log_target, -EXCESS_LIMIT, EXCESS_LIMIT)

    def add(self, steps: int, point: Point) -> None:
        """Add a point to those known at a number of steps, without minimisation."""
        found = (float(self.excess(point, steps)[0]), point)
        self.best[steps] = min(found, self.best.get(steps, found))

    def correct(self, change: float) -> None:
        """Take the log of the risk to be so much larger everywhere than it was taken to be."""
        self.correction += change
        self.log_target -= change
        self.best = {t: (excess + change, x) for t, (excess, x) in self.best.items()}

    def forget_tolerances_below(self, steps: int) -> None:
        """Have fewer steps minimised again, as there is a better point to start from."""
        self.tolerances = {t: x for t, x in self.tolerances.items() if t >= steps}

    def minimise_from(
        self,
        steps: int,
        starts: Sequence[Point],
        reach: float,
        tolerance: float = STEP_TOLERANCE,
    ) -> float:
        """Minimise the excess after `steps` from each start, within or by about `reach`.

        Returns the lowest excess known then.
        """
        excess = partial(self.excess, steps=steps)
        is_rippled = self.has_few_coordinates or tolerance <= STEP_TOLERANCE
        found = [self.best[steps]] if steps in self.best else []
        for start in starts:
            if len(start) > 1 and not is_rippled:
                answer = by_slopes(excess, start, reach, tolerance, self.bounds)
                found.append((float(answer.fun), tuple(answer.x.tolist())))
            else:
                found.append(lowest_point(excess, start, reach, tolerance, self.bounds))
        self.best[steps] = min(found)
        self.tolerances[steps] = min(tolerance, self.tolerances.get(steps, math.inf))
        return self.best[steps][0]

    def lowest_excess(self, steps: int, tolerance: float = STEP_TOLERANCE) -> float:
        """Find the lowest excess after `steps`, from the best points at the nearest numbers."""
        if self.tolerances.get(steps, math.inf) > tolerance:
            others = sorted(self.best, key=lambda t: abs(math.log(t / steps)))
            above = [t for t in others if t >= steps][:1]
            below = [t for t in others if t < steps][:1]
            starts = [self.best[t][1] for t in above + below]
            gap = max(abs(math.log(t / steps)) for t in above + below)
            if np.ptp(starts, axis=0).max() < REACH_PER_LOG_STEPS * gap:
                starts = starts[:1]
            reach = min(LARGEST_REACH, max(REACH_PER_LOG_STEPS * gap, LEAST_REACH))
            self.minimise_from(steps, starts, reach, tolerance)
        return self.best[steps][0]

    def rough_lowest_excess(self, steps: int) -> float:
        """Find the lowest excess after `steps` well enough to find its root."""
        return self.lowest_excess(steps, ROOT_TOLERANCE)

    def reached(self, point: Point, too_few: int, enough: int) -> int:
        """Find fewer steps in (too_few, enough] at which a point that reaches the target does."""
        while enough - too_few > 1:
            between = {too_few + (enough - too_few) * k // PARTS for k in range(1, PARTS)}
            steps = [too_few, *sorted(between - {too_few}), enough]
            logs = self.space.log_risks(np.array([point]), np.array(steps[1:-1]))[0]
            is_reached = np.append(logs <= self.log_target, True)
            first = int(is_reached.argmax()) + 1
            too_few, enough = steps[first - 1], steps[first]
        return enough

    def bracket(self, max_steps: int) -> tuple[int, int]:
        """Find numbers of steps between which the target comes into reach: (too few, enough).

        They are neighbouring powers of two, or ``(max_steps, 0)`` if even `max_steps` are too few.
        """
        ladder = np.array([*(2**k for k in range(60) if 2**k < max_steps), max_steps])
        points = self.space.grid(max_steps)
        if self.space.has_quick_curves:
            logs = self.space.log_risks(points, ladder)
        else:  # Every step costs time, so the ladder is climbed no further than needed.
            columns: list[Array] = []
            for steps in ladder:
                columns.append(self.space.log_risks(points, np.array([steps]))[:, 0])
                if columns[-1].min() <= self.log_target:
                    break
            logs = np.stack(columns, axis=1)
        is_known = [
            self.best.get(t, (math.inf,))[0] <= 0.0 for t in ladder.tolist()[: logs.shape[1]]
        ]
        reached = ((logs.min(axis=0) <= self.log_target) | is_known).nonzero()[0]
        rung = int(reached[0]) if reached.size else ladder.size - 1
        # The grid is coarse, so that fewer steps may be enough than it says.
        while True:
            starts = local_minima(points, logs[:, rung], LADDER_SEPARATION)[:LADDER_STARTS]
            known = [self.best.get(int(t)) for t in ladder[rung : rung + 2]]
            starts += [found[1] for found in known if found]
            _, start = self._refine(int(ladder[rung]), np.array(starts), LADDER_RADIUS)
            excess = self.minimise_from(int(ladder[rung]), [start], LADDER_REACH, LADDER_TOLERANCE)
            if excess > 0.0:
                break
            if rung == 0:
                return 0, 1
            rung -= 1
        if rung == ladder.size - 1:
            return max_steps, 0
        return int(ladder[rung]), int(ladder[rung + 1])

    def scan_around(self, steps: int, spread: float) -> bool:
        """Scan a box of size `spread` around the best point; whether `steps` now suffice.

        With momentum the risk after t steps ripples: a small change of the learning rate
        turns the phase of the fastest coordinates. Minimisation finds the nearest local
        minimum, the scan a lower one. Minima are narrow in the learning rate only.
        """
        centre = np.array(self.best[steps][1])
        other_spread = 1.0 if self.has_few_coordinates else GAP_SPREAD
        box = spread * np.where(self.space.is_lr, 1.0, other_spread)
        low = np.maximum(centre - box, self.bounds[:, 0])
        high = np.minimum(centre + box, self.bounds[:, 1])
        count = FINE_SCAN_POINTS if self.has_few_coordinates else SCAN_POINTS
        points = low + (high - low) * evenly_filling_points(count, len(centre))
        excess = self.excess(points, steps)
        spacing = spread * count ** (-1.0 / len(centre))
        minima = local_minima(points, excess, spacing)[:SCAN_STARTS]
        value, start = self._refine(steps, np.array(minima), spacing)
        if value > self.best[steps][0] + SCAN_MARGIN:
            return False
        if np.abs(centre - start).max() < SCAN_SAME_POINT * spacing:
            return False
        if self.minimise_from(steps, [start], SCAN_REACH * spacing, ROOT_TOLERANCE) <= 0.0:
            self.forget_tolerances_below(steps)
            return True
        return False

    def try_every_step(self, steps: int) -> int:
        """Find the first of fewer steps at which some point reaches the target, or `steps`.

        With few coordinates the phases of all can line up at one step and not at the next, so
        that having more steps does not help. All steps are tried where that is cheap, and where
        there are phases, which plain SGD has none of.
        """
        if self.space.components == 1 or not self.space.stackable or steps < 2:
            return steps
        low = np.maximum(self.bounds[:, 0], self.bounds[:, 1] - EXHAUSTIVE_LOG_RANGE)
        unit_points = evenly_filling_points(FINE_SCAN_POINTS, len(self.bounds))
        points = np.concatenate(
            [self.space.grid(steps), low + (self.bounds[:, 1] - low) * unit_points]
        )
        share = 1 if self.has_few_coordinates else EXHAUSTIVE_WORK_SHARE
        if len(points) * self.space.block.h.size * steps > EXHAUSTIVE_WORK // share:
            return steps
        fewer = np.arange(1, steps)
        excess = self.space.log_risks(points, fewer) - self.log_target
        lowest = excess.min(axis=0)
        hopeful = np.argsort(lowest, kind="stable")[:EXHAUSTIVE_REFINED]
        for column in np.sort(hopeful[lowest[hopeful] <= EXHAUSTIVE_HOPE]):
            t = int(fewer[column])
            starts = points[np.argsort(excess[:, column], kind="stable")[:EXHAUSTIVE_STARTS]]
            value, start = self._refine(t, starts, EXHAUSTIVE_RADIUS)
            if value >= EXHAUSTIVE_MARGIN:
                continue
            if self.minimise_from(t, [start], EXHAUSTIVE_REACH, ROOT_TOLERANCE) <= 0.0:
                return t
        return steps

    def _refine(self, steps: int, starts: Array, radius: float) -> tuple[float, Point]:
        """Move starts of shape (starts, searched) to the lowest points of shrinking clouds.

        Returns the lowest excess and its point.
        """
        searched = starts.shape[1]
        around = 2.0 * evenly_filling_points(CLOUD_POINTS, searched) - 1.0
        cloud = np.vstack([np.zeros(searched), around])
        for _ in range(CLOUD_ROUNDS):
            points = np.clip(starts[:, None] + radius * cloud, self.bounds[:, 0], self.bounds[:, 1])
            excess = self.excess(points.reshape(-1, searched), steps)
            excess = excess.reshape(len(starts), len(cloud))
            starts = points[np.arange(len(starts)), excess.argmin(axis=1)]
            radius /= 2.0
        winner = int(excess.min(axis=1).argmin())
        return float(excess[winner].min()), tuple(starts[winner].tolist())


def evenly_filling_points(count: int, dimensions: int) -> Array:
    """Fill the unit cube evenly with points, shape (count, dimensions).

    They are multiples of a badly approximable vector, modulo 1: a Kronecker sequence.
    """
    root = 1.0
    for _ in range(50):
        root = (1.0 + root) ** (1.0 / (dimensions + 1))
    steps = np.outer(np.arange(1, count + 1), root ** -np.arange(1.0, dimensions + 1))
    return (0.5 + steps) % 1.0


def local_minima(points: Array, values: Array, radius: float) -> list[Point]:
    """List the points that are lower than all others within `radius`, lowest first.

    Only the lowest `COMPARED_POINTS` points are looked at.
    """
    low = np.argsort(values, kind="stable")[:COMPARED_POINTS]
    points = points[low]
    is_apart = np.abs(points[:, None] - points[None]).max(axis=2) > radius
    # In order of their values, a local minimum has no earlier point within the radius.
    is_later = np.arange(len(low))[None] >= np.arange(len(low))[:, None]
    is_minimum = (is_apart | is_later).all(axis=1)
    return [tuple(point.tolist()) for point in points[is_minimum]]
