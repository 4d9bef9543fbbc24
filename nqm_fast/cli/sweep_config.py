"""Sweeps in TOML: what is done, the grid, and what is the same at all points."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..algorithms.base import Algorithm
from ..foundation.validation import InputError, shown
from ..store import serialization
from .config import ARRAYS, SPECTRAL, ProblemTable, describe_error
from .toml_source import Source, read_text, read_toml

GRID, POINTS = "grid", "point"
"""The table of axes, and the tables of points, of which a file has one or the other."""

TABLES = ("problem", "setting", GRID, POINTS)
"""All tables but those of a schedule, which have a kind."""


@dataclass
class SweepConfiguration:
    """The arguments that `sweep` is called with, and their origin."""

    out: str | None
    what: Any
    grid: Any
    common: dict[str, Any]
    source: Source


def load(file: Path, changes: list[str]) -> SweepConfiguration:
    """Read a sweep, and change some values.

    Raises
    ------
    InputError
        If it is not valid TOML, or does not have all that a sweep needs.
    """
    content, source = read_toml(str(file), read_text(file), changes)
    if (GRID in content) == (POINTS in content):
        raise InputError(f"{file}: must have one table [grid] of axes, or tables [[point]]")
    grid = content.pop(GRID if GRID in content else POINTS)
    if "what" not in content:
        raise InputError(f'{file}: what must be given, such as what = "simulate"')
    what, out = content.pop("what"), content.pop("out", None)
    if out is not None and not isinstance(out, str):
        raise InputError(f"{source.place(('out',))}out must be a file's name, not {shown(out)}")
    problem = content.pop("problem", {})
    setting = content.pop("setting", {})
    for name, table in (("problem", problem), ("setting", setting)):
        if not isinstance(table, dict):
            place = source.place((name,))
            raise InputError(f"{place}{name} must be a table, not {shown(table)}")
    _check_tables(content, source)
    common = content | _setting(setting) | _problem(problem, source)
    return SweepConfiguration(out, what, grid, common, source)


def _check_tables(common: dict[str, Any], source: Source) -> None:
    """Raise an InputError if there is a table, among what all points share, that is no schedule."""
    for name, value in common.items():
        if not isinstance(value, dict) or "kind" in value or name == "algorithm":
            continue
        near = get_close_matches(name, TABLES, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        place = source.place((name, *value)[:2])
        raise InputError(
            f"{place}{name} is not a table of a sweep{hint}: its tables are {', '.join(TABLES)}"
        )


def _setting(table: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the algorithm, and its class if its kind is given."""
    given = dict(table)
    kind = given.pop("kind", None)
    if kind is None:
        return given
    known = serialization.kinds(Algorithm)
    if kind not in known:
        raise InputError(f"kind must be one of {', '.join(known)}, not {shown(kind)}")
    inner = given.pop("inner", None)
    if inner is None:
        return given | {"algorithm": known[kind]}
    # One around another is made as it is; axes may have any parameter of either.
    return {"algorithm": serialization.build(Algorithm, {"kind": kind, "inner": inner} | given)}


def _problem(table: dict[str, Any], source: Source) -> dict[str, Any]:
    """Return the problem, if it is listed, or else what makes it, of which axes may be a part."""
    try:
        checked = ProblemTable.model_validate(table)
    except ValidationError as error:
        places = [error | {"loc": ("problem", *error["loc"])} for error in error.errors()]
        raise InputError("\n".join(describe_error(e, source) for e in places)) from None
    if table.keys() & (ARRAYS - SPECTRAL):
        return {"problem": checked.build()}
    given = {name: getattr(checked, name) for name in table}
    return {"problem" if name == "file" else name: value for name, value in given.items()}
