"""Closed forms and bounds: the paper's theorems, and how many samples anyone needs.

Equations are those of Zhang et al. 2019 (arXiv 1907.04164), with ``h^(1-power)`` for the
curvature that the preconditioned update sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .exact.risk import BLOCK
from .parallel import in_threads
from .problem import Block, Problem, as_problem
from .validation import Array, number, step_array

Complex = NDArray[np.complex128]

LEAST = 1e-320  # stands for a risk of 0 in logarithms
BEYOND = 1e4  # minus this stands for the log of 0


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
    lr, batch_size = _settings(lr, batch_size)
    power = number("power", power)

    def risk(block: Block, t: Array) -> Array:
        rate, noise = _seen(block, power)
        gap = lr * rate
        # 1 - a^2 = gap (2 - gap) without the cancellation of 1 - (1 - gap)^2
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            decay = np.where(t > 0, t * np.log1p(-gap * (2.0 - gap)), 0.0)
            room = 2.0 - gap
            # at lr h = 2 the iterate only changes sign, and noise adds up
            level = np.where(room == 0.0, t * gap, -np.expm1(decay) / np.where(room, room, 1.0))
            return _start(block) * np.exp(decay) + noise * lr / (2.0 * batch_size) * level

    return _summed(problem, steps, risk)


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
    lr, batch_size = _settings(lr, batch_size)
    beta = number("momentum", momentum, least=0.0, below=1.0)
    power = number("power", power)

    def risk(block: Block, t: Array) -> Array:
        rate, noise = _seen(block, power)
        gap = lr * rate
        # (trace)^2 - 4 beta, factored so that it vanishes cleanly at critical damping
        root = math.sqrt(beta)
        spread = np.sqrt(((1.0 - root) ** 2 - gap + 0j) * ((1.0 + root) ** 2 - gap))
        trace = 1.0 - gap + beta
        spread = (spread * np.where(trace < 0.0, -1.0, 1.0)).astype(np.complex128)
        far = (1.0 - beta + gap + np.where(trace < 0.0, -spread, spread)) / 2.0
        # (1 - r1) (1 - r2) = lr h: the small factor comes from the large one
        rest = np.where(trace < 0.0, far, gap / far)
        mean = _mean_factor(rest, (trace - spread) / 2.0, spread, t)
        room = 2.0 * beta + 2.0 - gap
        level = (1.0 + beta) * lr * noise / (2.0 * batch_size * (1.0 - beta))
        return _with_steady_state(block, mean, level, room)

    return _summed(problem, steps, risk)


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
    lr, batch_size = _settings(lr, batch_size)
    gamma = number("ema", ema, least=0.0, below=1.0)
    power = number("power", power)

    def risk(block: Block, t: Array) -> Array:
        rate, noise = _seen(block, power)
        gap = lr * rate
        a = 1.0 - gap
        wide = np.abs(a) >= gamma
        spread = (np.where(wide, 1.0, -1.0) * ((1.0 - gamma) - gap)).astype(np.complex128)
        rest = np.where(wide, gap, 1.0 - gamma)
        mean = _mean_factor(rest + 0j, np.where(wide, gamma, a) + 0j, spread, t)
        room = 2.0 - gap
        shrink = (1.0 - gamma) * (1.0 + a * gamma) / ((1.0 + gamma) * (1.0 - a * gamma))
        return _with_steady_state(block, mean, lr * noise * shrink / (2.0 * batch_size), room)

    return _summed(problem, steps, risk)


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
    return _total(problem, lambda block: block.multiplicity * block.c / block.h) / (2.0 * target)


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
        # var0 c / (c + N h^2 var0): defined for certain starts and noiseless gradients too
        informed = block.c + n * block.h**2 * block.variance
        rest = np.where(informed > 0.0, block.c / np.where(informed > 0.0, informed, 1.0), 1.0)
        return 0.5 * block.multiplicity * block.h * block.variance * rest

    return _total(problem, risk)


def bayes_samples(problem: Problem, target: float) -> float:
    """Samples without which no algorithm can reach the target: see `bayes_risk`.

    Parameters
    ----------
    problem : Problem
    target : float
        Excess risk, > 0.

    Returns
    -------
    float
        To be compared with batch size times steps; 0 if the start is good enough.

    Raises
    ------
    InputError
        If the target is not positive.
    """
    import scipy.optimize

    target = number("target", target, above=0.0)
    if bayes_risk(problem, 0.0) <= target:
        return 0.0
    high = 1.0
    while bayes_risk(problem, high) > target:
        high *= 2.0
    return float(
        scipy.optimize.brentq(
            lambda n: math.log(max(bayes_risk(problem, n), LEAST) / target), 0.0, high, rtol=1e-14
        )
    )


def _settings(lr: float, batch_size: float) -> tuple[float, float]:
    return number("lr", lr, above=0.0), number("batch_size", batch_size, least=1.0)


def _seen(block: Block, power: float) -> tuple[Array, Array]:
    """Curvature and noise as the preconditioned update sees them."""
    return block.h ** (1.0 - power), block.c * block.h**-power


def _start(block: Block) -> Array:
    return 0.5 * block.h * block.second_moment


def _mean_factor(rest: Complex, r2: Complex, spread: Complex, t: Array) -> Array:
    """``[(r1^(t+1) - r2^(t+1)) - r1 r2 (r1^t - r2^t)] / (r1 - r2)``, also where roots coincide.

    Written as ``r1^t + r2 (1 - r1) (r1^t - r2^t)/(r1 - r2)`` with |r1| >= |r2|, which does
    not cancel, and the quotient as a ratio of expm1, which has a limit. The arguments are
    1 - r1, r2 and r1 - r2.
    """
    r1 = 1.0 - rest
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_r1 = np.where(r1 == 0.0, -BEYOND, _log1p(-rest))
        # a root of 0 leaves r1^(t-1) of the quotient; two that coincide, t r1^(t-1)
        log_ratio = _log1p(-spread / np.where(r2 == 0.0, 2.0 * spread, r1))
        apart = log_ratio != 0.0
        quotient = np.expm1(t * log_ratio) / np.where(apart, np.expm1(log_ratio), 1.0)
        quotient = np.where(r2 == 0.0, 1.0, np.where(apart, quotient, t))
        power = np.where(t > 0, np.exp((t - 1.0) * log_r1), 0.0)
        factor = np.where(t > 0, power * (r1 + r2 * rest * quotient), 1.0)
    return factor.real


def _log1p(z: Complex) -> Complex:
    """``log(1 + z)`` with the digits of a small z, which NumPy's log1p loses for complex z."""
    small = np.abs(z) < 0.5
    close = np.where(small, z, 0.0)
    size = np.log1p(close.real * (2.0 + close.real) + close.imag**2) / 2.0
    size = np.where(small, size, np.log(np.abs(1.0 + z)))
    logarithm: Complex = size + 1j * np.arctan2(z.imag, 1.0 + z.real)
    return logarithm


