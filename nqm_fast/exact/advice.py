"""What to do about a target or a budget: the best constants, schedules and methods."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..algorithms.base import Algorithm
from ..problem import Problem
from .optimal_control import Control, OutOfReachError, optimal_control
from .tuning import tune

WAYS: dict[str, tuple[str, ...]] = {
    "constant": (),
    "lr schedule": ("lr",),
    "batch size schedule": ("batch_size",),
    "both schedules": ("lr", "batch_size"),
}
"""What changes over time."""
METHODS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "plain SGD": (("lr",), {}),
    "momentum": (("lr", "momentum"), {}),
    "EMA": (("lr", "ema"), {}),
    "preconditioner h^0.5": (("lr",), {"power": 0.5}),
}
"""What is tuned, and what is given."""


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


class Advice(NamedTuple):
    """What there is to do."""

    ways: tuple[Way, ...]
    methods: tuple[Method, ...]
    batch_size: int
    """Of all methods: that of the best constants."""
    target: float
    """Of all methods: what is given, or the risk of the best constants."""


def advice(
    problem: Problem, *, steps: int | None, samples: int | None, target: float | None
) -> Advice:
    """Find the best constants and schedules, and what methods need in batches as large.

    Raises
    ------
    InputError
        As `optimal_control`, if even both schedules together do not reach the target.
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
    methods = []
    for name, (over, fixed) in METHODS.items():
        tuned = tune(problem, size, aim, over, **fixed)
        methods.append(Method(name, tuned.steps, tuned.algorithm))
    return Advice(tuple(ways), tuple(methods), size, aim)
