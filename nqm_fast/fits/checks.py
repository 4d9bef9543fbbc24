"""Checks of the runs of a fit, each with a sentence for what they lack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..foundation.validation import InputError, counted
from .parameters import PROBLEM
from .training_run import TrainingRun

LEAST_RECORDS = 4
"""Fewer losses than these say nothing of power laws."""
LARGEST_RATIO = 1e4
"""Between losses: more can hardly be the same loss in the same units."""


def check_runs(runs: Sequence[TrainingRun]) -> None:
    """Raise an InputError unless a model can be fitted to the runs."""
    lacking = next((k for k, run in enumerate(runs) if run.loss is None), None)
    if lacking is not None:
        raise InputError(f"runs[{lacking}] has no loss: what is fitted must have been measured")
    curves = [run.losses for run in runs]
    losses = np.concatenate(curves)
    finite = losses[np.isfinite(losses)]
    if finite.size < LEAST_RECORDS:
        raise InputError(
            f"runs must have at least {LEAST_RECORDS} finite losses, not {finite.size}: the model "
            f"has {len(PROBLEM)} parameters, so that more than that are better"
        )
    # Steps to one loss say much where batch sizes or rates differ.
    if finite.max() == finite.min() and len({place[1:] for place in _settings(runs)}) == 1:
        raise InputError(
            f"runs have the same loss {finite[0]:g} in all {counted(finite.size, 'record')}, of "
            "which nothing follows"
        )
    if len(set(_settings(runs))) == 1 and all(curve.size == 1 for curve in curves):
        raise InputError(
            f"runs must differ: all {len(runs)} have {runs[0].last_step} steps, batch size "
            f"{runs[0].mean_batch_size:g} and lr {runs[0].peak_lr:g}"
        )
    if finite.max() > LARGEST_RATIO * finite.min():
        raise InputError(
            f"loss goes from {finite.min():g} to {finite.max():g}: runs must have one loss in the "
            "same units"
        )
    _check_direction(runs)
    known = [run.dim is not None for run in runs]
    if any(known) and not all(known):
        raise InputError(
            f"runs[{known.index(False)}] has no dim, but others do: give it for all runs or none"
        )


def _settings(runs: Sequence[TrainingRun]) -> list[tuple[float | None, ...]]:
    """List the steps and the settings of runs."""
    return [(run.last_step, run.peak_lr, run.mean_batch_size, run.dim) for run in runs]


def _check_direction(runs: Sequence[TrainingRun]) -> None:
    """Raise an InputError if losses only rise with the steps."""
    falls, rises = False, False
    for run in runs:
        order = np.argsort(run.steps.reshape(-1), kind="stable")
        curve = run.losses[order]
        change = np.diff(curve[np.isfinite(curve)])
        falls |= bool((change < 0.0).any())
        rises |= bool((change > 0.0).any())
    if rises and not falls:
        raise InputError(
            "loss only rises with the steps, in every run: the model learns, so that something "
            "else is needed (are the columns of steps and loss the right ones?)"
        )
