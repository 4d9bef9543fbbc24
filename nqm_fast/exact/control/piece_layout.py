"""Where the pieces of a schedule are, and which of their learning rates may be chosen freely."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...foundation.validation import Array

WARMUP_STAIRS = 16
"""Stairs of a warm-up that has more steps."""
END_SHARE = 500.0
"""The part of all steps by which pieces that gather at the end are kept from being too short."""
EVEN_WEIGHT = 3.0
"""Pieces for the whole time alike, for each factor of e by which the rest of the time shrinks."""
PLACED_POINTS = 4000
"""Points at which the density of pieces is summed up."""
LOG_RANGE = 40.0
"""How far a log learning rate may go below the largest, where a piece does nothing."""


class Layout(NamedTuple):
    """Pieces, the first of which are the stairs of a warm-up.

    The free numbers are the log learning rates of the pieces after the warm-up; or the first of
    them and how far each is below the one before; or the one that they all have.
    """

    lengths: NDArray[np.int64]
    """Shape (stairs + pieces,)."""
    stairs: Array
    """Logs of the stairs' learning rates, relative to that of the first piece, shape (stairs,)."""
    is_free: bool
    may_rise: bool

    @property
    def middles(self) -> Array:
        """Middles of the pieces after the warm-up, as parts of all steps."""
        ends = np.cumsum(self.lengths, dtype=float)
        return np.asarray((ends - 0.5 * self.lengths)[len(self.stairs) :] / ends[-1])

    def log_rates(self, free: Array) -> Array:
        """Return the log learning rates of all pieces, shape (stairs + pieces,)."""
        pieces = len(self.lengths) - len(self.stairs)
        if not self.is_free:
            main = np.full(pieces, free[0])
        elif self.may_rise:
            main = free
        else:
            main = free[0] - np.concatenate([[0.0], np.cumsum(free[1:])])
        return np.concatenate([self.stairs + main[0], main])

    def slope_by_free(self, slope: Array) -> Array:
        """Return derivatives by the free numbers, of those by all log learning rates."""
        main = slope[len(self.stairs) :].copy()
        main[0] += slope[: len(self.stairs)].sum()
        if not self.is_free:
            return np.array([main.sum()])
        if self.may_rise:
            return main
        later = np.cumsum(main[::-1])[::-1]
        return np.concatenate([later[:1], -later[1:]])

    @property
    def scales(self) -> Array:
        """Relative sizes of changes of the free numbers that change the risk alike."""
        steps = np.abs(self.slope_by_free(self.lengths / self.lengths.mean()))
        return np.asarray(1.0 / np.sqrt(steps))

    def free_of(self, main: Array, log_limit: float) -> Array:
        """Return the free numbers of log learning rates after the warm-up, or near them."""
        main = np.clip(main, log_limit - LOG_RANGE, log_limit)
        if not self.is_free:
            return np.array([main.mean()])
        if self.may_rise:
            return main
        falling = np.minimum.accumulate(main)
        return np.concatenate([falling[:1], -np.diff(falling)])

    def bounds(self, log_limit: float) -> list[tuple[float, float]]:
        """Return the bounds of the free numbers."""
        rate = (log_limit - LOG_RANGE, log_limit)
        pieces = len(self.lengths) - len(self.stairs)
        if not self.is_free:
            return [rate]
        if self.may_rise:
            return [rate] * pieces
        return [rate] + [(0.0, LOG_RANGE)] * (pieces - 1)


def layout(
    main: NDArray[np.int64], warmup: int, *, is_free: bool = True, may_rise: bool = True
) -> Layout:
    """Put a linear warm-up in equal stairs before pieces of the given lengths."""
    count = min(warmup, WARMUP_STAIRS)
    stairs = np.log(np.arange(1, count + 1) / (count + 1.0))
    before = even_lengths(warmup, count) if warmup else np.zeros(0, dtype=np.int64)
    return Layout(np.concatenate([before, main]), stairs, is_free, may_rise)


def even_lengths(steps: int, pieces: int) -> NDArray[np.int64]:
    """Cut a number of steps into pieces of equal lengths, up to rounding, none of them empty."""
    pieces = min(steps, pieces)
    return np.array([(k + 1) * steps // pieces - k * steps // pieces for k in range(pieces)])


def gathered_lengths(steps: int, pieces: int) -> NDArray[np.int64]:
    """Cut steps into pieces that are the shorter the nearer to the end they are.

    The best learning rate changes most near the end, where it falls with the time that is left; or,
    if it falls like one over the time gone, near the start, where these lengths are turned around.
    """
    if pieces >= steps:
        return even_lengths(steps, pieces)
    shortest = max(steps / END_SHARE, 1.0)
    left = np.append(np.geomspace(steps, 1e-3 * shortest, PLACED_POINTS), 0.0)
    density = EVEN_WEIGHT * (1.0 - left / steps) + np.log((steps + shortest) / (left + shortest))
    inner = np.linspace(0.0, density[-1], pieces + 1)[1:-1]
    ends = np.rint(steps - np.interp(inner, density, left)).astype(np.int64)
    # Every piece has a step, wherever its ends should be.
    number = np.arange(1, pieces)
    ends = np.maximum.accumulate(np.maximum(ends, number) - number) + number
    ends = np.minimum(ends, steps - pieces + number)
    return np.diff(np.concatenate([[0], ends, [steps]]))
