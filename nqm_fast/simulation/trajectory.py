"""The paths of coordinates that a run records: which ones are asked for, and what is given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, InputError, shown, step_array


class Trajectory(NamedTuple):
    """Paths of the traced coordinates of a run.

    With a list of G settings, `w` and `evaluated` have a leading axis of length G.

    Attributes
    ----------
    coordinates : ndarray of int, shape (traced,)
        Their numbers, ascending and counted from 0.
    w : ndarray, shape (replicas, records, traced)
        The first component of the state of the algorithm's recurrence, which is the iterate w for
        SGD; inf from the step at which the replica diverged.
    evaluated : ndarray, shape (replicas, records, traced)
        The evaluated iterate, whose risk is recorded: the average for SGD with an EMA, else w.
    """

    coordinates: NDArray[np.int64]
    w: Array
    evaluated: Array


def as_trajectory(value: Any, dim: int) -> NDArray[np.int64] | None:
    """Check the argument `trajectory` of `simulate`; gives the numbers in ascending order.

    Raises
    ------
    InputError
        If they are no numbers of coordinates of a problem that has `dim` of them.
    """
    if value is None:
        return None
    numbers = step_array("trajectory", value)
    if numbers.ndim > 1 or not numbers.size:
        raise InputError(
            f"trajectory must be one or more numbers of coordinates, not {shown(value)}"
        )
    numbers = np.unique(numbers)
    if numbers[-1] >= dim:
        raise InputError(
            f"trajectory must be numbers of coordinates from 0 to {dim - 1}, but contains "
            f"{numbers[-1]}"
        )
    return numbers


def named_coordinates(numbers: NDArray[np.int64]) -> str:
    """Name coordinates in a line: all if they are few, else how many, the first and the last."""
    if numbers.size == 1:
        return f"coordinate {numbers[0]}"
    if numbers.size <= SHOWN:
        return f"coordinates {', '.join(map(str, numbers))}"
    return f"{numbers.size} coordinates, {numbers[0]} to {numbers[-1]}"


SHOWN = 8
"""Numbers of coordinates that are shown at most."""
