"""Real networks beside a noisy quadratic model that is fitted to plain SGD at small batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..drawing.study import Study
from ..drawing.style import add_caption, add_legend, with_gaps, wrapped
from ..machine.jobs import Job, Solved
from ..networks.model import MOST_FITTED
from ..networks.model import OPTIMIZERS as PREDICTED
from ..networks.optimizers import OPTIMIZERS
from ..networks.table import shipped, shipped_predictions
from ..output.columns import Table, rows_where, table_of_rows
from ._networks import COLOURS, LINES, curve, task_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 13
TITLE = "Real networks, and a model fitted to SGD at small batch sizes"
PAPER = "none: the paper compares trends, and fits nothing"
OWN_PROBLEM = True

COLUMNS = (
    "task", "optimizer", "ema", "batch_size", "target", "steps", "predicted_steps", "fit_error",
)  # fmt: skip


def compared() -> Table:
    """Tabulate measured and predicted steps (a job)."""
    table, predictions = shipped(), shipped_predictions()
    rows = []
    names = ("task", "optimizer", "ema", "batch_size", "predicted_steps", "fit_error")
    for *which, steps, error in zip(*(predictions[name].tolist() for name in names), strict=True):
        here = rows_where(table, **dict(zip(names, which, strict=False)))
        rows.append((*which, float(here["target"][0]), float(here["steps"][0]), steps, error))
    return table_of_rows(COLUMNS, rows)


def jobs(_: Study) -> list[Job]:
    """List the only job, as the models were fitted where the results were shipped."""
    return [Job(compared)]


def compute(_: Study, solved: Solved) -> Table:
    """Return the table."""
    return dict(solved[Job(compared)])


def plot(figure: Figure, table: Table, _: Study) -> None:
    """Draw measurements as markers and predictions as lines."""
    panels = task_panels(figure, TITLE, table, "steps to the target")
    for task, axes in panels.items():
        for name in PREDICTED:
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
        (f"{OPTIMIZERS[name].title}: measured", {**COLOURS[name], **marker}) for name in PREDICTED
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
        f"Fitted to SGD at batch sizes up to {MOST_FITTED} only (error {errors}); open markers: "
        "without an EMA."
    )
    add_caption(figure, wrapped(figure, text))
