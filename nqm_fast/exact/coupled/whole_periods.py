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

from ...foundation.validation import Array
from .maps import Recurrences, StepMap

MOST_MOMENTS = 3 << 9
"""Moments of all coordinates together, above which powers of their map take too much memory."""
MOST_PERIOD = 1 << 8
"""Steps of a period, above which its map takes too long."""
KEPT = 1e-3
"""Part of the risk that a power of a period's map must keep; three digits are lost at most."""
STEP_SECONDS, MOMENT_SECONDS, SQUARE_SECONDS = 3e-5, 1e-7, 1e-10
"""Seconds of a step, of a step for each moment, and of each product in squaring a map, roughly, by
which the faster way is chosen."""


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
        """Maps of 1, 2, 4, ... periods on moments: the change of them, and what is added."""

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
        """Return the moments (coordinates, p) after some periods.

        A power is a change that is added to the moments, of which few digits are left where that
        takes most of them away. So the largest power is taken that keeps a part of the risk, and a
        period that keeps less is gone through step by step.
        """
        left, most = periods, periods.bit_length()
        with np.errstate(over="ignore", invalid="ignore"):
            while left and np.isfinite(moments).all():
                for k in range(min(left.bit_length() - 1, most), -1, -1):
                    reached, most = self._by_power(moments, k), k + 1
                    if self._keeps(moments, reached):
                        break
                else:
                    k = most = 0
                    reached = self._rows.stepped(moments, self._weights, self._inverse_batch)[1]
                moments = reached
                left -= 1 << k
        return moments

    def _by_power(self, moments: Array, k: int) -> Array:
        """Return the moments after 2^k periods."""
        while k >= len(self._powers):
            change, constant = self._powers[-1]
            twice = 2.0 * change + change @ change
            self._powers.append((twice, 2.0 * constant + change @ constant))
        change, constant = self._powers[k]
        flat = moments.ravel()
        return np.asarray(flat + (change @ flat + constant)).reshape(moments.shape)

    def _keeps(self, before: Array, after: Array) -> bool:
        """Whether enough of the risk is left for its digits, or it has left the range."""
        was, is_now = (float(np.vdot(self._rows.risk_weight, x)) for x in (before, after))
        return not is_now < KEPT * was

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
        return np.where(np.isfinite(risk), np.maximum(risk, 0.0), np.inf)
