"""An exponential moving average of any algorithm's iterates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .symbolic import Update, number_or_schedule
from .wrapper import InnerUpdate, Wrapper, averaged


@dataclass(frozen=True, repr=False)
class EMA(Wrapper):
    """An exponential moving average e of the iterates x of another algorithm.

    Per coordinate::

        e_{t+1} = decay e_t + (1 - decay) x_{t+1}                        e_0 = x_0

    The risk is that of e. Around ``SGD(lr)`` it is ``SGD(lr, ema=decay)``.

    Parameters
    ----------
    inner : Algorithm
        Any linear algorithm.
    decay : number, array_like of shape (steps,), or schedule
        In [0, 1).

    Raises
    ------
    InputError
        If a value is outside its limits, or `inner` is not linear.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(100)
    >>> risk = nqm.expected_risk(problem, nqm.EMA(nqm.SGD(0.2), 0.9), 8, 50)
    >>> abs(risk / nqm.expected_risk(problem, nqm.SGD(0.2, ema=0.9), 8, 50) - 1) < 1e-9
    True
    """

    inner: Any
    decay: Any = 0.99

    own: ClassVar[dict[str, str]] = {"decay": "unit"}
    scheduled: ClassVar[tuple[str, ...]] = ("decay",)

    def __post_init__(self) -> None:
        self._settle_inner(decay=number_or_schedule("decay", self.decay, below=1.0))

    def wrapped(self, inner: InnerUpdate) -> Update:
        """The step of the inner state and e."""
        return averaged(inner, self.complement("decay"))
