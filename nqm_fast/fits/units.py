"""Typical values of the runs of a fit, and where the settings of a run put it among them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .directions import dim_of
from .training_run import TrainingRun

Values = Mapping[str, float]
"""Parameters by name, in the units of a fit."""


def highest_lr(run: TrainingRun) -> float:
    """Return the highest learning rate of a run, NaN where it is tuned and only has a shape."""
    return math.nan if run.tuned_lr else run.peak_lr


class Units(NamedTuple):
    """Typical values of the runs of a fit, in which its parameters are expressed."""

    lr: float
    batch_size: float
    dim: float
    loss: float

    @classmethod
    def of(cls, runs: Sequence[TrainingRun]) -> Units:
        """Find what is typical of some runs."""

        def typical(values: Iterable[float]) -> float:
            known = sorted(value for value in values if not math.isnan(value))
            return math.exp(float(np.mean(np.log(known)))) if known else 1.0

        losses = [run.losses for run in runs if run.loss is not None]
        finite = np.concatenate(losses)
        return cls(
            typical(highest_lr(run) for run in runs),
            typical(run.mean_batch_size for run in runs),
            typical(dim_of(run.dim) for run in runs),
            float(finite[np.isfinite(finite)].max()),
        )


class Place(NamedTuple):
    """Logs of a run's highest rate, batch size and dimension, in the units of a fit."""

    lr: float
    """NaN where the rate is tuned."""
    batch: float
    dim: float


def place(run: TrainingRun, units: Units) -> Place:
    """Find the place of a run."""
    return Place(
        math.log(highest_lr(run) / units.lr),
        math.log(run.mean_batch_size / units.batch_size),
        math.log(dim_of(run.dim) / units.dim),
    )


def shift(values: Values, at: Place) -> float:
    """Log of the largest curvature times the highest effective rate of a run."""
    return (
        values["scale"]
        + (1.0 + values["lr_power"]) * at.lr
        + values["batch_power"] * at.batch
        + values["dim_power"] * at.dim
    )


def over_limit(values: Values, run: TrainingRun, at: Place) -> float | None:
    """Log of a run's highest rate over the limit of stability; None where the rate is tuned.

    The limit is that of a constant learning rate: lr h < 2 (1 + momentum).
    """
    if math.isnan(at.lr):
        return None
    return shift(values, at) - math.log(2.0 * (1.0 + run.momentum))
