"""The look of a run's settings: colours and line styles, and what explains them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..labels import BATCH_SIZE, Setting, differing, parameters, setting_labels, short_name
from .style import SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_INSIDE = 8
"""Entries of a legend inside the axes; one of more entries is beside them."""
MOST_BESIDE = 40
"""Entries of a legend beside the axes; others are counted in its last line."""
COLUMN = 20
"""Entries in a column of a legend beside the axes."""
DASHES: tuple[Any, ...] = ("-", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1)))
"""Line styles that tell apart settings of one colour on a scale."""
SYMBOLS = {BATCH_SIZE: "batch size $B$", "lr": r"learning rate", "momentum": "momentum"}


class Scale(NamedTuple):
    """A colour scale over a parameter that varies."""

    name: str
    values: list[float]

    def norm(self) -> Any:
        """The scale of the values, logarithmic where they go over a decade."""
        from matplotlib.colors import LogNorm, Normalize

        low, high = min(self.values), max(self.values)
        return (LogNorm if low > 0 and high >= 10 * low else Normalize)(low, high)

    def color(self, value: float) -> Any:
        """The colour of a value."""
        return shades()(self.norm()(value))

    def explain(self, figure: Figure, axes: Any) -> None:
        """Add the colour bar beside the axes."""
        from matplotlib.cm import ScalarMappable

        label = SYMBOLS.get(self.name, self.name)
        figure.colorbar(ScalarMappable(self.norm(), shades()), ax=axes, label=label)


def shades() -> Any:
    """The colours of scales, without those too light for lines."""
    import matplotlib
    import numpy as np
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, 256)))


class Look(NamedTuple):
    """Colours and line styles of settings, their labels, and a scale if there are many."""

    labels: list[str]
    colors: list[Any]
    dashes: list[Any]
    scale: Scale | None
    dash_labels: list[tuple[str, Any]]  # what line styles mean, beside the scale

    def explain(self, figure: Figure, axes: Axes, others: Sequence[Any]) -> None:
        """Add a legend, or a colour scale, and the entries `others`."""
        from matplotlib.lines import Line2D

        if self.scale is not None:
            self.scale.explain(figure, axes)
            entries = [
                Line2D([], [], color="#444444", linestyle=dash, linewidth=2.5, label=label)
                for label, dash in self.dash_labels
            ]
            axes.legend(handles=[*entries, *others])
            return
        entries = [
            Line2D([], [], color=color, linestyle=dash, linewidth=2.5, alpha=0.8, label=label)
            for label, color, dash in zip(self.labels, self.colors, self.dashes, strict=True)
        ]
        if len(entries) + len(others) <= MOST_INSIDE:
            axes.legend(handles=[*entries, *others])
            return
        if len(entries) > MOST_BESIDE:
            hidden = len(entries) - MOST_BESIDE + 1
            rest = Line2D([], [], linestyle="none", label=f"and {hidden} more")
            entries = [*entries[: MOST_BESIDE - 1], rest]
        columns = 1 + len(entries) // (COLUMN + 1)
        widen(figure, 2.2 * columns)
        figure.legend(handles=[*entries, *others], loc="outside right upper", ncols=columns)


def widen(figure: Figure, inches: float) -> None:
    """Make room beside the axes."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + inches, height)


def look_of(settings: Sequence[Setting]) -> Look:
    """Choose the look of settings: colours of their own, or a scale where they are many."""
    labels, count = setting_labels(settings), len(settings)
    if count < MOST_INSIDE:  # One entry more is for the exact expectation.
        colors = [SERIES[g]["color"] for g in range(count)]
        return Look(labels, colors, ["-"] * count, None, [])
    scale, others = _scale(settings)
    tables = [parameters(setting) for setting in settings]
    texts = [", ".join(f"{n} = {short_name(t.get(n), 6)}" for n in others) for t in tables]
    different = list(dict.fromkeys(texts))
    if scale is not None and len(different) <= len(DASHES):
        colors = [scale.color(value) for value in scale.values]
        dashes = [DASHES[different.index(text)] for text in texts]
        meanings = list(zip(different, DASHES, strict=False)) if others else []
        return Look(labels, colors, dashes, scale, meanings)
    colors = [shades()(g / (count - 1)) for g in range(count)]
    dashes = [DASHES[g % len(DASHES)] for g in range(count)]
    return Look(labels, colors, dashes, None, [])


def _scale(settings: Sequence[Setting]) -> tuple[Scale | None, list[str]]:
    """A scale over the number with the most values, and the names of what else varies."""
    varying = differing(settings)
    tables = [parameters(setting) for setting in settings]
    numeric = [n for n in varying if all(isinstance(t.get(n), float) for t in tables)]
    if not numeric:
        return None, varying
    name = max(numeric, key=lambda n: len({t[n] for t in tables}))
    return Scale(name, [t[name] for t in tables]), [n for n in varying if n != name]
