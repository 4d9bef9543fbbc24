"""Gauss quadrature of a spectrum: few nodes that stand for all of its coordinates."""

from __future__ import annotations

import math

import numpy as np

from ..lanczos import lanczos_rule
from ..problem import Problem
from ..progress import track
from ..validation import Array

# How accurate a quadrature is.
BIN_WIDTHS = (1.0, 1 / 8, 1 / 32)
"""Widths of bins in log curvature; an oscillating risk, as with momentum, needs narrow ones."""
NODES_PER_BIN = 12
"""Nodes per bin and measure, which integrate polynomials of degree 23 in log curvature exactly."""

# How it is made.
BLOCK = 1 << 20
"""Coordinates that are read at a time, which bounds the memory."""


def compressed_spectrum(problem: Problem, bin_width: float = BIN_WIDTHS[0]) -> Problem:
    """Return a problem of few coordinates with nearly the same risk, made once and remembered.

    The risk is a sum over two measures on the spectrum, ``count h E[w0^2]`` for the initial
    iterate and ``count h c`` for the noise. Each is replaced, within every bin of log
    curvature, by its Gauss rule, which is accurate as the risk is a smooth function of
    curvature. Its weights are positive, so that its nodes are coordinates, with either an
    initial iterate or noise. A bin with few coordinates is kept as it is.
    The result is an estimate: whoever uses it confirms the answer on `problem`.
    """
    cached: dict[float, Problem] = problem.__dict__.setdefault("_compressed_spectra", {})
    if bin_width not in cached:
        cached[bin_width] = _gauss_spectrum(problem, bin_width)
    return cached[bin_width]


def _gauss_spectrum(problem: Problem, bin_width: float) -> Problem:
    """Read the problem block by block, and merge the coordinates of each bin into its rules."""
    bins: dict[int, Array] = {}
    ends = np.array([np.inf, -np.inf])
    begins = range(0, problem.dim, BLOCK)
    for begin in track(begins, len(begins), "spectrum"):
        block = problem.block(begin, min(begin + BLOCK, problem.dim))
        weight = block.multiplicity * block.h
        points = np.broadcast_arrays(
            np.log(block.h), weight * block.second_moment, weight * block.c
        )
        ends[0] = min(ends[0], points[0].min())
        ends[1] = max(ends[1], points[0].max())
        number = np.floor(points[0] / bin_width).astype(np.int64)
        order = np.argsort(number, kind="stable")
        keys, first = np.unique(number[order], return_index=True)
        for key, rows in zip(keys.tolist(), np.split(order, first[1:]), strict=True):
            earlier = [bins[key]] if key in bins else []
            merged = np.concatenate([*earlier, np.stack([p[rows] for p in points])], axis=1)
            bins[key] = _gauss_rules(merged, NODES_PER_BIN, (key + 0.5) * bin_width)
    x, signal, noise = np.concatenate([bins[key] for key in sorted(bins)], axis=1)
    # The ends of the spectrum are kept, without weight, because they decide what is stable.
    x = np.concatenate([x, ends])
    signal = np.append(signal, [0.0, 0.0])
    noise = np.append(noise, [0.0, 0.0])
    h = np.exp(x)
    return Problem(h, noise / h, var0=signal / h)


def _gauss_rules(points: Array, nodes: int, middle: float) -> Array:
    """Replace the points of a bin by the Gauss rules of both measures, unless they are few.

    Points have shape (3, points): log curvature x, weight of the initial iterate (signal), weight
    of the noise. Measuring x from the middle of the bin saves digits.
    """
    x, signal, noise = points
    if x.size <= 2 * nodes:
        return points
    parts = []
    for row, weight in ((1, signal), (2, noise)):
        if weight.any():
            node, node_weight = gauss_rule(x - middle, weight, nodes)
            part = np.zeros((3, node.size))
            part[0] = node + middle
            part[row] = node_weight
            parts.append(part)
    return np.concatenate(parts, axis=1) if parts else points[:, :1] * 0.0


def gauss_rule(x: Array, weight: Array, nodes: int) -> tuple[Array, Array]:
    """Compute nodes and weights of the Gauss rule of the measure ``sum weight_i delta(x_i)``.

    There are fewer nodes where the measure has fewer points.
    """
    total = math.fsum(weight)
    vector = np.sqrt(weight / total)
    node, share = lanczos_rule(lambda v: x * v, vector, nodes, float(np.abs(x).max()))
    return node, total * share
