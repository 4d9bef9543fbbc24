"""The best piecewise-constant learning-rate schedule for plain SGD."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..algorithms.sgd import SGD
from ..bounds import LEAST, bayes_samples
from ..problem import Problem, as_problem
from ..schedules import Piecewise
from ..validation import Array, integer, number
from .first_passage import steps_to_target
from .minimiser import estimate_fewest_steps, fewest_steps
from .risk import expected_risk
from .tuning import AGREE, Tuned, refining_spectra, tune


class PiecewiseSearch:
    """Lowest risk that n pieces of constant learning rate reach in a number of steps."""

    def __init__(
        self, problem: Problem, batch_size: float, power: float, pieces: int, target: float
    ) -> None:
        block = problem.block(0, problem.dim)
        self.rate: Array = block.h ** (1.0 - power)
        self.signal = np.broadcast_to(
            0.5 * block.multiplicity * block.h * block.second_moment, self.rate.shape
        )
        self.noise = 0.5 * block.multiplicity * block.c * block.h**-power / batch_size
        self.limit = 2.0 / (self.rate.max() + self.rate.min())
        self.pieces = pieces
        self.log_target = math.log(target)
        self.best: dict[int, tuple[float, Array]] = {}

    def lengths(self, steps: int) -> NDArray[np.int64]:
        """Steps of each piece, as equal as whole numbers can be."""
        return np.diff(np.arange(self.pieces + 1) * steps // self.pieces)

    def log_risk(self, log_lr: Array, lengths: NDArray[np.int64]) -> tuple[float, Array]:
        """Log of the risk after the last piece, and its gradient."""
        lr, length = np.exp(log_lr)[:, None], lengths[:, None]
        gap = lr * self.rate
        a = 1.0 - gap
        with np.errstate(divide="ignore"):
            # at a = 0 a finite stand-in for -inf, which times a length of 0 would be NaN
            decay = length * np.maximum(np.log1p(-gap * (2.0 - gap)), -1e6)
        kept, lost = np.exp(decay), -np.expm1(decay)
        kept_slope = np.where(a == 0.0, 0.0, -2.0 * length * gap * kept / np.where(a, a, 1.0))
        room = 2.0 - gap
        added = self.noise * lr / room * lost
        added_slope = self.noise * lr * (2.0 * lost / room**2 - kept_slope / room)
        # how much of what a piece leaves is still there after the last one
        later = np.ones_like(kept)
        later[:-1] = np.cumprod(kept[:0:-1], axis=0)[::-1]
        before = np.empty_like(kept)
        moment: Array = self.signal
        for k in range(self.pieces):
            before[k] = moment
            moment = kept[k] * moment + added[k]
        risk = moment.sum()
        if risk == 0.0:
            return math.log(LEAST), np.zeros_like(log_lr)
        slope = ((kept_slope * before + added_slope) * later).sum(axis=1)
        return float(np.log(risk)), slope / risk

    def lowest(self, steps: int, start: Array) -> float:
        """Log of the lowest risk after `steps`, relative to the target."""
        import scipy.optimize

        lengths = self.lengths(steps)
        answer = scipy.optimize.minimize(
            self.log_risk,
            start,
            args=(lengths,),
            jac=True,
            method="L-BFGS-B",
            bounds=[(math.log(self.limit) - 40.0, math.log(self.limit))] * self.pieces,
            options={"maxiter": 500, "maxcor": 20, "ftol": 1e-12, "gtol": 1e-9},
        )
        excess = float(answer.fun) - self.log_target
        if steps not in self.best or excess < self.best[steps][0]:
            self.best[steps] = (excess, answer.x)
        return self.best[steps][0]

    def lowest_nearby(self, steps: int) -> float:
        """As `lowest`, started from the best schedule at the nearest number of steps."""
        if steps not in self.best:
            nearest = min(self.best, key=lambda t: abs(math.log(t / steps)))
            self.lowest(steps, self.best[nearest][1])
        return self.best[steps][0]

    def schedule(self, steps: int) -> Piecewise:
        """The best schedule found for a number of steps."""
        lengths = self.lengths(steps)
        used = lengths > 0
        return Piecewise(np.exp(self.best[steps][1])[used].tolist(), lengths[used].tolist())


def optimal_schedule(
    problem: Problem,
    batch_size: float,
    target: float,
    pieces: int,
    power: float = 0.0,
    *,
    max_steps: int = 10**9,
) -> Tuned:
    """The piecewise-constant learning rate with which plain SGD needs the fewest steps.

    The steps are cut into `pieces` equal pieces (figure 4 of Zhang et al. 2019 has 50), and
    every learning rate is chosen freely up to the stable ``2 / (max + min of h^(1-power))``.

    Parameters
    ----------
    problem : Problem
    batch_size : float
        >= 1, constant.
    target : float
        Excess risk, > 0.
    pieces : int
        >= 1.
    power : float
        Exponent of the preconditioner.
    max_steps : int
        Give up beyond this many steps.

    Returns
    -------
    Tuned
        ``steps`` (first passage on the whole spectrum), ``algorithm`` with a
        `schedules.Piecewise` learning rate, ``risk``. What `tune` returns for a constant
        learning rate if that does not reach the target within `max_steps`.

    Raises
    ------
    InputError
        If an argument is outside its limits.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> best = nqm.optimal_schedule(nqm.Problem.power_law(10_000), 1024, 0.01, pieces=10)
    >>> best.steps < nqm.tune(nqm.Problem.power_law(10_000), 1024, 0.01).steps
    True
    """
    as_problem(problem)
    batch_size = number("batch_size", batch_size, least=1.0)
    target = number("target", target, above=0.0)
    pieces = integer("pieces", pieces, least=1)
    power = number("power", power)
    max_steps = integer("max_steps", max_steps, least=1)
    constant = tune(problem, batch_size, target, power=power, max_steps=max_steps)
    if constant.steps in (0, math.inf):
        return constant
    enough = int(constant.steps)
    start = np.full(pieces, math.log(constant.algorithm.lr.least))
    # nothing is faster than the samples that the best estimate needs
    too_few = math.floor(bayes_samples(problem, target) / batch_size * (1.0 - 1e-9))
    best = constant
    for spectrum in refining_spectra(problem):
        search = PiecewiseSearch(spectrum, batch_size, power, pieces, target)
        start = np.minimum(start, math.log(search.limit))
        if search.lowest(enough, start) > 0.0:
            return best
        guess = estimate_fewest_steps(search.lowest_nearby, too_few, enough)
        steps = fewest_steps(search.lowest_nearby, guess, too_few, enough)
        excess, start = search.best[steps]
        algorithm = SGD(search.schedule(steps), power=power)
        risk = expected_risk(problem, algorithm, batch_size, steps)
        first = steps_to_target(problem, algorithm, batch_size, target, max_steps=steps + 1)
        if first <= best.steps:
            best = Tuned(
                first, algorithm, expected_risk(problem, algorithm, batch_size, int(first))
            )
        if risk == 0.0 or abs(math.log(risk / target) - excess) < AGREE:
            break
    return best
