"""The effect of pieces of constant learning rate on the risk of plain SGD, with its gradient.

Per coordinate a piece keeps a share of the risk that is there before it, and adds what its noise
leaves. Arrays in this module have shape (pieces, nodes) unless they say another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...coordinates.blocks import Block
from ...foundation.validation import Array
from ...foundation.wide_range import log_square

LOG_OF_ZERO = -1e6
"""Stands for log(0): unlike -inf, it gives 0 when multiplied by the length 0 of a piece."""


class Sweep(Protocol):
    """Pieces of some learning rates and lengths."""

    @property
    def weights(self) -> Array:
        """The noise at the end that each piece leaves at batch size 1, shape (pieces,)."""

    def risk_and_slope(self, inverse_batch: Array) -> tuple[float, Array]:
        """Compute the risk after the last piece, and its derivatives by log learning rates.

        Inverse batch sizes and derivatives have shape (pieces,).
        """


Batches = Callable[[Array, NDArray[np.int64]], Array]
"""A function from weights and lengths of pieces to their batch sizes, all of shape (pieces,)."""


class Evaluated(NamedTuple):
    """The risk after the last piece, at the batch sizes that are chosen for learning rates."""

    risk: float
    slope: Array
    """Derivatives by log learning rates, shape (pieces,)."""
    weights: Array
    """Derivatives by inverse batch sizes, shape (pieces,)."""


class PieceModel(Protocol):
    """Nodes as an algorithm sees them."""

    def evaluated(
        self, log_rates: Array, lengths: NDArray[np.int64], batches: Batches, /
    ) -> Evaluated:
        """Go through pieces with log learning rates and lengths of shape (pieces,)."""


def evaluated_sweep(sweep: Sweep, lengths: NDArray[np.int64], batches: Batches) -> Evaluated:
    """Compute the risk of pieces whose noise does not depend on the batch sizes of others."""
    weights = sweep.weights
    return Evaluated(*sweep.risk_and_slope(1.0 / batches(weights, lengths)), weights)


class PlainModel(NamedTuple):
    """Nodes as plain SGD with a power preconditioner sees them, arrays of shape (nodes,)."""

    curvature: Array
    """Curvature that the preconditioned update sees."""
    initial_risk: Array
    noise: Array
    """The risk that noise adds for each unit of learning rate, at batch size 1."""

    def sweep(self, log_rates: Array, lengths: NDArray[np.int64], /) -> PlainSweep:
        """Go through pieces with log learning rates and lengths of shape (pieces,)."""
        maps = _piece_maps(self, log_rates, lengths)
        later = np.ones_like(maps.kept)
        later[:-1] = np.cumprod(maps.kept[:0:-1], axis=0)[::-1]
        return PlainSweep(self.initial_risk, maps, later)

    def evaluated(
        self, log_rates: Array, lengths: NDArray[np.int64], batches: Batches, /
    ) -> Evaluated:
        """Compute the risk at the batch sizes that `batches` gives."""
        return evaluated_sweep(self.sweep(log_rates, lengths), lengths, batches)


class PieceMaps(NamedTuple):
    """Pieces as maps of the risk, and their derivatives by the log of their learning rates."""

    kept: Array
    """Share of the risk that is left after a piece."""
    added: Array
    """Risk that the noise of a piece has added at its end, at batch size 1."""
    kept_slope: Array
    added_slope: Array


class PlainSweep(NamedTuple):
    """Pieces of plain SGD, as `Sweep` says."""

    initial_risk: Array
    maps: PieceMaps
    later: Array
    """The share of the risk after a piece that is still there after the last piece."""

    @property
    def weights(self) -> Array:
        """The noise at the end that each piece leaves at batch size 1, shape (pieces,)."""
        return np.asarray((self.maps.added * self.later).sum(axis=1))

    def risk_and_slope(self, inverse_batch: Array) -> tuple[float, Array]:
        """Compute the risk after the last piece, and its derivatives by log learning rates."""
        maps = self.maps
        before = np.empty_like(maps.kept)
        added = maps.added * inverse_batch[:, None]
        current = self.initial_risk
        for k in range(len(added)):
            before[k] = current
            current = maps.kept[k] * current + added[k]
        slope = maps.kept_slope * before + maps.added_slope * inverse_batch[:, None]
        return float(current.sum()), np.asarray((slope * self.later).sum(axis=1))


def plain_model(block: Block, power: float) -> PlainModel:
    """Return nodes as plain SGD sees them."""
    curvature = block.h ** (1.0 - power)
    start = np.broadcast_to(
        0.5 * block.multiplicity * block.h * block.second_moment, curvature.shape
    )
    noise = np.broadcast_to(0.5 * block.multiplicity * block.c * block.h**-power, curvature.shape)
    return PlainModel(curvature, start, noise)


def _piece_maps(model: PlainModel, log_lr: Array, lengths: NDArray[np.int64]) -> PieceMaps:
    """Compute the maps of pieces with log learning rates and lengths of shape (pieces,)."""
    lr, length = np.exp(log_lr)[:, None], lengths[:, None]
    gap = lr * model.curvature
    a = 1.0 - gap
    with np.errstate(divide="ignore"):
        decay = length * np.maximum(log_square(gap), LOG_OF_ZERO)
    kept, lost = np.exp(decay), -np.expm1(decay)
    kept_slope = np.where(a == 0.0, 0.0, -2.0 * length * gap * kept / np.where(a, a, 1.0))
    margin = 2.0 - gap
    unit = model.noise * lr
    added = unit / margin * lost
    added_slope = unit * (2.0 * lost / margin**2 - kept_slope / margin)
    return PieceMaps(kept, added, kept_slope, added_slope)
