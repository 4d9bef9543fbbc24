"""A factor every so many steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, number
from .base import Schedule


@dataclass(frozen=True)
class Step(Schedule):
    """The value `initial`, multiplied by `factor` every `every` steps."""

    initial: float
    factor: float
    every: int

    def __post_init__(self) -> None:
        self._check_numbers("initial")
        self._check_steps("every", least=1)
        self._settle(factor=number("factor", self.factor, above=0.0))

    @property
    def own_steps(self) -> None:
        """None: it goes on changing, or has nothing to say."""
        return None

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        if self.initial == 0.0:
            return np.zeros(np.shape(steps))
        with np.errstate(over="ignore", under="ignore"):
            values: Array = self.initial * self.factor ** np.asarray(steps // self.every, float)
        return values

    def piece(self, step: int) -> tuple[float, bool]:
        """Pieces are constant and have `every` steps; one at which the value settles never ends."""
        now, next_ = self.values(np.array([step, step + self.every]))
        if now == next_:  # The factor is 1, or the value has become 0 or inf.
            return math.inf, True
        return (step // self.every + 1) * self.every, True

    @property
    def least(self) -> float:
        """The lowest value: the initial one, or the limit 0 if the factor is below 1."""
        return self.initial if self.factor >= 1.0 else 0.0
