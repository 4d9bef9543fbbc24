"""A decay like a power of time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, number
from .base import Schedule


@dataclass(frozen=True)
class InverseTime(Schedule):
    """From `initial` at step 0 down like one over time: ``initial / (1 + step / steps)^power``."""

    initial: float
    steps: float = 1.0
    power: float = 1.0

    def __post_init__(self) -> None:
        self._check_numbers("initial")
        positive = {
            name: number(name, getattr(self, name), above=0.0) for name in ("steps", "power")
        }
        self._settle(**positive)

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        return np.asarray(self.initial * (1.0 + steps / self.steps) ** -self.power)

    def piece(self, step: int) -> tuple[float, bool]:
        """There is one piece, which varies and never ends."""
        return math.inf, False

    @property
    def least(self) -> float:
        """The lowest value, which is the limit 0."""
        return 0.0
