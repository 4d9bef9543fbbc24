"""Effective learning rate lr / (1 - momentum) against batch size, plain and momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..drawing.study import Study
from ..drawing.style import batch_size_axes, draw_by_power
from ..machine.jobs import Solved
from ..output.columns import Table
from .momentum import LABELS, SWEEP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 6
TITLE = "Momentum lifts the limit on the effective learning rate"
SUBJECT = "Effective learning rate: plain SGD and momentum"
PAPER = "section 3.2: the effective learning rate of momentum"

jobs = SWEEP.jobs


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate the sweep with the effective learning rate as another column."""
    table = SWEEP.table(study, solved)
    return table | {"effective_lr": table["lr"] / (1.0 - table["momentum"])}


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw preconditioners as colours and optimisers as line styles."""
    axes = batch_size_axes(
        figure,
        study.title(TITLE, SUBJECT),
        r"effective learning rate $\eta / (1 - \beta)$",
        study,
        table,
    )
    draw_by_power(axes, table, "effective_lr", LABELS, ("upper left", "lower right"))
