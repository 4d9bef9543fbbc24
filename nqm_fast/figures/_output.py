"""Files of a figure: a PNG and a CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._style import DPI, SETTINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ._model import Table


def write_csv(path: Path, table: Table) -> None:
    """Column names, then rows; floats with all their digits, nothing where there is no value."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        rows = zip(*(column.tolist() for column in table.values()), strict=True)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


def write_png(path: Path, plot: Callable[[Figure, Table], None], table: Table) -> None:
    """Draw without pyplot, so that nothing of the caller's Matplotlib is touched."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = SETTINGS
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(7, 5), dpi=DPI, layout="constrained")
        plot(figure, table)
        for axes in figure.axes:
            axes.minorticks_off()  # a third of the time, and no help over seven decades
        figure.savefig(path)