def _with_steady_state(block: Block, mean: Array, level: Array, room: Array) -> Array:
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        steady = np.where(level == 0.0, 0.0, np.where(room > 0.0, level / room, np.inf))
        # a mean beyond the range of a double has met 0 * inf on its way
        return steady + np.where(np.isfinite(mean), _start(block) * mean**2, np.inf)


def _summed(problem: Problem, steps: ArrayLike, risk: Callable[[Block, Array], Array]) -> Any:
    """Sum a risk per coordinate over the problem, at steps of any shape."""
    as_problem(problem)
    t = step_array("steps", steps)
    column = t.reshape(-1, 1).astype(np.float64)

    def part(begin: int) -> Array:
        block = problem.block(begin, min(begin + BLOCK, problem.dim))
        with np.errstate(over="ignore"):
            rows = [(risk(block, row) * block.multiplicity).sum() for row in column]
        return np.array(rows)

    parts = in_threads(part, range(0, problem.dim, BLOCK), "closed form")
    total = np.sum(parts, axis=0).reshape(t.shape)
    return total if t.ndim else float(total)


def _total(problem: Problem, weight: Callable[[Block], Array]) -> float:
    as_problem(problem)

    def part(begin: int) -> float:
        return float(weight(problem.block(begin, min(begin + BLOCK, problem.dim))).sum())

    return math.fsum(in_threads(part, range(0, problem.dim, BLOCK), "bound"))
