"""Figures of Bokeh, readable in light and in dark, mostly with logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array

COLORS = ("#2B8CC4", "#D9661F", "#119E76", "#C56BA0", "#B08A00")
"""Near those of Okabe and Ito, all at least 3 : 1 from white and from the dark surface."""
DASHES = ("solid", "dashed", "dotted", "dotdash", "dashdot")
"""Lines of their own, for who cannot tell colours apart."""
NEUTRAL = "#808080"
"""Grey for what is beside the curves."""
MARGIN = 0.06
"""Share of an axis beside what is shown on it."""
TOOLS = "pan,wheel_zoom,box_zoom,reset,save"


def new_figure(
    x_label: str, y_label: str, *, title: str = "", x_log: bool = False, y_log: bool = False,
    height: int = 360,
) -> Any:  # fmt: skip
    """Make an empty figure, as wide as there is room; no finger that scrolls drags it."""
    from bokeh.models import PrintfTickFormatter, Range1d
    from bokeh.plotting import figure

    made = figure(
        height=height,
        sizing_mode="stretch_width",
        tools=TOOLS,
        active_drag=None,
        title=title or None,
        x_axis_type="log" if x_log else "linear",
        y_axis_type="log" if y_log else "linear",
        x_range=Range1d(1.0, 10.0),
        y_range=Range1d(1.0, 10.0),
        x_axis_label=x_label,
        y_axis_label=y_label,
        min_border_right=14,
    )
    made.toolbar.logo = None
    made.toolbar.autohide = True
    for axis, is_log in ((made.xaxis, x_log), (made.yaxis, y_log)):
        if not is_log:
            axis.formatter = PrintfTickFormatter(format="%.4g")
    return made


def add_legend(figure: Any, drawn: list[tuple[str, list[Any]]], columns: int = 3) -> list[Any]:
    """Put a legend of names and what they name above the plot, so that it hides nothing.

    Returns its items, whose `label` and `visible` can be changed.
    """
    from bokeh.models import Legend, LegendItem

    items = [LegendItem(label={"value": name}, renderers=renderers) for name, renderers in drawn]
    legend = Legend(
        items=items, orientation="horizontal", ncols=columns, border_line_width=0, padding=2,
        margin=2, click_policy="hide", location="top_left",
    )  # fmt: skip
    figure.add_layout(legend, "above")
    return items


def source(name: str, /, **columns: Any) -> Any:
    """Make a source of data with these columns; it can be found by its name."""
    from bokeh.models import ColumnDataSource

    return ColumnDataSource(data=columns, name=name)


def as_lists(columns: Mapping[str, NDArray[Any]]) -> dict[str, list[float]]:
    """Write short columns as lists: each array is a message of its own, which takes longer."""
    return {name: column.tolist() for name, column in columns.items()}


def set_range(range_: Any, low: float, high: float) -> None:
    """Set the limits of an axis, also what `reset` goes back to."""
    range_.update(start=low, end=high, reset_start=low, reset_end=high)


def show_all_of_log(range_: Any, *values: Array, decades: float = math.inf) -> None:
    """Let a logarithmic axis show all values that are finite and positive, or the upper decades."""
    found = np.concatenate([np.ravel(x) for x in values])
    found = found[np.isfinite(found) & (found > 0.0)]
    if not found.size:
        set_range(range_, 0.1, 1.0)
        return
    high = math.log10(float(found.max()))
    low = max(math.log10(float(found.min())), high - decades)
    margin = MARGIN * (high - low or 1.0)
    set_range(range_, 10 ** (low - margin), 10 ** (high + margin))


def show_decades(figure: Any, values: Array) -> None:
    """Let a logarithmic x axis show all positive values, in whole decades, each with its tick."""
    found = np.log10(values[values > 0])
    low, high = (found.min(), found.max()) if found.size else (0.0, 1.0)
    first, last = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
    set_range(figure.x_range, 10.0**first, 10.0**last)
    figure.xaxis.ticker = [10.0**k for k in range(first, last + 1)]


def drawable(values: Array) -> Array:
    """Leave gaps where a logarithmic axis has no place for a value."""
    values = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(values) & (values > 0.0), values, np.nan)
