"""The files of a figure, a PNG and a CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ._style import DPI, SETTINGS
from ._ticks import label_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ._model import Table


def write_csv(path: Path, table: Table) -> None:
    """Write column names and rows; floats have all their digits, and NaN is an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        rows = zip(*(column.tolist() for column in table.values()), strict=True)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    """Leave out a value that is NaN."""
    return "" if isinstance(value, float) and math.isnan(value) else value


def write_png(path: Path, plot: Callable[[Figure, Table], None], table: Table) -> None:
    """Draw a table without pyplot, so that the caller's Matplotlib keeps its state."""
    import matplotlib

    figure = new_figure(plot, table)
    with matplotlib.rc_context(cast(Any, SETTINGS)):
        figure.savefig(path)


def new_figure(plot: Callable[[Figure, Table], None], table: Table) -> Figure:
    """Draw a table into a new figure, without pyplot; notebooks show it."""
    import matplotlib
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A figure that notebooks show without pyplot."""

        def _repr_png_(self) -> bytes:
            content = io.BytesIO()
            self.savefig(content, format="png")
            return content.getvalue()

    with matplotlib.rc_context(cast(Any, SETTINGS)):
        figure = Shown(figsize=(7, 5), dpi=DPI, layout="constrained")
        plot(figure, table)
        label_ticks(figure)
    return figure
