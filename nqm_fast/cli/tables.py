"""What commands share: numbers on the command line, tables and JSON."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def whole(text: str) -> int:
    """A whole number, also written as 1e6."""
    value = float(text)
    if not value.is_integer():
        raise ValueError
    return int(value)


whole.__name__ = "whole number"  # argparse puts it into its message


def show(chosen: argparse.Namespace, facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print facts and rows as JSON (null: never, or beyond the range of a double) or a table."""
    if chosen.json:
        print(json.dumps(facts | {"results": rows}, indent=2, allow_nan=False))
        return
    for name, value in facts.items():
        print(f"{name}: {'never' if value is None else value}")
    table(rows)


def table(rows: list[dict[str, Any]]) -> None:
    """Print rows, with the keys of the first as heads."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    grid = Table(*(name.replace("_", " ") for name in rows[0]), box=SIMPLE)
    for column in grid.columns:
        column.justify = "right"
        column.overflow = "fold"
    for row in rows:
        grid.add_row(*(_cell(name, value) for name, value in row.items()))
    # no digit may be lost: a pipe gets long lines, a narrow terminal folded ones
    width = None if sys.stdout and sys.stdout.isatty() else 400
    Console(highlight=False, width=width).print(grid)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "never" if name == "steps" else "inf"
    if isinstance(value, str | int):
        return str(value)
    return f"{value:.8g}"
