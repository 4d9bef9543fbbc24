"""A search over all of the space for a point that needs fewer steps: differential evolution.

With momentum the risk oscillates, so that its lowest value at t steps has many troughs over the
space: minimisation finds the nearest one. What counts here is the lowest excess in a window of
steps that ends at t. It has far fewer troughs, since a point need not be low at one step exactly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...foundation.validation import Array
from .box import Point
from .minimiser import EXCESS_LIMIT, Minimiser, evenly_filling_points

AIM = 0.993
"""Part of the fewest steps known at which the window ends."""
WINDOW = 0.7
"""Part of its end at which the window begins."""
WINDOW_BITS = 6
"""Bits of these steps that are not 0, beginning with that of the length of the window."""
SLICE = 2.5
"""Length of a slice of the space, in the log of a hyper-parameter."""
CROSSOVER = 0.9
"""Share of the hyper-parameters that a new point takes from the mutant."""
SCALES = 0.4, 1.0
"""Range of the factor of the difference between two points, which is drawn anew each time."""
SEED = 1907
"""Seed of all draws, which are the same in every search."""


EFFORTS = ["full", "fast"]
"""The values that the argument `effort` of `tune` may have."""


class Effort(NamedTuple):
    """The amount of work of an evolution."""

    size: int
    """Points on each island."""
    generations: int
    """Generations without progress, after which the search ends."""
    window_steps: int
    """Steps that are looked at in the window."""


FAST = Effort(8, 8, 8)
FULL = {64: Effort(32, 40, 24), 512: Effort(24, 30, 12), math.inf: Effort(16, 20, 8)}
"""Full effort by the largest dimension of the problem: the fewer coordinates, the more troughs
there are, and the less time they take."""


def evolution_effort(effort: str, dim: int) -> Effort:
    """Return how much is evolved on a spectrum of so many coordinates."""
    if effort == "fast":
        return FAST
    return next(full for most, full in FULL.items() if dim <= most)


class Islands:
    """Points of the unit cube that stand for hyper-parameters, and evolve on separate islands.

    Arrays have shape (islands, size, searched). One island begins all over the cube, and with the
    seeds; each of the others in one slice of it, so that narrow troughs far from the seeds are not
    left because of a wide one.
    """

    def __init__(self, search: Minimiser, steps: int, seeds: list[Point], effort: Effort) -> None:
        self.search, self.window_steps = search, effort.window_steps
        self.random = np.random.default_rng(SEED)
        slices = self._slices(steps)
        even = evenly_filling_points(effort.size, len(search.bounds))
        shifts = self.random.random((len(slices), 1, len(search.bounds)))
        low, length = np.array(slices).transpose(1, 0, 2)[:, :, None]
        self.cube = low + length * ((even + shifts) % 1.0)
        at = search.space.to_cube(np.array(seeds), steps)[: effort.size]
        self.cube[0, : len(at)] = at

    def _slices(self, steps: int) -> list[tuple[Array, Array]]:
        """Cut the cube across each hyper-parameter but the learning rate; corners and lengths."""
        searched = len(self.search.bounds)
        whole = np.zeros(searched), np.ones(searched)
        slices = [whole]
        low, high = self.search.space.useful_box(np.zeros((1, searched)), steps)
        for k in np.flatnonzero(~self.search.space.is_lr):
            count = math.ceil(float(high[0, k] - low[0, k]) / SLICE)
            for number in range(count):
                corner, length = (x.copy() for x in whole)
                corner[k], length[k] = number / count, 1.0 / count
                slices.append((corner, length))
        return slices

    def aim(self, steps: int) -> tuple[int, Point] | None:
        """Look at all points below `steps`; as `_replace`."""
        end = min(steps - 1, math.floor(AIM * steps))
        # Steps with few bits cost less time, as the risk is found by repeated squaring.
        grain = 1 << max(int(end * (1.0 - WINDOW)).bit_length() - WINDOW_BITS, 0)
        window = np.geomspace(WINDOW * end, end, self.window_steps) // grain * grain
        self.window = np.unique(np.maximum(window, 1.0).astype(np.int64))
        self.excess = np.full(self.cube.shape[:2], math.inf)
        return self._replace(self.cube)

    def evolve(self) -> tuple[int, Point] | None:
        """Replace points by better ones, once; as `_replace`."""
        islands, size, searched = self.cube.shape
        island = np.arange(islands)[:, None]
        best = self.cube[island, self.excess.argmin(axis=1)[:, None]]
        # Three different points, the last of which is the one to replace.
        order = self.random.random((islands, size, size))
        order[:, np.arange(size), np.arange(size)] = math.inf
        first, second = np.moveaxis(np.argsort(order, axis=2)[:, :, :2], 2, 0)
        scale = self.random.uniform(*SCALES, (islands, size, 1))
        # Half of the new points are near the best, half on the way from their old ones to it.
        is_near = self.random.random((islands, size, 1)) < 0.5
        base = np.where(is_near, best, self.cube + scale * (best - self.cube))
        mutant = base + scale * (self.cube[island, first] - self.cube[island, second])
        # What leaves the cube goes half of the way to its wall.
        mutant = np.where(mutant < 0.0, 0.5 * base, mutant)
        mutant = np.where(mutant > 1.0, 0.5 * (1.0 + base), mutant)
        taken = self.random.random(mutant.shape) < CROSSOVER
        kept = self.random.integers(searched, size=(islands, size, 1))
        np.put_along_axis(taken, kept, True, axis=2)
        return self._replace(np.where(taken, mutant, self.cube))

    def _replace(self, trial: Array) -> tuple[int, Point] | None:
        """Let points of a trial take the place of those that are not better.

        Returns the first step of the window at which a point reaches the target, and that point.
        """
        space = self.search.space
        points = space.from_cube(trial.reshape(-1, trial.shape[2]), int(self.window[-1]))
        logs = space.log_risks(points, self.window) - self.search.log_target
        excess = np.clip(logs, -EXCESS_LIMIT, EXCESS_LIMIT)
        lowest = excess.min(axis=1).reshape(self.excess.shape)
        is_better = lowest <= self.excess
        self.cube = np.where(is_better[..., None], trial, self.cube)
        self.excess = np.where(is_better, lowest, self.excess)
        reached = excess <= 0.0
        if not reached.any():
            return None
        at = int(reached.any(axis=0).argmax())
        return int(self.window[at]), tuple(points[excess[:, at].argmin()].tolist())


def evolve(
    search: Minimiser, steps: int, seeds: list[Point], effort: Effort
) -> tuple[int, Point | None]:
    """Look for points that need clearly fewer steps; the fewest steps, and the point if any."""
    best: Point | None = None
    if steps <= 1:
        return steps, best
    islands = Islands(search, steps, seeds, effort)
    found = islands.aim(steps)
    left = effort.generations
    while left > 0:
        if found:
            steps, best = found
            if steps <= 1:
                break
            left = effort.generations
            found = islands.aim(steps)
        else:
            left -= 1
            found = islands.evolve()
    return steps, best
