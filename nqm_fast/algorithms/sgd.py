"""Minibatch SGD, with momentum, an average of the iterates, and a preconditioner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np

from ..schedules import Constant, as_schedule
from ..validation import Array, number
from .base import Entry, LinearAlgorithm, Recurrence


@dataclass(frozen=True)
class SGD(LinearAlgorithm):
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
    momentum : float
        In [0, 1).
    ema : float
        Decay of the exponential moving average of the iterates, in [0, 1).
    power : float
        Exponent of the preconditioner ``h^power``; 0 for none, 1 for Newton's method.

    Raises
    ------
    InputError
        If a value is outside its limits.
    """

    lr: Any
    momentum: float = field(default=0.0, kw_only=True)
    ema: float = field(default=0.0, kw_only=True)
    power: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {"lr": "positive", "momentum": "unit", "ema": "unit"}
    may_overflow: ClassVar[bool] = True  # Powers of curvatures may overflow.

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr),
            momentum=number("momentum", self.momentum, least=0.0, below=1.0),
            ema=number("ema", self.ema, least=0.0, below=1.0),
            power=number("power", self.power),
        )

    def __repr__(self) -> str:
        lr = self.lr.value if isinstance(self.lr, Constant) else self.lr
        extras = ((name, getattr(self, name)) for name in ("momentum", "ema", "power"))
        return f"SGD({lr!r}{''.join(f', {name}={x!r}' for name, x in extras if x)})"

    def largest_lr(self, h: Array) -> float:
        """``4 / max(h^(1 - power))``, the limit of stability as momentum goes to 1."""
        with np.errstate(over="ignore", under="ignore"):
            largest = float((h ** (1.0 - self.power)).max())
        return 4.0 / largest if largest > 0.0 else math.inf

    @staticmethod
    def gain(hyper: Mapping[str, Any]) -> Any:
        """``1 / (1 - momentum)``, by which momentum lengthens a steady step."""
        return 1.0 / (1.0 - hyper.get("momentum", 0.0))

    def recurrence(self, h: Array) -> Recurrence:
        """The recurrence of (w, v, e), without v if momentum is 0 and without e if ema is 0."""
        beta, gamma = self.momentum, self.ema
        fresh = 1.0 - gamma  # This is the weight of the new w in e.
        with np.errstate(over="ignore", under="ignore"):
            preconditioned_h = h ** (1.0 - self.power) if self.power else h
            inverse_preconditioner = h**-self.power if self.power else h
        if self.power:

            def preconditioned(factor: Any) -> Entry:
                return (factor, inverse_preconditioner)
        else:

            def preconditioned(factor: Any) -> Entry:
                return cast(float, factor)

        fixed: list[list[Entry]] = [
            [0.0, 0.0, 0.0],
            [h, -(1.0 - beta), 0.0],
            [fresh, 0.0, -fresh],
        ]
        per_lr: list[list[Entry]] = [
            [(-1.0, preconditioned_h), preconditioned(-beta), 0.0],
            [0.0, 0.0, 0.0],
            [(-fresh, preconditioned_h), preconditioned(-fresh * beta), 0.0],
        ]
        kick: list[Entry] = [preconditioned(-1.0), 0.0, preconditioned(-fresh)]
        read = [0.0, 0.0, 1.0] if np.any(gamma) else [1.0, 0.0, 0.0]
        whole = Recurrence([(fixed, [0.0, 1.0, 0.0]), (per_lr, kick)], [1.0, 0.0, 1.0], read)
        return whole.keep([0, *[1] * bool(np.any(beta)), *[2] * bool(np.any(gamma))])
