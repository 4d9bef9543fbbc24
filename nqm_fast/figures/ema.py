"""Steps to target against batch size, with and without averaging of the iterates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._model import EVERY_OTHER, POWERS, Sweep, Table, select
from ._style import STEPS_LABEL, batch_axes, compare, lower_bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 7
TITLE = "Averaging the iterates saves steps at small batch sizes"

SWEEP = Sweep(("plain", "ema"), batch_sizes=EVERY_OTHER)
jobs = SWEEP.jobs
compute = SWEEP.table


def plot(figure: Figure, table: Table) -> None:
    """Colours are preconditioners, line styles optimisers."""
    axes = batch_axes(figure, TITLE, STEPS_LABEL)
    lower_bounds(axes, select(table, optimiser="plain", power=POWERS[0]))
    compare(axes, table, "steps", [("plain", "plain SGD"), ("ema", "with EMA")])
