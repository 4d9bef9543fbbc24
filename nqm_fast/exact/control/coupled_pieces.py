"""Pieces of constant learning rate and batch size, where noise depends on the iterate.

The second moments z of a coordinate's state, p numbers, go through a step as

    z -> z + D z + (c + shared S) kick / B,    S = sum_k v_k z_k,

of which D and the kick are polynomials in the learning rate, and D has a term in 1 / B besides.
Pieces are cut into groups of steps. In a group the sum S stands still at its mean over the group's
steps, which one linear equation gives: a group of one step is exact, and in longer ones the mean
noise and the limit of stability are. The sum changes on the scale of the time gone and of the time
left, and with the learning rate, so that groups are short near both ends and in every piece.

The risk at the end has derivatives by all learning rates and batch sizes from one sweep back.
Arrays have shape (..., kinds, nodes) or (groups, nodes, p) unless they say another; what has
derivatives has them behind its value, as an axis of three before these: the value, its derivative
by the log of the learning rate, and that by the inverse batch size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...algorithms.base import LinearAlgorithm
from ...foundation.validation import Array
from ..coupled.maps import CoupledBlock, Recurrences
from .linear_pieces import linear_weights
from .piece_maps import Batches, Evaluated

EVERY_STEP = 256
"""Up to so many steps all are groups of their own."""
PART, STATE_PART = 4, 8
"""A group is at most so small a part of the time gone, and of the time left, or one step."""
ALL_GROUPS, ALL_STATE_GROUPS = 64, 256
"""Groups that all pieces together have at least, if they have as many steps.

