"""The shipped study as training runs, to which `fit` fits a noisy quadratic model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..fits.training_run import TrainingRun
from ..foundation.validation import choice, integer
from ..output.columns import Table, distinct_values, rows_where
from .table import shipped, shipped_curves, shipped_sharpness

CURVE_WEIGHT = 0.1
"""Weight of a record of a curve: with it curves weigh about as much as the steps to the target."""
FIRST_SHARE = 0.05
"""Share of a curve's steps in which the largest curvature of these networks falls to a half or
less: no quadratic model is near there."""


def training_runs(
    task: str, *, optimizer: str = "sgd", most_batch_size: int | None = None
) -> list[TrainingRun]:
    """Return runs of the shipped study.

    Each best setting of the table is a run whose learning rate was tuned, with the target as its
    loss. Those of plain SGD come with the shipped loss curves, after a twentieth of their steps,
    each with the largest curvature that was measured where it reaches the target.

    Parameters
    ----------
    task : str
        "digits", "language" or "mnist1d".
    optimizer : {"sgd", "momentum"}
        Those that the model has.
    most_batch_size : int, optional
        Only runs up to this batch size.

    Returns
    -------
    list of TrainingRun

    Raises
    ------
    InputError
        If there is no such task or optimiser.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> runs = nqm.networks.training_runs("digits", most_batch_size=16)
    >>> len(runs), runs[0]
    (12, <TrainingRun 'sgd' of 23927 steps, loss 0.15>)
    """
    table = shipped()
    choice("task", task, distinct_values(table, "task"))
    choice("optimizer", optimizer, ("sgd", "momentum"))
    most = _most(most_batch_size)
    rows = table.where(task=task, optimizer=optimizer).rows()
    runs = [_tuned(row) for row in rows if row["batch_size"] <= most]
    curves = rows_where(shipped_curves(), task=task)
    if optimizer == "sgd":
        sizes = distinct_values(curves, "batch_size")
        runs += [_curve(rows_where(curves, batch_size=b), task) for b in sizes if b <= most]
    return runs


def peak_sharpness(task: str, *, most_batch_size: int | None = None) -> float:
    """Return the largest curvature that was measured on the way of plain SGD's trainings.

    It is that of any seed, as a tuned setting must do for all of them, and of any step: curvatures
    rise in the first steps, the more so the larger the rate, before they fall. Momentum does not
    survive rates beyond its edge of stability (``sharpness=`` of `Fitted.steps_to_target`).

    Parameters
    ----------
    task : str
        "digits", "language" or "mnist1d".
    most_batch_size : int, optional
        Only trainings up to this batch size.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If there is no such task.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> nqm.networks.peak_sharpness("digits") > 0.5
    True
    """
    table = shipped_sharpness()
    choice("task", task, distinct_values(table, "task"))
    here = (table["task"] == task) & (table["batch_size"] <= _most(most_batch_size))
    return float(table["sharpness"][here].max())


def _most(most_batch_size: int | None) -> float:
    """Check the largest batch size of runs; without one there is no limit."""
    if most_batch_size is None:
        return math.inf
    return integer("most_batch_size", most_batch_size, least=1)


def _tuned(row: dict[str, Any]) -> TrainingRun:
    """Make a run of a row of the table: steps to the target at the best setting."""
    momentum, ema = (None if math.isnan(row[x]) else row[x] for x in ("momentum", "ema_decay"))
    return TrainingRun(
        row["target"], round(row["steps"]), batch_size=row["batch_size"], lr=1.0, tuned_lr=True,
        momentum=momentum, ema=ema,
        name=row["optimizer"] + (" with an average" if row["ema"] else ""),
    )  # fmt: skip


def _curve(curve: Table, task: str) -> TrainingRun:
    """Make a run of a shipped loss curve."""
    size, lr = curve["batch_size"][0].item(), float(curve["lr"][0])
    measured = rows_where(shipped_sharpness(), task=task, batch_size=size)
    sharpness = measured["sharpness"][measured["step"] == measured["step"].max()]
    later = curve["step"] >= FIRST_SHARE * curve["step"].max()
    return TrainingRun(
        curve["loss"][later], curve["step"][later], batch_size=size, lr=lr,
        weight=CURVE_WEIGHT, sharpness=float(np.exp(np.mean(np.log(sharpness)))), name="curve",
    )  # fmt: skip
