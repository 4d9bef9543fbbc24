"""Steps to target against batch size, with a constant learning rate and with a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._jobs import Solved
from ._model import EVERY_OTHER_BATCH_SIZE, PIECES, POWERS, SCHEDULE, Sweep, Table, rows_where
from ._style import STEPS_LABEL, batch_size_axes, draw_by_power, draw_lower_bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 8
TITLE = "A learning rate schedule saves steps at small batch sizes"

SWEEP = Sweep(("plain", SCHEDULE), batch_sizes=EVERY_OTHER_BATCH_SIZE)
jobs = SWEEP.jobs


def compute(solved: Solved) -> Table:
    """Tabulate steps and bounds; a schedule has no constant hyper-parameters to show."""
    table = SWEEP.table(solved)
    hyper_parameters = ("lr", "momentum", "ema")
    return {name: column for name, column in table.items() if name not in hyper_parameters}


def plot(figure: Figure, table: Table) -> None:
    """Draw preconditioners as colours and kinds of learning rate as line styles."""
    axes = batch_size_axes(figure, TITLE, STEPS_LABEL)
    draw_lower_bounds(axes, rows_where(table, optimiser="plain", power=POWERS[0]))
    labels = [("plain", "constant learning rate"), (SCHEDULE, f"schedule of {PIECES} pieces")]
    draw_by_power(axes, table, "steps", labels)
