"""Training curves of plain SGD at five learning rates, for a small and a large batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..algorithms.sgd import SGD
from ..exact.risk import expected_risk
from ._jobs import Job, Solved
from ._model import TARGET, Table, distinct_values, problem, rows_where, table_of_rows
from ._style import GREY, PROBLEM, SERIES, add_caption

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 1
TITLE = "Plain SGD: the best learning rate depends on the batch size"

LEARNING_RATES = (0.02, 0.06, 0.2, 0.6, 1.8)
BATCHES = (64, 16384)
LAST_STEP = 10**6


def curve(lr: float, batch_size: int) -> list[tuple[float, int, int, float]]:
    """Solve for the risk at steps evenly spread over a logarithmic axis (a job)."""
    steps = np.unique(np.geomspace(1, LAST_STEP, 200).round().astype(np.int64))
    risk = expected_risk(problem(), SGD(lr), batch_size, steps)
    return [(lr, batch_size, step, r) for step, r in zip(steps.tolist(), risk, strict=True)]


def jobs() -> list[Job]:
    """List a job for each curve."""
    return [Job(curve, (lr, batch)) for batch in BATCHES for lr in LEARNING_RATES]


def compute(solved: Solved) -> Table:
    """Tabulate all curves, one below the other."""
    rows = [row for job in jobs() for row in solved[job]]
    return table_of_rows(("lr", "batch_size", "steps", "risk"), rows)


def plot(figure: Figure, table: Table) -> None:
    """Draw a panel for each batch size."""
    figure.set_size_inches(9, 4.5)
    figure.suptitle(TITLE)
    add_caption(figure, PROBLEM)
    panels = figure.subplots(1, len(BATCHES), sharey=True)
    for axes, batch in zip(panels, distinct_values(table, "batch_size"), strict=True):
        for lr, series in zip(distinct_values(table, "lr"), SERIES, strict=False):
            rows = rows_where(table, batch_size=batch, lr=lr)
            axes.loglog(rows["steps"], rows["risk"], label=f"{lr:g}", markevery=(10, 27), **series)
        axes.axhline(TARGET, color=GREY, linestyle="--", linewidth=1)
        axes.text(1.3, TARGET * 1.08, f"target {TARGET:g}", color=GREY, va="bottom")
        axes.set_title(f"batch size $B = {batch}$")
        axes.set_xlabel("step $t$")
    panels[0].set_ylabel("expected excess risk")
    panels[1].legend(title="learning rate", loc="lower left", bbox_to_anchor=(0.0, 0.1))
