"""Noise whose variance grows with the risk, in NumPy: the contract of that simulation, written out.

At the point q where the gradient is taken, the noise of all coordinates is that of the stream
which noise that is the same everywhere has, a sum z of samples, times

    sqrt(1 + slope sum_k (half_k q_k) q_k)

where ``half = h / 2``, so that the sum is the excess risk at q; it is in the contract's order. The
mean of a batch of normal samples is one normal. So a slope of 0 gives the numbers of noise that is
the same everywhere, but for roundings of the kick.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .contract import Floats, Ints, Noise
from .reference import _combined, _stepped, _sums_of_samples, tree_sum


class ScaledNoise(NamedTuple):
    """The noise of a setting, and the point of its gradient; arrays are of whole leaves."""

    noise: Noise  # whose first coordinate is 0
    half: Floats  # weights of squares in the risk, half of the curvatures
    slope: float  # relative growth of the variance for each unit of risk
    point: Floats  # (n,): the combination of components at which the gradient is taken
    z: Floats  # (4, d): where compiled kernels keep the z of a quad from call to call
    held: Ints  # (2,): the number of that quad, -1 at first, and its samples


def advance_scaled(
    scaled: ScaledNoise,
    change: Floats,
    kick: Floats,
    samples: int,
    replica: int,
    begin: int,
    end: int,
    state: Floats,
) -> None:
    """Take a state through the steps begin .. end - 1 of equal settings, in place.

    Parameters
    ----------
    scaled : ScaledNoise
    change : ndarray, shape (n, n, d)
        ``A - I``.
    kick : ndarray, shape (n, d)
        b, times the standard deviation at the optimum and the amplitude of a sample.
    samples : int
        How many samples are summed in a step.
    replica, begin, end : int
    state : ndarray, shape (n, d)
    """
    noise, half, slope, point, *_ = scaled
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(begin, end):
            quad, lane = divmod(step, 4)
            z = _sums_of_samples(noise, half.size, quad, replica, samples)[lane]
            q = _combined(point, state)
            root = np.sqrt(1.0 + slope * tree_sum((half * q) * q))
            state[:] = _stepped(change, kick, state, root * z)
