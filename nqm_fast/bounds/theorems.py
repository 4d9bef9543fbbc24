"""The risk of plain SGD in closed form, and the paper's bounds for momentum and averaging."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..coordinates.blocks import Block
from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.validation import Array, InputError, number
from ..foundation.wide_range import Scaled, log_square, product_of, scaled_exp, scaled_product
from ..problem import Problem
from .sums import sum_at_steps

Complex = NDArray[np.complex128]

LOG_OF_ZERO = -1e4
"""Stands for log(0): its exp is 0 too, and times 0 it is 0 where -inf would give NaN."""
MOST_LOG = 1e15
"""Stands for the logarithms of infinity, and with a minus sign of 0."""
LARGE_LOG = 40.0
"""From this logarithm on, 1 is lost in a sum of doubles."""


@in_usual_arithmetic
def plain_risk(
    problem: Problem, lr: float, batch_size: float, steps: ArrayLike, *, power: float = 0.0
) -> Any:
    """Expected excess risk of plain SGD, the closed form (an equality at every step).

    ``R_i(t) = a^2t R_i(0) + (1 - a^2t) lr c h^-p / (2 B (2 - lr h^(1-p)))`` with
    ``a = 1 - lr h^(1-p)`` (section 3.1).

    Parameters
    ----------
    problem : Problem
    lr, batch_size : float
        Constant learning rate > 0 and batch size >= 1.
    steps : array_like of int
    power : float

    Returns
    -------
    float or ndarray
        Of the shape of `steps`.

    Raises
    ------
    InputError
        If an argument is outside its limits.
    """
    lr, batch_size = _checked_settings(lr, batch_size)
    power = number("power", power)

    def risk(block: Block, t: Array) -> Array:
        curvature, noise = _preconditioned(block, power)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            gap = np.minimum(lr * curvature, np.finfo(np.float64).max)
            decay = np.where(t > 0, t * log_square(gap), 0.0)
            margin = 2.0 - gap
            # At lr h = 2 the iterate only changes its sign, and the noise of all steps adds up.
            noise_factor = np.where(
                margin == 0.0, t * gap, -np.expm1(decay) / np.where(margin, margin, 1.0)
            )
            growth = scaled_exp(np.clip(decay, -MOST_LOG, MOST_LOG))
            start = scaled_product([0.5, block.h, block.second_moment])
            share = scaled_product([0.5, noise, lr], [batch_size])
            # Beside a large exponential the 1 of expm1 is nothing.
            is_large = decay > LARGE_LOG
            grown = product_of(
                scaled_product([share.mantissa], [np.where(is_large, -margin, 1.0)]), growth
            )
            kept = scaled_product([share.mantissa, np.where(is_large, 0.0, noise_factor)])
            added = Scaled(
                np.where(is_large, grown.mantissa, kept.mantissa),
                share.exponent + np.where(is_large, grown.exponent, kept.exponent),
            )
            return product_of(start, growth).value + added.value

    return sum_at_steps(problem, steps, risk)


@in_usual_arithmetic
def theorem1(
    problem: Problem,
    lr: float,
    momentum: float,
    batch_size: float,
    steps: ArrayLike,
    *,
    power: float = 0.0,
) -> Any:
    """Upper bound on the risk of SGD with momentum: Theorem 1 of the paper.

    The mean part is an equality, ``([(r1^(t+1) - r2^(t+1)) - beta (r1^t - r2^t)] /
    (r1 - r2))^2 R(0)`` with r1, r2 the roots of ``z^2 - (1 - lr h + beta) z + beta``; the
    noise is that of t -> inf, ``(1 + beta) lr c / (2 B (2 beta + 2 - lr h) (1 - beta))``.

    Parameters
    ----------
    problem : Problem
    lr, momentum, batch_size : float
        Constant settings: lr > 0, momentum in [0, 1), batch size >= 1.
    steps : array_like of int
    power : float

    Returns
    -------
    float or ndarray
        Of the shape of `steps`; inf where the settings are unstable.

    Raises
    ------
    InputError
        If an argument is outside its limits.
    """
    lr, batch_size = _checked_settings(lr, batch_size)
    beta = number("momentum", momentum, least=0.0, below=1.0)
    power = number("power", power)

    def risk(block: Block, t: Array) -> Array:
        curvature, noise = _preconditioned(block, power)
        gap = lr * curvature
        # The discriminant trace^2 - 4 beta is factored, so that it is 0 at critical damping.
        root = math.sqrt(beta)
        difference = np.sqrt(((1.0 - root) ** 2 - gap + 0j) * ((1.0 + root) ** 2 - gap))
        trace = 1.0 - gap + beta
        difference = (difference * np.where(trace < 0.0, -1.0, 1.0)).astype(np.complex128)
        larger = (1.0 - beta + gap + np.where(trace < 0.0, -difference, difference)) / 2.0
        # As (1 - r1) (1 - r2) = lr h, the smaller factor follows from the larger one.
        one_minus_r1 = np.where(trace < 0.0, larger, gap / larger)
        r1 = 1.0 - one_minus_r1
        # A smaller root follows from r1 r2 = beta; a difference would lose it beside the larger.
        # Complex roots are as large as each other, and the difference is the conjugate.
        r2 = np.where(r1 == 0.0, 0.0, beta / np.where(r1 == 0.0, 1.0, r1))
        r2 = np.where(difference.imag == 0.0, r2, (trace - difference) / 2.0)
        mean = _mean_factor(one_minus_r1, r2, difference, t)
        margin = 2.0 * beta + 2.0 - gap
        numerator = scaled_product([0.5 * (1.0 + beta), lr, noise], [batch_size, 1.0 - beta]).value
        return _with_steady_state(block, mean, numerator, margin)

    return sum_at_steps(problem, steps, risk)


@in_usual_arithmetic
def theorem2(
    problem: Problem,
    lr: float,
    ema: float,
    batch_size: float,
    steps: ArrayLike,
    *,
    power: float = 0.0,
) -> Any:
    """Upper bound on the risk of the exponential moving average of SGD: Theorem 2.

    The mean part is an equality, that of `theorem1` with ``r1 = 1 - lr h``, ``r2 = gamma``
    and ``gamma (1 - lr h)`` for beta; the noise is that of t -> inf, ``lr c / (2 B (2 - lr h))
    (1 - gamma) (1 + a gamma) / ((1 + gamma) (1 - a gamma))`` with ``a = 1 - lr h``.

    Parameters
    ----------
    problem : Problem
    lr, ema, batch_size : float
        Constant settings: lr > 0, ema in [0, 1), batch size >= 1.
    steps : array_like of int
    power : float

    Returns
    -------
    float or ndarray
        Of the shape of `steps`; inf where the settings are unstable.

    Raises
    ------
    InputError
        If an argument is outside its limits.
    """
    lr, batch_size = _checked_settings(lr, batch_size)
    gamma = number("ema", ema, least=0.0, below=1.0)
    power = number("power", power)

    def risk(block: Block, t: Array) -> Array:
        curvature, noise = _preconditioned(block, power)
        gap = lr * curvature
        a = 1.0 - gap
        a_is_larger = np.abs(a) >= gamma  # r1 is the larger of the roots a and gamma.
        sign = np.where(a_is_larger, 1.0, -1.0)
        difference = (sign * ((1.0 - gamma) - gap)).astype(np.complex128)
        one_minus_r1 = np.where(a_is_larger, gap, 1.0 - gamma)
        r2 = np.where(a_is_larger, gamma, a)
        mean = _mean_factor(one_minus_r1 + 0j, r2 + 0j, difference, t)
        margin = 2.0 - gap
        averaging = (1.0 - gamma) * (1.0 + a * gamma) / ((1.0 + gamma) * (1.0 - a * gamma))
        numerator = scaled_product([0.5 * averaging, lr, noise], [batch_size]).value
        return _with_steady_state(block, mean, numerator, margin)

    return sum_at_steps(problem, steps, risk)


def _checked_settings(lr: float, batch_size: float) -> tuple[float, float]:
    """Check a constant learning rate > 0 and a constant batch size >= 1."""
    return number("lr", lr, above=0.0), number("batch_size", batch_size, least=1.0)


def _preconditioned(block: Block, power: float) -> tuple[Array, Array]:
    """Return the curvature and noise that stand for h and c under the preconditioner."""
    if not power:
        return block.h, block.c
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        curvature, noise = block.h ** (1.0 - power), block.c * block.h**-power
    if not (np.isfinite(curvature).all() and np.isfinite(noise).all()):
        raise InputError(f"power = {power:g} takes curvatures beyond the range of a double")
    return curvature, noise


def _mean_factor(one_minus_r1: Complex, r2: Complex, difference: Complex, t: Array) -> Array:
    """``[(r1^(t+1) - r2^(t+1)) - r1 r2 (r1^t - r2^t)] / (r1 - r2)``, also where roots coincide.

    It is the factor by which the mean of a coordinate has shrunk after t steps. It is computed
    as ``r1^t + r2 (1 - r1) (r1^t - r2^t)/(r1 - r2)`` with |r1| >= |r2|, which does not cancel.
    The quotient is r1^(t-1) times a ratio of expm1, which has a limit for ``difference = r1 - r2
    -> 0``, or times ``(1 - (r2/r1)^t) / (1 - r2/r1)`` where the roots are far from each other.
    """
    r1 = 1.0 - one_minus_r1
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_r1 = np.where(r1 == 0.0, LOG_OF_ZERO, _log1p(-one_minus_r1))
        far = (np.abs(r2) < 0.5 * np.abs(r1)) | (r2 == 0.0)
        ratio = np.where(far & (r2 != 0.0), r2 / np.where(r1 == 0.0, 1.0, r1), 1.0)
        vanished = np.where(far & (r2 != 0.0), np.exp(t * np.log(ratio)), 0.0)
        between_far = (1.0 - vanished) / (1.0 - np.where(ratio == 1.0, 0.0, ratio))
        log_ratio = _log1p(-difference / np.where(far, 2.0 * difference, r1))
        # Conjugate roots are as large as each other, which a rounding error must not change.
        conjugate = (difference.imag != 0.0) & (difference.real == 0.0)
        log_ratio = np.where(conjugate, 1j * log_ratio.imag, log_ratio)
        differ = log_ratio != 0.0
        between = np.expm1(t * log_ratio) / np.where(differ, np.expm1(log_ratio), 1.0)
        quotient = np.where(far, between_far, np.where(differ, between, t))
        power = np.where(t > 0, np.exp((t - 1.0) * log_r1), 0.0)
        factor = np.where(t > 0, power * (r1 + r2 * one_minus_r1 * quotient), 1.0)
    return factor.real


def _log1p(z: Complex) -> Complex:
    """``log(1 + z)`` accurate for small z too, which NumPy's log1p is not for complex z."""
    small = np.abs(z) < 0.5
    close = np.where(small, z, 0.0)
    size = np.log1p(close.real * (2.0 + close.real) + close.imag**2) / 2.0
    size = np.where(small, size, np.log(np.abs(1.0 + z)))
    logarithm: Complex = size + 1j * np.arctan2(z.imag, 1.0 + z.real)
    return logarithm


def _with_steady_state(block: Block, mean: Array, numerator: Array, margin: Array) -> Array:
    """Add the risk of the shrunk mean to that of the noise at t -> inf, numerator / margin.

    Settings are unstable where the margin is not positive; the risk is inf there if there is noise.
    """
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        steady = np.where(numerator == 0.0, 0.0, np.where(margin > 0.0, numerator / margin, np.inf))
        # A mean beyond the range of a double may be NaN, from a product 0 * inf.
        left = scaled_product([0.5, block.h, block.second_moment, mean, mean]).value
        return steady + np.where(np.isfinite(mean), left, np.inf)
