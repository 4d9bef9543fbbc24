"""The timeline of the exact engine: segments of steps, with what kernels multiply in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import LinearAlgorithm
from ..algorithms.sparse import sizes_of, term_weights
from ..foundation.validation import Array
from ..schedules import Schedule
from ..schedules.timeline import WINDOW, piece_at, segments, values_at
from .periodic import WHOLE, Period, cut_by_records, find_period, is_periodic

MOST_ROUGH = 1 << 20
"""Segments that stand for many steps each, at most, which bounds the memory."""
MOST_CHANGES = 2.0
"""By how many times a small part settings may differ in a segment that stands for its steps."""


class WeightedSegments(NamedTuple):
    """Consecutive segments of steps with constant settings, as arrays that kernels take."""

    start: NDArray[np.int64]
    """First step of each segment, shape (segments,)."""
    length: NDArray[np.int64]
    """Number of steps, shape (segments,)."""
    weights: Array
    """Factor of each term of the recurrence, shape (segments, terms)."""
    inverse_batch: Array
    """1 / batch size, shape (segments,)."""
    is_constant: bool
    """Whether there is only one segment, which never ends."""


def weighted_segments(
    algorithm: LinearAlgorithm, batch_size: Schedule, stop: int
) -> Iterator[WeightedSegments]:
    """Yield the segments of steps 0 .. stop - 1, about `WINDOW` at a time.

    The weights of an algorithm with a period end with that of the period's term, which is 0.
    """
    terms = sizes_of(algorithm).terms
    more = int(is_periodic(algorithm))
    schedules = [*algorithm.schedules.values(), batch_size]
    batches = algorithm.batches_per_step
    one_constant_piece = (math.inf, True)
    if not algorithm.depends_on_step and all(
        piece_at(schedule, 0) == one_constant_piece for schedule in schedules
    ):
        zero = np.zeros(1, dtype=np.int64)
        weights = term_weights(algorithm, terms, values_at(algorithm.lr, zero), zero)
        inverse_batch = 1.0 / (batches * values_at(batch_size, zero))
        yield WeightedSegments(zero, np.array([max(stop, WINDOW)]), weights, inverse_batch, True)
        return
    for part in segments(schedules, stop, merge=not algorithm.depends_on_step):
        weights = term_weights(algorithm, terms, part.values[0], part.start)
        weights = np.pad(weights, ((0, 0), (0, more))) if more else weights
        inverse_batch = 1.0 / (batches * part.values[-1])
        yield WeightedSegments(part.start, part.length, weights, inverse_batch, False)


def every_step(
    algorithm: LinearAlgorithm, batch_size: Schedule, stop: int
) -> Iterator[tuple[Array, float]]:
    """Yield the weights of terms and 1 / batch size of each of the steps 0 .. stop - 1."""
    done = 0
    for part in weighted_segments(algorithm, batch_size, stop):
        for weights, inverse_batch, length in zip(
            part.weights, part.inverse_batch.tolist(), part.length.tolist(), strict=True
        ):
            for _ in range(min(length, stop - done)):
                yield weights, inverse_batch
            done += length
            if done >= stop:
                return


def rough_segments(
    algorithm: LinearAlgorithm, batch_size: Schedule, stop: int, change: float
) -> WeightedSegments | None:
    """Return few segments of steps 0 .. stop - 1, whose settings are those in their middles.

    There is no answer where they would be too many.

    They differ by a small part from its first step to its last one, as weights that change slowly
    do in more and more steps; a change to both sides of a middle is off by the square of it.
    """
    terms = sizes_of(algorithm).terms
    schedules = [*algorithm.schedules.values(), batch_size]
    batches = algorithm.batches_per_step

    def settings(steps: NDArray[np.int64]) -> Array:
        weights = term_weights(algorithm, terms, values_at(algorithm.lr, steps), steps)
        return np.column_stack([weights, 1.0 / (batches * values_at(batch_size, steps))])

    starts = [np.zeros(0, dtype=np.int64)]
    begin = 0
    while begin < stop:
        pieces = [piece_at(schedule, begin) for schedule in schedules]
        end = int(min(stop, *(last for last, _ in pieces)))
        count = 1
        if algorithm.depends_on_step or not all(is_constant for _, is_constant in pieces):
            count = 1 + math.ceil(math.log(end - begin) / change)
        edges = np.unique(np.geomspace(1.0, end - begin, count + 1).astype(np.int64))[:-1]
        starts.append(begin + np.append(0, edges))
        begin = end
    start = np.concatenate(starts)
    length = np.diff(start, append=stop)
    first, last = settings(start), settings(start + length - 1)
    differs = (np.abs(last - first) > MOST_CHANGES * change * np.abs(first)).any(axis=1)
    # There every step is a segment.
    counts = np.where(differs, length, 1)
    if counts.sum() > MOST_ROUGH:
        return None
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    start = np.repeat(start, counts) + offset
    length = np.diff(start, append=stop)
    middle = settings(start + (length - 1) // 2)
    weights, inverse_batch = middle[:, :-1].copy(), middle[:, -1].copy()
    return WeightedSegments(start, length, weights, inverse_batch, False)


class RecordedSegments(NamedTuple):
    """Consecutive segments, and the records that fall into them."""

    segments: WeightedSegments
    record_segment: NDArray[np.int64]
    """Index of the segment of each record, shape (records,)."""
    record_offset: NDArray[np.int64]
    """Steps from the start of that segment to the record, shape (records,)."""
    is_last: bool
    """Whether no record follows."""


def with_records(
    parts: Iterator[WeightedSegments], steps: NDArray[np.int64]
) -> Iterator[RecordedSegments]:
    """Find the records, at ascending steps, that fall into each part of the timeline."""
    taken = 0
    for part in parts:
        end = part.start[-1] + part.length[-1]
        is_last = bool(end >= steps[-1])
        stop = steps.size if is_last else int(np.searchsorted(steps, end))
        inside = steps[taken:stop]
        segment = np.searchsorted(part.start, inside, side="right") - 1
        yield RecordedSegments(part, segment, inside - part.start[segment], is_last)
        taken = stop


def recorded_segments(
    algorithm: LinearAlgorithm, batch_size: Schedule, steps: NDArray[np.int64]
) -> Iterator[RecordedSegments]:
    """Yield the segments up to the last of the ascending steps, with the records among them.

    There is at least one segment, for a record at step 0. Where segments repeat for ever, whole
    periods between records are one segment.
    """
    last = max(int(steps[-1]), 1)
    period = find_period(algorithm, batch_size)
    if period is None or last < period.begin + period.steps:
        yield from with_records(weighted_segments(algorithm, batch_size, last), steps)
        return
    taken = 0
    if period.begin:
        for part in with_records(weighted_segments(algorithm, batch_size, period.begin), steps):
            taken += part.record_segment.size
            yield part
    yield period_records(period, steps[taken:] - period.begin)


def period_records(period: Period, records: NDArray[np.int64]) -> RecordedSegments:
    """Return the segments of a period's timeline up to the last of the records, from its begin."""
    cut = cut_by_records(period, records.tolist())
    weights = period.segment_weights(cut.kinds)
    inverse_batch = np.full(cut.kinds.size, period.inverse_batch)
    steps = np.where(cut.kinds == WHOLE, period.steps, 1) * cut.lengths
    start = period.begin + np.cumsum(steps) - steps
    segments = WeightedSegments(start, cut.lengths, weights, inverse_batch, False)
    return RecordedSegments(segments, cut.record_segment, cut.record_offset, True)
