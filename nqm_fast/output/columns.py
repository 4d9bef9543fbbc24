"""Tables as columns by name, and as files of comma-separated values."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .saving import written_beside

Table = dict[str, NDArray[Any]]
"""Columns of one length, by name."""


def table_of_rows(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Make a table from its rows."""
    values = zip(*rows, strict=True)
    return {name: np.array(column) for name, column in zip(names, values, strict=True)}


def rows_where(table: Table, **wanted: Any) -> Table:
    """Keep the rows whose columns have the values given."""
    keep = np.logical_and.reduce([table[name] == value for name, value in wanted.items()])
    return {name: column[keep] for name, column in table.items()}


def distinct_values(table: Table, name: str) -> list[Any]:
    """List the different values of a column, in the order of their first appearance."""
    return list(dict.fromkeys(table[name].tolist()))


def write_csv(path: Path, table: Table) -> None:
    """Write column names and rows; floats have all their digits, and NaN is an empty cell."""
    with (
        written_beside("out", path) as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        rows = zip(*(column.tolist() for column in table.values()), strict=True)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    """Leave out a value that is NaN."""
    return "" if isinstance(value, float) and math.isnan(value) else value


def read_csv(path: Path) -> Table:
    """Read what `write_csv` wrote: numbers where a whole column has them, else text.

    Raises
    ------
    ValueError
        If it is no table with at least one row.
    """
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = list(csv.reader(file)) or [[]]
    if not rows or any(len(row) != len(names) for row in rows):
        raise ValueError("it has no rows, or some that are not as long as the first")
    return {
        name: _column(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    }


def _column(cells: Sequence[str]) -> NDArray[Any]:
    """Convert the cells of a column; an empty one is NaN."""
    for convert in (int, lambda cell: float(cell or "nan")):
        try:
            return np.array([convert(cell) for cell in cells])
        except ValueError:
            continue
    return np.array(cells)
