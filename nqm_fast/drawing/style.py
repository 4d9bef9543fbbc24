"""The look of figures: colours that the colour-blind can tell apart, axes, legends."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..output.columns import Table, distinct_values, rows_where
from .study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150

# The colours are those of Okabe and Ito (2008) without yellow, which is too light for lines. Every
# colour has a marker of its own, so that print in grey is readable too.
SERIES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "marker": "o"},
    {"color": "#D55E00", "marker": "s"},
    {"color": "#009E73", "marker": "^"},
    {"color": "#CC79A7", "marker": "D"},
    {"color": "#E69F00", "marker": "v"},
    {"color": "#56B4E9", "marker": "P"},
    {"color": "#882255", "marker": "X"},
    {"color": "#555555", "marker": "*"},
)
GREY = "#777777"

SETTINGS: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.fontsize": 9,
    "legend.handlelength": 3.0,
    "legend.framealpha": 1.0,
    "legend.edgecolor": "#cccccc",
}

DASHED: dict[str, Any] = {"linestyle": (0, (4, 2)), "markerfacecolor": "white"}
SOLID: dict[str, Any] = {"linestyle": "-"}


def add_caption(figure: Figure, text: str) -> None:
    """Write a caption below the axes, which says what was computed."""
    figure.supxlabel(text, fontsize=8.5, color=GREY)


def wrapped(figure: Figure, text: str) -> str:
    """Break a caption into lines as long as a figure is wide."""
    return "\n".join(textwrap.wrap(text, int(CAPTION_WIDTH * figure.get_figwidth() / USUAL_WIDTH)))


def with_gaps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace what is infinite by NaN, which leaves a gap in a curve."""
    return np.where(np.isfinite(values), values, np.nan)


def steps_label(study: Study) -> str:
    """Name an axis of steps to the target."""
    return f"steps to reach excess risk {study.target:g}"


def batch_size_axes(
    figure: Figure, title: str, label: str, study: Study, table: Table, note: str = ""
) -> Axes:
    """Make logarithmic axes with batch size, in powers of two, from left to right.

    `note` is a sentence for the caption, after that on the problem.
    """
    axes = figure.subplots()
    axes.set_xscale("log", base=2)
    sizes = distinct_values(table, "batch_size")
    low, high = math.floor(math.log2(min(sizes))), math.ceil(math.log2(max(sizes)))
    every = max((high - low) // 9, 1)
    ticks = range(low, high + 1, every)
    axes.set_xticks([2.0**k for k in ticks], [f"$2^{{{k}}}$" for k in ticks])
    axes.set_xlabel("batch size $B$ (samples per step)")
    axes.set_title(title)
    axes.set_yscale("log")
    axes.set_ylabel(label)
    never = "" if np.isfinite(table.get("steps", np.zeros(1))).all() else NEVER
    sentences = " ".join(filter(None, [study.caption, note, never]))
    add_caption(figure, wrapped(figure, sentences))
    return axes


NEVER = "Where a curve has a gap, the target is never reached."
CAPTION_WIDTH, USUAL_WIDTH = 105, 7.0
"""Letters in a line of a caption, below a figure of so many inches."""
SAME_BOUND = 1.03
"""Factor up to which two bounds are drawn as one, as a picture shows no difference."""


def drawn_bounds(rows: Table) -> list[tuple[str, str, dict[str, Any]]]:
    """Labels, columns and styles of the lower bounds to draw: one line where they coincide."""
    ratio = rows["bayes_steps"] / rows["cramer_rao_steps"]
    if (ratio < SAME_BOUND).all() and (ratio > 1 / SAME_BOUND).all():
        line = {"color": "black", "linewidth": 1.5, "zorder": 1}
        return [("lower bounds (Cramér-Rao, Bayes)", "bayes_steps", line)]
    grey = {"color": "#999999", "linewidth": 2.5, "zorder": 1}
    black = {"color": "black", "linewidth": 1, "zorder": 1.5}
    return [
        ("Cramér-Rao bound (unbiased)", "cramer_rao_steps", grey),
        ("lower bound (Bayes)", "bayes_steps", black),
    ]


def draw_lower_bounds(axes: Axes, rows: Table) -> None:
    """Draw the lower bounds on steps, the samples that a target needs over the batch size."""
    for _, column, line in drawn_bounds(rows):
        axes.plot(rows["batch_size"], rows[column], **line)


def _size_text(size: float) -> str:
    """Write a batch size, as a power of two if it is one and large."""
    exponent = math.log2(size)
    return f"2^{{{exponent:.0f}}}" if exponent.is_integer() and size >= 1000 else f"{size:g}"


def saving_note(table: Table, optimiser: str, name: str) -> str:
    """Say how many steps an optimiser saves at the smallest and the largest batch size.

    It is a sentence for the caption, on all preconditioners.
    """
    plain, other = (rows_where(table, optimiser=x) for x in ("plain", optimiser))
    with np.errstate(invalid="ignore", divide="ignore"):
        saved = 100.0 * (1.0 - other["steps"] / plain["steps"])
    parts = []
    for size in (table["batch_size"].min(), table["batch_size"].max()):
        here = saved[(plain["batch_size"] == size) & np.isfinite(saved)]
        if here.size:
            low, high = np.round(here.min()), np.round(here.max())
            span = f"{low:.0f} %" if low == high else f"{low:.0f} to {high:.0f} %"
            parts.append(f"{span} of the steps at $B={_size_text(float(size))}$")
    return f"{name} saves {', and '.join(dict.fromkeys(parts))}." if parts else ""


def draw_by_power(
    axes: Axes,
    table: Table,
    column: str,
    labels: Sequence[tuple[str, str]],
    where: tuple[str, str] = ("upper right", "lower left"),
) -> None:
    """Draw a column against batch size: colours are powers p, line styles optimisers.

    Parameters
    ----------
    labels : sequence of (optimiser, label)
        Two of them.
    where : pair of str
        Places of the legends of colours and line styles.
    """
    powers = distinct_values(table, "power")
    for (optimiser, _), line in zip(labels, (DASHED, SOLID), strict=True):
        for power, series in zip(powers, SERIES, strict=False):
            rows = rows_where(table, optimiser=optimiser, power=power)
            axes.plot(rows["batch_size"], with_gaps(rows[column]), **{**series, **line})
    colours = [(f"$p = {power:g}$", series) for power, series in zip(powers, SERIES, strict=False)]
    add_legend(axes, colours, where[0], title="preconditioner $H^p$")
    styles = [
        (label, {"color": "black", "marker": "o", **line})
        for (_, label), line in zip(labels, (DASHED, SOLID), strict=True)
    ]
    bounds = [(label, line) for label, _, line in drawn_bounds(table)]
    add_legend(axes, [*styles, *(bounds if column == "steps" else [])], where[1])


def add_legend(
    axes: Axes, entries: Sequence[tuple[str, dict[str, Any]]], where: str, title: str | None = None
) -> None:
    """Add a legend that explains styles rather than single lines."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=label, **style) for label, style in entries]
    placed: Any = {"loc": where, "title": title}
    axes.add_artist(axes.legend(handles=handles, **placed))
