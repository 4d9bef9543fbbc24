"""The largest constant learning rate at which an algorithm is stable."""

from __future__ import annotations

import numpy as np

from .base import LinearAlgorithm
from .sparse import checked_recurrence, sparse_recurrence, term_weights


def largest_stable_lr(algorithm: LinearAlgorithm, curvature_range: tuple[float, float]) -> float:
    """Estimate, by bisection, the learning rate up to which the mean does not grow.

    Only the least and the largest curvature are looked at, and the weights of step 0.
    """
    h = np.array(curvature_range)
    recurrence = checked_recurrence(algorithm, h)
    n = len(recurrence.read)
    sparse = sparse_recurrence(recurrence, h.size)
    zero = np.zeros(1, dtype=np.int64)

    def is_stable(lr: float) -> bool:
        # A has shape (curvatures, n, n); its eigenvalues decide.
        weights = term_weights(algorithm, len(recurrence.terms), np.array([lr]), zero)[0]
        A = np.zeros((h.size, n, n)) + np.eye(n)
        for (term, row, column, source), factor in zip(sparse.entries, sparse.factors, strict=True):
            if column < n:
                with np.errstate(over="ignore", invalid="ignore"):
                    array = sparse.values[source] if source >= 0 else 1.0
                    entry = weights[term] * factor * array
                A[:, row, column] += entry
        if not np.isfinite(A).all():
            return False
        return float(np.abs(np.linalg.eigvals(A)).max()) <= 1.0 + 1e-9

    low, high = 0.0, algorithm.largest_lr(h)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if is_stable(middle) else (low, middle)
    return low
