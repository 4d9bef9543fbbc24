"""Very few nodes for a search, where the noise of each coordinate depends on all others.

Coordinates are taken together in cells of curvature. Each cell has the Gauss rule of all that goes
in: what start, noise and the sum bring to the risk. These have weights of their own on its nodes,
which are exact for polynomials as low as there are nodes. A risk is right to some 1e-3 and better,
and where it is lowest to the square of that.
"""

from __future__ import annotations

import numpy as np

from ...coordinates.lanczos import lanczos_rule
from ...foundation.validation import Array
from .maps import CoupledBlock

CELL = 4.0
"""Ratio of the curvatures at the two ends of a cell."""
NODES = 3
"""Nodes of a cell."""
EDGE = 1e-9
"""Rounding error, in widths of a cell, with which a curvature at its end still counts to it."""


def coarse_block(block: CoupledBlock) -> CoupledBlock:
    """Return few nodes that stand for a block's, and themselves where there are few."""
    order = np.argsort(block.h, kind="stable")[::-1]
    block = CoupledBlock(*(x[order] for x in block))
    cells = np.floor(np.log(block.h[0] / block.h) / np.log(CELL) + EDGE)
    starts = np.flatnonzero(np.diff(cells, prepend=-1.0))
    ends = np.append(starts[1:], len(cells))
    parts = [
        _merged(CoupledBlock(*(x[first:last] for x in block)))
        for first, last in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    return CoupledBlock(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def _merged(cell: CoupledBlock) -> CoupledBlock:
    """Return a few nodes for a cell, whose curvatures fall; the cell itself if none do."""
    with np.errstate(over="ignore", invalid="ignore"):
        masses = [cell.multiplicity * x for x in (cell.second_moment, cell.c, cell.shared)]
        totals = [float(cell.h @ mass) for mass in masses]
    if len(cell.h) <= NODES or not np.isfinite(totals).all() or not max(totals) > 0.0:
        return cell
    pairs = zip(masses, totals, strict=True)
    measure = sum((cell.h * (mass / total) for mass, total in pairs if total > 0.0), np.zeros(1))
    root = np.sqrt(measure / measure.sum())
    h, _ = lanczos_rule(lambda x: cell.h * x, root, NODES)
    at = _lagrange(cell.h, h) * cell.h / h[:, None]
    count, *masses = (at @ mass for mass in (cell.multiplicity, *masses))
    if not (count.min() > 0.0 and min(mass.min() for mass in masses) >= 0.0):
        return cell
    own, weight = (_at(h, cell.h, x / cell.h) * h for x in (cell.own, cell.weight))
    start, c, shared = (mass / count for mass in masses)
    return CoupledBlock(h, c, start, count, own, shared, weight)


def _lagrange(x: Array, nodes: Array) -> Array:
    """Return the polynomials that are 1 at one of the nodes each, shape (nodes, x)."""
    others = ~np.eye(len(nodes), dtype=bool)
    return np.array(
        [
            np.prod((x[:, None] - nodes[other]) / (nodes[k] - nodes[other]), axis=1)
            for k, other in enumerate(others)
        ]
    )


def _at(h: Array, falling: Array, values: Array) -> Array:
    """Return values between those at falling curvatures."""
    return np.interp(h, falling[::-1], values[::-1])
