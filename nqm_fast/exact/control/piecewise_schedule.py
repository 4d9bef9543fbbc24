"""The best piecewise-constant learning-rate schedule for plain SGD."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...algorithms.sgd import SGD
from ...bounds import SMALLEST_RISK, bayes_samples
from ...coordinates.blocks import Block
from ...foundation.validation import Array, integer, number
from ...machine.backends import takes_backend
from ...problem import Problem, as_additive_problem
from ...schedules import Constant, Piecewise
from ..first_passage import steps_to_target
from ..risk import expected_risk
from ..search.fewest_steps import estimate_fewest_steps, fewest_steps
from ..search.nodes import AGREEMENT, REFINEMENTS, finer_nodes, searched_nodes
from ..tuning import Tuned, tune
from .piece_maps import plain_model

# Minimisation over the log learning rates of all pieces.
LIMIT_MARGIN = 1e-9
"""Part by which learning rates stay below the limit of stability, where noise grows without end."""
START_DECADES = 0.5, 2.0
"""Decades by which learning rates fall, from the limit on, in starts other than a constant one."""
LOG_LR_RANGE = 40.0
"""How far a log learning rate may go below the stable limit, where a piece does nothing."""
MOST_ITERATIONS = 500
"""A limit that bounds the time where rounding errors prevent convergence."""
MOST_PIECES = 1 << 16
"""A limit that bounds the memory; there are as many learning rates to search."""
KEPT_GRADIENTS = 20
"""Gradients from which L-BFGS-B estimates curvature; its usual 10 need more iterations."""
RISK_TOLERANCE, GRADIENT_TOLERANCE = 1e-12, 1e-9
"""Tight, because single steps differ by little at long horizons."""

# Numerical limits.
BOUND_ERROR = 1e-9
"""Part by which the lower bound on steps is reduced, to allow for its rounding errors."""


class PiecewiseSearch:
    """The lowest risk that pieces of constant learning rate reach in a number of steps.

    As in `Minimiser`, excess is the log of risk / target, and the best learning rates for every
    number of steps are remembered.
    """

    def __init__(
        self,
        problem: Problem,
        block: Block,
        batch_size: float,
        power: float,
        pieces: int,
        target: float,
    ) -> None:
        self.model = plain_model(block, power)
        self.inverse_batch = 1.0 / batch_size
        # The largest curvature need not be a node.
        largest = float(np.power(problem.curvature_range, 1.0 - power).max())
        self.largest_lr = 2.0 / largest * (1.0 - LIMIT_MARGIN)
        self.pieces = pieces
        self.log_target = math.log(target)
        self.best: dict[int, tuple[float, Array]] = {}
        """Lowest excess found so far, and its log learning rates, by number of steps."""

    def lengths(self, steps: int) -> NDArray[np.int64]:
        """Cut a number of steps into pieces of equal lengths, up to rounding, shape (pieces,)."""
        return np.diff(np.arange(self.pieces + 1) * steps // self.pieces)

    def log_risk(self, log_lr: Array, lengths: NDArray[np.int64]) -> tuple[float, Array]:
        """Compute the log of the risk after the last piece, and its gradient, shape (pieces,)."""
        inverse_batch = np.full(len(lengths), self.inverse_batch)
        risk, slope = self.model.sweep(log_lr, lengths).risk_and_slope(inverse_batch)
        if risk == 0.0:
            return math.log(SMALLEST_RISK), np.zeros_like(log_lr)
        return math.log(risk), slope / risk

    def minimise_from(self, steps: int, start: Array) -> float:
        """Minimise the excess after `steps` from a start; the lowest excess known then."""
        import scipy.optimize

        lengths = self.lengths(steps)
        log_limit = math.log(self.largest_lr)
        answer = scipy.optimize.minimize(
            self.log_risk,
            start,
            args=(lengths,),
            jac=True,
            method="L-BFGS-B",
            bounds=[(log_limit - LOG_LR_RANGE, log_limit)] * self.pieces,
            options={
                "maxiter": MOST_ITERATIONS,
                "maxcor": KEPT_GRADIENTS,
                "ftol": RISK_TOLERANCE,
                "gtol": GRADIENT_TOLERANCE,
            },
        )
        excess = float(answer.fun) - self.log_target
        if steps not in self.best or excess < self.best[steps][0]:
            self.best[steps] = (excess, answer.x)
        return self.best[steps][0]

    def lowest_excess(self, steps: int) -> float:
        """Find the lowest excess after `steps`, from the best schedule at the nearest number."""
        if steps not in self.best:
            nearest = min(self.best, key=lambda t: abs(math.log(t / steps)))
            self.minimise_from(steps, self.best[nearest][1])
        return self.best[steps][0]

    def schedule(self, steps: int, end: int | None = None) -> Piecewise:
        """Return the best schedule found for a number of steps, cut off at an earlier end."""
        ends = np.minimum(np.cumsum(self.lengths(steps)), end or steps)
        lengths = np.diff(ends, prepend=0)
        used = lengths > 0
        return Piecewise(np.exp(self.best[steps][1])[used].tolist(), lengths[used].tolist())


@takes_backend
def optimal_schedule(
    problem: Problem,
    batch_size: float,
    target: float,
    pieces: int,
    power: float = 0.0,
    *,
    max_steps: int = 10**9,
    backend: str = "auto",
) -> Tuned:
    """The piecewise-constant learning rate with which plain SGD needs the fewest steps.

    The steps are cut into `pieces` equal pieces (figure 4 of Zhang et al. 2019 has 50), and
    every learning rate is chosen freely up to the limit of stability,
    ``2 / max(h^(1 - power))``.

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
    backend : {"auto", "numba", "cython", "numpy"}
        As in `expected_risk`.

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
    as_additive_problem(problem, "optimal_schedule")
    batch_size = number("batch_size", batch_size, least=1.0)
    target = number("target", target, above=0.0)
    pieces = integer("pieces", pieces, least=1, most=MOST_PIECES)
    power = number("power", power)
    max_steps = integer("max_steps", max_steps, least=1)
    constant: Tuned = tune(problem, batch_size, target, power=power, max_steps=max_steps)
    if constant.steps in (0, math.inf):
        return constant
    enough = int(constant.steps)
    starts = [np.full(pieces, math.log(constant.algorithm.lr.least))]
    # No algorithm needs fewer samples than the best estimate.
    too_few = math.floor(bayes_samples(problem, target) / batch_size * (1.0 - BOUND_ERROR))
    best = constant
    block = searched_nodes(problem)
    for _ in range(REFINEMENTS):
        search = PiecewiseSearch(problem, block, batch_size, power, pieces, target)
        log_limit = math.log(search.largest_lr)
        if best is constant:
            fall = np.arange(pieces) * (math.log(10.0) / max(pieces - 1, 1))
            starts += [log_limit - decades * fall for decades in START_DECADES]
        if min(search.minimise_from(enough, np.minimum(x, log_limit)) for x in starts) > 0.0:
            return best
        guess = estimate_fewest_steps(search.lowest_excess, too_few, enough)
        steps = fewest_steps(search.lowest_excess, guess, enough)
        excess, log_lr = search.best[steps]
        starts = [log_lr]
        algorithm = SGD(search.schedule(steps), power=power)
        risk = expected_risk(problem, algorithm, batch_size, steps)
        first = steps_to_target(problem, algorithm, batch_size, target, max_steps=steps + 1)
        if first <= best.steps:
            # Pieces of other lengths, up to rounding, can reach the target earlier.
            reached = int(first)
            algorithm = SGD(search.schedule(steps, reached), power=power)
            best = Tuned(reached, algorithm, expected_risk(problem, algorithm, batch_size, reached))
        if risk == 0.0 or abs(math.log(risk / target) - excess) < AGREEMENT:
            break
        block = finer_nodes(problem, algorithm, Constant(batch_size), steps)
    return best
