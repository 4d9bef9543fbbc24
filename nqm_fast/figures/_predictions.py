"""Pictures of runs that a fit predicts: measured against predicted, curves, and final losses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..columns import Table, distinct_values
from ._fit import LEAST_RECORDS, MOST_CURVES, POINT, draw_with, plot_losses, rows_of
from ._style import SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_predictions(table: Table, path: Path) -> Path:
    """Draw predictions into a file.

    Parameters
    ----------
    table : dict of ndarray
        Columns ``run, name, steps, loss, low, high`` of predictions, where `run` is a number, and
        ``measured`` if there are losses, with NaN where there are none.
    path : Path

    Raises
    ------
    InputError
        If `path` is no picture, or Matplotlib is not installed.
    """
    return draw_with(_plot, table, path)


def _plot(figure: Figure, table: Table) -> None:
    """Draw the panels for which there is something."""
    # The names of the picture of a fit, with which it shares what it draws.
    nothing = np.full(table["loss"].shape, np.nan)
    table = table | {
        "predicted": table["loss"],
        "loss": table.get("measured", nothing),
        "group": np.full(table["loss"].shape, ""),
    }
    finite = np.isfinite(table["predicted"])
    table = {name: column[finite] for name, column in table.items()}
    runs = distinct_values(table, "run")
    curves = [run for run in runs if np.sum(table["run"] == run) >= LEAST_RECORDS]
    measured = np.isfinite(table["loss"])
    others = ~np.isin(table["run"], curves)
    count = bool(measured.any()) + bool(curves) + bool(others.any())
    figure.set_size_inches(4.5 * max(count, 1), 3.6)
    panels = iter(figure.subplots(1, max(count, 1), squeeze=False).flat)
    if measured.any():
        plot_losses(next(panels), {name: column[measured] for name, column in table.items()})
    if curves:
        _plot_curves(next(panels), table, curves[:MOST_CURVES])
    if others.any():
        _plot_finals(next(panels), {name: column[others] for name, column in table.items()})


def _plot_curves(axes: Axes, table: Table, curves: list[int]) -> None:
    """Draw predicted curves with their intervals, and what was measured as points."""
    for number, run in enumerate(curves):
        rows = rows_of(table, run)
        color = SERIES[number % len(SERIES)]["color"]
        steps = table["steps"][rows]
        name = str(table["name"][rows][0]) or f"run {run}"
        axes.plot(steps, table["predicted"][rows], color=color, linewidth=1.0, label=name)
        axes.fill_between(
            steps, table["low"][rows], table["high"][rows], color=color, alpha=0.2, linewidth=0.0
        )
        axes.plot(steps, table["loss"][rows], ".", color=color, markersize=POINT)
    axes.set_xlabel("steps")
    axes.set_ylabel("loss (points: measured, lines: predicted)")
    axes.legend(fontsize=7)


def _plot_finals(axes: Axes, table: Table) -> None:
    """Draw the losses of single records with their intervals, and what was measured."""
    around = np.abs([table["predicted"] - table["low"], table["high"] - table["predicted"]])
    style = SERIES[0] | {"linestyle": ""}
    axes.errorbar(table["steps"], table["predicted"], around, label="predicted", **style)
    if np.isfinite(table["loss"]).any():
        style = SERIES[1] | {"linestyle": ""}
        axes.plot(table["steps"], table["loss"], label="measured", **style)
        axes.legend()
    axes.set_xscale("log")
    axes.set_xlabel("steps")
    axes.set_ylabel("loss")
