"""Lowering of problems: coordinates under the settings of a group, as the arrays of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import Algorithm, LinearAlgorithm
from ..algorithms.sparse import SparseRecurrence, checked_recurrence, sizes_of, sparse_recurrence
from ..exact.periodic import with_period
from ..foundation.validation import Array
from ..kernels.contract import Backend, Formula, Model, padded
from ..kernels.excursions import extremes
from ..kernels.remembering import remembered
from ..problem import Problem
from .lowering import Group
from .observables import RecordLayout

REMEMBERED = 256
"""Coordinates of a problem up to which its models are remembered."""
FEW_SETTINGS = 16
"""Settings of a model up to which it is remembered."""


def pad_to_leaves(array: Any, size: int) -> Any:
    """An array of `size` elements, padded with zeros to whole leaves.

    An array of one element stands for `size` equal ones.
    """
    if array.size == padded(size) and array.flags.c_contiguous:
        return array
    out = np.zeros(padded(size), dtype=array.dtype)
    out[:size] = array
    return out


def model_or_formula(
    group: Group,
    problem: Problem,
    begin: int,
    end: int,
    layout: RecordLayout,
    backend: Backend,
    leaps: bool,
) -> tuple[Model, Formula | None]:
    """Coordinates begin .. end - 1 as a formula, if the backend takes one, or else as arrays.

    With a formula, the model's arrays over coordinates are empty.
    """
    if not is_formula(group, problem, end - begin, layout, backend, leaps):
        return model(group, problem, begin, end, layout), None
    one_coordinate = model(group, problem, begin, begin + 1, layout)
    empty = np.zeros(0)
    without_arrays = one_coordinate._replace(
        values=empty.reshape(1, 0),
        sigma=empty,
        weight=empty.reshape(1, 0),
        group=empty.astype(np.int64),
    )
    edges = empty if layout.edges is None else layout.edges
    first = problem.fields.get("first", 0) + begin
    return without_arrays, Formula(first, end - begin, edges)


def is_formula(
    group: Group,
    problem: Problem,
    coordinates: int,
    layout: RecordLayout,
    backend: Backend,
    leaps: bool,
) -> bool:
    """Whether so many coordinates are handed to the backend as a formula."""
    takes = problem.is_harmonic and backend.takes_formula(
        coordinates, group.components, group.rule, leaps, layout.edges is not None
    )
    alike = takes and len(layout.weights) == 1 and not group.periods
    return alike and _reads_curvature_only(group)


def _reads_curvature_only(group: Group) -> bool:
    """Whether the recurrences have no arrays over coordinates but h itself."""
    h = np.ones(2)  # An array at the same address is this one.
    if group.rule:
        return True
    return all(
        array.ctypes.data == h.ctypes.data
        for algorithm in _linear(group)
        for array in sparse_recurrence(checked_recurrence(algorithm, h), h.size).values
    )


def _linear(group: Group) -> Iterator[LinearAlgorithm]:
    """Yield the algorithms of a group whose settings are linear."""
    yield from (setting.linear for setting in group.settings)


class _Recurrences(NamedTuple):
    """The fields of a `Model` that say how states are stepped and read."""

    entries: NDArray[np.int64]
    offsets: NDArray[np.int64]
    factors: Array
    values: Array
    read: Array


def _rule(group: Group, h: Array) -> _Recurrences:
    """Return these fields for settings with an update rule: curvatures, and no entries."""
    read = np.zeros((len(group.settings), group.components))
    read[:, -1 if group.rule < 0 else 0] = 1.0
    offsets = np.zeros(len(group.settings) + 1, dtype=np.int64)
    no_entries = np.zeros((0, 4), dtype=np.int64)
    return _Recurrences(no_entries, offsets, np.zeros(0), pad_to_leaves(h, h.size)[None], read)


def _recurrences(group: Group, h: Array) -> _Recurrences:
    """Return these fields for linear settings at curvatures h."""
    size = h.size
    row_of: dict[int | bytes, int] = {}  # the place in `values` of each different array
    values: list[Array] = []
    entries, factors, offsets, read = [], [], [0], []
    known: dict[int, SparseRecurrence] = {}  # copies of a setting are one object
    for g, algorithm in enumerate(_linear(group)):
        if id(algorithm) not in known:
            known[id(algorithm)] = sparse_recurrence(checked_recurrence(algorithm, h), size)
        sparse = known[id(algorithm)]
        if group.periods:
            sparse = with_period(sparse, size, group.periods[g])
        entries_here = sparse.entries.copy()
        for source, array in enumerate(sparse.values):
            # Settings mostly share their arrays, which are h itself or equal powers of it.
            is_h = array.ctypes.data == h.ctypes.data
            key = 0 if is_h else array.tobytes() if len(group.settings) > 1 else source + 1
            if key not in row_of:
                row_of[key] = len(values)
                values.append(pad_to_leaves(array, size))
            entries_here[sparse.entries[:, 3] == source, 3] = row_of[key]
        entries.append(entries_here)
        factors.append(sparse.factors)
        offsets.append(offsets[-1] + len(sparse.factors))
        read.append(sparse.read)
    rows = values[0][None] if len(values) == 1 else np.array(values).reshape(-1, padded(size))
    return _Recurrences(
        np.concatenate(entries), np.array(offsets), np.concatenate(factors), rows, np.array(read)
    )


_models: dict[Any, tuple[Model, Any]] = {}
"""Models of few coordinates, which loops over short runs ask for, with what they are of."""


def model(group: Group, problem: Problem, begin: int, end: int, layout: RecordLayout) -> Model:
    """Coordinates begin .. end - 1 of the problem under the group's settings."""
    algorithms = [setting.algorithm for setting in group.settings]
    is_small = problem.dim <= REMEMBERED and len(algorithms) <= FEW_SETTINGS
    if not is_small or group.periods or layout.edges is not None or _hold_arrays(algorithms):
        return _new_model(group, problem, begin, end, layout)
    key = (problem.key, begin, end, *layout.names, *map(id, algorithms))

    def make() -> tuple[Model, Any]:
        """Make it, and keep what the key numbers, so that nothing else can have the numbers."""
        return _new_model(group, problem, begin, end, layout), (problem, algorithms)

    return remembered(_models, key, make)[0]


