"""The losses that parameters predict for runs, and their derivatives."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..foundation.validation import Array
from .directions import dim_of, directions, measures
from .parameters import ALL
from .responses import (
    EDGE,
    Axis,
    Response,
    averaged_response,
    axis_of,
    edge_of,
    places,
    plain_response,
    schedule_pieces,
)
from .training_run import TrainingRun
from .units import Place, Units, Values, place, shift

POWERS: Array = np.array([-0.6, -0.3, 0.0, 0.3, 0.6])
"""Values of `lr_power` at which responses are tabulated; others are interpolated."""
LOWEST_SHIFT = -20.0
"""Log of the lowest rate that is looked at where it is tuned, in units of 1 / h."""
MONOMIALS: Array = np.linalg.inv(np.vander(POWERS, increasing=True)).T.astype(np.float64)
"""Coefficients of the polynomials that are 1 at one of these and 0 at the others."""
HALVES = slice(0, 2), slice(2, 4)
"""Sums of initial risks, and of noise."""
KEPT_SUMS = 1 << 10
"""Runs of one dimension have the same sum of initial risks beyond it."""
STEP = 1e-6
"""Step of difference quotients, of functions that are known to all digits."""


class Tables(NamedTuple):
    """Responses of a run at several values of `lr_power`, and how they are combined."""

    responses: Response
    """Their functions, each of shape (values, records, places of the axis)."""
    factors: Array
    """Shape (values,)."""
    slopes: Array | None = None
    """The derivatives of these with respect to `lr_power`."""

    @classmethod
    def of(cls, responses: Sequence[Response]) -> Tables:
        """Put responses into tables."""
        columns = zip(*responses, strict=True)
        return cls(Response(*map(np.array, columns)), np.ones(len(responses)))

    def sums(self, table: Array, weights: Array) -> tuple[Array, Array]:
        """Sum one of the functions over the axis.

        Parameters
        ----------
        table : ndarray, shape (values, records, places)
        weights : ndarray, shape (sums, places)

        Returns
        -------
        sums, slopes : ndarray, shape (sums, records)
            And their derivatives with respect to `lr_power`, which are 0 if none were asked for.
        """
        values, records, places = table.shape
        each = table.reshape(-1, places) @ weights.T
        shape = records, weights.shape[0]
        if self.slopes is None:
            return each.T, np.zeros(shape[::-1])
        found = self.factors @ each.reshape(values, -1), self.slopes @ each.reshape(values, -1)
        return found[0].reshape(shape).T, found[1].reshape(shape).T

    def last(self, record: int) -> tuple[Array, Array, Array]:
        """Return the functions at one record, each of shape (places,)."""
        start, noise, floor = (self.factors @ table[:, record] for table in self.responses)
        return start, noise, floor


class PreparedRun:
    """A run with the responses of its schedules, which are computed when they are needed."""

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        records, self.position = np.unique(run.steps.reshape(-1), return_inverse=True)
        self._starts = int(records[0] == 0)
        self._records = records[self._starts :]
        self._tables: dict[float, Tables] = {}
        self._interpolated: Tables | None = None
        self._places: dict[Units, Place] = {}

    def place(self, units: Units) -> Place:
        """Find the place of the run, once."""
        if units not in self._places:
            self._places[units] = place(self.run, units)
        return self._places[units]

    def tables(self, power: float, with_slope: bool) -> Tables:
        """Tabulate responses for a value of `lr_power`.

        If their derivative is asked for they are those of several values, between which they are
        interpolated, as searches go through many; else that of the very value.
        """
        if not with_slope:
            if power not in self._tables:  # one at a time, as tables of many records are large
                self._tables = {power: Tables.of([self._computed(power)])}
            return self._tables[power]
        if self._interpolated is None:
            self._interpolated = Tables.of([self._computed(float(node)) for node in POWERS])
        factors, slopes = _interpolation(power)
        return self._interpolated._replace(factors=factors, slopes=slopes)

    def _computed(self, power: float) -> Response:
        """Compute a response at all records."""
        run, count = self.run, self._records.size
        # At step 0 all of the initial risk is there.
        first = np.ones((self._starts, places(axis_of(self.run.momentum)).size))
        found = Response(first, 0.0 * first, 0.0 * first)
        if count:
            pieces = schedule_pieces(
                run.lr, run.batch_size, self._records, run.peak_lr, 1.0 + power
            )
            if run.momentum or run.ema:
                later = averaged_response(pieces, count, run.momentum, run.ema)
            else:
                later = plain_response(pieces, count, EDGE)
            found = Response(*map(np.concatenate, zip(found, later, strict=True)))
        return Response(*(rows[self.position] for rows in found))


@lru_cache(maxsize=1)
def prepared(run: TrainingRun) -> PreparedRun:
    """Prepare a run; the last one is kept, as its loss and an interval are asked for together."""
    return PreparedRun(run)


def _interpolation(power: float) -> tuple[Array, Array]:
    """Compute the factors of tabulated values in the value at `power`, and their derivatives."""
    powers = power ** np.arange(POWERS.size)
    slopes = np.append(0.0, np.arange(1, POWERS.size) * powers[:-1])
    return MONOMIALS @ powers, MONOMIALS @ slopes


class Sums(NamedTuple):
    """Sums over directions as weights of the axis's places, each of shape (4, places).

    They are plain and times log i, and both again as derivatives when all directions move.
    """

    start: Array
    noise: Array


class Prediction(NamedTuple):
    """Losses of a run."""

    loss: Array
    """Shape (records,)."""
    slopes: dict[str, Array]
    """Derivatives with respect to each parameter, by name, of the same shape."""


def predict(
    values: Values,
    prepared: PreparedRun,
    units: Units,
    *,
    free: Collection[str] = ALL,
    known: dict[tuple[int, float, Axis], Sums] | None = None,
) -> Prediction:
    """Predict the losses of a run at its records.

    Parameters
    ----------
    values : mapping
        All parameters by name.
    prepared : PreparedRun
    units : Units
        Of the values.
    free : collection of str
        Parameters with respect to which derivatives are asked for; others may be without.
    known : dict, optional
        Where sums over directions are kept, which are alike for runs of one dimension and rate.
    """
    at = prepared.place(units)
    p = values["start_exponent"]
    dim = dim_of(prepared.run.dim)
    tables = prepared.tables(values["lr_power"], "lr_power" in free)
    largest, at = _settled(values, prepared, tables, units, at)
    where = dim, largest, axis_of(prepared.run.momentum)
    sums = None if known is None else known.get(where)
    if sums is None:
        sums = _sums(values, *where, units)
        if known is not None:
            known[where] = sums
    floor = math.expm1(values["noise_floor"]) / units.batch_size
    initial_sums, noise_sums = sums
    starts, starts_by_power = tables.sums(tables.responses.start, initial_sums)
    noises, noises_by_power = tables.sums(tables.responses.noise, noise_sums)
    floors = np.zeros(noises.shape)
    if floor or "noise_floor" in free:
        floors, floors_by_power = tables.sums(tables.responses.floor, noise_sums)
        noises, noises_by_power = noises + floor * floors, noises_by_power + floor * floors_by_power
    left, added = starts[0], noises[0]
    initial = units.loss * math.exp(values["start"])
    tail, tail_slope = (0.5 * initial * x for x in _zeta(p, dim + 1.0))
    irreducible = units.loss * math.exp(values["irreducible"])
    moved = starts[2] + noises[2]
    if math.isnan(at.lr):  # The best rate undoes whatever moves all directions.
        moved, at = 0.0 * moved, at._replace(lr=0.0)
    slopes = {
        "scale": moved,
        "exponent": -(starts[3] + noises[3]),
        "start": left + tail,
        "start_exponent": tail_slope - starts[1],
        "noise": added,
        "noise_exponent": -noises[1],
        "irreducible": np.full(left.shape, irreducible),
        "noise_floor": (floor + 1.0 / units.batch_size) * floors[0],
        "batch_power": moved * at.batch,
        "dim_power": moved * at.dim,
        "lr_power": moved * at.lr + starts_by_power[0] + noises_by_power[0],
    }
    return Prediction(left + added + tail + irreducible, slopes)


def _settled(
    values: Values, prepared: PreparedRun, tables: Tables, units: Units, at: Place
) -> tuple[float, Place]:
    """Find the log of the largest curvature times the highest rate, and where that puts a run.

    A tuned run has a place for its rate only if that is the highest one by its sharpness.
    """
    if not math.isnan(at.lr):
        return shift(values, at), at
    run = prepared.run
    edge = edge_of(run.momentum)
    best = _best_shift(values, prepared, tables, units, math.log(edge))
    if run.sharpness is not None:
        highest = at._replace(lr=math.log(edge / (run.sharpness * units.lr)))
        if shift(values, highest) < best:
            return shift(values, highest), highest
    return best, at


def _best_shift(
    values: Values, prepared: PreparedRun, tables: Tables, units: Units, edge: float
) -> float:
    """Find the logarithm of curvature times rate, up to an edge, of the lowest last loss.

    Along the axis of responses a shift by whole places moves the directions' weights, so that all
    of these shifts are one correlation; between them a parabola is taken.
    """
    axis = axis_of(prepared.run.momentum)
    # The steepest of these directions moves from place to place, without interpolation.
    sums = _sums(values, dim_of(prepared.run.dim), 0.0, axis._replace(wall=math.inf), units)
    start, noise, of_one = tables.last(int(np.argmax(prepared.run.steps.reshape(-1))))
    floor = math.expm1(values["noise_floor"]) / units.batch_size
    added = noise + floor * of_one
    # The first place beyond the edge is that of the edge itself, where directions are held.
    lowest, highest = round(LOWEST_SHIFT / axis.spacing), math.ceil(edge / axis.spacing)
    moves = np.arange(lowest, highest + 1)
    # Beyond the ends of the axis responses are as they are at its ends.
    padded = [np.pad(x, (-lowest, highest), "edge") for x in (start, added)]
    first, second = (
        np.correlate(x, weights, "valid")
        for x, weights in zip(padded, (sums.start[0], sums.noise[0]), strict=True)
    )
    losses = first + second
    best = int(np.argmin(losses))
    at_best = float(moves[best] * axis.spacing)
    # The steepest direction is at a place, which matters where its response is steep, too.
    if best in (0, moves.size - 1) or at_best >= axis.wall - axis.spacing:
        return min(at_best, edge)
    left, middle, right = losses[best - 1 : best + 2]
    between = 0.5 * (left - right) / (left - 2.0 * middle + right)
    return min(float((moves[best] + between) * axis.spacing), edge)


def _sums(values: Values, dim: int, largest: float, axis: Axis, units: Units) -> Sums:
    """Distribute initial risks and noise of all directions, each also times log i."""
    log_i, count = directions(dim)
    logs = largest - values["exponent"] * log_i
    half = 0.5 * count * units.loss
    start = half * np.exp(values["start"] - values["start_exponent"] * log_i)
    noise = half * units.batch_size * np.exp(values["noise"] - values["noise_exponent"] * log_i)
    found = measures(logs, np.array([start, start * log_i, noise, noise * log_i]), axis)
    halves = (np.concatenate([found.weights[k], found.moved[k]]) for k in HALVES)
    return Sums(*halves)


def beyond(start_exponent: float, dim: int) -> float:
    """Return the initial risk of directions beyond a number, where `start` is 1."""
    return 0.5 * _zeta(start_exponent, dim + 1.0)[0]


@lru_cache(maxsize=KEPT_SUMS)
def _zeta(p: float, first: float) -> tuple[float, float]:
    """Sum i^-p from `first` on, and its derivative with respect to p."""
    from scipy.special import zeta

    return float(zeta(p, first)), float((zeta(p + STEP, first) - zeta(p, first)) / STEP)
