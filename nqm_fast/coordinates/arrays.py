"""Coordinates whose curvatures are an array, checked, damped, and without those that vanish."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..foundation.immutable import Immutable, frozen
from ..foundation.validation import Array, InputError, in_range, real_array
from .array_nodes import ArrayNodes
from .blocks import Block
from .spectrum import Dropped, usable

LIMITS: dict[str, dict[str, float]] = {
    "c": {"least": 0.0},
    "sigma": {"least": 0.0},
    "mean0": {},
    "var0": {"least": 0.0},
    "count": {"above": 0.0},
}
"""Limits of the fields beside the curvatures, as `in_range` takes them."""
LARGE_CURVATURE = 1e100
"""Below it a start whose square is less than the smallest double has no risk that counts."""


@dataclass(frozen=True)
class ArrayCoordinates(Immutable):
    """Coordinates with an array of curvatures; what is the same for all of them is a number."""

    h: Array
    """Curvatures, shape (d,)."""
    noise: Array | float | None
    """Variance of the per-sample gradient, or None where it is the curvature."""
    mean0: Array | float
    """Mean of the initial iterate."""
    var0: Array | float
    """Variance of the initial iterate."""
    multiplicity: Array | float
    """How many identical coordinates an entry stands for."""

    @property
    def dim(self) -> int:
        """Number of entries d."""
        return self.h.size

    @property
    def curvature_range(self) -> tuple[float, float]:
        """Least and largest curvature."""
        return float(self.h.min()), float(self.h.max())

    @property
    def has_counts(self) -> bool:
        """Whether an entry stands for more, or less, than one coordinate."""
        return bool(np.any(np.asarray(self.multiplicity) != 1.0))

    def column(self, name: str) -> Array:
        """Return a field of all entries by its name in a problem, shape (d,)."""
        value = self.fields[name]
        if isinstance(value, np.ndarray):
            return value
        return np.broadcast_to(frozen(np.array(value)), self.h.shape)

    def block(self, start: int, stop: int) -> Block:
        """Return the entries start .. stop - 1 (counted from 0)."""
        h = self.h[start:stop]
        mean, variance, count = (
            _part(value, start, stop) for value in (self.mean0, self.var0, self.multiplicity)
        )
        noise = h if self.noise is None else _part(self.noise, start, stop)
        return Block(h, noise, np.asarray(mean * mean + variance), count, np.asarray(variance))

    def start_block(self, start: int, stop: int) -> tuple[Array, Array]:
        """Return mean and variance of initial iterates; of shape (1,) where all are alike."""
        return _part(self.mean0, start, stop), _part(self.var0, start, stop)

    def new_nodes(self) -> ArrayNodes:
        """Make the nodes that stand for all coordinates, in one pass over the arrays."""
        noise = math.nan if self.noise is None else self.noise
        is_alike = not any(isinstance(x, np.ndarray) for x in (self.mean0, self.var0))
        same_noise = None if isinstance(noise, np.ndarray) else noise
        return ArrayNodes(self.dim, self.curvature_range, self.block, same_noise, is_alike)

    @property
    def fields(self) -> dict[str, Any]:
        """The numbers and arrays of which a problem is made again, by name."""
        noise = self.h if self.noise is None else self.noise
        fields = {"h": self.h, "mean0": self.mean0, "var0": self.var0}
        return fields | {"count": self.multiplicity, "c": noise}

    @property
    def facts(self) -> dict[str, str]:
        """Texts that notebooks show of the coordinates, by their headings."""
        facts = {
            "curvatures h": _span(self.h),
            "gradient noise c": "as h" if self.noise is None else _span(self.noise),
            "start: mean": _span(self.mean0),
            "start: variance": _span(self.var0),
        }
        return facts | ({"count": _span(self.multiplicity)} if self.has_counts else {})


def checked_coordinates(
    h: ArrayLike, given: Mapping[str, ArrayLike | None], negative: str, damping: float
) -> tuple[ArrayCoordinates, Dropped]:
    """Check the arguments of a problem, damp its curvatures, and leave out what is to be dropped.

    Parameters
    ----------
    h : array_like, shape (d,)
    given : mapping
        `c` or `sigma`, `mean0`, `var0` and `count` by name.
    negative, damping
        As of `Problem`.

    Raises
    ------
    InputError
        If an array has the wrong shape, or a value outside its limits.
    """
    curvature = real_array("h", h)
    if curvature.ndim != 1 or not curvature.size:
        raise InputError(
            f"h must be one-dimensional and not empty, but has shape {curvature.shape}"
        )
    if given["c"] is not None and given["sigma"] is not None:
        raise InputError("c and sigma are two names for the noise: give one, not both")
    checked = {
        name: _field(name, value, curvature.size, **LIMITS[name])
        for name, value in given.items()
        if value is not None
    }
    curvature, kept, dropped = usable(curvature, checked["count"], negative, damping)
    if kept is not None:
        checked = {
            name: frozen(x[kept]) if isinstance(x, np.ndarray) else x for name, x in checked.items()
        }
    _check_start(curvature, checked["mean0"], checked["var0"])
    if "sigma" in checked:
        with np.errstate(over="ignore", under="ignore"):
            noise = np.square(curvature * checked["sigma"])
        checked["c"] = frozen(real_array("h^2 sigma^2", noise))
    coordinates = ArrayCoordinates(
        frozen(curvature), checked.get("c"), checked["mean0"], checked["var0"], checked["count"]
    )
    return coordinates, dropped


def _check_start(curvature: Array, mean: Array | float, variance: Array | float) -> None:
    """Raise an InputError unless second moments of initial iterates are doubles that count."""
    with np.errstate(over="ignore", under="ignore"):
        second_moment = np.square(mean) + variance
    if not np.isfinite(second_moment).all():
        raise InputError("mean0 and var0 must have a finite mean0^2 + var0")
    is_lost = (np.asarray(mean) != 0.0) & (second_moment < np.finfo(float).tiny)
    if (is_lost & (curvature > LARGE_CURVATURE)).any():
        raise InputError(
            "mean0 and var0 must have a mean0^2 + var0 of at least 2.2e-308 beside "
            f"curvatures above {LARGE_CURVATURE:g}, as it is lost below"
        )


def _part(value: Array | float, start: int, stop: int) -> Array:
    """Return a part of a field, of shape (1,) where it is a number."""
    return value[start:stop] if isinstance(value, np.ndarray) else np.array([value])


def _span(value: Array | float) -> str:
    """Write a number, or the lowest and the highest of several."""
    low, high = float(np.min(value)), float(np.max(value))
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _field(name: str, value: ArrayLike, dim: int, **limits: float) -> Array | float:
    """Check a number, or an array of shape (dim,), against its limits, and freeze it."""
    array = real_array(name, value)
    if array.ndim and array.shape != (dim,):
        raise InputError(
            f"{name} must be a number or have the shape of h, ({dim},), but has shape {array.shape}"
        )
    in_range(name, array, **limits)
    return frozen(array) if array.ndim else float(array)
