"""Real networks: the best learning rate against batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..drawing.study import Study
from ..drawing.style import add_caption, wrapped
from ..output.columns import Table
from ._networks import GUIDE, compute, curves, guide, jobs, legends, source, task_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 12
TITLE = "Real networks: the best learning rate against batch size"
PAPER = "section 4.2: best learning rates, of other networks"
OWN_PROBLEM = True

__all__ = ["compute", "jobs", "plot"]


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw a panel for each task; with momentum it is the effective rate, lr / (1 - momentum)."""
    panels = task_panels(figure, TITLE, table, "best learning rate (effective, with momentum)")
    for task, axes in panels.items():
        for name, _, look, rows in curves(table, task):
            lr = rows["lr"]
            if name == "momentum":
                lr = lr / (1.0 - rows["momentum"])
            axes.plot(rows["batch_size"], lr, **look)
        guide(axes, table, task, "lr", lambda size: size, averaged=False)
    first = next(iter(panels.values()))
    legends(first, table, ("upper left", "lower right"), ("proportional to $B$", GUIDE))
    add_caption(figure, wrapped(figure, source(study)))
