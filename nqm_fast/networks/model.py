"""The noisy quadratic model fitted to what SGD needs at small batches, and the steps it predicts.

Fitted are the runs of `training_runs` up to a batch size of 16; predicted are all batch sizes, with
momentum and with averages of the weights, each tuned as the study tunes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..fits.fitted import Fitted
from ..fits.fitting import fit
from ..fits.training_run import TrainingRun
from .optimizers import MOMENTA
from .training import DECAYS

MOST_FITTED = 16
"""The largest batch size that is fitted."""
OPTIMIZERS = ("sgd", "momentum")
"""Optimisers that the model has."""


def predictions(
    runs: Sequence[TrainingRun], target: float, batch_sizes: Sequence[int], sharpness: float
) -> list[tuple[str, bool, int, float, float]]:
    """Fit the model to the runs of one task, and predict the fewest steps at all batch sizes.

    Parameters
    ----------
    runs : sequence of TrainingRun
    target : float
        Loss.
    batch_sizes : sequence of int
    sharpness : float
        The largest curvature on the way, which limits the rates of momentum.

    Returns
    -------
    list of tuple
        Optimiser, whether with an average, batch size, steps, and the fit's error.
    """
    fitted = fit(runs, extra=())
    return [
        (name, ema, size, _steps(fitted, target, size, name, ema, sharpness), fitted.error)
        for name in OPTIMIZERS
        for ema in (False, True)
        for size in batch_sizes
    ]


def _steps(
    fitted: Fitted, target: float, size: int, optimizer: str, ema: bool, sharpness: float
) -> float:
    """Predict the fewest steps of an optimiser at a batch size."""
    decays = DECAYS if ema else None
    if optimizer == "sgd":
        return fitted.steps_to_target(target, batch_size=size, ema=decays)
    return fitted.steps_to_target(
        target, batch_size=size, momentum=MOMENTA, ema=decays, sharpness=sharpness
    )
