"""Steps to five targets against batch size, plain SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._model import Sweep, Table, levels, select
from ._style import GREY, SERIES, batch_axes, key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 2
TITLE = "Plain SGD: harder targets have larger critical batch sizes"

TARGETS = (0.1, 0.03, 0.01, 0.003, 0.001)
BOUND: dict[str, Any] = {"linestyle": ":", "linewidth": 1.2}

SWEEP = Sweep(("plain",), powers=(0.0,), targets=TARGETS)
jobs = SWEEP.jobs
compute = SWEEP.table


def plot(figure: Figure, table: Table) -> None:
    """One line per target, and below it the bound that no algorithm beats."""
    axes = batch_axes(figure, TITLE, "steps to reach excess risk $C$")
    lines = list(zip(levels(table, "target"), SERIES, strict=False))
    for target, series in lines:
        rows = select(table, target=target)
        axes.plot(rows["batch_size"], rows["steps"], **series)
        axes.plot(rows["batch_size"], rows["bayes_steps"], color=series["color"], **BOUND)
    entries = [(f"$C = {target:g}$", series) for target, series in reversed(lines)]
    bound = ("lower bound (Bayes) of the same colour's target", {"color": GREY, **BOUND})
    key(axes, entries, "upper right", title="target excess risk")
    key(axes, [bound], "lower left")
