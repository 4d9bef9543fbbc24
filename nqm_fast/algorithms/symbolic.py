"""Recurrences written with hyper-parameters as symbols, of which the weights of terms are made.

An algorithm says its update as sums and products of numbers, curvatures, and hyper-parameters that
may be schedules. A constant becomes a number in the entries. The learning rate and what follows a
schedule are factors of terms: terms are sorted by these factors, and a term's weight is their
product.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..foundation.validation import Array, InputError, any_array, number
from ..schedules import Constant, PerStep, Schedule, as_schedule
from ..schedules.timeline import values_at
from .base import FACTORS, Entry, LinearAlgorithm, Recurrence

COMPLEMENT = "1 - "
"""Begins the name of the factor that is 1 minus a hyper-parameter, whose digits matter near 1."""

Factor = str | int
"""A hyper-parameter by its name, or a term of another recurrence by its number."""


class Expression:
    """A sum of products of factors and an entry, which is a number times an array or alone.

    Numbers may be arrays themselves, where a hyper-parameter has a value for each coordinate.
    """

    __array_ufunc__ = None  # An array on the left leaves operations to this class.

    def __init__(self, parts: Mapping[tuple[Factor, ...], tuple[Any, Array | None]]) -> None:
        self.parts = dict(parts)

    def __add__(self, other: Any) -> Expression:
        total = Expression(self.parts)
        for factors, part in as_expression(other).parts.items():
            total._include(factors, part)
        return total

    __radd__ = __add__

    def __neg__(self) -> Expression:
        return Expression({factors: (-x, array) for factors, (x, array) in self.parts.items()})

    def __sub__(self, other: Any) -> Expression:
        return self + -as_expression(other)

    def __rsub__(self, other: Any) -> Expression:
        return (-self) + as_expression(other)

    def __mul__(self, other: Any) -> Expression:
        total = Expression({})
        for factors, (x, array) in self.parts.items():
            for more, (y, second) in as_expression(other).parts.items():
                both = array if second is None else second if array is None else array * second
                total._include(_ordered(factors, more), (x * y, both))
        return total

    __rmul__ = __mul__

    def _include(self, factors: tuple[Factor, ...], part: tuple[Any, Array | None]) -> None:
        """Add one more product to this sum, in place."""
        old = self.parts.get(factors)
        self.parts[factors] = part if old is None else _sum(old, part)


def as_expression(value: Any) -> Expression:
    """Return an expression for one, or for a number."""
    return value if isinstance(value, Expression) else Expression({(): (value, None)})


def array_of(array: Array) -> Expression:
    """Return the expression for an array like the curvatures."""
    return Expression({(): (1.0, array)})


def factor(name: str) -> Expression:
    """Return the expression for a factor by its name."""
    return Expression({(name,): (1.0, None)})


def of_entry(entry: Entry, *factors: Factor) -> Expression:
    """Return the expression for an entry of a recurrence, times some factors."""
    if isinstance(entry, tuple):
        return Expression({factors: entry})
    is_array = isinstance(entry, np.ndarray) and entry.ndim
    return Expression({factors: (1.0, entry) if is_array else (entry, None)})  # type: ignore[dict-item]


def _ordered(factors: tuple[Factor, ...], more: tuple[Factor, ...]) -> tuple[Factor, ...]:
    """Sort the factors of two products, so that those of theirs are in one order."""
    return tuple(sorted(factors + more, key=str)) if factors and more else factors or more


def _sum(one: tuple[Any, Array | None], other: tuple[Any, Array | None]) -> tuple[Any, Any]:
    """Add two entries, of which those that are multiples of one array stay such."""
    (x, array), (y, second) = one, other
    if array is second:
        return x + y, array
    return 1.0, (x if array is None else x * array) + (y if second is None else y * second)


class Update(NamedTuple):
    """An algorithm's step ``s' = s + change s + kick xi``, of numbers and expressions."""

    change: Sequence[Sequence[Any]]
    """A - I: n rows of n."""
    kick: Sequence[Any]
    """b: n of them."""
    start: Sequence[float]
    read: Sequence[float]
    gradient: Sequence[float] | None

    def factors(self) -> list[tuple[Factor, ...]]:
        """Return the products that occur, in a fixed order: the product of nothing first."""
        found: dict[tuple[Factor, ...], None] = {(): None}
        for entry in (*(x for row in self.change for x in row), *self.kick):
            if isinstance(entry, Expression):
                found |= dict.fromkeys(entry.parts)
        return list(found)

    def recurrence(self) -> Recurrence:
        """Return the recurrence with a term for each of the products."""

        def entry(value: Any, factors: tuple[Factor, ...]) -> Any:
            if not isinstance(value, Expression):
                return 0.0 if factors else value
            x, array = value.parts.get(factors, (0.0, None))
            return x if array is None else (x, array)

        terms = [
            (
                [[entry(x, factors) for x in row] for row in self.change],
                [entry(x, factors) for x in self.kick],
            )
            for factors in self.factors()
        ]
        return Recurrence(terms, self.start, self.read, self.gradient)

    def keep(self, components: Sequence[int]) -> Update:
        """Keep some of the components, which must not depend on the others."""
        if len(components) == len(self.read):
            return self
        gradient = None if self.gradient is None else [self.gradient[a] for a in components]
        return Update(
            [[self.change[a][b] for b in components] for a in components],
            [self.kick[a] for a in components],
            [self.start[a] for a in components],
            [self.read[a] for a in components],
            gradient,
        )


class SymbolicAlgorithm(LinearAlgorithm):
    """A linear algorithm that says its `update`, from which recurrence and weights follow."""

    scheduled: ClassVar[tuple[str, ...]] = ()
    """Hyper-parameters, other than "lr", that may be schedules."""

    def __repr__(self) -> str:
        this: Any = self
        words = []
        for field in fields(this):
            value = getattr(self, field.name)
            if not field.kw_only or value != field.default:
                text = repr(value.value if isinstance(value, Constant) else value)
                words.append(f"{field.name}={text}" if field.kw_only else text)
        return f"{type(self).__name__}({', '.join(words)})"

    @abstractmethod
    def update(self, h: Array) -> Update:
        """The step at curvatures `h`, with `symbol` and `complement` for hyper-parameters."""

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The learning rate, and the hyper-parameters that follow schedules."""
        return {"lr": self.lr} | self.own_schedules

    @property
    def own_schedules(self) -> dict[str, Schedule]:
        """The hyper-parameters that follow schedules, but for the learning rate."""
        return {
            name: value
            for name in self.scheduled
            if isinstance(value := getattr(self, name), Schedule)
        }

    def symbol(self, name: str) -> Any:
        """Return a hyper-parameter: a number, or a factor if it is the lr or a schedule."""
        value = getattr(self, name)
        is_factor = name == "lr" or isinstance(value, Schedule)
        return factor(name) if is_factor else value

    def complement(self, name: str) -> Any:
        """Return 1 minus a hyper-parameter, in the same way."""
        value = getattr(self, name)
        is_factor = isinstance(value, Schedule)
        return factor(COMPLEMENT + name) if is_factor else 1.0 - value

    def recurrence(self, h: Array) -> Recurrence:
        """The recurrence, with a term for each product of factors in the update."""
        update = self.update(h)
        if FACTORS not in self.__dict__:
            self.__dict__[FACTORS] = tuple(update.factors())
        return update.recurrence()

    def term_factors(self) -> tuple[tuple[Factor, ...], ...]:
        """The factors of each term, found out once."""
        kept = self.__dict__
        if FACTORS not in kept:
            kept[FACTORS] = tuple(self.update(np.ones(1)).factors())
        factors: tuple[tuple[Factor, ...], ...] = kept[FACTORS]
        return factors

    def weights(self, lr: Array, step: NDArray[np.int64]) -> Array:
        """The product of each term's factors, shape (steps, terms)."""
        return self.products_of(lambda factor: self.factor_values(factor, lr, step), lr.size)

    def products_of(self, values_of: Callable[[Factor], Array], steps: int) -> Array:
        """Multiply the values of each term's factors, shape (steps, terms)."""
        found = self.term_factors()
        values = {factor: values_of(factor) for factors in found for factor in factors}
        weights = np.ones((steps, len(found)))
        for k, factors in enumerate(found):
            for factor in factors:
                weights[:, k] *= values[factor]
        return weights

    def factor_values(self, factor: Factor, lr: Array, step: NDArray[np.int64]) -> Array:
        """Return the values of a factor at some learning rates and steps.

        Raises
        ------
        InputError
            If a hyper-parameter that must be below 1 is not.
        """
        if factor == "lr":
            return lr
        name = str(factor).removeprefix(COMPLEMENT)
        values = values_at(getattr(self, name), step)
        kind, largest = self.tunable.get(name), values.max(initial=0.0)
        if (kind == "unit" and largest >= 1.0) or (kind == "gap" and largest > 1.0):
            limit = "< 1" if kind == "unit" else "at most 1"
            raise InputError(f"{name} must be {limit} at every step, but goes up to {largest:g}")
        return 1.0 - values if factor != name else values


