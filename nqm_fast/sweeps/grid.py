"""The grid of a sweep: axes whose values are combined, or points that are listed one by one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import Algorithm
from ..foundation.validation import (
    InputError,
    any_array,
    flag,
    integer,
    number,
    plain_number,
    shown,
)
from ..labels import short_name
from ..schedules import Schedule
from ..store import serialization

MOST_POINTS = 10**9
MOST_VALUES = 10**7
"""Values along an axis, all of which are held in memory."""
RANGE = {"start", "stop", "num", "log"}
"""Keys of a table that stands for evenly spaced values."""
POINT = "point"
"""The only dimension of points that are listed one by one."""


@dataclass(frozen=True)
class Grid:
    """Points, each of which gives values to the same names.

    Attributes
    ----------
    axes : dict of str to tuple
        The values of each name: along an axis of its own, or one for each point.
    listed : bool
        Whether the values are those of points that were listed.
    """

    axes: dict[str, tuple[Any, ...]]
    listed: bool

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """How many points there are along each dimension."""
        sizes = tuple(len(values) for values in self.axes.values())
        return sizes[:1] if self.listed else sizes

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of the dimensions."""
        return (POINT,) if self.listed else tuple(self.axes)

    @property
    def size(self) -> int:
        """How many points there are."""
        return math.prod(self.shape)

    def indices(self, points: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Return for each name which of its values points have, shape (points,)."""
        if self.listed:
            return dict.fromkeys(self.axes, points)
        return dict(zip(self.axes, np.unravel_index(points, self.shape), strict=True))

    def values(self, point: int) -> dict[str, Any]:
        """Return the values of a point by name."""
        where = self.indices(np.array([point]))
        return {name: self.axes[name][int(k[0])] for name, k in where.items()}

    def part(self, points: Sequence[int]) -> Grid:
        """Return a grid that lists some of the points."""
        where = self.indices(np.asarray(points, dtype=np.int64))
        axes = {name: tuple(self.axes[name][k] for k in index) for name, index in where.items()}
        return Grid(axes, True)

    def examples(self) -> Iterator[int]:
        """Yield points among which are all values of all names."""
        if self.listed:
            yield from range(self.size)
            return
        strides = [math.prod(self.shape[k + 1 :]) for k in range(len(self.shape))]
        yield 0
        for size, stride in zip(self.shape, strides, strict=True):
            yield from range(stride, size * stride, stride)

    def described(self, point: int) -> str:
        """Write the values of a point shortly, as in ``lr = 0.1, seed = 3``."""
        values = self.values(point)
        return ", ".join(f"{name} = {label(value)}" for name, value in values.items())


def as_grid(grid: Any) -> Grid:
    """Check a grid, and give it in one form.

    Raises
    ------
    InputError
        If it is neither a dict of axes nor a list of dicts, or one of its values is none.
    """
    if isinstance(grid, Mapping):
        axes = {_name(name): _axis(name, values) for name, values in grid.items()}
        made = Grid(axes, False)
    elif isinstance(grid, list | tuple) and all(isinstance(row, Mapping) for row in grid):
        made = Grid(_columns(grid), True)
    else:
        raise InputError(
            f"grid must be a dict of axes, such as {{'lr': [0.1, 0.2]}}, or a list of dicts, one "
            f"for each point, not {shown(grid)}"
        )
    if not made.axes or not made.size:
        raise InputError("grid must have one or more points, not none")
    if made.size > MOST_POINTS:
        raise InputError(f"grid must have at most {MOST_POINTS} points, not {made.size}")
    return made


def _name(name: Any) -> str:
    """Check the name of an argument."""
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(f"grid must have names of arguments as its keys, not {shown(name)}")
    return name


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Turn points that give values to the same names into columns."""
    names = list(rows[0]) if rows else []
    for k, row in enumerate(rows):
        if set(row) != set(names):
            raise InputError(
                f"grid must give values to the same names at all points, but point {k} has "
                f"{', '.join(map(str, row)) or 'none'}, and point 0 {', '.join(map(str, names))}"
            )
    return {
        _name(name): tuple(plain_value(name, row[name]) for row in rows) for name in names
    }  # fmt: skip


def _axis(name: str, values: Any) -> tuple[Any, ...]:
    """Return the values along an axis, which are listed, or evenly spaced."""
    if isinstance(values, Mapping):
        return tuple(spaced(name, values))
    if isinstance(values, np.ndarray) and values.ndim == 1:
        values = any_array(name, values).tolist()
    if isinstance(values, range) and values[MOST_VALUES:]:
        raise InputError(f"{name} must have at most {MOST_VALUES} values, not {shown(values)}")
    if not isinstance(values, list | tuple | range) or not values:
        raise InputError(
            f"{name} must be a list of one or more values along the axis, or a table start, stop, "
            f"num, log, not {shown(values)}: what is the same at all points is no axis"
        )
    return tuple(plain_value(name, value) for value in values)


def spaced(name: str, table: Mapping[str, Any]) -> list[Any]:
    """Return `num` values from `start` to `stop`, evenly spaced, or in their logarithm.

    Whole ends give whole numbers, rounded where they are spaced in the logarithm.
    """
    unknown = set(table) - RANGE
    missing = {"start", "stop", "num"} - set(table)
    if unknown or missing:
        wrong = f"{min(unknown)} is none" if unknown else f"{min(missing)} is missing"
        raise InputError(f"{name} must be a list, or a table start, stop, num, log; {wrong}")
    count = integer(f"{name}.num", table["num"], least=1, most=MOST_VALUES)
    log = flag(f"{name}.log", table.get("log", False))
    limits = {"above": 0.0} if log else {}
    start, stop = (number(f"{name}.{end}", table[end], **limits) for end in ("start", "stop"))
    spacing = np.geomspace if log else np.linspace
    values: list[float] = spacing(start, stop, count).tolist()
    if all(isinstance(table[end], int) for end in ("start", "stop")):
        whole = [float(round(value)) for value in values]
        if log or whole == values:
            values = list(dict.fromkeys(whole))
            return [plain_number(value) for value in values]
    return values


def plain_value(name: str, value: Any) -> Any:
    """Return a plain value of an argument; a table is an algorithm, or a schedule of its kind."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not isinstance(value, Mapping):
        return value
    if name == "problem":
        raise InputError(
            f"problem must be a Problem or the name of a file in a grid, not {shown(value)}"
        )
    is_algorithm = name == "algorithm"
    table = {"kind": "SGD"} | dict(value) if is_algorithm else value
    if "kind" not in table:
        raise InputError(
            f"{name} must be a value, or a schedule as a table of its kind and parameters, not "
            f"{shown(value)}"
        )
    try:
        return serialization.build(Algorithm if is_algorithm else Schedule, table)
    except InputError as error:
        raise InputError(f"{name} is not what its table describes: {error}") from None


def label(value: Any) -> str:
    """Write a value of an axis shortly."""
    if isinstance(value, str):
        return value
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, list | tuple):
        return ", ".join(label(item) for item in value)
    return short_name(value)


def coordinate(values: Sequence[Any]) -> NDArray[Any]:
    """Return the values of an axis as the coordinate of a dataset: numbers, or else short names."""
    if all(isinstance(x, int | float) and not isinstance(x, bool) for x in values):
        if not all(isinstance(x, int) for x in values):
            return np.array(values, dtype="f8")
        if min(values) >= -(2**63) and max(values) < 2**63:
            return np.array(values, dtype="i8")
        if min(values) >= 0 and max(values) < 2**64:
            return np.array(values, dtype="u8")
    names = [label(value) for value in values]
    if len(set(names)) < len(names):
        names = [repr(value) for value in values]
    if len(set(names)) < len(names):
        names = [f"{name} ({k})" for k, name in enumerate(names)]
    return np.array(names, dtype=object)
