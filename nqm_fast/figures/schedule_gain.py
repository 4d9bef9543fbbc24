"""Steps to target against batch size, with a constant learning rate and with a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._jobs import Solved
from ._model import EVERY_OTHER, PIECES, POWERS, SCHEDULE, Sweep, Table, select
from ._style import STEPS_LABEL, batch_axes, compare, lower_bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 8
TITLE = "A learning rate schedule saves steps at small batch sizes"

SWEEP = Sweep(("plain", SCHEDULE), batch_sizes=EVERY_OTHER)
jobs = SWEEP.jobs


def compute(solved: Solved) -> Table:
    """Tabulate steps and bounds."""
    table = SWEEP.table(solved)
    constants = ("lr", "momentum", "ema")
    return {name: column for name, column in table.items() if name not in constants}


def plot(figure: Figure, table: Table) -> None:
    """Colours are preconditioners, line styles kinds of learning rate."""
    axes = batch_axes(figure, TITLE, STEPS_LABEL)
    lower_bounds(axes, select(table, optimiser="plain", power=POWERS[0]))
    labels = [("plain", "constant learning rate"), (SCHEDULE, f"schedule of {PIECES} pieces")]
    compare(axes, table, "steps", labels)
