"""The table that a study returns, and the one that is shipped."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..foundation.messages import InputError, counted, shown
from ..output.columns import read_csv, rows_where, table_of_rows
from ..output.html import rows_table
from ..simulation.tables import check_installed
from .optimizers import OPTIMIZERS
from .tuning import Result, Unit

COLUMNS = (
    "task",
    "optimizer",
    "ema",
    "batch_size",
    "steps",
    "least_steps",
    "most_steps",
    "lr",
    "momentum",
    "beta1",
    "damping",
    "ema_decay",
    "validation_loss",
    "lowest_loss",
    "target",
    "seeds",
    "trainings",
    "diverged",
)
WORDS = ("task", "optimizer", "ema")
"""Columns that are not numbers."""
SHIPPED = Path(__file__).with_name("results.csv")
CURVES = Path(__file__).with_name("curves.csv")
PREDICTIONS = Path(__file__).with_name("predictions.csv")
SHARPNESS = Path(__file__).with_name("sharpness.csv")
ORIGIN = Path(__file__).with_name("results.json")


class Results(dict[str, Any]):
    """Columns of one length by name, with a row for each optimiser and batch size.

    A dict of arrays, of which ``results["steps"]`` is one. The columns are

    ``task``, ``optimizer``
        Names.
    ``ema``
        Whether the loss is that of a moving average of the weights.
    ``batch_size``
        Samples in a step.
    ``steps``, ``least_steps``, ``most_steps``
        Mean over seeds of the first step at which the running mean of the loss is below the
        target, and its least and largest value; inf if one seed never gets there.
    ``lr``, ``momentum``, ``beta1``, ``damping``, ``ema_decay``
        The best setting; NaN where an optimiser has no such hyper-parameter.
    ``validation_loss``
        Soon after that step; NaN where it is never reached.
    ``lowest_loss``
        The lowest running mean that was seen.
    ``target``, ``seeds``
        Of the study.
    ``trainings``, ``diverged``
        How many were made to tune, and how many of them diverged.
    """

    def where(self, **wanted: Any) -> Results:
        """Return the rows whose columns have the values given."""
        return Results(rows_where(self, **wanted))

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as dicts of Python's own values."""
        columns = (column.tolist() for column in self.values())
        return [dict(zip(self, row, strict=True)) for row in zip(*columns, strict=True)]

    def to_pandas(self) -> Any:
        """Return a DataFrame.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        check_installed("pandas")
        import pandas

        return pandas.DataFrame(dict(self))

    def __repr__(self) -> str:
        count = counted(len(next(iter(self.values()), ())), "row")
        tasks = ", ".join(dict.fromkeys(self.get("task", np.array([])).tolist()))
        return f"<Results: {count} ({tasks}), see rows() or to_pandas(); columns {', '.join(self)}>"

    def _repr_html_(self) -> str:
        return rows_table("Steps to the target", {}, self.rows())


def table_of(found: Iterable[tuple[Unit, str, float, Result]]) -> Results:
    """Tabulate units, each with the name of its task, the target and the result."""
    rows = [row for each in found for row in _rows(*each)]
    if not rows:
        return Results({name: np.array([]) for name in COLUMNS})
    return Results(table_of_rows(COLUMNS, rows))


def _rows(unit: Unit, task: str, target: float, result: Result) -> list[tuple[Any, ...]]:
    """The rows of a unit: without and with an average of the weights."""
    optimizer = OPTIMIZERS[unit.optimizer]
    rows = []
    for ema, best in zip((False, True), result.best, strict=True):
        second = {optimizer.second: best.second}
        rows.append(
            (
                task,
                unit.optimizer,
                ema,
                unit.batch_size,
                best.steps,
                best.least_steps,
                best.most_steps,
                best.lr,
                *(second.get(name, math.nan) for name in ("momentum", "beta1", "damping")),
                best.ema_decay if ema else math.nan,
                best.validation_loss,
                best.lowest_loss,
                target,
                unit.seeds,
                len(result.outcomes),
                sum(outcome.diverged for outcome in result.outcomes),
            )
        )
    return rows


def shipped() -> Results:
    """Return the results of a full run of the study, which are a part of this package.

    Returns
    -------
    Results
        Of all tasks, optimisers and batch sizes; `shipped_origin` says with what it was made.
    """
    return as_results(read_csv(SHIPPED))


def read_results(path: Path) -> Results:
    """Read the table of a study.

    Raises
    ------
    InputError
        If the file has no such table.
    """
    try:
        columns = read_csv(path)
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            raise ValueError(f"it has no column {missing[0]}")
        for name in COLUMNS:
            if name not in WORDS and columns[name].dtype.kind not in "if":
                raise ValueError(f"its column {name} has other things than numbers")
        for name, allowed in (("optimizer", OPTIMIZERS), ("ema", ("True", "False"))):
            others = set(columns[name].tolist()).difference(allowed)
            if others:
                raise ValueError(f"its column {name} has {shown(min(others, key=str))}")
        if not (columns["batch_size"] >= 1).all():
            raise ValueError("it has batch sizes below 1")
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} is not the table of a study of networks: {reason}") from None
    return as_results(columns)


def as_results(columns: dict[str, Any]) -> Results:
    """Make results of columns that come from a file, where truth values are words."""
    columns["ema"] = columns["ema"] == "True"
    return Results(columns)


def shipped_curves() -> dict[str, Any]:
    """Return the loss curves of the shipped study, of plain SGD at its two smallest batch sizes.

    Returns
    -------
    dict of ndarray
        Columns ``task``, ``batch_size``, ``lr``, ``step`` and ``loss``.
    """
    return read_csv(CURVES)


def shipped_sharpness() -> dict[str, Any]:
    """Return the largest curvatures on the way of trainings by plain SGD.

    Returns
    -------
    dict of ndarray
        Columns ``task``, ``batch_size``, ``lr``, ``seed``, ``step`` and ``sharpness``: of the
        shipped curves' trainings at the initial parameters, after half and three quarters of the
        steps to the target, and there; at a batch size of 16 at each of the first 16 steps.
    """
    return read_csv(SHARPNESS)


def shipped_predictions() -> dict[str, Any]:
    """Return what models fitted to SGD's shipped runs up to a batch size of 16 predict.

    Returns
    -------
    dict of ndarray
        Columns ``task``, ``optimizer``, ``ema``, ``batch_size``, ``predicted_steps`` and
        ``fit_error``.
    """
    return as_results(read_csv(PREDICTIONS))


def shipped_origin() -> dict[str, Any]:
    """Return with which versions, targets and data the shipped results were made, and when."""
    origin: dict[str, Any] = json.loads(ORIGIN.read_text(encoding="utf-8"))
    return origin
