"""The timeline of the exact engine: segments of steps, with what kernels multiply in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import LinearAlgorithm
from ..algorithms.sparse import checked_recurrence, term_weights
from ..schedules import Schedule
from ..timeline import WINDOW, piece_at, segments, values_at
from ..validation import Array


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
    """Yield the segments of steps 0 .. stop - 1, about `WINDOW` at a time."""
    terms = len(checked_recurrence(algorithm, np.ones(1)).terms)
    one_constant_piece = (math.inf, True)
    if (
        not algorithm.depends_on_step
        and piece_at(algorithm.lr, 0) == one_constant_piece
        and piece_at(batch_size, 0) == one_constant_piece
    ):
        zero = np.zeros(1, dtype=np.int64)
        weights = term_weights(algorithm, terms, values_at(algorithm.lr, zero), zero)
        inverse_batch = 1.0 / values_at(batch_size, zero)
        yield WeightedSegments(zero, np.array([max(stop, WINDOW)]), weights, inverse_batch, True)
        return
    for part in segments(algorithm.lr, batch_size, stop, merge=not algorithm.depends_on_step):
        weights = term_weights(algorithm, terms, part.lr, part.start)
        yield WeightedSegments(part.start, part.length, weights, 1.0 / part.batch_size, False)


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
