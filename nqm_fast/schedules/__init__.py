"""Learning rate and batch size over time.

A schedule is given as a number, as an array with one value per step, or as one of the objects
here, each in a file of its own. Step t uses the value at t, counted from 0. The objects go on for
ever, an array ends.
"""

from .base import Constant, PerStep, Schedule, as_schedule
from .cosine import Cosine
from .inverse_time import InverseTime
from .linear import Linear
from .piecewise import Piecewise
from .step import Step
from .warmup import Warmup
from .warmup_stable_decay import WarmupStableDecay

__all__ = [
    "Constant",
    "Cosine",
    "InverseTime",
    "Linear",
    "PerStep",
    "Piecewise",
    "Schedule",
    "Step",
    "Warmup",
    "WarmupStableDecay",
    "as_schedule",
]


def __dir__() -> list[str]:
    """List the public names, which completion offers."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
