"""The risk of many settings in few steps, where the noise of each coordinate depends on all others.

All settings are in step, which takes less than a curve for each where steps are few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...foundation.validation import Array
from .maps import Recurrences

STEP_SECONDS, NUMBER_SECONDS, CURVE_SECONDS = 2e-5, 1e-8, 2e-3
"""Seconds of a step, of a step for each number of a map, and of a curve, roughly, by which the
faster way is chosen."""
IN_STEP = 1 << 15
"""Numbers of the maps of all settings that are in step, so that they stay in a core's cache."""


def is_worth_steps(rows: Recurrences, settings: int, steps: int) -> bool:
    """Whether settings in step take less time than a curve for each."""
    size, p = rows.start.shape
    at_a_time = max(IN_STEP // (size * p * p), 1)
    passes = -(-settings // at_a_time)
    step = passes * STEP_SECONDS + settings * size * p * p * NUMBER_SECONDS
    return bool(steps * step < settings * CURVE_SECONDS)


def settings_risk(
    rows: Recurrences, weights: Array, inverse_batch: float, steps: NDArray[np.int64]
) -> Array:
    """Compute the risk of settings by their weights of terms at ascending steps, (G, steps)."""
    at_a_time = max(IN_STEP // (rows.start.size * rows.start.shape[1]), 1)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [
            _in_step(rows, weights[first : first + at_a_time], inverse_batch, steps)
            for first in range(0, len(weights), at_a_time)
        ]
    risk = np.concatenate(parts)
    return np.where(np.isnan(risk), np.inf, risk)


def _in_step(
    rows: Recurrences, weights: Array, inverse_batch: float, steps: NDArray[np.int64]
) -> Array:
    """Take so many settings that are in step through all steps."""
    change, shared, constant = rows.step(weights, inverse_batch)
    is_number = rows.start.shape[1] == 1
    moments = np.tile(rows.start, (len(weights), 1, 1))
    risk = np.empty((len(weights), steps.size))
    taken = 0
    for column, step in enumerate(steps.tolist()):
        for _ in range(taken, step):
            total = np.einsum("gip,ip->g", moments, rows.sum_weight)[:, None, None]
            moved = change[..., 0] * moments if is_number else (change @ moments[..., None])[..., 0]
            moments = moments + moved
            moments += constant
            moments += total * shared
        taken = step
        risk[:, column] = np.einsum("gip,ip->g", moments, rows.risk_weight)
    return risk
