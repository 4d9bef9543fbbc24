"""Learning rate and batch size over time.

A schedule is given as a number, as an array with one value per step, or as one of the objects
here. Step t uses the value at t, counted from 0. The objects go on for ever, an array ends.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arithmetic import in_usual_arithmetic
from .immutable import frozen
from .messages import MOST_ITEMS
from .schedule_tables import Tabular
from .validation import (
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

__all__ = [
    "Constant",
    "Cosine",
    "InverseTime",
    "Linear",
    "PerStep",
    "Piecewise",
    "Schedule",
    "Step",
    "Warmup",
    "WarmupStableDecay",
    "as_schedule",
]


def __dir__() -> list[str]:
    """List the public names, which completion offers."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


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


@dataclass(frozen=True)
class Linear(Schedule):
    """From `start` at step 0 to `end` at step `steps`, then constant."""

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        self._check_numbers("start", "end")
        self._check_steps("steps", least=1)

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        done = np.minimum(steps / self.steps, 1.0)
        return self.start * (1.0 - done) + self.end * done

    def piece(self, step: int) -> tuple[float, bool]:
        """A ramp is followed by a constant piece."""
        return (self.steps, False) if step < self.steps else (math.inf, True)

    @property
    def least(self) -> float:
        """The lower end."""
        return min(self.start, self.end)


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


@dataclass(frozen=True)
class InverseTime(Schedule):
    """From `initial` at step 0 down like one over time: ``initial / (1 + step / steps)^power``."""

    initial: float
    steps: float = 1.0
    power: float = 1.0

    def __post_init__(self) -> None:
        self._check_numbers("initial")
        positive = {
            name: number(name, getattr(self, name), above=0.0) for name in ("steps", "power")
        }
        self._settle(**positive)

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        return np.asarray(self.initial * (1.0 + steps / self.steps) ** -self.power)

    def piece(self, step: int) -> tuple[float, bool]:
        """There is one piece, which varies and never ends."""
        return math.inf, False

    @property
    def least(self) -> float:
        """The lowest value, which is the limit 0."""
        return 0.0


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
        _check_total("warmup, stable and decay", self.warmup + self.stable + self.decay)

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
        _check_total("lengths", sum(whole))
        self._settle(values_=tuple(values.tolist()), lengths=whole)

    @property
    def own_steps(self) -> int:
        """How many steps all pieces have."""
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
        """How many steps the ramp has, and those of `then`, if it says."""
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


def _check_total(names: str, total: int) -> None:
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
