"""The expected risk as a curve, where the noise of each coordinate depends on all others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...algorithms.base import LinearAlgorithm
from ...foundation.validation import Array
from ...noise import Noise
from ...schedules import Schedule
from ..periodic import Period, find_period
from ..timeline import WeightedSegments, weighted_segments
from .maps import CoupledBlock, Recurrences
from .panels import LONGEST, PARTS, Chain, Panel, walk
from .whole_periods import WholePeriods, is_worth_powers

WORTH_PANELS = 4 * PARTS
"""Steps of a segment that take longer one by one than the panels' preparation."""
STEPPED = 256
"""Steps that are taken one by one between two answers."""


class _Passage(NamedTuple):
    """Steps that are gone through in one way: a long segment, or every step of short ones."""

    weights: Array
    """Weights of terms, shape (steps, terms), or (1, terms) for a long segment."""
    inverse_batch: Array
    """Shape (steps,) or (1,)."""
    length: float
    """Number of steps, inf if it has no end."""

    def until(self, steps: int) -> _Passage:
        """Return its first steps."""
        chosen = slice(0, steps)
        return _Passage(self.weights[chosen], self.inverse_batch[chosen], min(self.length, steps))


def _passages(part: WeightedSegments, noise: Noise) -> Iterator[_Passage]:
    """Yield the passages of consecutive segments."""
    inverse_batch = noise.inverse_batch(1.0 / part.inverse_batch)
    if part.is_constant:
        yield _Passage(part.weights, inverse_batch, math.inf)
        return
    is_long = part.length >= WORTH_PANELS
    edges = np.flatnonzero(is_long[1:] | is_long[:-1]) + 1
    for first, last in pairwise([0, *edges.tolist(), is_long.size]):
        weights, inverse = part.weights[first:last], inverse_batch[first:last]
        length = part.length[first:last]
        if not is_long[first]:
            weights, inverse = np.repeat(weights, length, axis=0), np.repeat(inverse, length)
        yield _Passage(weights, inverse, int(length.sum()))


class Curve:
    """The risk of a block of coordinates at all steps."""

    def __init__(
        self, block: CoupledBlock, algorithm: LinearAlgorithm, batch_size: Schedule, noise: Noise
    ) -> None:
        self._algorithm, self._batch_size, self._noise = algorithm, batch_size, noise
        self._rows = Recurrences(algorithm, block)

    def at(self, steps: NDArray[np.int64], *, most: float = math.inf) -> Array:
        """Return the risk at ascending steps; after one beyond `most` it is not followed, but inf.

        The curve of a setting that diverges changes too fast for long panels.
        """
        period = find_period(self._algorithm, self._batch_size)
        last = int(steps[-1])
        if period is not None and is_worth_powers(self._rows, period.steps, last - period.begin):
            return self._through_periods(period, steps)
        risk = np.full(steps.shape, math.inf)
        taken = 0
        for panel in self.panels(int(steps[-1])):
            if panel.risk[0] > most:
                break
            stop = int(np.searchsorted(steps, panel.last, side="right"))
            risk[taken:stop] = panel.at(steps[taken:stop])
            taken = stop
        return risk

    def _through_periods(self, period: Period, steps: NDArray[np.int64]) -> Array:
        """Return the risk at ascending steps, the last of them far beyond a period's begin."""
        risk = np.full(steps.shape, math.inf)
        taken, moments = 0, self._rows.start
        for panel, reached in self._walked(period.begin, is_cut=True):
            stop = int(np.searchsorted(steps, panel.last))
            risk[taken:stop] = panel.at(steps[taken:stop])
            taken, moments = stop, reached
        weights = np.repeat(period.weights, period.length, axis=0)
        batch = np.array([1.0 / period.inverse_batch])
        whole = WholePeriods(self._rows, weights, float(self._noise.inverse_batch(batch)[0]))
        if np.isfinite(moments).all():
            risk[taken:] = whole.at(moments, steps[taken:] - period.begin)
        return risk

    @property
    def start(self) -> float:
        """The risk before the first step."""
        return float((self._rows.start * self._rows.risk_weight).sum())

    def panels(self, stop: int) -> Iterator[Panel]:
        """Yield the panels of steps 0 .. stop, which overlap at their ends, in order."""
        done, moments = 0, self._rows.start
        for panel, reached in self._walked(stop):
            yield panel
            done, moments = panel.last, reached
        if done < stop and not np.isfinite(moments).all():
            yield Panel(done, LONGEST, np.full(PARTS + 1, math.inf))

    def _walked(self, stop: int, *, is_cut: bool = False) -> Iterator[tuple[Panel, Array]]:
        """Yield panels with last moments until a step, or until these have left the range.

        The last panel may go beyond that step unless it `is_cut` there.
        """
        moments, done = self._rows.start, 0
        for part in weighted_segments(self._algorithm, self._batch_size, max(stop, 1)):
            for passage in _passages(part, self._noise):
                cut = passage.until(stop - done) if is_cut else passage
                for panel, reached in self._through(cut, moments, done):
                    yield panel, reached
                    moments, done = reached, panel.last
                    if done >= stop or not np.isfinite(moments).all():
                        return

    def _through(
        self, passage: _Passage, moments: Array, first: int
    ) -> Iterator[tuple[Panel, Array]]:
        """Yield the panels of a passage, with last moments."""
        end = first + passage.length
        if len(passage.weights) == 1 and passage.length > 1:
            weights, inverse = passage.weights, passage.inverse_batch
            chain = Chain(self._rows, self._rows.step(weights[0], float(inverse[0])))
            setting = np.tile(weights, (PARTS, 1)), np.tile(inverse, PARTS)

            def one_by_one(moments: Array) -> tuple[Array, Array]:
                return self._rows.stepped(moments, *setting)

            for panel, reached in walk(chain, one_by_one, moments, first, end):
                yield panel, reached
                first, moments = panel.last, reached
            rest = int(end) - first
            passage = _Passage(np.tile(weights, (rest, 1)), np.tile(inverse, rest), rest)
        for begin in range(0, int(passage.length), STEPPED):
            chosen = slice(begin, begin + STEPPED)
            risk, moments = self._rows.stepped(
                moments, passage.weights[chosen], passage.inverse_batch[chosen]
            )
            yield Panel(first + begin, 0, risk), moments
