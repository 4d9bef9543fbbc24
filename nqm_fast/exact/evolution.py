"""A search over all of the space for a point that needs fewer steps: differential evolution.

With momentum the risk oscillates, so that its lowest value at t steps has many troughs over the
space: minimisation finds the nearest one. What counts here is the lowest excess in a window of
steps that ends at t. It has far fewer troughs, since a point need not be low at one step exactly.
"""

from __future__ import annotations

import math

import numpy as np

from ..validation import Array
from .minimiser import EXCESS_LIMIT, Minimiser, evenly_filling_points
from .search_space import Point

AIM = 0.995
"""Part of the fewest steps known at which the window ends."""
WINDOW = 0.7
"""Part of its end at which the window begins."""
WINDOW_STEPS = 8
"""Steps that are looked at in the window."""
WINDOW_BITS = 6
"""Bits of these steps that are not 0, beginning with that of the length of the window."""
CROSSOVER = 0.9
"""Share of the hyper-parameters that a new point takes from the mutant."""
SCALES = 0.4, 1.0
"""Range of the factor of the difference between two points, which is drawn anew each time."""
SEED = 1907
"""Seed of all draws, which are the same in every search."""


class Population:
    """Points of the unit cube that stand for hyper-parameters, and evolve."""

    def __init__(self, search: Minimiser, size: int, number: int, seeds: list[Point]) -> None:
        self.search = search
        self.random = np.random.default_rng([SEED, number])
        searched = len(search.bounds)
        shift = self.random.random(searched)
        self.cube = (evenly_filling_points(size, searched) + shift) % 1.0
        self.seeds = seeds
        self.excess = np.full(size, math.inf)

    def aim(self, steps: int) -> tuple[int, Point] | None:
        """Find the excess of all points below `steps`; as `_reached`."""
        end = min(steps - 1, math.floor(AIM * steps))
        # Steps with few bits cost less time, as the risk is found by repeated squaring.
        grain = 1 << max(int(end * (1.0 - WINDOW)).bit_length() - WINDOW_BITS, 0)
        window = np.geomspace(WINDOW * end, end, WINDOW_STEPS) // grain * grain
        self.window = np.unique(np.maximum(window, 1.0).astype(np.int64))
        if self.seeds:
            at = self.search.space.to_cube(np.array(self.seeds), int(self.window[-1]))
            self.cube[: len(at)] = at
            self.seeds = []
        return self._replace(self.cube, np.full(len(self.cube), math.inf))

    def evolve(self) -> tuple[int, Point] | None:
        """Replace points by better ones, once; as `_reached`."""
        size, searched = self.cube.shape
        best = self.cube[self.excess.argmin()]
        # Three different points, none of which is the one to replace.
        order = self.random.random((size, size))
        np.fill_diagonal(order, math.inf)
        first, second = np.argsort(order, axis=1)[:, :2].T
        scale = self.random.uniform(*SCALES, (size, 1))
        # Half of the new points are near the best, half on the way from their old ones to it.
        is_near = self.random.random((size, 1)) < 0.5
        base = np.where(is_near, best, self.cube + scale * (best - self.cube))
        mutant = base + scale * (self.cube[first] - self.cube[second])
        # What leaves the cube goes half of the way to its wall.
        mutant = np.where(mutant < 0.0, 0.5 * base, mutant)
        mutant = np.where(mutant > 1.0, 0.5 * (1.0 + base), mutant)
        taken = self.random.random((size, searched)) < CROSSOVER
        taken[np.arange(size), self.random.integers(searched, size=size)] = True
        return self._replace(np.where(taken, mutant, self.cube), self.excess)

    def _replace(self, trial: Array, limit: Array) -> tuple[int, Point] | None:
        """Let points of a trial take the place of those that are not better.

        Returns the first step of the window at which a point reaches the target, and that point.
        """
        space = self.search.space
        points = space.from_cube(trial, int(self.window[-1]))
        logs = space.log_risks(points, self.window) - self.search.log_target
        excess = np.clip(logs, -EXCESS_LIMIT, EXCESS_LIMIT)
        lowest = excess.min(axis=1)
        is_better = lowest <= limit
        self.cube = np.where(is_better[:, None], trial, self.cube)
        self.excess = np.where(is_better, lowest, self.excess)
        reached = excess <= 0.0
        if not reached.any():
            return None
        at = int(reached.any(axis=0).argmax())
        return int(self.window[at]), tuple(points[excess[:, at].argmin()].tolist())


def evolve(
    search: Minimiser, steps: int, seeds: list[Point], size: int, generations: int, populations: int
) -> tuple[int, Point | None]:
    """Look for points that need clearly fewer steps; the fewest steps, and the point."""
    best: Point | None = None
    for number in range(populations):
        if steps <= 1:
            break
        population = Population(search, size, number, seeds)
        found = population.aim(steps)
        left = generations
        while left > 0:
            if found:
                steps, best = found
                if steps <= 1:
                    break
                left = generations
                found = population.aim(steps)
            else:
                left -= 1
                found = population.evolve()
        seeds = [*seeds, best] if best else seeds
    return steps, best
