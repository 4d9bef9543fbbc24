"""Real networks, trained at every batch size: the lecture's experimental comparisons.

`study` tunes SGD, momentum, Adam and K-FAC, each with and without a moving average of the weights,
at every batch size, and counts the steps to a task's target. The results of a full run are shipped
(`shipped`), so that figures need no JAX. All else does: ``pip install 'nqm-fast[networks]'``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .jax_measurement import measure
    from .objective import softmax_loss, squared_loss
    from .sharpness import largest_curvatures
    from .studies import study
    from .study_runs import peak_sharpness, training_runs
    from .table import Results, shipped, shipped_curves, shipped_origin, shipped_sharpness
    from .tasks import Task
    from .tasks import names as task_names

__all__ = [
    "Results",
    "Task",
    "largest_curvatures",
    "measure",
    "peak_sharpness",
    "shipped",
    "shipped_curves",
    "shipped_origin",
    "shipped_sharpness",
    "softmax_loss",
    "squared_loss",
    "study",
    "task_names",
    "training_runs",
]

PLACES = {
    "Results": "table",
    "Task": "tasks",
    "largest_curvatures": "sharpness",
    "measure": "jax_measurement",
    "peak_sharpness": "study_runs",
    "shipped": "table",
    "shipped_curves": "table",
    "shipped_origin": "table",
    "shipped_sharpness": "table",
    "softmax_loss": "objective",
    "squared_loss": "objective",
    "study": "studies",
    "task_names": "tasks",
    "training_runs": "study_runs",
}
"""Modules by the public names that they define."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, as most who import this package use none."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{PLACES[name]}")
    return getattr(module, "names" if name == "task_names" else name)


def __dir__() -> list[str]:
    """List the public names, which completion offers."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
