"""Lookahead: slow weights, which follow the fast weights of any algorithm now and then."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, InputError, integer, number
from ..schedules import Schedule
from .symbolic import Update, factor
from .wrapper import InnerUpdate, Wrapper

MEETS = "meets"
"""Name of the factor that is 1 where slow and fast weights meet, and 0 at other steps."""


@dataclass(frozen=True, repr=False)
class Lookahead(Wrapper):
    """Slow weights e, which every `period` steps go a part of the way to the fast weights x.

    Per coordinate, after every step t of the inner algorithm at which `period` divides ``t + 1``
    (Zhang et al. 2019, "Lookahead optimizer: k steps forward, 1 step back")::

        e_{t+1} = e_t + alpha (x_{t+1} - e_t)                            e_0 = x_0
        x_{t+1} becomes e_{t+1}

    The inner algorithm keeps its velocities. All of its positions, such as the look-ahead point of
    Nesterov's momentum, move by as much as x. The risk is that of e.

    Parameters
    ----------
    inner : Algorithm
        Any linear algorithm.
    period : int
        >= 1.
    alpha : float
        Part of the way, above 0 and at most 1.

    Raises
    ------
    InputError
        If a value is outside its limits, or `inner` is not linear.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(10_000)
    >>> nqm.steps_to_target(problem, nqm.Lookahead(nqm.SGD(1.9), 5, 0.5), 2**20, 0.01) % 5
    0
    """

    inner: Any
    period: int = 5
    alpha: float = 0.5

    own: ClassVar[dict[str, str]] = {"alpha": "gap"}

    def __post_init__(self) -> None:
        self._settle_inner(
            period=integer("period", self.period, least=1),
            alpha=number("alpha", self.alpha, above=0.0),
        )
        if self.alpha > 1.0:
            raise InputError(f"alpha must be > 0 and at most 1, not {self.alpha:g}")

    @property
    def own_schedules(self) -> dict[str, Schedule]:
        """The schedule that is 1 in steps after which slow and fast weights meet, and else 0."""
        return {MEETS: _Meets(self.period)}

    def wrapped(self, inner: InnerUpdate) -> Update:
        """The step of the inner state, less what it is at e, and of e.

        The inner state moves by ``place e`` where all positions move by e. Near the minimum of
        small curvatures its difference from that is small, and the digits of e are kept.
        """
        meets = factor(MEETS)
        begin = float(np.dot(inner.read, inner.start))
        place = [start / (begin or 1.0) for start in inner.start]
        drift = [
            sum((p * entry for p, entry in zip(place, row, strict=True) if p), start=0.0)
            for row in inner.change
        ]
        change = [[*row, moved] for row, moved in zip(inner.change, drift, strict=True)]
        row, kick = inner.combination(inner.read)
        # The new x is ahead of e by this row, over the differences and e.
        ahead = [entry + q for entry, q in zip(row, inner.read, strict=True)]
        ahead.append(sum(q * moved for q, moved in zip(inner.read, drift, strict=True) if q))
        return Update(
            [
                *(
                    [x - (p * meets) * y for x, y in zip(own, ahead, strict=True)] if p else own
                    for own, p in zip(change, place, strict=True)
                ),
                [self.alpha * (meets * y) for y in ahead],
            ],
            [
                *(b - (p * meets) * kick for b, p in zip(inner.kick, place, strict=True)),
                self.alpha * (meets * kick),
            ],
            [*[0.0] * len(place), begin],
            [*[0.0] * len(place), 1.0],
            [*inner.gradient, float(np.dot(inner.gradient, place))],
        )


class _Meets(Schedule):
    """One at the last step of every period, and else 0."""

    def __init__(self, period: int) -> None:
        self.period: int = period

    def values(self, steps: NDArray[np.int64]) -> Array:
        """Values at the given steps."""
        return np.asarray((steps + 1) % self.period == 0, dtype=np.float64)

    def piece(self, step: int) -> tuple[float, bool]:
        """A piece up to the last step of a period, and one for that step."""
        if self.period == 1:
            return math.inf, True
        last = step + (-step - 1) % self.period
        return (last + 1 if step == last else last), True

    @property
    def least(self) -> float:
        """The lowest value."""
        return 0.0 if self.period > 1 else 1.0
