"""The base of all schedules, constants and arrays among them, and values as schedules."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.immutable import frozen
from ..foundation.messages import MOST_ITEMS
from ..foundation.validation import (
    MOST_STEPS,
    Array,
    InputError,
    any_array,
    in_range,
    integer,
    number,
    real_array,
    shown,
)
from .tables import Tabular


class Schedule(Tabular):
    """A value for each step.

    A new kind of schedule defines its values, where its pieces end, and its least value. The
    engines jump over constant pieces instead of stepping through them.
    """

    length: float = math.inf
    """Number of steps that the schedule covers."""
    period: int | None = None
    """Steps after which it repeats for ever, if it does without being constant."""

    @abstractmethod
    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps, an array of the same shape."""

    @abstractmethod
    def piece(self, step: int) -> tuple[float, bool]:
        """The end (exclusive) of the piece that contains `step`, and whether it is constant."""

    @property
    @abstractmethod
    def least(self) -> float:
        """The lowest value that occurs."""

    def _check_numbers(self, *names: str) -> None:
        """Check attributes that are values of the schedule, and make them floats."""
        self._settle(**{name: number(name, getattr(self, name), least=0.0) for name in names})

    def _check_steps(self, *names: str, least: int) -> None:
        """Check attributes that are numbers of steps, and make them ints."""
        self._settle(**{name: integer(name, getattr(self, name), least=least) for name in names})


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value at every step."""

    value: float

    def __post_init__(self) -> None:
        self._check_numbers("value")

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        return np.full(steps.shape, self.value)

    def piece(self, step: int) -> tuple[float, bool]:
        """There is one piece, which is constant and never ends."""
        return math.inf, True

    @property
    def least(self) -> float:
        """The lowest value, which is the only one."""
        return self.value


@dataclass(frozen=True)
class PerStep(Schedule):
    """One value per step, given as an array; it covers no more steps than it has values."""

    array: Any

    def __repr__(self) -> str:
        values = self.array.tolist()
        if len(values) <= MOST_ITEMS:
            return f"PerStep({values})"
        return f"PerStep([{values[0]}, {values[1]}, ..., {values[-1]}] of {len(values)} values)"

    def __post_init__(self) -> None:
        array = real_array("array", self.array)
        if array.ndim != 1 or not array.size:
            raise InputError(
                "array must be one-dimensional with one value per step, "
                f"but has shape {array.shape}"
            )
        in_range("array", array, least=0.0)
        self._settle(array=frozen(array), length=float(array.size))

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        values: Array = self.array[steps]
        return values

    def piece(self, step: int) -> tuple[float, bool]:
        """There is one piece, which varies and ends with the array."""
        return self.length, False

    @property
    def least(self) -> float:
        """The lowest of the values."""
        return float(self.array.min())


def check_total(names: str, total: int) -> None:
    """Raise an InputError if numbers of steps add up to more than can be counted."""
    if total > MOST_STEPS:
        raise InputError(f"{names} must add up to at most 2^62 steps, not {total}")


@in_usual_arithmetic
def as_schedule(name: str, value: Schedule | ArrayLike, *, least: float = 0.0) -> Schedule:
    """Return a schedule for a value that is one already, a number, or one value per step.

    Algorithms of your own call it for their learning rate, so that it may be given in all of
    these ways.

    Parameters
    ----------
    name : str
        Name of the argument, with which error messages begin.
    value : number, array_like of shape (steps,), or Schedule
    least : float
        Lowest value that is allowed at any step.

    Returns
    -------
    Schedule
        `value` itself, a `Constant`, or a `PerStep`.

    Raises
    ------
    InputError
        If `value` is none of these, or goes below `least`.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> nqm.schedules.as_schedule("lr", 0.1)
    Constant(value=0.1)
    >>> nqm.schedules.as_schedule("lr", [0.3, 0.2, 0.1]).length
    3.0
    """
    if not isinstance(value, Schedule):
        raw = any_array(name, value)
        if not raw.ndim:
            return Constant(number(name, value, least=least))
        if raw.ndim != 1 or not raw.size or raw.dtype.kind not in "iufO" or raw[0] is None:
            raise InputError(
                f"{name} must be a number, one value per step or a schedule, "
                f"not {shown(value)} of shape {raw.shape}"
            )
        array = real_array(name, value)
        in_range(name, array, least=least)
        return PerStep(array)
    kind = type(value).__name__
    lowest = number(f"{kind}.least", value.least)
    if value.length != math.inf:
        number(f"{kind}.length", value.length, least=0.0)
    if lowest < least:
        raise InputError(
            f"{name} must be >= {least:g} at every step, but {shown(value)} goes down to {lowest:g}"
        )
    return value


def as_single_schedule(name: str, value: Any, *, least: float) -> Schedule:
    """Return a schedule as `as_schedule` does, where a list might mean several values as well.

    Raises
    ------
    InputError
        If `value` is a list, or is no schedule.
    """
    if isinstance(value, list | tuple):
        words = name.replace("_", " ")
        raise InputError(
            f"{name} must be one number or schedule, not {shown(value)}: for several {words}s "
            "call once for each, for one per step give schedules.PerStep([...])"
        )
    return as_schedule(name, value, least=least)
