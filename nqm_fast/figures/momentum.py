"""Steps to target against batch size: plain SGD and momentum, four preconditioners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._model import EVERY_OTHER_BATCH_SIZE, POWERS, Sweep, Table, rows_where
from ._style import STEPS_LABEL, batch_size_axes, draw_by_power, draw_lower_bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 5
TITLE = "Momentum saves steps at large batch sizes, preconditioning at all"

LABELS = [("plain", "plain SGD"), ("momentum", "with momentum")]

SWEEP = Sweep(("plain", "momentum"), batch_sizes=EVERY_OTHER_BATCH_SIZE)
jobs = SWEEP.jobs
compute = SWEEP.table


def plot(figure: Figure, table: Table) -> None:
    """Draw preconditioners as colours and optimisers as line styles."""
    axes = batch_size_axes(figure, TITLE, STEPS_LABEL)
    draw_lower_bounds(axes, rows_where(table, optimiser="plain", power=POWERS[0]))
    draw_by_power(axes, table, "steps", LABELS)
