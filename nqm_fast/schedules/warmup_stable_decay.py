"""A warm-up, a plateau, and a decay."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array
from .base import Schedule, check_total


@dataclass(frozen=True)
class WarmupStableDecay(Schedule):
    """Linear from 0 to `peak`, constant, and linear to `end`, where it stays.

    `warmup`, `stable` and `decay` are the lengths of the three parts, in steps.
    """

    peak: float
    warmup: int
    stable: int
    decay: int
    end: float = 0.0

    def __post_init__(self) -> None:
        self._check_numbers("peak", "end")
        self._check_steps("warmup", "stable", "decay", least=0)
        check_total("warmup, stable and decay", self.warmup + self.stable + self.decay)

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        flat = self.warmup + self.stable
        knots = [0, self.warmup, flat, flat + self.decay]
        # A ramp of no steps puts two knots at one step; np.interp takes the later, as it should.
        return np.interp(steps, knots, [0.0, self.peak, self.peak, self.end])

    def piece(self, step: int) -> tuple[float, bool]:
        """Ramp, plateau and ramp are followed by a constant piece."""
        flat = self.warmup + self.stable
        if step < self.warmup:
            return self.warmup, False
        if step < flat:
            return flat, True
        return (flat + self.decay, False) if step < flat + self.decay else (math.inf, True)

    @property
    def least(self) -> float:
        """The lowest value, which is 0 where there is a warm-up."""
        return min(self.peak, self.end, 0.0 if self.warmup else self.peak)
