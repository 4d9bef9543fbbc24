"""The law of the risk: with a Gaussian start and noise, a sum of squares of Gaussians."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ...certified_sums import BLOCK
from ...coordinates.blocks import Block
from ...foundation.arithmetic import methods_in_usual_arithmetic
from ...foundation.validation import Array, InputError, counted, real_array, step_array
from ...machine.backends import takes_backend
from ...machine.parallel import in_threads
from ...output.html import facts_table
from ...problem import Problem, as_additive_problem
from ...schedules import Schedule, as_schedule
from ...schedules.timeline import ordered_records
from ..states import evaluated_moments
from .inversion import Inverted, inverted, quantile
from .law_nodes import law_block
from .low_tail import FAR_BELOW, far_below, may_be_far_below, searched_quantile
from .quadratic_form import (
    Terms,
    cumulants,
    density_at_least,
    in_units,
    is_beyond,
    joined,
    least_value,
    saddle_of,
    shape,
    terms_that_occur,
)

LARGEST_MEAN = 1e300
"""A mean above which a setting counts as diverged, as moments of its law are beyond a double."""
NARROW = 1e-18
"""A standard deviation, in units of the mean, far below the distance of two doubles."""
MOST_SKEWED = 20.0
"""A skewness above which the normal quantile of a tail is not nearly a straight line."""


@methods_in_usual_arithmetic
@dataclass(frozen=True, eq=False)
class RiskDistribution:
    """The law of the realised excess risk ``1/2 sum count h w_t^2`` at some steps.

    It is what one training run shows, where `expected_risk` is the mean over all runs. Values and
    probabilities are broadcast against `steps`: with steps of shape (n,) the answer to
    ``quantile([[0.1], [0.9]])`` has shape (2, n).

    Attributes
    ----------
    steps : ndarray of int
        The steps, of the shape that was asked for.
    mean, std, skewness : float or ndarray of that shape
        inf where a setting diverges; a law without variance has skewness 0.
    """

    steps: NDArray[np.int64]
    mean: Any
    std: Any
    skewness: Any
    _laws: tuple[_Law, ...]
    """The law at each step, in the order of ``steps.flat``."""

    def cdf(self, x: ArrayLike) -> Any:
        """Probability that the risk is at most x.

        Correct to some 1e-12 of the smaller tail, also where that is below 1e-12, but for
        coordinates of a count below 1e-25, which are left out.

        Parameters
        ----------
        x : array_like
            Excess risks, broadcast against `steps`.

        Raises
        ------
        InputError
            If x is not of finite numbers, or has a shape that does not go with that of `steps`.
        """
        return self._at_each("x", x, lambda law, value: law.at(value).below)

    def sf(self, x: ArrayLike) -> Any:
        """Probability that the risk is above x, with all digits where ``1 - cdf(x)`` has none.

        Parameters and errors are those of `cdf`.
        """
        return self._at_each("x", x, lambda law, value: law.at(value).above)

    def pdf(self, x: ArrayLike) -> Any:
        """Probability density of the risk at x.

        It is inf at the value of a law without variance, and at 0 where a single coordinate
        counts. Parameters and errors are those of `cdf`.
        """
        return self._at_each("x", x, lambda law, value: law.at(value).density)

    def quantile(self, q: ArrayLike) -> Any:
        """Risk that is not exceeded with probability q.

        Parameters
        ----------
        q : array_like
            Probabilities from 0 to 1, broadcast against `steps`.

        Raises
        ------
        InputError
            If q is outside its limits, or has a shape that does not go with that of `steps`.
        """
        given = real_array("q", q)
        if not ((given >= 0.0) & (given <= 1.0)).all():
            bad = given[(given < 0.0) | (given > 1.0)].flat[0]
            raise InputError(f"q must be probabilities from 0 to 1, but contains {bad:g}")
        return self._at_each("q", q, lambda law, value: law.quantile(value))

    def _at_each(self, name: str, given: ArrayLike, answer: Callable[[_Law, float], float]) -> Any:
        """Give the answers of the laws to the values, after broadcasting both."""
        values = real_array(name, given)
        numbers = np.arange(self.steps.size).reshape(self.steps.shape)
        try:
            values, numbers = np.broadcast_arrays(values, numbers)
        except ValueError:
            raise InputError(
                f"{name} must have a shape that goes with that of steps, {self.steps.shape}, not "
                f"{values.shape}"
            ) from None
        answers = np.array(
            [
                answer(self._laws[number], value)
                for number, value in zip(numbers.flat, values.ravel().tolist(), strict=True)
            ]
        ).reshape(numbers.shape)
        return answers if answers.ndim else float(answers)

    def __repr__(self) -> str:
        return f"<RiskDistribution at {counted(self.steps.size, 'step')}>"

    def _repr_html_(self) -> str:
        facts: dict[str, Any] = {"steps": self.steps.size}
        if self.steps.size:
            last = int(np.argmax(self.steps))
            facts[f"at step {self.steps.flat[last]}"] = (
                f"mean {np.ravel(self.mean)[last]:.6g}, "
                f"standard deviation {np.ravel(self.std)[last]:.6g}"
            )
        return facts_table("RiskDistribution", facts)


def _ratio(x: float, y: float) -> float:
    """Return ``x / y`` of positive numbers, inf where y is 0."""
    return x / y if y > 0.0 else math.inf


class _Law:
    """The law of the risk at one step."""

    def __init__(self, terms: Terms) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            mean = cumulants(terms)[0]
        # Moments beyond the range of a double are those of a setting that diverges.
        self._is_finite = math.isfinite(mean) and mean < LARGEST_MEAN
        self.mean = mean if self._is_finite else math.inf
        self.std, self.skewness, self._certain = self.mean, 0.0, self.mean
        self._is_certain = True
        if not self._is_finite or mean == 0.0:
            return
        terms = joined(terms)
        deviation, self.skewness = shape(terms, mean)
        self.std = deviation * mean
        self._is_certain = not deviation > 0.0
        if self._is_certain:
            return
        probable = terms_that_occur(terms)
        if len(probable.scale) < len(terms.scale):
            self._certain = least_value(probable)
            self._is_certain = not probable.scale.any()
            if self._is_certain:
                return
            mean = cumulants(probable)[0]
            deviation = shape(probable, mean)[0]
        self._unit, self._deviation = mean, deviation
        self._terms = in_units(probable, mean)
        self._least = least_value(self._terms)

    def at(self, x: float) -> Inverted:
        """Give probabilities and density at x."""
        if not self._is_finite:
            return Inverted(0.0, 1.0, 0.0)
        if self._is_certain:
            reached = float(x >= self._certain)
            return Inverted(reached, 1.0 - reached, math.inf if x == self._certain else 0.0)
        if self._deviation < NARROW:
            return self._at_narrow(x)
        above_least = x / self._unit - self._least
        if x > 0.0 and (above_least > 0.0 or self._least == 0.0) and above_least < FAR_BELOW:
            is_small = self._least == 0.0  # Then x in units of the mean may be too small a double.
            log = math.log(x) - math.log(self._unit) if is_small else math.log(above_least)
            return far_below(self._terms, log, math.log(self._unit))
        law = self._at_relative(x / self._unit)
        return law._replace(density=law.density / self._unit)

    def _at_narrow(self, x: float) -> Inverted:
        """Give probabilities and density where all doubles but the mean are far from the mean."""
        if x != self._unit:
            return Inverted(0.0, 1.0, 0.0) if x < self._unit else Inverted(1.0, 0.0, 0.0)
        normal = 1.0 / math.sqrt(2.0 * math.pi)
        below = min(0.5 + self.skewness * normal / 6.0, 1.0)  # the series of Edgeworth
        return Inverted(below, 1.0 - below, _ratio(normal / self._deviation, self._unit))

    def _at_relative(self, x: float) -> Inverted:
        """Give probabilities and density at x, in units of the mean."""
        if is_beyond(self._terms, x):
            return Inverted(1.0, 0.0, 0.0)
        here = saddle_of(self._terms, x)
        if here is not None:
            return inverted(here)
        is_least = x == self._least
        return Inverted(0.0, 1.0, density_at_least(self._terms) if is_least else 0.0)

    def quantile(self, q: float) -> float:
        """Give the value that is not exceeded with probability q."""
        if not self._is_finite or self._is_certain:
            return self._certain
        if q == 0.0:
            return self._least * self._unit
        if q == 1.0:
            return math.inf
        if self._deviation < NARROW:
            return self._unit
        is_low = may_be_far_below(self._terms, q)
        if is_low or self.skewness > MOST_SKEWED:
            return searched_quantile(self.at, q, self._least * self._unit, self._unit)
        return quantile(self._terms, q) * self._unit


@takes_backend
def risk_distribution(
    problem: Problem,
    algorithm: Algorithm,
    batch_size: ArrayLike | Schedule,
    steps: ArrayLike,
    *,
    backend: str = "auto",
) -> RiskDistribution:
    """The law of the realised excess risk after the given numbers of steps, without sampling.

    With a Gaussian start and noise the coordinates of the iterate are independent Gaussians, so
    that the risk is a sum of scaled noncentral chi-squares. Their scales and shifts follow from the
    second moments of the recurrence, and the law by inversion of its characteristic function
    (Imhof 1961, Davies 1973) on a contour through the saddlepoint, to rounding errors. Where one
    coordinate dominates, the law is far from normal.

    Parameters
    ----------
    problem : Problem
        With d coordinates; a `count` n stands for n independent coordinates, or for a chi-square of
        n degrees of freedom if n is not whole.
    algorithm : Algorithm
        Such as ``nqm.SGD(0.1, momentum=0.9)``.
    batch_size : number, array_like of shape (steps,), or schedule
        Samples per step, >= 1.
    steps : array_like of int
        Any shape, any order, >= 0.
    backend : {"auto", "numba", "cython", "numpy"}
        As in `expected_risk`.

    Returns
    -------
    RiskDistribution
        With `mean`, `std` and `skewness` of the shape of `steps`, and `cdf`, `sf`, `pdf` and
        `quantile`.

    Raises
    ------
    InputError
        If an argument is outside its limits, or a schedule given as an array is shorter
        than the largest step.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> law = nqm.risk_distribution(nqm.Problem.power_law(100), nqm.SGD(0.1), 8, 50)
    >>> bool(abs(law.mean / nqm.expected_risk(nqm.Problem.power_law(100), nqm.SGD(0.1), 8, 50) - 1)
    ...      < 1e-12)
    True
    >>> bool(abs(law.cdf(law.quantile(0.95)) - 0.95) < 1e-12)
    True
    """
    as_additive_problem(problem, "risk_distribution")
    algorithm = as_algorithm("algorithm", algorithm)
    batch = as_schedule("batch_size", batch_size, least=1.0)
    asked = step_array("steps", steps)
    if not asked.size:
        nothing = np.zeros(asked.shape)
        return RiskDistribution(asked, nothing, nothing, nothing, ())
    ordered, position = ordered_records(asked, algorithm.schedules | {"batch_size": batch})
    laws = _laws(problem, algorithm, batch, ordered)
    at_steps = tuple(laws[number] for number in position.ravel().tolist())

    def of_shape(name: str) -> Any:
        values = np.array([getattr(law, name) for law in at_steps]).reshape(asked.shape)
        return values if asked.ndim else float(values)

    return RiskDistribution(
        asked, of_shape("mean"), of_shape("std"), of_shape("skewness"), at_steps
    )


def _laws(
    problem: Problem, algorithm: LinearAlgorithm, batch: Schedule, records: NDArray[np.int64]
) -> list[_Law]:
    """Compute the law at each record."""
    nodes = law_block(problem, algorithm, batch, records)
    size = problem.dim if nodes is None else nodes.h.size

    def terms_of_block(begin: int) -> tuple[Array, Array, Array]:
        part = slice(begin, min(begin + BLOCK, size))
        block = problem.block(begin, part.stop) if nodes is None else _part(nodes, part)
        response, noise, block, units = evaluated_moments(block, algorithm, batch, records)
        mean0 = np.ldexp(problem.mean0[part], -units.of_start)
        count = np.broadcast_to(block.multiplicity, block.h.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            scale = block.h * (response * response * block.variance + noise)
            shift = (0.5 * count * block.h) * np.square(response * mean0)
        return count, scale, shift

    blocks = in_threads(terms_of_block, range(0, size, BLOCK), "law of the risk")
    counts, scales, shifts = zip(*blocks, strict=True)
    count = np.concatenate(counts)
    scale, shift = (np.concatenate(parts, axis=1) for parts in (scales, shifts))
    return [_Law(Terms(count, *each)) for each in zip(scale, shift, strict=True)]


def _part(block: Block, part: slice) -> Block:
    """Return some coordinates of a block."""
    return Block(*(x if x.size == 1 else x[part] for x in block))
