"""The recorder of a run: what it is told, and the one that writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array
from .result import Run

SavedArrays = dict[str, NDArray[Any]]
"""The state of a run, from which it can be resumed, as arrays by name."""


class KernelSeconds(NamedTuple):
    """Seconds that a run has spent in kernels, including those before it was resumed."""

    compile: float
    compute: float


class RunProgress(NamedTuple):
    """How far a run has come, as its recorder is told at every event."""

    records: int  # how many are complete
    values: Array  # (records, settings, replicas, rows), all records of the run
    diverged_at: NDArray[np.int64]  # (settings, replicas): first step of divergence, or -1
    coordinate_steps: int
    kernel_seconds: KernelSeconds
    state: Callable[[], SavedArrays] | None  # reads the state; None if it is not needed


class Recorder:
    """Is told of the events of a run, and may write them down; this one does not."""

    write_seconds = 0.0  # including those before the run was resumed
    earlier_kernel_seconds = KernelSeconds(0.0, 0.0)  # before the run was resumed

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether the next event will be asked for the state of the run."""
        return False

    def take_saved_state(self) -> SavedArrays | None:
        """Hand out the state that the run resumes from, if there is one, and forget it."""
        return None

    def event(self, progress: RunProgress) -> None:
        """Take note that a kernel has returned."""

    def flush(self) -> None:
        """Finish the writing of all events so far."""

    def stop(self, progress: RunProgress) -> None:
        """Save the state, as the run stops before its end."""

    def finish(self, run: Run) -> Run:
        """Return the run, which has ended or was stopped, as its caller shall see it."""
        return run
