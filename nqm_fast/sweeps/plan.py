"""The plan of a sweep: what is done at which points, and what comes of it."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import InputError, choice, shown
from ..kernels import sources
from ..problem import Problem
from ..store import serialization
from ..version import __version__
from .arguments import PROBLEM, Arguments, arguments, content_digest, parameters
from .grid import Grid, as_grid, plain_value
from .kinds import KINDS, Field, Kind, Load

MOST_CHECKED = 1000
"""Points whose arguments are checked before the first is solved; the others are when they are."""


@dataclass(frozen=True)
class Plan:
    """A kind of work, its grid, and the arguments that are the same at all points."""

    what: str
    grid: Grid
    common: Mapping[str, Any]

    @property
    def kind(self) -> Kind:
        """The kind of work."""
        return KINDS[self.what]

    def arguments(self, point: int) -> Arguments:
        """Return the arguments of a point."""
        kind, values = self.kind, {**self.common, **self.grid.values(point)}
        return arguments(kind.function, kind.refused, values, self.contents)

    @cached_property
    def contents(self) -> dict[str, str]:
        """Digests of all files of problems, which must not change until all is done."""
        problems = [*self.grid.axes.get("problem", ()), self.common.get("problem")]
        return {x: content_digest(x) for x in dict.fromkeys(problems) if isinstance(x, str)}

    @cached_property
    def fields(self) -> dict[str, Field]:
        """The results of a point, by name; the arguments of all points are checked for them.

        Raises
        ------
        InputError
            If a point's arguments cannot be used, or give results of another shape.
        """
        found: dict[str, Field] = {}
        for number, point in enumerate(self.grid.examples()):
            if number == MOST_CHECKED:
                break
            try:
                here = self.kind.fields(self.arguments(point))
            except InputError as error:
                text = self.grid.described(point)
                where = "" if number == 0 and not self.grid.listed else f" (at {text})"
                raise InputError(f"{error}{where}") from None
            found = {
                name: _joined(name, found.get(name), field) for name, field in here.items()
            } | {name: field for name, field in found.items() if name not in here}
        for name in {*found, *(dim.name for field in found.values() for dim in field.dims)}:
            if name in self.grid.axes:
                raise InputError(f"{name} is a name of results, and cannot be one of the grid")
        return found

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The type of the row of a point: its number, and its results."""
        columns = [(name, field.dtype, field.shape) for name, field in self.fields.items()]
        return np.dtype([("point", "<i8"), *columns])

    @cached_property
    def digest(self) -> str:
        """A digest of the whole plan, the same in every process."""
        whole = [self.what, self.grid, dict(self.common), str(self.dtype.descr)]
        words = "\n".join(_identified([*whole, list(self.contents.values())]))
        return hashlib.sha256(words.encode()).hexdigest()

    @property
    def names_of_settings(self) -> set[str]:
        """The names of the grid that make the settings, where points share a noise stream."""
        if not self.kind.shares:
            return set()
        others = {*PROBLEM, *parameters(self.kind.function)} - {"batch_size", "algorithm"}
        return set(self.grid.axes) - others

    def load(self, point: int) -> Load:
        """Say what a point costs."""
        return self.kind.load(self.arguments(point))

    def part(self, points: Sequence[int]) -> Plan:
        """Return the plan of some of the points, whose results have the same shape."""
        made = Plan(self.what, self.grid.part(points), self.common)
        made.__dict__.update(fields=self.fields, dtype=self.dtype, contents=self.contents)
        return made

    def empty_rows(self, points: Sequence[int]) -> NDArray[Any]:
        """Return rows for points, in which nothing is filled in yet."""
        rows = np.zeros(len(points), self.dtype)
        rows["point"] = points
        for name, field in self.fields.items():
            rows[name] = np.nan if field.dtype == "<f8" else -1
        return rows


def fill(rows: NDArray[Any], k: int, result: Mapping[str, Any]) -> None:
    """Put the result of a point into a row; where it has fewer values, the rest stays."""
    for name, values in result.items():
        array = np.asarray(values)
        where: Any = (k, *(slice(size) for size in array.shape))
        rows[name][where] = array


def as_plan(what: Any, grid: Any, common: Mapping[str, Any]) -> Plan:
    """Check the arguments of a sweep, as far as that is quick.

    Raises
    ------
    InputError
        If they cannot be used.
    """
    choice("what", what, KINDS)
    plain = {name: plain_value(name, value) for name, value in common.items()}
    made = Plan(what, as_grid(grid), plain)
    for name in made.grid.axes:
        if name in common:
            raise InputError(f"{name} is an axis of the grid, and cannot be given for all points")
    _ = made.dtype
    return made


@cache
def package_version() -> str:
    """Say which package this is: its version, and a digest of its kernels' sources."""
    return f"{__version__} with kernels {sources.digest()}"


def _joined(name: str, field: Field | None, other: Field) -> Field:
    """Return a field for two points, which must have the same dimensions."""
    if field is None:
        return other
    dims = []
    for one, two in zip(field.dims, other.dims, strict=False):
        if one.can_grow:
            dims.append(max(one, two, key=lambda dim: dim.values.size))
        elif np.array_equal(one.values, two.values):
            dims.append(one)
    if len(dims) < max(len(field.dims), len(other.dims)):
        wrong = {dim.name for dim in (*field.dims, *other.dims)} - {dim.name for dim in dims}
        raise InputError(
            f"{name} has the dimension {min(wrong)}, which must be the same at all points: give a "
            "list of the steps, or numbers of replicas, for all of them"
        )
    return field._replace(dims=tuple(dims))


def _identified(value: Any) -> Iterator[str]:
    """Yield words that are the same for equal values, in every process, and for no others."""
    if isinstance(value, bool | int | float | str | bytes | type(None)):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, np.generic):
        yield from _identified(value.item())
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        data = np.ascontiguousarray(value)
        yield f"array {data.dtype.str} {data.shape} {hashlib.sha256(data.tobytes()).hexdigest()}"
    elif isinstance(value, Path):
        yield f"path {value}"
    elif isinstance(value, list | tuple | range | np.ndarray):
        yield f"sequence {len(value)}"
        for item in value:
            yield from _identified(item)
    elif isinstance(value, Mapping):
        yield f"table {len(value)}"
        for key in sorted(value, key=str):
            yield from _identified(key)
            yield from _identified(value[key])
    elif isinstance(value, Problem):
        yield "problem"
        yield from _identified(value.fields)
    elif isinstance(value, type):
        yield f"class {serialization.kind_of(value)}"
    elif is_dataclass(value):
        yield f"object {serialization.kind_of(type(value))}"
        yield from _identified({f.name: getattr(value, f.name) for f in fields(value)})
    else:
        yield from _pickled(value)


def _pickled(value: Any) -> Iterator[str]:
    """Yield what identifies an object of a class that has no list of its fields."""
    try:
        data = pickle.dumps(value)
    except Exception as error:
        raise InputError(
            f"{shown(value)} cannot be told from others, as it is no dataclass and cannot be "
            f"pickled: {error}"
        ) from None
    yield f"object {type(value).__qualname__} {hashlib.sha256(data).hexdigest()}"
