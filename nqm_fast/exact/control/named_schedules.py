"""Shapes of learning rates that people use, with numbers that are tuned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...foundation.validation import Array
from ...schedules import Constant, Cosine, InverseTime, Linear, Schedule, WarmupStableDecay


class Shape(NamedTuple):
    """A shape: a learning rate relative to its peak, as a function of the part of time gone."""

    bounds: tuple[tuple[float, float], ...]
    """Limits of its numbers."""
    starts: tuple[tuple[float, ...], ...]
    """Where searches of its numbers begin."""
    values: Callable[[Array, Array], Array]
    """Takes its numbers, and parts of the time in [0, 1); smooth in the numbers."""
    schedule: Callable[[float, Array, int], Schedule]
    """Takes the peak, its numbers and the steps."""
    is_made_anew: bool = False
    """Whether any other number of steps can follow from what was done so far."""


LOG_TIME = math.log(1e-4), math.log(100.0)
"""Limits of the time after which a power law falls, relative to all steps."""


def _decay_steps(share: float, steps: int) -> int:
    """Return how many steps a decay takes, at least one."""
    return min(max(round(share * steps), 1), steps)


def _wsd(peak: float, numbers: Array, steps: int) -> Schedule:
    """Return a plateau and a linear decay."""
    decay = _decay_steps(float(numbers[0]), steps)
    return WarmupStableDecay(peak, 0, steps - decay, decay)


SHAPES: dict[str, Shape] = {
    "constant": Shape((), ((),), lambda x, u: np.ones_like(u), lambda peak, x, n: Constant(peak)),
    "cosine": Shape(
        ((0.0, 1.0),),
        ((0.0,), (0.1,)),
        lambda x, u: x[0] + (1.0 - x[0]) * np.cos(0.5 * math.pi * u) ** 2,
        lambda peak, x, n: Cosine(peak, n, peak * float(x[0])),
    ),
    "linear": Shape(
        ((0.0, 1.0),),
        ((0.0,), (0.1,)),
        lambda x, u: x[0] + (1.0 - x[0]) * (1.0 - u),
        lambda peak, x, n: Linear(peak, peak * float(x[0]), n),
    ),
    "wsd": Shape(
        ((0.01, 1.0),),
        ((0.2,), (0.7,)),
        lambda x, u: np.minimum(1.0, (1.0 - u) / x[0]),
        _wsd,
        is_made_anew=True,
    ),
    "power": Shape(
        (LOG_TIME, (0.05, 20.0)),
        ((math.log(0.1), 1.0), (math.log(0.01), 0.5), (0.0, 2.0)),
        lambda x, u: (1.0 + u / np.exp(x[0])) ** -x[1],
        lambda peak, x, n: InverseTime(peak, n * math.exp(x[0]), float(x[1])),
    ),
}
