"""Quasi-hyperbolic momentum."""

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
class QHM(SymbolicAlgorithm):
    """Quasi-hyperbolic momentum: a mean of the gradient and of a running mean of gradients.

    Per coordinate, with gradient ``g_t = h w_t + xi_t`` (Ma & Yarats 2019)::

        v_{t+1} = momentum v_t + (1 - momentum) g_t                      v_0 = 0
        w_{t+1} = w_t - lr h^-power ((1 - nu) g_t + nu v_{t+1})

    Plain SGD is ``nu = 0``; momentum with a learning rate of lr (1 - momentum) is ``nu = 1``.

    Parameters
    ----------
    lr : number, array_like of shape (steps,), or schedule
        Learning rate, >= 0.
    momentum, nu : number, array_like of shape (steps,), or schedule
        The decay of the running mean and its weight, in [0, 1).
    power : float
        Exponent of the preconditioner.

    Raises
    ------
    InputError
        If a value is outside its limits.
    """

    lr: Any
    momentum: Any = 0.999
    nu: Any = 0.7
    power: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {"lr": "positive", "momentum": "unit", "nu": "unit"}
    scheduled: ClassVar[tuple[str, ...]] = ("momentum", "nu")
    may_overflow: ClassVar[bool] = True  # Powers of curvatures may overflow.

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr),
            momentum=number_or_schedule("momentum", self.momentum, least=0.0, below=1.0),
            nu=number_or_schedule("nu", self.nu, least=0.0, below=1.0),
            power=number("power", self.power),
        )

    def largest_lr(self, h: Array) -> float:
        """``2 headroom / max(h^(1 - power))``, where the iterate begins to flip its sign."""
        room = self.headroom({"momentum": self.momentum, "nu": self.nu})
        return over_largest(2.0 * room, h, self.power)

    @staticmethod
    def headroom(hyper: Mapping[str, Any]) -> Any:
        """``(1 + momentum) / (1 + momentum - 2 nu momentum)``."""
        momentum, nu = level(hyper["momentum"]), level(hyper["nu"])
        return (1.0 + momentum) / ((1.0 - nu) * (1.0 + momentum) + nu * (1.0 - momentum))

    def update(self, h: Array) -> Update:
        """The step of (w, v)."""
        lr, momentum, nu = (self.symbol(name) for name in ("lr", "momentum", "nu"))
        less, rest = self.complement("momentum"), self.complement("nu")
        preconditioned_h, inverse = preconditioner(h, self.power)
        now = lr * (rest + nu * less)
        return Update(
            [
                [-now * preconditioned_h, -lr * (nu * momentum) * inverse],
                [less * array_of(h), -less],
            ],
            [-now * inverse, less],
            [1.0, 0.0],
            [1.0, 0.0],
            [1.0, 0.0],
        )
