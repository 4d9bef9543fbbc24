"""Spectra: power laws, damping, and what becomes of eigenvalues that are not positive."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..foundation.immutable import frozen
from ..foundation.validation import (
    Array,
    InputError,
    choice,
    counted,
    in_range,
    number,
    plain_number,
    real_array,
)
from .blocks import Block

NEGATIVE = ("error", "drop", "abs")
"""Ways to treat curvatures that are negative or zero."""


@dataclass(frozen=True)
class PowerLaw:
    """Coordinates that follow power laws of their number i = 1 .. dim, of which no array is stored.

    ``h_i = scale i^-exponent + damping``, ``c_i = noise i^-noise_exponent``, and the start has
    ``scale i^-exponent E[w_0^2] = start i^-start_exponent``. Without `noise` or `start` the
    noise is h, and the second moment of the start is 1. A part of a power law has
    i = first + 1 .. first + dim.
    """

    dim: int
    exponent: float
    damping: float = 0.0
    first: int = 0
    scale: float = 1.0
    noise: float | None = None
    noise_exponent: float | None = None
    start: float | None = None
    start_exponent: float | None = None

    def block(self, begin: int, end: int) -> Block:
        """Compute the coordinates begin .. end - 1 (counted from 0)."""
        numbers = np.arange(self.first + begin + 1, self.first + end + 1, dtype=np.float64)
        return self.at(numbers, np.ones(1))

    def at(self, i: Array, count: Array) -> Block:
        """Compute coordinates of the given numbers, which need not be whole, with their counts."""
        h = _power(self.scale, i, self.exponent)
        second_moment = np.ones(1)
        if self.start is not None and self.start_exponent is not None:
            second_moment = _power(self.start / self.scale, i, self.start_exponent - self.exponent)
        h = h + self.damping if self.damping else h
        c = h
        if self.noise is not None and self.noise_exponent is not None:
            c = _power(self.noise, i, self.noise_exponent)
        return Block(h, c, second_moment, count, second_moment)

    def start_block(self, begin: int, end: int) -> tuple[Array, Array]:
        """Compute mean and variance of initial iterates; of shape (1,) where all are alike."""
        variance = np.ones(1) if self.start is None else self.block(begin, end).variance
        return np.zeros(1), variance

    def column(self, name: str) -> Array:
        """Compute a field of all coordinates by its name in a problem, shape (dim,).

        Raises
        ------
        InputError
            If memory has no room for so many coordinates.
        """
        if name in ("h", "c") or (name == "var0" and self.start is not None):
            try:
                whole = self.block(0, self.dim)
            except (MemoryError, ValueError):
                raise InputError(
                    f"dim = {self.dim} is more coordinates than fit into memory as an array"
                ) from None
            values = {"h": whole.h, "c": whole.c, "var0": whole.variance}[name]
        else:
            values = np.array({"mean0": 0.0, "var0": 1.0, "count": 1.0}[name])
        return np.broadcast_to(frozen(values), (self.dim,))

    @property
    def ends(self) -> tuple[Block, Block]:
        """The last coordinate, which has the least curvature, and the first."""
        return self.block(self.dim - 1, self.dim), self.block(0, 1)

    @property
    def curvature_range(self) -> tuple[float, float]:
        """Least and largest curvature."""
        low, high = (float(end.h[0]) for end in self.ends)
        return low, high

    @property
    def has_counts(self) -> bool:
        """Whether an entry stands for more, or less, than one coordinate."""
        return False

    @property
    def facts(self) -> dict[str, str]:
        """Texts that notebooks show of the coordinates, by their headings."""
        low, high = self.curvature_range
        curvatures = f"{low:g} to {high:g}, {_formula(self.scale, self.exponent)}"
        curvatures += f" + {self.damping:g}" if self.damping else ""
        curvatures += f" from i = {self.first + 1} on" if self.first else ""
        facts = {"curvatures h": curvatures, "gradient noise c": "as h"}
        if self.noise is not None and self.noise_exponent is not None:
            facts["gradient noise c"] = _formula(self.noise, self.noise_exponent)
        if self.start is not None and self.start_exponent is not None:
            return facts | {"start: h times variance": _formula(self.start, self.start_exponent)}
        return facts | {"start: mean": "0", "start: variance": "1"}

    @property
    def fields(self) -> dict[str, float]:
        """The arguments that are not as they are by default, by name."""
        defaults = PowerLaw(self.dim, self.exponent)
        differ = {
            x.name for x in fields(self) if getattr(self, x.name) != getattr(defaults, x.name)
        }
        names = [x.name for x in fields(self) if x.name in differ | {"dim", "exponent"}]
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        others = [f", {name}={x:g}" for name, x in self.fields.items() if name not in POSITIONAL]
        return f"{self.dim}, exponent={self.exponent:g}{''.join(others)}"


SHAPE = ("exponent", "noise_exponent", "start_exponent", "scale", "noise", "start")
"""Arguments of a power law beside `dim` and those that other problems have too."""
POSITIONAL = ("dim", "exponent", "first")
"""Fields of a power law that `str` does not write as the others."""


def _formula(scale: float, exponent: float) -> str:
    """Write ``scale i^-exponent``, whatever the sign of the exponent."""
    return f"{'' if scale == 1.0 else f'{scale:g} '}i^{-exponent:g}"


def _power(scale: float, i: Array, exponent: float) -> Array:
    """Compute ``scale i^-exponent``."""
    power: Array = 1.0 / i if exponent == 1.0 else i**-exponent
    return power if scale == 1.0 else scale * power


def checked_law(law: PowerLaw) -> PowerLaw:
    """Check the noise and the start of a power law, and that its coordinates are doubles.

    Raises
    ------
    InputError
        If one is outside its limits, or a coordinate beyond the range of a double.
    """
    checked: dict[str, Any] = {}
    for name in ("noise", "start"):
        size, decay = getattr(law, name), getattr(law, f"{name}_exponent")
        if size is not None or decay is not None:
            size = law.scale if size is None else number(name, size, least=0.0)
            decay = law.exponent if decay is None else number(f"{name}_exponent", decay)
            if (size, decay) == (law.scale, law.exponent) and not (name == "noise" and law.damping):
                size = decay = None  # It is as by default, so that problems are equal.
        checked |= {name: size, f"{name}_exponent": decay}
    law = replace(law, **checked)
    with np.errstate(over="ignore", under="ignore"):
        last, first = law.ends
    if last.h[0] == 0.0:
        raise InputError(f"exponent {law.exponent:g} makes the last of {law.dim} curvatures vanish")
    for block in (first, last):
        for field, name in (("h", "scale"), ("c", "noise"), ("second_moment", "start")):
            if not math.isfinite(getattr(block, field)[0]):
                exponent = "exponent" if name == "scale" else f"{name}_exponent"
                given = (
                    f"{name} = {getattr(law, name):g} and {exponent} = {getattr(law, exponent):g}"
                )
                raise InputError(f"{given} take a coordinate of {law} beyond the range of a double")
    return law


@dataclass(frozen=True)
class Dropped:
    """The curvatures that were left out, or made positive; it is false if there are none.

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
