"""Pieces of constant learning rate and batch size, where noise depends on the iterate.

Plain SGD: the second moments z of a coordinate go through a step as

    z -> d z + kick (c + shared S) / B,    d = (1 - x)^2 + own kick / B,    S = sum_k v_k z_k,

with ``x = lr h^(1 - power)`` and ``kick = (lr h^-power)^2``. Pieces are cut into groups of steps.
In a group the sum S stands still at its mean over the group's steps, which one linear equation
gives: a group of one step is exact, and in longer ones the mean noise and the limit of stability
are. The sum changes on the scale of the time gone and of the time left, and with the learning rate,
so that groups are short near both ends and in every piece: risks are off by some 1e-6 of them.

The risk at the end has derivatives by all learning rates and batch sizes from one sweep back.
Arrays have shape (groups, nodes) unless they say another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...foundation.validation import Array
from ..coupled.maps import CoupledBlock
from .piece_maps import Batches, Evaluated

EVERY_STEP = 256
"""Up to so many steps all are groups of their own."""
PART = 12
"""A group is at most so small a part of the time gone, and of the time left, or one step."""
GROUPS, ALL_GROUPS = 4, 64
"""Groups that a piece has at least, and all together have, if they have as many steps."""
SERIES_LIMIT = 0.2
"""Decay in a group up to which sums over its steps are power series."""
SERIES_TERMS = 11
GAP = 1e-4
"""Part of the risk that better batch sizes may promise, where they are near enough to the best."""
MOST_ROUNDS = 8
"""Rounds of batch sizes, where they do not settle."""
TINY = 1e-300


class _Parameters(NamedTuple):
    """Derivatives by the log of the learning rate, and by the inverse batch size."""

    rate: Array
    batch: Array


class _Maps(NamedTuple):
    """The maps of groups, with their derivatives."""

    kept: Array
    """Share of the moments that is left after a group."""
    added: Array
    """The moments that noise of variance 1 has added after a group."""
    taken: Array
    """Weights of the moments before a group in its mean sum."""
    known: Array
    """The mean sum that comes from noise at the optimum, shape (groups,)."""
    fed: Array
    """The mean sum that a sum of 1 makes by its noise, shape (groups,)."""


class CoupledModel:
    """Nodes as plain SGD with a power preconditioner sees them."""

    def __init__(self, block: CoupledBlock, power: float) -> None:
        self.block = block
        self.curvature = block.h ** (1.0 - power)
        self.kick = block.h ** (-2.0 * power)
        self.sum_weight = block.multiplicity * block.weight
        self.risk_weight = 0.5 * block.multiplicity * block.h

    def evaluated(
        self, log_rates: Array, lengths: NDArray[np.int64], batches: Batches, /
    ) -> Evaluated:
        """Compute the risk at the batch sizes that `batches` gives, or near them.

        What they depend on depends on them: each round takes those of the round before.
        """
        groups = Groups(lengths)
        batch = batches(np.zeros(len(lengths)), lengths)
        best = self.risk_and_slopes(log_rates, groups, 1.0 / batch)
        for _ in range(MOST_ROUNDS):
            if not np.isfinite(best.risk):
                break
            better = batches(np.maximum(best.weights, 0.0), lengths)
            if best.weights @ (1.0 / batch - 1.0 / better) <= GAP * best.risk:
                break
            found = self.risk_and_slopes(log_rates, groups, 1.0 / better)
            if not found.risk < best.risk:
                break
            batch, best = better, found
        return best

    def risk_and_slopes(self, log_rates: Array, groups: Groups, inverse_batch: Array) -> Evaluated:
        """Compute the risk at given batch sizes, whose inverse has shape (pieces,)."""
        block = self.block
        maps, by_rate, by_batch = self._maps(log_rates, groups, inverse_batch)
        at = groups.kind
        count = len(at)
        moments = np.empty((count, block.h.size))
        sums = np.empty(count)
        inverse = 1.0 / (1.0 - maps.fed)
        if not (inverse > 0.0).all():
            nothing = np.zeros(len(log_rates))
            return Evaluated(np.inf, nothing, nothing)
        constant, shared = maps.added * block.c, maps.added * block.shared
        current = block.second_moment
        for g, k in enumerate(at.tolist()):
            moments[g] = current
            total = sums[g] = (np.dot(maps.taken[k], current) + maps.known[k]) * inverse[k]
            current = maps.kept[k] * current + (constant[k] + total * shared[k])
        risk = float(np.dot(self.risk_weight, current))
        later = np.empty_like(moments)
        push = np.empty(count)
        current = self.risk_weight
        for g, k in zip(range(count - 1, -1, -1), at[::-1].tolist(), strict=True):
            later[g] = current
            pushed = push[g] = np.dot(current, shared[k]) * inverse[k]
            current = maps.kept[k] * current + pushed * maps.taken[k]
        by_group = block.c + block.shared * sums[:, None]
        # Sums over groups of a kind, whose maps are the same.
        of_kind = _Sums(at, len(groups.length))
        before, noise = of_kind(later * moments), of_kind(later * by_group)
        mean, first, second = of_kind(push[:, None] * moments), of_kind(push), of_kind(push * sums)

        def slope(d: _Maps) -> Array:
            each = (before * d.kept + noise * d.added + mean * d.taken).sum(axis=1)
            each += first * d.known + second * d.fed
            return np.bincount(groups.piece, each, len(log_rates)).astype(float)

        return Evaluated(risk, slope(by_rate), slope(by_batch))

    def _maps(
        self, log_rates: Array, groups: Groups, inverse_batch: Array
    ) -> tuple[_Maps, _Maps, _Maps]:
        """Compute the maps of each kind of groups, and their two derivatives."""
        block = self.block
        lr, beta = np.exp(log_rates)[groups.piece, None], inverse_batch[groups.piece, None]
        n = groups.length[:, None].astype(float)
        x, kick = lr * self.curvature, self.kick * lr**2
        own = block.own * kick
        loss = x * (2.0 - x) - own * beta
        loss = np.where(loss == 0.0, TINY, loss)
        power = _powers(loss, n, groups.length)
        # By the log of the learning rate, and by the inverse batch size.
        loss_slopes = _Parameters(2.0 * x * (1.0 - x) - 2.0 * own * beta, -own)
        kick_slopes = _Parameters(2.0 * kick * beta, kick)
        kicked = kick * beta
        weight = self.sum_weight / n
        constant, shared = weight * block.c, weight * block.shared
        double = kicked * power.double
        maps = _Maps(
            power.kept,
            kicked * power.single,
            weight * power.single,
            (constant * double).sum(axis=1),
            (shared * double).sum(axis=1),
        )

        def slopes(loss_slope: Array, kick_slope: Array) -> _Maps:
            single = power.single_slope * loss_slope
            double = kick_slope * power.double + kicked * power.double_slope * loss_slope
            return _Maps(
                power.kept_slope * loss_slope,
                kick_slope * power.single + kicked * single,
                weight * single,
                (constant * double).sum(axis=1),
                (shared * double).sum(axis=1),
            )

        pairs = zip(loss_slopes, kick_slopes, strict=True)
        by_rate, by_batch = (slopes(*pair) for pair in pairs)
        return maps, by_rate, by_batch


class Groups:
    """The steps of pieces in groups."""

    def __init__(self, lengths: NDArray[np.int64]) -> None:
        pairs = _group_lengths(lengths)
        kinds, self.kind = np.unique(pairs, axis=0, return_inverse=True)
        """Number of the kind of each group, shape (groups,)."""
        self.kind = self.kind.ravel()
        self.piece, self.length = kinds.T
        """The piece that a kind of groups is in, and its number of steps, shape (kinds,)."""


def _group_lengths(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cut pieces into groups; the piece of each, and its number of steps, shape (groups, 2)."""
    steps, gone = int(lengths.sum()), 0
    pairs, least = [], max(GROUPS, -(-ALL_GROUPS // len(lengths)))
    for piece, left in enumerate(lengths.tolist()):
        most = 1 if steps <= EVERY_STEP else -(-left // least)
        while left:
            part = max(min(gone, steps - gone) // PART, 1)
            # Powers of two, so that few kinds differ.
            size = min(1 << (part.bit_length() - 1), most, left)
            pairs.append((piece, size))
            left -= size
            gone += size
    return np.array(pairs, dtype=np.int64)


class _Powers(NamedTuple):
    """For ``d = 1 - loss``: ``d^n``, its sum over n steps, and the sum of these, with slopes."""

    kept: Array
    single: Array
    double: Array
    kept_slope: Array
    single_slope: Array
    double_slope: Array


def _powers(loss: Array, n: Array, length: NDArray[np.int64]) -> _Powers:
    """Compute powers and their sums from the loss in a step, and their derivatives by it."""
    base = 1.0 - loss
    odd = (length & 1).astype(bool)[:, None]
    log = np.where(loss < 0.5, np.log1p(-np.minimum(loss, 0.5)), np.log(np.abs(base) + TINY))
    kept = np.exp(n * log)
    kept = np.where((base < 0.0) & odd, -kept, kept)
    lost = np.where(base > 0.0, -np.expm1(n * log), 1.0 - kept)
    last = np.exp((n - 1.0) * log)
    last = np.where((base < 0.0) & ~odd, -last, last)
    kept_slope = -n * last
    single = lost / loss
    single_slope = (-kept_slope - single) / loss
    double = (n - single) / loss
    double_slope = (-single_slope - double) / loss
    # Where little is lost in all steps these are differences of equal numbers: binomial series.
    small = np.abs(n * loss) < SERIES_LIMIT
    y = np.where(small, loss, 0.0)
    term = n * np.ones_like(y)
    series = [np.zeros_like(y) for _ in range(4)]
    power = np.ones_like(y)
    before = np.zeros_like(y)
    for k in range(SERIES_TERMS):
        # term is (-1)^k C(n, k + 1), after is that of k + 1, with the sign changed.
        after = -term * (n - k - 1.0) / (k + 2.0)
        series[0] += term * power
        series[1] += k * term * before
        series[2] -= after * power
        series[3] -= k * after * before
        term, before = after, power
        power = power * y
    picked = [
        np.where(small, a, b)
        for a, b in zip(series, (single, single_slope, double, double_slope), strict=True)
    ]
    single, single_slope, double, double_slope = picked
    return _Powers(kept, single, double, kept_slope, single_slope, double_slope)


class _Sums:
    """Sums of rows over the groups of each kind."""

    def __init__(self, kind: NDArray[np.intp], kinds: int) -> None:
        self._order = np.argsort(kind, kind="stable")
        self._first = np.searchsorted(kind[self._order], np.arange(kinds))

    def __call__(self, rows: Array) -> Array:
        return np.asarray(np.add.reduceat(rows[self._order], self._first, axis=0))
