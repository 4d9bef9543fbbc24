"""Half a cosine, from a peak down to an end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array
from .base import Schedule


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from `peak` at step 0 down to `end` at step `steps`, then constant."""

    peak: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        self._check_numbers("peak", "end")
        self._check_steps("steps", least=1)

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        half = np.cos(np.minimum(steps / self.steps, 1.0) * (math.pi / 2)) ** 2
        return np.where(steps >= self.steps, self.end, self.end + (self.peak - self.end) * half)

    def piece(self, step: int) -> tuple[float, bool]:
        """A decay is followed by a constant piece."""
        return (self.steps, False) if step < self.steps else (math.inf, True)

    @property
    def least(self) -> float:
        """The lower end."""
        return min(self.peak, self.end)
