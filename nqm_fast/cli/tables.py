"""Numbers on the command line, and results as tables or JSON, which commands share."""

from __future__ import annotations

import json
import math
import sys
from decimal import Decimal, InvalidOperation
from typing import Any

MOST_DIGITS = 1000
"""Digits of a whole number that is read; what uses it says how large it may be."""


def whole_number(text: str) -> int:
    """Convert text to a whole number, which may be written as 1e6."""
    try:
        value = Decimal(text)
        if value.is_finite() and value.adjusted() < MOST_DIGITS and value == value.to_integral():
            return int(value)
    except InvalidOperation:
        pass
    raise ValueError


whole_number.__name__ = "whole number"  # The name is a part of the error message of argparse.


def plain(text: str) -> int | float:
    """Convert text to a number, a whole one without rounding it to a double."""
    try:
        return whole_number(text)
    except ValueError:
        return float(text)


plain.__name__ = "number"


def finite(value: float) -> float | None:
    """Return a number, or None, which is null in JSON, for one that is infinite or NaN."""
    return value if value < math.inf else None


def print_json(
    command: str, facts: dict[str, Any], rows: list[dict[str, Any]], **more: Any
) -> None:
    """Print results as JSON, whose keys `docs/json.md` describes."""
    content = {"format": f"nqm-fast {command} 1"} | facts | {"results": rows} | more
    print(json.dumps(content, indent=2, allow_nan=False))


def print_results(facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print facts and rows as text.

    None stands for a target that is never reached, or an infinite risk.
    """
    for name, value in facts.items():
        print(f"{name}: {'never' if value is None else value}")
    print_table(rows)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows of the same keys, which are the heads of the columns."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    grid = Table(*(name.replace("_", " ") for name in rows[0]), box=SIMPLE)
    for column, name in zip(grid.columns, rows[0], strict=True):
        is_text = all(isinstance(row[name], str) for row in rows)
        column.justify = "left" if is_text else "right"
        column.overflow = "fold"
    for row in rows:
        grid.add_row(*(_cell(name, value) for name, value in row.items()))
    # No digit may be lost, so a pipe gets long lines, and a narrow terminal folded cells.
    width = None if sys.stdout and sys.stdout.isatty() else 400
    Console(highlight=False, width=width).print(grid)


def _cell(name: str, value: Any) -> str:
    """Write a value; None is a number of steps, or another value, that is infinite."""
    if value is None:
        return "never" if name == "steps" else "inf"
    if isinstance(value, str | int):
        return str(value)
    return f"{value:.8g}"
