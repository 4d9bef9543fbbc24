"""Dimension-adapted Nesterov acceleration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..foundation.validation import Array, InputError, number
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

LEAST_DELTA = 1e-7
"""Stands for a schedule's least value of 0 in the gain, which is the scale of a search alone."""


@dataclass(frozen=True, repr=False)
class DANA(SymbolicAlgorithm):
    """Dimension-adapted Nesterov acceleration: the gradient, and a small multiple of a long sum.

    Per coordinate, with gradient ``g_t = h w_t + xi_t`` (Ferbach et al. 2025)::

        v_{t+1} = (1 - delta) v_t + g_t                                  v_0 = 0
        w_{t+1} = w_t - lr h^-power (g_t + weight v_{t+1})

    DANA-constant has a constant `weight`, about one over the number of coordinates. Its memory, and
    with it the weight of all that went before, grows where `delta` is a schedule that falls like
    ``1 / t``, such as ``nqm.schedules.InverseTime(1.0, 8)``. DANA-decaying has a `weight` that
    falls as well.

    Parameters
    ----------
    lr : number, array_like of shape (steps,), or schedule
        Learning rate, >= 0.
    weight : number, array_like of shape (steps,), or schedule
        The weight of the sum beside the gradient, >= 0.
    delta : number, array_like of shape (steps,), or schedule
        The part of the sum that is forgotten in a step, from 0 to 1; a number is above 0.
    power : float
        Exponent of the preconditioner.

    Raises
    ------
    InputError
        If a value is outside its limits.
    """

    lr: Any
    weight: Any = 0.01
    delta: Any = 0.01
    power: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {"lr": "positive", "weight": "positive", "delta": "gap"}
    scheduled: ClassVar[tuple[str, ...]] = ("weight", "delta")
    may_overflow: ClassVar[bool] = True  # Powers of curvatures may overflow.

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr),
            weight=number_or_schedule("weight", self.weight, least=0.0),
            delta=number_or_schedule("delta", self.delta),
            power=number("power", self.power),
        )
        if isinstance(self.delta, float) and not 0.0 < self.delta <= 1.0:
            raise InputError(f"delta must be > 0 and at most 1, not {self.delta:g}")

    def largest_lr(self, h: Array) -> float:
        """``2 headroom / max(h^(1 - power))``, where the iterate begins to flip its sign."""
        room = self.headroom({"weight": self.weight, "delta": self.delta})
        return over_largest(2.0 * room, h, self.power)

    @staticmethod
    def headroom(hyper: Mapping[str, Any]) -> Any:
        """``1 / (1 + weight / (2 - delta))``."""
        return 1.0 / (1.0 + level(hyper["weight"]) / (2.0 - level(hyper["delta"])))

    @staticmethod
    def gain(hyper: Mapping[str, Any]) -> Any:
        """``1 + weight / delta``, by which the sum lengthens a steady step."""
        return 1.0 + level(hyper["weight"]) / np.maximum(level(hyper["delta"]), LEAST_DELTA)

    def update(self, h: Array) -> Update:
        """The step of (w, v)."""
        lr, weight, delta = (self.symbol(name) for name in ("lr", "weight", "delta"))
        kept = self.complement("delta")
        preconditioned_h, inverse = preconditioner(h, self.power)
        now = lr + lr * weight
        return Update(
            [
                [-now * preconditioned_h, -lr * (weight * kept) * inverse],
                [array_of(h), -delta],
            ],
            [-now * inverse, 1.0],
            [1.0, 0.0],
            [1.0, 0.0],
            [1.0, 0.0],
        )
