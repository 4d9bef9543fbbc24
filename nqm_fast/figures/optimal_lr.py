"""Optimal learning rate of plain SGD against batch size, for the targets of `targets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._model import Table, distinct_values, rows_where
from ._style import GREY, SERIES, batch_size_axes
from .targets import SWEEP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 3
TITLE = "Plain SGD: optimal learning rate grows with batch size, then levels off"

jobs = SWEEP.jobs
compute = SWEEP.table


def plot(figure: Figure, table: Table) -> None:
    """Draw a line for each target."""
    axes = batch_size_axes(figure, TITLE, r"optimal learning rate $\eta$")
    for target, series in zip(distinct_values(table, "target"), SERIES, strict=False):
        rows = rows_where(table, target=target)
        axes.plot(rows["batch_size"], rows["lr"], label=f"$C = {target:g}$", **series)
    axes.axhline(2.0, color=GREY, linestyle="--", linewidth=1)
    axes.text(4, 2.15, "stable below $2/h_1$", color=GREY, va="bottom")
    axes.set_ylim(top=5)
    axes.legend(title="target excess risk", loc="lower right")
