"""Training curves of plain SGD at five learning rates, for a small and a large batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..algorithms.sgd import SGD
from ..drawing.study import Study
from ..drawing.style import GREY, SERIES, add_caption
from ..exact.risk import expected_risk
from ..machine.jobs import Job, Solved
from ..output.columns import Table, distinct_values, rows_where, table_of_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 1
TITLE = "Plain SGD: the best learning rate depends on the batch size"
SUBJECT = "Training curves of plain SGD"
PAPER = "section 3.1: plain SGD"

LEARNING_RATES = (0.01, 0.03, 0.1, 0.3, 0.9)
"""Multiples of the largest stable one."""
BATCHES = (64, 16384)
LAST_STEP = 10**6
COLUMNS = 3
"""Panels side by side."""


def curve(study: Study, lr: float, batch_size: float) -> list[tuple[float, float, int, float]]:
    """Solve for the risk at steps evenly spread over a logarithmic axis (a job)."""
    steps = np.unique(np.geomspace(1, LAST_STEP, 200).round().astype(np.int64))
    risk = expected_risk(study.problem, SGD(lr), batch_size, steps)
    return [(lr, batch_size, step, r) for step, r in zip(steps.tolist(), risk, strict=True)]


def jobs(study: Study) -> list[Job]:
    """List a job for each curve."""
    alone = Study(study.pickled)
    rates = [float(f"{factor * study.largest_lr:.12g}") for factor in LEARNING_RATES]
    return [Job(curve, (alone, lr, batch)) for batch in study.sizes(BATCHES) for lr in rates]


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate all curves, one below the other."""
    rows = [row for job in jobs(study) for row in solved[job]]
    return table_of_rows(("lr", "batch_size", "steps", "risk"), rows)


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw a panel for each batch size."""
    figure.suptitle(study.title(TITLE, SUBJECT))
    add_caption(figure, study.caption)
    batches = distinct_values(table, "batch_size")
    columns = min(len(batches), COLUMNS)
    rows_of_panels = -(-len(batches) // columns)
    figure.set_size_inches(max(4.5 * columns, 6.0), 0.9 + 3.6 * rows_of_panels)
    grid = figure.subplots(rows_of_panels, columns, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for axes in panels[len(batches) :]:
        axes.set_axis_off()
    for axes, batch in zip(panels, batches, strict=False):
        for lr, series in zip(distinct_values(table, "lr"), SERIES, strict=False):
            rows = rows_where(table, batch_size=batch, lr=lr)
            axes.loglog(rows["steps"], rows["risk"], label=f"{lr:g}", markevery=(10, 27), **series)
        axes.axhline(study.target, color=GREY, linestyle="--", linewidth=1)
        axes.text(1.3, study.target * 1.08, f"target {study.target:g}", color=GREY, va="bottom")
        axes.set_title(f"batch size $B = {batch:g}$")
        axes.set_xlabel("step $t$")
    for axes in grid[:, 0]:
        axes.set_ylabel("expected excess risk")
    panels[len(batches) - 1].legend(
        title="learning rate", loc="lower left", bbox_to_anchor=(0.0, 0.1)
    )
