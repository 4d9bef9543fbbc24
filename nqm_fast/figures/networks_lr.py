"""Real networks: the best learning rate against batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..columns import Table, distinct_values
from ..jobs import Job, Solved
from ._model import Study
from ._networks import (
    COLOURS,
    GUIDE,
    LINES,
    add_wrapped_caption,
    curve,
    legends,
    measured,
    source,
    task_panels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 12
TITLE = "Real networks: the best learning rate against batch size"
PAPER = "section 4.2: best learning rates, of other networks"
OWN_PROBLEM = True


def jobs(study: Study) -> list[Job]:
    """List the job that reads the table."""
    return [Job(measured, (study.results,))]


def compute(study: Study, solved: Solved) -> Table:
    """Return the table of the study."""
    table: Table = solved[jobs(study)[0]]
    return table


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw a panel for each task; with momentum it is the effective rate, lr / (1 - momentum)."""
    panels = task_panels(figure, TITLE, table, "best learning rate (effective, with momentum)")
    for task, axes in panels.items():
        for name in distinct_values(table, "optimizer"):
            for ema in (False, True):
                rows = curve(table, task, name, ema)
                lr = rows["lr"]
                if name == "momentum":
                    lr = lr / (1.0 - rows["momentum"])
                axes.plot(rows["batch_size"], lr, **{**COLOURS[name], **LINES[ema]})
        rows = curve(table, task, distinct_values(table, "optimizer")[0], False)
        axes.plot(rows["batch_size"], rows["lr"][0] * rows["batch_size"], **GUIDE)
    first = next(iter(panels.values()))
    legends(first, table, ("upper left", "lower right"), ("proportional to $B$", GUIDE))
    add_wrapped_caption(figure, source(study))
