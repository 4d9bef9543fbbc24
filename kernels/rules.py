"""Update rules of algorithms that are not linear, and the table of them.

A rule is one scalar function: it takes the state of a coordinate and its gradient to the state one
step on. As those of `noise`, it is written once for all backends, for NumPy arrays or the scalars
of a compiled kernel, of +, -, *, /, square roots and comparisons alone, which IEEE rounds in one
way. What depends on the step (the learning rate, corrections of a bias) are numbers that it is
given, computed in Python once for all coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .noise import select


def root_of(x: Any) -> Any:
    """Return the correctly rounded square root of a float64."""
    return np.sqrt(x)


def sign_of(x: Any) -> Any:
    """Return 1 or -1 with the sign of a float64; 0 for 0, and what is not a number for NaN."""
    return select(x > 0.0, 1.0, select(x < 0.0, -1.0, x))


def adam(s: Any, g: Any, c: Any) -> Any:
    """Take (w, m, v) one step on: Adam of Kingma and Ba (2015), or AdamW.

    The numbers are ``lr / (1 - beta1^t)``, ``1 / sqrt(1 - beta2^t)``, beta1, 1 - beta1, beta2,
    1 - beta2, eps, and ``1 - lr decay``.
    """
    m = c[2] * s[1] + c[3] * g
    v = c[4] * s[2] + c[5] * (g * g)
    return c[7] * s[0] - (c[0] * m) / (c[1] * root_of(v) + c[6]), m, v


def rmsprop(s: Any, g: Any, c: Any) -> Any:
    """Take (w, v) one step on: RMSProp. The numbers are lr, decay, 1 - decay and eps."""
    v = c[1] * s[1] + c[2] * (g * g)
    return s[0] - (c[0] * g) / (root_of(v) + c[3]), v


def rmsprop_with_momentum(s: Any, g: Any, c: Any) -> Any:
    """Take (w, v, u) one step on: RMSProp with momentum, the last number, on what it steps by."""
    v = c[1] * s[1] + c[2] * (g * g)
    u = c[4] * s[2] + g / (root_of(v) + c[3])
    return s[0] - c[0] * u, v, u


def sign_descent(s: Any, g: Any, c: Any) -> Any:
    """Take (w,) one step on, by the sign of the gradient. The number is lr."""
    return (s[0] - c[0] * sign_of(g),)


def signum(s: Any, g: Any, c: Any) -> Any:
    """Take (w, m) one step on, by the sign of m. The numbers are lr, momentum, 1 - momentum."""
    m = c[1] * s[1] + c[2] * g
    return s[0] - c[0] * sign_of(m), m


class Rule(NamedTuple):
    """An update rule: how it is computed, and what of.

    The first component of the state is the iterate, at which the gradient is taken, and which is
    evaluated. If a state has one component more than the rule, that is the exponential moving
    average of the iterates, which is evaluated then; its decay is one more number, the last.
    """

    code: int  # from 1; a model without a rule has 0
    update: Callable[..., Any]  # from (state, gradient, numbers) to the next state, all tuples
    components: int  # of the state
    numbers: int  # that the rule is given for each step


RULES = {
    "adam": Rule(1, adam, components=3, numbers=8),
    "rmsprop": Rule(2, rmsprop, components=2, numbers=4),
    "rmsprop with momentum": Rule(3, rmsprop_with_momentum, components=3, numbers=5),
    "sign": Rule(4, sign_descent, components=1, numbers=1),
    "signum": Rule(5, signum, components=2, numbers=3),
}
"""All update rules by name; loops of all backends follow from this table."""

SHARED: tuple[Any, ...] = (root_of, sign_of, *(rule.update for rule in RULES.values()))
"""Functions that compiled backends use as they stand."""


def rule_of(code: int) -> Rule:
    """Return the rule of a code."""
    return next(rule for rule in RULES.values() if rule.code == code)