There are more where a state has more than one number, as sums may oscillate.
"""
GAP = 1e-4
"""Part of the risk that better batch sizes may promise, where they are near enough to the best."""
MOST_ROUNDS = 8
"""Rounds of batch sizes, where they do not settle."""
KEPT_GROUPS = 64
"""Lengths of pieces whose groups are remembered."""


class _Maps(NamedTuple):
    """The maps of groups, with their derivatives, as parts of the maps of `_power`."""

    change: Array
    """What the moments change by, shape (p, p, 3, kinds, nodes)."""
    added: Array
    """The moments that noise of variance 1 has added, shape (p, 3, kinds, nodes)."""
    taken: Array
    """Weights of the moments before in the mean sum, shape (p, 3, kinds, nodes)."""
    fed: Array
    """What noise of variance 1 adds to the mean sum, shape (3, kinds, nodes)."""


class CoupledModel:
    """Nodes as a linear algorithm sees them, whose updates depend on the learning rate alone."""

    def __init__(self, block: CoupledBlock, algorithm: LinearAlgorithm, unit: float) -> None:
        """Take nodes and a learning rate, in units of which numbers are in the range of a double.

        Numbers are not finite where even that does not help.
        """
        recurrences = Recurrences(algorithm, block)
        self.block, self.unit = block, unit
        weights, slopes = linear_weights(algorithm, recurrences.terms, np.array([unit]))
        (K0, b0), (K1, b1) = (recurrences.matrices(w[0]) for w in (weights - slopes, slopes))
        pairs, moments = recurrences.pairs, recurrences.moments
        # The parts that go with powers of the learning rate, by the values at -1, 0 and 1.
        change = [pairs(K0 - K1), pairs(K0), pairs(K0 + K1)]
        kick = [moments(b0 - b1), moments(b0), moments(b0 + b1)]
        self.changes, self.kicks = (
            np.moveaxis(np.array([z, 0.5 * (y - x), 0.5 * (y + x) - z]), 1, -1)
            for x, z, y in (change, kick)
        )
        """Factors of powers of the learning rate, shapes (3, p, p, nodes) and (3, p, nodes)."""
        self.point = recurrences.point
        self.start, self.sum_weight, self.risk_weight = (
            np.ascontiguousarray(x)
            for x in (recurrences.start, recurrences.sum_weight, recurrences.risk_weight)
        )

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are in the range of a double."""
        return bool(np.isfinite(self.changes).all() and np.isfinite(self.kicks).all())

    def groups(self, lengths: NDArray[np.int64]) -> Groups:
        """Return the groups of pieces, which are made once."""
        return _remembered(tuple(lengths.tolist()), len(self.point) > 1)

    def evaluated(
        self, log_rates: Array, lengths: NDArray[np.int64], batches: Batches, /
    ) -> Evaluated:
        """Compute the risk at the batch sizes that `batches` gives, or near them.

        What they depend on depends on them: each round takes those of the round before.
        """
        groups = self.groups(lengths)
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
        block, at = self.block, groups.kind
        maps = self._maps(log_rates, groups, inverse_batch)
        known, fed = maps.fed @ block.c, maps.fed @ block.shared
        inverse = 1.0 / (1.0 - fed[0])
        if not (inverse > 0.0).all():
            nothing = np.zeros(len(log_rates))
            return Evaluated(np.inf, nothing, nothing)
        sweep = _Sweep(self, maps, known[0], inverse)
        moments, sums, risk = sweep.forward(at.tolist())
        later, push = sweep.backward(at.tolist())
        push *= inverse[at]
        by_group = (block.c + block.shared * sums[:, None])[..., None]
        # Sums over groups of a kind, whose maps are the same.
        of_kind = _Sums(at, len(groups.length))
        before = of_kind(later[..., :, None] * moments[..., None, :])
        noise, mean = of_kind(later * by_group), of_kind(push[:, None, None] * moments)
        each = np.einsum("kiab,abqki->qk", before, maps.change[:, :, 1:])
        each += np.einsum("kia,aqki->qk", noise, maps.added[:, 1:])
        each += np.einsum("kia,aqki->qk", mean, maps.taken[:, 1:])
        each += of_kind(push) * known[1:] + of_kind(push * sums) * fed[1:]
        slope, weights = (np.bincount(groups.piece, x, len(log_rates)).astype(float) for x in each)
        return Evaluated(risk, slope, weights)

    def _maps(self, log_rates: Array, groups: Groups, inverse_batch: Array) -> _Maps:
        """Compute the maps of each kind of groups."""
        step = self._step(log_rates[groups.piece], inverse_batch[groups.piece])
        whole = _power(step, groups.length)
        whole[-1] /= groups.length[:, None]
        return _Maps(whole[:-1, :-1], whole[:-1, -1], whole[-1, :-1], whole[-1, -1])

    def _step(self, log_rates: Array, inverse_batch: Array) -> Array:
        """Compute the maps of single steps, shape (p + 1, p + 1, 3, kinds, nodes).

        They are what changes: moments, and the sum over all steps last, by moments before, and by
        noise of variance 1 last.
        """
        lr, beta = np.exp(log_rates) / self.unit, inverse_batch[:, None]
        kinds, (p, nodes) = lr.size, self.kicks.shape[1:]
        step = np.zeros((p + 1, p + 1, 3, kinds, nodes))
        powers = np.array([np.ones_like(lr), lr, lr**2])
        slopes = np.array([np.zeros_like(lr), lr, 2.0 * lr**2])
        for k, x in enumerate((powers, slopes)):
            step[:p, :p, k] = np.einsum("rk,rabi->abki", x, self.changes)
            step[:p, p, k] = np.einsum("rk,rai->aki", x, self.kicks)
        step[:p, p, 2] = step[:p, p, 0]
        step[:p, p, :2] *= beta
        step[p, :p, 0] = self.sum_weight.T[:, None]
        if self.block.own.any():
            own = self.block.own * step[:p, p]
            step[:p, :p] += own[:, None] * self.point[:, None, None, None]
        return step


def _power(step: Array, length: NDArray[np.int64]) -> Array:
    """Compute the maps of so many equal steps of each kind, by squaring."""
    whole = np.zeros_like(step)
    left, kinds = length.copy(), np.arange(len(length))
    while kinds.size:
        odd = np.flatnonzero(left & 1)
        if odd.size == left.size:
            whole[..., kinds, :] = _joined(step, whole[..., kinds, :])
        elif odd.size:
            chosen = kinds[odd]
            whole[..., chosen, :] = _joined(step[..., odd, :], whole[..., chosen, :])
        left >>= 1
        goes_on = np.flatnonzero(left)
        if goes_on.size < left.size:
            left, kinds, step = left[goes_on], kinds[goes_on], step[..., goes_on, :]
        if kinds.size:
            step = _joined(step, step)
    return whole


def _joined(one: Array, other: Array) -> Array:
    """Return the maps of other steps followed by these ones, all of them alike."""
    inner = other[:-1]
    joined = np.einsum("abki,bcqki->acqki", one[:, :-1, 0], inner)
    joined[:, :, 1:] += np.einsum("abqki,bcki->acqki", one[:, :-1, 1:], inner[:, :, 0])
    joined += one
    joined += other
    return np.asarray(joined)


