"""Batches without replacement as batches of another size, where noise is the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...foundation.validation import Array
from ...noise import FinitePopulation
from ...problem import Problem
from ...schedules import Constant, Schedule

WHOLE_BATCH = 1e300
"""Stands for the batch size without noise, which is infinite."""


@dataclass(frozen=True)
class _PopulationBatch(Schedule):
    """The batch size with replacement whose noise batches without replacement have."""

    batch_size: Schedule
    noise: FinitePopulation

    def __post_init__(self) -> None:
        self._settle(length=self.batch_size.length)

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        return with_replacement(self.noise, self.batch_size.values(steps))

    def piece(self, step: int) -> tuple[float, bool]:
        """The piece of the batch size without replacement, which has the same ends."""
        return self.batch_size.piece(step)

    @property
    def least(self) -> float:
        """The least value, which the least batch without replacement has."""
        return float(with_replacement(self.noise, np.array([self.batch_size.least]))[0])


def with_replacement(noise: FinitePopulation, batch_size: Array) -> Array:
    """Return the batch sizes with replacement of the same noise."""
    with np.errstate(divide="ignore"):
        return np.minimum(1.0 / noise.inverse_batch(batch_size), WHOLE_BATCH)


def population_batch(problem: Problem, batch_size: Schedule) -> Schedule:
    """Return the batch size at which noise that is the same everywhere is that of a problem's."""
    noise = problem.noise_model
    assert isinstance(noise, FinitePopulation)
    schedule = _PopulationBatch(batch_size, noise)
    return Constant(schedule.least) if isinstance(batch_size, Constant) else schedule
