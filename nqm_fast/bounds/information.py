"""The samples that any algorithm needs, and the risk that the best estimate has."""

from __future__ import annotations

import math

import numpy as np

from ..coordinates.blocks import Block
from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.validation import Array, number
from ..foundation.wide_range import Scaled, scaled_product
from ..problem import Problem
from .sums import sum_over_coordinates

LARGE_EXPONENT = 60
"""From this exponent of 2 on, 1 is lost in a sum of doubles."""


@in_usual_arithmetic
def cramer_rao_samples(problem: Problem, target: float) -> float:
    """Samples that any unbiased estimate needs: ``B T >= sum count c/h / (2 target)``.

    For c = h this is d / (2 target), the black line of the paper's figures. It ignores what
    is known about the start; `bayes_samples` does not.

    Parameters
    ----------
    problem : Problem
    target : float
        Excess risk, > 0.

    Returns
    -------
    float
        To be compared with batch size times steps.

    Raises
    ------
    InputError
        If the target is not positive.
    """
    target = number("target", target, above=0.0)
    ratio = sum_over_coordinates(
        problem, lambda block: block.multiplicity * block.c / block.h, is_linear=True
    )
    return ratio / (2.0 * target)


@in_usual_arithmetic
def bayes_risk(problem: Problem, samples: float) -> float:
    """Excess risk of the best estimate from `samples` samples and the prior on the start.

    ``1/2 sum count h / (1/var0 + N h^2/c)``, the Kalman filter's risk after N samples. No
    algorithm has a lower expected risk after N = batch size times steps.

    Parameters
    ----------
    problem : Problem
    samples : float
        >= 0.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If `samples` is negative.
    """
    n = number("samples", samples, least=0.0)

    def risk(block: Block) -> Array:
        h, c, variance = block.h, block.c, block.variance
        prior = scaled_product([0.5 * block.multiplicity, h, variance])
        gain = scaled_product([n, h, h, variance], [np.where(c == 0.0, 1.0, c)])
        # The prior's risk is divided by 1 + gain, and the 1 is nothing beside a large gain.
        is_large = gain.exponent > LARGE_EXPONENT
        divisor = np.where(is_large, gain.mantissa, 1.0 + np.where(is_large, 0.0, gain.value))
        remaining = Scaled(
            prior.mantissa / divisor, prior.exponent - np.where(is_large, gain.exponent, 0)
        )
        known = (c == 0.0) & (n > 0.0) | (variance == 0.0)
        return np.where(known, 0.0, remaining.value)

    return sum_over_coordinates(problem, risk, is_linear=False)


@in_usual_arithmetic
def bayes_samples(problem: Problem, target: float) -> float:
    """Samples without which no algorithm can reach the target, by `bayes_risk`.

    Parameters
    ----------
    problem : Problem
    target : float
        Excess risk, > 0.

    Returns
    -------
    float
        To be compared with batch size times steps; 0 if the start is good enough, and inf if
        they are beyond the range of a double.

    Raises
    ------
    InputError
        If the target is not positive.
    """
    import scipy.optimize

    target = number("target", target, above=0.0)
    if bayes_risk(problem, 0.0) <= target:
        return 0.0
    low, high = 0.0, 1.0
    while bayes_risk(problem, high) > target:
        low, high = high, 2.0 * high
        if high == math.inf:
            return math.inf

    def excess(samples: float) -> float:
        return math.log(max(bayes_risk(problem, samples), math.ulp(0.0))) - math.log(target)

    return float(scipy.optimize.brentq(excess, low, high, rtol=1e-14))
