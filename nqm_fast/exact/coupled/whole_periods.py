"""Second moments through many periods of settings that repeat for ever, where coordinates meet.

A period takes the second moments of all coordinates together to an affine map of themselves. Its
powers, by squaring, take them through any number of periods at once: as a whole, since the sums of
several steps, in which coordinates meet, are not alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...validation import Array
from .maps import Recurrences, StepMap

MOST_MOMENTS = 3 << 9
"""Moments of all coordinates together, above which powers of their map take too much memory."""
MOST_PERIOD = 1 << 8
"""Steps of a period, above which its map takes too long."""
STEP_SECONDS, MOMENT_SECONDS, SQUARE_SECONDS = 3e-5, 1e-7, 1e-10
"""About what a step takes, for each moment as well, and what each product takes in squaring a map,
by which the faster way is chosen."""


def is_worth_powers(rows: Recurrences, period_steps: int, steps: int) -> bool:
    """Whether whole periods take less time than their steps."""
    size = rows.start.size
    if steps < period_steps or size > MOST_MOMENTS or period_steps > MOST_PERIOD:
        return False
    squarings = (steps // period_steps).bit_length()
    powers = (squarings + 1) * SQUARE_SECONDS * size**3
    return powers < steps * (STEP_SECONDS + MOMENT_SECONDS * size)


class WholePeriods:
    """A period, and what it makes of the second moments of all coordinates when repeated."""

    def __init__(self, rows: Recurrences, weights: Array, inverse_batch: float) -> None:
        """Take the weights of terms of each step of the period, shape (steps, terms)."""
        self._rows, self._weights = rows, weights
        self._inverse_batch = np.full(len(weights), inverse_batch)
        size = rows.start.size
        change, constant = np.zeros((size, size)), np.zeros(size)
        step_of: dict[bytes, StepMap] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for weight in weights:
                key = weight.tobytes()
                if key not in step_of:
                    step_of[key] = rows.step(weight, inverse_batch)
                image = self._image(step_of[key])
                change += image(np.eye(size)) + image(change)
                constant += image(constant[:, None])[:, 0] + step_of[key].constant.ravel()
        self._powers = [(change, constant)]
        """What powers of two of periods do to moments: the change of them, and what is added."""

    def _image(self, step: StepMap) -> Callable[[Array], Array]:
        """Return the change that a step makes of columns of moments, without what is constant."""
        rows = self._rows
        shape = rows.start.shape

        def image(columns: Array) -> Array:
            alone = step.change @ columns.reshape(*shape, -1)
            total = rows.sum_weight.ravel() @ columns
            return np.asarray(alone.reshape(columns.shape) + np.outer(step.kick.ravel(), total))

        return image

    def after(self, moments: Array, periods: int) -> Array:
        """Return the moments (coordinates, p) after some periods."""
        flat = moments.ravel()
        with np.errstate(over="ignore", invalid="ignore"):
            for k in range(periods.bit_length()):
                if k == len(self._powers):
                    change, constant = self._powers[-1]
                    twice = 2.0 * change + change @ change
                    self._powers.append((twice, 2.0 * constant + change @ constant))
                if periods >> k & 1:
                    change, constant = self._powers[k]
                    flat = flat + (change @ flat + constant)
        return flat.reshape(moments.shape)

    def at(self, moments: Array, steps: NDArray[np.int64]) -> Array:
        """Return the risk at ascending steps from moments at the begin of the first period."""
        length, done = len(self._weights), 0
        risks: list[float] = []
        for whole, group in itertools.groupby(steps.tolist(), lambda step: step // length):
            moments, done = self.after(moments, whole - done), whole
            inside = [step - whole * length for step in group]
            chosen = slice(0, inside[-1])
            part, _ = self._rows.stepped(
                moments, self._weights[chosen], self._inverse_batch[chosen]
            )
            risks += part[inside].tolist()
        risk = np.array(risks)
        # Rounding errors of what has overflown, or has vanished, may be negative.
        return np.where(np.isnan(risk) | (risk < 0.0), np.inf, risk)
