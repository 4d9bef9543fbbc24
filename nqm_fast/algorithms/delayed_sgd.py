"""SGD with gradients that arrive late, as in asynchronous training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..foundation.validation import Array, integer, number
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

LONGEST = 256
"""The longest delay: every step of it is a number of the state."""


@dataclass(frozen=True, repr=False)
class DelayedSGD(SymbolicAlgorithm):
    """SGD with momentum and gradients that are taken some steps before they are applied.

    Per coordinate, with gradient ``g_t = h w_{t-delay} + xi_t`` and ``w_t = w_0`` before step 0, as
    in asynchronous training with a fixed delay (Mitliagkas et al. 2016; Giladi et al. 2020)::

        v_{t+1} = momentum v_t + g_t                                     v_0 = 0
        w_{t+1} = w_t - lr h^-power v_{t+1}

    Without momentum it is stable below ``lr h < 2 sin(pi / (2 (2 delay + 1)))``. The state has a
    number for each of the latest iterates, so that its cost grows with the delay.

    Parameters
    ----------
    lr : number, array_like of shape (steps,), or schedule
        Learning rate, >= 0.
    delay : int
        Steps from where a gradient is taken to where it is applied, from 0 to 256.
    momentum : number, array_like of shape (steps,), or schedule
        In [0, 1).
    power : float
        Exponent of the preconditioner.

    Raises
    ------
    InputError
        If a value is outside its limits.
    """

    lr: Any
    delay: int
    momentum: Any = field(default=0.0, kw_only=True)
    power: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {"lr": "positive", "momentum": "unit"}
    scheduled: ClassVar[tuple[str, ...]] = ("momentum",)
    may_overflow: ClassVar[bool] = True  # Powers of curvatures may overflow.

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr),
            delay=integer("delay", self.delay, least=0, most=LONGEST),
            momentum=number_or_schedule("momentum", self.momentum, least=0.0, below=1.0),
            power=number("power", self.power),
        )

    def largest_lr(self, h: Array) -> float:
        """``2 sin(pi / (2 (2 delay + 1))) / max(h^(1 - power))``; 4 over it without delay."""
        limit = 2.0 * math.sin(0.5 * math.pi / (2 * self.delay + 1)) if self.delay else 4.0
        return over_largest(limit, h, self.power)

    @staticmethod
    def gain(hyper: Mapping[str, Any]) -> Any:
        """``1 / (1 - momentum)``, by which momentum lengthens a steady step."""
        return 1.0 / (1.0 - level(hyper.get("momentum", 0.0)))

    def update(self, h: Array) -> Update:
        """The step of the iterates w_t .. w_{t-delay} and, if momentum is not 0, of v."""
        lr, momentum = self.symbol("lr"), self.symbol("momentum")
        preconditioned_h, inverse = preconditioner(h, self.power)
        iterates = self.delay + 1
        n = iterates + 1
        change: list[list[Any]] = [[0.0] * n for _ in range(n)]
        change[0][self.delay] = -lr * preconditioned_h
        change[0][iterates] = -lr * momentum * inverse
        for age in range(1, iterates):
            change[age][age - 1], change[age][age] = 1.0, -1.0
        change[iterates][self.delay] = array_of(h)
        change[iterates][iterates] = -self.complement("momentum")
        zeros = [0.0] * n
        whole = Update(
            change,
            [-lr * inverse, *zeros[1:iterates], 1.0],
            [1.0] * iterates + [0.0],
            [1.0, *zeros[1:]],
            [1.0 if a == self.delay else 0.0 for a in range(n)],
        )
        return whole.keep([*range(iterates), *[iterates] * is_used(self.momentum)])
