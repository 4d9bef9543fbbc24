"""Adam, also with decoupled weight decay."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, number
from ..schedules import as_schedule
from .base import RuleAlgorithm, in_columns


def powers(base: float, exponents: NDArray[np.int64]) -> Array:
    """Return powers of a number, by products alone, which have the same bits everywhere."""
    result, square = np.ones(exponents.shape), np.float64(base)
    for bit in range(int(exponents.max(initial=0)).bit_length()):
        result = np.where(exponents >> bit & 1, result * square, result)
        square = square * square
    return result


def forgotten_after(beta: float) -> int:
    """Return a number of steps after which ``1 - beta^t`` is 1 to all digits."""
    return math.ceil(38.0 / -math.log(beta)) if beta else 1


@dataclass(frozen=True, repr=False)
class Adam(RuleAlgorithm):
    """Adam (Kingma and Ba 2015, algorithm 1), which is not linear: it is simulated only.

    Per coordinate, with gradient ``g_t = h w_t + xi_t`` and ``t = 1, 2, ...`` the number of the
    update::

        m = beta1 m + (1 - beta1) g                  m_0 = 0
        v = beta2 v + (1 - beta2) g^2                v_0 = 0
        w = w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
        e = ema e + (1 - ema) w                      e_0 = w_0

    The risk is that of e (which is w at ``ema = 0``).

    Parameters
    ----------
    lr : number, array_like of shape (steps,), or schedule
        Learning rate, >= 0.
    beta1, beta2 : float
        Decays of the averages of gradients and of their squares, in [0, 1).
    eps : float
        What is added to the root, > 0.
    ema : float
        Decay of the exponential moving average of the iterates, in [0, 1).

    Raises
    ------
    InputError
        If a value is outside its limits.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> run = nqm.simulate(nqm.Problem.power_law(100), nqm.Adam(0.01), 64, 200, replicas=4)
    >>> bool(run.risk[:, -1].mean() < 0.3 * run.risk[:, 0].mean())
    True
    """

    lr: Any
    beta1: float = field(default=0.9, kw_only=True)
    beta2: float = field(default=0.999, kw_only=True)
    eps: float = field(default=1e-8, kw_only=True)
    ema: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {
        "lr": "positive", "beta1": "unit", "beta2": "unit", "eps": "positive", "ema": "unit",
    }  # fmt: skip
    rule = "adam"

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr),
            beta1=number("beta1", self.beta1, least=0.0, below=1.0),
            beta2=number("beta2", self.beta2, least=0.0, below=1.0),
            eps=number("eps", self.eps, above=0.0),
            ema=number("ema", self.ema, least=0.0, below=1.0),
        )

    @property
    def varies_until(self) -> int:
        """The step from which on both averages have forgotten that they began at 0."""
        return max(forgotten_after(self.beta1), forgotten_after(self.beta2))

    def numbers(self, lr: Array, step: NDArray[np.int64]) -> Array:
        """The learning rates and decays, corrected for the averages' start at 0."""
        first = 1.0 - powers(self.beta1, step + 1)
        second = 1.0 - powers(self.beta2, step + 1)
        return in_columns(
            lr / first, 1.0 / np.sqrt(second), self.beta1, 1.0 - self.beta1, self.beta2,
            1.0 - self.beta2, self.eps, self._kept(lr),
        )  # fmt: skip

    def _kept(self, lr: Array) -> Array:
        """The part of the iterate that a step keeps, all of it here."""
        return np.ones_like(lr)


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), which is not linear.

    As `Adam`, but with ``w = (1 - lr decay) w - lr ...`` for each update. The decay pulls to 0,
    where the risk is least, so that it can only help here.

    Parameters
    ----------
    lr, beta1, beta2, eps, ema
        As in `Adam`.
    decay : float
        The weight decay, >= 0; steps shrink the iterate by it times the learning rate.

    Raises
    ------
    InputError
        If a value is outside its limits.
    """

    decay: float = field(default=0.01, kw_only=True)

    tunable: ClassVar[dict[str, str]] = Adam.tunable | {"decay": "positive"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle(decay=number("decay", self.decay, least=0.0))

    def _kept(self, lr: Array) -> Array:
        """The part of the iterate that the decay leaves."""
        return 1.0 - lr * self.decay
