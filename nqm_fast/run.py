"""The outcome of a Monte Carlo run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import Array


@dataclass(frozen=True, repr=False)
class Run:
    """What `simulate` returns.

    With a list of G settings, `risk`, `band_risk`, `diverged_at` and `state` have a leading
    axis (for `state` a tuple) of length G.

    Attributes
    ----------
    steps : ndarray of int, shape (records,)
        Recorded steps, ascending.
    risk : ndarray, shape (replicas, records)
        Excess risk of every replica; inf from the step at which it diverged.
    status : str
        "finished", "diverged" (at least one setting and replica) or "interrupted".
    message : str
        What happened, in a sentence, and what to change; empty if finished.
    diverged_at : ndarray of int, shape (replicas,)
        First step at which the risk of a coordinate exceeded 1e290 (with sampling "leap":
        the first stop); -1 for none.
    state : ndarray, shape (replicas, components, d), or None
        Components of the algorithm's recurrence (for SGD w, then v, then e, as far as they
        play a part) after the last step, with ``keep_state=True``; inf where diverged.
    band_edges : ndarray, shape (bands + 1,), or None
        Curvatures that bound the bands.
    band_risk : ndarray, shape (replicas, records, bands), or None
        Risk of the coordinates in each band.
    stats : dict
        Backend, threads, seconds computing, coordinate-steps done (settings, replicas and
        coordinates times steps), and the order of the loops: "steps" or "blocks".
    """

    steps: NDArray[np.int64]
    risk: Array
    status: str
    message: str
    diverged_at: NDArray[np.int64]
    state: Any = None
    band_edges: Array | None = None
    band_risk: Array | None = None
    stats: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        *settings, replicas, records = self.risk.shape
        many = f"{settings[0]} settings, " if settings else ""
        what = f": {self.message}" if self.message else ""
        return f"<Run {self.status}, {many}{replicas} replicas, {records} records{what}>"
