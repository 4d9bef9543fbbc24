"""Validation shared by the public functions: one clear sentence per mistake."""

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
    """Write a value into a message, shortened to a line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def any_array(value: Any) -> NDArray[Any]:
    """`value` as an array of any type; nested sequences of different lengths as one object."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.array([None])


def real_array(name: str, value: Any) -> Array:
    """`value` as a float64 array of finite numbers, a copy."""
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
    """`value` as a finite float within ``above < value``, ``least <= value < below``."""
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
    limits = [
        f"{sign} {limit:g}"
        for sign, limit in ((">", above), (">=", least), ("<", below))
        if limit is not None
    ]
    return " and ".join(limits) or "finite"


def integer(name: str, value: Any, *, least: int) -> int:
    """`value` as an int of at least `least`; whole floats such as 1e6 are accepted."""
    if type(value) is int and value >= least:  # of any size
        return value
    array = any_array(value)
    whole = array.dtype.kind in "iuf" and not array.ndim and bool(np.isfinite(array))
    if not whole or array != np.floor(array) or array < least:
        raise InputError(f"{name} must be a whole number >= {least}, not {shown(value)}")
    return int(value)


def step_array(name: str, value: Any) -> NDArray[np.int64]:
    """`value` as an int64 array of steps, of any shape."""
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
    """Every element of `array` obeys the limit."""
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
    """`value` if it is one of `allowed`."""
    if value not in allowed:
        raise InputError(f"{name} must be one of {', '.join(allowed)}, not {shown(value)}")
    return str(value)
