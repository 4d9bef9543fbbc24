"""The lowest point of a function of many variables that has its gradient, by L-BFGS-B."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...foundation.validation import Array
from ...machine.parallel import one_blas_thread

GRADIENT_TOLERANCE = 1e-8
"""Derivatives at which a search ends."""
MOST_ITERATIONS = 1000
"""A limit that bounds the time where rounding errors prevent convergence."""
FIRST_STEP = 0.1
"""Size of the largest change of a number in the first step, in which no valley is left."""
KEPT_GRADIENTS = 20
"""Gradients from which L-BFGS-B estimates curvature; its usual 10 need more iterations."""


def lowest_point(
    objective: Callable[[Array], tuple[float, Array]],
    start: Array,
    bounds: list[tuple[float, float]],
    tolerance: float,
    scales: Array | float = 1.0,
) -> tuple[float, Array]:
    """Minimise a function with its gradient within bounds; the lowest value, and where it is.

    `scales` are how far numbers go where the function changes alike, relative to each other.
    """
    import scipy.optimize

    value, slope = objective(start)
    steepest = float(np.abs(slope * scales).max(initial=0.0))
    if not steepest > 0.0:
        return value, start
    # The first step then has about the size 1.
    unit = scales * np.full(len(start), math.sqrt(FIRST_STEP / steepest))

    def scaled(point: Array) -> tuple[float, Array]:
        value, slope = objective(point * unit)
        return value, slope * unit

    low, high = np.array(bounds).T
    with one_blas_thread:
        answer = scipy.optimize.minimize(
            scaled,
            start / unit,
            jac=True,
            method="L-BFGS-B",
            bounds=scipy.optimize.Bounds(low / unit, high / unit),
            options={
                "maxiter": MOST_ITERATIONS,
                "maxcor": KEPT_GRADIENTS,
                "ftol": tolerance,
                "gtol": GRADIENT_TOLERANCE * float(unit.min()),
            },
        )
    return float(answer.fun), np.clip(answer.x * unit, low, high)
