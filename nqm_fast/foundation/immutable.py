"""Descriptions that never change, whatever way they were made: built, copied or unpickled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from .arithmetic import methods_in_usual_arithmetic


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view of an array that nobody else holds, through which it cannot be changed.

    NumPy lets no one make the view writable again, because the array below it is read-only.
    """
    array.setflags(write=False)
    return array.view()


class Immutable:
    """A description whose arrays stay read-only, and that can be compared and hashed.

    Copying and pickling would make an array writable again: here they do not. Descriptions are
    equal if they are of one class and have equal values; neither ``==`` nor `hash` ever raises.
    """

    def __init_subclass__(cls, **more: Any) -> None:
        """Have the class compare by values, also one that a dataclass is made of.

        Its methods run in the usual arithmetic.
        """
        super().__init_subclass__(**more)
        methods_in_usual_arithmetic(cls)
        # A dataclass compares the tuples of its fields, which raises where they hold arrays, unless
        # the class has these methods already.
        if "__eq__" not in cls.__dict__:
            cls.__eq__ = cls.__eq__  # type: ignore[method-assign]
            if "__hash__" not in cls.__dict__:
                cls.__hash__ = cls.__hash__  # type: ignore[method-assign]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the values of a copy or a pickle, and freeze its arrays."""
        is_frozen = type(self).__setattr__ is not object.__setattr__
        for name, value in state.items():
            freezes = is_frozen and isinstance(value, np.ndarray)
            self.__dict__[name] = frozen(value.copy()) if freezes else value

    def _settle(self, **values: Any) -> None:
        """Set attributes while the object is being made."""
        self.__dict__.update(values)

    def _values(self) -> object:
        """Return the values by which objects are equal, and hashed."""
        return self.__dict__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Immutable) or type(self) is not type(other):
            return NotImplemented
        return self is other or bool(comparable(self._values()) == comparable(other._values()))

    def __hash__(self) -> int:
        return hash((type(self), comparable(self._values())))


class Unchangeable(Immutable):
    """An `Immutable` that is no dataclass, and takes no new values for its attributes."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(
            f"{name} cannot be set: a {type(self).__name__} does not change, make another"
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(
            f"{name} cannot be deleted: a {type(self).__name__} does not change, make another"
        )


def comparable(value: Any) -> Any:
    """Convert a value to one that can be hashed, and that equals those of equal values."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf":  # Adding 0 makes -0 a 0, which it equals.
            return value.shape, (value.astype(np.float64) + 0.0).tobytes()
        return value.shape, comparable(value.tolist())
    if isinstance(value, Mapping):
        return frozenset((comparable(key), comparable(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(comparable(item) for item in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value
