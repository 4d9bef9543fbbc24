"""Real networks beside a noisy quadratic model that is fitted to two small batch sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..columns import Table, distinct_values, rows_where, table_of_rows
from ..jobs import Job, Solved
from ..networks.model import PARTS, predictions
from ..networks.optimizers import OPTIMIZERS
from ..networks.table import shipped, shipped_curves
from ._model import Study
from ._networks import COLOURS, LINES, curve, task_panels
from ._style import add_caption, add_legend, with_gaps, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 13
TITLE = "Real networks, and a model fitted to two small batch sizes"
PAPER = "none: the paper compares trends, and fits nothing"
OWN_PROBLEM = True

COLUMNS = (
    "task", "optimizer", "ema", "batch_size", "target", "steps", "predicted_steps", "fit_error",
)  # fmt: skip


def predicted(task: str) -> list[Any]:
    """Fit the model of a task, and predict the steps at all its batch sizes (a job)."""
    rows = rows_where(shipped(), task=task)
    curves = rows_where(shipped_curves(), task=task)
    sizes = np.unique(rows["batch_size"]).tolist()
    return predictions(curves, float(rows["target"][0]), sizes)


def jobs(_: Study) -> list[Job]:
    """List a job for each task."""
    return [Job(predicted, (task,), long=True) for task in distinct_values(shipped(), "task")]


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate measured and predicted steps."""
    table = shipped()
    rows = []
    for job in jobs(study):
        task = job.arguments[0]
        for optimizer, ema, size, steps, error in solved[job]:
            here = rows_where(table, task=task, optimizer=optimizer, ema=ema, batch_size=size)
            target, real = float(here["target"][0]), float(here["steps"][0])
            rows.append((task, optimizer, ema, size, target, real, steps, error))
    return table_of_rows(COLUMNS, rows)


def plot(figure: Figure, table: Table, _: Study) -> None:
    """Draw measurements as markers and predictions as lines."""
    panels = task_panels(figure, TITLE, table, "steps to the target")
    for task, axes in panels.items():
        for name in PARTS:
            for ema in (False, True):
                rows = curve(table, task, name, ema)
                points = {**COLOURS[name], "linestyle": "none"}
                filled = {} if ema else {"markerfacecolor": "white"}
                axes.plot(rows["batch_size"], with_gaps(rows["steps"]), **{**points, **filled})
                line = {**COLOURS[name], **LINES[ema], "marker": ""}
                axes.plot(rows["batch_size"], with_gaps(rows["predicted_steps"]), **line)
    first = next(iter(panels.values()))
    marker = {"linestyle": "none"}
    entries: list[tuple[str, dict[str, Any]]] = [
        (f"{OPTIMIZERS[name].title}: measured", {**COLOURS[name], **marker}) for name in PARTS
    ]
    lines = [
        (f"model, {'with' if ema else 'without'} EMA", {"color": "black", **LINES[ema]})
        for ema in (True, False)
    ]
    add_legend(first, [*entries, *lines], "upper right")
    errors = ", ".join(
        f"{100.0 * rows_where(table, task=task)['fit_error'][0]:.0f} %" for task in panels
    )
    text = (
        f"Fitted to the loss curves of SGD at the two smallest batch sizes only (error {errors}); "
        "open markers: without an EMA."
    )
    add_caption(figure, wrapped(figure, text))
