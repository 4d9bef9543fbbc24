"""A ramp between two values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array
from .base import Schedule


@dataclass(frozen=True)
class Linear(Schedule):
    """From `start` at step 0 to `end` at step `steps`, then constant."""

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        self._check_numbers("start", "end")
        self._check_steps("steps", least=1)

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        done = np.minimum(steps / self.steps, 1.0)
        return self.start * (1.0 - done) + self.end * done

    def piece(self, step: int) -> tuple[float, bool]:
        """A ramp is followed by a constant piece."""
        return (self.steps, False) if step < self.steps else (math.inf, True)

    @property
    def least(self) -> float:
        """The lower end."""
        return min(self.start, self.end)