def _hold_arrays(algorithms: Sequence[Algorithm]) -> bool:
    """Whether schedules have a value for each step, which would be kept with a model."""
    return any(x.length < math.inf for one in algorithms for x in one.schedules.values())


def _new_model(group: Group, problem: Problem, begin: int, end: int, layout: RecordLayout) -> Model:
    """Make a model."""
    block = problem.block(begin, end)
    size = end - begin
    entries, offsets, factors, rows, read = (_rule if group.rule else _recurrences)(group, block.h)
    each = [pad_to_leaves(weight(block.h), size) for weight in layout.weights]
    groups = np.zeros(0, dtype=np.int64)
    if layout.edges is not None:
        groups = pad_to_leaves(band_numbers(layout.edges, block.h), size)
    sigma = pad_to_leaves(np.sqrt(block.c), size)
    weights = each[0][None] if len(each) == 1 else np.array(each)
    return Model(
        entries,
        offsets,
        factors,
        rows,
        sigma,
        weights,
        layout.rows,
        groups,
        read,
        extremes(rows, sigma, weights),
        group.rule,
    )


def start_law(problem: Problem, begin: int, end: int) -> tuple[Array, Array, int | None]:
    """Return the mean and the deviation of initial iterates, as `Backend.start` takes them."""
    mean, variance = problem.start_block(begin, end)
    if mean.size == variance.size == 1:
        return mean, np.sqrt(variance), end - begin
    size = end - begin
    return pad_to_leaves(mean, size), pad_to_leaves(np.sqrt(variance), size), None


def initial_factors(group: Group) -> Array:
    """The initial state of every setting, divided by w_0, (settings, components)."""
    if group.rule:
        start = np.zeros((len(group.settings), group.components))
        start[:, [0, -1] if group.rule < 0 else [0]] = 1.0
        return start
    return np.array([sizes_of(algorithm).start for algorithm in _linear(group)])


def band_numbers(edges: Array, h: Array) -> NDArray[np.int64]:
    """The number of the band of each curvature, from 1, or 0 outside all bands, (d,).

    The highest edge belongs to the last band.
    """
    number = np.searchsorted(edges, h, side="right")
    number[h == edges[-1]] = edges.size - 1
    number[h > edges[-1]] = 0
    return number
