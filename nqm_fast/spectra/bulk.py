"""Measures on the part of a Hessian's spectrum that is left beside its top eigenvectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..coordinates.lanczos import lanczos_rule
from ..foundation.validation import Array
from ..output.progress import track

LEAST_COUNT = 1e-3
"""Coordinates below which a node of the bulk is merged into its neighbours."""

Product = Callable[[Array], Array]
"""The product of a Hessian with a vector of shape (d,)."""


class Rule(NamedTuple):
    """A measure on the spectrum, as points and their masses."""

    h: Array
    """Shape (points,)."""
    mass: Array
    """Shape (points,)."""


class Bulk:
    """The Hessian on what is orthogonal to the top eigenvectors."""

    def __init__(self, multiply: Product, basis: Array, nodes: int) -> None:
        self.multiply, self.basis = multiply, basis
        self.nodes = min(nodes, basis.shape[1] - len(basis))

    def project(self, vector: Array) -> Array:
        """Return the part of a vector that is in the bulk."""
        for _ in range(2):  # The second pass removes the rounding errors of the first.
            vector = vector - self.basis.T @ (self.basis @ vector)
        return vector

    def rule(self, vector: Array) -> Rule | None:
        """Return the Gauss rule of a vector's measure, of mass 1, unless nothing of it is here."""
        inside = self.project(vector)
        norm = float(np.linalg.norm(inside))
        if norm <= 1e-12 * float(np.linalg.norm(vector)):
            return None
        return Rule(
            *lanczos_rule(lambda v: self.project(self.multiply(v)), inside / norm, self.nodes)
        )

    def density(self, size: int, probes: int, rng: np.random.Generator) -> Rule:
        """Return how many of `size` eigenvalues are where, of which few nodes stand for little."""
        signs = (rng.choice([-1.0, 1.0], size=self.basis.shape[1]) for _ in range(probes))
        rules = [rule for v in track(signs, probes, "spectrum") if (rule := self.rule(v))]
        found = _joined(rules, np.ones(len(rules)), float(size))
        large = found.mass >= min(LEAST_COUNT, found.mass.max())
        kept = found.h[large]
        small = Rule(found.h[~large], found.mass[~large])
        return Rule(kept, found.mass[large] + spread(small, kept))

    def measure(self, vectors: Array, mass: float, label: str) -> Rule:
        """Return the measure of vectors, each of which counts by its square, scaled to a mass."""
        rules, sizes = [], []
        for vector in track(vectors, len(vectors), label):
            rule = self.rule(vector)
            if rule is not None and mass > 0.0:
                rules.append(rule)
                sizes.append(float(np.square(self.project(vector)).sum()))
        return _joined(rules, np.array(sizes), mass)


def _joined(rules: list[Rule], sizes: Array, mass: float) -> Rule:
    """Join rules of mass 1, weighted by sizes, and scale them to a mass; points ascend."""
    if not rules:
        return Rule(np.empty(0), np.empty(0))
    h = np.concatenate([rule.h for rule in rules])
    share = sizes / sizes.sum()
    masses = np.concatenate([rule.mass * part for rule, part in zip(rules, share, strict=True)])
    order: NDArray[np.intp] = np.argsort(h, kind="stable")
    return Rule(h[order], masses[order] * (mass / masses.sum()))


def spread(rule: Rule, h: Array) -> Array:
    """Spread masses over points `h`, which ascend: each between its two neighbours, as a lever.

    That keeps the sums of the masses, and of masses times curvature, but for masses beyond the
    ends, which go to the ends.
    """
    found = np.zeros(h.size)
    if not rule.h.size:
        return found
    if h.size == 1:
        total: Array = found + rule.mass.sum()
        return total
    x = np.clip(rule.h, h[0], h[-1])
    right = np.clip(np.searchsorted(h, x, side="right"), 1, h.size - 1)
    gap = h[right] - h[right - 1]
    part = np.divide(x - h[right - 1], gap, out=np.zeros(x.size), where=gap > 0.0)
    np.add.at(found, right, rule.mass * part)
    np.add.at(found, right - 1, rule.mass * (1.0 - part))
    return found
