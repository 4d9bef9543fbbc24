"""Second moments through many equal steps, where all coordinates meet in one sum.

The sum S that noise depends on obeys a discrete Volterra equation. A panel of 64 2^k steps is
solved at once: S is a polynomial in the step there, given by its values at 17 of the panel's 65
points, and a linear system of 17 rows finds them. What a coordinate makes of such a polynomial
over 2^(k + 1) steps follows from that over 2^k, so that a panel costs the same however long it is.

Whether S and the risk are polynomials is tested at all 65 points. Where they are not, as while they
oscillate, panels are shorter, and those of 64 steps are solved step by step, without polynomials.
Between two panels the moments of all coordinates are known, so that errors do not add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...foundation.validation import Array
from .maps import Recurrences, StepMap
from .single_steps import (
    SingleSteps,
    applied,
    kicks_of,
    lower_toeplitz,
    product,
    resolvent,
    rows_at,
    summed_constant,
)

LEVEL_STEPS = 6
"""A panel is of 2^6 equal parts."""
PARTS = 1 << LEVEL_STEPS
DEGREE = 16
"""Degree of the polynomials, the largest that so many equidistant points determine well."""
POINTS = np.rint(0.5 * PARTS * (1.0 - np.cos(np.pi * np.arange(DEGREE + 1) / DEGREE))).astype(int)
"""Points of a panel that determine its polynomials, near those of Chebyshev."""
TOLERANCE = 1e-13
"""Difference from a polynomial, relative to the largest value in the panel."""
LEAST_SHARE = 1.0 / 64.0
"""Least value in a panel, relative to the largest: else the panel would blur small values."""
NEGLIGIBLE = 1e-290
"""Values below are taken to be 0, as they have few digits or none."""
ROUNDING = 1e-10
"""Size of a rounding error that may be negative, relative to the first risk of a panel."""
STEPPED_LEVEL = 8
"""Binary logarithm of how many steps are taken one by one at a time, where panels fail."""
WORTH_STEPS = 4
"""Panels after which longer ones are tried again, when such steps are worth their preparation."""
LONGEST = 62 - LEVEL_STEPS
"""Panels of 2^62 steps are longer than there are steps."""

WEIGHTS = np.array(
    [1.0 / np.prod((x - np.delete(POINTS, k)) / 16.0) for k, x in enumerate(POINTS.tolist())]
)
"""Weights of the barycentric formula, up to a factor."""


def interpolation(x: Array) -> Array:
    """Return the matrix from values at the points to those at x in [0, 1], (x, points)."""
    distance = PARTS * np.asarray(x, dtype=np.float64)[:, None] - POINTS
    hit = distance == 0.0
    share = WEIGHTS / np.where(hit, 1.0, distance)
    share = np.where(hit.any(axis=1, keepdims=True), hit, share)
    return np.asarray(share / share.sum(axis=1, keepdims=True))


class Tables(NamedTuple):
    """Interpolation between panels and their halves and parts."""

    left: Array
    right: Array
    """From the points of a panel to those of its halves, (points of the half, points)."""
    parts: NDArray[np.complex128]
    """From the points of a panel to those of its parts, as a Fourier transform over the parts,
    shape (frequencies, points of the part, points)."""
    every: Array
    """From the points of a panel to all its 65, (65, points)."""
    lag: Array
    """Index of the lag from each part to each of the 65 points, -1 for those before, (65, parts)"""


@lru_cache(1)
def tables() -> Tables:
    """Return the tables, which are computed once."""
    x = POINTS / PARTS
    parts = np.stack([interpolation((a + x) / PARTS) for a in range(PARTS)])
    lag = np.arange(PARTS + 1)[:, None] - np.arange(PARTS)[None] - 1
    return Tables(
        interpolation(0.5 * x),
        interpolation(0.5 + 0.5 * x),
        np.fft.rfft(parts, 2 * PARTS, axis=0),
        interpolation(np.arange(PARTS + 1) / PARTS),
        np.maximum(lag, -1),
    )


class Panel(NamedTuple):
    """Some steps of a curve, and the risk in them."""

    first: int
    """The first step."""
    level: int
    """Binary logarithm of the steps between two points."""
    risk: Array
    """At all points, shape (points,); 65 of them, unless they are all steps."""

    @property
    def last(self) -> int:
        """The last step."""
        return self.first + ((self.risk.size - 1) << self.level)

    def at(self, steps: NDArray[np.int64]) -> Array:
        """Return the risk at some of the panel's steps."""
        offset = steps - self.first
        if self.level == 0:
            return self.risk[offset]
        if not np.isfinite(self.risk).all():
            return np.full(offset.shape, math.inf)
        return np.asarray(interpolation(offset / (PARTS << self.level)) @ self.risk[POINTS])


