"""Units in which no product leaves the range of a double on the way to a risk within it.

The risk does not depend on the unit of the iterate. In one in which curvatures are near 1, second
moments are as large as the risk; the response to the start, counted in another unit, has the risk
of the start as its square; and kicks, counted in a third one, are near 1 too. All units are powers
of two, so that no bit changes where nothing leaves the range.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import LinearAlgorithm
from ..algorithms.sparse import SparseRecurrence, checked_recurrence, sparse_recurrence
from ..coordinates.blocks import Block
from ..foundation.validation import Array
from ..schedules import Constant
from .periodic import find_period, with_period

MODERATE = 1e60
"""Curvatures between this and its inverse, and noise and starts below it, need no other units."""
ORDINARY = 1e-200, 1e200
"""Between these, risks of moderate coordinates have lost nothing that counts."""
WIDTH = 400
"""Coordinates share units whose exponents of 2 differ by less."""
LARGEST_EXPONENT = 1000
"""The largest exponent of a unit, with which the unit is a double itself."""


class Units(NamedTuple):
    """Exponents of 2 of three units."""

    iterate: int
    """An iterate's noise is counted in this unit."""
    kick: int
    """Kicks are counted in this unit, and gradients in what makes up for it."""
    start: int
    """The response to the start is multiplied by this, and the start divided by it."""
    components: NDArray[np.int64]
    """Components of the state, such as a velocity, are multiplied by these besides, shape (n,)."""

    @property
    def of_start(self) -> int:
        """The exponent of the unit in which initial iterates are counted."""
        return self.iterate + self.start


def plain_units(components: int) -> Units:
    """Return the units in which numbers are as they are given."""
    return Units(0, 0, 0, np.zeros(components, dtype=np.int64))


def is_moderate(block: Block) -> bool:
    """Whether coordinates can do without units of their own, if their risk is ordinary."""
    return bool(
        block.h.max() * block.multiplicity.max() < MODERATE
        and block.h.min() > 1.0 / MODERATE
        and block.second_moment.max() < MODERATE
        and block.c.max() < MODERATE
    )


def is_ordinary(risk: Array) -> bool:
    """Whether risks of moderate coordinates have lost nothing on the way."""
    low, high = ORDINARY
    return bool(((risk > low) & (risk < high)).all())


def recurrence_with_units(
    block: Block, algorithm: LinearAlgorithm, weights: Array
) -> tuple[Units, SparseRecurrence]:
    """Choose units for coordinates and some segments' weights, (segments, terms), and use them.

    The recurrence is that of `engine_recurrence` in these units.
    """
    period = find_period(algorithm, Constant(1.0))
    recurrence = sparse_recurrence(checked_recurrence(algorithm, block.h), block.h.size)
    units = units_of(block, recurrence, weights if period is None else period.weights)
    recurrence = recurrence_in_units(recurrence, units)
    if period is not None:
        recurrence = with_period(recurrence, block.h.size, period)
    return units, recurrence


def units_of(block: Block, recurrence: SparseRecurrence, weights: Array) -> Units:
    """Choose the units for coordinates and for kicks with weights of shape (segments, terms)."""
    curvature, start = _exponents(block)
    largest = int(curvature.max())
    of_start = start[np.broadcast_to(block.second_moment > 0.0, start.shape)]
    kicks = _kick_exponents(recurrence, weights)
    # What is read or starts at the iterate is in its unit, and tells how large kicks of it are.
    is_iterate = (np.array(recurrence.read) != 0.0) | (np.array(recurrence.start) != 0.0)
    kick = max(
        (k for k, own in zip(kicks, is_iterate, strict=True) if own and k is not None), default=0
    )
    components = [
        0 if own or k is None else kick - k for k, own in zip(kicks, is_iterate, strict=True)
    ]
    half = int(of_start.max()) // 2 if of_start.size else 0
    limit = LARGEST_EXPONENT
    return Units(
        -(largest // 2), kick, int(np.clip(half, -limit, limit)), np.clip(components, -limit, limit)
    )


def block_in_units(block: Block, units: Units) -> Block:
    """Return coordinates in units, whose risk is the same."""
    of_noise = 2 * (units.kick - units.iterate)
    of_start = -2 * units.of_start
    return block._replace(
        h=_scaled(block.h, 2 * units.iterate),
        c=_scaled(block.c, of_noise),
        second_moment=_scaled(block.second_moment, of_start),
        variance=_scaled(block.variance, of_start),
    )


def recurrence_in_units(recurrence: SparseRecurrence, units: Units) -> SparseRecurrence:
    """Return the recurrence of coordinates in units."""
    n = len(recurrence.read)
    row, column = recurrence.entries[:, 1], recurrence.entries[:, 2]
    from_unit = np.where(column < n, units.components[np.minimum(column, n - 1)], units.kick)
    exponent = units.components[row] - from_unit
    start = tuple(float(x) for x in np.ldexp(recurrence.start, units.start))
    return recurrence._replace(factors=np.ldexp(recurrence.factors, exponent), start=start)


def alike(block: Block) -> Iterator[NDArray[np.intp]]:
    """Yield indices of coordinates that can share units."""
    curvature, start = _exponents(block)
    keys = np.stack([curvature // WIDTH, start // WIDTH])
    _, group = np.unique(keys, axis=1, return_inverse=True)
    for number in range(int(group.max()) + 1):
        yield np.flatnonzero(group.ravel() == number)


def _exponents(block: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return exponents of 2 of the curvature and of the risk at the start, (coordinates,) each.

    A coordinate without a start has the exponent 0 there.
    """
    shape = block.h.shape
    curvature, count, start = (
        np.broadcast_to(np.frexp(x)[1], shape).astype(np.int64)
        for x in (block.h, block.multiplicity, block.second_moment)
    )
    curvature = curvature + count
    return curvature, np.where(block.second_moment > 0.0, curvature + start, 0)


def _kick_exponents(recurrence: SparseRecurrence, weights: Array) -> list[int | None]:
    """Return the exponent of 2 of the largest kick of each component, None if it has none."""
    n = len(recurrence.read)
    of_weights = np.abs(weights).max(axis=0, initial=0.0)
    found: list[int | None] = [None] * n
    for (term, row, column, source), factor in zip(
        recurrence.entries.tolist(), recurrence.factors.tolist(), strict=True
    ):
        array = np.abs(recurrence.values[source]) if source >= 0 else np.ones(1)
        sizes = of_weights[term], abs(factor), array[np.isfinite(array)].max(initial=0.0)
        if column >= n and min(sizes) > 0.0 and np.isfinite(sizes).all():
            exponent = int(np.frexp(sizes)[1].sum())
            known = found[row]
            found[row] = exponent if known is None else max(known, exponent)
    return found


def _scaled(field: Array, exponent: int) -> Array:
    """Multiply a field by a power of two; what would be infinite is the largest number."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.minimum(np.ldexp(field, exponent), np.finfo(np.float64).max))
