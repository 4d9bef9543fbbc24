"""Gradients of several batches, accumulated to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..foundation.validation import integer
from .symbolic import Update
from .wrapper import InnerUpdate, Wrapper


@dataclass(frozen=True, repr=False)
class Accumulate(Wrapper):
    """Another algorithm, of which the gradient of a step is the mean of those of several batches.

    A step is an update, for which ``batches`` times the batch size are drawn. It is the inner
    algorithm at that larger batch size, exactly; what differs is what the batch size of a function
    means.

    Parameters
    ----------
    inner : Algorithm
        Any linear algorithm.
    batches : int
        How many batches are accumulated, >= 1.

    Raises
    ------
    InputError
        If a value is outside its limits, or `inner` is not linear.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(100)
    >>> accumulated = nqm.Accumulate(nqm.SGD(0.1), 4)
    >>> one = nqm.expected_risk(problem, accumulated, batch_size=8, steps=50)
    >>> one == nqm.expected_risk(problem, nqm.SGD(0.1), batch_size=32, steps=50)
    True
    """

    inner: Any
    batches: int

    def __post_init__(self) -> None:
        self._settle_inner(batches=integer("batches", self.batches, least=1))

    @property
    def batches_per_step(self) -> int:  # type: ignore[override]
        """Batches whose mean is the gradient of a step."""
        return self.batches * int(self.inner.batches_per_step)

    def recurrence(self, h: Any) -> Any:
        """The recurrence of the inner algorithm."""
        return self.inner.recurrence(h)

    def weights(self, lr: Any, step: Any) -> Any:
        """The weights of the inner algorithm's terms."""
        return self.inner.weights(lr, step)

    def wrapped(self, inner: InnerUpdate) -> Update:
        """The step of the inner algorithm."""
        return Update(inner.change, inner.kick, inner.start, inner.read, inner.gradient)
