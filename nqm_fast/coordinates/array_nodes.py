"""Spectra that are arrays as few nodes: Gauss rules of narrow cells of curvature, merged at will.

One pass over the arrays adds up moments of the coordinates in each cell of curvature, which is
narrow enough for a rule of two nodes. The cells of an octave are merged into rules of few nodes.
What all that costs in accuracy shows when cells of twice the width are used instead.

Functions of curvature change with its log, and near the limit of stability with the distance from
the largest curvature, so that a cell has some 1/500 of the distance to the nearer of both ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..foundation.immutable import frozen
from ..foundation.validation import Array
from ..machine.parallel import in_threads
from .blocks import Block, joined_blocks
from .lanczos import lanczos_rule

CELL_BITS = 9
"""Bits of the significand by which cells are told apart: 2^9 cells for each octave."""
SHIFT = 52 - CELL_BITS
NEAREST_CELLS = 0.5**30
"""Distance from the largest curvature, relative to it, that is not divided any more."""
NEAREST_OCTAVES = 6
"""Octaves of the distance from the largest curvature that have a rule each; the rest has one."""
MOST_NODES = 32
"""Nodes of a merged rule; where more are asked for, the cells themselves are hardly more."""
CHUNK = 1 << 17
"""Coordinates that are read at a time, so that what is computed of them stays in the cache."""
MOST_RANGES = 16
"""Ranges of coordinates with tables of their own, which bounds the memory of these."""
LEAST_RANGE = 4
"""Coordinates in a range for each cell, so that tables take less than what they are made of."""
LEAST_VARIANCE = 1e-13
"""Variance, in squared halves of a cell, below which the coordinates of a cell are all alike."""


class CellSpan(NamedTuple):
    """Neighbouring cells, first .. last - 1, of which both are even, and their curvatures."""

    first: int
    last: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"h = {self.low:.8g} .. {self.high:.8g}"


class Measure(NamedTuple):
    """Rules of two nodes for each cell, as arrays of shape (2, cells)."""

    distance: Array
    """From the end of the spectrum to which the cell belongs."""
    weight: Array
    """0 for a node that there is not."""


class Cells(NamedTuple):
    """Cells on both sides, those from 0 on before those from the largest curvature on."""

    base: int
    """Number of the first cell of either side, by the bits of its distance."""
    side: int
    """Cells of one side, an even number."""
    largest: float
    """The largest curvature."""

    @classmethod
    def of(cls, least: float, largest: float) -> Cells:
        """Choose cells for a spectrum, of which these are the ends."""
        ends = np.array([min(least, 0.5 * largest, NEAREST_CELLS * largest), 0.5 * largest])
        low, high = (ends.view(np.int64) >> SHIFT).tolist()
        return cls(low & ~1, (high + 2 & ~1) - (low & ~1), largest)

    def curvatures(self, distance: Array, first: int) -> Array:
        """Return the curvatures of nodes in cells from `first` on, all of one side."""
        return distance if first < self.side else self.largest - distance

    def keys(self) -> NDArray[np.int64]:
        """Return the numbers of all cells by the bits of their distances."""
        return np.tile(self.base + np.arange(self.side, dtype=np.int64), 2)


class ArrayNodes:
    """The coordinates of arrays as nodes.

    Exact sums are linear in the noise and in the second moment of the start. If both are the same
    for all coordinates, or follow from the curvature, nodes have both. Otherwise there are nodes
    for each, without the other.
    """

    def __init__(
        self,
        dim: int,
        curvature_range: tuple[float, float],
        read: Callable[[int, int], Block],
        noise: float | None,
        is_alike: bool,
    ) -> None:
        """Read all coordinates once.

        Parameters
        ----------
        dim : int
            How many coordinates there are.
        curvature_range : tuple of float
            Least and largest curvature.
        read : callable
            Gives the block of the coordinates begin .. end - 1.
        noise : float, optional
            The noise, if it is the same everywhere; NaN if it is the curvature.
        is_alike : bool
            Whether the start of all coordinates is.
        """
        first = read(0, 1)
        self.dim = dim
        """How many coordinates there are."""
        self.is_pointwise = noise is not None and is_alike
        """Whether the fields of nodes are those that coordinates of their curvature have."""
        self._noise = None if noise is None or math.isnan(noise) else np.array([noise])
        self._second_moment, self._variance = first.second_moment, first.variance
        self._cells = Cells.of(*curvature_range)
        keys = self._cells.keys()
        moments, count = _moments(self._cells, read, dim, self.is_pointwise)
        half = 0.5 * (_edge(keys + 1) - _edge(keys))
        self._fine = [_kept(_two_node_rule(m, _middle(keys), half)) for m in moments]
        edges = _edge(keys[1::2])
        self._rough = [_kept(_merged_pairs(m, edges, 2.0 * half[::2])) for m in self._fine]
        self._has_few = np.add.reduceat(count, np.arange(0, count.size, 2)) <= 2
        self.spans = self._cut(count > 0)
        """The coordinates by octaves of their distance from the nearer end of the spectrum."""
        self._joined: dict[tuple[int, bool], Block] = {}

    def _cut(self, is_filled: NDArray[np.bool_]) -> list[CellSpan]:
        """Cut the cells into spans, and leave out those that are empty."""
        base, side, _ = self._cells
        octave = 1 << CELL_BITS
        edges = np.unique([0, *range(-base % octave, side, octave), side])
        nearest = np.flatnonzero(edges < side - (NEAREST_OCTAVES + 1) * octave)
        near = np.delete(edges, nearest[1:])
        spans = []
        for first, last in [*pairwise(edges), *pairwise(near + side)]:
            if is_filled[first:last].any():
                ends = _edge(np.array([base + first % side, base + (last - 1) % side + 1]))
                low, high = sorted(self._cells.curvatures(ends, first).tolist())
                spans.append(CellSpan(int(first), int(last), low, high))
        return spans

    def split(self, span: CellSpan) -> list[CellSpan]:
        """Return no smaller spans, as the cells of one have been nodes already."""
        return []

    def is_exact(self, span: CellSpan, nodes: int) -> bool:
        """Whether so many nodes are all the coordinates of a span."""
        return nodes > MOST_NODES and bool(self._has_few[span.first // 2 : span.last // 2].all())

    def block(self, span: CellSpan, nodes: int, *, rough: bool = False) -> Block:
        """Compute the nodes that stand for a span, of wider cells if they may be rough.

        Where all weights are 0, as without noise and start, it is one node that adds nothing.
        """
        cells = slice(span.first // 2, span.last // 2) if rough else slice(*span[:2])
        rules = []
        for distance, weight in self._rough if rough else self._fine:
            weight = weight[:, cells]
            used = weight > 0.0
            h = self._cells.curvatures(distance[:, cells][used], span.first)
            rules.append(_gauss_rule(h, weight[used], nodes))
        if not any(h.size for h, _ in rules):
            nothing, count = np.zeros(1), np.array([0.0 if self.is_pointwise else 1.0])
            return Block(np.array([span.high]), nothing, nothing, count, nothing)
        if self.is_pointwise:
            ((h, count),) = rules
            noise = h if self._noise is None else self._noise
            return Block(h, noise, self._second_moment, count, self._variance)
        (h_start, start), (h_noise, noise) = rules
        is_noise = np.append(np.zeros(h_start.size), np.ones(h_noise.size))
        is_start = 1.0 - is_noise
        h, count = np.append(h_start, h_noise), np.append(start, noise)
        return Block(h, is_noise, is_start, count, is_start)

    def joined(self, nodes: int, *, rough: bool = False) -> Block:
        """Compute the nodes that stand for all coordinates, so many for each span."""
        key = nodes, rough
        if key not in self._joined:  # Threads that make it at the same time make the same.
            blocks = [self.block(span, nodes, rough=rough) for span in self.spans]
            self._joined[key] = joined_blocks(blocks)
        return self._joined[key]


def _edge(key: NDArray[np.int64]) -> Array:
    """Return the least distance of cells."""
    return (key << SHIFT).view(np.float64)


def _middle(key: NDArray[np.int64]) -> Array:
    """Return the distances in the middle of cells."""
    return ((key << SHIFT) | (1 << (SHIFT - 1))).view(np.float64)


def _moments(
    cells: Cells, read: Callable[[int, int], Block], dim: int, is_pointwise: bool
) -> tuple[Array, NDArray[np.int64]]:
    """Add up moments 0 to 3 of each measure in each cell, and count coordinates.

    Returns arrays of shape (measures, 4, cells) and (cells,). Ranges of coordinates have tables of
    their own, which are added in order, so that sums do not depend on the number of threads.
    """
    add_moments = kernels.fastest_backend().array_moments.add_moments
    size = 2 * cells.side
    parts = min(MOST_RANGES, -(-dim // max(CHUNK, LEAST_RANGE * size)))
    length = CHUNK * -(-dim // (CHUNK * parts))

    def of_range(begin: int) -> tuple[Array, NDArray[np.int64]]:
        table = np.zeros((1 if is_pointwise else 2, size, 4))
        count = np.zeros(size, dtype=np.int64)
        end = min(begin + length, dim)
        for first in range(begin, end, CHUNK):
            block = read(first, min(first + CHUNK, end))
            weight = other = block.multiplicity
            if not is_pointwise:
                weight, other = _times(weight, block.second_moment), _times(weight, block.c)
            add_moments(
                block.h, cells.largest, cells.base, cells.side, SHIFT, weight, other, table, count
            )
        return table, count

    (table, count), *others = in_threads(of_range, range(0, dim, length), "spectrum")
    for more, further in others:
        table += more
        count += further
    return table.transpose(0, 2, 1), count


def _times(count: Array, field: Array) -> Array:
    """Multiply a field by counts, unless these are all 1."""
    return field if count.size == 1 and count[0] == 1.0 else count * field


def _kept(measure: Measure) -> Measure:
    """Freeze the arrays of a measure, which a problem keeps."""
    distance, weight = measure
    return Measure(frozen(distance), frozen(weight))


def _two_node_rule(moments: Array, middle: Array, half: Array) -> Measure:
    """Compute the Gauss rule of two nodes of each cell.

    Moments 0 to 3, shape (4, cells), are those of ``x = (distance - middle) / half``.
    """
    total = moments[0]
    mean, second, third = moments[1:] / np.where(total > 0.0, total, 1.0)
    variance = second - mean * mean
    is_alike = variance <= LEAST_VARIANCE
    variance = np.where(is_alike, 1.0, variance)
    tilt = (third - mean * (3.0 * second - 2.0 * mean * mean)) / (2.0 * variance)
    root = np.sqrt(tilt * tilt + variance)
    nodes = mean + np.where(is_alike, 0.0, np.array([tilt - root, tilt + root]))
    share = np.where(is_alike, 1.0, 0.5 * (1.0 + tilt / root))
    weight = np.array([total * share, total * (1.0 - share)])
    return Measure(middle + half * nodes, weight)


def _merged_pairs(fine: Measure, middle: Array, half: Array) -> Measure:
    """Compute rules of two nodes for pairs of cells."""
    distance, weight = (x.reshape(2, -1, 2) for x in fine)
    x = (distance - middle[:, None]) / half[:, None]
    moments = np.array([(weight * x**k).sum(axis=(0, 2)) for k in range(4)])
    return _two_node_rule(moments, middle, half)


def _gauss_rule(h: Array, weight: Array, nodes: int) -> tuple[Array, Array]:
    """Compute the Gauss rule of a measure on curvatures; the measure itself if that is small."""
    if h.size <= nodes or nodes > MOST_NODES:
        return h, weight
    middle = 0.5 * (h.min() + h.max())
    x = h - middle  # It saves digits.
    total = math.fsum(weight)
    vector = np.sqrt(weight / total)
    node, share = lanczos_rule(lambda v: x * v, vector, nodes, float(np.abs(x).max()))
    return node + middle, total * share
