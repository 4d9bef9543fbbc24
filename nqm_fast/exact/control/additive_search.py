"""The search for the learning rates and batch sizes that leave the lowest risk.

Batch sizes are eliminated: given learning rates, the best of them are known in closed form. What is
left is a smooth function of log learning rates, whose gradient takes one sweep back through the
pieces, as batch sizes that are the best do not change it. It is minimised with few pieces from
several starts, and with more from the answer of those.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...algorithms.base import LinearAlgorithm
from ...bounds import SMALLEST_RISK
from ...coordinates.blocks import Block
from ...foundation.validation import Array
from ...problem import Problem
from ..coupled.maps import CoupledBlock
from .batch_budget import BatchLimits, BestBatches, WholeBatches, whole_batches
from .piece_layout import Layout, even_lengths, gathered_lengths, layout
from .piece_maps import Batches
from .piece_models import is_plain, piece_model
from .quasi_newton import lowest_point

COARSE_PIECES = 8
"""Pieces of the first search; each of the next has twice as many."""
START_DECADES = 0.0, 2.0, 4.0
"""Decades by which learning rates fall, from the largest on, in starts other than constant ones."""
SCANNED_RATES = 40
"""Constant learning rates of which the best is a start, a factor of e^0.75 apart."""
SCAN_STEP = 0.75
LIMIT_MARGIN = 1e-9
"""Part by which learning rates stay below the limit of stability, where noise grows without end."""
ROUNDING_PRICE = 1e-6
"""Rise of the log of the risk by whole batches from which on even ones are looked at too."""
WORSE_RATES = 8
"""Lower rates after the best one that are looked at before the scan ends."""
MOST_LR = 1e300
"""The largest learning rate that is tried, whatever is stable."""
MOST_LOG_RISK = 710.0
"""Stands for the log of a risk beyond the range of a double."""
ROUNDING = 1e-13
"""Rounding errors of a risk that has decayed to nothing, in units of the start's."""
RISK_TOLERANCE = 1e-12
"""Change of the log of the risk at which a search ends."""
SLOW_TOLERANCES = 1e-8, 1e-6
"""The same of the log of the risk for algorithms whose search takes long, and one before longer
ones."""


class ControlLimits(NamedTuple):
    """Learning rates and batch sizes that a search may choose."""

    is_rate_free: bool
    may_rise: bool
    """Whether learning rates may rise after the warm-up."""
    largest_lr: float
    warmup: int
    batches: BatchLimits


class Found(NamedTuple):
    """The best learning rates of a budget."""

    log_risk: float
    layout: Layout
    free: Array
    """The free numbers of the layout."""
    place: int
    """Number of the layout among those for a number of steps."""
    batch: Array | None
    """Batch sizes of its pieces, if they do not follow from the learning rates."""

    @property
    def main_rates(self) -> Array:
        """Log learning rates of the pieces after the warm-up."""
        return self.layout.log_rates(self.free)[len(self.layout.stairs) :]


class Descended(NamedTuple):
    """The end of one descent."""

    log_risk: float
    free: Array
    batch: Array | None


class WholePlan(NamedTuple):
    """Learning rates and whole batch sizes of a budget."""

    log_risk: float
    log_rates: Array
    """Shape (pieces,)."""
    lengths: NDArray[np.int64]
    batches: WholeBatches
    found: Found


