"""A noisy quadratic model fitted to loss curves of small batches, and what it predicts.

A first version: curvatures, noise and initial risks are power laws, and a loss is the model's risk
plus an irreducible one. Parameters are fitted to the loss curves of plain SGD at the two
smallest batch sizes and to nothing else.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.sgd import SGD
from ..exact.risk import expected_risk
from ..exact.tuning import tune
from ..output.columns import distinct_values
from ..problem import Problem

DIM = 1000
STARTS = ((1.0, 1.0, 1.0), (1.5, 1.2, 1.5), (0.7, 1.0, 0.7))
"""Exponents of curvature, initial risk and noise at which searches begin."""
PARTS = {"sgd": ("lr",), "momentum": ("lr", "momentum")}
"""Optimisers that the model has, with what is tuned."""

Floats = NDArray[np.float64]


class Fit(NamedTuple):
    """A fitted model.

    Attributes
    ----------
    parameters : tuple of float
        log Q, q, log P, p, log R, r and log E of h_i = Q i^-q, h_i E w0_i^2 = P i^-p, c_i = R i^-r
        and the irreducible loss E.
    error : float
        Root of the mean square of the logarithms' differences on the curves that it was fitted to.
    """

    parameters: tuple[float, ...]
    error: float

    @property
    def problem(self) -> Problem:
        """The problem."""
        return _problem(np.array(self.parameters))

    @property
    def irreducible(self) -> float:
        """The irreducible loss."""
        return math.exp(self.parameters[-1])


def _problem(x: Floats) -> Problem:
    """Make the problem of parameters."""
    i = np.arange(1.0, DIM + 1.0)
    h = math.exp(x[0]) * i ** -x[1]
    return Problem(h, math.exp(x[4]) * i ** -x[5], var0=math.exp(x[2]) * i ** -x[3] / h)


def fit(curves: dict[str, Any], target: float) -> Fit:
    """Fit the model to the loss curves of one task, columns ``batch_size, lr, step, loss``."""
    from scipy.optimize import least_squares

    first = float(curves["loss"].max())
    lowest = float(curves["loss"].min())
    floor = math.log(0.9 * min(target, lowest))

    def residuals(x: Floats) -> Floats:
        logarithms: Floats = np.log(_predicted(x, curves) / curves["loss"])
        return logarithms

    best = None
    for q, p, r in STARTS:
        start = [0.0, q, math.log(first / 4.0), p, 0.0, r, floor - 0.5]
        low = [-7.0, 0.2, -12.0, 0.3, -15.0, 0.2, floor - 6.0]
        high = [7.0, 3.0, 6.0, 3.0, 8.0, 3.0, floor]
        found = least_squares(residuals, start, bounds=(low, high), x_scale=0.3, max_nfev=60)
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    return Fit(tuple(best.x.tolist()), float(np.sqrt(np.mean(best.fun**2))))


def _predicted(x: Floats, curves: dict[str, Any]) -> Floats:
    """The losses that parameters predict at the steps of curves."""
    problem = _problem(x)
    predicted = np.empty(len(curves["step"]))
    for size in distinct_values(curves, "batch_size"):
        here = curves["batch_size"] == size
        lr = float(curves["lr"][here][0])
        risk = expected_risk(problem, SGD(lr), size, curves["step"][here])
        predicted[here] = np.minimum(risk, 1e6)
    return predicted + math.exp(x[-1])


def predictions(curves: dict[str, Any], target: float, batch_sizes: list[int]) -> list[Any]:
    """Fit the model of one task, and predict the fewest steps at all batch sizes.

    Returns
    -------
    list of tuple
        Optimiser, whether with an average, batch size, steps, and the fit's error.
    """
    found = fit(curves, target)
    rows = []
    for optimizer, over in PARTS.items():
        for ema in (False, True):
            names = (*over, "ema") if ema else over
            for size in batch_sizes:
                best = tune(found.problem, size, target - found.irreducible, names, effort="fast")
                rows.append((optimizer, ema, size, float(best.steps), found.error))
    return rows
