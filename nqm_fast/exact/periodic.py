"""Timelines that repeat a block of segments for ever, as methods with a period have.

The map of a whole period is one affine map like that of a step, but for its noise, which needs as
many independent kicks as the state has components. It becomes one more term of the recurrence, so
that kernels take periods as they take steps: the steps between two records are those to the end of
a period, some whole periods at once, and those of the last one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import LinearAlgorithm
from ..algorithms.sparse import (
    SparseRecurrence,
    checked_recurrence,
    sizes_of,
    sparse_recurrence,
    term_weights,
)
from ..foundation.validation import Array
from ..schedules import Constant, Schedule
from ..schedules.timeline import piece_at, pieces, values_at

LARGEST = 1e150
"""Entries of the map of a period are cut off here, so that their products with 0 are 0."""


WHOLE = -1
"""Number of a segment of whole periods, whose length is how many."""
MOST_PIECES = 1 << 12
"""Pieces of a schedule that are looked through for the last, which goes on for ever."""


class Period(NamedTuple):
    """Segments that are repeated for ever, from a step on."""

    begin: int
    """The step from which on they are repeated."""
    length: NDArray[np.int64]
    """Number of steps of each segment, shape (segments,)."""
    weights: Array
    """Factor of each term of the recurrence, shape (segments, terms)."""
    inverse_batch: float
    """1 / batch size, the same in all."""

    @property
    def steps(self) -> int:
        """Number of steps in a period."""
        return int(self.length.sum())

    def rotated(self, steps: int) -> Period:
        """Return the period that begins some steps later, fewer than it has."""
        ends = np.cumsum(self.length)
        cut = int(np.searchsorted(ends, steps, side="right"))
        done = steps - int(ends[cut] - self.length[cut])
        order = [*range(cut, self.length.size), *range(cut)]
        length = self.length[order]
        weights = self.weights[order]
        if done:
            length[0] -= done
            length, weights = np.append(length, done), np.concatenate([weights, weights[:1]])
        return Period(self.begin + steps, length, weights, self.inverse_batch)

    def between(self, first: int, last: int) -> list[tuple[int, int]]:
        """List the segments of steps first .. last - 1 of a period: (number, length)."""
        found = []
        start = 0
        for number, length in enumerate(self.length.tolist()):
            low, high = max(first, start), min(last, start + length)
            if low < high:
                found.append((number, high - low))
            start += length
        return found

    def segments(self, first: int, last: int) -> list[tuple[int, int]]:
        """List the segments from one step after its begin to another, whole periods at once.

        Each is its number, or -1 for whole periods, and its length in steps, or in periods.
        """
        found: list[tuple[int, int]] = []
        while first < last:
            inside = first % self.steps
            whole = (last - first) // self.steps
            if not inside and whole:
                found.append((WHOLE, whole))
                first += whole * self.steps
            else:
                end = min(inside + last - first, self.steps)
                found += self.between(inside, end)
                first += end - inside
        return found

    def columns(self, found: list[tuple[int, int]]) -> tuple[Array, Array, NDArray[np.int64]]:
        """Return the weights, 1 / batch size and lengths of segments, as `segments` lists them."""
        kinds = np.array([kind for kind, _ in found], dtype=np.int64)
        lengths = np.array([length for _, length in found], dtype=np.int64)
        return self.segment_weights(kinds), np.full(kinds.size, self.inverse_batch), lengths

    def segment_weights(self, kinds: NDArray[np.int64]) -> Array:
        """Return the weights of segments by their numbers, with that of the period's term."""
        each = np.zeros((self.length.size + 1, self.weights.shape[1] + 1))
        each[:-1, :-1] = self.weights
        each[WHOLE, -1] = 1.0
        return np.asarray(each[kinds])


