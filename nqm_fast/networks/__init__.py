"""Real networks, trained at every batch size: the lecture's experimental comparisons.

`study` tunes SGD, momentum, Adam and K-FAC, each with and without a moving average of the weights,
at every batch size, and counts the steps to a task's target. The results of a full run are shipped
(`shipped`), so that figures need no JAX. All else does: ``pip install 'nqm-fast[networks]'``.
"""

from __future__ import annotations

from .measure import measure
from .objective import softmax_loss, squared_loss
from .study import study
from .table import Results, shipped, shipped_curves, shipped_origin
from .tasks import Task
from .tasks import names as task_names

__all__ = [
    "Results",
    "Task",
    "measure",
    "shipped",
    "shipped_curves",
    "shipped_origin",
    "softmax_loss",
    "squared_loss",
    "study",
    "task_names",
]


def __dir__() -> list[str]:
    """List the public names, which completion offers."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
