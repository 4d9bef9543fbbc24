"""Steps to target against batch size, with and without averaging of the iterates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._model import EVERY_OTHER_BATCH_SIZE, POWERS, Sweep, Table, rows_where
from ._style import STEPS_LABEL, batch_size_axes, draw_by_power, draw_lower_bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 7
TITLE = "Averaging the iterates saves steps at small batch sizes"

SWEEP = Sweep(("plain", "ema"), batch_sizes=EVERY_OTHER_BATCH_SIZE)
jobs = SWEEP.jobs
compute = SWEEP.table


def plot(figure: Figure, table: Table) -> None:
    """Draw preconditioners as colours and optimisers as line styles."""
    axes = batch_size_axes(figure, TITLE, STEPS_LABEL)
    draw_lower_bounds(axes, rows_where(table, optimiser="plain", power=POWERS[0]))
    draw_by_power(axes, table, "steps", [("plain", "plain SGD"), ("ema", "with EMA")])