class _Sweep:
    """The way of the moments through all groups, and that of the risk back.

    Moments of all nodes are in one row, those of a node side by side.
    """

    def __init__(self, model: CoupledModel, maps: _Maps, known: Array, inverse: Array) -> None:
        p, _, _, kinds, nodes = maps.change.shape
        self._shape = nodes, p

        def by_kind(x: Array) -> Array:
            return np.ascontiguousarray(np.moveaxis(x[..., 0, :, :], (-2, -1), (0, 1)))

        change, added, taken = (by_kind(x) for x in maps[:3])
        self._start, self._risk_weight = model.start.ravel(), model.risk_weight.ravel()
        self._change = list(change if p > 1 else change.reshape(kinds, nodes))
        self._back = self._change if p == 1 else list(change.swapaxes(-1, -2).copy())
        self._constant = list((added * model.block.c[:, None]).reshape(kinds, -1))
        self._shared = list((added * model.block.shared[:, None]).reshape(kinds, -1))
        # Sums are multiplied by what noise feeds back within a group.
        self._taken = list((taken * inverse[:, None, None]).reshape(kinds, -1))
        self._known = (known * inverse).tolist()

    def _moved(self, change: Array, current: Array) -> Array:
        """Return what a row changes by."""
        if change.ndim == 1:
            return np.asarray(change * current)
        return np.asarray(np.matmul(change, current.reshape(*self._shape, 1)).ravel())

    def forward(self, at: list[int]) -> tuple[Array, Array, float]:
        """Return moments before each group, its mean sum, and the risk after the last."""
        moments, sums = np.empty((len(at), self._start.size)), np.empty(len(at))
        current = self._start
        for g, k in enumerate(at):
            moments[g] = current
            total = sums[g] = self._taken[k].dot(current) + self._known[k]
            moved = self._moved(self._change[k], current)
            moved += total * self._shared[k]
            moved += self._constant[k]
            current = current + moved
        risk = float(self._risk_weight.dot(current))
        return moments.reshape(len(at), *self._shape), sums, risk

    def backward(self, at: list[int]) -> tuple[Array, Array]:
        """Return the risk as weights of moments after each group, and of what noise a sum makes."""
        later, push = np.empty((len(at), self._start.size)), np.empty(len(at))
        current = self._risk_weight
        for g in range(len(at) - 1, -1, -1):
            k = at[g]
            later[g] = current
            pushed = push[g] = self._shared[k].dot(current)
            moved = self._moved(self._back[k], current)
            moved += pushed * self._taken[k]
            current = current + moved
        return later.reshape(len(at), *self._shape), push


class Groups:
    """The steps of pieces in groups."""

    def __init__(self, lengths: NDArray[np.int64], has_state: bool = False) -> None:
        pairs = _group_lengths(lengths, has_state)
        kinds, self.kind = np.unique(pairs, axis=0, return_inverse=True)
        """Number of the kind of each group, shape (groups,)."""
        self.kind = self.kind.ravel()
        self.piece, self.length = kinds.T
        """The piece that a kind of groups is in, and its number of steps, shape (kinds,)."""


@lru_cache(KEPT_GROUPS)
def _remembered(lengths: tuple[int, ...], has_state: bool) -> Groups:
    return Groups(np.array(lengths, dtype=np.int64), has_state)


def _group_lengths(lengths: NDArray[np.int64], has_state: bool) -> NDArray[np.int64]:
    """Cut pieces into groups; the piece of each, and its number of steps, shape (groups, 2)."""
    steps, gone = int(lengths.sum()), 0
    share, wanted = (STATE_PART, ALL_STATE_GROUPS) if has_state else (PART, ALL_GROUPS)
    pairs, least = [], -(-wanted // len(lengths))
    for piece, left in enumerate(lengths.tolist()):
        most = 1 if steps <= EVERY_STEP else -(-left // least)
        while left:
            part = max(min(gone, steps - gone) // share, 1)
            # Powers of two, so that few kinds differ.
            size = min(1 << (part.bit_length() - 1), most, left)
            pairs.append((piece, size))
            left -= size
            gone += size
    return np.array(pairs, dtype=np.int64)


class _Sums:
    """Sums of rows over the groups of each kind."""

    def __init__(self, kind: NDArray[np.intp], kinds: int) -> None:
        self._order = np.argsort(kind, kind="stable")
        self._first = np.searchsorted(kind[self._order], np.arange(kinds))

    def __call__(self, rows: Array) -> Array:
        return np.asarray(np.add.reduceat(rows[self._order], self._first, axis=0))
