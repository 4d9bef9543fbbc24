"""The directions of a power law on the axis of responses."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..coordinates.power_law_nodes import PowerLawNodes
from ..coordinates.spectrum import PowerLaw
from ..foundation.validation import Array
from ..problem import MOST_COORDINATES
from .responses import Axis, places

NODES = 10
"""Nodes of each range of directions."""
KEPT_DIMENSIONS = 1 << 10


class Directions(NamedTuple):
    """Directions i = 1 .. dim as few nodes."""

    log_number: Array
    """log i, shape (nodes,)."""
    multiplicity: Array
    """How many directions a node stands for."""


@lru_cache(KEPT_DIMENSIONS)
def directions(dim: int) -> Directions:
    """Make the nodes for a number of directions."""
    found = PowerLawNodes(PowerLaw(dim, 1.0)).joined(NODES)
    count = np.broadcast_to(found.multiplicity, found.h.shape)
    return Directions(-np.log(found.h), np.array(count))


def dim_of(dim: int | None) -> int:
    """Return the number of directions; without one there are as many as can be counted."""
    return MOST_COORDINATES if dim is None else dim


class Measures(NamedTuple):
    """Sums over directions as weights of the axis's places, and their derivatives."""

    weights: Array
    """Shape (sums, places)."""
    moved: Array
    """Derivatives when all directions move along the axis, of the same shape."""


def measures(logs: Array, values: Array, axis: Axis) -> Measures:
    """Distribute directions over the axis, by cubic interpolation between its places.

    Parameters
    ----------
    logs : ndarray, shape (nodes,)
        Logarithms of curvature times learning rate.
    values : ndarray, shape (sums, nodes)
        What directions have in each sum.
    axis : Axis
    """
    at = places(axis)
    sums, size = values.shape[0], at.size
    free = (logs - at[0]) / axis.spacing
    u = np.clip(free, 1.0, size - 2.0)
    j = np.minimum(np.floor(u).astype(np.int64), size - 3)
    t = u - j
    value = np.array(
        [
            -t * (t - 1.0) * (t - 2.0) / 6.0,
            (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
            -(t + 1.0) * t * (t - 2.0) / 2.0,
            (t + 1.0) * t * (t - 1.0) / 6.0,
        ]
    )
    slope = np.array(
        [
            -(3.0 * t * t - 6.0 * t + 2.0) / 6.0,
            (3.0 * t * t - 4.0 * t - 1.0) / 2.0,
            -(3.0 * t * t - 2.0 * t - 2.0) / 2.0,
            (3.0 * t * t - 1.0) / 6.0,
        ]
    )
    linear = u >= (axis.wall - at[0]) / axis.spacing
    if linear.any():
        zero = np.zeros(t.size)
        value = np.where(linear, [zero, 1.0 - t, t, zero], value)
        slope = np.where(linear, [zero, zero - 1.0, zero + 1.0, zero], slope)
    slope *= u == free  # Beyond the ends of the axis nothing changes.
    where = j + np.arange(-1, 3)[:, None]
    index = (np.arange(sums)[:, None, None] * size + where).ravel()

    def distributed(basis: Array) -> Array:
        weights = (values[:, None, :] * basis).ravel()
        summed = np.bincount(index, weights, sums * size).reshape(sums, size)
        return np.asarray(summed, dtype=np.float64)

    return Measures(distributed(value), distributed(slope / axis.spacing))
