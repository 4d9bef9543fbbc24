"""The hyperbola of steps and samples, as which their trade-off is often described."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...foundation.validation import Array, in_range, real_array


class Hyperbola(NamedTuple):
    """The curve ``(S / least_steps - 1) (E / least_samples - 1) = 1`` of steps S and samples E.

    Attributes
    ----------
    least_steps, least_samples : float
        Its asymptotes.
    worst : float
        The largest relative difference between its steps and the fewest, at any batch size.
    """

    least_steps: float
    least_samples: float
    worst: float

    @property
    def critical_batch_size(self) -> float:
        """The quotient of its asymptotes, at which steps and samples are twice the least.

        It is inf where the fit has no least steps, as batch sizes were too small to show them.
        """
        return self.least_samples / self.least_steps if self.least_steps else math.inf

    def steps(self, batch_size: ArrayLike) -> Any:
        """Steps at batch sizes, of the same shape."""
        sizes = real_array("batch_size", batch_size)
        in_range("batch_size", np.atleast_1d(sizes), above=0.0)
        steps = self.least_steps + self.least_samples / sizes
        return steps if sizes.ndim else float(steps)


def fitted_hyperbola(batch_sizes: Array, steps: Array) -> Hyperbola:
    """Fit ``S = least_steps + least_samples / B`` to steps at batch sizes, where finite."""
    import scipy.optimize

    is_finite = np.isfinite(steps)
    sizes, steps = batch_sizes[is_finite], steps[is_finite]
    columns = np.stack([1.0 / steps, 1.0 / (sizes * steps)], axis=1)
    # Columns of the same size, as those of small batches are far larger.
    scale = np.linalg.norm(columns, axis=0)
    solution, _ = scipy.optimize.nnls(columns / scale, np.ones(sizes.size))
    least_steps, least_samples = (solution / scale).tolist()
    worst = float(np.abs(columns @ (solution / scale) - 1.0).max())
    return Hyperbola(least_steps, least_samples, worst)
