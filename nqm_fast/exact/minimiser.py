"""The lowest risk after a number of steps, and the fewest steps at which it reaches a target.

The search remembers where it found the lowest risk of every number of steps, and starts there for
others nearby.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..validation import Array
from .search_space import SearchSpace

# How well the log of the lowest risk is to be known, by phase.
COARSE = 1e-4  # on the ladder of powers of two, whose rungs are far apart
ROUGH = 1e-7  # while the root is bracketed and scanned for: steps differ by more than that
TIGHT = 1e-11  # for the single steps at the end, which differ by little at long horizons

# Scans for other troughs, where momentum makes the risk ripple.
SCAN = 256  # points, above `FEW` steps
SCAN_FINELY = 4 * SCAN  # points, at few steps or few coordinates, where ripples are high
FEW = 4000  # up to so many steps ripples are high
SMALL = 64  # up to so many coordinates a scan is cheap, and troughs can be anywhere

# Trying every step, where phases of a few coordinates may line up at one step only.
EXHAUSTIVE = 10**8  # settings times coordinates times steps that may be tried in a small problem
HOPE = (
    5.0  # log of the risk on the coarse grid, relative to the target, that zooming may bring down
)

Point = tuple[float, ...]


class Minimiser:
    """The lowest risk at a number of steps, remembering where it was found."""

    def __init__(self, space: SearchSpace, target: float) -> None:
        self.space = space
        self.log_target = math.log(target)
        self.bounds = space.bounds()
        self.is_small = space.dim <= SMALL
        self.best: dict[int, tuple[float, Point]] = {}
        self.known: dict[int, float] = {}  # the tolerance that `best` was found to

    def excess(self, points: Any, steps: int) -> Array:
        """Log of the risk relative to the target at points of shape (G, searched)."""
        logs = self.space.log_risks(np.atleast_2d(points), np.array([steps]))
        return np.clip(logs[:, 0] - self.log_target, -1e3, 1e3)

    def lowest(
        self, steps: int, starts: Sequence[Point], reach: float, tolerance: float = TIGHT
    ) -> float:
        """The lowest excess after `steps` that is found from the starts given."""
        import scipy.optimize

        found = [self.best[steps]] if steps in self.best else []
        for start in starts:
            if len(start) == 1:
                ((low, high),) = self.bounds
                ends = max(low, start[0] - reach), min(high, start[0] + reach)
                answer: Any = scipy.optimize.minimize_scalar(
                    lambda x: float(self.excess([[x]], steps)[0]),
                    bounds=ends,
                    method="bounded",
                    options={"xatol": 1e-3 * math.sqrt(tolerance)},
                )
                found += [(float(self.excess([[x]], steps)[0]), (x,)) for x in ends]
            else:
                options = {
                    "initial_simplex": _simplex(start, reach, self.bounds),
                    "xatol": 3.0 * math.sqrt(tolerance),
                    "fatol": tolerance,
                    "maxfev": 200 * len(start),
                }
                minimize: Any = scipy.optimize.minimize
                answer = minimize(
                    lambda x: float(self.excess(x, steps)[0]),
                    np.array(start),
                    method="Nelder-Mead",
                    bounds=scipy.optimize.Bounds(*self.bounds.T),
                    options=options,
                )
            found.append((float(answer.fun), tuple(np.atleast_1d(answer.x).tolist())))
        self.best[steps] = min(found)
        self.known[steps] = min(tolerance, self.known.get(steps, math.inf))
        return self.best[steps][0]

    def lowest_nearby(self, steps: int, tolerance: float = TIGHT) -> float:
        """As `lowest`, started from what is known at the nearest numbers of steps."""
        if self.known.get(steps, math.inf) > tolerance:
            others = sorted(self.best, key=lambda t: abs(math.log(t / steps)))
            above = [t for t in others if t >= steps][:1]
            below = [t for t in others if t < steps][:1]
            starts = [self.best[t][1] for t in above + below]
            gap = max(abs(math.log(t / steps)) for t in above + below)
            if np.ptp(starts, axis=0).max() < 2.0 * gap:
                starts = starts[:1]
            self.lowest(steps, starts, min(1.0, max(2.0 * gap, 1e-3)), tolerance)
        return self.best[steps][0]

    def rough_lowest(self, steps: int) -> float:
        """As `lowest_nearby`, well enough to find the root."""
        return self.lowest_nearby(steps, ROUGH)

    def bracket(self, max_steps: int) -> tuple[int, int]:
        """Numbers of steps between which the target comes into reach: (too few, enough).

        A grid of settings at powers of two; ``(max_steps, 0)`` if even they do not reach it.
        """
        ladder = np.array([*(2**k for k in range(60) if 2**k < max_steps), max_steps])
        points = self.space.grid()
        if self.space.stackable:
            logs = self.space.log_risks(points, ladder)
        else:  # every step costs time: climb no further than needed
            columns: list[Array] = []
            for steps in ladder:
                columns.append(self.space.log_risks(points, np.array([steps]))[:, 0])
                if columns[-1].min() <= self.log_target:
                    break
            logs = np.stack(columns, axis=1)
        reached = (logs.min(axis=0) <= self.log_target).nonzero()[0]
        rung = int(reached[0]) if reached.size else ladder.size - 1
        while True:
            starts = _troughs(points, logs[:, rung], 2.0)[:3]
            if rung + 1 < ladder.size and int(ladder[rung + 1]) in self.best:
                starts.append(self.best[int(ladder[rung + 1])][1])
            _, start = self._zoom(int(ladder[rung]), np.array(starts), 0.7)
            if self.lowest(int(ladder[rung]), [start], 0.1, COARSE) > 0.0:
                break
            if rung == 0:
                return 0, 1
            rung -= 1
        if rung == ladder.size - 1:
            return max_steps, 0
        return int(ladder[rung]), int(ladder[rung + 1])

    def scan_around(self, steps: int, spread: float) -> bool:
        """Scan a box around the best setting; whether `steps` now suffice.

        With momentum the risk after t steps ripples: a small change of the learning rate
        turns the phase of the fastest coordinates. Minimisation finds the next trough,
        the scan a better one. Troughs are narrow in the learning rate only.
        """
        centre = np.array(self.best[steps][1])
        box = spread * np.where(self.space.is_rate, 1.0, 1.0 if self.is_small else 0.3)
        low = np.maximum(centre - box, self.bounds[:, 0])
        high = np.minimum(centre + box, self.bounds[:, 1])
        count = SCAN if steps > FEW and not self.is_small else SCAN_FINELY
        points = low + (high - low) * _even_points(count, len(centre))
        excess = self.excess(points, steps)
        finest = spread * count ** (-1.0 / len(centre))
        troughs = _troughs(points, excess, finest)[:4]
        value, start = self._zoom(steps, np.array(troughs), finest)
        if value > self.best[steps][0] + 1e-3 or np.abs(centre - start).max() < 1e-3 * finest:
            return False
        if self.lowest(steps, [start], 0.03 * finest, ROUGH) <= 0.0:
            self.known = {t: tolerance for t, tolerance in self.known.items() if t >= steps}
            return True
        return False

    def try_every_step(self, steps: int) -> int:
        """The first of fewer steps at which some setting reaches the target, or `steps`.

        In few dimensions the phases of all coordinates can line up at one step and not at
        the next, so that having more steps does not help. Where that is cheap, all are tried.
        """
        box = self.bounds if len(self.bounds) > 1 else self.bounds[:1]
        low = np.maximum(box[:, 0], box[:, 1] - 18.0)
        even = low + (box[:, 1] - low) * _even_points(SCAN_FINELY, len(box))
        points = np.concatenate([self.space.grid(), even])
        affordable = EXHAUSTIVE if self.is_small else EXHAUSTIVE // 10
        if len(points) * self.space.block.h.size * steps > affordable:
            return steps
        every = np.arange(1, steps)
        if not self.space.stackable or not every.size:
            return steps
        excess = self.space.log_risks(points, every) - self.log_target
        for t, column in zip(every.tolist(), excess.T, strict=True):
            starts = points[np.argsort(column, kind="stable")[:4]]
            if column.min() > HOPE:
                continue
            value, start = self._zoom(t, starts, 0.3)
            if value < 0.3 and self.lowest(t, [start], 0.02, ROUGH) <= 0.0:
                return t
        return steps

    def ripples(self, steps: int) -> bool:
        """Whether the risk near the best setting has more than one trough's worth of shape."""
        line = np.linspace(-0.06, 0.06, 48)
        centre = np.array(self.best[steps][1])
        excess = self.excess(centre + line[:, None] * (np.arange(len(centre)) == 0), steps)
        calm = np.polynomial.Polynomial.fit(line, excess, 5)(line)
        return bool(np.abs(excess - calm).max() > 1e-6)

    def _zoom(self, steps: int, starts: Array, radius: float) -> tuple[float, Point]:
        """The lowest point that shrinking clouds around each start lead to."""
        searched = starts.shape[1]
        cloud = np.vstack([np.zeros(searched), 2.0 * _even_points(11, searched) - 1.0])
        for _ in range(5):
            points = np.clip(starts[:, None] + radius * cloud, self.bounds[:, 0], self.bounds[:, 1])
            excess = self.excess(points.reshape(-1, searched), steps)
            excess = excess.reshape(len(starts), len(cloud))
            starts = points[np.arange(len(starts)), excess.argmin(axis=1)]
            radius /= 2.0
        winner = int(excess.min(axis=1).argmin())
        return float(excess[winner].min()), tuple(starts[winner].tolist())


