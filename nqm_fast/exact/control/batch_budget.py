"""A budget of samples shared out among pieces, in closed form and as whole batches.

The noise at the end is ``sum_k weight_k / B_k``, where piece k has the batch size B_k, and the
budget is ``sum_k length_k B_k``. Without limits the best B_k goes with
``sqrt(weight_k / length_k)``. Limits cut that off, and where batch sizes may not fall, pieces whose
best ones would fall are one piece. Arrays have shape (pieces,).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...foundation.validation import Array

LEAST_SHARE = 1e-150
"""Least part of the largest ratio that is told from 0, so that every piece can take samples."""


class BatchLimits(NamedTuple):
    """The limits within which batch sizes are chosen."""

    least: int
    most: float
    """A whole number or inf."""
    is_free: bool
    """Whether they may change from piece to piece."""
    may_fall: bool


def best_batches(
    weights: Array, lengths: NDArray[np.int64], samples: float, limits: BatchLimits
) -> Array:
    """Compute the batch sizes that leave the least noise, not necessarily whole."""
    even = np.full(len(lengths), samples / lengths.sum())
    ratio = np.sqrt(_weight_per_step(weights, lengths, limits))
    largest = ratio.max()
    if not limits.is_free or not math.isfinite(samples) or not 0.0 < largest < math.inf:
        return even
    ratio = np.maximum(ratio / largest, LEAST_SHARE)
    # What is spent grows with a factor of all ratios, linearly between the factors at which a
    # piece reaches one of its limits.
    with np.errstate(over="ignore"):
        corners = np.sort(np.concatenate([limits.least / ratio, limits.most / ratio]))
    corners = corners[np.isfinite(corners)]
    clipped = np.clip(corners[:, None] * ratio, limits.least, limits.most)
    spent = clipped @ lengths.astype(float)
    k = int(np.searchsorted(spent, samples))
    if k == 0:
        return np.full(len(lengths), float(limits.least))
    at_corner = clipped[k - 1]
    grows = (corners[k - 1] * ratio >= limits.least * (1 - 1e-12)) & (at_corner < limits.most)
    slope = (lengths * ratio)[grows].sum()
    more = (samples - spent[k - 1]) / slope if slope > 0.0 else 0.0
    return np.asarray(np.clip((corners[k - 1] + more) * ratio, limits.least, limits.most))


@dataclass(frozen=True)
class BestBatches:
    """The best batch sizes of a budget, as a function of weights and lengths."""

    samples: float
    limits: BatchLimits

    def __call__(self, weights: Array, lengths: NDArray[np.int64], /) -> Array:
        """Compute batch sizes, shape (pieces,)."""
        return best_batches(weights, lengths, self.samples, self.limits)

    @property
    def even(self) -> BestBatches:
        """The same budget in batches that are all alike."""
        return replace(self, limits=self.limits._replace(is_free=False))


def _weight_per_step(weights: Array, lengths: NDArray[np.int64], limits: BatchLimits) -> Array:
    """Return weights per step; where batch sizes may not fall, means of pieces that are one."""
    ratio = weights / lengths
    if limits.may_fall or not limits.is_free or not np.isfinite(ratio).all():
        return np.asarray(ratio)
    import scipy.optimize

    pooled = scipy.optimize.isotonic_regression(ratio, weights=lengths.astype(float))
    return np.asarray(pooled.x)


class WholeBatches(NamedTuple):
    """Batch sizes that are whole, and for how many steps each."""

    lengths: list[int]
    sizes: list[int]


def whole_batches(
    weights: Array, lengths: NDArray[np.int64], samples: int, limits: BatchLimits
) -> WholeBatches:
    """Share out a budget in whole batches, to the last sample.

    They are the best ones rounded down; what is left goes, one sample for each step, to the pieces
    in which it takes away most noise. The last of these pieces may get it for its last steps only.
    """
    if not limits.is_free:
        steps = int(lengths.sum())
        size, more = divmod(samples, steps)
        parts = [(steps - more, size), (more, size + 1)]
        return joined(parts)
    sizes = [int(b) for b in np.floor(best_batches(weights, lengths, samples, limits))]
    steps_of = [int(n) for n in lengths]
    left = samples - sum(n * b for n, b in zip(steps_of, sizes, strict=True))
    per_step = _weight_per_step(weights, lengths, limits).tolist()
    split = None
    while left:
        change = 1 if left > 0 else -1
        gains = [w / (b * (b + 1.0)) for w, b in zip(per_step, sizes, strict=True)]
        # Later pieces come first where there is nothing to choose, so that sizes do not fall.
        keys = [(change * gain, change * k) for k, gain in enumerate(gains)]
        order = [change * k for _, k in sorted(keys, reverse=True)]
        for k in order:
            if not limits.least <= sizes[k] + change <= limits.most or not left:
                continue
            if steps_of[k] > abs(left):
                split = (k, left)
                left = 0
                break
            sizes[k] += change
            left -= change * steps_of[k]
    parts = list(zip(steps_of, sizes, strict=True))
    if split is not None:
        k, more = split
        count = abs(more)
        changed = (count, sizes[k] + (1 if more > 0 else -1))
        kept = (steps_of[k] - count, sizes[k])
        parts[k : k + 1] = [kept, changed] if more > 0 else [changed, kept]
    return joined(parts)


def joined(parts: Iterable[tuple[int, int]]) -> WholeBatches:
    """Join neighbours, steps and their batch size, of one size; leave out what has no steps."""
    lengths: list[int] = []
    sizes: list[int] = []
    for length, size in parts:
        if sizes and sizes[-1] == size:
            lengths[-1] += length
        elif length:
            lengths.append(length)
            sizes.append(size)
    return WholeBatches(lengths, sizes)
