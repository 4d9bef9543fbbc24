"""Closed forms and bounds: the paper's theorems, and the samples that any algorithm needs.

Equations are those of Zhang et al. 2019 (arXiv 1907.04164). With a preconditioner ``h^power``
the curvature h in them becomes ``h^(1-power)``, and the noise c becomes ``c h^-power``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arithmetic import in_usual_arithmetic
from .blocks import Block, joined_blocks
from .exact.certified import coordinate_sums
from .problem import Problem, as_additive_problem
from .validation import Array, InputError, number, step_array
from .wide_range import Scaled, log_square, product_of, scaled_exp, scaled_product

__all__ = [
    "bayes_risk",
    "bayes_samples",
    "cramer_rao_samples",
    "plain_risk",
    "theorem1",
    "theorem2",
]

Complex = NDArray[np.complex128]

SMALLEST_RISK = 1e-320
"""Stands for a risk of 0 where a logarithm of the risk is taken."""
LOG_OF_ZERO = -1e4
"""Stands for log(0): its exp is 0 too, and times 0 it is 0 where -inf would give NaN."""
MOST_LOG = 1e15
"""Stands for the logarithms of infinity, and with a minus sign of 0."""
LARGE_LOG, LARGE_EXPONENT = 40.0, 60
"""From this logarithm and this exponent of 2 on, 1 is lost in a sum of doubles."""


def __dir__() -> list[str]:
    """List the public names, which completion offers."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


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

    return _sum_at_steps(problem, steps, risk)


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

    return _sum_at_steps(problem, steps, risk)


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

    return _sum_at_steps(problem, steps, risk)


@in_usual_arithmetic
def cramer_rao_samples(problem: Problem, target: float) -> float:
    """Samples that any unbiased estimate needs: ``B T >= sum count c/h / (2 target)``.

    For c = h this is d / (2 target), the black line of the paper's figures. It ignores what
    is known about the start; `bayes_samples` does not.

    Parameters
    ----------
    problem : Problem
    target : float
        Excess risk, > 0.

    Returns
    -------
    float
        To be compared with batch size times steps.

    Raises
    ------
    InputError
        If the target is not positive.
    """
    target = number("target", target, above=0.0)
    ratio = _sum_over_coordinates(
        problem, lambda block: block.multiplicity * block.c / block.h, is_linear=True
    )
    return ratio / (2.0 * target)


@in_usual_arithmetic
def bayes_risk(problem: Problem, samples: float) -> float:
    """Excess risk of the best estimate from `samples` samples and the prior on the start.

    ``1/2 sum count h / (1/var0 + N h^2/c)``, the Kalman filter's risk after N samples. No
    algorithm has a lower expected risk after N = batch size times steps.

    Parameters
    ----------
    problem : Problem
    samples : float
        >= 0.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If `samples` is negative.
    """
    n = number("samples", samples, least=0.0)

    def risk(block: Block) -> Array:
        h, c, variance = block.h, block.c, block.variance
        prior = scaled_product([0.5 * block.multiplicity, h, variance])
        gain = scaled_product([n, h, h, variance], [np.where(c == 0.0, 1.0, c)])
        # The prior's risk is divided by 1 + gain, and the 1 is nothing beside a large gain.
        is_large = gain.exponent > LARGE_EXPONENT
        divisor = np.where(is_large, gain.mantissa, 1.0 + np.where(is_large, 0.0, gain.value))
        remaining = Scaled(
            prior.mantissa / divisor, prior.exponent - np.where(is_large, gain.exponent, 0)
        )
        known = (c == 0.0) & (n > 0.0) | (variance == 0.0)
        return np.where(known, 0.0, remaining.value)

    return _sum_over_coordinates(problem, risk, is_linear=False)


@in_usual_arithmetic
def bayes_samples(problem: Problem, target: float) -> float:
    """Samples without which no algorithm can reach the target, by `bayes_risk`.

    Parameters
    ----------
    problem : Problem
    target : float
        Excess risk, > 0.

    Returns
    -------
    float
        To be compared with batch size times steps; 0 if the start is good enough, and inf if
        they are beyond the range of a double.

    Raises
    ------
    InputError
        If the target is not positive.
    """
    import scipy.optimize

    target = number("target", target, above=0.0)
    if bayes_risk(problem, 0.0) <= target:
        return 0.0
    low, high = 0.0, 1.0
    while bayes_risk(problem, high) > target:
        low, high = high, 2.0 * high
        if high == math.inf:
            return math.inf

    def excess(samples: float) -> float:
        return math.log(max(bayes_risk(problem, samples), math.ulp(0.0))) - math.log(target)

    return float(scipy.optimize.brentq(excess, low, high, rtol=1e-14))


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


class _Expressions(NamedTuple):
    """Expressions in the fields of coordinates, one for each row, as `certified_sums` takes them.

    ``summand(block, row)`` gives the value for each coordinate, of a row in shape (1,).
    """

    summand: Callable[[Block, Array], Array]
    columns: Array
    """The value that `summand` takes for each row of the result, shape (rows,)."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.columns.size

    def __call__(self, blocks: Sequence[Block], rows: NDArray[np.intp]) -> Array:
        """Compute the sums over each block, shape (rows, blocks)."""
        whole = blocks[0] if len(blocks) == 1 else joined_blocks(blocks)
        starts = np.cumsum([0] + [block.h.size for block in blocks[:-1]])
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            values = [self.summand(whole, self.columns[row : row + 1]) for row in rows]
            if len(blocks) == 1:
                return np.array([[x.sum()] for x in values])
            return np.array([np.add.reduceat(x, starts) for x in values])


def _sum_at_steps(problem: Problem, steps: ArrayLike, risk: Callable[[Block, Array], Array]) -> Any:
    """Sum the risk of all coordinates at steps of any shape.

    ``risk(block, t)`` gives the risk of each coordinate of a block after t steps, t of shape (1,).
    """
    as_additive_problem(problem, "closed forms and bounds")
    t = step_array("steps", steps)
    if not t.size:
        return np.zeros(t.shape)

    def summand(block: Block, row: Array) -> Array:
        return risk(block, row) * block.multiplicity

    rows = _Expressions(summand, t.reshape(-1).astype(np.float64))
    total = coordinate_sums(problem, rows, "closed form").reshape(t.shape)
    return total if t.ndim else float(total)


def _sum_over_coordinates(
    problem: Problem, summand: Callable[[Block], Array], *, is_linear: bool
) -> float:
    """Sum an expression in the fields of a block over all coordinates.

    Nodes have the noise or the start alone where these do not follow from the curvature: they give
    the sum only if it `is_linear` in both.
    """
    as_additive_problem(problem, "closed forms and bounds")

    def expression(block: Block, _: Array) -> Array:
        return np.broadcast_to(summand(block), block.h.shape)

    rows = _Expressions(expression, np.zeros(1))
    return float(coordinate_sums(problem, rows, "bound", is_linear=is_linear)[0])
