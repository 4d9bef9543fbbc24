"""The timeline of the exact engine: segments with the weights of a recurrence's terms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import LinearAlgorithm
from ..algorithms.sparse import checked_recurrence, term_weights
from ..schedules import Schedule
from ..timeline import WINDOW, segments
from ..validation import Array


class WeightedSegments(NamedTuple):
    """Consecutive segments of constant settings, as the kernels take them."""

    start: NDArray[np.int64]
    length: NDArray[np.int64]
    weights: Array
    """(segments, terms): what the terms of the recurrence are multiplied with."""
    inverse_batch: Array
    is_constant: bool
    """There is one segment, which never ends."""


def weighted_segments(
    algorithm: LinearAlgorithm, batch_size: Schedule, stop: int
) -> Iterator[WeightedSegments]:
    """The segments of steps 0 .. stop - 1, some thousands at a time."""
    terms = len(checked_recurrence(algorithm, np.ones(1)).terms)
    constant = (math.inf, True)
    if (
        not algorithm.depends_on_step
        and algorithm.lr.piece(0) == constant
        and batch_size.piece(0) == constant
    ):
        zero = np.zeros(1, dtype=np.int64)
        weights = term_weights(algorithm, terms, algorithm.lr.values(zero), zero)
        inverse_batch = 1.0 / batch_size.values(zero)
        yield WeightedSegments(zero, np.array([max(stop, WINDOW)]), weights, inverse_batch, True)
        return
    for part in segments(algorithm.lr, batch_size, stop, merge=not algorithm.depends_on_step):
        weights = term_weights(algorithm, terms, part.lr, part.start)
        yield WeightedSegments(part.start, part.length, weights, 1.0 / part.batch_size, False)


class RecordedSegments(NamedTuple):
    """Some segments, and the records that fall into them, each so many steps after its start."""

    segments: WeightedSegments
    record_segment: NDArray[np.int64]
    record_offset: NDArray[np.int64]
    is_last: bool


def with_records(
    parts: Iterator[WeightedSegments], steps: NDArray[np.int64]
) -> Iterator[RecordedSegments]:
    """Give every part of the timeline the records (ascending steps) that fall into it."""
    taken = 0
    for part in parts:
        end = part.start[-1] + part.length[-1]
        is_last = bool(end >= steps[-1])
        stop = steps.size if is_last else int(np.searchsorted(steps, end))
        inside = steps[taken:stop]
        segment = np.searchsorted(part.start, inside, side="right") - 1
        yield RecordedSegments(part, segment, inside - part.start[segment], is_last)
        taken = stop
