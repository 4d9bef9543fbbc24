"""Training runs in tables: CSV, JSON lines and Parquet."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.messages import reason
from ..foundation.validation import InputError, shown
from ..output.saving import file_path
from ..schedules import PerStep
from .templates import Template, between
from .training_run import TrainingRun

NUMBERS = ("loss", "steps", "batch_size", "lr", "dim", "momentum", "ema", "weight", "sharpness")
"""Arguments of a run that are columns of numbers."""
WORDS = ("name", "group")
"""Arguments of a run that are columns of text."""
RUN = "run"
"""Column, or columns, whose values are alike for the records of a run."""
EMPTY = ("", None)
MISSING = ("nan", "na", "n/a", "null", "none")
"""Words of other programs for a number that there is none of, beside empty cells."""


class Line(NamedTuple):
    """A row of a table."""

    number: int
    """Number of the line in its file, from 1; in Parquet, of the row."""
    cells: dict[str, Any]


class Source(NamedTuple):
    """A table that is read, for messages."""

    path: Path

    def error(self, line: int, column: str, what: str) -> InputError:
        """Make an error that says where it is."""
        return InputError(f"{self.path.name}, line {line}, column {column!r}: {what}")

    def number(self, line: Line, column: str) -> float:
        """Read a cell as a number.

        Raises
        ------
        InputError
            If it is none, with its place.
        """
        cell = line.cells[column]
        try:
            if isinstance(cell, bool):
                raise ValueError
            return float(cell)
        except (TypeError, ValueError):
            what = "is empty" if cell in EMPTY else f"must be a number, not {shown(cell)}"
            raise self.error(line.number, column, what) from None


def _is_missing(cell: Any) -> bool:
    """Whether a cell says that there is no number."""
    return cell in EMPTY or str(cell).strip().lower() in MISSING


@in_usual_arithmetic
def read_runs(
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, Any] | None = None,
    lr: Any = None,
    batch_size: Any = None,
    where: Callable[[Mapping[str, Any]], bool] | None = None,
    measured: bool | None = True,
) -> list[TrainingRun]:
    """Read training runs from a table.

    Parameters
    ----------
    path : str or path
        CSV with the columns' names in its first line, JSON lines (``.jsonl``, ``.ndjson``,
        ``.json``), either also compressed (``.gz``), or Parquet (``.parquet``, which needs pandas).
    columns : mapping
        The table's names for ``loss, steps, batch_size, lr, dim, momentum, ema, weight, sharpness,
        name, group``, as far as they are not these. With ``run``, a column or a list of columns,
        a row is a record, and rows with the same values there are the curve of a run; without it
        a row is a run.
    lr, batch_size : number, schedule, str or callable, optional
        Instead of columns, and before them. A text is relative to the run's steps and may name
        columns: ``"warmup 0.01, cosine 0.001 to 0"``, ``"linear peak"``, ``"wsd lr over 0.2"``,
        ``"warmup 2000, recorded lr"`` for a warm-up that has no records (see docs/fitting.md). A
        callable is given the run's columns (numbers where they are some; of a curve, arrays where
        they differ) and returns a number, an array or a schedule.
        The column ``lr`` of a curve is interpolated between its records; where it drops from one
        constant value to another it does so at the first record of the new one.
    where : callable, optional
        Takes a row as a mapping of text, and says whether it is read.
    measured : bool or None
        Whether there are losses; without them runs are to be predicted. None: those that have
        one at all their records are read with it, and the others, with a cell that is empty or
        says NaN, NA or null, without.

    Returns
    -------
    list of TrainingRun
        In the order of the file. Rows without a `name` are called by their run, or line.

    Raises
    ------
    InputError
        If the table lacks a column, or a cell is not what it should be; the sentence names the
        line and the column.
    FileNotFoundError
        If there is no such file.
    """
    source = Source(file_path("path", path))
    names = _names(columns)
    lines = [line for line in _lines(source) if where is None or where(line.cells)]
    if not lines:
        raise InputError(f"{source.path.name} has no rows that are read")
    has = _found_columns(source, lines, names, lr, batch_size, measured)
    without = {name: column for name, column in has.items() if name != "loss"}
    makers = {
        name: Template(name, maker) if isinstance(maker, str) else maker
        for name, maker in (("lr", lr), ("batch_size", batch_size))
    }
    keys = names.get(RUN, None)
    groups: dict[Any, list[Line]] = {}
    for line in lines:
        key = line.number if keys is None else tuple(str(line.cells[key]) for key in keys)
        groups.setdefault(key, []).append(line)

    def lacks_losses(group: list[Line]) -> bool:
        missing = "loss" in has and any(_is_missing(line.cells[has["loss"]]) for line in group)
        return measured is None and missing

    return [
        _run(
            source, key, group, without if lacks_losses(group) else has, makers,
            is_curve=keys is not None,
        )
        for key, group in groups.items()
    ]  # fmt: skip


def _names(columns: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check the names of columns."""
    known = (*NUMBERS, *WORDS, RUN)
    names: dict[str, Any] = dict(columns or {})
    for name in names:
        if name not in known:
            raise InputError(f"columns may name {', '.join(known)}, not {shown(name)}")
    if RUN in names:
        names[RUN] = [names[RUN]] if isinstance(names[RUN], str) else list(names[RUN])
    return names


