"""Steps to target against batch size, with a constant learning rate and with a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..drawing.study import EVERY_OTHER_BATCH_SIZE, PIECES, POWERS, SCHEDULE, Study, Sweep
from ..drawing.style import (
    batch_size_axes,
    draw_by_power,
    draw_lower_bounds,
    saving_note,
    steps_label,
)
from ..machine.jobs import Solved
from ..output.columns import Table, rows_where

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 8
TITLE = "A learning rate schedule saves most at small batch sizes"
SUBJECT = "Steps to target: constant learning rate and schedule"
PAPER = "figure 4: steps with a piecewise constant schedule"

SWEEP = Sweep(("plain", SCHEDULE), batch_sizes=EVERY_OTHER_BATCH_SIZE)
jobs = SWEEP.jobs


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate steps and bounds; a schedule has no constant hyper-parameters to show."""
    table = SWEEP.table(study, solved)
    hyper_parameters = ("lr", "momentum", "ema")
    return {name: column for name, column in table.items() if name not in hyper_parameters}


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw preconditioners as colours and kinds of learning rate as line styles."""
    note = saving_note(table, SCHEDULE, "A schedule")
    axes = batch_size_axes(
        figure, study.title(TITLE, SUBJECT), steps_label(study), study, table, note
    )
    draw_lower_bounds(axes, rows_where(table, optimiser="plain", power=POWERS[0]))
    labels = [("plain", "constant learning rate"), (SCHEDULE, f"schedule of {PIECES} pieces")]
    draw_by_power(axes, table, "steps", labels)
