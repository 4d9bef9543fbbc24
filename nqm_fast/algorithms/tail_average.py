"""The mean of any algorithm's latest iterates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, integer
from ..schedules import Schedule
from .symbolic import Update, factor
from .wrapper import InnerUpdate, Wrapper, averaged

SHARE = "share"
"""Name of the factor that is the share of the new iterate in the average."""


@dataclass(frozen=True, repr=False)
class TailAverage(Wrapper):
    """The mean e of the iterates x of another algorithm from some step on.

    Per coordinate (Polyak & Juditsky 1992; Jain et al. 2018 for the tail)::

        e_{t+1} = x_{t+1}                                                t < start
        e_{t+1} = e_t + (x_{t+1} - e_t) / (t + 1 - start)                t >= start

    The risk is that of e: of the iterate up to step ``start + 1``, then of the mean of the iterates
    ``start + 1`` to t. With ``start=0`` it is Polyak's average of all iterates.

    Parameters
    ----------
    inner : Algorithm
        Any linear algorithm.
    start : int
        The last step whose iterate does not count, >= 0.

    Raises
    ------
    InputError
        If a value is outside its limits, or `inner` is not linear.
    """

    inner: Any
    start: int = 0

    def __post_init__(self) -> None:
        self._settle_inner(start=integer("start", self.start, least=0))

    @property
    def own_schedules(self) -> dict[str, Schedule]:
        """The share of the new iterate in the average."""
        return {SHARE: _Share(self.start)}

    def wrapped(self, inner: InnerUpdate) -> Update:
        """The step of the inner state and e."""
        return averaged(inner, factor(SHARE))


class _Share(Schedule):
    """One until an average starts, then one over the number of iterates in it."""

    def __init__(self, start: int) -> None:
        self.start = start

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        return np.asarray(1.0 / (np.maximum(steps - self.start, 0) + 1.0))

    def piece(self, step: int) -> tuple[float, bool]:
        """A constant piece before the average, and one that varies."""
        return (self.start + 1, True) if step <= self.start else (math.inf, False)

    @property
    def least(self) -> float:
        """The lowest value, which is the limit 0."""
        return 0.0
