"""Optimal learning rate of plain SGD against batch size, for the targets of `targets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..drawing.study import Study
from ..drawing.style import GREY, SERIES, batch_size_axes
from ..output.columns import Table, distinct_values, rows_where
from .targets import SWEEP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 3
TITLE = "Plain SGD: optimal learning rate grows with batch size, then levels off"
SUBJECT = "Optimal learning rate of plain SGD for five targets"
PAPER = "section 3.1: the learning rate grows with the batch size"

jobs = SWEEP.jobs
compute = SWEEP.table


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw a line for each target."""
    axes = batch_size_axes(
        figure, study.title(TITLE, SUBJECT), r"optimal learning rate $\eta$", study, table
    )
    for target, series in zip(distinct_values(table, "target"), SERIES, strict=False):
        rows = rows_where(table, target=target)
        axes.plot(rows["batch_size"], rows["lr"], label=f"$C = {target:g}$", **series)
    limit = study.largest_lr
    axes.axhline(limit, color=GREY, linestyle="--", linewidth=1)
    smallest = table["batch_size"].min()
    axes.text(smallest, 1.075 * limit, "stable below $2/h_1$", color=GREY, va="bottom")
    axes.set_ylim(top=2.5 * limit)
    axes.legend(title="target excess risk", loc="lower right")
