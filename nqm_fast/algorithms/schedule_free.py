"""Schedule-Free SGD."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, number
from ..schedules import Constant, Schedule, as_schedule
from ..schedules.timeline import WINDOW, values_at
from .symbolic import (
    COMPLEMENT,
    Factor,
    SymbolicAlgorithm,
    Update,
    factor,
    over_largest,
    preconditioner,
)

SHARE = "share"
"""Name of the factor that is the share of the new z in the average."""


@dataclass(frozen=True, repr=False)
class ScheduleFree(SymbolicAlgorithm):
    """Schedule-Free SGD: gradients between the iterate and its average, which is evaluated.

    Per coordinate, with gradient ``g_t = h y_t + xi_t`` (Defazio et al. 2024)::

        y_t     = (1 - beta) z_t + beta x_t                              z_0 = x_0 = w_0
        z_{t+1} = z_t - lr h^-power g_t
        x_{t+1} = x_t + c (z_{t+1} - x_t),   c = lr_t^2 / (lr_0^2 + .. + lr_t^2)

    so that a constant learning rate has ``c = 1 / (t + 1)``, and steps of a warm-up, such as
    ``nqm.schedules.Warmup(100, 0.5, start=0.005)``, weigh as published. The risk is that of x.

    Parameters
    ----------
    lr : number, array_like of shape (steps,), or schedule
        Learning rate, >= 0.
    beta : float
        Where gradients are taken, in [0, 1): at z for 0, at the average for 1.
    power : float
        Exponent of the preconditioner.

    Raises
    ------
    InputError
        If a value is outside its limits.
    """

    lr: Any
    beta: float = 0.9
    power: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {"lr": "positive", "beta": "unit"}
    may_overflow: ClassVar[bool] = True  # Powers of curvatures may overflow.

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr),
            beta=number("beta", self.beta, least=0.0, below=1.0),
            power=number("power", self.power),
        )

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The learning rate, and the share of the new z in the average."""
        return super().schedules | {SHARE: _Share(self.lr)}

    def largest_lr(self, h: Array) -> float:
        """``2 / ((1 - beta) max(h^(1 - power)))``, above which z diverges in the end."""
        return over_largest(2.0 * self.headroom({"beta": self.beta}), h, self.power)

    @staticmethod
    def headroom(hyper: Mapping[str, Any]) -> Any:
        """``1 / (1 - beta)``."""
        return 1.0 / (1.0 - hyper["beta"])

    def update(self, h: Array) -> Update:
        """The step of (z - x, x)."""
        lr, share, rest = self.symbol("lr"), factor(SHARE), factor(COMPLEMENT + SHARE)
        fresh = 1.0 - self.beta
        preconditioned_h, inverse = preconditioner(h, self.power)
        move = lr * preconditioned_h
        return Update(
            [
                [-share - fresh * (rest * move), -rest * move],
                [share - fresh * (share * move), -share * move],
            ],
            [-(rest * lr) * inverse, -(share * lr) * inverse],
            [0.0, 1.0],
            [0.0, 1.0],
            [fresh, 1.0],
        )

    def factor_values(self, factor: Factor, lr: Array, step: NDArray[np.int64]) -> Array:
        """Return the learning rates, or the shares of z or of x at some steps."""
        if factor == "lr":
            return lr
        shares = values_at(self.schedules[SHARE], step)
        return shares if factor == SHARE else 1.0 - shares


class _Share(Schedule):
    """The squared learning rate of a step over the sum of those so far; 0 while that is 0."""

    def __init__(self, lr: Schedule) -> None:
        self.lr = lr
        self.length = lr.length

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        if isinstance(self.lr, Constant) or not steps.size:
            return np.asarray(1.0 / (steps + 1.0))
        shares = np.zeros(steps.shape)
        first, last = int(steps.min()) // WINDOW, int(steps.max()) // WINDOW
        sums = _sums_of_squares(self.lr, last)
        for k in range(first, last + 1):
            begin = k * WINDOW
            window = np.arange(begin, min(begin + WINDOW, int(steps.max()) + 1))
            squares = values_at(self.lr, window) ** 2
            totals = sums[k] + np.cumsum(squares)
            share = np.divide(squares, totals, out=np.zeros(window.size), where=totals > 0.0)
            inside = (steps >= begin) & (steps < begin + WINDOW)
            shares[inside] = share[steps[inside] - begin]
        return shares

    def piece(self, step: int) -> tuple[float, bool]:
        """There is one piece, which varies as long as the learning rate is known."""
        return self.length, False

    @property
    def least(self) -> float:
        """The lowest value, which is the limit 0."""
        return 0.0


_known: dict[Schedule, list[float]] = {}
"""Sums of squares before each window of steps, of the learning rate that was asked for last."""
_lock = threading.Lock()


def _sums_of_squares(lr: Schedule, last: int) -> list[float]:
    """Return the sums of squared learning rates before each window, up to that of a number."""
    with _lock:
        if lr not in _known:
            _known.clear()
            _known[lr] = [0.0]
        sums = _known[lr]
        for k in range(len(sums) - 1, last):
            window = np.arange(k * WINDOW, (k + 1) * WINDOW)
            # In the order in which `values` adds them up.
            sums.append(sums[-1] + float(np.cumsum(values_at(lr, window) ** 2)[-1]))
        return sums
