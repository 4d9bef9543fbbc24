"""Spectra: power laws, damping, and what becomes of eigenvalues that are not positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .validation import (
    Array,
    InputError,
    choice,
    counted,
    in_range,
    number,
    plain_number,
    real_array,
)

NEGATIVE = ("error", "drop", "abs")
"""What may become of curvatures that are negative or zero."""


@dataclass(frozen=True)
class PowerLaw:
    """The spectrum ``h_i = i^-exponent + damping``, i = 1 .. dim, of which no array is stored.

    A part of one has i = first + 1 .. first + dim.
    """

    dim: int
    exponent: float
    damping: float = 0.0
    first: int = 0

    def block(self, start: int, stop: int) -> Array:
        """Compute the curvatures of the coordinates start .. stop - 1 (counted from 0)."""
        i = np.arange(self.first + start + 1, self.first + stop + 1, dtype=np.float64)
        h: Array = 1.0 / i if self.exponent == 1.0 else i**-self.exponent
        return h + self.damping if self.damping else h

    def __str__(self) -> str:
        damped = f", damping={self.damping:g}" if self.damping else ""
        return f"{self.dim}, exponent={self.exponent:g}{damped}"


@dataclass(frozen=True)
class Dropped:
    """What was left out of a spectrum, or made positive; it is false if that is nothing.

    The trace is that of absolute values, ``sum count |h + damping|``, of which all shares are.
    """

    count: float = 0
    """Coordinates that were dropped, with their multiplicities."""
    share: float = 0.0
    """Their share of the trace, from 0 to 1."""
    flipped: float = 0
    """Coordinates of negative curvature whose absolute value was taken."""
    flipped_share: float = 0.0
    """Their share of the trace."""

    @classmethod
    def of_array(cls, values: ArrayLike) -> Dropped:
        """Rebuild it from an array of its four numbers.

        Raises
        ------
        InputError
            If they are not four numbers >= 0.
        """
        array = real_array("dropped", values)
        if array.shape != (4,):
            raise InputError(f"dropped must have shape (4,), but has shape {array.shape}")
        in_range("dropped", array, least=0.0)
        count, share, flipped, flipped_share = array.tolist()
        return cls(plain_number(count), share, plain_number(flipped), flipped_share)

    def __bool__(self) -> bool:
        return bool(self.count or self.flipped)

    def __str__(self) -> str:
        parts = [
            f"{count:.6g} {done} with {share:.2g} of the trace"
            for count, done, share in (
                (self.count, "dropped", self.share),
                (self.flipped, "made positive", self.flipped_share),
            )
            if count
        ]
        return ", ".join(parts) or "none"


class Usable(NamedTuple):
    """A spectrum whose curvatures are all positive."""

    h: Array
    """Shape (kept,)."""
    kept: NDArray[np.intp] | None
    """Indices of those that are kept, or None for all."""
    dropped: Dropped


def usable(h: Array, count: Array | float, negative: str, damping: float) -> Usable:
    """Add the damping to all curvatures, then drop or flip those that are not positive.

    Parameters
    ----------
    h : ndarray, shape (d,)
    count : ndarray, shape (d,), or a number
    negative : {"error", "drop", "abs"}
    damping : float

    Raises
    ------
    InputError
        If curvatures are not positive and `negative` is "error", or if none is left.
    """
    negative = choice("negative", negative, NEGATIVE)
    damping = number("damping", damping, least=0.0)
    name = "h"
    if damping:
        name = "h + damping"
        with np.errstate(over="ignore"):
            h = real_array(name, h + damping)
    if (h > 0.0).all():
        return Usable(h, None, Dropped())
    if negative == "error":
        bad = int(np.argmin(h))
        raise InputError(
            f"{name} must be > 0, but element {bad} is {h[bad]:g}, {advice(h, damping, count)}"
        )
    size, counts = np.abs(h), np.broadcast_to(count, h.shape)
    goes = h <= 0.0 if negative == "drop" else h == 0.0
    flips = (h < 0.0) & ~goes
    if goes.all():
        raise InputError(f"{name} has no curvature > 0, so that negative={negative!r} leaves none")
    part = counts * (size / size.max())
    total = part.sum()
    dropped = Dropped(
        plain_number(counts[goes].sum()),
        float(part[goes].sum() / total),
        plain_number(counts[flips].sum()),
        float(part[flips].sum() / total),
    )
    kept = np.flatnonzero(~goes)
    return Usable(size[kept], kept, dropped)


def vanishing(eigenvalues: Array, dim: int) -> float:
    """Return the size up to which an eigenvalue of a matrix of doubles is a rounding error."""
    return float(dim * np.finfo(float).eps * np.abs(eigenvalues).max())


def advice(h: Array, damping: float, count: Array | float = 1.0) -> str:
    """Say how many curvatures are not positive, and what to pass, at the end of a sentence.

    Parameters
    ----------
    h : ndarray, shape (d,)
        Damped already.
    damping : float
    count : ndarray, shape (d,), or a number
    """
    bad = h <= 0.0
    counts = np.broadcast_to(count, h.shape)
    number_of_bad = int(bad.sum())
    verb = "is" if number_of_bad == 1 else "are"
    coordinates = f" ({counts[bad].sum():.6g} of {counts.sum():.6g} coordinates)" * bool(
        (counts != 1.0).any()
    )
    return (
        f"the least of {counted(number_of_bad, 'curvature')} of {h.size}{coordinates} that {verb} "
        "negative or zero: pass negative='drop' to leave them out, negative='abs' to take absolute "
        f"values, or damping > {damping - h.min():g}"
    )
