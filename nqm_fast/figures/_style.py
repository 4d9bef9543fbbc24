"""The look of figures: colours that the colour-blind can tell apart, axes, legends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._model import BATCH_SIZES, TARGET, Table, distinct_values, rows_where

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..problem import Problem

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

PROBLEM = r"power-law problem: $10^4$ coordinates, curvature = noise: $h_i = c_i = 1/i$"
STEPS_LABEL = f"steps to reach excess risk {TARGET:g}"
DASHED: dict[str, Any] = {"linestyle": (0, (4, 2)), "markerfacecolor": "white"}
SOLID: dict[str, Any] = {"linestyle": "-"}


def problem_text(problem: Problem) -> str:
    """Describe a problem in words, within a sentence."""
    count = f"{problem.dim} coordinate{'s' * (problem.dim != 1)}"
    fields = problem.fields
    if "exponent" in fields:
        exponent = fields["exponent"]
        law = "1/i" if exponent == 1 else f"i^{{-{exponent:g}}}" if exponent else "1"
        return f"the power law of {count}, $h_i=c_i={law}$"
    low, high = problem.curvature_range
    return f"a problem of {count} with curvatures from {low:.3g} to {high:.3g}"


def add_caption(figure: Figure, text: str) -> None:
    """Write a caption below the axes, which says what was computed."""
    figure.supxlabel(text, fontsize=8.5, color=GREY)


def batch_size_axes(figure: Figure, title: str, label: str) -> Axes:
    """Make logarithmic axes with batch size, in powers of two, from left to right."""
    axes = figure.subplots()
    axes.set_xscale("log", base=2)
    axes.set_xticks(BATCH_SIZES[::2], [f"$2^{{{b.bit_length() - 1}}}$" for b in BATCH_SIZES[::2]])
    axes.set_xlabel("batch size $B$ (samples per step)")
    axes.set_title(title)
    axes.set_yscale("log")
    axes.set_ylabel(label)
    add_caption(figure, PROBLEM)
    return axes


def draw_lower_bounds(axes: Axes, rows: Table) -> None:
    """Draw the lower bounds on steps, the samples that a target needs over the batch size."""
    line: dict[str, Any] = {"linestyle": "-", "linewidth": 4.5, "color": "#cccccc", "zorder": 1}
    axes.plot(rows["batch_size"], rows["cramer_rao_steps"], **line)
    axes.plot(rows["batch_size"], rows["bayes_steps"], color="black", linewidth=1, zorder=1.5)


BOUND_STYLES: list[tuple[str, dict[str, Any]]] = [
    ("lower bound, Cramér-Rao", {"color": "#cccccc", "linewidth": 4.5}),
    ("lower bound, Bayes", {"color": "black", "linewidth": 1}),
]


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
            axes.plot(rows["batch_size"], rows[column], **{**series, **line})
    colours = [(f"$p = {power:g}$", series) for power, series in zip(powers, SERIES, strict=False)]
    add_legend(axes, colours, where[0], title="preconditioner $H^p$")
    styles = [
        (label, {"color": "black", "marker": "o", **line})
        for (_, label), line in zip(labels, (DASHED, SOLID), strict=True)
    ]
    add_legend(axes, [*styles, *(BOUND_STYLES if column == "steps" else [])], where[1])


def add_legend(
    axes: Axes, entries: Sequence[tuple[str, dict[str, Any]]], where: str, title: str | None = None
) -> None:
    """Add a legend that explains styles rather than single lines."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=label, **style) for label, style in entries]
    placed: Any = {"loc": where, "title": title}
    axes.add_artist(axes.legend(handles=handles, **placed))
