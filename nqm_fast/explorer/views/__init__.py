"""The views of the explorer, a file for each."""

from __future__ import annotations

from ..view import View
from . import batch_sizes, best_schedule, own_data, paths, risk_curves

VIEWS: tuple[View, ...] = (
    paths.VIEW,
    risk_curves.VIEW,
    batch_sizes.VIEW,
    best_schedule.VIEW,
    own_data.VIEW,
)
"""In the order in which the page names them; the first is shown first."""
