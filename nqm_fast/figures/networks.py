"""Real networks: steps to the target against batch size, for every optimiser."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..columns import Table, distinct_values
from ._model import Study
from ._networks import (
    GUIDE,
    compute,
    critical_batch,
    curve,
    curves,
    jobs,
    legends,
    source,
    task_panels,
)
from ._style import add_caption, with_gaps, wrapped

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
        rows = curve(table, task, distinct_values(table, "optimizer")[0], True)
        if np.isfinite(rows["steps"][:1]).all():
            scaled = rows["steps"][0] * rows["batch_size"][0] / rows["batch_size"]
            low = np.nanmin(with_gaps(table["steps"]))
            axes.plot(rows["batch_size"], np.maximum(scaled, low / 2), **GUIDE)
    first = next(iter(panels.values()))
    guide = ("perfect scaling", GUIDE)
    legends(first, table, ("upper right", "lower left"), guide)
    text = f"{source(study)} Ticks on the axis: critical batch sizes, with an EMA."
    add_caption(figure, wrapped(figure, text))
