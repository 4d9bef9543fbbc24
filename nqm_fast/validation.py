"""Checks of arguments that public functions share; each mistake gets one clear sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class InputError(ValueError):
    """An argument cannot be used; the message names it, its value and what is allowed."""


def shown(value: object) -> str:
    """Return the repr of a value for a message, on one line of at most 60 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def any_array(value: Any) -> NDArray[Any]:
    """Convert to an array of any dtype; sequences of unequal lengths give an array of objects."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.array([None])


def real_array(name: str, value: Any) -> Array:
    """Copy `value` into a float64 array, all of whose elements must be finite numbers."""
    raw = any_array(value)
    if raw.dtype.kind not in "iuf":
        raise InputError(f"{name} must be real numbers, not {shown(value)}")
    array = raw.astype(np.float64)
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)].flat[0]
        raise InputError(f"{name} must be finite, but contains {bad}")
    return array


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
) -> float:
    """Convert to a finite float with ``above < value`` and ``least <= value < below``."""
    if isinstance(value, float):
        x = value
    else:
        array = any_array(value)
        if array.ndim or array.dtype.kind not in "iuf":
            allowed = _limits(above, least, below)
            raise InputError(f"{name} must be a number {allowed}, not {shown(value)}")
        x = float(array)
    if (
        not math.isfinite(x)
        or (above is not None and not x > above)
        or (least is not None and not x >= least)
        or (below is not None and not x < below)
    ):
        raise InputError(f"{name} must be {_limits(above, least, below)}, not {x:g}")
    return x


def _limits(above: float | None, least: float | None, below: float | None) -> str:
    """Write the limits of `number` that are given as in ">= 0 and < 1"."""
    limits = [
        f"{sign} {limit:g}"
        for sign, limit in ((">", above), (">=", least), ("<", below))
        if limit is not None
    ]
    return " and ".join(limits) or "finite"


def integer(name: str, value: Any, *, least: int) -> int:
    """Convert to an int of at least `least`; whole floats such as 1e6 are accepted."""
    if type(value) is int and value >= least:  # It may exceed 64 bits.
        return value
    array = any_array(value)
    whole = array.dtype.kind in "iuf" and not array.ndim and bool(np.isfinite(array))
    if not whole or array != np.floor(array) or array < least:
        raise InputError(f"{name} must be a whole number >= {least}, not {shown(value)}")
    return int(value)


def step_array(name: str, value: Any) -> NDArray[np.int64]:
    """Convert to an int64 array of numbers of steps, >= 0, of the same shape."""
    array = any_array(value)
    if array.dtype.kind not in "iuf" and array.size:
        raise InputError(f"{name} must be whole numbers >= 0, not {shown(value)}")
    good = np.isfinite(array) & (array >= 0) & (array == np.floor(array)) & (array < 2.0**62)
    if not good.all():
        bad = array[~good].flat[0]
        raise InputError(f"{name} must be whole numbers >= 0, but contains {bad}")
    return array.astype(np.int64)


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


def choice(name: str, value: Any, allowed: Sequence[str]) -> str:
    """Return `value` if it is one of `allowed`, and raise an InputError otherwise."""
    if value not in allowed:
        raise InputError(f"{name} must be one of {', '.join(allowed)}, not {shown(value)}")
    return str(value)
