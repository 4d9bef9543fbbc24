"""Constant pieces of given lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, InputError, any_array, in_range, integer, real_array
from .base import Schedule, check_total


@dataclass(frozen=True)
class Piecewise(Schedule):
    """The value `values_[k]` for `lengths[k]` steps; the last value goes on for ever."""

    values_: Sequence[float]
    lengths: Sequence[int]

    def __post_init__(self) -> None:
        values = real_array("values", self.values_)
        lengths = any_array("lengths", self.lengths)
        if values.ndim != 1 or not values.size:
            raise InputError(
                f"values must be one or more numbers in one dimension, but has shape {values.shape}"
            )
        if lengths.shape != values.shape:
            raise InputError(
                f"lengths must have one entry per value, shape {values.shape}, but has shape "
                f"{lengths.shape}"
            )
        in_range("values", values, least=0.0)
        whole = tuple(integer("lengths", n, least=1) for n in lengths.tolist())
        check_total("lengths", sum(whole))
        self._settle(values_=tuple(values.tolist()), lengths=whole)

    @property
    def own_steps(self) -> int:
        """Number of steps of all pieces together."""
        return sum(self.lengths)

    def _piece_of(self, steps: Any) -> Any:
        """Index of the piece that contains each step."""
        ends = np.cumsum(self.lengths)[:-1]
        return np.searchsorted(ends, steps, side="right")

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        values: Array = np.asarray(self.values_)[self._piece_of(steps)]
        return values

    def piece(self, step: int) -> tuple[float, bool]:
        """All pieces are constant, and the last never ends."""
        k = int(self._piece_of(step))
        return (math.inf if k == len(self.lengths) - 1 else int(sum(self.lengths[: k + 1]))), True

    @property
    def least(self) -> float:
        """The lowest of the values."""
        return min(self.values_)
