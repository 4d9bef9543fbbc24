"""The state of a linear recurrence at given steps, coordinate by coordinate: response and noise.

The risk is a sum over coordinates of what is here. Its law needs them apart: the response of the
state to the initial iterate, which carries the mean and the variance of the start, and the
covariance of the noise that was added on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..algorithms.base import LinearAlgorithm
from ..algorithms.sparse import sizes_of
from ..coordinates.blocks import Block
from ..foundation.validation import Array
from ..schedules import Schedule
from .periodic import engine_recurrence, find_period
from .timeline import weighted_segments
from .units import Units, block_in_units, plain_units, recurrence_with_units


class Passage(NamedTuple):
    """Consecutive segments of constant settings, up to a recorded step or on the way to it."""

    weights: Array
    """Factor of each term of the recurrence, shape (segments, terms)."""
    inverse_batch: Array
    """1 / batch size, shape (segments,)."""
    length: NDArray[np.int64]
    """Number of steps, shape (segments,)."""
    ends_at_record: bool


def passages(
    algorithm: LinearAlgorithm, batch_size: Schedule, records: NDArray[np.int64]
) -> Iterator[Passage]:
    """Yield what lies between consecutive records, which are ascending steps, from step 0 on.

    A long way under a varying schedule comes in several parts, which bounds the memory.
    """
    last = max(int(records[-1]), 1)
    period = find_period(algorithm, batch_size)
    if period is None or last < period.begin + period.steps:
        yield from _passages_of_segments(algorithm, batch_size, records)
        return
    early = records[records < period.begin]
    seen = 0
    if period.begin:
        stops = np.append(early, period.begin)
        for passage in _passages_of_segments(algorithm, batch_size, stops):
            seen += passage.ends_at_record
            yield passage._replace(ends_at_record=passage.ends_at_record and seen <= early.size)
    done = period.begin
    for record in records[early.size :].tolist():
        found = period.segments(done - period.begin, record - period.begin)
        yield Passage(*period.columns(found), True)
        done = record


def _passages_of_segments(
    algorithm: LinearAlgorithm, batch_size: Schedule, records: NDArray[np.int64]
) -> Iterator[Passage]:
    """Yield what lies between consecutive records, segment by segment."""
    waiting = iter(records.tolist())
    record = next(waiting, None)
    for part in weighted_segments(algorithm, batch_size, max(int(records[-1]), 1)):
        begin, end = int(part.start[0]), int(part.start[-1] + part.length[-1])
        while record is not None and begin <= record:
            stop = min(record, end)
            first = int(np.searchsorted(part.start, begin, side="right")) - 1
            last = int(np.searchsorted(part.start, stop, side="left"))
            edges = np.append(part.start[first:last], stop)
            edges[0] = begin
            inside = slice(first, last) if last > first else slice(first, first)
            yield Passage(
                part.weights[inside], part.inverse_batch[inside], np.diff(edges), stop == record
            )
            begin = stop
            if stop < record:
                break
            record = next(waiting, None)
        if record is None:
            return


def first_weights(
    algorithm: LinearAlgorithm, batch_size: Schedule, records: NDArray[np.int64]
) -> Array:
    """Return the weights of terms in the first steps up to the last record, (segments, terms)."""
    every = (passage.weights for passage in passages(algorithm, batch_size, records))
    none = np.zeros((1, sizes_of(algorithm).terms))
    return next((weights for weights in every if len(weights)), none)


class States:
    """The state of some coordinates on its way through the steps.

    Parameters
    ----------
    block : Block
        Of d coordinates.
    algorithm : LinearAlgorithm
    weights : ndarray, shape (segments, terms), optional
        Of some steps. With them all is in units (see `units`) in which no product leaves the range
        of a double on the way; the default are the units of the problem.

    Attributes
    ----------
    block : Block
        The coordinates in these units.
    units : Units
    components : int
        Numbers in the state of a coordinate, n.
    read, start : tuples of n floats
        The evaluated iterate is ``read . s``; s starts at ``start * w0``.
    """

    def __init__(
        self, block: Block, algorithm: LinearAlgorithm, weights: Array | None = None
    ) -> None:
        size = block.h.size
        if weights is None:
            recurrence = engine_recurrence(algorithm, block.h)
            self.units = plain_units(len(recurrence.read))
        else:
            self.units, recurrence = recurrence_with_units(block, algorithm, weights)
            block = block_in_units(block, self.units)
        self.block = block
        self._recurrence, self._fields, self._size = recurrence, block[:4], size
        self._propagate = kernels.fastest_backend().moments.propagate
        self.read, self.start = recurrence.read, recurrence.start
        self.components = len(recurrence.read)
        self._lower_triangle = np.tril_indices(self.components)

    def moved(
        self, passage: Passage, carried: Array | None = None, start: tuple[float, ...] | None = None
    ) -> Array:
        """Go through a passage, and return the state at its end.

        Parameters
        ----------
        passage : Passage
        carried : ndarray, shape (2, n + n (n + 1) / 2, d), optional
            The state at its beginning: n responses to ``w0 = 1`` and the covariances of the noise,
            each a sum of two doubles. Without it the state is `start`, without noise.
        start : n floats, optional
            By default the start of the algorithm.
        """
        n = self.components
        rows = n + n * (n + 1) // 2
        state = np.zeros((2, rows, self._size)) if carried is None else carried.copy()
        begin = self.start if start is None else start
        if not passage.length.any():
            if carried is None:
                state[0, :n] = np.array(begin)[:, None]
            return state
        self._propagate(
            *self._recurrence._replace(start=begin),
            passage.weights,
            passage.inverse_batch,
            passage.length,
            np.zeros(0, dtype=np.int64),
            np.zeros(0, dtype=np.int64),
            *self._fields,
            state,
            carried is None,
            False,
            np.zeros((0, -(-self._size // kernels.fastest_backend().moments.TILE))),
        )
        return state

    def covariance(self, carried: Array) -> Array:
        """Return the covariance of the noise in a state, shape (..., d, n, n).

        The state is as `moved` returns it, or several are, of shape (2, ..., rows, d).
        """
        n = self.components
        packed = np.moveaxis(carried[0, ..., n:, :] + carried[1, ..., n:, :], -2, -1)
        a, b = self._lower_triangle
        full = np.empty((*packed.shape[:-1], n, n))
        full[..., a, b] = full[..., b, a] = packed
        return full

    def response(self, carried: Array) -> Array:
        """Return the response of states, as `covariance` takes them, to the start, (..., d, n)."""
        n = self.components
        return np.moveaxis(carried[0, ..., :n, :] + carried[1, ..., :n, :], -2, -1)


class EvaluatedMoments(NamedTuple):
    """Response and noise of the evaluated iterates of a block, at some steps."""

    response: Array
    """The iterate is ``response * w0`` plus noise, shape (records, d)."""
    variance: Array
    """The variance of that noise, shape (records, d)."""
    block: Block
    """The coordinates in the units that these numbers have."""
    units: Units


def evaluated_moments(
    block: Block, algorithm: LinearAlgorithm, batch_size: Schedule, records: NDArray[np.int64]
) -> EvaluatedMoments:
    """Compute what the evaluated iterate of each coordinate is made of, at ascending steps."""
    states = States(block, algorithm, first_weights(algorithm, batch_size, records))
    read = np.array(states.read)
    shape = records.size, block.h.size
    response, variance = np.empty(shape), np.empty(shape)
    carried = None
    row = 0
    for passage in passages(algorithm, batch_size, records):
        carried = states.moved(passage, carried)
        if passage.ends_at_record:
            with np.errstate(over="ignore", invalid="ignore"):
                response[row] = states.response(carried) @ read
                noise = np.einsum("a,iab,b->i", read, states.covariance(carried), read)
            variance[row] = np.where(noise < 0.0, 0.0, noise)  # Below zero is a rounding error.
            row += 1
    return EvaluatedMoments(response, variance, states.block, states.units)
