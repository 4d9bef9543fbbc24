"""Gauss rules of spectral measures by the method of Lanczos, with full reorthogonalisation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..foundation.validation import Array

TOLERANCE = 1e-13
"""Relative norm below which a Lanczos vector is a rounding error: the rule is exact by then."""


def lanczos_rule(
    multiply: Callable[[Array], Array], vector: Array, nodes: int, scale: float | None = None
) -> tuple[Array, Array]:
    """Compute nodes and weights of the Gauss rule of a symmetric operator's spectral measure.

    The measure of a unit vector u has the mass ``(v_i . u)^2`` at each eigenvalue of an
    eigenvector ``v_i``; a rule of n nodes integrates polynomials of degree 2 n - 1 exactly (Golub
    and Welsch 1969; Gautschi 2004, section 2.2.3).

    Parameters
    ----------
    multiply : callable
        The operator's product with an array of shape (d,), as a new array.
    vector : ndarray, shape (d,)
        The unit vector.
    nodes : int
        The most nodes; there are fewer where the measure has fewer points.
    scale : float, optional
        The size of the operator, of which rounding errors are a part; that of its part seen so far
        if absent.

    Returns
    -------
    nodes, weights : ndarray, shape (nodes,)
        In ascending order; the weights sum to 1.
    """
    import scipy.linalg

    basis = np.zeros((nodes, vector.size))
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    seen = 0.0
    for k in range(nodes):
        basis[k] = vector
        image = multiply(vector)
        diagonal.append(float(vector @ image))
        for _ in range(2):  # The second pass removes the rounding errors of the first.
            image -= basis[: k + 1].T @ (basis[: k + 1] @ image)
        norm = float(np.linalg.norm(image))
        seen = max(seen, abs(diagonal[-1]) + norm)
        if norm <= TOLERANCE * (seen if scale is None else scale) or k == nodes - 1:
            break
        off_diagonal.append(norm)
        vector = image / norm
    node, vectors = scipy.linalg.eigh_tridiagonal(diagonal, off_diagonal)
    return np.asarray(node, float), np.asarray(vectors[0] ** 2, float)
