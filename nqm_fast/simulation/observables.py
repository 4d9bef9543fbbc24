"""What a run records: sums over coordinates of a weight times the square of the evaluated iterate.

An observable is one entry of the table below. The rows that kernels add up, the variables of a
run's file, what is resumed, and the arrays of a `Run` follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels.contract import ALL
from ..validation import Array, InputError, choice, shown


class Observable(NamedTuple):
    """A quantity ``sum_i weight_i x_i^2`` of the evaluated iterate x.

    Attributes
    ----------
    description : str
        For the file of a run, in a line.
    weight : callable
        The weights of coordinates with curvatures h, shape (d,).
    by_band : bool
        There is a value for each band of curvatures, which `bands` asks for; otherwise one for all
        coordinates, which `observe` asks for.
    units : str
    """

    description: str
    weight: Callable[[Array], Array]
    by_band: bool = False
    units: str = "1"


def risk_weight(h: Array) -> Array:
    """Half of the curvature, so that the sum is the excess risk."""
    return 0.5 * h


RISK, BAND_RISK = "risk", "band_risk"

OBSERVABLES = {
    RISK: Observable("excess risk, 1/2 sum h w^2", risk_weight),
    BAND_RISK: Observable("excess risk of the coordinates in a band", risk_weight, by_band=True),
    "weight_norm": Observable("squared norm of the evaluated iterate, sum w^2", np.ones_like),
}
"""All observables by name."""


def observed_names(observe: Any, bands: Array | None) -> tuple[str, ...]:
    """Names of what a run records, in the table's order: the risk always, that of bands if asked.

    Raises
    ------
    InputError
        If `observe` names something else.
    """
    several = isinstance(observe, Sequence | frozenset | set) and not isinstance(observe, str)
    asked = list(observe) if several else [observe]
    allowed = [name for name, observable in OBSERVABLES.items() if not observable.by_band]
    for name in asked:
        if name in OBSERVABLES and name not in allowed:
            raise InputError(f"observe = {shown(observe)}: {name} is recorded with bands=...")
        choice("observe", name, allowed)
    chosen = {RISK, *asked} | (set() if bands is None else {BAND_RISK})
    return tuple(name for name in OBSERVABLES if name in chosen)


@dataclass(frozen=True)
class RecordLayout:
    """The rows of a record: which observables, with which weights, of which bands."""

    names: tuple[str, ...]
    edges: Array | None  # of the bands, (bands + 1,)

    @property
    def bands(self) -> int:
        """How many bands there are."""
        return 0 if self.edges is None else self.edges.size - 1

    @property
    def weights(self) -> list[Callable[[Array], Array]]:
        """Different weights of the observables; the first is the risk's."""
        return list(dict.fromkeys(OBSERVABLES[name].weight for name in self.names))

    @property
    def rows(self) -> NDArray[np.int64]:
        """Number of the weight and of the group of every row, (rows, 2), as kernels take them."""
        rows = []
        for name in self.names:
            weight = self.weights.index(OBSERVABLES[name].weight)
            groups = range(1, self.bands + 1) if OBSERVABLES[name].by_band else [ALL]
            rows += [(weight, group) for group in groups]
        return np.array(rows, dtype=np.int64)

    def split(self, values: Array) -> dict[str, Array]:
        """Arrays by name of values whose last axis are the rows; only those of bands keep it."""
        found = {}
        at = 0
        for name in self.names:
            by_band = OBSERVABLES[name].by_band
            size = self.bands if by_band else 1
            part = values[..., at : at + size]
            found[name] = np.ascontiguousarray(part if by_band else part[..., 0])
            at += size
        return found

    def joined(self, arrays: dict[str, Any]) -> Array:
        """The inverse of `split`."""
        parts = [
            arrays[name] if OBSERVABLES[name].by_band else arrays[name][..., None]
            for name in self.names
        ]
        return np.concatenate(parts, axis=-1)
