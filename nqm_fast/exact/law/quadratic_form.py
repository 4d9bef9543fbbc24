"""A sum of squares of independent Gaussians: cumulants, and its law tilted to any mean.

With w_i of mean m_i and variance v_i, ``R = sum_i degrees_i h_i w_i^2 / 2`` has the cumulant
generating function

    K(s) = sum_i -degrees_i log(1 - scale_i s) / 2 + shift_i s / (1 - scale_i s),
    scale_i = h_i v_i,  shift_i = degrees_i h_i m_i^2 / 2.

Tilting the law by ``exp(saddle R)`` gives a sum of the same form, with scales ``scale / (1 - scale
saddle)``. Its mean ``K'(saddle)`` may be any value x: then x is at the saddlepoint.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...foundation.validation import Array

REAL_RADIUS = 0.1
"""The same for real arguments, with `REAL_TERMS` powers."""
REAL_TERMS = 18
MOST_ITERATIONS = 200
ACCURACY = 1e-14
"""Error of x, in standard deviations, at which the search for its saddlepoint ends."""
LEAST_DEGREES = 1e-25
"""Degrees of freedom of a term so few that the probability that it is not 0 is negligible."""
LARGEST_DEPTH = 740.0
"""About where ``exp(-depth)`` leaves the range of a double."""


class Terms(NamedTuple):
    """The scaled noncentral chi-squares that are added up, arrays of shape (d,)."""

    degrees: Array
    scale: Array
    shift: Array


class Tilted(NamedTuple):
    """The law tilted by ``exp(saddle R)``, which has its mean at x."""

    saddle: float
    terms: Terms
    mean: float
    """x, the mean of the tilted law."""
    offset: float
    """The same less the mean of the law that is not tilted, to its own digits."""
    depth: float
    """``saddle x - K(saddle)``, which is not negative."""
    variance: float
    """Variance of the tilted law, in units of the squared mean."""
    third: float
    """Its third cumulant, in units of the cubed mean."""


def cumulants(terms: Terms) -> tuple[float, float, float]:
    """Return mean, variance and third cumulant, which are inf beyond the range of a double."""
    n, a, b = terms
    with np.errstate(over="ignore"):
        each = a * n
        mean = (0.5 * each + b).sum()
        variance = (a * (0.5 * each + 2.0 * b)).sum()
        third = (a * (a * (each + 6.0 * b))).sum()
    return float(mean), float(variance), float(third)


def in_units(terms: Terms, unit: float) -> Terms:
    """Return the terms in other units of the risk."""
    return Terms(terms.degrees, terms.scale / unit, terms.shift / unit)


def shape(terms: Terms, mean: float) -> tuple[float, float]:
    """Return the standard deviation in units of the mean, and the skewness."""
    deviation = math.sqrt(cumulants(in_units(terms, mean))[1])
    if not deviation > 0.0:
        return 0.0, 0.0
    # The third cumulant may be beyond a double in any other unit.
    return deviation, cumulants(in_units(in_units(terms, mean), deviation))[2]


def terms_that_occur(terms: Terms) -> Terms:
    """Leave out terms that are 0 but for a negligible probability."""
    moving = terms.scale > 0.0
    n, a, b = (x[moving] for x in terms)
    occurs = ~moving
    with np.errstate(over="ignore"):
        occurs[moving] = n + b / a > LEAST_DEGREES
    return Terms(*(x[occurs] for x in terms))


def joined(terms: Terms) -> Terms:
    """Add up terms of the same scale, and leave out those that are zero."""
    scale, number = np.unique(terms.scale, return_inverse=True)
    degrees, shift = np.zeros(scale.size), np.zeros(scale.size)
    np.add.at(degrees, number, terms.degrees)
    np.add.at(shift, number, terms.shift)
    counts = (scale > 0.0) | (shift > 0.0)
    return Terms(degrees[counts], scale[counts], shift[counts])


def tilted(terms: Terms, saddle: float) -> Tilted:
    """Tilt the law by ``exp(saddle R)``; `saddle` is below the reciprocals of all scales."""
    n, a, b = terms
    inverse = 1.0 / (1.0 - a * saddle)
    scale = a * inverse
    change = scale * saddle  # 1 / (1 - scale saddle) less 1
    moved = Terms(n, scale, b * inverse * inverse)
    offset = (change * (0.5 * n * a + b * (2.0 + change))).sum()
    deficit = _log_deficit(change, np.log1p(-a * saddle))
    depth = (0.5 * n * deficit + b * saddle * change * inverse).sum()
    mean = cumulants(moved)[0]
    unit = 1.0 / mean
    _, variance, third = cumulants(Terms(n, scale * unit, moved.shift * unit))
    return Tilted(saddle, moved, mean, float(offset), float(depth), variance, third)


def _log_deficit(x: Array, minus_log: Array) -> Array:
    """Return ``x - log(1 + x)``, also where x is small, given ``-log(1 + x)``."""
    near = np.abs(x) < REAL_RADIUS
    y = np.where(near, x, 0.0)
    p = np.zeros_like(y)
    for k in range(REAL_TERMS, 1, -1):
        p = p * y + (-1.0) ** k / k
    return np.asarray(np.where(near, p * y * y, x + minus_log))


def saddle_of(terms: Terms, x: float) -> Tilted | None:
    """Find the tilt at which the mean is x; None if no value as low as x occurs."""
    mean, variance, _ = cumulants(terms)
    least = least_value(terms)
    if not x > least:
        return None
    wanted = x - mean
    limit = 1.0 / float(terms.scale.max())
    low, high = -math.inf, limit
    saddle = min(wanted / variance * (mean - least) / (x - least), 0.5 * limit)
    for _ in range(MOST_ITERATIONS):
        here = tilted(terms, saddle)
        # Where x is close to the mean their difference has more digits, and else x itself has.
        excess = here.offset - wanted if abs(wanted) < 0.5 * mean else here.mean - x
        if abs(excess) <= ACCURACY * here.mean * math.sqrt(here.variance):
            break
        low, high = (low, saddle) if excess > 0.0 else (saddle, high)
        # Newton's method for 1 / K', which is a straight line where one scale dominates.
        step = excess / here.mean / here.variance / here.mean
        new = saddle - step * ((here.mean - least) / (x - least))
        if not low < new < high:
            new = _within(saddle, low, high, limit, excess < 0.0)
        if new == saddle:
            break
        saddle = new
    return here


def is_beyond(terms: Terms, x: float) -> bool:
    """Whether the probability of more than x is below the range of a double (Chernoff's bound)."""
    here = tilted(terms, 0.5 / float(terms.scale.max()))
    return here.depth + here.saddle * (x - here.mean) > LARGEST_DEPTH


def _within(saddle: float, low: float, high: float, limit: float, upwards: bool) -> float:
    """Bisect between the bounds of the saddlepoint, or leave the singularity at `limit`."""
    if upwards:
        return 0.5 * (saddle + high)
    return 0.5 * (saddle + low) if low > -math.inf else saddle - (limit - saddle)


def least_value(terms: Terms) -> float:
    """Return what the sum cannot go below: the coordinates without variance."""
    still = terms.scale == 0.0
    return float(terms.shift[still].sum())


def density_at_least(terms: Terms) -> float:
    """Return the density at the least value, where the law is that of a few squares."""
    moving = terms.scale > 0.0
    n, a, b = (x[moving] for x in terms)
    if float(n.sum()) != 2.0:
        return math.inf if float(n.sum()) < 2.0 else 0.0
    return math.exp(-float((0.5 * n * np.log(a) + b / a).sum()))
