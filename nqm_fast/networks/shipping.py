"""Makes the shipped results of a full study: ``python -m nqm_fast.networks.shipping DIR``."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from ..output.columns import Table, distinct_values, read_csv, rows_where, table_of_rows, write_csv
from . import results_file
from .model import MOST_FITTED, predictions
from .sharpness import largest_curvatures
from .study_runs import peak_sharpness, training_runs
from .table import CURVES, ORIGIN, PREDICTIONS, SHARPNESS, SHIPPED, as_results, shipped

SHARPNESS_SEEDS = 3
"""Trainings of each setting in which the largest curvature is measured."""
FIRST_STEPS = 16
"""Steps in which the largest curvature has its peak, at the largest batch size that is fitted."""
CURVE_POINTS = 40
"""Points of a shipped loss curve, evenly spaced in the logarithm of the step."""


def ship(folder: Path) -> None:
    """Write the table, two loss curves of plain SGD on each task, curvatures, and their origin.

    Then predict from what is shipped. Predictions take two minutes, and curvatures three.
    """
    target = SHIPPED.parent
    facts, found = results_file.read(folder / results_file.NAME, {})
    table = as_results(read_csv(folder / results_file.CSV_NAME))
    digits = {name: _rounded(column) for name, column in table.items()}
    write_csv(target / SHIPPED.name, digits)
    rows: list[tuple[Any, ...]] = []
    for task in dict.fromkeys(task for task, _, _ in found):
        sizes = sorted(size for t, optimizer, size in found if (t, optimizer) == (task, "sgd"))
        for size in sizes[:2]:
            result = found[task, "sgd", size][1]
            lr = result.best[0].lr
            rows += [(task, size, lr, *point) for point in _thinned(result.curve)]
    names = ("task", "batch_size", "lr", "step", "loss")
    curves = {name: _rounded(column) for name, column in table_of_rows(names, rows).items()}
    write_csv(target / CURVES.name, curves)
    write_csv(target / SHARPNESS.name, sharpness(digits, curves))
    origin = facts | {"date": date.today().isoformat(), "python": platform.python_version()}
    text = json.dumps(origin, indent=2, sort_keys=True)
    (target / ORIGIN.name).write_text(text + "\n", encoding="utf-8")
    write_csv(target / PREDICTIONS.name, predicted(distinct_values(digits, "task")))


def predicted(tasks: Sequence[str]) -> Table:
    """Fit a model to the shipped runs of tasks at small batches, and tabulate its predictions."""
    rows: list[tuple[Any, ...]] = []
    for task in tasks:
        here = shipped().where(task=task)
        sizes, target = np.unique(here["batch_size"]).tolist(), float(here["target"][0])
        runs = training_runs(task, most_batch_size=MOST_FITTED)
        limit = peak_sharpness(task, most_batch_size=MOST_FITTED)
        rows += [(task, *row) for row in predictions(runs, target, sizes, limit)]
    names = ("task", "optimizer", "ema", "batch_size", "predicted_steps", "fit_error")
    return {name: _rounded(column) for name, column in table_of_rows(names, rows).items()}


def sharpness(table: Table, curves: Table) -> Table:
    """Measure the largest curvatures on the way of trainings by plain SGD, which are made again.

    They are those of the curves, to the target, and the first steps at the largest batch size that
    is fitted.
    """
    rows: list[tuple[Any, ...]] = []
    for task in distinct_values(table, "task"):
        here = rows_where(table, task=task, optimizer="sgd", ema=False)
        for size in (*distinct_values(rows_where(curves, task=task), "batch_size"), MOST_FITTED):
            (lr,), (steps,) = (rows_where(here, batch_size=size)[x] for x in ("lr", "steps"))
            last = int(steps)
            stops = [0, last // 2, 3 * last // 4, last]
            if size == MOST_FITTED:
                stops = list(range(FIRST_STEPS + 1))
            for seed in range(SHARPNESS_SEEDS):
                found = largest_curvatures(
                    task, batch_size=size, lr=float(lr), steps=stops, seed=seed
                )
                rows += [(task, size, lr, seed, *each) for each in zip(stops, found, strict=True)]
    names = ("task", "batch_size", "lr", "seed", "step", "sharpness")
    return {name: _rounded(column) for name, column in table_of_rows(names, rows).items()}


def _rounded(column: Any) -> Any:
    """Keep six digits of numbers that are not whole by their type."""
    if column.dtype.kind != "f":
        return column
    return np.array([float(f"{x:.6g}") for x in column.tolist()])


def _thinned(curve: Any) -> list[tuple[int, float]]:
    """Take points of a loss curve that are evenly spaced in the logarithm of the step."""
    wanted = np.geomspace(curve[0, 0], curve[-1, 0], CURVE_POINTS)
    chosen = np.unique(np.searchsorted(curve[:, 0], wanted))
    return [(int(step), float(loss)) for step, loss in curve[chosen]]


if __name__ == "__main__":
    ship(Path(sys.argv[1]))
