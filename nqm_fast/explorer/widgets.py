"""Widgets for parameters, each with a name that screen readers say, all usable by keyboard."""

from __future__ import annotations

from typing import Any

from .environment import material
from .parameters import Choice, Parameter, Slider


def widget_of(parameter: Parameter, value: Any) -> Any:
    """Make the widget of a parameter; its `value` is that of the parameter."""
    made = material()
    common = {"label": parameter.label, "sizing_mode": "stretch_width", "margin": (2, 10)}
    if isinstance(parameter, Slider):
        stops = {_shown(stop): stop for stop in parameter.stops_with(value)}
        return made.DiscreteSlider(options=stops, value=value, size="small", **common)
    if isinstance(parameter, Choice):
        options = {shown: word for word, shown in parameter.options.items()}
        return made.Select(options=options, value=value, size="small", **common)
    return made.Checkbox(value=value, **common)


def _shown(stop: float) -> str:
    """Write a value of a slider."""
    return f"{stop:,}" if isinstance(stop, int) else f"{stop:g}"
