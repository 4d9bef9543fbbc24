"""Steps of one size, along the sign of the gradient or of its average."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, number
from ..schedules import as_schedule
from .base import RuleAlgorithm, in_columns


@dataclass(frozen=True, repr=False)
class SignSGD(RuleAlgorithm):
    """SGD by the sign of the gradient (Bernstein et al. 2018), simulated only.

    Per coordinate, with gradient ``g_t = h w_t + xi_t`` and ``sign(0) = 0``::

        w = w - lr sign(g)
        e = ema e + (1 - ema) w                      e_0 = w_0

    The risk is that of e (which is w at ``ema = 0``).

    Parameters
    ----------
    lr : number, array_like of shape (steps,), or schedule
        Learning rate, >= 0: the size of a step in each coordinate.
    ema : float
        Decay of the exponential moving average of the iterates, in [0, 1).

    Raises
    ------
    InputError
        If a value is outside its limits.
    """

    lr: Any
    ema: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {"lr": "positive", "ema": "unit"}
    rule = "sign"

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr), ema=number("ema", self.ema, least=0.0, below=1.0)
        )

    def numbers(self, lr: Array, step: NDArray[np.int64]) -> Array:
        """The learning rates."""
        return lr[:, None]


@dataclass(frozen=True, repr=False)
class Signum(RuleAlgorithm):
    """SGD by the sign of the momentum (Bernstein et al. 2018, algorithm 2), simulated only.

    Per coordinate, with gradient ``g_t = h w_t + xi_t`` and ``sign(0) = 0``::

        m = momentum m + (1 - momentum) g            m_0 = 0
        w = w - lr sign(m)
        e = ema e + (1 - ema) w                      e_0 = w_0

    The risk is that of e (which is w at ``ema = 0``).

    Parameters
    ----------
    lr : number, array_like of shape (steps,), or schedule
        Learning rate, >= 0: the size of a step in each coordinate.
    momentum : float
        In [0, 1).
    ema : float
        Decay of the exponential moving average of the iterates, in [0, 1).

    Raises
    ------
    InputError
        If a value is outside its limits.
    """

    lr: Any
    momentum: float = field(default=0.9, kw_only=True)
    ema: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {"lr": "positive", "momentum": "unit", "ema": "unit"}
    rule = "signum"

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr),
            momentum=number("momentum", self.momentum, least=0.0, below=1.0),
            ema=number("ema", self.ema, least=0.0, below=1.0),
        )

    def numbers(self, lr: Array, step: NDArray[np.int64]) -> Array:
        """The learning rates and the momentum."""
        return in_columns(lr, self.momentum, 1.0 - self.momentum)
