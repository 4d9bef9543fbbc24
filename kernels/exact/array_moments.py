"""Moments of many coordinates in narrow cells of curvature, which become the nodes of arrays.

Cells are told apart by the leading bits of the distance from the nearer end of the spectrum: 0, or
the largest curvature. A tile's cells are found first, in a loop that is vectorised, and then each
coordinate is added to its cell, one after the other, so that sums have the same bits everywhere.
"""

from __future__ import annotations

import numpy as np

from ..numba.jit import kernel

TILE = 512
ONE_BITS = 0x3FF0000000000000


@kernel
def _place(h, first, last, largest, base, side, shift, cell, x):
    """Find the cell of each coordinate of a tile, and its place in it: -1 and 1 are its ends."""
    one = np.int64(1)
    below = (one << shift) - one
    # The place is in the bits of the distance, but for distances below those of the first cell,
    # which are only next to the largest curvature.
    low = np.int64(base << shift).view(np.float64)
    width = np.int64((base + one) << shift).view(np.float64) - low
    for j in range(last - first):
        here = h[first + j]
        near = largest - here
        distance = min(here, near)
        bits = np.float64(distance).view(np.int64)
        significand = np.int64(((bits & below) << (52 - shift)) | ONE_BITS).view(np.float64)
        inside = 2.0 * significand - 3.0
        outside = (distance - low) / width * 2.0 - 1.0
        x[j] = outside if distance < low else inside
        cell[j] = max(bits >> shift, base) - base + (side if near < here else 0)


@kernel
def add_to_cells(cell, x, size, weight, first, table):
    """Add the moments 0 to 3 of the first coordinates of a tile to their cells, one by one."""
    if weight.shape[0] == 1:
        w = weight[0]
        for k in range(size):
            at = cell[k]
            u = x[k]
            y = w * u
            z = y * u
            u = z * u
            table[at, 0] += w
            table[at, 1] += y
            table[at, 2] += z
            table[at, 3] += u
    else:
        for k in range(size):
            at = cell[k]
            u = x[k]
            w = weight[first + k]
            y = w * u
            z = y * u
            u = z * u
            table[at, 0] += w
            table[at, 1] += y
            table[at, 2] += z
            table[at, 3] += u


@kernel
def count_in_cells(cell, size, count):
    """Add the numbers of the first coordinates of a tile to those of their cells."""
    for k in range(size):
        count[cell[k]] += 1


@kernel
def add_moments(h, largest, base, side, shift, weight, other_weight, table, count):
    """Add coordinates to the cells of one or two measures.

    Parameters
    ----------
    h : array, shape (d,)
        Curvatures, at most `largest`.
    largest : float
        The other end of the spectrum than 0.
    base, side, shift : int
        The first cell's number, which its distance has as its bits from `shift` on; the cells of
        each end, those of the distances from 0 before those from `largest`.
    weight, other_weight : array, shape (d,) or (1,)
        Of coordinates in each measure, of which there are as many as in `table`.
    table : array, shape (measures, 2 side, 4)
        Moments 0 to 3 of a coordinate's place in its cell, from -1 to 1, to which all are added.
    count : array of int, shape (2 side,)
        Coordinates in each cell, to which all are added.
    """
    cell = np.empty(TILE, dtype=np.int64)
    x = np.empty(TILE)
    d = h.shape[0]
    for tile in range((d + TILE - 1) // TILE):
        first = tile * TILE
        last = min(first + TILE, d)
        _place(h, first, last, largest, base, side, shift, cell, x)
        add_to_cells(cell, x, last - first, weight, first, table[0])
        if table.shape[0] > 1:
            add_to_cells(cell, x, last - first, other_weight, first, table[1])
        count_in_cells(cell, last - first, count)
