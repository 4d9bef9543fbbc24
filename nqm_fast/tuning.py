"""The best hyper-parameters, by the exact model or by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from .algorithms.base import Algorithm, as_simulated_algorithm
from .algorithms.sgd import SGD
from .exact import tuning as exact
from .exact.tuning_task import checked_search, several_batch_sizes
from .foundation.arithmetic import in_usual_arithmetic
from .foundation.validation import InputError, choice, integer, number, shown
from .problem import Problem, as_problem
from .runs.tuning import Search, tune_by_simulation
from .schedules import Schedule, as_schedule
from .schedules.timeline import shortest_length

REPLICAS = 8
MOST_STEPS = {"exact": 10**9, "simulation": 10**6}
"""Steps up to which each way searches, if no number is given."""


@in_usual_arithmetic
def tune(
    problem: Problem,
    batch_size: ArrayLike | Schedule,
    target: float,
    over: Sequence[str] = ("lr",),
    *,
    algorithm: type[Algorithm] | Algorithm = SGD,
    by: str = "exact",
    max_steps: int | None = None,
    effort: str = "full",
    replicas: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
    backend: str = "auto",
    **fixed: Any,
) -> Any:
    """Hyper-parameters that reach the target in the fewest steps.

    By the exact model the search is continuous: learning rate over all that can be stable, momentum
    and EMA over [0, 1 - 1e-7]. It reproduces figure 5 of Zhang et al. 2019, without their grid.
    Where momentum makes the risk oscillate there are many troughs, which differential evolution
    searches for, always with the same draws. Searching more hyper-parameters never gives more
    steps; in a handful of coordinates and thousands of steps a better trough can be missed, by more
    than 1 % in about one of 200 random problems.

    By simulation, algorithms need not be linear. Settings of a coarse grid are compared on one
    noise stream; then the search narrows around the best, and goes beyond the grid where that is at
    its edge, until settings are 10 % apart. What the best setting needs is found on other noise
    than it was chosen by.

    Parameters
    ----------
    problem : Problem
    batch_size : number or schedule; or list or array of B of them
        For one value per step give `schedules.PerStep`.
    target : float
        Excess risk, > 0.
    over : sequence of str
        What to search: any of "lr", "momentum", "ema", or of the `tunable` of `algorithm`.
        Other positive hyper-parameters than "lr" are searched up to a factor of 10^6 around
        their default, or around 1.
    algorithm : type or Algorithm
        The kind of algorithm, or one whose other hyper-parameters are kept, as one around another
        must be given; one that is not linear needs ``by="simulation"``.
    by : {"exact", "simulation"}
        Whether the expected risk is computed, or the mean risk of runs.
    max_steps : int, optional
        Give up beyond this many steps, by default 10^9, or 10^6 by simulation; schedules given as
        arrays end earlier.
    effort : {"full", "fast"}
        With "fast" far fewer points evolve, so that better troughs are missed more often where
        two or more hyper-parameters are searched. All other promises hold. It is for the exact
        model.
    replicas, seed, threads : int, optional
        For simulation: runs whose mean is taken, >= 2 and 8 by default; and as in `simulate`.
    backend : {"auto", "numba", "cython", "numpy"}
        As in `expected_risk`; by simulation as in `simulate`.
    **fixed
        Values of the other hyper-parameters, such as ``momentum=0.9`` or ``power=0.5``.

    Returns
    -------
    Tuned, or list of B
        ``steps`` (the first passage on the whole spectrum), ``algorithm``, ``risk``. By simulation
        they are of type `SimulatedTuned`, with ``low`` and ``high``, a 95 % interval of the steps.

    Raises
    ------
    InputError
        If an argument is outside its limits, or a name is not a hyper-parameter.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> nqm.tune(nqm.Problem.power_law(10_000), 1024, 0.01).steps
    10354

    >>> problem = nqm.Problem.power_law(200)
    >>> best = nqm.tune(problem, 64, 0.3, algorithm=nqm.Adam, by="simulation")
    >>> best.low <= best.steps <= best.high
    True
    """
    choice("by", by, tuple(MOST_STEPS))
    if by == "exact":
        given = {"replicas": replicas, "seed": seed, "threads": threads}
        for name, value in given.items():
            if value is not None:
                raise InputError(f"{name} = {shown(value)} is for by='simulation'")
        most = MOST_STEPS[by] if max_steps is None else max_steps
        return exact.tune(
            problem, batch_size, target, over, algorithm=algorithm, max_steps=most, effort=effort,
            backend=backend, **fixed,
        )  # fmt: skip
    if effort != "full":
        raise InputError(f"effort = {shown(effort)} is for by='exact'")
    as_problem(problem)
    target = number("target", target, above=0.0)
    limit = MOST_STEPS[by] if max_steps is None else integer("max_steps", max_steps, least=1)
    names, any_example = checked_search(over, algorithm, fixed)
    example = as_simulated_algorithm("algorithm", any_example)
    arguments = {
        "replicas": integer("replicas", REPLICAS if replicas is None else replicas, least=2),
        "seed": 0 if seed is None else seed,
        "threads": threads,
        "backend": backend,
    }

    def best_at(size: Any) -> Any:
        batch = as_schedule("batch_size", size, least=1.0)
        most = int(min(limit, batch.length, shortest_length(example.schedules)))
        return tune_by_simulation(
            Search(problem, algorithm, names, fixed, batch, target, most, arguments)
        )

    several = several_batch_sizes(batch_size)
    return best_at(batch_size) if several is None else [best_at(size) for size in several]
