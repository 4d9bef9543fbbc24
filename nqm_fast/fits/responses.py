"""The effect of a run's schedules on a direction, tabulated over its curvature.

A direction of curvature h contributes ``start A(z) + (c / h) F(z)`` to the loss, where
z = log(h lr) at the highest learning rate of the run. A is what is left of the initial risk, and F
is the risk that noise has added, per c / h. Both depend on the run's schedules alone and are smooth
in z. So they are computed once, and a fit evaluates no schedule again: it moves the directions'
places on the axis of z.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.sgd import SGD
from ..exact.coordinate_moments import moments
from ..foundation.validation import Array
from ..problem import Problem
from ..schedules import Piecewise, Schedule
from ..schedules.timeline import values_at

LOWEST, HIGHEST = -34.0, 1.6
"""The ends of the axis. Steeper directions are as those at its end: a network's curvature does not
go far beyond the edge of stability of its highest rate."""
PIECES = 96
"""Pieces of constant settings that stand for a schedule, beside those that end at records."""
SAMPLED = 64
"""Steps of a piece at which schedules are looked up, at most."""
EDGE = 1.99
"""Products of rate and curvature are held below it, which is the edge of stability."""


class Axis(NamedTuple):
    """Places at which responses are tabulated: logarithms of h times the highest learning rate."""

    spacing: float
    """Distance between neighbouring places."""
    wall: float
    """From here on interpolation is linear: what is left without momentum rises from nothing in a
    place or two, up to what is held at the edge of stability, and a cubic would go below 0."""


PLAIN = Axis(0.05, 0.05 * round((math.log(EDGE) - 0.1) / 0.05))
"""Its wall is at a place, where both interpolations have the same value."""
OSCILLATING = Axis(0.0125, math.inf)
"""With momentum directions oscillate, at frequencies that change from place to place."""


def axis_of(momentum: float) -> Axis:
    """Return the axis of a run's responses."""
    return OSCILLATING if momentum else PLAIN


@cache
def places(axis: Axis) -> Array:
    """Return the places of an axis, shape (places,)."""
    first, last = (round(end / axis.spacing) for end in (LOWEST, HIGHEST))
    return axis.spacing * np.arange(first, last + 1, dtype=np.float64)


class Pieces(NamedTuple):
    """A run's schedules as pieces of constant settings."""

    length: Array
    """Steps of each piece, shape (pieces,) like all fields."""
    lr: Array
    """Learning rate, in units of the highest one."""
    inverse_batch: Array
    """One over the batch size that adds as much noise as the true one does."""
    record: NDArray[np.int64]
    """Numbers of the records at the ends of pieces, or -1."""


def schedule_pieces(
    lr: Schedule, batch_size: Schedule, records: NDArray[np.int64], peak: float, power: float
) -> Pieces:
    """Cut a run's steps into pieces.

    Parameters
    ----------
    lr, batch_size : Schedule
    records : ndarray of int
        Recorded steps in ascending order, none of them 0.
    peak : float
        The highest learning rate.
    power : float
        Learning rates, in units of the highest, are raised to it.
    """
    last = int(records[-1])
    edges = np.unique(np.concatenate([_edges(lr, last), _edges(batch_size, last), records]))
    edges = edges[(edges > 0) & (edges <= last)]
    begins = np.concatenate([[0], edges[:-1]])
    length = edges - begins
    most = int(min(length.max(), SAMPLED))
    # Midpoints of equal parts of each piece; in a piece of few steps these are the steps.
    parts = np.minimum(length, most)
    index = np.arange(most)
    fraction = (np.minimum(index, parts[:, None] - 1) + 0.5) / parts[:, None]
    steps = begins[:, None] + np.floor(fraction * length[:, None]).astype(np.int64)
    valid = (index < parts[:, None]) / parts[:, None]
    rate = (values_at(lr, steps) / peak) ** power
    inverse = 1.0 / values_at(batch_size, steps)
    mean = (rate * valid).sum(axis=1)
    noise = (rate**2 * inverse * valid).sum(axis=1)
    plain = (inverse * valid).sum(axis=1)
    effective = np.divide(noise, mean**2, out=plain, where=mean > 0.0)
    record = np.searchsorted(records, edges)
    is_record = np.isin(edges, records)
    return Pieces(length.astype(float), mean, effective, np.where(is_record, record, -1))


