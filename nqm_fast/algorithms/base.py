"""The classes of algorithms, and the recurrence that describes a linear one.

Per coordinate a linear algorithm is ``s' = A s + b xi`` with a state s of some components and
gradient noise xi; the iterate that is evaluated is ``q . s``. Everything else (risk, first passage,
tuning, simulation) follows from A, b and q. A new algorithm is one new class in a file of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..foundation.immutable import Immutable, comparable, frozen
from ..foundation.validation import Array, InputError, shown
from ..output.html import facts_table
from ..schedules import Constant, Schedule

Entry = Array | float | tuple[float, Array]
"""A number, an array of the shape of the curvatures, or a pair that stands for their product."""


FACTORS, SIZES = "_factors", "_sizes"
"""Attributes in which an algorithm keeps what its weights are made of, and the sizes of its
recurrence, which are asked for often."""


class Recurrence(NamedTuple):
    """A linear recurrence over n state components, for an array of curvatures.

    A step is ``s_{t+1} = A_t s_t + b_t xi_t`` in every coordinate, with gradient noise xi, and
    ``q . s_t`` is the iterate whose risk counts. A and b are sums of terms: ``A_t - I = sum_j
    weight_j(t) K_j`` and ``b_t = sum_j weight_j(t) k_j``, with the weights that
    `LinearAlgorithm.weights` gives for each step. The change A - I is given rather than A itself,
    because its digits are lost where 1 is added to a small number.

    Attributes
    ----------
    terms : sequence of (K_j, k_j)
        K_j: n rows of n entries; k_j: n entries. An entry is a number, an array like the
        curvatures, or a pair (number, array) that stands for their product. Entries that are
        multiples of the same array should be such pairs, as the array is then stored once.
    start : n floats
        ``s_0 = start * w_0``.
    read : n floats
        q, the combination of components whose risk counts.
    gradient : n floats, optional
        The combination of components at which the gradient is taken: the part of A that is
        proportional to h is ``h b gradient^T``. By default it is the first component. Noise that
        depends on the iterate is that of this point; other noise does not ask for it.

    Examples
    --------
    Plain SGD, ``w' = w - lr (h w + xi)``, has one component. Its first term is fixed, its second
    is multiplied by the learning rate:

    >>> import numpy as np
    >>> import nqm_fast as nqm
    >>> h = np.array([1.0, 0.5])
    >>> fixed = ([[0.0]], [0.0])
    >>> per_lr = ([[(-1.0, h)]], [-1.0])
    >>> plain = nqm.Recurrence([fixed, per_lr], start=[1.0], read=[1.0])
    >>> len(plain.terms), len(plain.read)
    (2, 1)
    """

    terms: Sequence[tuple[Sequence[Sequence[Entry]], Sequence[Entry]]]
    start: Sequence[float]
    read: Sequence[float]
    gradient: Sequence[float] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recurrence) and bool(comparable([*self]) == comparable([*other]))

    def __hash__(self) -> int:
        return hash(comparable([*self]))

    def keep(self, components: Sequence[int]) -> Recurrence:
        """Keep some of the components, which must not depend on the others."""
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
            None if self.gradient is None else [self.gradient[a] for a in components],
        )


class Algorithm(Immutable, ABC):
    """An algorithm with a learning rate and, maybe, other hyper-parameters.

    To write your own, inherit from `LinearAlgorithm`, or from this class and define a `recurrence`
    and a `largest_lr`: an algorithm that has them is linear. Make it a dataclass, so that it is
    shown, compared, and written to files by its fields.

    Examples
    --------
    SGD that halves every gradient, which is SGD at half the learning rate:

    >>> from dataclasses import dataclass
    >>> from typing import Any
    >>> import nqm_fast as nqm
    >>> @dataclass(frozen=True)
    ... class HalfSGD(nqm.Algorithm):
    ...     lr: Any
    ...
    ...     def __post_init__(self):
    ...         object.__setattr__(self, "lr", nqm.schedules.as_schedule("lr", self.lr))
    ...
    ...     def recurrence(self, h):
    ...         per_lr = ([[(-0.5, h)]], [-0.5])
    ...         return nqm.Recurrence([([[0.0]], [0.0]), per_lr], start=[1.0], read=[1.0])
    ...
    ...     def largest_lr(self, h):
    ...         return 4.0 / h.max()
    >>> problem = nqm.Problem.power_law(100)
    >>> risk = nqm.expected_risk(problem, HalfSGD(0.2), batch_size=8, steps=50)
    >>> bool(abs(risk / nqm.expected_risk(problem, nqm.SGD(0.1), 8, 50) - 1) < 1e-12)
    True
    """

    lr: Schedule

    depends_on_step: ClassVar[bool] = False
    """Whether an update depends on the number of the step, so that no two are alike."""

    tunable: ClassVar[dict[str, str]] = {"lr": "positive"}
    """Hyper-parameters that `tune` may search, with "positive", or "unit" for the range [0, 1).

    A positive one other than "lr" is searched on a log scale, up to a factor of 10^6 around its
    default, or around 1 if it has none or 0.
    """

    batches_per_step: int = 1
    """Batches whose mean is the gradient of a step."""

    @property
    def schedules(self) -> dict[str, Schedule]:
        """All that varies from step to step, by name: the learning rate and maybe more.

        Steps are cut into segments where any of these changes. An algorithm whose `weights` follow
        schedules of its own lists them here.
        """
        return {"lr": self.lr}

    @staticmethod
    def gain(hyper: Mapping[str, Any]) -> Any:
        """Factor from `lr` to the effective learning rate, such as 1 / (1 - momentum)."""
        return 1.0

    @staticmethod
    def headroom(hyper: Mapping[str, Any]) -> Any:
        """Factor by which hyper-parameters raise `largest_lr`, where it depends on them."""
        return 1.0

    def _repr_html_(self) -> str:
        this: Any = self
        own = fields(this) if is_dataclass(this) else ()
        shown = {f.name.rstrip("_"): getattr(this, f.name) for f in own if f.init}
        facts = {name: x.value if isinstance(x, Constant) else x for name, x in shown.items()}
        return facts_table(type(self).__name__, facts)

    def _values(self) -> object:
        """Return the parameters, by which algorithms are equal."""
        return self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        """Give what copies and pickles have: all but what was found out on the way."""
        return {name: x for name, x in self.__dict__.items() if name not in (FACTORS, SIZES)}

    def parameter_names(self) -> list[str]:
        """Return the names of its parameters, which are the fields of its dataclass."""
        this: Any = self
        return [f.name.rstrip("_") for f in fields(this) if f.init] if is_dataclass(this) else []

    def hyper_parameter(self, name: str) -> Any:
        """Return a hyper-parameter by name."""
        return getattr(self, name)

    def with_hyper_parameters(self, **hyper: Any) -> Self:
        """The same algorithm with other hyper-parameters, by name."""
        this: Any = self
        changed: Self = replace(this, **hyper)
        return changed

    def with_values(self, **hyper: Any) -> Self:
        """The same algorithm with other hyper-parameters, which may be arrays.

        The exact engine tries many settings at once, each on its own copy of the spectrum: a
        hyper-parameter is then an array with one value for each curvature. The learning rate is not
        changed here, because it enters through the weights of the terms.

        Parameters
        ----------
        **hyper : number or ndarray, shape (d,)
            Values of hyper-parameters in `tunable`, other than "lr".

        Raises
        ------
        InputError
            If a name is not a hyper-parameter that may be changed in this way.
        """
        changed = object.__new__(type(self))
        changed.__dict__.update(self.__getstate__())
        for name, value in hyper.items():
            if name == "lr" or name not in self.tunable:
                allowed = ", ".join(x for x in self.tunable if x != "lr") or "nothing"
                raise InputError(f"{name} cannot be an array here: allowed are {allowed}")
            is_array = isinstance(value, np.ndarray)
            changed.__dict__[name] = frozen(value.copy()) if is_array else value
        return changed


class LinearAlgorithm(Algorithm):
    """An algorithm that is a linear recurrence, driven by gradient noise.

    An `Algorithm` that has a `recurrence` and a `largest_lr` counts as one, whether or not it
    inherits from this class.
    """

    may_overflow: ClassVar[bool] = False
    """Whether entries of the recurrence may be infinite, where powers of curvatures leave the
    range of a double. The risk is infinite then; otherwise this is taken for a mistake."""

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        if cls is not LinearAlgorithm or Algorithm not in other.__mro__:
            return NotImplemented
        return all(hasattr(other, name) for name in ("recurrence", "largest_lr"))

    @abstractmethod
    def recurrence(self, h: Array) -> Recurrence:
        """The recurrence at curvatures `h` of shape (d,).

        When many settings are tried at once, hyper-parameters are arrays of that shape too (see
        `with_values`).
        """

    @abstractmethod
    def largest_lr(self, h: Array) -> float:
        """A learning rate from which on every setting is unstable, whatever its other values."""

    def weights(self, lr: Array, step: NDArray[np.int64]) -> Array:
        """Weights of the terms at the given learning rates and steps, shape (steps, terms).

        By default there are two terms, one fixed and one proportional to `lr`.
        """
        weights = np.ones((lr.size, 2))
        weights[:, 1] = lr
        return weights


class RuleAlgorithm(Algorithm):
    """An algorithm that is not linear: an update rule, and its numbers for each step.

    Rules are functions of one coordinate's state and gradient (``kernels/rules.py``). What follows
    from a recurrence does not from a rule, so that these algorithms are simulated only.
    """

    ema: float
    """Decay of the exponential moving average of the iterates, whose risk counts; 0 for none."""

    @property
    @abstractmethod
    def rule(self) -> str:
        """The name of the update rule."""

    @abstractmethod
    def numbers(self, lr: Array, step: NDArray[np.int64]) -> Array:
        """The numbers of the rule at the given learning rates and steps, shape (steps, numbers)."""

    @property
    def varies_until(self) -> int:
        """The step from which on the numbers depend on the learning rate alone."""
        return 0

    def __repr__(self) -> str:
        this: Any = self
        own = [f for f in fields(this) if f.init and f.name != "lr"]
        lr = self.lr.value if isinstance(self.lr, Constant) else self.lr
        extras = [f"{f.name}={x!r}" for f in own if (x := getattr(self, f.name)) != f.default]
        return f"{type(self).__name__}({', '.join([repr(lr), *extras])})"


def in_columns(*numbers: Array | float) -> Array:
    """Return the numbers of a rule as columns; those that are the same in all steps are repeated.

    One of them at least is an array of shape (steps,).
    """
    return np.stack(np.broadcast_arrays(*numbers), axis=1)


def as_algorithm(name: str, value: object) -> LinearAlgorithm:
    """Return `value` if it is a linear algorithm, which all engines can carry out."""
    algorithm = as_simulated_algorithm(name, value)
    if isinstance(algorithm, RuleAlgorithm):
        raise InputError(
            f"{name} must be linear here, which {algorithm!r} is not: use nqm.simulate, "
            "nqm.simulated_steps_to_target, or nqm.tune(..., by='simulation')"
        )
    return algorithm


def as_simulated_algorithm(name: str, value: object) -> LinearAlgorithm | RuleAlgorithm:
    """Return `value` if it is an algorithm that the Monte Carlo engine can carry out."""
    if not isinstance(value, Algorithm):
        raise InputError(f"{name} must be an algorithm such as nqm.SGD(0.1), not {shown(value)}")
    if not isinstance(value, LinearAlgorithm | RuleAlgorithm):
        raise InputError(
            f"{name} must be linear, with a recurrence and a largest_lr as nqm.SGD has them, "
            f"but {shown(value)} lacks one"
        )
    return value
