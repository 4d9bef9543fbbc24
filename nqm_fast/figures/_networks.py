"""The table that figures of networks are drawn from, and their panels, colours and legends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..drawing.study import Study
from ..drawing.style import DASHED, GREY, SERIES, SOLID, add_legend
from ..drawing.summary import asymptotes
from ..foundation.messages import InputError
from ..machine.jobs import Job, Solved
from ..networks.optimizers import OPTIMIZERS
from ..networks.results_file import CSV_NAME
from ..networks.table import read_results, shipped
from ..output.columns import Table, distinct_values, rows_where

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = dict(zip(OPTIMIZERS, SERIES, strict=False))
LINES = {True: SOLID, False: DASHED}
"""Line styles of results with and without an average of the weights."""
LEAST_WIDTH = 7.5
"""Inches of a figure."""
MARGIN = 1.5
"""How far batch sizes go on beside the smallest and the largest, as a factor."""
GUIDE: dict[str, Any] = {"color": GREY, "linestyle": ":", "linewidth": 1.2}


def measured(results: str | None) -> Table:
    """Read the table of a study in a folder, or the one that is shipped (a job)."""
    if results is None:
        return shipped()
    path = Path(results) / CSV_NAME
    if not path.is_file():
        raise InputError(f"results must be the folder of a study of networks, not {results}")
    return read_results(path)


def jobs(study: Study) -> list[Job]:
    """List the job that reads the table of a study."""
    return [Job(measured, (study.results,))]


def compute(study: Study, solved: Solved) -> Table:
    """Return the table of a study."""
    table: Table = solved[jobs(study)[0]]
    return table


def task_panels(figure: Figure, title: str, table: Table, label: str) -> dict[str, Axes]:
    """Make logarithmic axes for each task, side by side."""
    tasks = distinct_values(table, "task")
    figure.set_size_inches(max(4.0 * len(tasks) + 1.0, LEAST_WIDTH), 5.2)
    figure.suptitle(title)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    sizes = np.unique(table["batch_size"])
    ticks = [size for size in sizes if math.log2(size) % 2 == 0] or sizes.tolist()
    for axes, task in zip(panels, tasks, strict=True):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(ticks, [str(int(size)) for size in ticks])
        axes.set_xlim(sizes[0] / MARGIN, sizes[-1] * MARGIN)
        axes.set_xlabel("batch size $B$ (samples per step)")
        target = rows_where(table, task=task)["target"][0]
        axes.set_title(f"{task}: training loss {target:g}")
    panels[0].set_ylabel(label)
    return dict(zip(tasks, panels, strict=True))


def curve(table: Table, task: str, optimizer: str, ema: bool) -> Table:
    """The rows of an optimiser on a task, with or without an average of the weights, by size."""
    rows = rows_where(table, task=task, optimizer=optimizer, ema=ema)
    order = np.argsort(rows["batch_size"], kind="stable")
    return {name: column[order] for name, column in rows.items()}


def curves(table: Table, task: str) -> Iterator[tuple[str, bool, dict[str, Any], Table]]:
    """Go through optimisers, without and with an average: names, looks and rows of curves."""
    for name in distinct_values(table, "optimizer"):
        for ema in (False, True):
            rows = curve(table, task, name, ema)
            if rows["batch_size"].size:
                yield name, ema, {**COLOURS[name], **LINES[ema]}, rows


def guide(
    axes: Axes,
    table: Table,
    task: str,
    quantity: str,
    law: Callable[[Any], Any],
    *,
    averaged: bool,
) -> None:
    """Draw what follows a law of the batch size, through the first point of a curve.

    It is the first optimiser's, with an average of the weights or without, as wanted if there is
    one. The axes stay as they are.
    """
    found = [
        (ema != averaged, rows)
        for _, ema, _, rows in curves(table, task)
        if np.isfinite(rows[quantity][0])
    ]
    if found:
        rows = min(found, key=lambda each: each[0])[1]
        limits = axes.get_ylim()
        sizes = np.array(axes.get_xlim())
        scale = rows[quantity][0] / law(rows["batch_size"][0])
        axes.plot(sizes, scale * law(sizes), **GUIDE)
        axes.set_ylim(limits)


def legends(axes: Axes, table: Table, where: tuple[str, str], *more: Any) -> None:
    """Explain colours and line styles on one panel."""
    present = distinct_values(table, "optimizer")
    colours = [(OPTIMIZERS[name].title, COLOURS[name]) for name in OPTIMIZERS if name in present]
    add_legend(axes, colours, where[0])
    black = {"color": "black", "marker": "o"}
    styles = [
        ("with an EMA of the weights", {**black, **SOLID}),
        ("without", {**black, **DASHED}),
    ]
    add_legend(axes, [*styles, *more], where[1])


def critical_batch(rows: Table) -> float:
    """The knee of steps against batch size: samples at the smallest, over steps at the largest."""
    finite = np.isfinite(rows["steps"])
    if np.unique(rows["batch_size"][finite]).size < 2:
        return math.nan
    samples, steps = asymptotes({name: column[finite] for name, column in rows.items()})
    return samples / steps


def source(study: Study) -> str:
    """Say where the numbers come from."""
    name = "the shipped study" if study.results is None else f"the study in {study.results}"
    return f"Means over seeds of {name}, tuned at every batch size."
