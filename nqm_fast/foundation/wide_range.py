"""Products and powers whose factors would leave the range of a double on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LOG2_HIGH, LOG2_LOW = 0.6931471803691238, 1.9082149292705877e-10
"""Their sum is log(2); the first has few digits, so that its products with integers are exact."""


class Scaled(NamedTuple):
    """Numbers ``mantissa * 2^exponent``, whose exponents are not limited as those of doubles."""

    mantissa: Array
    exponent: NDArray[np.int64]

    @property
    def value(self) -> Array:
        """The numbers as doubles, which are 0 or infinite where they are beyond the range."""
        exponent = np.clip(self.exponent, -4000, 4000)  # which ldexp takes on every machine
        value: Array = np.ldexp(self.mantissa, exponent.astype(np.intc))
        return value


def scaled_product(factors: Sequence[Any], divisors: Sequence[Any] = ()) -> Scaled:
    """Multiply finite numbers, and divide by others, of which there may be a hundred."""
    mantissa: Any = 1.0
    exponent: Any = 0
    for number in factors:
        part, power = np.frexp(number)
        mantissa, exponent = mantissa * part, exponent + power
    for number in divisors:
        part, power = np.frexp(number)
        mantissa, exponent = mantissa / part, exponent - power
    size = np.asarray(mantissa, dtype=np.float64)
    # A zero has no exponent, whatever the other factors are.
    return Scaled(size, np.where(size == 0.0, 0, np.asarray(exponent, dtype=np.int64)))


def log_square(gap: Array) -> Array:
    """``log((1 - gap)^2)`` to full relative precision, also for tiny gaps and near 1 and 2."""
    return 2.0 * np.log1p(np.maximum(-gap, gap - 2.0))


def scaled_exp(log: Array) -> Scaled:
    """The exponential of finite numbers, of which most may be far beyond the range of a double."""
    exponent = np.rint(log / np.log(2.0))
    remainder = (log - exponent * LOG2_HIGH) - exponent * LOG2_LOW
    return Scaled(np.exp(remainder), exponent.astype(np.int64))


def product_of(first: Scaled, second: Scaled) -> Scaled:
    """The product of numbers in this form."""
    size = first.mantissa * second.mantissa
    return Scaled(size, np.where(size == 0.0, 0, first.exponent + second.exponent))
