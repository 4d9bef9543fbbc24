"""Checks of arguments that public functions share; each mistake gets one clear sentence.

Every kind of value is converted in one place: arrays by `real_array` and `step_array`, numbers by
`number` and `integer`, words by `choice`, and yes or no by `flag`. What comes out is a plain value
of Python, or a float64 or int64 array that nobody else holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .array_likes import any_array
from .messages import InputError, counted, shown

__all__ = [
    "MOST_STEPS",
    "Array",
    "InputError",
    "any_array",
    "choice",
    "counted",
    "flag",
    "in_range",
    "integer",
    "number",
    "precision",
    "real_array",
    "shown",
    "step_array",
]

Array = NDArray[np.float64]

MOST_STEPS = 1 << 62
"""The largest whole number that is taken, where an argument has no limit of its own.

The sum of two such numbers, less one, still fits into 64 bits."""


# -- arrays ------------------------------------------------------------------------------


def real_array(name: str, value: Any) -> Array:
    """Copy `value` into a float64 array, all of whose elements must be finite numbers."""
    raw = any_array(name, value)
    if raw.dtype == object:
        raw = _large_numbers(raw)
    if raw.dtype.kind not in "iuf":
        raise InputError(f"{name} must be real numbers, not {shown(value)}")
    with np.errstate(over="ignore"):
        array = raw.astype(np.float64)
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)].flat[0]
        raise InputError(f"{name} must be finite, but contains {bad}")
    return array


def _large_numbers(array: NDArray[Any]) -> NDArray[Any]:
    """Convert ints beyond 64 bits, which NumPy takes for objects, to floats, inf if too large."""
    if not array.size or not all(type(x) in (int, float) for x in array.flat):
        return array
    floats = [_as_float(x) for x in array.flat]
    return np.array(floats).reshape(array.shape)


def _as_float(x: float) -> float:
    """Convert a number to a float, which is inf if it is beyond the range of a double."""
    try:
        return float(x)
    except OverflowError:
        return math.inf if x > 0 else -math.inf


def precision(name: str, value: Any) -> float:
    """Return the relative rounding error of an array's type, as of float32, at least a double's."""
    dtype = any_array(name, value).dtype
    eps = float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0
    return max(eps, float(np.finfo(np.float64).eps))


def step_array(name: str, value: Any) -> NDArray[np.int64]:
    """Convert to an int64 array of numbers of steps, from 0 to `MOST_STEPS`, of the same shape."""
    array = any_array(name, value)
    if not array.size:
        return np.zeros(array.shape, dtype=np.int64)
    allowed = "whole numbers >= 0"
    if array.dtype == object and all(type(x) is int for x in array.flat):
        bad = next((x for x in array.flat if not 0 <= x <= MOST_STEPS), None)
        if bad is not None:
            _refuse_step(name, bad)
    elif array.dtype.kind not in "iuf":
        raise InputError(f"{name} must be {allowed}, not {shown(value)}")
    else:
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                array = array.astype(np.float64)
        good = (array >= 0) & (array <= MOST_STEPS) & (array == np.floor(array))
        if not good.all():
            _refuse_step(name, array[~good].flat[0])
    return array.astype(np.int64)


def _refuse_step(name: str, bad: Any) -> None:
    """Raise an InputError about an element that is no number of steps."""
    is_large = bad > MOST_STEPS and bad != math.inf
    allowed = "whole numbers from 0 to 2^62" if is_large else "whole numbers >= 0"
    raise InputError(f"{name} must be {allowed}, but contains {shown(bad)}")


def in_range(
    name: str, array: Array, *, above: float | None = None, least: float | None = None
) -> None:
    """Raise an InputError unless all elements are > `above` and >= `least`, where given."""
    if above is not None and not (array > above).all():
        where = np.flatnonzero(~(array > above))[0]
        raise InputError(
            f"{name} must be > {above:g}, but element {where} is {array.flat[where]:g}"
        )
    if least is not None and not (array >= least).all():
        where = np.flatnonzero(~(array >= least))[0]
        raise InputError(
            f"{name} must be >= {least:g}, but element {where} is {array.flat[where]:g}"
        )


# -- numbers, words, yes and no ----------------------------------------------------------


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
) -> float:
    """Convert to a finite float with ``above < value`` and ``least <= value < below``."""
    if isinstance(value, float) or type(value) is int:
        x = _as_float(value)
    else:
        array = any_array(name, value)
        if array.ndim or array.dtype.kind not in "iuf":
            raise InputError(
                f"{name} must be a {_kind_of_number(above, least, below)}, not {shown(value)}"
            )
        x = _as_float(array.item())
    if (
        not math.isfinite(x)
        or (above is not None and not x > above)
        or (least is not None and not x >= least)
        or (below is not None and not x < below)
    ):
        limits = _limits(above, least, below)
        if math.isinf(x) or not limits:
            limits = f"finite and {limits}" if limits else "finite"
        too_large = math.isinf(x) and not isinstance(value, float)
        said = f"{shown(value)}, which is beyond a double" if too_large else f"{x:g}"
        raise InputError(f"{name} must be {limits}, not {said}")
    return x


def _kind_of_number(*limits: float | None) -> str:
    """Write what `number` takes, as in "number >= 0 and < 1"."""
    text = _limits(*limits)
    return f"number {text}" if text else "finite number"


def _limits(above: float | None, least: float | None, below: float | None) -> str:
    """Write the limits of `number` that are given as in ">= 0 and < 1"."""
    limits = [
        f"{sign} {limit:g}"
        for sign, limit in ((">", above), (">=", least), ("<", below))
        if limit is not None
    ]
    return " and ".join(limits)


def integer(name: str, value: Any, *, least: int, most: int | None = MOST_STEPS) -> int:
    """Convert to an int from `least` to `most`; whole floats such as 1e6 are accepted."""
    if type(value) is int:
        x = value
    else:
        array = any_array(name, value)
        whole = array.dtype.kind in "iuf" and not array.ndim and bool(np.isfinite(array))
        if not whole or array != np.floor(array):
            raise InputError(f"{name} must be a whole number >= {least}, not {shown(value)}")
        x = int(array)
    if x < least:
        raise InputError(f"{name} must be a whole number >= {least}, not {shown(value)}")
    if most is not None and x > most:
        power = most.bit_length() - 1
        limit = f"2^{power}" if most == 1 << power and power > 16 else str(most)
        raise InputError(
            f"{name} must be a whole number from {least} to {limit}, not {shown(value)}"
        )
    return x


def plain_number(value: float) -> float:
    """Return a whole number as an int, as its text then has no point, and others as a float."""
    return int(value) if float(value).is_integer() else float(value)


def choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of `allowed`, and raise an InputError otherwise."""
    words = tuple(allowed)
    if not isinstance(value, str) or value not in words:
        raise InputError(f"{name} must be one of {', '.join(words)}, not {shown(value)}")
    return str(value)


def flag(name: str, value: Any) -> bool:
    """Return `value` if it is True or False, of Python or of NumPy."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} must be True or False, not {shown(value)}")
    return bool(value)