def preconditioner(h: Array, power: float) -> tuple[Expression, Any]:
    """Return ``h^(1 - power)`` and ``h^-power`` as expressions; the latter is 1 for power 0."""
    if not power:
        return array_of(h), 1.0
    with np.errstate(over="ignore", under="ignore"):
        return array_of(h ** (1.0 - power)), array_of(h**-power)


def over_largest(limit: float, h: Array, power: float) -> float:
    """Return a limit of ``lr h^(1 - power)`` as one of the learning rate; inf if that is 0."""
    with np.errstate(over="ignore", under="ignore"):
        largest = float((h ** (1.0 - power)).max())
    return limit / largest if largest > 0.0 else math.inf


def number_or_schedule(
    name: str, value: Schedule | ArrayLike, *, least: float = 0.0, below: float | None = None
) -> float | Schedule:
    """Check a hyper-parameter that may vary; one that does not is a float.

    Whether a schedule that is a formula stays below its limit is seen when its values are asked
    for; those of an array are there.

    Raises
    ------
    InputError
        If a number is outside its limits, or the least value of a schedule.
    """
    if isinstance(value, Constant):
        value = value.value
    if not isinstance(value, Schedule) and not any_array(name, value).ndim:
        return number(name, value, least=least, below=below)
    schedule = as_schedule(name, value, least=least)
    if below is not None and isinstance(schedule, PerStep) and schedule.array.max() >= below:
        raise InputError(
            f"{name} must be >= {least:g} and < {below:g} at every step, but goes up to "
            f"{schedule.array.max():g}"
        )
    return schedule


def level(value: Any) -> Any:
    """Return a hyper-parameter as a number, which is the least value of a schedule."""
    return value.least if isinstance(value, Schedule) else value


def is_used(value: Any) -> bool:
    """Whether a hyper-parameter is not simply 0."""
    if isinstance(value, np.ndarray):
        return bool(value.any())
    return isinstance(value, Schedule) or bool(value)
