"""The optimal learning rate schedule of 50 equal pieces, for batch sizes 16 to 4096."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..drawing.study import Study
from ..drawing.style import add_caption
from ..exact.control.piecewise_schedule import optimal_schedule
from ..machine.jobs import Job, Solved
from ..output.columns import Table, distinct_values, rows_where, table_of_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 4
TITLE = "Optimal schedules of 50 pieces: larger batches decay later"
SUBJECT = "Optimal schedules of 50 pieces"
PAPER = "figure 4: piecewise constant schedules of 50 pieces"

BATCHES = tuple(2**k for k in range(4, 13))
PIECES = 50


def schedule(study: Study, batch_size: float) -> list[tuple[float, float, int, int, float]]:
    """Find the best schedule of one batch size (a job)."""
    found = optimal_schedule(study.problem, batch_size, study.target, PIECES)
    if found.steps in (0, math.inf):
        return [(batch_size, found.steps, 0, 1, math.nan)]
    chosen: Any = found.algorithm
    starts = np.cumsum([0, *chosen.lr.lengths]).tolist()
    steps = int(found.steps)
    return [
        (batch_size, steps, begin, min(end, steps), lr)
        for begin, end, lr in zip(starts[:-1], starts[1:], chosen.lr.values_, strict=True)
        if begin < steps
    ]


def jobs(study: Study) -> list[Job]:
    """List a job for each batch size."""
    alone = study._replace(batch_sizes=None)
    return [Job(schedule, (alone, batch), long=True) for batch in study.sizes(BATCHES)]


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate the pieces of all schedules."""
    rows = [row for job in jobs(study) for row in solved[job]]
    return table_of_rows(("batch_size", "steps", "begin", "end", "lr"), rows)


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw learning rates against the fraction of the training time."""
    import matplotlib

    figure.set_size_inches(8.5, 5)
    axes = figure.subplots()
    axes.set_xlim(0.0, 1.0)
    batches = distinct_values(table, "batch_size")
    shades = matplotlib.colormaps["cividis"](np.linspace(0.0, 0.95, len(batches)))
    for batch, shade in zip(batches, shades, strict=True):
        rows = rows_where(table, batch_size=batch)
        edges = np.append(rows["begin"], rows["end"][-1]) / max(rows["steps"][0], 1)
        label = f"{batch:g} ({rows['steps'][0]:g})"
        axes.stairs(rows["lr"], edges, baseline=None, color=shade, linewidth=1.8, label=label)
    axes.set_yscale("log")
    axes.set_title(study.title(TITLE, SUBJECT))
    axes.set_xlabel("fraction of training $t/T$")
    axes.set_ylabel(r"learning rate $\eta(t)$")
    add_caption(figure, f"{study.caption} The target is an excess risk of {study.target:g}.")
    figure.legend(title="batch size $B$ (steps $T$)", loc="outside right upper")
