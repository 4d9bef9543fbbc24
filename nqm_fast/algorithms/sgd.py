"""Minibatch SGD, with momentum, an average of the iterates, and a preconditioner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..schedules import as_schedule
from ..validation import Array, number
from .symbolic import (
    SymbolicAlgorithm,
    Update,
    array_of,
    is_used,
    level,
    number_or_schedule,
    over_largest,
    preconditioner,
)


@dataclass(frozen=True, repr=False)
class SGD(SymbolicAlgorithm):
    """Minibatch SGD with momentum, exponential moving average and power preconditioner.

    Per coordinate, with gradient ``g_t = h w_t + xi_t`` (Zhang et al. 2019, sections 3.2
    to 3.4)::

        v_{t+1} = momentum v_t + g_t                      v_0 = 0
        w_{t+1} = w_t - lr h^-power v_{t+1}
        e_{t+1} = ema e_t + (1 - ema) w_{t+1}             e_0 = w_0

    The risk is that of e (which is w at ``ema = 0``).

    Parameters
    ----------
    lr : number, array_like of shape (steps,), or schedule
        Learning rate, >= 0.
    momentum : number, array_like of shape (steps,), or schedule
        In [0, 1).
    ema : number, array_like of shape (steps,), or schedule
        Decay of the exponential moving average of the iterates, in [0, 1).
    power : float
        Exponent of the preconditioner ``h^power``; 0 for none, 1 for Newton's method.

    Raises
    ------
    InputError
        If a value is outside its limits.
    """

    lr: Any
    momentum: Any = field(default=0.0, kw_only=True)
    ema: Any = field(default=0.0, kw_only=True)
    power: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {"lr": "positive", "momentum": "unit", "ema": "unit"}
    scheduled: ClassVar[tuple[str, ...]] = ("momentum", "ema")
    may_overflow: ClassVar[bool] = True  # Powers of curvatures may overflow.

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr),
            momentum=number_or_schedule("momentum", self.momentum, least=0.0, below=1.0),
            ema=number_or_schedule("ema", self.ema, least=0.0, below=1.0),
            power=number("power", self.power),
        )

    def largest_lr(self, h: Array) -> float:
        """``4 / max(h^(1 - power))``, the limit of stability as momentum goes to 1."""
        return over_largest(4.0, h, self.power)

    @staticmethod
    def gain(hyper: Mapping[str, Any]) -> Any:
        """``1 / (1 - momentum)``, by which momentum lengthens a steady step."""
        return 1.0 / (1.0 - level(hyper.get("momentum", 0.0)))

    def update(self, h: Array) -> Update:
        """The step of (w, v, e), without v if momentum is 0 and without e if ema is 0."""
        lr, momentum = self.symbol("lr"), self.symbol("momentum")
        fresh = self.complement("ema")  # This is the weight of the new w in e.
        preconditioned_h, inverse = preconditioner(h, self.power)
        moved = [-lr * preconditioned_h, -momentum * (lr * inverse), 0.0]
        whole = Update(
            [
                moved,
                [array_of(h), -self.complement("momentum"), 0.0],
                [fresh + fresh * moved[0], fresh * moved[1], -fresh],
            ],
            [-lr * inverse, 1.0, fresh * (-lr * inverse)],
            [1.0, 0.0, 1.0],
            [0.0, 0.0, 1.0] if is_used(self.ema) else [1.0, 0.0, 0.0],
            [1.0, 0.0, 0.0],
        )
        return whole.keep([0, *[1] * is_used(self.momentum), *[2] * is_used(self.ema)])
