"""Nesterov's momentum, as PyTorch writes it and in the original form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..foundation.validation import Array, choice, number
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

FORMS = ("pytorch", "original")


@dataclass(frozen=True, repr=False)
class Nesterov(SymbolicAlgorithm):
    """SGD with Nesterov's momentum and power preconditioner.

    Per coordinate, with gradient noise xi_t. As PyTorch writes it (Sutskever et al. 2013, in other
    variables), with ``g_t = h w_t + xi_t``::

        v_{t+1} = momentum v_t + g_t                                     v_0 = 0
        w_{t+1} = w_t - lr h^-power (g_t + momentum v_{t+1})

    In the original form (Nesterov 1983), with ``g_t = h y_t + xi_t`` at the point y that looks
    ahead::

        w_{t+1} = y_t - lr h^-power g_t                                  y_0 = w_0
        y_{t+1} = w_{t+1} + momentum (w_{t+1} - w_t)

    The risk is that of w. The w of the first form is the y of the second.

    Parameters
    ----------
    lr : number, array_like of shape (steps,), or schedule
        Learning rate, >= 0.
    momentum : number, array_like of shape (steps,), or schedule
        In [0, 1).
    form : {"pytorch", "original"}
        Which of the two.
    power : float
        Exponent of the preconditioner.

    Raises
    ------
    InputError
        If a value is outside its limits.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(100)
    >>> without = nqm.expected_risk(problem, nqm.Nesterov(0.2, 0.0), 8, 50)
    >>> without == nqm.expected_risk(problem, nqm.SGD(0.2), 8, 50)
    True
    """

    lr: Any
    momentum: Any = 0.9
    form: str = field(default="pytorch", kw_only=True)
    power: float = field(default=0.0, kw_only=True)

    tunable: ClassVar[dict[str, str]] = {"lr": "positive", "momentum": "unit"}
    scheduled: ClassVar[tuple[str, ...]] = ("momentum",)
    may_overflow: ClassVar[bool] = True  # Powers of curvatures may overflow.

    def __post_init__(self) -> None:
        self._settle(
            lr=as_schedule("lr", self.lr),
            momentum=number_or_schedule("momentum", self.momentum, least=0.0, below=1.0),
            form=choice("form", self.form, FORMS),
            power=number("power", self.power),
        )

    def largest_lr(self, h: Array) -> float:
        """``2 / max(h^(1 - power))``, the limit of stability without momentum."""
        return over_largest(2.0, h, self.power)

    @staticmethod
    def gain(hyper: Mapping[str, Any]) -> Any:
        """``1 / (1 - momentum)``, by which momentum lengthens a steady step."""
        return 1.0 / (1.0 - level(hyper.get("momentum", 0.0)))

    def update(self, h: Array) -> Update:
        """The step of (w, v), or of (y, u) with ``u = y - w``; without the second at momentum 0."""
        lr, momentum = self.symbol("lr"), self.symbol("momentum")
        less = self.complement("momentum")
        preconditioned_h, inverse = preconditioner(h, self.power)
        both = lr + lr * momentum
        if self.form == "pytorch":
            whole = Update(
                [
                    [-both * preconditioned_h, -lr * momentum * momentum * inverse],
                    [array_of(h), -less],
                ],
                [-both * inverse, 1.0],
                [1.0, 0.0],
                [1.0, 0.0],
                [1.0, 0.0],
            )
        else:
            ahead = lr * momentum
            whole = Update(
                [
                    [-both * preconditioned_h, momentum],
                    [-ahead * preconditioned_h, -less],
                ],
                [-both * inverse, -ahead * inverse],
                [1.0, 0.0],
                [1.0, -1.0],
                [1.0, 0.0],
            )
        return whole.keep([0, *[1] * is_used(self.momentum)])
