"""Parameters of a view (sliders, lists, switches), and their values as the text of a link."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..foundation.messages import InputError, shown
from ..foundation.validation import plain_number

Values = dict[str, Any]
"""Values of a view's parameters by name."""


@dataclass(frozen=True)
class Slider:
    """A number between two others.

    Attributes
    ----------
    name : str
        What it is called in links and in code.
    label : str
        What people read, and hear from a screen reader.
    stops : tuple of float
        The values that the slider has, ascending; a link may have others between them.
    default : float
    """

    name: str
    label: str
    stops: tuple[float, ...]
    default: float

    @property
    def is_whole(self) -> bool:
        """Whether all values are whole numbers."""
        return all(float(stop).is_integer() for stop in self.stops)

    def parsed(self, text: str) -> float:
        """Read a value from a link.

        Raises
        ------
        InputError
            If it is no number, or outside the limits.
        """
        low, high = self.stops[0], self.stops[-1]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (self.is_whole and not value.is_integer()):
            kind = "a whole number" if self.is_whole else "a number"
            raise InputError(
                f"{self.name} must be {kind} from {low:g} to {high:g}, not {shown(text)}"
            )
        return plain_number(value) if self.is_whole else value

    def stops_with(self, value: float) -> list[float]:
        """Return the values of the slider, and one more if that is none of them."""
        return sorted({*self.stops, value})


@dataclass(frozen=True)
class Choice:
    """One of some words, each with what people read."""

    name: str
    label: str
    options: Mapping[str, str]
    default: str

    def parsed(self, text: str) -> str:
        """Read a value from a link.

        Raises
        ------
        InputError
            If it is none of the words.
        """
        if text not in self.options:
            allowed = ", ".join(self.options)
            raise InputError(f"{self.name} must be one of {allowed}, not {shown(text)}")
        return text


@dataclass(frozen=True)
class Switch:
    """Something that is on or off."""

    name: str
    label: str
    default: bool

    def parsed(self, text: str) -> bool:
        """Read a value from a link.

        Raises
        ------
        InputError
            If it is neither "on" nor "off".
        """
        if text not in ("on", "off"):
            raise InputError(f"{self.name} must be on or off, not {shown(text)}")
        return text == "on"


Parameter = Slider | Choice | Switch


def evenly(low: float, high: float, step: float) -> tuple[float, ...]:
    """Return values of a slider at equal distances, without rounding errors in their digits."""
    count = round((high - low) / step)
    return tuple(plain_number(float(f"{low + k * step:.6g}")) for k in range(count + 1))


def decades(low: float, high: float, per_decade: int = 20) -> tuple[float, ...]:
    """Return values of a slider at equal ratios, of three digits."""
    count = round(math.log10(high / low) * per_decade)
    powers = np.geomspace(low, high, count + 1).tolist()
    return tuple(dict.fromkeys(plain_number(float(f"{x:.3g}")) for x in powers))


def powers_of_two(low: int, high: int) -> tuple[float, ...]:
    """Return the powers of two with exponents from `low` to `high`."""
    return tuple(2**k for k in range(low, high + 1))


def defaults(parameters: tuple[Parameter, ...]) -> Values:
    """Return the values of a page that is opened without any."""
    return {one.name: one.default for one in parameters}


def from_link(parameters: tuple[Parameter, ...], query: Mapping[str, str]) -> tuple[Values, str]:
    """Read values from a link; what it does not have, or has wrong, keeps its default.

    Returns
    -------
    values : dict
    complaint : str
        What is wrong with the link, or nothing.
    """
    values, complaints = defaults(parameters), []
    for one in parameters:
        if one.name in query:
            try:
                values[one.name] = one.parsed(query[one.name])
            except InputError as error:
                complaints.append(f"{error}; here it is {as_text(one.default)}")
    return values, ". ".join(complaints)


def to_link(values: Values) -> dict[str, str]:
    """Write values for a link, so that reading it gives the same bits."""
    return {name: as_text(value) for name, value in values.items()}


def as_text(value: Any) -> str:
    """Write a value as a link has it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else repr(value)
