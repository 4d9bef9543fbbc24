"""The answers of ``nqm-fast advise``: best constants, schedules, batch sizes and methods."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..algorithms.base import Algorithm
from ..algorithms.sgd import SGD
from ..foundation.validation import InputError
from ..problem import Problem
from .batches.critical import CriticalBatchSize, by_every_definition
from .batches.frontier import Choice, smallest_reaching
from .batches.tuned_sizes import TunedSizes
from .control.optimal_control import Control, OutOfReachError, optimal_control
from .tuning import tune

WAYS: dict[str, tuple[str, ...]] = {
    "constant": (),
    "lr schedule": ("lr",),
    "batch size schedule": ("batch_size",),
    "both schedules": ("lr", "batch_size"),
}
"""Ways to train by plain SGD, with the arguments `over` of `optimal_control`."""
METHODS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "plain SGD": (("lr",), {}),
    "momentum": (("lr", "momentum"), {}),
    "EMA": (("lr", "ema"), {}),
    "preconditioner h^0.5": (("lr",), {"power": 0.5}),
}
"""Methods by name: hyper-parameters that are tuned, and values of others."""
MOST_STEPS = 10**9
"""Steps of constants up to which batch sizes and methods are compared, as by default in `tune`."""
OVERHEAD = 0.2
"""Samples more than by linear scaling, as a share."""


class Way(NamedTuple):
    """Plain SGD with constants, or with schedules."""

    name: str
    control: Control | None
    """None where the target is out of reach."""


class Method(NamedTuple):
    """A method with constants, tuned."""

    name: str
    steps: int | float
    algorithm: Algorithm


class BatchSizes(NamedTuple):
    """Critical and cheapest batch sizes of plain SGD, whose constant learning rate is tuned."""

    reference: float
    """The least power of 4 at which the target is reached."""
    critical: dict[str, CriticalBatchSize]
    """By definition."""
    cheapest: Choice | None
    """None without costs."""


class Advice(NamedTuple):
    """All answers for a target or a budget."""

    ways: tuple[Way, ...]
    sizes: BatchSizes | None
    """None where no batch size reaches the target in `MOST_STEPS`."""
    methods: tuple[Method, ...]
    batch_size: int
    """The batch size at which methods are compared: that of the best constants."""
    target: float
    """The risk to which batch sizes and methods are compared.

    It is the given target, or the risk of the best constants."""


def advice(
    problem: Problem,
    *,
    steps: int | None,
    samples: int | None,
    target: float | None,
    costs: tuple[float, float] | None,
) -> Advice:
    """Find the best constants and schedules, how large batches may be, and what methods need.

    Methods have batches as large as those of the best constants. `costs` are those of a step and
    of a sample.

    Raises
    ------
    InputError
        As `optimal_control`, if even both schedules together do not reach the target; or if a
        budget leaves no risk at all.
    """
    named: dict[str, Any] = {"steps": steps, "samples": samples, "target": target}
    best = optimal_control(problem, **named)
    ways = []
    for name, over in WAYS.items():
        try:
            found = best if over == WAYS["both schedules"] else None
            ways.append(Way(name, found or optimal_control(problem, **named, over=over)))
        except OutOfReachError:
            ways.append(Way(name, None))
    base = ways[0].control or best
    size = max(round(base.samples / base.steps), 1)
    aim = base.risk if target is None else target
    if not aim > 0.0:
        raise InputError(
            f"steps = {steps} and samples = {samples} must leave a risk above 0 with constants, "
            "as there is nothing to improve"
        )
    methods = []
    for name, (over, fixed) in METHODS.items():
        tuned = tune(problem, size, aim, over, max_steps=MOST_STEPS, **fixed)
        methods.append(Method(name, tuned.steps, tuned.algorithm))
    return Advice(tuple(ways), _batch_sizes(problem, aim, costs), tuple(methods), size, aim)


def _batch_sizes(
    problem: Problem, target: float, costs: tuple[float, float] | None
) -> BatchSizes | None:
    """Find how large batches may be."""
    tuned = TunedSizes(problem, target, ["lr"], SGD, MOST_STEPS, "full", {})
    reference = smallest_reaching(tuned)
    if math.isinf(tuned.steps(reference)):
        return None
    critical = by_every_definition(tuned, reference, OVERHEAD)
    cheapest = None if costs is None else critical["knee"].curve.cheapest(*costs)
    return BatchSizes(reference, critical, cheapest)