def _even_points(count: int, dimensions: int) -> Array:
    """Points that fill the unit cube evenly: multiples of a badly approximable vector."""
    root = 1.0
    for _ in range(50):
        root = (1.0 + root) ** (1.0 / (dimensions + 1))
    steps = np.outer(np.arange(1, count + 1), root ** -np.arange(1.0, dimensions + 1))
    return (0.5 + steps) % 1.0


def _simplex(start: Point, reach: float, bounds: Array) -> Array:
    """A simplex of size `reach` at `start`, turned inwards at the upper bounds."""
    corners = np.tile(np.asarray(start), (len(start) + 1, 1))
    for k, (low, high) in enumerate(bounds):
        corners[k + 1, k] += reach if start[k] + reach <= high else -reach
        corners[k + 1, k] = max(corners[k + 1, k], low)
    return corners


def _troughs(points: Array, values: Array, radius: float) -> list[Point]:
    """Of the lowest points those that are lower than all within `radius`, best first."""
    low = np.argsort(values, kind="stable")[:200]
    points = points[low]
    apart = np.abs(points[:, None] - points[None]).max(axis=2) > radius
    # sorted by value: a trough has no earlier point within the radius
    is_trough = (apart | (np.arange(len(low))[None] >= np.arange(len(low))[:, None])).all(axis=1)
    return [tuple(point.tolist()) for point in points[is_trough]]


def estimate_fewest_steps(excess: Callable[[int], float], too_few: int, enough: int) -> int:
    """About the fewest steps at which `excess` is not positive, in (too_few, enough]."""
    import scipy.optimize

    if enough - too_few <= 1 or too_few == 0:
        return enough
    root = scipy.optimize.brentq(
        lambda x: excess(round(math.exp(x))) or -1e-300,
        math.log(too_few),
        math.log(enough),
        xtol=0.3 / enough,
    )
    return min(max(round(math.exp(root)), too_few + 1), enough)


def fewest_steps(excess: Callable[[int], float], guess: int, too_few: int, enough: int) -> int:
    """The fewest steps at which `excess` is not positive, by single steps from a guess."""
    while guess < enough and excess(guess) > 0.0:
        guess += 1
    while guess - 1 > too_few and excess(guess - 1) <= 0.0:
        guess -= 1
    return guess