class ControlSearch:
    """The lowest risk of budgets on the nodes of a block, each solved once."""

    tolerance = rough_tolerance = RISK_TOLERANCE
    """Changes of the log of the risk at which a search ends, and one that a longer one follows."""

    def __init__(
        self,
        problem: Problem,
        block: Block | CoupledBlock,
        algorithm: LinearAlgorithm,
        pieces: int | NDArray[np.int64],
        limits: ControlLimits,
    ) -> None:
        """Take a number of pieces, or their lengths, which are those after a warm-up."""
        self.model, stable = piece_model(block, algorithm, problem.curvature_range)
        with np.errstate(over="ignore"):
            start = 0.5 * np.sum(block.multiplicity * block.h * block.second_moment)
        self._rounding = ROUNDING * float(start)
        stable = min(stable * (1.0 - LIMIT_MARGIN), MOST_LR)
        self.log_limit = math.log(min(limits.largest_lr, stable))
        self.pieces, self.limits = pieces, limits
        if not is_plain(algorithm):
            self.tolerance, self.rough_tolerance = SLOW_TOLERANCES
        self.found: dict[tuple[int, float], Found] = {}
        """Best answers so far, by steps and samples."""
        self.start: Found | None = None
        """The answer of an earlier search, on other nodes, from which this one begins."""

    def begin_with(self, plan: WholePlan) -> None:
        """Begin with learning rates that were found on other nodes."""
        self.start = plan.found

    # -- one schedule ----------------------------------------------------------------------

    def log_risk(
        self, log_rates: Array, lengths: NDArray[np.int64], batches: Batches
    ) -> tuple[float, Array]:
        """Compute the log of the risk, and its derivatives by log learning rates."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            risk, slope, _ = self.model.evaluated(log_rates, lengths, batches)
        # Where states decay to nothing, rounding errors can make a risk negative.
        if -self._rounding <= risk <= 0.0:
            return math.log(SMALLEST_RISK), np.zeros_like(log_rates)
        if not (0.0 < risk < math.inf and np.isfinite(slope).all()):
            return MOST_LOG_RISK, np.zeros_like(log_rates)
        return math.log(risk), slope / risk

    def weights(self, found: Found, samples: float) -> Array:
        """Compute the noise at the end that each piece leaves at batch size 1, shape (pieces,)."""
        rates, lengths = found.layout.log_rates(found.free), found.layout.lengths
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return self.model.evaluated(rates, lengths, self.batches_of(samples)).weights

    def batches_of(self, samples: float) -> BestBatches:
        """Return the best batch sizes of a budget, as a function of the weights of pieces."""
        return BestBatches(samples, self.limits.batches)

    # -- one budget ------------------------------------------------------------------------

    def lowest(self, steps: int, samples: float) -> Found:
        """Find the learning rates with the lowest risk for a number of steps and samples."""
        key = (steps, samples)
        if key not in self.found:
            batches = self.batches_of(samples)
            near = self._nearest(key)
            if near is None:
                self.found[key] = self._from_scratch(steps, batches)
            else:
                fine = self._layouts(steps)
                place = min(near.place, len(fine) - 1)
                start = self._moved(near, fine[place])
                found = self._minimised(fine[place], [start], batches, place)
                coarse = self._coarse(steps, fine)
                if found.log_risk > self._best_constant(coarse, batches)[0]:
                    # It has gone astray, as to rates so low that nothing changes.
                    found = min(found, self._from_scratch(steps, batches), key=lambda x: x.log_risk)
                self.found[key] = found
        return self.found[key]

    def _nearest(self, key: tuple[int, float]) -> Found | None:
        """Return the answer for the budget that is most like another."""

        def distance(known: tuple[int, float]) -> float:
            both = zip(known, key, strict=True)
            return sum(abs(math.log(min(a, 1e300) / min(b, 1e300))) for a, b in both)

        return self.found[min(self.found, key=distance)] if self.found else self.start

    def _layout(self, main: NDArray[np.int64]) -> Layout:
        """Return the layout with pieces of the given lengths after the warm-up."""
        limits = self.limits
        free, rise = limits.is_rate_free, limits.may_rise
        return layout(main, limits.warmup, is_free=free, may_rise=rise)

    def _layouts(self, steps: int) -> list[Layout]:
        """Return the layouts among which that with the lowest risk is chosen."""
        steps -= self.limits.warmup
        if not isinstance(self.pieces, int):
            return [self._layout(self.pieces)]
        even = self._layout(even_lengths(steps, self.pieces))
        if self.pieces >= steps:
            return [even]
        gathered = gathered_lengths(steps, self.pieces)
        return [even, self._layout(gathered), self._layout(gathered[::-1])]

    def _from_scratch(self, steps: int, batches: BestBatches) -> Found:
        """Minimise on all layouts, and further on the best of them."""
        layouts = self._layouts(steps)
        begun = self._begun(steps, layouts, batches)
        rough = self.rough_tolerance
        answers = []
        for place, fine in enumerate(layouts):
            begin = [] if begun is None else [self._moved(begun, fine)]
            if begun is None or has_few(fine):
                # Single steps may have several lowest points.
                begin += self._starts(fine, batches)
            answers.append(self._minimised(fine, begin, batches, place, tolerance=rough))
        best = min(answers, key=lambda found: found.log_risk)
        if rough <= self.tolerance:
            return best
        return self._minimised(best.layout, [best.free], batches, best.place, batch=best.batch)

    def _begun(self, steps: int, layouts: list[Layout], batches: BestBatches) -> Found | None:
        """Minimise from several starts with few pieces, then with more."""
        most = max(len(x.middles) for x in layouts)
        coarse = self._coarse(steps, layouts)
        starts = self._starts(coarse, batches)
        rough = self.rough_tolerance
        best = self._minimised(coarse, starts, batches, tolerance=rough)
        pieces = 2 * COARSE_PIECES
        while pieces < most and self.limits.is_rate_free:
            finer = self._layout(even_lengths(steps - self.limits.warmup, pieces))
            start = self._moved(best, finer)
            best = self._minimised(finer, [start], batches, tolerance=rough)
            pieces *= 2
        return best

    def _coarse(self, steps: int, layouts: list[Layout]) -> Layout:
        """Return the layout of the first search, which has few pieces."""
        most = max(len(x.middles) for x in layouts)
        return self._layout(even_lengths(steps - self.limits.warmup, min(COARSE_PIECES, most)))

    def _best_constant(self, coarse: Layout, batches: BestBatches) -> tuple[float, float]:
        """Scan constant rates; the log of the lowest risk, and the log of the rate."""
        size = len(coarse.middles)

        def log_risk(log_rate: float) -> float:
            free = coarse.free_of(np.full(size, log_rate), self.log_limit)
            return self.log_risk(coarse.log_rates(free), coarse.lengths, batches)[0]

        rates = (self.log_limit - SCAN_STEP * np.arange(SCANNED_RATES)).tolist()
        best, worse = (math.inf, rates[0]), 0
        for rate in rates:
            found = (log_risk(rate), rate)
            worse = 0 if found < best or best[0] >= MOST_LOG_RISK else worse + 1
            best = min(best, found)
            if worse == WORSE_RATES:
                break
        return best

    def _starts(self, coarse: Layout, batches: BestBatches) -> list[Array]:
        """Return starts: the best constant rate, and rates that fall from the largest on."""
        constant = np.full(len(coarse.middles), self._best_constant(coarse, batches)[1])
        falling = [
            self.log_limit - decades * math.log(10.0) * coarse.middles for decades in START_DECADES
        ]
        return [coarse.free_of(x, self.log_limit) for x in [constant, *falling]]

    def _moved(self, known: Found, pieces: Layout) -> Array:
        """Return the free numbers of a layout whose rates are near known ones."""
        rates = np.interp(pieces.middles, known.layout.middles, known.main_rates)
        return pieces.free_of(rates, self.log_limit)

    def _minimised(
        self,
        pieces: Layout,
        starts: list[Array],
        batches: BestBatches,
        place: int = 0,
        *,
        tolerance: float | None = None,
        batch: Array | None = None,
    ) -> Found:
        """Minimise the risk over the free numbers of a layout, from starts.

        Batch sizes that do not follow from the learning rates begin at those given, if any are.
        """
        given = batches, tolerance or self.tolerance, batch
        answers = [self._descended(pieces, start, *given) for start in starts]
        best = min(answers, key=lambda answer: answer.log_risk)
        return Found(best.log_risk, pieces, best.free, place, best.batch)

    def _descended(
        self,
        pieces: Layout,
        start: Array,
        batches: BestBatches,
        tolerance: float,
        _batch: Array | None,
    ) -> Descended:
        """Minimise the risk over the free numbers of a layout, from one start."""

        def objective(free: Array) -> tuple[float, Array]:
            value, slope = self.log_risk(pieces.log_rates(free), pieces.lengths, batches)
            return value, pieces.slope_by_free(slope)

        bounds, scales = pieces.bounds(self.log_limit), pieces.scales
        return Descended(*lowest_point(objective, start, bounds, tolerance, scales), None)

    # -- whole batches -----------------------------------------------------------------------

    def whole(self, steps: int, samples: int) -> WholePlan:
        """Find whole batches and learning rates for them, which spend all samples."""
        found = self.lowest(steps, samples)
        limits = self.limits.batches
        plan = self._rounded(found, samples, limits)
        if limits.is_free and plan.log_risk > found.log_risk + ROUNDING_PRICE:
            even = self._rounded(found, samples, limits._replace(is_free=False))
            plan = min(plan, even, key=lambda some: some.log_risk)
        return plan

    def _rounded(self, found: Found, samples: int, limits: BatchLimits) -> WholePlan:
        """Round the batches that are best for learning rates, and choose the rates once more."""
        pieces = found.layout
        weights = self.weights(found, samples)
        batches = whole_batches(weights, pieces.lengths, samples, limits)
        ends = np.union1d(np.cumsum(pieces.lengths), np.cumsum(batches.lengths))
        lengths = np.diff(ends, prepend=0)
        piece = np.searchsorted(np.cumsum(pieces.lengths), ends)
        size = np.array(batches.sizes, float)[np.searchsorted(np.cumsum(batches.lengths), ends)]

        def objective(free: Array) -> tuple[float, Array]:
            rates = pieces.log_rates(free)[piece]
            value, slope = self.log_risk(rates, lengths, lambda *_: size)
            of_piece = np.bincount(piece, slope, len(pieces.lengths)).astype(float)
            return value, pieces.slope_by_free(of_piece)

        bounds = pieces.bounds(self.log_limit)
        tolerance, scales = self.tolerance, pieces.scales
        value, free = lowest_point(objective, found.free, bounds, tolerance, scales)
        rates = pieces.log_rates(free)
        return WholePlan(value, rates, pieces.lengths, batches, found._replace(free=free))


def has_few(pieces: Layout) -> bool:
    """Whether pieces are few, or single steps."""
    main = pieces.lengths[len(pieces.stairs) :]
    return len(main) <= COARSE_PIECES or bool((main == 1).all())
