"""Ticks of logarithmic axes in one notation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

PLAIN = 1e-3, 1e4
"""Between these all ticks of a picture are plain numbers, else all are powers of ten."""
FEW_DECADES = 100.0
"""Largest over smallest value up to which 2 and 5 are ticks as well as 1."""
NARROW = 5.0
"""Largest over smallest value up to which ticks are evenly spaced."""


def label_ticks(figure: Figure) -> None:
    """Label the logarithmic axes of a picture in one notation, but for those with own labels."""
    from matplotlib.ticker import FixedLocator

    found = []
    for axes in figure.axes:
        axes.minorticks_off()
        found += [
            axis
            for axis in (axes.xaxis, axes.yaxis)
            if axis.get_scale() == "log" and not isinstance(axis.get_major_locator(), FixedLocator)
        ]
    for axis in found:
        place_ticks(axis)
    plain = all(is_plain(axis) for axis in found)
    for axis in found:
        axis.set_major_formatter(lambda x, _: f"{x:g}" if plain else power_of_ten(x))


def place_ticks(axis: Axis) -> None:
    """Place ticks on a logarithmic axis by its range."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    low, high = sorted(axis.get_view_interval())
    locator: Any = LogLocator()
    if high <= NARROW * low:
        locator = MaxNLocator(6, steps=[1, 2, 5, 10])
    elif high <= FEW_DECADES * low:
        locator = LogLocator(subs=(1.0, 2.0, 5.0))
    axis.set_major_locator(locator)


def is_plain(axis: Axis) -> bool:
    """Whether all ticks of an axis that are seen can be plain numbers."""
    low, high = sorted(axis.get_view_interval())
    seen = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
    return not seen or (min(seen) >= PLAIN[0] and max(seen) <= PLAIN[1])


def power_of_ten(value: float) -> str:
    """Write a number as a power of ten, or a multiple of one, in mathematical type."""
    if value <= 0:
        return f"{value:g}"
    digits, _, exponent = f"{value:.3e}".partition("e")
    factor = f"{float(digits):g}"
    times = "" if factor == "1" else rf"{factor}\times "
    return f"${times}10^{{{int(exponent)}}}$"
