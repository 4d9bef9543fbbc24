"""The lowest risk within a number of steps, and the setting that has it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from ..algorithms.base import Algorithm, as_algorithm
from ..algorithms.sgd import SGD
from ..foundation.validation import InputError, integer, shown
from ..machine.backends import takes_backend
from ..problem import Problem, as_problem
from ..schedules import Schedule, as_schedule
from .risk import expected_risk
from .search.minimiser import LARGEST_REACH, LEAST_REACH, Minimiser
from .search.nodes import better_nodes
from .search.space import SearchSpace
from .tuning import COARSE_ANSWER_REACH, SPREADS, Tuned, tuned
from .tuning_task import Task, checked_task, several_batch_sizes

UNREACHABLE = sys.float_info.min
"""A target that no risk but 0 is below."""
MARKED_GAIN = 0.99
"""Part of a risk down to which a search must have come to go on from there."""


@takes_backend
def best_risk(
    problem: Problem,
    batch_size: ArrayLike | Schedule,
    steps: int,
    over: Sequence[str] = ("lr",),
    *,
    algorithm: type[Algorithm] | Algorithm = SGD,
    effort: str = "full",
    backend: str = "auto",
    **fixed: Any,
) -> Any:
    """Hyper-parameters with the lowest expected risk after a number of steps, by the exact model.

    `tune` turned around: there the risk is given, here the steps. The search is the same.

    Parameters
    ----------
    problem : Problem
    batch_size : number or schedule; or list or array of B of them
        For one value per step give `schedules.PerStep`.
    steps : int
        The budget, >= 1.
    over, algorithm, effort, backend, **fixed
        What is searched, and how, as in `tune`.

    Returns
    -------
    Tuned, or list of B
        ``risk``, the lowest after ``steps``, which are those given, and its ``algorithm``.

    Raises
    ------
    InputError
        If an argument is outside its limits, or a schedule given as an array is shorter than
        `steps`.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(10_000)
    >>> best = nqm.best_risk(problem, 1024, steps=10354)
    >>> best.risk < 0.01 < nqm.best_risk(problem, 1024, steps=10353).risk
    True
    """
    as_problem(problem)
    steps = integer("steps", steps, least=1)
    several = several_batch_sizes(batch_size)
    if several is not None:
        limits: dict[str, Any] = {"algorithm": algorithm, "effort": effort}
        return [best_risk(problem, size, steps, over, **limits, **fixed) for size in several]
    batch = as_schedule("batch_size", batch_size, least=1.0)
    task = checked_task(problem, batch, UNREACHABLE, over, algorithm, steps, effort, fixed)
    if task.limit < steps:
        raise InputError(
            f"steps must be at most {task.limit}, for which the schedules have values, not "
            f"{shown(steps)}"
        )
    best = tuned(task).algorithm
    risk = before = float(expected_risk(problem, best, batch, steps))
    # So many steps may want a learning rate far below the grid's, which is reached by and by.
    reach = COARSE_ANSWER_REACH
    while risk > 0.0:
        polished = _polished(task, best, risk, reach)
        lower = float(expected_risk(problem, polished, batch, steps))
        if lower < risk:
            best, risk = polished, lower
        if risk > MARKED_GAIN * before:
            break
        before, reach = risk, LARGEST_REACH
    return Tuned(steps, best, risk)


def _polished(task: Task, start: Algorithm, risk: float, reach: float) -> Algorithm:
    """Go from a setting and its risk to a lower one, on nodes that stand for all coordinates."""
    linear = as_algorithm("algorithm", start)
    nodes = better_nodes(task.problem, linear, task.batch, task.limit)
    space = SearchSpace(task.kind, task.names, task.fixed, task.batch, task.problem, nodes)
    search = Minimiser(space, risk)
    search.minimise_from(task.limit, [space.point(linear)], reach)
    if len(task.names) > 1 and space.stackable:
        for spread in SPREADS:
            search.scan_around(task.limit, spread)
        search.minimise_from(task.limit, [search.best[task.limit][1]], LEAST_REACH)
    return space.algorithm(search.best[task.limit][1])
