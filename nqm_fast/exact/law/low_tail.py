"""The law of a sum of squares of Gaussians far below its mean, at any double.

There a coordinate whose scale is far above the value x counts through its density at 0 alone,
``exp(-shift / scale) scale^(-degrees / 2)``, so that one with another scale, as far above x, may
stand for it. In units of x nothing is then beyond the range of a double.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .inversion import Inverted, inverted
from .quadratic_form import LARGEST_DEPTH, Terms, saddle_of

FAR_BELOW = 1e-80
"""Values, in units of the mean, below which the law is computed here."""
LARGEST_SCALE = 1e60
"""A scale, in units of x, whose reciprocal is negligible beside 1."""
LEAST, LOG_LARGEST = 5e-324, math.log(np.finfo(np.float64).max)
"""The smallest double, and the logarithm of the largest."""


def far_below(terms: Terms, log_x: float, log_unit: float) -> Inverted:
    """Give probabilities and density at x, counted from the least value.

    x is given by its logarithm, as terms are in another unit, in which it may be too small for a
    double. The density is per that unit of x whose logarithm is given.
    """
    moving = terms.scale > 0.0
    n, a, b = (part[moving] for part in terms)
    x = math.exp(log_x)
    if ((b > 4.0 * x) & (b > 4.0 * LARGEST_DEPTH * a)).any():
        return Inverted(0.0, 1.0, 0.0)  # by the distance of that coordinate from 0
    log_ratio = np.log(a) - log_x
    is_large = log_ratio > math.log(LARGEST_SCALE)
    ratio = np.exp(np.minimum(log_ratio, math.log(LARGEST_SCALE)))
    with np.errstate(all="ignore"):  # Each case has a formula that is within range.
        lost = 0.5 * n * (log_ratio - math.log(LARGEST_SCALE)) + b / a
        shift = np.where(is_large, 0.0, np.where(b > 4.0 * x, ratio * (b / a), b / x))
    depth = float(lost[is_large].sum())
    here = saddle_of(Terms(n, ratio, shift), 1.0)
    if here is None:
        return Inverted(0.0, 1.0, 0.0)
    law = inverted(here)
    below = law.below * math.exp(-depth)
    if not law.density > 0.0:
        return Inverted(below, 1.0 - below, 0.0)
    log_density = math.log(law.density) - depth - log_x - log_unit
    density = math.exp(log_density) if log_density < LOG_LARGEST else math.inf
    return Inverted(below, 1.0 - below, density)


def may_be_far_below(terms: Terms, probability: float) -> bool:
    """Whether the quantile may be less than `FAR_BELOW` above the least value (Chernoff)."""
    n, a, b = (part[terms.scale > 0.0] for part in terms)
    ratio = a / FAR_BELOW
    each = 0.5 * n * np.log1p(ratio) + b / FAR_BELOW / (1.0 + ratio)
    return 1.0 - float(each.sum()) >= math.log(probability)


def searched_quantile(
    law: Callable[[float], Inverted], probability: float, least: float, mean: float
) -> float:
    """Return the quantile of a law, in (0, 1), by a search for its logarithm.

    It is `least`, or 0, where no double is as low.
    """
    from scipy.optimize import brentq  # It takes long to load.

    def excess(log_x: float) -> float:
        at = law(math.exp(log_x))
        if probability <= 0.5:
            return math.log(max(at.below, LEAST)) - math.log(probability)
        return math.log1p(-probability) - math.log(max(at.above, LEAST))

    low, high = math.log(max(least, LEAST)), math.log(mean)
    if excess(low) >= 0.0:
        return least
    while excess(high) < 0.0:
        high += 1.0
    return math.exp(brentq(excess, low, high, xtol=1e-13, rtol=1e-15))
