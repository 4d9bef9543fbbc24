"""Algorithms as linear recurrences: what an engine needs to know of one, and SGD.

Per coordinate an algorithm is ``s' = A s + b xi`` with gradient noise xi, of which
``q . s`` is evaluated. Everything else (risk, first passage, tuning) follows from A, b
and q; a new algorithm is one new class in a file of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from .checks import Array, InputError, number, shown
from .schedules import Constant, Schedule, as_schedule

Entry = Array | float | tuple[float, Array]
"""A number, an array like the curvatures, or the product of the two."""


class Recurrence(NamedTuple):
    """A linear recurrence over n state components, for an array of curvatures.

    ``A_t - I = sum_j weight_j(t) K_j`` and ``b_t = sum_j weight_j(t) k_j``: the change per
    step rather than A itself, because 1 - 1e-12 has lost what 1e-12 still knows.

    Attributes
    ----------
    terms : sequence of (K_j, k_j)
        K_j: n rows of n entries; k_j: n entries. An entry is a number, an array like the
        curvatures, or a pair (number, array) that stands for their product: arrays that
        occur more than once are then passed on once.
    start : n floats
        ``s_0 = start * w_0``.
    read : n floats
        q, the evaluated combination.
    """

    terms: Sequence[tuple[Sequence[Sequence[Entry]], Sequence[Entry]]]
    start: Sequence[float]
    read: Sequence[float]

    def keep(self, components: Sequence[int]) -> Recurrence:
        """The recurrence without the components that the others do not depend on."""
        if len(components) == len(self.read):
            return self
        return Recurrence(
            [
                (
                    [[matrix[a][b] for b in components] for a in components],
                    [kick[a] for a in components],
                )
                for matrix, kick in self.terms
            ],
            [self.start[a] for a in components],
            [self.read[a] for a in components],
        )


class Algorithm(ABC):
    """A linear algorithm with a learning rate."""

    lr: Schedule

    depends_on_step: ClassVar[bool] = False
    """Whether `weights` uses the step (then no two steps are alike)."""

    tunable: ClassVar[dict[str, str]] = {"lr": "positive"}
    """Hyper-parameters that `tune` may search: "positive", or "unit" for [0, 1)."""

    @abstractmethod
    def recurrence(self, h: Array) -> Recurrence:
        """The recurrence at curvatures `h` of shape (d,).

        When many settings are tried at once, hyper-parameters are arrays of that shape too.
        """

    @abstractmethod
    def largest_lr(self, h: Array) -> float:
        """A learning rate that is unstable, whatever the other hyper-parameters."""

    @staticmethod
    def gain(hyper: Mapping[str, Any]) -> Any:
        """How many times a small learning rate acts in the long run."""
        return 1.0

    def weights(self, lr: Array, step: NDArray[np.int64]) -> Array:
        """Weights of the terms at the given learning rates and steps, shape (steps, terms).

        By default there are two terms, one fixed and one proportional to `lr`.
        """
        return np.stack([np.ones(lr.size), lr], axis=1)


@dataclass(frozen=True)
class SGD(Algorithm):
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", as_schedule("lr", self.lr))
        object.__setattr__(
            self, "momentum", number("momentum", self.momentum, least=0.0, below=1.0)
        )
        object.__setattr__(self, "ema", number("ema", self.ema, least=0.0, below=1.0))
        object.__setattr__(self, "power", number("power", self.power))

    def __repr__(self) -> str:
        lr = self.lr.value if isinstance(self.lr, Constant) else self.lr
        extras = ((name, getattr(self, name)) for name in ("momentum", "ema", "power"))
        return f"SGD({lr!r}{''.join(f', {name}={x!r}' for name, x in extras if x)})"

    def largest_lr(self, h: Array) -> float:
        """``4 / max(h^(1 - power))``, the limit as momentum goes to 1."""
        return 4.0 / float((h ** (1.0 - self.power)).max())

    @staticmethod
    def gain(hyper: Mapping[str, Any]) -> Any:
        """``1 / (1 - momentum)``."""
        return 1.0 / (1.0 - hyper.get("momentum", 0.0))

    def recurrence(self, h: Array) -> Recurrence:
        """State (w, v, e), without v or e where they play no part."""
        beta, gamma = self.momentum, self.ema
        fresh = 1.0 - gamma
        kh = h ** (1.0 - self.power) if self.power else h
        if self.power:
            k = h**-self.power  # the step per unit of v

            def step(factor: Any) -> Entry:
                return (factor, k)
        else:

            def step(factor: Any) -> Entry:
                return cast(float, factor)

        fixed: list[list[Entry]] = [
            [0.0, 0.0, 0.0],
            [h, -(1.0 - beta), 0.0],
            [fresh, 0.0, -fresh],
        ]
        per_lr: list[list[Entry]] = [
            [(-1.0, kh), step(-beta), 0.0],
            [0.0, 0.0, 0.0],
            [(-fresh, kh), step(-fresh * beta), 0.0],
        ]
        kick: list[Entry] = [step(-1.0), 0.0, step(-fresh)]
        read = [0.0, 0.0, 1.0] if np.any(gamma) else [1.0, 0.0, 0.0]
        whole = Recurrence([(fixed, [0.0, 1.0, 0.0]), (per_lr, kick)], [1.0, 0.0, 1.0], read)
        return whole.keep([0, *[1] * bool(np.any(beta)), *[2] * bool(np.any(gamma))])


def as_algorithm(name: str, value: object) -> Algorithm:
    """`value` if it is an algorithm."""
    if not isinstance(value, Algorithm):
        raise InputError(f"{name} must be an algorithm such as nqm.SGD(0.1), not {shown(value)}")
    return value
