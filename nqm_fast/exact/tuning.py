"""Best constant hyper-parameters, and best schedules, for reaching a target.

The fewest steps that any setting needs are the fewest steps t at which the best setting
*for t* reaches the target. So the search is not over first passages, which jump, but
over the lowest risk at a given t, which is smooth: a few minimisations inside the
search for one root. They work on few nodes that stand for all coordinates, and the
answer is confirmed on all of them. Minimisation finds the nearest trough, so that it
begins with the answers of searches over fewer hyper-parameters, and is followed by a
search of the whole space. The best answer of all these searches is returned.

Noise that depends on the iterate is searched by first passages after all, made
continuous, as a curve costs much there and has them all.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ..algorithms.sgd import SGD
from ..foundation.validation import integer, number
from ..machine.backends import takes_backend
from ..output.html import facts_table
from ..problem import Problem, as_problem
from ..schedules import Schedule, as_schedule
from .first_passage import steps_to_target
from .risk import expected_risk
from .search.box import Kind, Point
from .search.evolution import evolution_effort, evolve
from .search.fewest_steps import estimate_fewest_steps, fewest_steps
from .search.minimiser import ROOT_TOLERANCE, STEP_TOLERANCE, Minimiser
from .search.nodes import AGREEMENT, REFINEMENTS, better_nodes, finer_nodes, first_nodes
from .search.passage_search import search_passages, settled_steps
from .search.space import SearchSpace
from .tuning_task import Task, checked_task, several_batch_sizes

# Bracketing the root again, around an answer or below it.
MOST_PASSAGES = 4
"""First passages of best points, one from another, before the root is looked for in another way."""
BRACKET_FACTOR = 1.001
"""First factor between both ends; it is squared each time, as the root is expected to be near."""
COARSE_ANSWER_REACH = 0.1
"""Size of the minimisation around the best point of fewer nodes."""
NEAR_REACH = 0.5
"""Size of the minimisation between answers at other batch sizes, in their distance."""

# Scans for points that need fewer steps than the minimisations found.
SPREADS = (0.5, 0.25, 0.1)
"""Sizes of the scanned boxes, in log learning rate: a smaller one when a larger gains nothing.
Only the first is scanned where coordinates are many."""
WIDE_SPREADS = (1.0,)
"""Sizes before those where coordinates are few, because troughs are many then."""
MOST_SCANS = 24
"""Scans in all, which bounds the time where each gains a step."""
SCAN_GAIN = 1e-3
"""Part of the steps that a scan must gain where coordinates are many, and ripples are low."""

# Trying every step.
UNREACHED_STEPS = 500
"""Steps that are tried one by one where the search found that the target is not reached."""


class Near(NamedTuple):
    """Where an answer is expected, as answers at batch sizes nearby say."""

    steps: int
    ends: tuple[LinearAlgorithm, LinearAlgorithm]
    """The best settings at batch sizes on both sides."""
    share: float
    """Where the answer is expected between them, in the logs of a search space: 0 to 1."""

    def start(self, space: SearchSpace) -> tuple[Point, float]:
        """Return where to begin in a space, and how far the answer may be from there."""
        first, last = (np.array(space.point(end)) for end in self.ends)
        reach = max(NEAR_REACH * float(np.abs(last - first).max()), COARSE_ANSWER_REACH)
        return tuple((first + self.share * (last - first)).tolist()), reach


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


@takes_backend
def tune(
    problem: Problem,
    batch_size: ArrayLike | Schedule,
    target: float,
    over: Sequence[str] = ("lr",),
    *,
    algorithm: type[Algorithm] | Algorithm = SGD,
    max_steps: int = 10**9,
    effort: str = "full",
    backend: str = "auto",
    **fixed: Any,
) -> Any:
    """Hyper-parameters that reach the target in the fewest steps, by the exact model.

    Parameters, answers and errors are those of `nqm_fast.tune`, which calls this.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> nqm.tune(nqm.Problem.power_law(10_000), 1024, 0.01).steps
    10354
    """
    as_problem(problem)
    target = number("target", target, above=0.0)
    max_steps = integer("max_steps", max_steps, least=1)
    several = several_batch_sizes(batch_size)
    if several is not None:
        limits: dict[str, Any] = {"algorithm": algorithm, "max_steps": max_steps, "effort": effort}
        return [tune(problem, size, target, over, **limits, **fixed) for size in several]
    batch = as_schedule("batch_size", batch_size, least=1.0)
    return tuned(checked_task(problem, batch, target, over, algorithm, max_steps, effort, fixed))


def tuned(task: Task) -> Tuned:
    """Search all hyper-parameters of a task."""
    nested: list[Tuned] = []
    # A search over more hyper-parameters begins with the answers of those over fewer.
    for some in _subsets(task.kind, task.names, task.fixed):
        nested.append(_tune_one(task, some, nested))
        if nested[-1].steps <= 1:
            break  # Nothing needs fewer steps.
    return min(nested, key=lambda found: (found.steps, found.risk))


def tuned_near(task: Task, near: Near) -> Tuned:
    """Search all hyper-parameters of a task between the best settings at other batch sizes.

    Other troughs are not looked for, so that coordinates must be many, or have no phases.
    """
    return _tune_one(task, task.names, [], near)


def _subsets(kind: Kind, names: list[str], fixed: dict[str, Any]) -> Iterator[list[str]]:
    """Yield all subsets of the names, smaller ones first, with which the others have a default."""
    for size in range(1, len(names) + 1):
        for some in itertools.combinations(names, size):
            if not isinstance(kind, type):
                yield list(some)
                continue
            missing = set(inspect.signature(kind).parameters) - set(some) - set(fixed)
            required = {
                name
                for name in missing & set(names)
                if inspect.signature(kind).parameters[name].default is inspect.Parameter.empty
            }
            if not required:
                yield list(some)


def _tune_one(task: Task, names: list[str], nested: list[Tuned], near: Near | None = None) -> Tuned:
    """Search some hyper-parameters, from the answers of searches over fewer of them.

    Or else from settings nearby, which takes less time; noise that depends on the iterate is always
    searched as a whole.
    """
    problem, limit = task.problem, task.limit
    steps = 0
    point: Point = ()
    seeds = [x for x in nested if x.steps < math.inf]
    seeds.sort(key=lambda found: found.steps)
    block = first_nodes(problem)
    if near is not None and problem.noise_model is None:
        block = finer_nodes(problem, near.ends[0], task.batch, min(near.steps, limit))
    for _ in range(REFINEMENTS + 1):  # The first may be rough.
        space = SearchSpace(task.kind, names, task.fixed, task.batch, problem, block)
        search = Minimiser(space, task.target)
        space.is_rough = not steps and not space.has_quick_curves and space.noise is None
        if not steps and space.noise is not None:
            steps, is_settled = _search_passages(task, search, seeds)
            if is_settled:
                break
            point = search.best[steps][1]
            block = better_nodes(problem, space.algorithm(point), task.batch, steps)
            continue
        if not steps and near is not None:
            point, reach = near.start(space)
            start = min(near.steps, limit), point
            too_few, enough = _bracket_around(search, *start, limit, reach, ROOT_TOLERANCE)
        elif not steps:
            too_few, enough = _bracket(search, seeds, limit)
            if enough != 1 and len(names) > 1 and space.stackable:
                too_few, enough = _evolve(search, seeds, too_few, enough, task)
        else:
            too_few, enough = _bracket_around(search, steps, point, limit)
        steps = too_few
        if enough:
            steps = _find_fewest(search, too_few, enough, rough=True)
        # Nearby it is searched again with steps as they are.
        if not space.is_rough and _whole_spectrum_agrees(problem, search, steps):
            if enough:
                steps, is_fewest = _go_down(search, search.lowest_excess, 0, steps)
                if not is_fewest:
                    steps = fewest_steps(search.lowest_excess, steps, enough)
                if near is None:
                    steps = _scan_for_fewer_steps(search, steps)
            sooner = search.try_every_step(steps if enough else min(steps, UNREACHED_STEPS))
            steps = sooner if sooner in search.best else steps
            if _whole_spectrum_agrees(problem, search, steps):
                break
        point = search.best[steps][1]
        block = better_nodes(problem, space.algorithm(point), task.batch, max(steps, enough))
    return _confirmed(task, space.algorithm(search.best[steps][1]), steps)


def _search_passages(task: Task, search: Minimiser, seeds: list[Tuned]) -> tuple[int, bool]:
    """Search by first passages; the steps, and whether they are right on the whole spectrum."""
    points = [search.space.point(as_algorithm("algorithm", x.algorithm)) for x in seeds]
    found = search_passages(search, points, task.limit)
    search.add(found.steps, found.point)
    if not found.is_reached:
        search.minimise_from(found.steps, [found.point], COARSE_ANSWER_REACH)
        if _whole_spectrum_agrees(task.problem, search, found.steps):
            return found.steps, True
    steps = settled_steps(task.problem, search, found.steps, task.limit)
    if steps is None:
        return found.steps, False
    if search.has_few_coordinates:
        steps = _scan_for_fewer_steps(search, steps)
    return steps, True


def _confirmed(task: Task, best: LinearAlgorithm, steps: int) -> Tuned:
    """Return the answer that a setting gives on the whole spectrum."""
    risk = expected_risk(task.problem, best, task.batch, steps)
    most = min(task.limit, 2 * steps)
    first = steps_to_target(task.problem, best, task.batch, task.target, max_steps=most)
    if first < math.inf:
        risk = expected_risk(task.problem, best, task.batch, int(first))
    return Tuned(first, best, float(risk))


def _bracket(search: Minimiser, seeds: list[Tuned], limit: int) -> tuple[int, int]:
    """Bracket the answer as `Minimiser.bracket` does, below the steps that seeds need."""
    for seed in seeds[:1]:
        steps = int(seed.steps)
        search.add(steps, search.space.point(as_algorithm("algorithm", seed.algorithm)))
        if search.best[steps][0] <= 0.0:
            limit = steps
    return search.bracket(limit)


def _evolve(
    search: Minimiser, seeds: list[Tuned], too_few: int, enough: int, task: Task
) -> tuple[int, int]:
    """Narrow a bracket from above by a search of the whole space, or find one."""
    points = [search.space.point(as_algorithm("algorithm", seed.algorithm)) for seed in seeds]
    if enough:
        enough = _find_fewest(search, too_few, enough, rough=True)
    known = enough or too_few
    points.append(search.best[known][1])
    steps, point = evolve(
        search, known + (not enough), points, evolution_effort(task.effort, task.problem.dim)
    )
    if point is None:
        return (_find_too_few(search, enough), enough) if enough else (too_few, 0)
    search.forget_tolerances_below(known)
    search.add(steps, point)
    return _find_too_few(search, steps), steps


def _find_fewest(search: Minimiser, too_few: int, enough: int, *, rough: bool = False) -> int:
    """Find the fewest steps in a bracket, which is moved down where its lower end is enough."""
    while too_few > 0 and search.rough_lowest_excess(too_few) <= 0.0:
        too_few, enough = _find_too_few(search, too_few), too_few
    excess = search.rough_lowest_excess if rough else search.lowest_excess
    enough, is_fewest = _go_down(search, excess, too_few, enough)
    if is_fewest:
        return enough
    guess = estimate_fewest_steps(search.rough_lowest_excess, too_few, enough)
    return fewest_steps(excess, guess, enough)


def _go_down(
    search: Minimiser, lowest_excess: Callable[[int], float], too_few: int, enough: int
) -> tuple[int, bool]:
    """Go down from steps that are enough; to how many, and whether one fewer is not enough.

    The best point at some steps reaches the target earlier, at about the fewest steps of all
    points: the nearer they are, the less its risk differs from the lowest.
    """
    if lowest_excess(enough) > 0.0:
        return enough, False
    for _ in range(MOST_PASSAGES):
        point = search.best[enough][1]
        steps = search.reached(point, too_few, enough)
        # Minimisation starts from where others have ended, and the point is not one of them.
        is_fewest = steps - 1 <= too_few or lowest_excess(steps - 1) > 0.0
        search.add(steps, point)
        if is_fewest:
            return steps, True
        enough = steps - 1
    return enough, False


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
    if not search.has_few_coordinates:
        spreads = spreads[:1]
    if len(search.bounds) == 1 and not search.has_few_coordinates:
        return steps
    gain = 1
    for _ in range(MOST_SCANS):
        if not spreads or steps <= 1:
            break
        least_gain = 1 if search.has_few_coordinates else math.ceil(SCAN_GAIN * steps)
        fewer = max(steps - max(gain, least_gain), 1)
        if search.lowest_excess(fewer) > 0.0 and search.scan_around(fewer, spreads[0]):
            too_few = _find_too_few(search, fewer)
            steps = _find_fewest(search, too_few, fewer)
            gain *= 4
        elif gain > least_gain:
            gain = 1
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


def _bracket_around(
    search: Minimiser,
    steps: int,
    point: Point,
    max_steps: int,
    reach: float = COARSE_ANSWER_REACH,
    tolerance: float = STEP_TOLERANCE,
) -> tuple[int, int]:
    """Bracket the answer as `Minimiser.bracket` does, around that of a coarser spectrum."""
    if search.minimise_from(steps, [point], reach, tolerance) <= 0.0:
        return _find_too_few(search, steps), steps
    factor = BRACKET_FACTOR
    while search.lowest_excess(steps, tolerance) > 0.0:
        if steps == max_steps:
            return max_steps, 0
        too_few, steps = steps, min(max_steps, math.ceil(steps * factor))
        factor **= 2
    return too_few, steps
