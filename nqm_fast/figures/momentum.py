"""Steps to target against batch size: plain SGD and momentum, four preconditioners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..drawing.study import EVERY_OTHER_BATCH_SIZE, POWERS, Study, Sweep
from ..drawing.style import (
    batch_size_axes,
    draw_by_power,
    draw_lower_bounds,
    saving_note,
    steps_label,
)
from ..output.columns import Table, rows_where

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 5
TITLE = "Momentum saves most at large batch sizes, preconditioning at all"
SUBJECT = "Steps to target: plain SGD and momentum"
PAPER = "figure 5: momentum and preconditioning, with the lower bound"

LABELS = [("plain", "plain SGD"), ("momentum", "with momentum")]

SWEEP = Sweep(("plain", "momentum"), batch_sizes=EVERY_OTHER_BATCH_SIZE)
jobs = SWEEP.jobs
compute = SWEEP.table


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw preconditioners as colours and optimisers as line styles."""
    note = saving_note(table, "momentum", "Momentum")
    axes = batch_size_axes(
        figure, study.title(TITLE, SUBJECT), steps_label(study), study, table, note
    )
    draw_lower_bounds(axes, rows_where(table, optimiser="plain", power=POWERS[0]))
    draw_by_power(axes, table, "steps", LABELS)
