"""Inversion of the Laplace transform of a sum of squares of Gaussians, to rounding errors.

Probability and density are integrals of ``exp(K(s) - s x)`` along a contour in the complex plane
(Imhof 1961, Davies 1973 take the imaginary axis). Here it is a hyperbola through the saddlepoint,
where ``K'(s) = x``, that bends to the right, around the singularities ``1 / scale_i``, as the path
of steepest descent does: ``s(u) = saddle + reach (cosh u - 1 + i sinh u)``. As its arms rise by 45
degrees, every coordinate's part of the integrand falls along them, whatever the scales. In u the
trapezoidal rule converges geometrically, to rounding errors relative to the tail.
Around the saddlepoint K is that of the tilted law, so that no digits cancel, however many
coordinates there are.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .quadratic_form import LARGEST_DEPTH, MOST_ITERATIONS, Terms, Tilted, cumulants, tilted

DIGITS = 34.0
"""The integral is done to ``exp(-DIGITS)`` of its largest part."""
SERIES_RADIUS = 0.35
"""Up to this size of ``scale s`` the cumulants of a coordinate are summed as a power series."""
SERIES_TERMS = 36
"""Powers in that series, whose last one is below the last digit of the first."""
POINTS = 20
"""Points of the contour that are added at a time, until the integrand has fallen."""
MOST_POINTS = 1 << 14
MOST_ALIAS = 1e-8
"""Relative difference of two halves of the points; its square is the error of the integral."""
LEAST_SPACING = 1e-4
BLOCK = 1 << 14
"""Coordinates that are summed at a time, which bounds the memory."""
NEAR_QUANTILE = 2e-5
"""Error of a normal quantile from which one step more reaches the value."""
APPROXIMATE = 1e-3
"""Error of a normal quantile at which the approximation is good enough to start from."""
NEAR_MEAN = 1e-4
"""Distance from the mean, in standard deviations, where the approximation loses its digits."""


class Inverted(NamedTuple):
    """The law at one point x, to rounding errors."""

    below: float
    """Probability of at most x."""
    above: float
    """Probability of more than x."""
    density: float


def inverted(here: Tilted) -> Inverted:
    """Integrate along the contour through a saddlepoint; x is the mean of the tilted law."""
    saddle = here.saddle
    if here.depth > LARGEST_DEPTH:
        return Inverted(0.0, 1.0, 0.0) if saddle < 0.0 else Inverted(1.0, 0.0, 0.0)
    # The path of steepest descent of a single coordinate has this radius.
    reach = 3.0 * here.variance / here.third / here.mean
    spacing, shift = _spacing(here, reach)
    probability, density, alias = _integrals(here, reach, spacing)
    while not abs(alias) <= MOST_ALIAS * abs(density) and spacing > LEAST_SPACING:
        spacing *= 0.5
        probability, density, alias = _integrals(here, reach, spacing)
    height = math.exp(-here.depth) * reach * spacing / math.pi
    towards = 1.0 if saddle >= 0.0 else -1.0  # On the left the integral is that of the other tail.
    tail = towards * height * probability + _pole_of_tail(saddle, reach, spacing, shift)
    tail = min(max(tail, 0.0), 1.0)
    below, above = (1.0 - tail, tail) if saddle >= 0.0 else (tail, 1.0 - tail)
    return Inverted(below, above, max(height * density, 0.0))


def _integrals(here: Tilted, reach: float, spacing: float) -> tuple[float, float, float]:
    """Sum the integrands of probability and density over the points of half of the contour.

    The other half is its mirror image. The third number is the difference of two sums over every
    other point each, whose square is about the relative error of their sum.
    """
    probability, density, alias = 0.0, 0.0, 0.0
    for first in range(0, MOST_POINTS, POINTS):
        u = (np.arange(first, first + POINTS) + 0.5) * spacing
        sinh = np.sinh(u)
        z = reach * (2.0 * np.sinh(0.5 * u) ** 2 + 1j * sinh)
        exponent = _exponent(here.terms, z)
        part = np.exp(exponent) * (sinh + 1j * np.cosh(u))
        density += float(part.imag.sum())
        probability += float((part / (here.saddle + z)).imag.sum())
        alias += float(part.real[::2].sum() - part.real[1::2].sum())
        if exponent.real[-1] < -DIGITS:
            break
    return probability, density, alias


def _spacing(here: Tilted, reach: float) -> tuple[float, float]:
    """Return the spacing of points at which the trapezoidal rule is exact to rounding.

    The second number is how far u is moved into the complex plane to show that.

    Its error falls exponentially with how far u may move into the complex plane before the
    integrand grows. The limit is a quarter turn of the contour's arms, or the reciprocal of the
    largest scale.
    """
    gap = 1.0 / float(here.terms.scale.max())
    distance = -(_angle_at(-gap / reach) or -0.25 * math.pi)
    # Moved by r towards it the integrand grows at most like exp(width x^2 / (1 - x)), with x = r /
    # distance, and what the rule misses is the least of that times exp(-2 pi r / spacing).
    width = 0.5 * here.variance * (reach * here.mean * distance) ** 2
    root = math.sqrt(DIGITS)
    spacing = 2.0 * math.pi * distance / (DIGITS + 2.0 * root * math.sqrt(width))
    return spacing, distance * root / (math.sqrt(width) + root)


def _pole_of_tail(saddle: float, reach: float, spacing: float, shift: float) -> float:
    """Return what the trapezoidal rule misses of a tail because of the integrand's pole at s = 0.

    It is at an imaginary u, close to the contour if x is near the mean. Beyond the shift by which
    the rule is shown to be exact it does not matter.
    """
    angle = _angle_at(saddle / reach)
    if angle is None or abs(angle) >= shift:
        return 0.0
    return 1.0 / (1.0 + math.exp(min(2.0 * math.pi * abs(angle) / spacing, 700.0)))


def _angle_at(ratio: float) -> float | None:
    """Return the angle v at which the contour would meet a point on the axis, with u = i v.

    The point is ``ratio * reach`` to the left of the saddlepoint. None if there is no such angle.
    """
    root = 1.0 + ratio * (2.0 - ratio)
    return 2.0 * math.atan(ratio / (1.0 + math.sqrt(root))) if root >= 0.0 else None


def _exponent(terms: Terms, z: Any) -> Any:
    """Return ``K(z) - z K'(0)`` for complex z, shape (points,)."""
    n, a, b = terms
    radius = float(np.abs(z).max())
    is_near = a * radius <= SERIES_RADIUS
    exponent = _series(Terms(*(x[is_near] for x in terms)), z)
    far = ~is_near
    n, a, b = n[far], a[far, None], b[far]
    for begin in range(0, n.size, BLOCK):
        part = slice(begin, begin + BLOCK)
        # Real functions are several times faster than a complex logarithm.
        real, imaginary = 1.0 - a[part] * z.real, -a[part] * z.imag
        square = real * real + imaginary * imaginary
        logarithm = 0.5 * (n[part] @ np.log(square)) + 1j * (n[part] @ np.arctan2(imaginary, real))
        exponent -= 0.5 * (logarithm + (n[part] @ a[part]) * z)
        if b[part].any():
            exponent += b[part] @ (a[part] * z / (real + 1j * imaginary)) * z
    return exponent


