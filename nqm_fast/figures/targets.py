"""Steps to five targets against batch size, plain SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..drawing.study import Study, Sweep
from ..drawing.style import GREY, SERIES, add_legend, batch_size_axes
from ..output.columns import Table, distinct_values, rows_where

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 2
TITLE = "Plain SGD: harder targets have larger critical batch sizes"
SUBJECT = "Steps to five targets, plain SGD"
PAPER = "section 3.1: plain SGD"

TARGETS = (10.0, 3.0, 1.0, 0.3, 0.1)
"""Multiples of the target."""
BOUND_STYLE: dict[str, Any] = {"linestyle": ":", "linewidth": 1.2}

SWEEP = Sweep(("plain",), powers=(0.0,), targets=TARGETS)
jobs = SWEEP.jobs
compute = SWEEP.table


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw a line for each target, and below it the bound that no algorithm beats."""
    axes = batch_size_axes(
        figure, study.title(TITLE, SUBJECT), "steps to reach excess risk $C$", study, table
    )
    lines = list(zip(distinct_values(table, "target"), SERIES, strict=False))
    for target, series in lines:
        rows = rows_where(table, target=target)
        axes.plot(rows["batch_size"], rows["steps"], **series)
        axes.plot(rows["batch_size"], rows["bayes_steps"], color=series["color"], **BOUND_STYLE)
    entries = [(f"$C = {target:g}$", series) for target, series in reversed(lines)]
    bound = ("lower bound (Bayes) of the same colour's target", {"color": GREY, **BOUND_STYLE})
    add_legend(axes, entries, "upper right", title="target excess risk")
    add_legend(axes, [bound], "lower left")
