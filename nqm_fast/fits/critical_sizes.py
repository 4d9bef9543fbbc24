"""The critical batch size of a fitted model, by its steps to a loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..foundation.validation import Array, InputError, number

DEFINITIONS = ("knee", "overhead", "half")
NO_NOISE = 2.0**60
"""A batch size at which batches have no noise left to average out."""
CURVE_POINTS = 12
BEYOND = 16.0
"""How far beyond the knee curves go."""
TOLERANCE = 1e-3
"""Error of the logarithm of a batch size."""


class CriticalSize(NamedTuple):
    """A critical batch size, and the curve that it belongs to.

    Attributes
    ----------
    value : float
        In samples a step.
    definition : str
        "knee", "overhead" or "half".
    target : float
        Loss.
    batch_sizes, steps : ndarray, shape (points,)
        The curve, from the reference on.
    least_steps : float
        Those without noise of batches.
    """

    value: float
    definition: str
    target: float
    batch_sizes: Array
    steps: Array
    least_steps: float


def critical_size(
    steps: Callable[[float], float],
    target: float,
    *,
    definition: str,
    overhead: float,
    reference: float,
) -> CriticalSize:
    """Find the critical batch size of a function that says how many steps a batch size takes."""
    overhead = number("overhead", overhead, above=0.0)
    reference = number("reference", reference, least=1.0)
    first = steps(reference)
    if math.isinf(first):
        raise InputError(
            f"target = {target:g} is not reached at the batch size reference = {reference:g}"
        )
    least = steps(NO_NOISE)
    if math.isinf(least):
        raise InputError(
            f"target = {target:g} is not reached without noise, so that there is no critical batch "
            "size: rates that change with the batch size, by batch_power, need lr=None"
        )
    knee = reference * first / least
    if definition == "knee":
        value = knee
    elif definition == "overhead":
        most = (1.0 + overhead) * reference * first
        value = _crossing(lambda size: size * steps(size) >= most, reference, most / least)
    else:
        value = _crossing(lambda size: steps(size) <= 2.0 * least, reference, BEYOND * knee)
    sizes = np.geomspace(reference, BEYOND * knee, CURVE_POINTS)
    found = np.array([first, *(steps(float(size)) for size in sizes[1:])])
    return CriticalSize(value, definition, target, sizes, found, least)


def _crossing(is_beyond: Callable[[float], bool], low: float, high: float) -> float:
    """Find the batch size from which on something is so, by halving; the lowest if it always is."""
    if is_beyond(low):
        return low
    left, right = math.log(low), math.log(high)
    while right - left > TOLERANCE:
        middle = 0.5 * (left + right)
        left, right = (left, middle) if is_beyond(math.exp(middle)) else (middle, right)
    return math.exp(right)
