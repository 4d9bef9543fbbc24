"""RMSProp, also with momentum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, number
from ..schedules import as_schedule
from .base import RuleAlgorithm, in_columns


@dataclass(frozen=True, repr=False)
class RMSProp(RuleAlgorithm):
    """RMSProp (Tieleman and Hinton 2012), which is not linear: it is simulated only.

    Per coordinate, with gradient ``g_t = h w_t + xi_t``, as PyTorch writes it::

        v = beta v + (1 - beta) g^2                  v_0 = 0
        u = momentum u + g / (sqrt(v) + eps)         u_0 = 0
        w = w - lr u
        e = ema e + (1 - ema) w                      e_0 = w_0

    The risk is that of e (which is w at ``ema = 0``).

    Parameters
    ----------
    lr : number, array_like of shape (steps,), or schedule
        Learning rate, >= 0.
    beta : float
        Decay of the average of squared gradients, in [0, 1); PyTorch calls it alpha.
    momentum : float
        In [0, 1).
    eps : float
        What is added to the root, > 0.
    ema : float
        Decay of the exponential moving average of the iterates, in [0, 1).

    Raises
    ------
    InputError
        If a value is outside its limits.
    """

    lr: Any
    beta: float = field(default=0.99, kw_only=True)
    momentum: float = field(default=0.0, kw_only=True)
    eps: float = field(default=1e-8, kw_only=True)
    ema: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {
        "lr": "positive", "beta": "unit", "momentum": "unit", "eps": "positive", "ema": "unit",
    }  # fmt: skip

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr),
            beta=number("beta", self.beta, least=0.0, below=1.0),
            momentum=number("momentum", self.momentum, least=0.0, below=1.0),
            eps=number("eps", self.eps, above=0.0),
            ema=number("ema", self.ema, least=0.0, below=1.0),
        )

    @property
    def rule(self) -> str:
        """The rule without u, unless there is momentum."""
        return "rmsprop with momentum" if self.momentum else "rmsprop"

    def numbers(self, lr: Array, step: NDArray[np.int64]) -> Array:
        """The learning rates, decay and eps, and the momentum if there is one."""
        momentum = [self.momentum] if self.momentum else []
        return in_columns(lr, self.beta, 1.0 - self.beta, self.eps, *momentum)
