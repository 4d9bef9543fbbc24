"""The optimal learning rate schedule of 50 equal pieces, for batch sizes 16 to 4096."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..exact.piecewise_schedule import optimal_schedule
from ._jobs import Job, Solved
from ._model import TARGET, Table, distinct_values, problem, rows_where, table_of_rows
from ._style import PROBLEM, add_caption

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 4
TITLE = "Optimal schedules of 50 pieces: larger batches decay later"

BATCHES = tuple(2**k for k in range(4, 13))
PIECES = 50


def schedule(batch_size: int) -> list[tuple[int, int, int, int, float]]:
    """Find the best schedule of one batch size (a job)."""
    found = optimal_schedule(problem(), batch_size, TARGET, PIECES)
    chosen: Any = found.algorithm
    starts = np.cumsum([0, *chosen.lr.lengths]).tolist()
    steps = int(found.steps)
    return [
        (batch_size, steps, begin, min(end, steps), lr)
        for begin, end, lr in zip(starts[:-1], starts[1:], chosen.lr.values_, strict=True)
        if begin < steps
    ]


def jobs() -> list[Job]:
    """List a job for each batch size."""
    return [Job(schedule, (batch,), long=True) for batch in BATCHES]


def compute(solved: Solved) -> Table:
    """Tabulate the pieces of all schedules."""
    rows = [row for job in jobs() for row in solved[job]]
    return table_of_rows(("batch_size", "steps", "begin", "end", "lr"), rows)


def plot(figure: Figure, table: Table) -> None:
    """Draw learning rates against the fraction of the training time."""
    import matplotlib

    figure.set_size_inches(8.5, 5)
    axes = figure.subplots()
    axes.set_xlim(0.0, 1.0)
    batches = distinct_values(table, "batch_size")
    shades = matplotlib.colormaps["cividis"](np.linspace(0.0, 0.95, len(batches)))
    for batch, shade in zip(batches, shades, strict=True):
        rows = rows_where(table, batch_size=batch)
        edges = np.append(rows["begin"], rows["end"][-1]) / rows["steps"][0]
        label = f"{batch} ({rows['steps'][0]})"
        axes.stairs(rows["lr"], edges, baseline=None, color=shade, linewidth=1.8, label=label)
    axes.set_yscale("log")
    axes.set_title(TITLE)
    axes.set_xlabel("fraction of training $t/T$")
    axes.set_ylabel(r"learning rate $\eta(t)$")
    add_caption(figure, f"{PROBLEM}; target excess risk {TARGET:g}")
    figure.legend(title="batch size $B$ (steps $T$)", loc="outside right upper")