def find_period(algorithm: LinearAlgorithm, batch_size: Schedule) -> Period | None:
    """Return the period of a timeline, or None if it never has one."""
    if not is_periodic(algorithm):
        return None
    schedules = [*algorithm.schedules.values(), batch_size]
    settled = [_settled(schedule) for schedule in schedules if schedule.period is None]
    latest = max(settled, default=0.0)
    if math.isinf(latest):
        return None
    steps = math.lcm(*(schedule.period for schedule in schedules if schedule.period))
    begin = -(-int(latest) // steps) * steps
    edges = {begin, begin + steps}
    for schedule in schedules:
        edges |= {start for start, _, _ in pieces(schedule, begin, begin + steps)}
    starts = np.array(sorted(edges))[:-1]
    terms = sizes_of(algorithm).terms
    weights = term_weights(algorithm, terms, values_at(algorithm.lr, starts), starts)
    batch = algorithm.batches_per_step * float(values_at(batch_size, starts[:1])[0])
    return Period(begin, np.diff(starts, append=begin + steps), weights, 1.0 / batch)


def is_periodic(algorithm: LinearAlgorithm) -> bool:
    """Whether something in an algorithm repeats for ever, and nothing else keeps changing."""
    periods = (schedule.period for schedule in algorithm.schedules.values())
    return any(periods) and not algorithm.depends_on_step


def _settled(schedule: Schedule) -> float:
    """Return the step from which on a schedule is constant, or infinity if none was found."""
    step = 0
    for _ in range(MOST_PIECES):
        end, is_constant = piece_at(schedule, step)
        if math.isinf(end):
            return step if is_constant else math.inf
        step = int(end)
        if step >= schedule.length:
            break
    return math.inf


def engine_recurrence(algorithm: LinearAlgorithm, h: Array) -> SparseRecurrence:
    """Return the arrays of a recurrence, with a term for whole periods if there are any."""
    sparse = sparse_recurrence(checked_recurrence(algorithm, h), h.size)
    period = find_period(algorithm, Constant(1.0))
    return sparse if period is None else with_period(sparse, h.size, period)


def with_period(recurrence: SparseRecurrence, size: int, period: Period) -> SparseRecurrence:
    """Add the map of a period as a last term to a recurrence over `size` coordinates."""
    n = len(recurrence.read)
    terms = period.weights.shape[1]
    scale, segments = _segment_maps(recurrence, size, period)
    change, noise = segments[0]
    for segment in segments[1:]:
        change, noise = _composed(segment, (change, noise))
    factor = _cholesky(noise) * scale[:, None, None]
    values = [*recurrence.values]
    entries, factors = recurrence.entries.tolist(), recurrence.factors.tolist()
    with np.errstate(invalid="ignore"):
        arrays = np.clip(np.concatenate([change, factor], axis=2), -LARGEST, LARGEST)
    arrays = np.where(np.isnan(arrays), LARGEST, arrays)
    for row in range(n):
        for column in range(2 * n):
            array = np.ascontiguousarray(arrays[:, row, column])
            if array.any():
                entries.append([terms, row, column, len(values)])
                factors.append(1.0)
                values.append(array)
    return recurrence._replace(
        values=np.array(values),
        entries=np.array(entries, dtype=np.int64).reshape(-1, 4),
        factors=np.array(factors),
    )


Map = tuple[Array, Array]
"""A - I, and the covariance of the noise: two arrays (d, n, n)."""


def without_period(recurrence: SparseRecurrence, period: Period) -> SparseRecurrence:
    """Return a recurrence without the term that `with_period` has added."""
    kept = recurrence.entries[:, 0] < period.weights.shape[1]
    sources = recurrence.entries[kept, 3]
    return recurrence._replace(
        values=recurrence.values[: sources.max(initial=-1) + 1],
        entries=recurrence.entries[kept],
        factors=recurrence.factors[kept],
    )


def one_step_maps(recurrence: SparseRecurrence, size: int, weights: Array) -> Array:
    """Return A - I and b for rows of weights, shape (rows, d, n, n + 1)."""
    n = len(recurrence.read)
    dense = np.zeros((len(weights), size, n, n + 1))
    with np.errstate(over="ignore", invalid="ignore"):
        for (term, row, column, source), factor in zip(
            recurrence.entries, recurrence.factors, strict=True
        ):
            array = recurrence.values[source] if source >= 0 else 1.0
            dense[:, :, row, column] += (weights[:, term] * factor)[:, None] * array
    return dense


def _segment_maps(
    recurrence: SparseRecurrence, size: int, period: Period
) -> tuple[Array, list[Map]]:
    """Return the largest kick of each coordinate, (d,), and each segment's map in its unit."""
    n = len(recurrence.read)
    dense = one_step_maps(recurrence, size, period.weights)
    scale = np.abs(dense[..., n]).max(axis=(0, 2))
    scale = np.where((scale > 0.0) & np.isfinite(scale), scale, 1.0)
    maps = []
    for step, length in zip(dense, period.length.tolist(), strict=True):
        kick = step[..., n] / scale[:, None]
        maps.append(_power((step[..., :n], kick[:, :, None] * kick[:, None, :]), length))
    return scale, maps


def _product(x: Array, y: Array) -> Array:
    """Multiply matrices (d, n, n) with sums in one order, which leaps need, not that of BLAS."""
    total = x[:, :, :1] * y[:, :1]
    for k in range(1, x.shape[2]):
        total = total + x[:, :, k : k + 1] * y[:, k : k + 1]
    return total


def _composed(second: Map, first: Map) -> Map:
    """Return the map of `first`, then `second`."""
    with np.errstate(over="ignore", invalid="ignore"):
        whole = second[0] + np.eye(second[0].shape[1])
        change = (second[0] + first[0]) + _product(second[0], first[0])
        carried = _product(_product(whole, first[1]), whole.transpose(0, 2, 1))
        return change, second[1] + carried


def _power(step: Map, steps: int) -> Map:
    """Return the map of some steps, at least one, from that of one."""
    answer = None
    while True:
        if steps & 1:
            answer = step if answer is None else _composed(step, answer)
        steps >>= 1
        if not steps:
            assert answer is not None
            return answer
        step = _composed(step, step)


def _cholesky(covariance: Array) -> Array:
    """Return lower Cholesky factors, (d, n, n); a column without variance is zero."""
    n = covariance.shape[1]
    factor = np.zeros_like(covariance)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for b in range(n):
            pivot = covariance[:, b, b] - (factor[:, b, :b] ** 2).sum(axis=1)
            # What rounding leaves of a variance that is no more is no direction of its own.
            is_noise = pivot > 1e-14 * covariance[:, b, b]
            root = np.sqrt(np.where(is_noise, pivot, 0.0))
            factor[:, b, b] = root
            for a in range(b + 1, n):
                rest = covariance[:, a, b] - (factor[:, a, :b] * factor[:, b, :b]).sum(axis=1)
                factor[:, a, b] = np.where(is_noise, rest / np.where(is_noise, root, 1.0), 0.0)
    return factor


class Cut(NamedTuple):
    """Steps of a period's timeline cut by records, as consecutive segments."""

    kinds: NDArray[np.int64]
    """Number of each segment in the period, or -1 for whole periods, shape (segments,)."""
    lengths: NDArray[np.int64]
    """Steps, or whole periods, shape (segments,)."""
    record_segment: NDArray[np.int64]
    record_offset: NDArray[np.int64]
    """Each record is that many steps, or whole periods, after the start of its segment."""


def cut_by_records(period: Period, records: Sequence[int]) -> Cut:
    """Cut the steps up to the last record; records are ascending steps from the period's begin."""
    found: list[tuple[int, int]] = []
    segment, offset = [], []
    done = 0
    for record in records:
        found += period.segments(done, record)
        done = record
        segment.append(max(len(found) - 1, 0))
        offset.append(found[-1][1] if found else 0)
    kinds, lengths = zip(*(found or [(0, 1)]), strict=True)
    return Cut(*(np.array(x, dtype=np.int64) for x in (kinds, lengths, segment, offset)))
