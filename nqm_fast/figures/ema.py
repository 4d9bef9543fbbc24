"""Steps to target against batch size, with and without averaging of the iterates."""

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

ORDER = 7
TITLE = "Averaging the iterates saves most at small batch sizes"
SUBJECT = "Steps to target: with and without averaging of the iterates"
PAPER = "section 3.4: exponential moving averages"

SWEEP = Sweep(("plain", "ema"), batch_sizes=EVERY_OTHER_BATCH_SIZE)
jobs = SWEEP.jobs
compute = SWEEP.table


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw preconditioners as colours and optimisers as line styles."""
    note = saving_note(table, "ema", "Averaging")
    axes = batch_size_axes(
        figure, study.title(TITLE, SUBJECT), steps_label(study), study, table, note
    )
    draw_lower_bounds(axes, rows_where(table, optimiser="plain", power=POWERS[0]))
    draw_by_power(axes, table, "steps", [("plain", "plain SGD"), ("ema", "with EMA")])
