"""Effective learning rate lr / (1 - momentum) against batch size, plain and momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._jobs import Solved
from ._model import Table
from ._style import batch_axes, compare
from .momentum import LABELS, SWEEP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 6
TITLE = "Momentum lifts the limit on the effective learning rate"

jobs = SWEEP.jobs


def compute(solved: Solved) -> Table:
    """Add the effective learning rate."""
    table = SWEEP.table(solved)
    return table | {"effective_lr": table["lr"] / (1.0 - table["momentum"])}


def plot(figure: Figure, table: Table) -> None:
    """Colours are preconditioners, line styles optimisers."""
    axes = batch_axes(figure, TITLE, r"effective learning rate $\eta / (1 - \beta)$")
    compare(axes, table, "effective_lr", LABELS, ("upper left", "lower right"))
