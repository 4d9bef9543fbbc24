"""Minibatch SGD, with momentum, an average of the iterates, and a preconditioner."""

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
        lr, power = self.symbol("lr"), self.power
        preconditioned_h, inverse = preconditioner(h, power)
        has_v, has_e = is_used(self.momentum), is_used(self.ema)
        row, kick = [-lr * preconditioned_h], -lr * inverse
        change, kicks, start = [row], [kick], [1.0]
        if has_v:
            row.append(-self.symbol("momentum") * (lr * inverse))
            change.append([array_of(h), -self.complement("momentum")])
            kicks.append(1.0)
            start.append(0.0)
        if has_e:
            fresh = self.complement("ema")  # This is the weight of the new w in e.
            average = [fresh + fresh * row[0], *(fresh * x for x in row[1:]), -fresh]
            change = [*([*x, 0.0] for x in change), average]
            kicks.append(fresh * kick)
            start.append(1.0)
        others = [0.0] * (len(start) - 1)
        read = [*others, 1.0] if has_e else [1.0, *others]
        return Update(change, kicks, start, read, [1.0, *others])
