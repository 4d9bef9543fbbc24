"""A ramp, followed by another schedule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array
from .base import Schedule, as_schedule


@dataclass(frozen=True)
class Warmup(Schedule):
    """Linear from `start` to the first value of `then` over `steps` steps, followed by `then`."""

    steps: int
    then: Schedule
    start: float = 0.0

    def __post_init__(self) -> None:
        self._check_numbers("start")
        self._check_steps("steps", least=1)
        self._settle(then=as_schedule("then", self.then))
        self._settle(length=self.steps + self.then.length)

    @property
    def own_steps(self) -> int | None:
        """Number of steps of the ramp and of `then`, if that says how many it has."""
        later = self.then.own_steps
        return None if later is None else self.steps + later

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        later = self.then.values(np.maximum(steps - self.steps, 0))
        done = np.minimum(steps / self.steps, 1.0)
        return np.where(steps < self.steps, self.start * (1.0 - done) + later * done, later)

    def piece(self, step: int) -> tuple[float, bool]:
        """The ramp is followed by the pieces of `then`, moved by its length."""
        if step < self.steps:
            return self.steps, False
        end, constant = self.then.piece(step - self.steps)
        return self.steps + end, constant

    @property
    def least(self) -> float:
        """The lower of the start of the ramp and the lowest value of `then`."""
        return min(self.start, self.then.least)