def _found_columns(
    source: Source,
    lines: list[Line],
    names: dict[str, Any],
    lr: Any,
    batch_size: Any,
    measured: bool | None,
) -> dict[str, str]:
    """Return the table's names of the arguments that it has."""
    there = lines[0].cells
    has = {}
    needed = {"steps"} | ({"loss"} if measured else set())
    given = {"lr": lr, "batch_size": batch_size}
    needed |= {name for name, value in given.items() if value is None}
    for name in (*NUMBERS, *WORDS):
        column = names.get(name, name)
        is_unused = measured is False or (measured is None and column not in there)
        if given.get(name) is not None or (name == "loss" and is_unused):
            continue
        if column in there:
            has[name] = column
        elif name in names or name in needed:
            hint = f" or the argument {name}=" if name in given else ""
            raise InputError(
                f"{source.path.name} has no column {column!r} for {name}: give columns="
                f"{{{name!r}: ...}}{hint}; there are {', '.join(map(str, there))}"
            )
    for column in names.get(RUN, []):
        if column not in there:
            raise InputError(f"{source.path.name} has no column {column!r}, which names runs")
    return has


def _run(
    source: Source,
    key: Any,
    lines: list[Line],
    has: dict[str, str],
    makers: dict[str, Any],
    *,
    is_curve: bool,
) -> TrainingRun:
    """Make a run of its rows."""
    first = lines[0]
    fields: dict[str, Any] = {}
    for name in ("loss", "steps"):
        if name in has:
            values = [source.number(line, has[name]) for line in lines]
            fields[name] = np.array(values) if is_curve else values[0]
    for name in ("dim", "momentum", "ema", "weight", "sharpness"):
        if name in has and first.cells[has[name]] not in EMPTY:
            fields[name] = source.number(first, has[name])
    for name in WORDS:
        if name in has:
            fields[name] = str(first.cells[has[name]])
    fields.setdefault("name", " ".join(key) if is_curve else f"line {first.number}")
    try:
        for name, maker in makers.items():
            fields[name] = _schedule(source, name, maker, lines, has, fields["steps"])
        return TrainingRun(fields.pop("loss", None), fields.pop("steps"), **fields)
    except InputError as error:
        message = str(error)
        if message.startswith(source.path.name):
            raise
        at = next((f", column {c!r}" for n, c in has.items() if message.startswith(n)), "")
        raise InputError(f"{source.path.name}, line {first.number}{at}: {message}") from None


def _schedule(
    source: Source, name: str, maker: Any, lines: list[Line], has: dict[str, str], steps: Any
) -> Any:
    """Make the learning rate or the batch size of a run."""
    last = int(np.max(steps)) if np.all(np.isfinite(steps)) else 0
    if maker is None:
        values = np.array([source.number(line, has[name]) for line in lines])
        if (values == values[0]).all():
            return float(values[0])
        return PerStep(between(steps, values, max(last, 1)))
    if not callable(maker) and not isinstance(maker, Template):
        return maker
    row = {column: _value([line.cells[column] for line in lines]) for column in lines[0].cells}
    if isinstance(maker, Template):
        return maker.schedule(row, last, np.atleast_1d(steps))
    try:
        return maker(row)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name} as a callable has raised {reason(error)}") from error


def _value(cells: list[Any]) -> Any:
    """Return a column of a run for templates: numbers if they are some, once if they are alike."""
    try:
        array: Any = np.array([float(cell) for cell in cells])
    except (TypeError, ValueError):
        array = np.array([str(cell) for cell in cells])
    return array[0].item() if (array == array[0]).all() else array


# -- files -------------------------------------------------------------------------------


def _lines(source: Source) -> list[Line]:
    """Read all rows of a file."""
    suffixes = [suffix.lower() for suffix in source.path.suffixes]
    if ".parquet" in suffixes:
        return _parquet_lines(source)
    opened = gzip.open if suffixes[-1:] == [".gz"] else open
    try:
        with opened(source.path, "rt", newline="", encoding="utf-8-sig") as file:
            if {".json", ".jsonl", ".ndjson"} & set(suffixes):
                return _json_lines(source, file)
            return _csv_lines(source, file)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, csv.Error) as error:
        raise InputError(f"{source.path.name} is no table of text: {error}") from None


def _csv_lines(source: Source, file: Any) -> list[Line]:
    """Read the rows of a CSV."""
    reader = csv.reader(file)
    head = next(reader, None)
    if not head:
        raise InputError(f"{source.path.name} is empty: its first line must name its columns")
    twice = next((name for name in head if head.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{source.path.name} has two columns {twice!r}")
    lines = []
    for row in reader:
        if not row:
            continue
        if len(row) != len(head):
            raise InputError(
                f"{source.path.name}, line {reader.line_num}: {len(row)} cells, but there are "
                f"{len(head)} columns"
            )
        lines.append(Line(reader.line_num, dict(zip(head, row, strict=True))))
    return lines


def _json_lines(source: Source, file: Any) -> list[Line]:
    """Read objects, one a line."""
    lines: list[Line] = []
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{source.path.name}, line {number}: no JSON ({error.msg})") from None
        if not isinstance(row, dict):
            raise InputError(f"{source.path.name}, line {number}: must be an object, one a line")
        if lines:
            missing = [name for name in lines[0].cells if name not in row]
            row.update(dict.fromkeys(missing))
        lines.append(Line(number, row))
    return lines


def _parquet_lines(source: Source) -> list[Line]:
    """Read the rows of a Parquet file with pandas."""
    try:
        import pandas as pd
    except ImportError:
        raise InputError(
            f"{source.path.name} is Parquet, which needs pandas: pip install pandas pyarrow"
        ) from None
    try:
        rows = pd.read_parquet(source.path).to_dict("records")
    except FileNotFoundError:
        raise
    except Exception as error:  # Whatever the engine says of a damaged file, or of itself missing.
        raise InputError(f"{source.path.name} cannot be read by pandas: {reason(error)}") from error
    return [Line(number, dict(row)) for number, row in enumerate(rows, 1)]
