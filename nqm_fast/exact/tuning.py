"""Best constant hyper-parameters, and best schedules, for reaching a target.

The fewest steps that any setting needs are the fewest steps t at which the best setting
*for t* reaches the target. So the search is not over first passages, which jump, but
over the lowest risk at a given t, which is smooth: a few minimisations inside the
search for one root. They work on a quadrature of the spectrum, and the answer is
confirmed on all of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ..algorithms.sgd import SGD
from ..html import facts_table
from ..problem import Problem, as_problem
from ..schedules import Schedule, as_schedule
from ..validation import InputError, choice, integer, number, shown
from .fewest_steps import estimate_fewest_steps, fewest_steps
from .first_passage import steps_to_target
from .minimiser import Minimiser, Point
from .quadrature import BIN_WIDTHS, compressed_spectrum
from .risk import expected_risk
from .search_space import SearchSpace

# Which spectrum is searched.
WHOLE_SPECTRUM_DIM = 1 << 15
"""Up to this dimension the last search is on the whole spectrum, which takes too long above."""
AGREEMENT = 1e-10
"""Difference of the log of the risk up to which the searched spectrum stands for the whole one."""

# Bracketing the root again, around an answer or below it.
BRACKET_FACTOR = 1.001
"""First factor between both ends; it is squared each time, as the root is expected to be near."""
COARSE_ANSWER_REACH = 0.1
"""Size of the minimisation around the best point of a coarser spectrum."""

# Scans for points that need fewer steps than the minimisations found.
SPREADS = (0.5, 0.25, 0.1)
"""Sizes of the scanned boxes, in log learning rate: a smaller one when a larger gains nothing."""
WIDE_SPREADS = (4.0, 2.0, 1.0)
"""Sizes before those where coordinates are few, because local minima can then be anywhere."""
MOST_SCANS = 24
"""Scans in all, which bounds the time where each gains a step."""

# Trying every step.
UNREACHED_STEPS = 500
"""Steps that are tried one by one where the search found that the target is not reached."""


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

    def _repr_html_(self) -> str:
        facts = {"steps": self.steps, "algorithm": repr(self.algorithm), "risk": self.risk}
        return facts_table("Tuned", facts)


def refining_spectra(problem: Problem) -> Iterator[Problem]:
    """Yield spectra to search, each finer than the one before and costlier."""
    for bin_width in BIN_WIDTHS[:-1]:
        yield compressed_spectrum(problem, bin_width)
    is_small = problem.dim <= WHOLE_SPECTRUM_DIM
    yield problem if is_small else compressed_spectrum(problem, BIN_WIDTHS[-1])


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
    kind, names = _checked_search(over, algorithm, fixed)
    length = kind(**({"lr": 1.0} | fixed)).lr.length
    limit = int(min(max_steps, batch.length, length))
    steps = 0
    point: Point = ()
    for spectrum in refining_spectra(problem):
        space = SearchSpace(kind, names, fixed, batch, spectrum)
        search = Minimiser(space, target)
        if not steps:
            too_few, enough = search.bracket(limit)
        else:
            too_few, enough = _bracket_around(search, steps, point, limit)
        steps = too_few
        if enough:
            steps = estimate_fewest_steps(search.rough_lowest_excess, too_few, enough)
        if _whole_spectrum_agrees(problem, search, steps):
            if enough:
                steps = fewest_steps(search.lowest_excess, steps, too_few, enough)
                steps = _scan_for_fewer_steps(search, steps)
            sooner = search.try_every_step(steps if enough else min(steps, UNREACHED_STEPS))
            steps = sooner if sooner in search.best else steps
            if _whole_spectrum_agrees(problem, search, steps):
                break
        point = search.best[steps][1]
    best = space.algorithm(search.best[steps][1])
    risk = expected_risk(problem, best, batch, steps)
    first = steps_to_target(problem, best, batch, target, max_steps=min(limit, 2 * steps))
    if first < math.inf:
        risk = expected_risk(problem, best, batch, first)
    return Tuned(first, best, float(risk))


def _checked_search(
    over: Sequence[str], kind: type[Algorithm], fixed: dict[str, Any]
) -> tuple[type[LinearAlgorithm], list[str]]:
    """Check and return the kind of algorithm and the names of the hyper-parameters to search."""
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
        example = kind(**{"lr": 1.0, **fixed})
    except TypeError:
        raise InputError(f"{kind.__name__} does not take all of {', '.join(fixed)}") from None
    return type(as_algorithm("algorithm", example)), names


def _whole_spectrum_agrees(problem: Problem, search: Minimiser, steps: int) -> bool:
    """Whether the risk of the best point is the same on the whole spectrum as in the search."""
    excess, point = search.best[steps]
    algorithm = search.space.algorithm(point)
    risk = expected_risk(problem, algorithm, search.space.batch_size, steps)
    if not math.isfinite(risk) or risk == 0.0:
        return bool((excess > 0.0) == (risk > 0.0))
    return abs(math.log(risk) - search.log_target - excess) < AGREEMENT


def _scan_for_fewer_steps(search: Minimiser, steps: int) -> int:
    """Scan for points that need fewer steps than the minimisations found; the fewest steps."""
    spreads = list(WIDE_SPREADS + SPREADS if search.has_few_coordinates else SPREADS)
    if not search.has_few_coordinates and not search.has_ripples(steps):
        spreads = spreads[:1]
    if len(search.bounds) == 1 and not search.has_few_coordinates:
        return steps
    for _ in range(MOST_SCANS):
        if not spreads or steps <= 1:
            break
        fewer = steps - 1
        if search.lowest_excess(fewer) > 0.0 and search.scan_around(fewer, spreads[0]):
            too_few = _find_too_few(search, fewer)
            guess = estimate_fewest_steps(search.rough_lowest_excess, too_few, fewer)
            steps = fewest_steps(search.lowest_excess, guess, too_few, fewer)
        else:
            del spreads[0]
    return steps


def _find_too_few(search: Minimiser, enough: int) -> int:
    """Find a number of steps that is too few, not far below one that is enough."""
    factor = BRACKET_FACTOR
    steps = enough
    while steps > 0:
        steps = min(steps - 1, math.floor(enough / factor))
        if steps > 0 and search.rough_lowest_excess(steps) > 0.0:
            return steps
        factor **= 2
    return 0


def _bracket_around(search: Minimiser, steps: int, point: Point, max_steps: int) -> tuple[int, int]:
    """Bracket the answer as `Minimiser.bracket` does, around that of a coarser spectrum."""
    if search.minimise_from(steps, [point], COARSE_ANSWER_REACH) <= 0.0:
        return _find_too_few(search, steps), steps
    factor = BRACKET_FACTOR
    while search.lowest_excess(steps) > 0.0:
        if steps == max_steps:
            return max_steps, 0
        too_few, steps = steps, min(max_steps, math.ceil(steps * factor))
        factor **= 2
    return too_few, steps
