"""Real networks: steps to the target against batch size, for every optimiser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..columns import Table, distinct_values
from ..jobs import Job, Solved
from ._model import Study
from ._networks import (
    COLOURS,
    GUIDE,
    LINES,
    add_wrapped_caption,
    critical_batch,
    curve,
    legends,
    measured,
    source,
    task_panels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 11
TITLE = "Real networks: steps to the target loss against batch size"
PAPER = "figures 8 to 10: neural networks, which are others here"
OWN_PROBLEM = True


def jobs(study: Study) -> list[Job]:
    """List the job that reads the table."""
    return [Job(measured, (study.results,))]


def compute(study: Study, solved: Solved) -> Table:
    """Return the table of the study."""
    table: Table = solved[jobs(study)[0]]
    return table


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw a panel for each task, a colour for each optimiser, and mark critical batch sizes."""
    panels = task_panels(figure, TITLE, table, "steps to the target")
    for task, axes in panels.items():
        for name in distinct_values(table, "optimizer"):
            for ema in (False, True):
                rows = curve(table, task, name, ema)
                steps = np.where(np.isfinite(rows["steps"]), rows["steps"], np.nan)
                axes.plot(rows["batch_size"], steps, **{**COLOURS[name], **LINES[ema]})
                knee = critical_batch(rows)
                if ema and knee == knee:
                    color = COLOURS[name]["color"]
                    axes.axvline(knee, ymax=0.05, color=color, linewidth=3)
        rows = curve(table, task, distinct_values(table, "optimizer")[0], True)
        if np.isfinite(rows["steps"][:1]).all():
            scaled = rows["steps"][0] * rows["batch_size"][0] / rows["batch_size"]
            low = np.nanmin(np.where(np.isfinite(table["steps"]), table["steps"], np.nan))
            axes.plot(rows["batch_size"], np.maximum(scaled, low / 2), **GUIDE)
    first = next(iter(panels.values()))
    guide = ("perfect scaling", GUIDE)
    legends(first, table, ("upper right", "lower left"), guide)
    add_wrapped_caption(
        figure, f"{source(study)} Ticks on the axis: critical batch sizes, with an EMA."
    )
