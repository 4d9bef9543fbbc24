"""The oracle: the second moments stepped one by one in NumPy, slow and obvious."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def stepped_risk(
    h: Array,
    c: Array,
    second_moment0: Array,
    count: Array,
    lr: Array,
    batch_size: Array,
    momentum: float,
    ema: float,
    power: float,
) -> Array:
    """Risk of SGD at steps 0 .. T, for one learning rate and batch size per step.

    The state per coordinate is (w, v, e), its second-moment matrix S follows
    ``S' = A S A^T + b b^T c / B``. All per-coordinate arguments have shape (d,), `lr` and
    `batch_size` shape (T,); returns shape (T + 1,).
    """
    d = h.size
    k = h**-power
    S = np.zeros((d, 3, 3))
    for a in (0, 2):
        for b in (0, 2):
            S[:, a, b] = second_moment0
    risk = [0.5 * np.sum(count * h * S[:, 2, 2])]
    for eta, batch in zip(lr, batch_size, strict=True):
        velocity = np.zeros((d, 3))
        velocity[:, 0] = h
        velocity[:, 1] = momentum
        iterate = -eta * k[:, None] * velocity
        iterate[:, 0] += 1.0
        average = (1.0 - ema) * iterate
        average[:, 2] += ema
        A = np.stack([iterate, velocity, average], axis=1)
        kick = np.stack([-eta * k, np.ones(d), -(1.0 - ema) * eta * k], axis=1)
        noise = np.einsum("i,ia,ib->iab", c / batch, kick, kick)
        S = A @ S @ A.transpose(0, 2, 1) + noise
        risk.append(0.5 * np.sum(count * h * S[:, 2, 2]))
    return np.array(risk)