def _edges(schedule: Schedule, last: int) -> NDArray[np.int64]:
    """Return steps at which pieces end: those of the schedule, and more where it varies."""
    ends: list[NDArray[np.int64]] = [np.array([last])]
    begin = 0
    while begin < last:
        piece_end, constant = schedule.piece(begin)
        end = int(min(piece_end, last))
        ends.append(np.array([end]))
        if not constant:
            # Denser towards both ends, where schedules start from and go to zero.
            angle = np.linspace(0.0, np.pi, PIECES + 1)
            ends.append(begin + np.round((end - begin) * np.sin(angle / 2.0) ** 2).astype(np.int64))
        begin = end
    return np.unique(np.concatenate(ends))


class Response(NamedTuple):
    """The two functions of a run, at each of its records."""

    start: Array
    """The share of the initial risk that is left, shape (records, places of the axis)."""
    noise: Array
    """Risk that noise has added, per c / h, of the same shape."""
    floor: Array
    """The same for noise that is that of one sample, whatever the batch size."""


def plain_response(pieces: Pieces, records: int, edge: float) -> Response:
    """Tabulate the response of plain SGD.

    Parameters
    ----------
    pieces : Pieces
    records : int
    edge : float
        Products of learning rate and curvature are taken to be no larger: the steepest directions
        are held at the edge of stability, as networks hold them.
    """
    h = np.exp(places(PLAIN))
    # What is left of the start, and noise of the batches and of one sample.
    state = np.zeros((3, h.size))
    state[0] = 1.0
    found = np.empty((3, records, h.size))
    for length, lr, inverse, record in zip(*pieces, strict=True):
        x = np.minimum(lr * h, edge)
        with np.errstate(divide="ignore"):
            exponent = np.where(x < 0.5, np.log1p(-np.minimum(x, 0.5)), np.log(np.abs(1.0 - x)))
        change = np.expm1(2.0 * length * exponent)
        kick = -change * x / (2.0 - x)
        state *= 1.0 + change
        state[1] += inverse * kick
        state[2] += kick
        if record >= 0:
            found[:, record] = state
    return Response(*found)


def edge_of(momentum: float) -> float:
    """Return the product of rate and curvature at the edge of stability."""
    return EDGE * (1.0 + momentum)


def averaged_response(pieces: Pieces, records: int, momentum: float, ema: float) -> Response:
    """Tabulate the response of SGD with momentum or an average of its iterates, exactly.

    Directions that are not stable at the highest learning rate are held where they are.
    """
    h = np.exp(places(axis_of(momentum)))
    stable = h < edge_of(momentum)  # an average does not change it
    h = np.minimum(h, h[stable][-1])
    lengths = pieces.length.astype(int).tolist()
    lr = Piecewise(pieces.lr.tolist(), lengths)
    steps = np.cumsum(pieces.length).astype(np.int64)[pieces.record >= 0]
    algorithm = SGD(lr, momentum=momentum, ema=ema)
    batch = Piecewise((1.0 / pieces.inverse_batch).tolist(), lengths)
    found = moments(Problem(h), algorithm, batch, steps)
    noise = 2.0 * found.steady_state
    if (pieces.inverse_batch == pieces.inverse_batch[0]).all():
        floor = noise / pieces.inverse_batch[0]
    else:
        floor = 2.0 * moments(Problem(h), algorithm, 1, steps).steady_state
    return Response(2.0 * found.convergence / h, noise, floor)