class _Level(NamedTuple):
    """The maps of panels of a length, from their first moments to sum and risk at 65 points."""

    sum_rows: Array
    risk_rows: Array
    """Rows on the first moments, shape (65, coordinates * p)."""
    sum_constant: Array
    risk_constant: Array
    """The share of constant noise, shape (65,)."""
    sum_response: Array
    risk_response: Array
    """Responses to the sum, at the points or, in the shortest panels, in all steps."""
    inverse: Array
    """Solution of the system of the points."""


class Chain:
    """Panels of all lengths under constant settings."""

    def __init__(self, recurrences: Recurrences, step: StepMap) -> None:
        self._rows = recurrences
        self._change = [step.change]
        first = np.zeros((*step.kick.shape, DEGREE + 1))
        first[:, :, 0] = step.kick  # A part of one step has the value at its first point.
        self._response = [first]
        self._constant = [step.constant]
        self._step = step
        self._levels: dict[int, _Level | None] = {}
        self._is_same = recurrences.is_sum_twice_the_risk

    def _grow(self, level: int) -> None:
        """Compute what 2^level steps do, for all levels up to this."""
        table = tables()
        while len(self._change) <= level:
            D, E, k = self._change[-1], self._response[-1], self._constant[-1]
            self._change.append(2.0 * D + applied(D, D))
            after = E + applied(D, E)
            self._response.append(after @ table.left + E @ table.right)
            self._constant.append(2.0 * k + applied(D, k[:, :, None])[:, :, 0])

    def level(self, level: int) -> _Level | None:
        """Return the panels of 64 2^level steps, or None where they leave a double's range."""
        if level not in self._levels:
            with np.errstate(over="ignore", invalid="ignore"):
                self._grow(level + LEVEL_STEPS)
                self._levels[level] = self._new_level(level)
        return self._levels[level]

    def _new_level(self, level: int) -> _Level | None:
        """Compute what panels of a length need."""

        def rows(weight: Array) -> Array:
            return rows_at(weight, self._change, level, LEVEL_STEPS).reshape(PARTS + 1, -1)

        sums = rows(self._rows.sum_weight)
        risks = 0.5 * sums if self._is_same else rows(self._rows.risk_weight)
        constants = [summed_constant(x, self._constant[level]) for x in (sums, risks)]
        respond = self._step_response if level == 0 else self._polynomial_response
        sum_response = respond(sums, level)
        risk_response = 0.5 * sum_response if self._is_same else respond(risks, level)
        system = sum_response if level == 0 else sum_response[POINTS]
        if not np.isfinite(system).all():
            return None
        try:
            # In steps it is a resolvent, whose first steps are right where later ones overflow.
            inverse = (
                lower_toeplitz(resolvent(sum_response[1:, 0]))
                if level == 0
                else np.linalg.inv(np.eye(len(system)) - system)
            )
        except np.linalg.LinAlgError:
            return None
        sum_constant, risk_constant = constants
        return _Level(
            sums, risks, sum_constant, risk_constant, sum_response, risk_response, inverse
        )

    def _step_response(self, rows: Array, _: int) -> Array:
        """Return the responses at 65 steps to the sum in each of 64, shape (65, 64)."""
        kernel = np.append(product(rows[:-1], self._step.kick.ravel()), 0.0)
        return np.asarray(kernel[tables().lag])

    def _polynomial_response(self, rows: Array, level: int) -> Array:
        """Return the responses at 65 points to the values at 17 of them, shape (65, 17)."""
        kernel = product(rows[:-1], self._response[level].reshape(rows.shape[1], -1))
        # What parts add is a convolution with their lag, without wrapping round at twice as many.
        spectrum = np.fft.rfft(kernel, 2 * PARTS, axis=0)[:, None] @ tables().parts
        added = np.fft.irfft(spectrum[:, 0], 2 * PARTS, axis=0)
        return np.concatenate([np.zeros((1, DEGREE + 1)), added[:PARTS]])

    def solve(self, moments: Array, level: int) -> tuple[Array, Array] | None:
        """Solve a panel from its first moments (coordinates, p): the risk (65,), last moments.

        The answer is None where the panel is too long for its polynomials.
        """
        parts = self.level(level)
        if parts is None:
            return None
        flat = moments.ravel()
        with np.errstate(over="ignore", invalid="ignore"):
            known = product(parts.sum_rows, flat) + parts.sum_constant
            if level == 0:
                sums = parts.inverse @ known
                values = sums[:-1]
            else:
                values = parts.inverse @ known[POINTS]
                sums = known + parts.sum_response @ values
            risk = 0.5 * sums
            if not self._is_same:
                risk = (
                    product(parts.risk_rows, flat)
                    + parts.risk_constant
                    + parts.risk_response @ values
                )
            if level and not (is_polynomial(sums) and is_polynomial(risk)):
                return None
            end = level + LEVEL_STEPS
            last = moments + applied(self._change[end], moments[:, :, None])[:, :, 0]
            last += self._constant[end]
            last += self._kicks @ values if level == 0 else self._response[end] @ values
        return risk, last

    @cached_property
    def _kicks(self) -> Array:
        """The moments after 64 steps for a sum in one of them, (coordinates, p, 64)."""
        return kicks_of(self._step.kick, self._change, LEVEL_STEPS)

    def stepped(self, moments: Array) -> tuple[Array, Array]:
        """Go through many steps one by one; the risk at each, with the first, and last moments."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._single_steps.solve(moments)

    @cached_property
    def _single_steps(self) -> SingleSteps:
        """The solver of 2^STEPPED_LEVEL single steps."""
        self._grow(STEPPED_LEVEL)
        given = self._rows, self._step, self._change, self._constant
        return SingleSteps(*given, STEPPED_LEVEL)


def is_polynomial(values: Array) -> bool:
    """Whether values at 65 points are those of a polynomial, and of similar size."""
    largest = float(np.abs(values).max())
    if not math.isfinite(largest):
        return False
    if largest <= NEGLIGIBLE:
        return True
    error = float(np.abs(tables().every @ values[POINTS] - values).max())
    return error <= TOLERANCE * largest and keeps_digits(values)


def keeps_digits(values: Array) -> bool:
    """Whether values, computed as changes of the first, are of similar size, or far too large."""
    largest = float(np.abs(values).max())
    is_small = largest <= NEGLIGIBLE or not math.isfinite(largest)
    return is_small or float(values.min()) >= LEAST_SHARE * largest


def walk(
    chain: Chain,
    one_by_one: Callable[[Array], tuple[Array, Array]],
    moments: Array,
    first: int,
    end: float = math.inf,
) -> Iterator[tuple[Panel, Array]]:
    """Yield panels and their last moments from step `first` on, as many as fit before `end`.

    Panels are twice as long after each that succeeds. Where that fails it is tried again later.
    Where most of the risk goes within 64 steps, `one_by_one` takes them: it returns the risk before
    each and after the last, and the last moments.
    """
    level, patience, waited = 0, 0, 0
    while first + PARTS <= end:
        most = LONGEST if end == math.inf else (int(end) - first).bit_length() - LEVEL_STEPS - 1
        level = min(level, most)
        solved = None
        if waited >= patience and level < most:
            solved = chain.solve(moments, level + 1)
            if solved is None:
                patience, waited = min(2 * patience + 1, 32), 0
            else:
                level, patience, waited = level + 1, 0, 0
        while solved is None and level > 0:
            solved = chain.solve(moments, level)
            if solved is None:
                level, patience, waited = level - 1, 1, 0
        waited += 1
        if solved is None and patience > WORTH_STEPS and first + (1 << STEPPED_LEVEL) <= end:
            # Where panels that are longer have failed many times they will fail for some time yet.
            solved = chain.stepped(moments)
        solved = solved or chain.solve(moments, 0)
        if solved is None:
            solved = np.full(PARTS + 1, math.inf), np.full(moments.shape, math.inf)
        if level == 0 and not keeps_digits(solved[0]):
            solved = one_by_one(moments)
        risk, moments = solved
        # Rounding errors of what has overflown may be negative, and of what has vanished.
        is_wrong = np.isnan(risk) | (risk < -ROUNDING * np.abs(risk[0]) - NEGLIGIBLE)
        risk = np.where(is_wrong, math.inf, np.maximum(risk, 0.0))
        if is_wrong.any():
            moments = np.full(moments.shape, math.inf)
        panel = Panel(first, level, risk)
        yield panel, moments
        first = panel.last
