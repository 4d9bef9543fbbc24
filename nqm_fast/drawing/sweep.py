"""The figure of a sweep: a result along the axis that varies, a curve for each of the others."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..foundation.validation import Array, InputError, counted
from .environment import check_matplotlib
from .looks import shades
from .style import add_caption

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CURVES = 24
"""Curves that can be told apart, if hardly."""
MOST_NAMED = 12
"""Curves that a legend names."""
TITLE_WIDTH = 80
"""Letters in a line of the title."""
LOG_RATIO = 20.0
"""Positive values are drawn on a log scale if the largest is so many times the smallest."""
RANDOM = ("replica", "seed")
"""Dimensions over which means are drawn, where another varies."""
INNER = ("step", "replica", "band", "piece")
"""Dimensions of results, which are no axes of a grid."""


class Curve(NamedTuple):
    """A result along the axis, and how much it differs between replicas."""

    name: str
    x: Array
    y: Array
    spread: Array | None


class Chart(NamedTuple):
    """The curves of a sweep, and what their axes are."""

    x: str
    y: str
    curves: list[Curve]
    title: str
    missing: int
    """Points that have no finite result, and so cannot be drawn."""


def draw(data: Any, path: Path) -> Path:
    """Draw a sweep.

    Raises
    ------
    InputError
        If no numbers vary in it, `path` is no picture, or Matplotlib is not installed.
    """
    from .output import check_picture, write_png

    check_matplotlib()
    drawn = chart(data)
    check_picture(path, "--out")
    write_png(path, lambda figure, _: plot(figure, drawn), {})
    return path


def chart(data: Any) -> Chart:
    """Choose what is drawn: steps if there are some, else the risk, at the last step.

    The horizontal axis is the one along which most numbers vary.

    Raises
    ------
    InputError
        If there is none.
    """
    result = "steps" if "steps" in data else "risk"
    values, spread = _final(data[result])
    columns = _columns(data, values)
    varying = {name: x for name, x in columns.items() if len(set(x.tolist())) > 1}
    numeric = [name for name, x in varying.items() if x.dtype.kind in "iuf"]
    if not numeric:
        raise InputError("the sweep has no axis along which numbers vary, which could be drawn")
    along = max(numeric, key=lambda name: len(set(varying[name].tolist())))
    others = [name for name in varying if name != along]
    flat = values.values.ravel()
    flat_spread = None if spread is None else spread.values.ravel()
    groups: dict[tuple[Any, ...], list[int]] = {}
    for k in range(flat.size):
        groups.setdefault(tuple(varying[name][k] for name in others), []).append(k)
    curves = []
    for key, points in list(groups.items())[:MOST_CURVES]:
        ordered = sorted(points, key=lambda k: varying[along][k])
        name = ", ".join(f"{other} = {_short(x)}" for other, x in zip(others, key, strict=True))
        x = np.array([varying[along][k] for k in ordered], dtype=float)
        own = None if flat_spread is None else flat_spread[ordered]
        curves.append(Curve(name, x, flat[ordered].astype(float), own))
    where = f" at step {int(data['step'][-1])}" if "step" in data[result].dims else ""
    title = "steps to the target" if result == "steps" else f"risk{where}"
    missing = int(sum((~np.isfinite(curve.y)).sum() for curve in curves))
    about = data.attrs.get("arguments", "")
    return Chart(along.replace("_", " "), title, curves, about, missing)


def _final(values: Any) -> tuple[Any, Any]:
    """Return a result at the last step: its mean over what is random, and the deviation."""
    last = values.isel(step=-1) if "step" in values.dims else values
    drawn = [dim for dim in last.dims if last.sizes[dim] > 1 and dim not in RANDOM]
    chance = [dim for dim in last.dims if dim == "replica" or (dim in RANDOM and drawn)]
    if not chance:
        return last, None
    several = math.prod(last.sizes[dim] for dim in chance) > 1
    return last.mean(chance), last.std(chance, ddof=1) if several else None


def _columns(data: Any, values: Any) -> dict[str, Any]:
    """Return the values of each name of the grid at all points."""
    sizes = dict(values.sizes)
    return {
        str(name): x.variable.set_dims(sizes).transpose(*sizes).values.ravel()
        for name, x in data.coords.items()
        if name not in INNER and set(x.dims) <= set(sizes)
    }


def _short(value: Any) -> str:
    """Write a value of an axis."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plot(figure: Figure, drawn: Chart) -> None:
    """Draw the curves into an empty figure."""
    axes = figure.subplots()
    colors = shades()(np.linspace(0.0, 0.9, len(drawn.curves)))
    for curve, color in zip(drawn.curves, colors, strict=True):
        y = np.where(np.isfinite(curve.y), curve.y, np.nan)
        axes.plot(curve.x, y, "o-", markersize=3, color=color, label=curve.name or None)
        if curve.spread is not None:
            low, high = y - curve.spread, y + curve.spread
            axes.fill_between(curve.x, low, high, color=color, alpha=0.2, linewidth=0)
    if _is_wide([curve.x for curve in drawn.curves]):
        axes.set_xscale("log")
    if _is_wide([curve.y for curve in drawn.curves]):
        axes.set_yscale("log")
    axes.set_title("\n".join(textwrap.wrap(drawn.title, TITLE_WIDTH)), fontsize="medium")
    if drawn.missing:
        what = "diverged, failed, or never reach the target"
        add_caption(figure, f"{counted(drawn.missing, 'point')} not drawn: {what}.")
    axes.set_xlabel(drawn.x)
    axes.set_ylabel(drawn.y)
    if 1 < len(drawn.curves) <= MOST_NAMED:
        axes.legend()


def _is_wide(values: Sequence[Array]) -> bool:
    """Whether positive values need a log scale."""
    together = np.concatenate(values)
    together = together[np.isfinite(together)]
    return bool(
        together.size and together.min() > 0 and together.max() > LOG_RATIO * together.min()
    )
