"""Many settings of one algorithm, of whose terms the hyper-parameters that differ are factors.

A recurrence is a sum of terms times weights. If what differs between settings is in the weights
alone, the recurrence is made once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ... import kernels
from ...algorithms.base import LinearAlgorithm
from ...algorithms.sparse import (
    SparseRecurrence,
    checked_recurrence,
    sparse_recurrence,
    term_weights,
)
from ...coordinates.blocks import Block
from ...foundation.validation import Array
from ...schedules import Schedule
from ..coupled.maps import CoupledBlock


class _Column(Schedule):
    """A hyper-parameter of many settings: the step of other schedules is the setting's number."""

    def __init__(self) -> None:
        self.column = np.zeros(1)

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values in settings of the given numbers."""
        chosen: Array = self.column[steps]
        return chosen

    def piece(self, step: int) -> tuple[float, bool]:
        """There is one piece, which varies."""
        return math.inf, False

    @property
    def least(self) -> float:
        """The lowest value that there may be."""
        return 0.0


class Factored(NamedTuple):
    """An algorithm with hyper-parameters that differ between settings, on a block."""

    block: Block | CoupledBlock
    algorithm: LinearAlgorithm
    columns: dict[str, _Column]
    """Hyper-parameters that differ, other than the learning rate, by name."""
    terms: int
    recurrence: SparseRecurrence

    def weights(self, lr: Array, values: dict[str, Array]) -> Array:
        """Return the weights of terms in G settings, shape (G, terms); arrays have shape (G,)."""
        for name, column in self.columns.items():
            column.column = values[name]
        return term_weights(self.algorithm, self.terms, lr, np.arange(lr.size))

    def risks(self, weights: Array, inverse_batch: float, steps: NDArray[np.int64]) -> Array:
        """Compute the risk of settings by their weights at ascending steps, shape (G, steps)."""
        read, start, *arrays = self.recurrence
        backend = kernels.fastest_backend()
        risk = np.empty((len(weights), steps.size))
        others = *arrays, weights, inverse_batch, steps, *self.block[:4], risk
        if len(read) == 1:
            backend.closed_form.constant_settings_risk(start[0], read[0], *others)
        else:
            backend.moments.settings_risk(read, start, *others)
        return risk


def factored(
    algorithm: LinearAlgorithm, names: Sequence[str], block: Block | CoupledBlock
) -> Factored | None:
    """Make hyper-parameters of the given names factors, or return None if one cannot be.

    It can if the algorithm takes a schedule for it.
    """
    columns = {name: _Column() for name in names}
    variable = algorithm.with_values(**columns)
    if not columns.keys() <= variable.schedules.keys():
        return None
    recurrence = checked_recurrence(variable, block.h)
    sparse = sparse_recurrence(recurrence, block.h.size)
    return Factored(block, variable, columns, len(recurrence.terms), sparse)
