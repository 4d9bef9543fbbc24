"""Gauss rules of the counting measure: sums over whole numbers as sums over few nodes.

The n-point rule of the measure with mass 1 at each of 0 .. N - 1 has the discrete Chebyshev
polynomials' recurrence. It sums polynomials of degree 2 n - 1 exactly, its nodes are real numbers
between 0 and N - 1, and its weights are positive and sum to N (Gautschi 2004, section 1.5).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..foundation.immutable import frozen
from ..foundation.validation import Array

KEPT_RULES = 1 << 13
"""Rules that are remembered, most of some dozens of nodes."""


@lru_cache(KEPT_RULES)
def counting_rule(length: int, nodes: int) -> tuple[Array, Array]:
    """Compute the Gauss rule of the sum over `length` consecutive whole numbers.

    Parameters
    ----------
    length : int
        How many numbers there are, >= 1.
    nodes : int
        Nodes of the rule, >= 1; the numbers themselves, exactly, if there are no more.

    Returns
    -------
    nodes, weights : ndarray, shape (min(nodes, length),)
        In ascending order, read-only. Nodes are distances from the middle of the numbers.
    """
    if length <= nodes:
        middle = 0.5 * (length - 1)
        return frozen(np.arange(length) - middle), frozen(np.ones(length))
    import scipy.linalg

    # Nodes are computed in units of the length, whose square may be beyond exact doubles.
    k = np.arange(1.0, nodes)
    ratio = k / length
    off_diagonal = 0.5 * k * np.sqrt((1.0 - ratio) * (1.0 + ratio) / (4.0 * k * k - 1.0))
    node, vectors = scipy.linalg.eigh_tridiagonal(np.zeros(nodes), off_diagonal)
    # The measure is symmetric, but rounding errors of the eigenvectors are not.
    node = 0.5 * (node - node[::-1])
    weight = vectors[0] ** 2
    weight = 0.5 * (weight + weight[::-1])
    return frozen(node * length), frozen(weight * (length / weight.sum()))