def _series(terms: Terms, z: Any) -> Any:
    """Return the same for coordinates of small ``scale z``, by their cumulants."""
    n, a, b = terms
    if not n.size or not (top := float(a.max())):
        return np.zeros_like(z)
    ratio = np.broadcast_to(a / top, (SERIES_TERMS - 1, a.size))
    with np.errstate(under="ignore"):
        # Row k - 2 has the powers k - 1 of the scales, in units of the largest.
        powers = np.multiply.accumulate(ratio, axis=0)
    order = np.arange(2, SERIES_TERMS + 1)
    sums = powers @ (n * a) * (0.5 / order) + powers @ b
    y = np.multiply.accumulate(np.broadcast_to(top * z, (SERIES_TERMS - 1, z.size)), axis=0)
    return (sums @ y) * z


# -- the value of a probability -------------------------------------------------------------


def quantile(terms: Terms, probability: float) -> float:
    """Return the value that is not exceeded with this probability, in (0, 1)."""
    from scipy.special import ndtri  # It takes long to load.

    # Newton's method for the normal quantile of the tail, which is nearly a straight line.
    wanted = float(ndtri(probability))
    here = _approximate_quantile(terms, wanted)
    limit = 1.0 / float(terms.scale.max())
    for _ in range(MOST_ITERATIONS):
        law = inverted(here)
        reached = float(ndtri(law.below) if law.below < 0.5 else -ndtri(law.above))
        if not math.isfinite(reached) or not law.density > 0.0:
            break
        change = (wanted - reached) * math.exp(-0.5 * reached * reached) / math.sqrt(2.0 * math.pi)
        if abs(wanted - reached) <= NEAR_QUANTILE:
            return _value_at(here, terms) + change / law.density
        step = change / (law.density * here.mean) / here.variance / here.mean
        here = tilted(terms, _moved(here.saddle, step, limit))
    return _value_at(here, terms)


def _value_at(here: Tilted, terms: Terms) -> float:
    """Return x with as many digits as there are."""
    mean = cumulants(terms)[0]
    return mean + here.offset if abs(here.offset) < 0.5 * mean else here.mean


def _approximate_quantile(terms: Terms, normal: float) -> Tilted:
    """Return the tilt at a normal quantile, by the formula of Lugannani and Rice (1980)."""
    _, variance, third = cumulants(terms)
    limit = 1.0 / float(terms.scale.max())
    at_mean = third / (6.0 * variance**1.5)
    here = tilted(terms, min(normal / math.sqrt(variance), 0.5 * limit))
    for _ in range(MOST_ITERATIONS):
        root = math.copysign(math.sqrt(2.0 * max(here.depth, 0.0)), here.saddle)
        deviation = here.mean * math.sqrt(here.variance)
        ratio = here.saddle * deviation / root if root else 1.0
        reached = root + (math.log(ratio) / root if abs(root) > NEAR_MEAN else at_mean)
        if abs(normal - reached) < APPROXIMATE:
            break
        here = tilted(terms, _moved(here.saddle, (normal - reached) / (deviation * ratio), limit))
    return here


def _moved(saddle: float, step: float, limit: float) -> float:
    """Move a saddlepoint by a step, which is made shorter where it would leave the domain."""
    gap = limit - saddle
    if abs(step) < 0.25 * gap:
        return saddle + step
    return limit - gap * math.exp(-min(max(step / gap, -5.0), 5.0))
