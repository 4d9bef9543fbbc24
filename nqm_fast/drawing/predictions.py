"""Pictures of runs that a fit predicts: measured against predicted, curves, and final losses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..output.columns import Table
from .fit import curves_of, draw_with, plot_curves, plot_losses
from .style import SERIES

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
    curves = curves_of(table)
    measured = np.isfinite(table["loss"])
    others = ~np.isin(table["run"], curves)
    count = bool(measured.any()) + bool(curves) + bool(others.any())
    figure.set_size_inches(4.5 * max(count, 1), 3.6)
    panels = iter(figure.subplots(1, max(count, 1), squeeze=False).flat)
    if measured.any():
        plot_losses(next(panels), {name: column[measured] for name, column in table.items()})
    if curves:
        plot_curves(next(panels), table, curves, "predicted")
    if others.any():
        _plot_finals(next(panels), {name: column[others] for name, column in table.items()})


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
