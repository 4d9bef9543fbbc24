"""Least squares on drawn features, in NumPy: the contract of that simulation, written out.

A sample s of a step has features ``x_j = z_j root_j`` with a variate z_j for each coordinate, and a
normal label noise e. At the point q where the gradient is taken, a batch of B samples has the noise

    xi_j = (1 / B) sum_s z_j (root_j (sum_k x_k q_k) + label_j e) - variance_j q_j

in coordinate j, where ``variance = root^2`` and label_j^2 is the noise at the optimum. Sums over
samples begin at 0 and go in their order. Those over coordinates are in the contract's order: leaves
of 64 are folded, then neighbours are added. A block of four words serves four samples of a step of
one coordinate; the steps are numbers of the counter's field for quads. Labels are those of a
coordinate 0 of their own purpose.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import noise as formulas
from .contract import Floats
from .feature_laws import FEATURES, LABELS, LAPLACE, LAPLACE_UNIT, NORMAL, UNIFORM, UNIFORM_UNIT
from .reference import _combined, _stepped, normals, tree_sum


class Samples(NamedTuple):
    """Features, noise and point of the gradient of a setting; arrays are of whole leaves."""

    law: int  # the code of the law of features
    key: NDArray[np.uint64]  # (2,)
    root: Floats  # standard deviations of features
    variance: Floats  # their squares
    label: Floats  # standard deviations of the noise at the optimum
    point: Floats  # (n,): the combination of components at which the gradient is taken


def features(law: int, words: Any) -> list[Any]:
    """Return a feature of variance 1 for each of four samples, as float64."""
    if law == NORMAL:
        return list(normals(np.stack(words, axis=1)).T.astype(np.float64))
    if law == LAPLACE:
        return [np.float64(formulas.laplace(word)) * LAPLACE_UNIT for word in words]
    if law == UNIFORM:
        return [(np.float64(formulas.signed(word)) + 0.5) * UNIFORM_UNIT for word in words]
    return [np.float64(np.int64(word >> np.uint32(31)) * 2 - 1) for word in words]


def _words(samples: Samples, numbers: Any, step: int, replica: int, block: int, use: int) -> Any:
    """Return the four words of coordinates of the given numbers."""
    c1, c2, c3 = formulas.counter(step, replica, block, use)
    return formulas.philox(numbers, c1, c2, c3, samples.key[0], samples.key[1])


def _noise(samples: Samples, q: Floats, step: int, replica: int, batch: int) -> Floats:
    """Return the gradient noise of a batch at a point, (d,)."""
    numbers = np.arange(q.size, dtype=np.uint64)
    total = np.zeros(q.size)
    for block in range(-(-batch // 4)):
        z = features(samples.law, _words(samples, numbers, step, replica, block, FEATURES))
        e = features(NORMAL, _words(samples, numbers[:1], step, replica, block, LABELS))
        for lane in range(min(batch - 4 * block, 4)):
            product = tree_sum((z[lane] * samples.root) * q)
            total = total + z[lane] * (samples.root * product + samples.label * e[lane][0])
    return total * (1.0 / batch) - samples.variance * q


def advance_features(
    samples: Samples,
    change: Floats,
    kick: Floats,
    batch: int,
    replica: int,
    begin: int,
    end: int,
    state: Floats,
) -> None:
    """Take a state through the steps begin .. end - 1 of equal settings, in place.

    Parameters
    ----------
    samples : Samples
    change : ndarray, shape (n, n, d)
        ``A - I``.
    kick : ndarray, shape (n, d)
        b.
    batch, replica, begin, end : int
    state : ndarray, shape (n, d)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(begin, end):
            q = _combined(samples.point, state)
            state[:] = _stepped(change, kick, state, _noise(samples, q, step, replica, batch))
