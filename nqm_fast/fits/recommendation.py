"""Settings that a fitted model recommends, and steps to a loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..foundation.validation import InputError, number, shown
from ..schedules import Schedule
from .templates import Template
from .training_run import TrainingRun

Loss = Callable[[TrainingRun], float]
"""The loss that is predicted for a run at its last step."""

OVER = ("lr", "batch_size")
MOST_STEPS = 1 << 40
LOWEST_LR, PLACES, REFINEMENTS = 1e-6, 49, 16
"""Learning rates that are looked at, in units of the highest, and calls that refine the best."""
BATCHES_IN_OCTAVE = 2
GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)


class Recommendation(NamedTuple):
    """Settings that are predicted to be best.

    Attributes
    ----------
    lr : float
        The highest learning rate of the schedule.
    batch_size : float
    steps : int
    loss : float
        Predicted at the last step.
    """

    lr: float
    batch_size: float
    steps: int
    loss: float


def recommended(
    loss: Loss,
    highest_lr: Callable[[float], float],
    *,
    dim: int | None,
    steps: int | None,
    samples: float | None,
    batch_size: float | None,
    over: Sequence[str],
    schedule: str,
    settings: dict[str, Any],
) -> Recommendation:
    """Search the best learning rate, and the best batch size for a number of samples."""
    names = (over,) if isinstance(over, str) else tuple(over)
    wrong = next((name for name in names if name not in OVER), None)
    if wrong is not None or "lr" not in names:
        raise InputError(f"over must be ('lr',) or ('lr', 'batch_size'), not {shown(over)}")
    if (steps is None) == (samples is None):
        raise InputError("give either steps or samples, and not both")
    shape = Template("schedule", schedule)

    def at(size: float) -> Recommendation:
        count = steps if steps is not None else max(round(float(samples or 0.0) / size), 1)

        def of_rate(log_lr: float) -> float:
            lr = shape.schedule({"lr": math.exp(log_lr)}, count)
            run = TrainingRun(None, count, batch_size=size, lr=lr, dim=dim, **settings)
            return loss(run)

        highest = highest_lr(size)
        best, least = lowest(of_rate, math.log(LOWEST_LR * highest), math.log(highest))
        return Recommendation(math.exp(best), size, count, least)

    if "batch_size" not in names:
        return at(number("batch_size", batch_size, least=1.0))
    if samples is None:
        raise InputError("over 'batch_size' needs samples: for given steps the largest is the best")
    octaves = math.log2(number("samples", samples, least=1.0))
    sizes = 2.0 ** np.linspace(0.0, octaves, math.ceil(octaves * BATCHES_IN_OCTAVE) + 1)
    return min((at(float(size)) for size in sizes), key=lambda found: found.loss)


def lowest(function: Callable[[float], float], low: float, high: float) -> tuple[float, float]:
    """Find where a function is lowest, and its value: among places, then by golden sections."""
    places = np.linspace(low, high, PLACES).tolist()
    values = [function(place) for place in places]
    best = int(np.argmin(values))
    known = [(values[best], places[best])]
    left, right = places[max(best - 1, 0)], places[min(best + 1, PLACES - 1)]
    first, second = right - GOLDEN * (right - left), left + GOLDEN * (right - left)
    at_first, at_second = function(first), function(second)
    for _ in range(REFINEMENTS):
        known += [(at_first, first), (at_second, second)]
        if at_first < at_second:
            right, second, at_second = second, first, at_first
            first = right - GOLDEN * (right - left)
            at_first = function(first)
        else:
            left, first, at_first = first, second, at_second
            second = left + GOLDEN * (right - left)
            at_second = function(second)
    least, place = min(known)
    return place, least


def steps_to_loss(
    loss: Loss, target: float, run: Callable[[int], TrainingRun], most: float = math.inf
) -> float:
    """Find the fewest steps, by doubling and halving, at which the loss is no more than a target.

    `most` is returned unless fewer than so many suffice.

    It is taken to fall with the steps, as it does with a learning rate that is tuned for each
    number of them.
    """

    def reached(steps: int) -> bool:
        return loss(run(steps)) <= target

    low, high = 0, 1
    if math.isinf(most):
        while not reached(high):
            low, high = high, 2 * high
            if high > MOST_STEPS:
                return math.inf
    else:
        high = int(most) - 1
        if high < 1 or not reached(high):
            return most
    while high - low > max(1, low >> 12):
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return float(high)


def template_of(lr: str | float | Schedule) -> Callable[[int], Any]:
    """Return what makes the learning rate of a run with a number of steps."""
    if isinstance(lr, str):
        shape = Template("lr", lr)
        return lambda steps: shape.schedule({}, steps)
    return lambda steps: lr


def checked_target(target: float, irreducible: float) -> float:
    """Check a loss that is to be reached."""
    value = number("target", target, above=0.0)
    if value <= irreducible:
        raise InputError(
            f"target must be above the irreducible loss, {irreducible:g}, not {value:g}"
        )
    return value
