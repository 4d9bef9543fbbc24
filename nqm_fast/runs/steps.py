"""The first step at which the mean risk of simulated runs reaches a target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..algorithms.base import Algorithm, as_simulated_algorithm
from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.validation import Array, InputError, integer, number, shown
from ..output.html import facts_table
from ..problem import Problem, as_problem
from ..schedules import Schedule, as_schedule
from ..schedules.timeline import shortest_length
from .api import simulate

CONFIDENCE = 0.95
"""Probability that the interval of a step has the mean of the risk over all runs in it."""
FIRST_HORIZON, GROWTH = 256, 4
"""Steps that are simulated first, and how many times more where they do not suffice."""
RECORDS = 400
"""Records, evenly spread in their logarithm, that bracket the answer."""
DENSE = 1 << 14
"""Steps that are looked at one by one; if more are in question, so many of them are."""


class SimulatedSteps(NamedTuple):
    """The first step at which the mean risk of simulated runs is at most a target.

    Attributes
    ----------
    steps : int or math.inf
        That step; inf if no step up to the last is one.
    low, high : int or math.inf
        The first steps at which the ends of the mean's confidence interval, of 95 % at each step,
        are at most the target.
    risk : float
        Mean excess risk at `steps`, or the lowest if the target is not reached.
    """

    steps: int | float
    low: int | float
    high: int | float
    risk: float

    def _repr_html_(self) -> str:
        interval = f"{self.low:g} to {self.high:g}"
        facts = {"steps": f"{self.steps:g}", "95 % interval": interval, "risk": self.risk}
        return facts_table("SimulatedSteps", facts)


class Curves(NamedTuple):
    """Mean risks with the half widths of their confidence intervals, (..., records) each."""

    steps: NDArray[np.int64]
    mean: Array
    half: Array

    def passage(self, target: float) -> SimulatedSteps:
        """Return the passage of the only curve through the target, at the recorded steps."""

        def first(values: Array) -> int | float:
            reached = np.flatnonzero(values <= target)
            return int(self.steps[reached[0]]) if reached.size else math.inf

        found = first(self.mean)
        at = int(np.searchsorted(self.steps, found)) if found < math.inf else 0
        risk = float(self.mean[at] if found < math.inf else self.mean.min())
        ends = first(self.mean - self.half), first(self.mean + self.half)
        return SimulatedSteps(found, *ends, risk)


def simulated_curves(
    problem: Problem,
    algorithms: Sequence[Algorithm],
    batch_size: Schedule,
    records: NDArray[np.int64],
    arguments: dict[str, Any],
) -> Curves:
    """Simulate settings on one noise stream up to the last record, and return their mean risks.

    `arguments` are further ones of `simulate`, among them at least two replicas.
    """
    from scipy.special import stdtrit

    given = [batch_size] * len(algorithms)
    run = simulate(problem, list(algorithms), given, int(records[-1]), record=records, **arguments)
    count = run.risk.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):  # runs may have diverged
        mean = run.risk.mean(axis=1)
        deviation = run.risk.std(axis=1, ddof=1)
    width = float(stdtrit(count - 1, 0.5 + 0.5 * CONFIDENCE)) / math.sqrt(count)
    mean = np.where(np.isnan(mean), math.inf, mean)
    half = np.where(np.isnan(deviation), math.inf, width * deviation)
    return Curves(run.steps, mean, np.where(np.isinf(mean), 0.0, half))


def spread_steps(last: int) -> NDArray[np.int64]:
    """Return steps up to the last, evenly spread in their logarithm, 0 among them."""
    return np.unique(np.append(np.geomspace(1.0, max(last, 1), RECORDS).round(), [0, last])).astype(
        np.int64
    )


@in_usual_arithmetic
def simulated_steps_to_target(
    problem: Problem,
    algorithm: Algorithm,
    batch_size: ArrayLike | Schedule,
    target: float,
    *,
    replicas: int = 16,
    max_steps: int = 10**6,
    seed: int = 0,
    backend: str = "auto",
    threads: int | None = None,
    progress: bool | None = None,
) -> SimulatedSteps:
    """First step at which the mean excess risk of simulated runs is at most `target`.

    It is for algorithms that are not linear, such as `Adam`; of linear ones `steps_to_target` knows
    the mean over all runs exactly. Runs are simulated up to more and more steps until one is
    enough, and then once more, with every step recorded: of over 16384 steps in question about so
    many. The mean over few runs of few coordinates is noisy, and noise reaches a target early: the
    interval says by how much that may be.

    Parameters
    ----------
    problem : Problem
        One that `simulate` takes.
    algorithm : Algorithm
    batch_size : number, ndarray of shape (steps,), or schedule
    target : float
        Excess risk, > 0.
    replicas : int
        Runs whose mean is taken, >= 2.
    max_steps : int
        Give up after this many steps; schedules given as arrays end earlier.
    seed, backend, threads, progress
        As in `simulate`.

    Returns
    -------
    SimulatedSteps
        With `steps` (inf if never reached), `low` and `high` of a 95 % interval, and `risk`.

    Raises
    ------
    InputError
        If an argument is outside its limits.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(200)
    >>> found = nqm.simulated_steps_to_target(problem, nqm.Adam(0.02), 64, 0.3)
    >>> found.low <= found.steps <= found.high < 200
    True
    """
    as_problem(problem)
    checked = as_simulated_algorithm("algorithm", algorithm)
    if isinstance(batch_size, list | tuple):
        raise InputError(
            f"batch_size must be one number or schedule, not {shown(batch_size)}: for several "
            "call once for each"
        )
    batch = as_schedule("batch_size", batch_size, least=1.0)
    target = number("target", target, above=0.0)
    limit = integer("max_steps", max_steps, least=0)
    limit = int(min(limit, shortest_length(checked.schedules), batch.length))
    arguments = {
        "replicas": integer("replicas", replicas, least=2), "seed": seed, "backend": backend,
        "threads": threads, "progress": progress,
    }  # fmt: skip
    return passage(problem, checked, batch, target, limit, arguments)


def passage(
    problem: Problem,
    algorithm: Algorithm,
    batch_size: Schedule,
    target: float,
    limit: int,
    arguments: dict[str, Any],
) -> SimulatedSteps:
    """Return the first passage of the mean risk, with the arguments of `simulated_curves`."""
    last = min(FIRST_HORIZON, limit)
    while True:
        rough = simulated_curves(problem, [algorithm], batch_size, spread_steps(last), arguments)
        found = _only(rough).passage(target)
        if found.high < math.inf or last == limit:
            break
        last = min(GROWTH * last, limit)
    dense = _steps_in_question(rough.steps, found, last)
    return _only(simulated_curves(problem, [algorithm], batch_size, dense, arguments)).passage(
        target
    )


def _only(curves: Curves) -> Curves:
    """Return the curve of the only setting."""
    return Curves(curves.steps, curves.mean[0], curves.half[0])


def _steps_in_question(
    records: NDArray[np.int64], found: SimulatedSteps, last: int
) -> NDArray[np.int64]:
    """Return the steps to look at, given a passage at records up to the last step."""
    end = int(min(found.high, last))
    if end < DENSE:
        return np.arange(end + 1)
    # Before the first record at which the mean may be at the target, it is above.
    at = int(np.searchsorted(records, min(found.low, end)))
    begin = int(records[max(at - 1, 0)])
    stride = max((end - begin) // DENSE, 1)
    return np.append(np.arange(begin, end, stride), end)
