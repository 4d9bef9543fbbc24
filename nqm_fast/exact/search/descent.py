"""Minimisation of a function of a few variables from a start: over ripples, or in few calls.

The function takes many points at once, and a call for some takes hardly longer than one for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...foundation.validation import Array

SCALAR_POINT_TOLERANCE = 1e-3
"""Tolerance of a point of one variable over the root of that of the value."""
SIMPLEX_POINT_TOLERANCE = 3.0
"""Tolerance of a point over the root of that of the value, which is quadratic at a minimum, and
which is tested as well."""
EVALUATIONS = 200
"""Evaluations per variable, which bound the time where rounding prevents convergence."""
SLOPE_DISTANCE = 1e-5
"""Distance of points on both sides, between which differences are taken for the slope."""

Function = Callable[[Array], Array]
"""A function of points of shape (G, variables), with values of shape (G,)."""


def lowest_point(
    function: Function, start: Sequence[float], reach: float, tolerance: float, bounds: Array
) -> tuple[float, tuple[float, ...]]:
    """Find the lowest value within `reach` of one variable, or about there of several, by simplex.

    Returns the value and its point. Bounds have shape (variables, 2).
    """
    import scipy.optimize

    if len(start) > 1:
        answer = by_simplex(function, start, reach, tolerance, bounds)
        return float(answer.fun), tuple(answer.x.tolist())
    ((low, high),) = bounds
    ends = max(low, start[0] - reach), min(high, start[0] + reach)
    scalar: Any = scipy.optimize.minimize_scalar
    answer = scalar(
        lambda x: float(function(np.array([[x]]))[0]),
        bounds=ends,
        method="bounded",
        options={"xatol": SCALAR_POINT_TOLERANCE * math.sqrt(tolerance)},
    )
    # The method never looks at the ends themselves.
    found = [(float(function(np.array([[x]]))[0]), (float(x),)) for x in ends]
    return min((float(answer.fun), (float(answer.x),)), *found)


def by_simplex(
    function: Function, start: Sequence[float], reach: float, tolerance: float, bounds: Array
) -> Any:
    """Minimise by a simplex of size `reach`, which goes over low ripples; SciPy's result.

    Bounds have shape (variables, 2).
    """
    import scipy.optimize

    minimize: Any = scipy.optimize.minimize
    return minimize(
        lambda x: float(function(x[None])[0]),
        np.array(start),
        method="Nelder-Mead",
        bounds=scipy.optimize.Bounds(*bounds.T),
        options={
            "initial_simplex": _initial_simplex(start, reach, bounds),
            "xatol": SIMPLEX_POINT_TOLERANCE * math.sqrt(tolerance),
            "fatol": tolerance,
            "maxfev": EVALUATIONS * len(start),
        },
    )


def by_slopes(
    function: Function, start: Sequence[float], reach: float, tolerance: float, bounds: Array
) -> Any:
    """Minimise by a quasi-Newton method, whose first step is at most `reach`; as `by_simplex`."""
    import scipy.optimize

    size = len(start)
    low, high = bounds.T
    sides = SLOPE_DISTANCE * np.vstack([np.zeros(size), np.eye(size), -np.eye(size)])

    def point(z: Array) -> Array:
        return np.clip(np.array(start) + reach * z, low, high)

    def value_and_slope(z: Array) -> tuple[float, Array]:
        points = np.clip(point(z) + sides, low, high)
        values = function(points)
        distance = np.diagonal(points[1 : size + 1] - points[size + 1 :])
        return float(values[0]), reach * (values[1 : size + 1] - values[size + 1 :]) / distance

    minimize: Any = scipy.optimize.minimize
    answer = minimize(
        value_and_slope,
        np.zeros(size),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip((low - start) / reach, (high - start) / reach, strict=True)),
        options={"ftol": tolerance, "gtol": 0.0, "maxfun": EVALUATIONS},
    )
    answer.x = point(answer.x)
    return answer


def _initial_simplex(start: Sequence[float], reach: float, bounds: Array) -> Array:
    """Build a simplex of size `reach` at `start`, which turns inwards at upper bounds."""
    corners = np.tile(np.asarray(start), (len(start) + 1, 1))
    for k, (low, high) in enumerate(bounds):
        corners[k + 1, k] += reach if start[k] + reach <= high else -reach
        corners[k + 1, k] = max(corners[k + 1, k], low)
    return corners
