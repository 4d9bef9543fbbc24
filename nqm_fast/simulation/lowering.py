"""Lowering: from problems and settings to the arrays that kernels take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algorithms.sparse import checked_recurrence, sparse_recurrence, term_weights
from ..kernels.contract import Backend, Formula, Model, Timeline, padded
from ..kernels.excursions import extremes
from ..problem import Problem
from ..timeline import pieces, values_at
from ..validation import Array
from .observables import RecordLayout
from .settings import Setting


@dataclass(frozen=True)
class Group:
    """Settings that share kernel calls, as their recurrences have the same number of components.

    Where they are computed by leaps, their schedules change at the same steps as well: a leap ends
    at each change, and what it draws must not depend on the other settings of a run.
    """

    numbers: tuple[int, ...]  # of the group's settings, among those of the run
    settings: tuple[Setting, ...]
    components: int
    terms: tuple[int, ...]  # how many the recurrence of each setting has


def group_settings(settings: Sequence[Setting], steps: int, leaps: bool) -> list[Group]:
    """Group the settings that can share kernel calls in a run of so many steps."""
    recurrences = [checked_recurrence(setting.algorithm, np.ones(1)) for setting in settings]
    members: dict[tuple[int, bytes], list[int]] = {}
    for i, (setting, recurrence) in enumerate(zip(settings, recurrences, strict=True)):
        cuts = np.unique(np.concatenate(_segment_ends(setting, 0, steps))) if leaps else _NO_CUTS
        members.setdefault((len(recurrence.read), cuts.tobytes()), []).append(i)
    return [
        Group(
            tuple(numbers),
            tuple(settings[i] for i in numbers),
            components,
            tuple(len(recurrences[i].terms) for i in numbers),
        )
        for (components, _), numbers in sorted(members.items(), key=lambda item: item[0][0])
    ]


_NO_CUTS = np.zeros(0, dtype=np.int64)


def _segment_ends(setting: Setting, begin: int, end: int) -> list[NDArray[np.int64]]:
    """Return the ends of the segments of a setting's schedules within steps begin .. end - 1."""
    ends = [_NO_CUTS]
    for schedule in setting.schedules.values():
        for step, until, same in pieces(schedule, begin, end):
            ends.append(np.array([until]) if same else np.arange(step + 1, until + 1))
    return ends


def _drawn(setting: Setting, steps: NDArray[np.int64]) -> Array:
    """Return how many samples the gradient of each step is the mean of."""
    return setting.algorithm.batches_per_step * values_at(setting.batch_size, steps)


def timeline(
    group: Group, begin: int, end: int, records: NDArray[np.int64], sample_scale: float | None
) -> Timeline:
    """Cut steps begin .. end - 1 into segments, and evaluate the schedules in each.

    `sample_scale` gives a sample variance 1; it is None if the means of batches are drawn.
    """
    ends = [np.array([end])]  # of the segments of each schedule
    if any(setting.algorithm.depends_on_step for setting in group.settings):
        ends.append(np.arange(begin + 1, end + 1))
    else:
        for setting in group.settings:
            ends += _segment_ends(setting, begin, end)
    segment_end = np.unique(np.concatenate(ends))
    segment_start = np.concatenate([[begin], segment_end[:-1]])
    weights = [
        term_weights(s.algorithm, terms, values_at(s.algorithm.lr, segment_start), segment_start)
        for s, terms in zip(group.settings, group.terms, strict=True)
    ]
    batches = np.stack([_drawn(s, segment_start) for s in group.settings], axis=1)
    # Settings with fewer terms than others have weights of zero in their place.
    stacked = np.zeros((segment_start.size, len(weights), max(x.shape[1] for x in weights)))
    for g, x in enumerate(weights):
        stacked[:, g, : x.shape[1]] = x
    if sample_scale is None:
        amplitude, samples = 1.0 / np.sqrt(batches), np.ones(batches.shape, dtype=np.int64)
    else:
        amplitude, samples = sample_scale / batches, batches.astype(np.int64)
    return Timeline(
        begin,
        end,
        segment_end,
        stacked,
        amplitude,
        samples,
        records,
    )


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
) -> tuple[Model, Formula | None]:
    """Coordinates begin .. end - 1 as a formula, if the backend takes one, or else as arrays.

    With a formula, the model's arrays over coordinates are empty.
    """
    has_formula = backend.takes_formulas and problem.is_harmonic and len(layout.weights) == 1
    if not (has_formula and _reads_curvature_only(group)):
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


def _reads_curvature_only(group: Group) -> bool:
    """Whether the recurrences have no arrays over coordinates but h itself."""
    h = np.ones(2)  # An array at the same address is this one.
    return all(
        array.ctypes.data == h.ctypes.data
        for setting in group.settings
        for array in sparse_recurrence(setting.algorithm.recurrence(h), h.size).values
    )


def model(group: Group, problem: Problem, begin: int, end: int, layout: RecordLayout) -> Model:
    """Coordinates begin .. end - 1 of the problem under the group's settings."""
    block = problem.block(begin, end)
    size = end - begin
    row_of: dict[int | bytes, int] = {}  # the place in `values` of each different array
    values: list[Array] = []
    entries, factors, offsets, read = [], [], [0], []
    for setting in group.settings:
        recurrence = checked_recurrence(setting.algorithm, block.h)
        sparse = sparse_recurrence(recurrence, size)
        entries_here = sparse.entries.copy()
        for source, array in enumerate(sparse.values):
            # Settings mostly share their arrays, which are h itself or equal powers of it.
            is_h = array.ctypes.data == block.h.ctypes.data
            key = 0 if is_h else array.tobytes() if len(group.settings) > 1 else source + 1
            if key not in row_of:
                row_of[key] = len(values)
                values.append(pad_to_leaves(array, size))
            entries_here[sparse.entries[:, 3] == source, 3] = row_of[key]
        entries.append(entries_here)
        factors.append(sparse.factors)
        offsets.append(offsets[-1] + len(sparse.factors))
        read.append(sparse.read)
    each = [pad_to_leaves(weight(block.h), size) for weight in layout.weights]
    groups = np.zeros(0, dtype=np.int64)
    if layout.edges is not None:
        groups = pad_to_leaves(band_numbers(layout.edges, block.h), size)
    rows = values[0][None] if len(values) == 1 else np.array(values).reshape(-1, padded(size))
    sigma = pad_to_leaves(np.sqrt(block.c), size)
    weights = each[0][None] if len(each) == 1 else np.array(each)
    return Model(
        np.concatenate(entries),
        np.array(offsets),
        np.concatenate(factors),
        rows,
        sigma,
        weights,
        layout.rows,
        groups,
        np.array(read),
        extremes(rows, sigma, weights),
    )


def initial_factors(group: Group) -> Array:
    """The initial state of every setting, divided by w_0, (settings, components)."""
    h = np.ones(1)
    return np.array([s.algorithm.recurrence(h).start for s in group.settings])


def band_numbers(edges: Array, h: Array) -> NDArray[np.int64]:
    """The number of the band of each curvature, from 1, or 0 outside all bands, (d,).

    The highest edge belongs to the last band.
    """
    number = np.searchsorted(edges, h, side="right")
    number[h == edges[-1]] = edges.size - 1
    number[h > edges[-1]] = 0
    return number
