"""Observables: sums over coordinates of a weight times the square of the evaluated iterate.

An observable is one entry of the table below. The rows that kernels add up, the variables of a
run's file, what is resumed, and the arrays of a `Run` follow from it. Beside them a run may record
paths, which are numbers of single coordinates, of those that it traces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import (
    Array,
    InputError,
    any_array,
    choice,
    in_range,
    integer,
    real_array,
    shown,
)
from ..kernels.contract import ALL
from ..problem import Problem


class Observable(NamedTuple):
    """A quantity ``sum_i weight_i x_i^2`` of the evaluated iterate x.

    Attributes
    ----------
    description : str
        One line that describes it in the file of a run.
    weight : callable
        The weights of coordinates with curvatures h, shape (d,).
    by_band : bool
        Whether there is a value for each band of curvatures, which the argument `bands` asks for;
        otherwise there is one for all coordinates, which the argument `observe` asks for.
    units : str
        Physical units in the file of a run; "1" for none.
    """

    description: str
    weight: Callable[[Array], Array]
    by_band: bool = False
    units: str = "1"


def risk_weight(h: Array) -> Array:
    """Half of the curvature, so that the sum is the excess risk."""
    return 0.5 * h


RISK, BAND_RISK = "risk", "band_risk"
MOST_BANDS = 1 << 20

OBSERVABLES = {
    RISK: Observable("excess risk, 1/2 sum h w^2", risk_weight),
    BAND_RISK: Observable("excess risk of the coordinates in a band", risk_weight, by_band=True),
    "weight_norm": Observable("squared norm of the evaluated iterate, sum w^2", np.ones_like),
}
"""All observables by name."""

TRACED = "traced"
"""The dimension of the coordinates whose paths are recorded."""

PATHS = {
    "w": "first component of the state of the traced coordinates, which is w for SGD",
    "evaluated": "evaluated iterate of the traced coordinates",
}
"""Records of each traced coordinate, by name, with a line that describes them."""


class Recorded(NamedTuple):
    """A record under a name, an observable or a path, as files and tables describe it."""

    dims: tuple[str, ...]  # beyond settings, replicas and records
    units: str
    description: str


def recorded(name: str) -> Recorded:
    """Describe what is recorded under a name."""
    if name in PATHS:
        return Recorded((TRACED,), "1", PATHS[name])
    observable = OBSERVABLES[name]
    dims = ("band",) if observable.by_band else ()
    return Recorded(dims, observable.units, observable.description)


def observed_names(observe: Any, bands: Array | None) -> tuple[str, ...]:
    """Names of the observables that a run records, in the order of the table.

    The risk always is among them, and the risk by band if there are bands.

    Raises
    ------
    InputError
        If `observe` names something else.
    """
    several = isinstance(observe, Sequence | frozenset | set) and not isinstance(observe, str)
    asked = list(observe) if several else [observe]
    allowed = [name for name, observable in OBSERVABLES.items() if not observable.by_band]
    for name in asked:
        if isinstance(name, str) and name in OBSERVABLES and name not in allowed:
            raise InputError(f"observe = {shown(observe)}: {name} is recorded with bands=...")
        choice("observe", name, allowed)
    chosen = {RISK, *asked} | (set() if bands is None else {BAND_RISK})
    return tuple(name for name in OBSERVABLES if name in chosen)


def band_edges(bands: Any, problem: Problem) -> Array | None:
    """The edges of the bands, from how many there are or from the edges themselves."""
    if bands is None:
        return None
    if any_array("bands", bands).ndim:
        edges = real_array("bands", bands)
        in_range("bands", edges, least=0.0)
        if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
            raise InputError(f"bands must be two or more ascending edges, not {shown(bands)}")
        return edges
    count = integer("bands", bands, least=1, most=MOST_BANDS)
    low, high = problem.curvature_range
    if low == high and count > 1:
        raise InputError(f"bands must be 1 where all curvatures are alike, not {count}")
    edges = np.geomspace(low, high, count + 1) if low < high else np.array([low, 2.0 * low])
    edges[0], edges[-1] = low, max(high, edges[-1])
    return edges


@dataclass(frozen=True)
class RecordLayout:
    """The numbers of a record: rows of observables, in bands or not, and then paths."""

    names: tuple[str, ...]  # of observables
    edges: Array | None  # curvatures that bound the bands, (bands + 1,)
    traced: int = 0  # coordinates whose paths are recorded

    @property
    def bands(self) -> int:
        """How many bands there are."""
        return 0 if self.edges is None else self.edges.size - 1

    @property
    def weights(self) -> list[Callable[[Array], Array]]:
        """The different weights of the observables; the first is that of the risk."""
        return list(dict.fromkeys(OBSERVABLES[name].weight for name in self.names))

    @property
    def rows(self) -> NDArray[np.int64]:
        """The numbers of the weight and of the group of every row, (rows, 2), for the kernels."""
        rows = []
        for name in self.names:
            weight = self.weights.index(OBSERVABLES[name].weight)
            groups = range(1, self.bands + 1) if OBSERVABLES[name].by_band else [ALL]
            rows += [(weight, group) for group in groups]
        return np.array(rows, dtype=np.int64)

    @property
    def size(self) -> int:
        """How many numbers a record has: its rows, and those of the paths."""
        return len(self.rows) + len(PATHS) * self.traced

    @property
    def recorded_names(self) -> tuple[str, ...]:
        """The names of the observables, and of the paths if there are any."""
        return (*self.names, *(PATHS if self.traced else ()))

    def split(self, values: Array) -> dict[str, Array]:
        """Split values (..., size) into an array for each name.

        The array is (..., bands) for an observable by band, (..., traced) for a path, else (...).
        """
        arrays = {}
        row = 0
        for name in self.names:
            by_band = OBSERVABLES[name].by_band
            size = self.bands if by_band else 1
            part = values[..., row : row + size]
            arrays[name] = np.ascontiguousarray(part if by_band else part[..., 0])
            row += size
        for name in self.recorded_names[len(self.names) :]:
            arrays[name] = np.ascontiguousarray(values[..., row : row + self.traced])
            row += self.traced
        return arrays

    def joined(self, arrays: Mapping[str, Any]) -> Array:
        """Join the arrays of all names to values (..., size): the inverse of `split`."""
        parts = [
            arrays[name] if recorded(name).dims else arrays[name][..., None]
            for name in self.recorded_names
        ]
        return np.concatenate(parts, axis=-1)
