"""What a recorder is told of a run, and the recorder that writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..validation import Array
from .result import Run

SavedArrays = dict[str, NDArray[Any]]
"""What it takes to go on with a run, by name."""


class RunProgress(NamedTuple):
    """Where a run is, for whoever writes it down."""

    records: int  # how many are complete
    values: Array  # of all records, as in `loops.Outcome`
    diverged_at: NDArray[np.int64]
    coordinate_steps: int
    spent: tuple[float, float]  # seconds compiling and computing
    state: (
        Callable[[], SavedArrays] | None
    )  # what it takes to go on from here; None if it is not due


class Recorder:
    """Is told of events and may write; this one does not."""

    seconds = 0.0  # spent writing
    spent = (0.0, 0.0)  # compiling and computing, before a run was gone on with

    @property
    def is_due(self) -> bool:
        """Whether it asks for the state next."""
        return False

    def taken(self) -> SavedArrays | None:
        """What a run is to go on from, once."""
        return None

    def event(self, progress: RunProgress) -> None:
        """A kernel returned."""

    def settle(self) -> None:
        """Be done with what was told."""

    def stop(self, progress: RunProgress) -> None:
        """The run is stopped: the last chance to save."""

    def finish(self, run: Run) -> Run:
        """The run has ended, or is stopped; what it is to be known as."""
        return run
