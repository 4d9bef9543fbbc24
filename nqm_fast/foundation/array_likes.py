"""Array-likes of all libraries as plain arrays of NumPy, unless they mean more than numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .messages import InputError

MOST_NESTING = 64
"""Depth of nested sequences, which is the most dimensions that NumPy's arrays have."""
MOST_LETTERS = 120
"""Length of another library's reason, as far as it is told."""

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_PLAIN_ARRAYS = (np.ndarray, np.memmap, np.matrix, np.recarray)


def any_array(name: str, value: Any, nesting: int = 0) -> NDArray[Any]:
    """Convert to a plain array of any dtype; sequences of unequal lengths give one of objects.

    Raises
    ------
    InputError
        If a conversion would lose what `value` means beyond its numbers, such as a mask or a unit,
        or if it cannot be read.
    """
    if type(value) is np.ndarray and value.dtype != object:
        return value
    if _is_plain(value):
        return _as_array(value)
    if type(value) is np.ndarray and not value.ndim:
        return any_array(name, value.item(), nesting)
    if isinstance(value, list | tuple) or type(value) is np.ndarray:
        if nesting > MOST_NESTING:
            raise InputError(f"{name} must be numbers, not a sequence nested {nesting} deep")
        return _as_array([any_array(name, item, nesting + 1) for item in value])
    _refuse_hidden_meaning(name, value)
    return _foreign_array(name, value)


def _is_plain(value: Any) -> bool:
    """Whether a value is a number or text, or a sequence of those, as most are."""
    if type(value) in (list, tuple, range):
        return all(type(item) in _PLAIN or isinstance(item, np.generic) for item in value)
    return type(value) in _PLAIN or isinstance(value, np.generic)


def _as_array(value: Any) -> NDArray[Any]:
    """Convert plain values; sequences of unequal lengths and too large numbers give objects."""
    try:
        return np.asarray(value)
    except (ValueError, OverflowError):
        return np.array([None])


def _foreign_array(name: str, value: Any) -> NDArray[Any]:
    """Convert an object of another library, which may fail in ways of its own."""
    try:
        with warnings.catch_warnings():
            # A library that warns of what is lost in the conversion is believed.
            warnings.simplefilter("error", UserWarning)
            array = np.asarray(value)
            kind = getattr(getattr(value, "dtype", None), "kind", None)
            if array.dtype == object and kind in ("i", "u", "f") and hasattr(value, "to_numpy"):
                array = np.asarray(value.to_numpy(dtype=f"{kind}8"))  # a nullable type of pandas
            elif array.dtype.kind == "V" and np.can_cast(array.dtype, np.float64):
                array = array.astype(np.float64)  # a number of another library, such as bfloat16
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) <= MOST_LETTERS else reason[: MOST_LETTERS - 3] + "..."
        kind = type(value).__name__
        raise InputError(f"{name} cannot be read as numbers from a {kind}: {reason}") from None
    return array


def _refuse_hidden_meaning(name: str, value: Any) -> None:
    """Raise an InputError if an array-like has a mask or a unit, or is of a class of its own."""
    kind = type(value).__name__
    is_masked = isinstance(value, np.ma.MaskedArray)
    if is_masked and (value.dtype.names or not np.ma.is_masked(value)):
        return
    if is_masked or _has_mask(value):
        raise InputError(
            f"{name} must not have masked elements, as those of this {kind}: fill them or leave "
            "them out"
        )
    unit = _unit(value)
    if unit is not None:
        raise InputError(
            f"{name} must be plain numbers, not a {kind} with the unit {unit!r}: convert it, and "
            "give its numbers"
        )
    if isinstance(value, np.ndarray) and type(value) not in _PLAIN_ARRAYS:
        raise InputError(
            f"{name} must be a plain array, not a {kind}, of whose meaning only numbers would be "
            f"left: give np.asarray({name}) if they are enough"
        )


def _attribute(value: Any, name: str) -> Any:
    """Return an attribute of an object or its class, but no label, as of pandas, with that name."""
    if hasattr(type(value), name) or name in getattr(value, "__dict__", ()):
        found = getattr(value, name, None)
        return None if callable(found) else found
    return None


def _has_mask(value: Any) -> bool:
    """Whether an array of another library says that elements are masked."""
    mask = _attribute(value, "mask")
    return mask is not None and bool(np.any(mask))


def _unit(value: Any) -> str | None:
    """Return the unit that an array of another library has, as an attribute or in its `attrs`."""
    attributes = _attribute(value, "attrs")
    for key in ("unit", "units"):
        unit = _attribute(value, key)
        if unit is None and hasattr(attributes, "get"):
            unit = attributes.get(key)
        if unit is not None and str(unit) not in ("", "1", "dimensionless"):
            return str(unit)
    return None
