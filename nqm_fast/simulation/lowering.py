"""Settings as the arrays that kernels take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algorithms.sparse import checked_recurrence, sparse_recurrence, term_weights
from ..kernels.contract import Backend, Formula, Model, Timeline, padded
from ..problem import Problem
from ..timeline import pieces
from ..validation import Array
from .observables import RecordLayout
from .settings import Setting


@dataclass(frozen=True)
class Group:
    """Settings whose recurrences have the same number of components; they share kernel calls."""

    numbers: tuple[int, ...]  # which of the run's settings
    settings: tuple[Setting, ...]
    components: int
    terms: tuple[int, ...]  # of the recurrence of each setting


def grouped(settings: Sequence[Setting]) -> list[Group]:
    """The settings by number of components."""
    recurrences = [checked_recurrence(setting.algorithm, np.ones(1)) for setting in settings]
    sizes = [len(recurrence.read) for recurrence in recurrences]
    groups = []
    for n in sorted(set(sizes)):
        numbers = tuple(i for i, size in enumerate(sizes) if size == n)
        terms = tuple(len(recurrences[i].terms) for i in numbers)
        groups.append(Group(numbers, tuple(settings[i] for i in numbers), n, terms))
    return groups


def timeline(
    group: Group, begin: int, end: int, records: NDArray[np.int64], drawn: float | None
) -> Timeline:
    """Steps begin .. end - 1 in segments; `drawn` is the scale of a sample, if all are drawn."""
    ends = [np.array([end])]
    if any(setting.algorithm.depends_on_step for setting in group.settings):
        ends.append(np.arange(begin + 1, end + 1))
    else:
        for schedule in (x for s in group.settings for x in (s.algorithm.lr, s.batch_size)):
            for step, until, same in pieces(schedule, begin, end):
                ends.append(np.array([until]) if same else np.arange(step + 1, until + 1))
    ends_of_all = np.unique(np.concatenate(ends))
    starts = np.concatenate([[begin], ends_of_all[:-1]])
    weights = [
        term_weights(s.algorithm, terms, s.algorithm.lr.values(starts), starts)
        for s, terms in zip(group.settings, group.terms, strict=True)
    ]
    batches = np.stack([s.batch_size.values(starts) for s in group.settings], axis=1)
    stacked = np.zeros((starts.size, len(weights), max(x.shape[1] for x in weights)))
    for g, x in enumerate(weights):
        stacked[:, g, : x.shape[1]] = x
    return Timeline(
        begin,
        end,
        ends_of_all,
        stacked,
        1.0 / np.sqrt(batches) if drawn is None else drawn / batches,
        np.ones(batches.shape, dtype=np.int64) if drawn is None else batches.astype(np.int64),
        records,
    )


def whole_leaves(array: Any, size: int) -> Any:
    """The array, or the number it stands for, as `size` elements and zeros up to whole leaves."""
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
    """The model of some coordinates, as a formula where the backend takes one and there is one."""
    wanted = backend.takes_formulas and problem.is_harmonic and len(layout.weights) == 1
    if not (wanted and _reads_curvature_only(group)):
        return model(group, problem, begin, end, layout), None
    one = model(group, problem, begin, begin + 1, layout)
    none = np.zeros(0)
    empty = one._replace(
        values=none.reshape(1, 0),
        sigma=none,
        weight=none.reshape(1, 0),
        group=none.astype(np.int64),
    )
    edges = none if layout.edges is None else layout.edges
    return empty, Formula(begin, end - begin, edges)


def _reads_curvature_only(group: Group) -> bool:
    """Whether the recurrences have no arrays over coordinates but h itself."""
    h = np.ones(2)
    return all(
        array.ctypes.data == h.ctypes.data
        for setting in group.settings
        for array in sparse_recurrence(setting.algorithm.recurrence(h), h.size).values
    )


def model(group: Group, problem: Problem, begin: int, end: int, layout: RecordLayout) -> Model:
    """Coordinates begin .. end - 1 of the problem under the group's settings."""
    block = problem.block(begin, end)
    size = end - begin
    row_of: dict[int | bytes, int] = {}
    values: list[Array] = []
    entries, factors, offsets, read = [], [], [0], []
    for setting in group.settings:
        recurrence = checked_recurrence(setting.algorithm, block.h)
        sparse = sparse_recurrence(recurrence, size)
        entries_here = sparse.entries.copy()
        for source, array in enumerate(sparse.values):
            # Settings mostly share their arrays: h itself, or equal powers of it.
            is_h = array.ctypes.data == block.h.ctypes.data
            key = 0 if is_h else array.tobytes() if len(group.settings) > 1 else source + 1
            if key not in row_of:
                row_of[key] = len(values)
                values.append(whole_leaves(array, size))
            entries_here[sparse.entries[:, 3] == source, 3] = row_of[key]
        entries.append(entries_here)
        factors.append(sparse.factors)
        offsets.append(offsets[-1] + len(sparse.factors))
        read.append(sparse.read)
    weights = [whole_leaves(weight(block.h), size) for weight in layout.weights]
    groups = np.zeros(0, dtype=np.int64)
    if layout.edges is not None:
        groups = whole_leaves(band_numbers(layout.edges, block.h), size)
    return Model(
        np.concatenate(entries),
        np.array(offsets),
        np.concatenate(factors),
        values[0][None] if len(values) == 1 else np.array(values).reshape(-1, padded(size)),
        whole_leaves(np.sqrt(block.c), size),
        weights[0][None] if len(weights) == 1 else np.array(weights),
        layout.rows,
        groups,
        np.array(read),
    )


def starts(group: Group) -> Array:
    """``s_0 / w_0`` of every setting, (settings, components)."""
    one = np.ones(1)
    return np.array([s.algorithm.recurrence(one).start for s in group.settings])


def band_numbers(edges: Array, h: Array) -> NDArray[np.int64]:
    """Which band a curvature is in, from 1; 0 for none. The highest edge belongs to the last."""
    number = np.searchsorted(edges, h, side="right")
    number[h == edges[-1]] = edges.size - 1
    number[h > edges[-1]] = 0
    return number
