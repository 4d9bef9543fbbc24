"""Steps to target against batch size: plain SGD and momentum, four preconditioners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._model import EVERY_OTHER, POWERS, Sweep, Table, select
from ._style import STEPS_LABEL, batch_axes, compare, lower_bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 5
TITLE = "Momentum saves steps at large batch sizes, preconditioning at all"

LABELS = [("plain", "plain SGD"), ("momentum", "with momentum")]

SWEEP = Sweep(("plain", "momentum"), batch_sizes=EVERY_OTHER)
jobs = SWEEP.jobs
compute = SWEEP.table


def plot(figure: Figure, table: Table) -> None:
    """Colours are preconditioners, line styles optimisers."""
    axes = batch_axes(figure, TITLE, STEPS_LABEL)
    lower_bounds(axes, select(table, optimiser="plain", power=POWERS[0]))
    compare(axes, table, "steps", LABELS)
