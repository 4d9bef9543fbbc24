"""Gauss quadrature of a spectrum: a few dozen nodes that stand for all coordinates."""

from __future__ import annotations

import math

import numpy as np

from ..problem import Problem
from ..progress import track
from ..validation import Array

WIDTHS = (1.0, 1 / 8, 1 / 32)  # of a bin, in log curvature: narrower for oscillating risk
NODES = 12  # per bin and measure: polynomials of degree 23 are summed exactly
CHUNK = 1 << 20  # coordinates that are looked at at a time


def compress(problem: Problem, width: float = WIDTHS[0]) -> Problem:
    """A problem of few coordinates with the same risk, for smooth functions of curvature.

    The risk is a sum over two measures on the spectrum, ``count h E[w0^2]`` for the initial
    iterate and ``count h c`` for the noise. Each is replaced, within every bin of log
    curvature, by its Gauss rule, whose weights are positive: rules become coordinates
    that have either signal or noise. A bin with few coordinates is kept as it is.
    The result is an estimate; those who use it confirm their answer on `problem`.
    """
    cached: dict[float, Problem] = problem.__dict__.setdefault("_compressed", {})
    if width not in cached:
        cached[width] = _compress(problem, width)
    return cached[width]


def _compress(problem: Problem, width: float) -> Problem:
    bins: dict[int, Array] = {}
    ends = np.array([np.inf, -np.inf])
    chunks = range(0, problem.dim, CHUNK)
    for begin in track(chunks, len(chunks), "spectrum"):
        block = problem.block(begin, min(begin + CHUNK, problem.dim))
        weight = block.multiplicity * block.h
        points = np.broadcast_arrays(
            np.log(block.h), weight * block.second_moment, weight * block.c
        )
        ends[0] = min(ends[0], points[0].min())
        ends[1] = max(ends[1], points[0].max())
        number = np.floor(points[0] / width).astype(np.int64)
        order = np.argsort(number, kind="stable")
        keys, first = np.unique(number[order], return_index=True)
        for key, rows in zip(keys.tolist(), np.split(order, first[1:]), strict=True):
            held = [bins[key]] if key in bins else []
            merged = np.concatenate([*held, np.stack([p[rows] for p in points])], axis=1)
            bins[key] = _thin(merged, NODES, (key + 0.5) * width)
    x, signal, noise = np.concatenate([bins[key] for key in sorted(bins)], axis=1)
    # the ends of the spectrum, without weight: they decide what is stable
    x = np.concatenate([x, ends])
    signal = np.append(signal, [0.0, 0.0])
    noise = np.append(noise, [0.0, 0.0])
    h = np.exp(x)
    return Problem(h, noise / h, var0=signal / h)


def _thin(points: Array, nodes: int, middle: float) -> Array:
    """Replace many (x, signal weight, noise weight) columns by a Gauss rule for each weight."""
    x, signal, noise = points
    if x.size <= 2 * nodes:
        return points
    parts = []
    for row, weight in ((1, signal), (2, noise)):
        if weight.any():
            place, mass = gauss_rule(x - middle, weight, nodes)
            part = np.zeros((3, place.size))
            part[0] = place + middle
            part[row] = mass
            parts.append(part)
    return np.concatenate(parts, axis=1) if parts else points[:, :1] * 0.0


def gauss_rule(x: Array, weight: Array, nodes: int) -> tuple[Array, Array]:
    """Nodes and weights of the Gauss rule of the measure ``sum weight_i delta(x_i)``.

    Lanczos with full reorthogonalisation (Golub and Welsch 1969; Gautschi 2004, section
    2.2.3); fewer nodes where the measure has fewer points.
    """
    import scipy.linalg

    total = math.fsum(weight)
    vector = np.sqrt(weight / total)
    basis = np.zeros((nodes, x.size))
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    scale = float(np.abs(x).max())
    for k in range(nodes):
        basis[k] = vector
        image = x * vector
        diagonal.append(float(vector @ image))
        for _ in range(2):
            image -= basis[: k + 1].T @ (basis[: k + 1] @ image)
        norm = float(np.linalg.norm(image))
        if norm <= 1e-13 * scale or k == nodes - 1:
            break
        off_diagonal.append(norm)
        vector = image / norm
    place, vectors = scipy.linalg.eigh_tridiagonal(diagonal, off_diagonal)
    return np.asarray(place, float), np.asarray(total * vectors[0] ** 2, float)
