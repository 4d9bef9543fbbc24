"""Real networks: steps to the target against batch size, for every optimiser."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..drawing.study import Study
from ..drawing.style import add_caption, with_gaps, wrapped
from ..output.columns import Table, rows_where
from ._networks import (
    GUIDE,
    compute,
    critical_batch,
    curves,
    guide,
    jobs,
    legends,
    source,
    task_panels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 11
TITLE = "Real networks: steps to the target loss against batch size"
PAPER = "figures 8 to 10: neural networks, which are others here"
OWN_PROBLEM = True

__all__ = ["compute", "jobs", "plot"]


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw a panel for each task, a colour for each optimiser, and mark critical batch sizes."""
    panels = task_panels(figure, TITLE, table, "steps to the target")
    for task, axes in panels.items():
        for _, ema, look, rows in curves(table, task):
            axes.plot(rows["batch_size"], with_gaps(rows["steps"]), **look)
            knee = critical_batch(rows)
            if ema and not math.isnan(knee):
                axes.axvline(knee, ymax=0.05, color=look["color"], linewidth=3)
        reached = rows_where(table, task=task)["steps"] < math.inf
        if reached.any():
            guide(axes, table, task, "steps", lambda size: 1.0 / size, averaged=True)
        else:
            axes.text(
                0.5, 0.5, "the target is never reached", ha="center", transform=axes.transAxes
            )
    first = next(iter(panels.values()))
    legends(first, table, ("upper right", "lower left"), ("perfect scaling", GUIDE))
    text = f"{source(study)} Ticks on the axis: critical batch sizes, with an EMA."
    add_caption(figure, wrapped(figure, text))
