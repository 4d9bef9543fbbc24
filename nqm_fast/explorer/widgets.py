"""Widgets for parameters, each with a name that screen readers say, all usable by keyboard."""

from __future__ import annotations

from typing import Any

from .environment import material
from .parameters import Choice, Parameter, Slider

NO_WAIT_MS = 1
"""Panel gathers changes of a widget for 50 ms, unless it is told otherwise; pages gather them."""

AT_ONCE = {"& .MuiSlider-thumb, & .MuiSlider-track": {"transition": "none"}}
"""Sliders glide to their places otherwise, for which the browser draws frames beside the answer."""


def widget_of(parameter: Parameter, value: Any) -> Any:
    """Make the widget of a parameter; its `value` is that of the parameter."""
    widget = _widget_of(parameter, value)
    widget._debounce = NO_WAIT_MS
    return widget


def _widget_of(parameter: Parameter, value: Any) -> Any:
    """Make the widget as the library has it."""
    made = material()
    common = {"label": parameter.label, "sizing_mode": "stretch_width", "margin": (2, 10)}
    if isinstance(parameter, Slider):
        stops = {_shown(stop): stop for stop in parameter.stops_with(value)}
        return made.DiscreteSlider(options=stops, value=value, size="small", sx=AT_ONCE, **common)
    if isinstance(parameter, Choice):
        options = {shown: word for word, shown in parameter.options.items()}
        return made.Select(options=options, value=value, size="small", **common)
    return made.Checkbox(value=value, **common)


def _shown(stop: float) -> str:
    """Write a value of a slider, so that no two have the same text."""
    if isinstance(stop, int):
        return f"{stop:,}"
    short = f"{stop:g}"
    return short if float(short) == stop else repr(stop)
