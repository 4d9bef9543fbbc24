"""Algorithms that go around another one: averages of its iterates, and the like."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array
from ..schedules import Schedule
from ..schedules.timeline import values_at
from .base import LinearAlgorithm, as_algorithm
from .symbolic import Expression, Factor, SymbolicAlgorithm, Update, of_entry

INNER = "inner."
"""Begins the name of an inner schedule where an outer one has the same name."""


class InnerUpdate:
    """The step of the inner algorithm, whose terms are factors of the expressions here.

    Attributes
    ----------
    change, kick : lists of n lists of n expressions, and of n
        A - I and b.
    start, read, gradient : lists of n numbers
    """

    def __init__(self, inner: LinearAlgorithm, h: Array) -> None:
        terms, start, read, gradient = inner.recurrence(h)
        n = len(read)
        self.start, self.read = list(start), list(read)
        self.gradient = [1.0, *[0.0] * (n - 1)] if gradient is None else list(gradient)

        def total(entries: Sequence[Any]) -> Expression:
            parts = [
                of_entry(x, k)
                for k, x in enumerate(entries)
                if isinstance(x, np.ndarray | tuple) or x
            ]
            return sum(parts, start=Expression({}))

        matrices, kicks = [m for m, _ in terms], [k for _, k in terms]
        self.change = [[total([m[a][b] for m in matrices]) for b in range(n)] for a in range(n)]
        self.kick = [total([k[a] for k in kicks]) for a in range(n)]

    def combination(self, numbers: Sequence[float]) -> tuple[list[Any], Any]:
        """Return the change, a row over the state, and the kick of a combination of components."""
        row: list[Any] = [0.0] * len(self.read)
        kick: Any = 0.0
        for a, x in enumerate(numbers):
            if x:
                row = [x * entry + old for entry, old in zip(self.change[a], row, strict=True)]
                kick = x * self.kick[a] + kick
        return row, kick


class Wrapper(SymbolicAlgorithm):
    """An algorithm around an inner one, which is any linear algorithm.

    A class has a field `inner`, its own hyper-parameters in `own`, and its `update`.
    """

    inner: Any

    own: ClassVar[dict[str, str]] = {}
    """Its own hyper-parameters that may be tuned, as in `tunable`."""

    @property
    def lr(self) -> Schedule:  # type: ignore[override]
        """The learning rate of the inner algorithm."""
        schedule: Schedule = self.inner.lr
        return schedule

    @property
    def tunable(self) -> dict[str, str]:  # type: ignore[override]
        """Hyper-parameters that `tune` may search: those of the inner algorithm and its own."""
        return dict(self.inner.tunable) | self.own

    @property
    def depends_on_step(self) -> bool:  # type: ignore[override]
        """Whether an update depends on the number of the step beyond schedules."""
        return bool(self.inner.depends_on_step)

    @property
    def may_overflow(self) -> bool:  # type: ignore[override]
        """Whether entries of the recurrence may be infinite, as those of the inner algorithm."""
        return bool(getattr(self.inner, "may_overflow", False))

    @property
    def batches_per_step(self) -> int:  # type: ignore[override]
        """Batches whose mean is the gradient of a step, as of the inner algorithm."""
        return int(self.inner.batches_per_step)

    @property
    def schedules(self) -> dict[str, Schedule]:
        """All that varies, the inner algorithm's learning rate first."""
        own = self.own_schedules
        inner = self.inner.schedules
        return {INNER + name if name in own else name: x for name, x in inner.items()} | own

    def _settle_inner(self, **own: Any) -> None:
        """Check the inner algorithm, and set it and other attributes."""
        self._settle(inner=as_algorithm("inner", self.inner), **own)

    def largest_lr(self, h: Array) -> float:
        """The largest learning rate of the inner algorithm."""
        return float(self.inner.largest_lr(h))

    def gain(self, hyper: Mapping[str, Any]) -> Any:  # type: ignore[override]
        """The factor from `lr` to the effective learning rate of the inner algorithm."""
        return self.inner.gain(hyper)

    def headroom(self, hyper: Mapping[str, Any]) -> Any:  # type: ignore[override]
        """The factor by which hyper-parameters raise the inner algorithm's `largest_lr`."""
        return self.inner.headroom(hyper)

    def parameter_names(self) -> list[str]:
        """Return the names of the inner algorithm's parameters, then of its own."""
        own = [name for name in super().parameter_names() if name != "inner"]
        return [*(name for name in self.inner.parameter_names() if name not in own), *own]

    def hyper_parameter(self, name: str) -> Any:
        """Return a parameter by name, its own or that of the inner algorithm."""
        is_own = name in super().parameter_names()
        return getattr(self, name) if is_own else self.inner.hyper_parameter(name)

    def with_hyper_parameters(self, **hyper: Any) -> Self:
        """The same algorithm with other hyper-parameters, its own or of the inner algorithm."""
        own, inner = self._sorted(hyper)
        this: Any = self
        if inner:
            own = {"inner": self.inner.with_hyper_parameters(**inner)} | own
        changed: Self = replace(this, **own)
        return changed

    def with_values(self, **hyper: Any) -> Self:
        """The same algorithm with hyper-parameters that may be arrays, as in `Algorithm`."""
        own, inner = self._sorted(hyper)
        changed = super().with_values(**own)
        changed.__dict__["inner"] = self.inner.with_values(**inner)
        return changed

    def _sorted(self, hyper: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Sort hyper-parameters by name into its own and those of the inner algorithm."""
        names = super().parameter_names()
        own = {name: value for name, value in hyper.items() if name in names}
        return own, {name: value for name, value in hyper.items() if name not in own}

    @abstractmethod
    def wrapped(self, inner: InnerUpdate) -> Update:
        """The step, given that of the inner algorithm."""

    def update(self, h: Array) -> Update:
        """The step at curvatures `h`."""
        return self.wrapped(InnerUpdate(self.inner, h))

    def weights(self, lr: Array, step: NDArray[np.int64]) -> Array:
        """The product of each term's factors, shape (steps, terms)."""
        weights_of = getattr(type(self.inner), "weights", LinearAlgorithm.weights)
        inner = weights_of(self.inner, lr, step)

        def values_of(factor: Factor) -> Array:
            is_inner = isinstance(factor, int)
            return inner[:, int(factor)] if is_inner else self.own_values(factor, lr, step)

        return self.products_of(values_of, lr.size)

    def own_values(self, factor: Factor, lr: Array, step: NDArray[np.int64]) -> Array:
        """Return the values of a factor of its own at some steps."""
        own = self.own_schedules
        if factor in own and str(factor) not in self.own:
            return values_at(own[str(factor)], step)
        return self.factor_values(factor, lr, step)


def averaged(inner: InnerUpdate, share: Any) -> Update:
    """Add an average e of the inner algorithm's iterate x: ``e' = e + share (x' - e)``."""
    row, kick = inner.combination(inner.read)
    n = len(inner.read)
    fresh = [share * (entry + q) for entry, q in zip(row, inner.read, strict=True)]
    return Update(
        [*([*old, 0.0] for old in inner.change), [*fresh, -share]],
        [*inner.kick, share * kick],
        [*inner.start, _start(inner)],
        [*[0.0] * n, 1.0],
        [*inner.gradient, 0.0],
    )


def _start(inner: InnerUpdate) -> float:
    """Return the inner algorithm's evaluated iterate at the start, over ``w_0``."""
    return float(sum(q * s for q, s in zip(inner.read, inner.start, strict=True)))
