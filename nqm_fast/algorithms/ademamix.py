"""The linear part of AdEMAMix: two running means of gradients, a fast and a slow one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..foundation.validation import Array, number
from ..schedules import as_schedule
from .symbolic import (
    SymbolicAlgorithm,
    Update,
    array_of,
    level,
    number_or_schedule,
    over_largest,
    preconditioner,
)


@dataclass(frozen=True, repr=False)
class AdEMAMix(SymbolicAlgorithm):
    """The linear part of AdEMAMix, which adds a slow running mean of gradients to a fast one.

    Per coordinate, with gradient ``g_t = h w_t + xi_t`` (Pagliardini et al. 2024, without the
    normalisation by a second moment and without the correction of the fast mean's bias)::

        m_{t+1} = momentum m_t + (1 - momentum) g_t                      m_0 = 0
        n_{t+1} = slow n_t + (1 - slow) g_t                              n_0 = 0
        w_{t+1} = w_t - lr h^-power (m_{t+1} + alpha n_{t+1})

    Parameters
    ----------
    lr : number, array_like of shape (steps,), or schedule
        Learning rate, >= 0.
    momentum, slow : number, array_like of shape (steps,), or schedule
        The decay of the fast and of the slow mean, in [0, 1).
    alpha : number, array_like of shape (steps,), or schedule
        The weight of the slow mean, >= 0.
    power : float
        Exponent of the preconditioner.

    Raises
    ------
    InputError
        If a value is outside its limits.
    """

    lr: Any
    momentum: Any = 0.9
    slow: Any = 0.9999
    alpha: Any = 5.0
    power: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {
        "lr": "positive", "momentum": "unit", "slow": "unit", "alpha": "positive",
    }  # fmt: skip
    scheduled: ClassVar[tuple[str, ...]] = ("momentum", "slow", "alpha")
    may_overflow: ClassVar[bool] = True  # Powers of curvatures may overflow.

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr),
            momentum=number_or_schedule("momentum", self.momentum, least=0.0, below=1.0),
            slow=number_or_schedule("slow", self.slow, least=0.0, below=1.0),
            alpha=number_or_schedule("alpha", self.alpha, least=0.0),
            power=number("power", self.power),
        )

    def largest_lr(self, h: Array) -> float:
        """``2 headroom / max(h^(1 - power))``, where the iterate begins to flip its sign."""
        hyper = {"momentum": self.momentum, "slow": self.slow, "alpha": self.alpha}
        return over_largest(2.0 * self.headroom(hyper), h, self.power)

    @staticmethod
    def headroom(hyper: Mapping[str, Any]) -> Any:
        """One over the sum of ``(1 - decay) / (1 + decay)`` of both means, with their weights."""
        fast, slow = level(hyper["momentum"]), level(hyper["slow"])
        return 1.0 / (
            (1.0 - fast) / (1.0 + fast) + level(hyper["alpha"]) * (1.0 - slow) / (1.0 + slow)
        )

    @staticmethod
    def gain(hyper: Mapping[str, Any]) -> Any:
        """``1 + alpha``, the weight of both means."""
        return 1.0 + level(hyper["alpha"])

    def update(self, h: Array) -> Update:
        """The step of (w, m, n)."""
        lr, momentum, slow, alpha = (
            self.symbol(name) for name in ("lr", "momentum", "slow", "alpha")
        )
        less, less_slow = self.complement("momentum"), self.complement("slow")
        preconditioned_h, inverse = preconditioner(h, self.power)
        now = lr * (less + alpha * less_slow)
        return Update(
            [
                [
                    -now * preconditioned_h,
                    -lr * momentum * inverse,
                    -lr * (alpha * slow) * inverse,
                ],
                [less * array_of(h), -less, 0.0],
                [less_slow * array_of(h), 0.0, -less_slow],
            ],
            [-now * inverse, less, less_slow],
            [1.0, 0.0, 0.0],
            [1.0, 0.0, 0.0],
            [1.0, 0.0, 0.0],
        )
