"""What a Monte Carlo run simulates: its settings, as the arrays that kernels take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .algorithms import Algorithm, as_algorithm
from .checks import Array, InputError
from .exact import as_arrays
from .kernels.contract import Formula, Model, Timeline, padded
from .problem import Problem
from .schedules import Constant, PerStep, Schedule, as_schedule, check_length, pieces, runs


class Setting(NamedTuple):
    """An algorithm at a batch size."""

    algorithm: Algorithm
    batch_size: Schedule

    @property
    def batch_size_text(self) -> str:
        """As a person would write it."""
        size = self.batch_size
        return f"{size.value:g}" if isinstance(size, Constant) else repr(size)


@dataclass(frozen=True)
class Group:
    """Settings whose recurrences have the same number of components; they share kernel calls."""

    numbers: tuple[int, ...]  # which of the run's settings
    settings: tuple[Setting, ...]
    components: int


def as_settings(algorithm: Any, batch_size: Any, steps: int) -> tuple[Setting, ...]:
    """One setting, or one for each algorithm of a list, each with its own batch size if listed."""
    listed = isinstance(algorithm, list | tuple)
    algorithms = list(algorithm) if listed else [algorithm]
    if not algorithms:
        raise InputError("algorithm must be an algorithm or a list of them, not an empty list")
    sizes = batch_size if listed and not isinstance(batch_size, Schedule) else None
    if isinstance(sizes, list | tuple | np.ndarray) and len(sizes) == len(algorithms):
        batches = list(sizes)
    else:
        batches = [batch_size] * len(algorithms)
    settings = []
    for one, batch in zip(algorithms, batches, strict=True):
        as_algorithm("algorithm", one)
        schedule = as_schedule("batch_size", batch, least=1.0)
        check_length("lr", one.lr, steps)
        check_length("batch_size", schedule, steps)
        settings.append(Setting(one, schedule))
    return tuple(settings)


def grouped(settings: Sequence[Setting]) -> list[Group]:
    """The settings by number of components."""
    one = np.ones(1)
    sizes = [len(setting.algorithm.recurrence(one).read) for setting in settings]
    groups = []
    for n in sorted(set(sizes)):
        numbers = tuple(i for i, size in enumerate(sizes) if size == n)
        groups.append(Group(numbers, tuple(settings[i] for i in numbers), n))
    return groups


def whole_batches(settings: Sequence[Setting], steps: int, most: int) -> None:
    """Batch sizes are whole numbers, and at most `most`."""
    for schedule in {id(s.batch_size): s.batch_size for s in settings}.values():
        for part in runs(Constant(1.0), schedule, steps):
            bad = part.batch_size[part.batch_size != np.floor(part.batch_size)]
            if bad.size:
                raise InputError(
                    f"batch_size must be whole numbers for sampling='per-sample', but is {bad[0]:g}"
                )
            if part.batch_size.max() > most:
                raise InputError(
                    f"batch_size must be at most {most} for sampling='per-sample', "
                    f"where its samples are numbered, but is {part.batch_size.max():g}"
                )


def piecewise_constant(settings: Sequence[Setting], steps: int) -> None:
    """Settings change at steps only, so that stretches between can be jumped over."""
    for setting in settings:
        if setting.algorithm.depends_on_step:
            raise InputError(
                f"sampling='leap' needs an algorithm that is the same at every step, "
                f"which {setting.algorithm!r} is not: use 'minibatch'"
            )
        for name, schedule in (("lr", setting.algorithm.lr), ("batch_size", setting.batch_size)):
            by_pieces = isinstance(schedule, PerStep) or all(
                same for _, _, same in pieces(schedule, 0, steps)
            )
            if not by_pieces:
                raise InputError(
                    f"sampling='leap' needs a constant or piecewise constant {name}, "
                    f"not {schedule!r}: use 'minibatch', or schedules.Piecewise"
                )


# -- for kernels -------------------------------------------------------------------------


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
    weights = [s.algorithm.weights(s.algorithm.lr.values(starts), starts) for s in group.settings]
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


def described(
    group: Group, problem: Problem, begin: int, end: int, bands: Array | None, formulas: bool
) -> tuple[Model, Formula | None]:
    """The model of some coordinates, as a formula where that is wanted and there is one."""
    if not (formulas and problem.is_harmonic and _reads_curvature_only(group)):
        return model(group, problem, begin, end, bands), None
    one = model(group, problem, begin, begin + 1, bands)
    none = np.zeros(0)
    empty = one._replace(
        values=none.reshape(1, 0), sigma=none, weight=none, band=none.astype(np.int64)
    )
    return empty, Formula(begin, end - begin, none if bands is None else bands)


def _reads_curvature_only(group: Group) -> bool:
    """The recurrences have no arrays over coordinates but h itself."""
    h = np.ones(2)
    return all(
        array.ctypes.data == h.ctypes.data
        for setting in group.settings
        for array in as_arrays(setting.algorithm.recurrence(h), h.size).values
    )


def model(group: Group, problem: Problem, begin: int, end: int, bands: Array | None) -> Model:
    """Coordinates begin .. end - 1 of the problem under the group's settings."""
    block = problem.block(begin, end)
    size = end - begin
    rows: dict[int | bytes, int] = {}
    values: list[Array] = []
    entries, factors, offsets, read = [], [], [0], []
    for setting in group.settings:
        arrays = as_arrays(setting.algorithm.recurrence(block.h), size)
        place = arrays.place.copy()
        for source, array in enumerate(arrays.values):
            # settings mostly share their arrays: h itself, or equal powers of it
            same = array.ctypes.data == block.h.ctypes.data
            key = 0 if same else array.tobytes() if len(group.settings) > 1 else source + 1
            if key not in rows:
                rows[key] = len(values)
                values.append(whole_leaves(array, size))
            place[arrays.place[:, 3] == source, 3] = rows[key]
        entries.append(place.reshape(-1, 4))
        factors.append(arrays.scale)
        offsets.append(offsets[-1] + len(arrays.scale))
        read.append(arrays.q)
    band = np.zeros(0, dtype=np.int64)
    if bands is not None:
        band = whole_leaves(band_numbers(bands, block.h), size)
    return Model(
        np.concatenate(entries),
        np.array(offsets),
        np.concatenate(factors),
        values[0][None] if len(values) == 1 else np.array(values).reshape(-1, padded(size)),
        whole_leaves(np.sqrt(block.c), size),
        whole_leaves(0.5 * block.h, size),
        band,
        0 if bands is None else bands.size - 1,
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


# -- stability ---------------------------------------------------------------------------


def largest_stable_lr(algorithm: Algorithm, problem: Problem) -> float:
    """An estimate of the learning rate up to which the mean does not grow, by bisection.

    Looks at the least and the largest curvature only, and at the weights of step 0.
    """
    h = np.array(problem.curvature_range)
    recurrence = algorithm.recurrence(h)
    n = len(recurrence.read)
    arrays = as_arrays(recurrence, h.size)
    zero = np.zeros(1, dtype=np.int64)

    def is_stable(lr: float) -> bool:
        weights = algorithm.weights(np.array([lr]), zero)[0]
        A = np.zeros((h.size, n, n)) + np.eye(n)
        for (term, row, column, source), scale in zip(arrays.place, arrays.scale, strict=True):
            if column < n:
                entry = weights[term] * scale * (arrays.values[source] if source >= 0 else 1.0)
                A[:, row, column] += entry
        return float(np.abs(np.linalg.eigvals(A)).max()) <= 1.0 + 1e-9

    low, high = 0.0, algorithm.largest_lr(h)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if is_stable(middle) else (low, middle)
    return low
