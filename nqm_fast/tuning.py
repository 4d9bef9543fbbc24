"""Best constant hyper-parameters, and best schedules, for reaching a target.

The fewest steps that any setting needs are the fewest steps t at which the best setting
*for t* reaches the target. So the search is not over first passages, which jump, but
over the lowest risk at a given t, which is smooth: a few minimisations inside the
search for one root. They work on a quadrature of the spectrum; the answer is confirmed
on all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .algorithms import SGD, Algorithm
from .candidates import Candidates
from .checks import Array, InputError, choice, integer, number, shown
from .exact import as_problem, expected_risk
from .passage import steps_to_target
from .problem import Problem
from .quadrature import WIDTHS, compress
from .schedules import Schedule, as_schedule

TIGHT, ROUGH, COARSE = 1e-11, 1e-7, 1e-4  # of the log of the lowest risk
AGREE = 1e-10  # of the quadrature with the whole spectrum
WHOLE = 1 << 15  # up to this dimension the last search may be on the whole spectrum
SCAN = 256  # points; four times as many
EXHAUSTIVE = 10**8  # settings times coordinates times steps that are tried in a small problem
HOPE = 5.0  # log of the risk on a coarse grid, relative to the target, that may come down
FEW = 4000  # up to so many steps, where ripples are high
SMALL = 64  # coordinates: then scans are cheap, and wide ones come first
WIDE = (4.0, 2.0, 1.0)
MOST = 24  # scans
SPREADS = (0.5, 0.25, 0.1)  # of scans one after the other, in log of the learning rate

Point = tuple[float, ...]


class Tuned(NamedTuple):
    """The best setting found.

    Attributes
    ----------
    steps : int or math.inf
        First step at which `algorithm` reaches the target; inf if nothing does.
    algorithm : Algorithm
        The best setting; if nothing reaches the target, the one with the lowest risk.
    risk : float
        Expected excess risk at `steps`, or the lowest risk if the target is not reached.
    """

    steps: int | float
    algorithm: Algorithm
    risk: float


class Search:
    """The lowest risk at a number of steps, remembering where it was found."""

    def __init__(self, candidates: Candidates, target: float) -> None:
        self.candidates = candidates
        self.log_target = math.log(target)
        self.bounds = candidates.bounds()
        self.is_small = candidates.dim <= SMALL
        self.best: dict[int, tuple[float, Point]] = {}
        self.known: dict[int, float] = {}  # to what tolerance

    def excess(self, points: Any, steps: int) -> Array:
        """Log of the risk relative to the target at points of shape (G, searched)."""
        logs = self.candidates.log_risks(np.atleast_2d(points), np.array([steps]))
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

    def near(self, steps: int, tolerance: float = TIGHT) -> float:
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

    def roughly(self, steps: int) -> float:
        """As `near`, well enough to find the root."""
        return self.near(steps, ROUGH)

    def coarse(self, max_steps: int) -> tuple[int, int]:
        """Numbers of steps between which the target comes into reach: (too few, enough).

        A grid of settings at powers of two; ``(max_steps, 0)`` if even they do not reach it.
        """
        ladder = np.array([*(2**k for k in range(60) if 2**k < max_steps), max_steps])
        points = self.candidates.grid()
        if self.candidates.stackable:
            logs = self.candidates.log_risks(points, ladder)
        else:  # every step costs time: climb no further than needed
            columns: list[Array] = []
            for steps in ladder:
                columns.append(self.candidates.log_risks(points, np.array([steps]))[:, 0])
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

    def look_around(self, steps: int, spread: float) -> bool:
        """Scan a box around the best setting; whether `steps` now suffice.

        With momentum the risk after t steps ripples: a small change of the learning rate
        turns the phase of the fastest coordinates. Minimisation finds the next trough,
        the scan a better one. Troughs are narrow in the learning rate only.
        """
        centre = np.array(self.best[steps][1])
        box = spread * np.where(self.candidates.is_rate, 1.0, 1.0 if self.is_small else 0.3)
        low = np.maximum(centre - box, self.bounds[:, 0])
        high = np.minimum(centre + box, self.bounds[:, 1])
        count = SCAN if steps > FEW and not self.is_small else 4 * SCAN
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

    def earlier(self, steps: int) -> int:
        """The first of fewer steps at which some setting reaches the target, or `steps`.

        In few dimensions the phases of all coordinates can line up at one step and not at
        the next, so that having more steps does not help. Where that is cheap, all are tried.
        """
        box = self.bounds if len(self.bounds) > 1 else self.bounds[:1]
        low = np.maximum(box[:, 0], box[:, 1] - 18.0)
        even = low + (box[:, 1] - low) * _even_points(4 * SCAN, len(box))
        points = np.concatenate([self.candidates.grid(), even])
        affordable = EXHAUSTIVE if self.is_small else EXHAUSTIVE // 10
        if len(points) * self.candidates.block.h.size * steps > affordable:
            return steps
        every = np.arange(1, steps)
        if not self.candidates.stackable or not every.size:
            return steps
        excess = self.candidates.log_risks(points, every) - self.log_target
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


def guess_fewest(roughly: Callable[[int], float], too_few: int, enough: int) -> int:
    """About the fewest steps at which `roughly` is not positive, in (too_few, enough]."""
    import scipy.optimize

    if enough - too_few <= 1 or too_few == 0:
        return enough
    root = scipy.optimize.brentq(
        lambda x: roughly(round(math.exp(x))) or -1e-300,
        math.log(too_few),
        math.log(enough),
        xtol=0.3 / enough,
    )
    return min(max(round(math.exp(root)), too_few + 1), enough)


def fewest(excess: Callable[[int], float], guess: int, too_few: int, enough: int) -> int:
    """The fewest steps at which `excess` is not positive, by single steps from a guess."""
    while guess < enough and excess(guess) > 0.0:
        guess += 1
    while guess - 1 > too_few and excess(guess - 1) <= 0.0:
        guess -= 1
    return guess


def spectra(problem: Problem) -> Iterator[Problem]:
    """Smaller spectra to search on, each finer than the one before."""
    for width in WIDTHS[:-1]:
        yield compress(problem, width)
    yield problem if problem.dim <= WHOLE else compress(problem, WIDTHS[-1])


def tune(
    problem: Problem,
    batch_size: ArrayLike | Schedule,
    target: float,
    over: Sequence[str] = ("lr",),
    *,
    algorithm: type[Algorithm] = SGD,
    max_steps: int = 10**9,
    **fixed: Any,
) -> Tuned:
    """Hyper-parameters that reach the target in the fewest steps.

    The search is continuous: learning rate over all that can be stable, momentum and EMA
    over [0, 1 - 1e-7]. It reproduces figure 5 of Zhang et al. 2019, without their grid.
    Where momentum makes the risk oscillate there are many troughs, which are scanned for;
    in a handful of coordinates and thousands of steps a slightly better one can be missed.

    Parameters
    ----------
    problem : Problem
    batch_size : number, array_like of shape (steps,), or schedule
    target : float
        Excess risk, > 0.
    over : sequence of str
        What to search: any of "lr", "momentum", "ema".
    algorithm : type
        The kind of algorithm.
    max_steps : int
        Give up beyond this many steps; schedules given as arrays end earlier.
    **fixed
        Values of the other hyper-parameters, such as ``momentum=0.9`` or ``power=0.5``.

    Returns
    -------
    Tuned
        ``steps`` (the first passage on the whole spectrum), ``algorithm``, ``risk``.

    Raises
    ------
    InputError
        If an argument is outside its limits, or a name is not a hyper-parameter.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> nqm.tune(nqm.Problem.power_law(10_000), 1024, 0.01).steps
    10354
    """
    as_problem(problem)
    target = number("target", target, above=0.0)
    max_steps = integer("max_steps", max_steps, least=1)
    batch = as_schedule("batch_size", batch_size, least=1.0)
    names = _names(over, algorithm, fixed)
    length = algorithm(**({"lr": 1.0} | fixed)).lr.length
    limit = int(min(max_steps, batch.length, length))
    steps = 0
    point: Point = ()
    for spectrum in spectra(problem):
        candidates = Candidates(algorithm, names, fixed, batch, spectrum)
        search = Search(candidates, target)
        if not steps:
            too_few, enough = search.coarse(limit)
        else:
            too_few, enough = _bracket(search, steps, point, limit)
        steps = guess_fewest(search.roughly, too_few, enough) if enough else too_few
        if _agrees(problem, search, steps):
            if enough:
                steps = fewest(search.near, steps, too_few, enough)
            if enough:
                steps = _fewer(search, steps)
            sooner = search.earlier(steps if enough else min(steps, 500))
            steps = sooner if sooner in search.best else steps
            if _agrees(problem, search, steps):
                break
        point = search.best[steps][1]
    best = candidates.algorithm(search.best[steps][1])
    risk = expected_risk(problem, best, batch, steps)
    first = steps_to_target(problem, best, batch, target, max_steps=min(limit, 2 * steps))
    if first < math.inf:
        risk = expected_risk(problem, best, batch, first)
    return Tuned(first, best, float(risk))


def _names(over: Sequence[str], kind: type[Algorithm], fixed: dict[str, Any]) -> list[str]:
    """Check what to search and what is fixed."""
    if not (isinstance(kind, type) and issubclass(kind, Algorithm)):
        raise InputError(
            f"algorithm must be a kind of algorithm such as nqm.SGD, not {shown(kind)}"
        )
    names = [over] if isinstance(over, str) else list(over) if np.iterable(over) else [over]
    for name in names:
        choice("over", name, list(kind.tunable))
    if not names or len(set(names)) < len(names):
        raise InputError(f"over must name different hyper-parameters, not {shown(over)}")
    for name in names:
        if name in fixed:
            raise InputError(f"{name} is searched (over) and given ({shown(fixed[name])}): choose")
    if "lr" not in names and "lr" not in fixed:
        raise InputError("lr must be given, as it is not searched: lr=... or over=('lr', ...)")
    try:
        kind(**{"lr": 1.0, **fixed})
    except TypeError:
        raise InputError(f"{kind.__name__} does not take all of {', '.join(fixed)}") from None
    return names


def _agrees(problem: Problem, search: Search, steps: int) -> bool:
    """Whether the whole spectrum gives the risk that the search has found."""
    excess, point = search.best[steps]
    algorithm = search.candidates.algorithm(point)
    risk = expected_risk(problem, algorithm, search.candidates.batch_size, steps)
    if not math.isfinite(risk) or risk == 0.0:
        return bool((excess > 0.0) == (risk > 0.0))
    return abs(math.log(risk) - search.log_target - excess) < AGREE


def _fewer(search: Search, steps: int) -> int:
    """Scan for settings that need fewer steps than the minimisations found."""
    spreads = list(WIDE + SPREADS if search.is_small else SPREADS)
    if not search.is_small and not search.ripples(steps):
        spreads = spreads[:1]
    if len(search.bounds) == 1 and not search.is_small:
        return steps
    for _ in range(MOST):
        if not spreads or steps <= 1:
            break
        if search.near(steps - 1) > 0.0 and search.look_around(steps - 1, spreads[0]):
            too_few = _too_few(search, steps - 1)
            guess = guess_fewest(search.roughly, too_few, steps - 1)
            steps = fewest(search.near, guess, too_few, steps - 1)
        else:
            del spreads[0]
    return steps


def _too_few(search: Search, enough: int) -> int:
    """A number of steps, not far below one that is enough, that is not."""
    factor = 1.001
    steps = enough
    while steps > 0:
        steps = min(steps - 1, math.floor(enough / factor))
        if steps > 0 and search.roughly(steps) > 0.0:
            return steps
        factor **= 2
    return 0


def _bracket(search: Search, steps: int, point: Point, max_steps: int) -> tuple[int, int]:
    """Numbers of steps around an answer found on a coarser spectrum."""
    if search.lowest(steps, [point], 0.1) <= 0.0:
        return _too_few(search, steps), steps
    factor = 1.001
    while search.near(steps) > 0.0:
        if steps == max_steps:
            return max_steps, 0
        too_few, steps = steps, min(max_steps, math.ceil(steps * factor))
        factor **= 2
    return too_few, steps
