"""Pictures of a fit: measured against predicted losses, curves, and residuals by column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..output.columns import Table, distinct_values
from .environment import check_matplotlib
from .style import GREY, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = {"steps": "steps", "batch_size": "batch size", "lr": "learning rate", "dim": "parameters"}
"""Columns against which residuals are drawn where they differ, with their names."""
MOST_CURVES = 8
MANY_RECORDS = 200
POINT = 3.0
"""Size of markers where there are many."""
LEAST_RECORDS = 5
"""Runs of fewer records are no curves."""


def figure_of(table: Table) -> Figure:
    """Draw the residuals of a fit into a new figure.

    Raises
    ------
    InputError
        If Matplotlib is not installed.
    """
    from .output import new_figure

    check_matplotlib()
    return new_figure(_plot, table)


def draw(table: Table, path: Path) -> Path:
    """Draw the residuals of a fit into a file.

    Raises
    ------
    InputError
        If `path` is no picture, or Matplotlib is not installed.
    """
    return draw_with(_plot, table, path)


def draw_with(plot: Callable[[Figure, Table], None], table: Table, path: Path) -> Path:
    """Draw a table into a file by a function that draws it into a figure."""
    from .output import check_picture, write_png

    check_matplotlib()
    check_picture(path, "out")
    write_png(path, plot, table)
    return path


def _plot(figure: Figure, table: Table) -> None:
    """Draw all panels."""
    table = {name: column[np.isfinite(table["loss"])] for name, column in table.items()}
    names = [name for name in COLUMNS if len(set(np.nan_to_num(table[name]).tolist())) > 1]
    curves = curves_of(table)[:MOST_CURVES]
    count = 1 + bool(curves) + len(names)
    rows = -(-count // 2)
    figure.set_size_inches(9.0, 3.4 * rows)
    axes = list(figure.subplots(rows, 2, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    plot_losses(axes[0], table)
    if curves:
        plot_curves(axes[1], table, curves, "fitted")
    for panel, name in zip(axes[1 + bool(curves) :], names, strict=False):
        _plot_residuals(panel, table, name, curves)


def curves_of(table: Table) -> list[Any]:
    """List the runs that have curves."""
    runs = distinct_values(table, "run")
    return [run for run in runs if np.sum(table["run"] == run) >= LEAST_RECORDS]


def _groups(table: Table) -> list[tuple[str, Any]]:
    """List the groups with their rows."""
    groups = distinct_values(table, "group")
    return [(str(group), table["group"] == group) for group in groups]


def plot_losses(axes: Axes, table: Table) -> None:
    """Draw measured against predicted losses."""
    size = POINT if table["loss"].size > MANY_RECORDS else None
    for number, (group, rows) in enumerate(_groups(table)):
        style = SERIES[number % len(SERIES)] | ({} if size is None else {"markersize": size})
        axes.plot(
            table["predicted"][rows], table["loss"][rows], linestyle="", alpha=0.7,
            label=group or None, **style,
        )  # fmt: skip
    both = np.concatenate([table["predicted"], table["loss"]])
    ends = [both.min(), both.max()]
    axes.plot(ends, ends, color=GREY, linewidth=1.0)
    axes.set_xlabel("predicted loss")
    axes.set_ylabel("measured loss")
    if axes.get_legend_handles_labels()[1]:
        axes.legend()


def rows_of(table: Table, run: Any) -> Any:
    """List the rows of a run in the order of its steps."""
    rows = np.flatnonzero(table["run"] == run)
    return rows[np.argsort(table["steps"][rows], kind="stable")]


def plot_curves(axes: Axes, table: Table, curves: list[Any], lines: str) -> None:
    """Draw measured curves, and those that are predicted, with their intervals if there are some.

    `lines` says what the lines are.
    """
    for number, run in enumerate(curves[:MOST_CURVES]):
        rows = rows_of(table, run)
        color = SERIES[number % len(SERIES)]["color"]
        name = table["name"][rows[0]] or f"run {run}"
        axes.plot(table["steps"][rows], table["loss"][rows], ".", color=color, markersize=POINT)
        axes.plot(
            table["steps"][rows], table["predicted"][rows], color=color, linewidth=1.0, label=name
        )
        if "low" in table:
            low, high = table["low"][rows], table["high"][rows]
            axes.fill_between(
                table["steps"][rows], low, high, color=color, alpha=0.2, linewidth=0.0
            )
    axes.set_xlabel("steps")
    axes.set_ylabel(f"loss (points: measured, lines: {lines})")
    axes.legend(fontsize=7)


def _plot_residuals(axes: Axes, table: Table, name: str, curves: list[Any]) -> None:
    """Draw residuals against a column, those of curves in the colours that these have."""
    others = ~np.isin(table["run"], curves)
    for number, (_, rows) in enumerate(_groups(table)):
        style = SERIES[number % len(SERIES)]
        here = rows & others
        axes.plot(
            table[name][here], 100.0 * table["residual"][here], linestyle="", alpha=0.7, **style
        )
    for number, run in enumerate(curves):
        rows = rows_of(table, run)
        style = SERIES[number % len(SERIES)] | {"markersize": POINT}
        line = "-" if name == "steps" else ""
        axes.plot(
            table[name][rows], 100.0 * table["residual"][rows], linestyle=line, linewidth=0.7,
            **style,
        )  # fmt: skip
    axes.axhline(0.0, color=GREY, linewidth=1.0)
    axes.set_xscale("log")
    axes.set_xlabel(COLUMNS[name])
    axes.set_ylabel("measured over fitted - 1 (%)")
