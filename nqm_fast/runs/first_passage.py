"""The law of the first step at which the realised risk is low enough, by collapsed sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ..exact.first_passage import steps_to_target
from ..exact.law.distribution import risk_distribution
from ..foundation.arithmetic import in_usual_arithmetic, methods_in_usual_arithmetic
from ..foundation.validation import Array, InputError, integer, number, real_array, shown
from ..output.html import facts_table
from ..problem import Problem, as_additive_problem
from ..schedules import Schedule
from ..schedules.base import as_single_schedule
from ..schedules.timeline import shortest_length
from .api import simulate

LOOKS = 200
"""About how often the risk is looked at while it may reach the target."""
LATE_LOOKS = 50
"""How often it is looked at later, where what has not reached the target hardly ever will."""
PROBES = 200
"""Steps, evenly spread in their logarithm, at which the probability of the target is computed."""
IMPOSSIBLE = 1e-9
"""Probability below which the target is not reached at a step, or is not missed."""
SETTLED = 0.999
"""Part of its highest value at which the probability of the target has settled."""


@methods_in_usual_arithmetic
@dataclass(frozen=True, eq=False)
class FirstPassage:
    """The law of the first look at which the realised risk is at most the target.

    Attributes
    ----------
    steps : ndarray, shape (replicas,)
        That step of every replica; inf where no look found the target reached.
    looks : ndarray of int
        Steps at which the risk was looked at, ascending.
    of_expected_risk : int or math.inf
        The first step at which the mean over all runs is at most the target (`steps_to_target`).
    """

    steps: Array
    looks: NDArray[np.int64]
    of_expected_risk: int | float

    @property
    def mean(self) -> float:
        """Mean of the step; inf if there are replicas that never reach the target."""
        return float(self.steps.mean())

    @property
    def never(self) -> float:
        """Share of the replicas that never reach the target."""
        return float(np.isinf(self.steps).mean())

    def quantile(self, q: ArrayLike) -> Any:
        """First step by which a share q of the replicas has reached the target, or inf.

        Parameters
        ----------
        q : array_like
            Shares from 0 to 1.

        Raises
        ------
        InputError
            If q is outside its limits.
        """
        given = real_array("q", q)
        if not ((given >= 0.0) & (given <= 1.0)).all():
            raise InputError(f"q must be shares from 0 to 1, not {shown(q)}")
        ordered = np.sort(self.steps)
        place = np.ceil(given * ordered.size).astype(np.int64) - 1
        steps = ordered[np.maximum(place, 0)]
        return steps if given.ndim else float(steps)

    def cdf(self, step: ArrayLike) -> Any:
        """Share of the replicas that have reached the target by a step.

        Raises
        ------
        InputError
            If a step is not a finite number.
        """
        given = real_array("step", step)
        share = np.searchsorted(np.sort(self.steps), given, side="right") / self.steps.size
        return share if given.ndim else float(share)

    def __repr__(self) -> str:
        low, middle, high = self.quantile([0.05, 0.5, 0.95])
        return (
            f"<FirstPassage: 5 %, 50 %, 95 % by step {low:g}, {middle:g}, {high:g}, never "
            f"{self.never:.3g}>"
        )

    def _repr_html_(self) -> str:
        facts = {f"{100 * q:g} % by step": f"{self.quantile(q):g}" for q in (0.05, 0.5, 0.95)}
        facts |= {"never": f"{self.never:.3g}", "expected risk": f"{self.of_expected_risk:g}"}
        return facts_table("FirstPassage", facts)


@in_usual_arithmetic
def first_passage_distribution(
    problem: Problem,
    algorithm: Algorithm,
    batch_size: ArrayLike | Schedule,
    target: float,
    *,
    replicas: int = 10_000,
    seed: int = 0,
    every: int | None = None,
    max_steps: int = 10**9,
    threads: int | None = None,
    progress: bool | None = None,
) -> FirstPassage:
    """The law of the first step at which the realised excess risk is at most `target`.

    It is what somebody sees who watches one training run, where `steps_to_target` is about the
    mean over all runs. Paths are sampled by ``simulate(..., sampling="collapsed")``, exact in law,
    and looked at from the step on at which `risk_distribution` gives the target a probability,
    until that has settled; then seldom, up to the last step. Between looks the risk may have been
    below the target: with ``every=1`` every step is looked at.

    Parameters
    ----------
    problem : Problem
        With what counts "collapsed" sampling allows.
    algorithm : Algorithm
    batch_size : number, ndarray of shape (steps,), or schedule
        Not a list, which might mean several batch sizes.
    target : float
        Excess risk, > 0.
    replicas : int
        How many paths are sampled, >= 1.
    seed : int
        In [0, 2^64).
    every : int, optional
        Steps between looks, >= 1; by default so many that there are about 200 looks.
    max_steps : int
        Give up after this many steps; schedules given as arrays end earlier.
    threads, progress
        As in `simulate`.

    Returns
    -------
    FirstPassage
        With `steps`, `mean`, `never`, `quantile` and `cdf`, and `of_expected_risk` to compare.

    Raises
    ------
    InputError
        If an argument is outside its limits.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(100)
    >>> law = nqm.first_passage_distribution(problem, nqm.SGD(0.2), 16, 0.2, replicas=500)
    >>> bool(law.quantile(0.05) < law.of_expected_risk < law.quantile(0.95))
    True
    """
    as_additive_problem(problem, "first_passage_distribution")
    algorithm = as_algorithm("algorithm", algorithm)
    batch = as_single_schedule("batch_size", batch_size, least=1.0)
    target = number("target", target, above=0.0)
    replicas = integer("replicas", replicas, least=1)
    limit = integer("max_steps", max_steps, least=0)
    limit = int(min(limit, shortest_length(algorithm.schedules), batch.length))
    if every is not None:
        every = integer("every", every, least=1)
    of_mean = steps_to_target(problem, algorithm, batch, target, max_steps=limit)
    looks = _looks(problem, algorithm, batch, target, limit, every)
    if not looks.size:
        return FirstPassage(np.full(replicas, math.inf), looks, of_mean)
    run = simulate(
        problem,
        algorithm,
        batch,
        int(looks[-1]),
        replicas=replicas,
        seed=seed,
        record=looks,
        sampling="collapsed",
        threads=threads,
        progress=progress,
    )
    reached = run.risk <= target
    steps = np.where(reached.any(axis=1), looks[np.argmax(reached, axis=1)], math.inf)
    return FirstPassage(steps, looks, of_mean)


def _looks(
    problem: Problem,
    algorithm: LinearAlgorithm,
    batch: Schedule,
    target: float,
    limit: int,
    every: int | None,
) -> NDArray[np.int64]:
    """Choose the steps to look at: many while the probability of the target changes."""
    probes = np.unique(np.append(np.geomspace(1, max(limit, 1), PROBES).astype(np.int64), 0))
    probes = probes[probes <= limit]
    probability = risk_distribution(problem, algorithm, batch, probes).cdf(target)
    possible = np.flatnonzero(probability > IMPOSSIBLE)
    if not possible.size:
        return np.zeros(0, dtype=np.int64)
    first = max(int(possible[0]) - 1, 0)
    enough = min(1.0 - IMPOSSIBLE, SETTLED * float(probability.max()))
    certain = np.flatnonzero(probability >= 1.0 - IMPOSSIBLE)
    settled = int(certain[0]) if certain.size else int(np.argmax(probability >= enough))
    begin, end = int(probes[first]), int(probes[max(settled, first)])
    stride = max((end - begin) // LOOKS, 1) if every is None else every
    looks = np.append(np.arange(begin, end, stride), end)
    if not certain.size:
        late = np.geomspace(max(end, 1), max(limit, 1), LATE_LOOKS).astype(np.int64)
        looks = np.append(looks, late[(late > end) & (late <= limit)])
    return np.unique(looks)
