"""The best learning rates and batch sizes of a budget, or of a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...algorithms.base import Algorithm, LinearAlgorithm
from ...algorithms.sgd import SGD
from ...bounds import SMALLEST_RISK
from ...foundation.arithmetic import methods_in_usual_arithmetic
from ...foundation.validation import InputError
from ...machine.backends import takes_backend
from ...output.html import facts_table
from ...problem import Problem
from ...schedules import Piecewise, Schedule
from ..risk import expected_risk
from ..search.nodes import REFINEMENTS, better_nodes, fewest_nodes
from .additive_search import ControlSearch, WholePlan
from .coupled_search import control_search
from .piece_models import is_plain
from .task import OVER, ControlTask, check_noise, checked_limits, checked_task

AGREEMENT = 1e-9
"""Difference of the log of the risk up to which the searched nodes stand for all coordinates."""
ROUGH_AGREEMENT = 1e-3
"""The same where a search takes long: schedules are off by the square of that."""
SURELY = 10.0
"""Errors of the nodes by which a lowest risk is above a target that is out of reach for certain."""
ROOT_TOLERANCE = 1e-10
"""Relative error of the fewest samples or steps, where whole numbers lie closer."""
GROWTH = 4
"""Factor by which a budget grows until it reaches the target."""
RAISE = 1e-9
"""Least relative rise of a budget that does not reach the target with whole batches."""
MOST_HALVINGS = 20
"""Halvings of the interval between a budget that does and one that does not."""


class OutOfReachError(InputError):
    """A target is below all that the other arguments allow."""


class _NotReachedError(Exception):
    """A target is below all that the other arguments allow, on the nodes of a search."""


@methods_in_usual_arithmetic
class Control(NamedTuple):
    """The best schedules found, and what they spend and reach.

    Attributes
    ----------
    algorithm : Algorithm
        Its ``lr`` is a `schedules.Piecewise`.
    batch_size : Schedule
        A `schedules.Piecewise` of whole batches.
    steps : int
    samples : int
        What the batches of all steps add up to.
    risk : float
        Expected excess risk after the last step.
    """

    algorithm: LinearAlgorithm
    batch_size: Schedule
    steps: int
    samples: int
    risk: float

    @property
    def lr(self) -> Schedule:
        """The schedule of the learning rate."""
        schedule: Schedule = self.algorithm.lr
        return schedule

    def _repr_html_(self) -> str:
        facts = {name: repr(getattr(self, name)) for name in ("lr", "batch_size")}
        numbers = {name: getattr(self, name) for name in ("steps", "samples", "risk")}
        return facts_table("Control", facts | numbers)


@takes_backend
def optimal_control(
    problem: Problem,
    *,
    steps: int | None = None,
    samples: int | None = None,
    target: float | None = None,
    over: Sequence[str] = OVER,
    pieces: int | ArrayLike = 64,
    algorithm: type[Algorithm] | Algorithm = SGD,
    monotone: bool = False,
    min_batch: int = 1,
    max_batch: int | None = None,
    max_lr: float | None = None,
    warmup: int | None = None,
    backend: str = "auto",
) -> Control:
    """The learning rates and batch sizes with the lowest risk for a budget, or for a target.

    Both are constant in each of `pieces` pieces. For given learning rates the best batch sizes
    have a closed form, and the learning rates are searched by the gradient of what is left. Where
    noise depends on the iterate, both are searched together. The batches are whole, and together
    are all samples, to the last one.

    Parameters
    ----------
    problem : Problem
        With noise that is the same everywhere, or `noise.Gaussian` or `noise.LossDependent`.
    steps, samples : int, optional
        The budget. With both, the lowest risk is searched. With samples alone there are as many
        steps as batches of `min_batch`; with steps alone, all batches are of `max_batch`.
    target : float, optional
        Excess risk, > 0: the fewest samples that reach it in `steps`, or the fewest steps that
        reach it with `samples`, or the fewest samples in batches of `min_batch` without either.
    over : sequence of {"lr", "batch_size"}
        What changes from piece to piece. The other one is constant, the learning rate at its best
        value, the batch size at samples / steps (and one more in the last steps, if that is not
        whole).
    pieces : int, or array_like of int
        How many pieces; they are equally long, or shorter towards the end or the start, whichever
        is better. Or the length of each, which add up to ``steps - warmup``.
    algorithm : class or Algorithm
        A linear one, or an example of it, such as ``nqm.SGD(1.0, momentum=0.9)``: its learning rate
        does not matter, and what else it has stays as it is. Its steps must be alike, and its state
        have at most four numbers. Plain SGD has a closed form; others take some seconds.
    monotone : bool
        Whether learning rates may not rise after the warm-up, and batch sizes not fall.
    min_batch, max_batch : int, optional
        Limits of the batch size, >= 1.
    max_lr : float, optional
        Limit of the learning rate, if lower than the largest stable constant one.
    warmup : int, optional
        Steps in which the learning rate rises in at most 16 equal stairs to that of the first
        piece.
    backend : {"auto", "numba", "cython", "numpy"}
        As in `expected_risk`.

    Returns
    -------
    Control
        ``lr`` and ``batch_size`` as schedules, ``algorithm``, ``steps``, ``samples``, ``risk`` (on
        all coordinates, with whole batches).

    Raises
    ------
    InputError
        If an argument is outside its limits, if they contradict each other, or if no budget that
        they allow reaches the target: it says what the lowest risk is.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(10_000)
    >>> best = nqm.optimal_control(problem, steps=2048, samples=2**17)
    >>> best.risk < 0.6 * nqm.optimal_control(problem, steps=2048, samples=2**17, over=()).risk
    True
    >>> best.samples
    131072
    """
    check_noise(problem, "optimal_control")
    limits = checked_limits(over, monotone, min_batch, max_batch, max_lr, warmup)
    task = checked_task(problem, steps, samples, target, pieces, algorithm, limits)
    start = float(expected_risk(problem, SGD(0.0), 1, 0))
    if start == math.inf:
        raise InputError("problem must have a finite risk at the start for optimal_control")
    if task.target is not None and task.target >= start:
        raise InputError(
            f"target must be below the risk of the start, which is {start:g}, not {task.target:g}"
        )
    return _refined(task)


def _refined(task: ControlTask) -> Control:
    """Search on few nodes, and on better ones until these agree with all coordinates."""
    has_state = not is_plain(task.algorithm)
    block = fewest_nodes(task.problem, has_state=has_state)
    is_fast = task.problem.noise_model is None and not has_state
    known: WholePlan | None = None
    for _ in range(REFINEMENTS):
        search = control_search(task.problem, block, task.algorithm, task.pieces, task.limits)
        if known is not None:
            search.begin_with(known)
        try:
            known, answer = _solved(task, search)
            agreement = AGREEMENT if is_fast else ROUGH_AGREEMENT
        except _NotReachedError:
            # Few nodes may be wrong about that; better ones are found for the largest budget.
            known = search.whole(*task.budget(task.most))
            answer, agreement = _confirmed(task, known), AGREEMENT
        log_risk = math.log(max(answer.risk, SMALLEST_RISK))
        error = abs(log_risk - known.log_risk)
        if error < agreement or not math.isfinite(log_risk):
            break
        if task.target is not None and log_risk - math.log(task.target) > SURELY * error:
            break
        block = better_nodes(task.problem, answer.algorithm, answer.batch_size, answer.steps)
    if task.target is not None and answer.risk > task.target:
        raise OutOfReachError(
            f"target must be at least {answer.risk:.6g}, the lowest risk that was found for the "
            f"other arguments, not {task.target:g}"
        )
    return answer


def _solved(task: ControlTask, search: ControlSearch) -> tuple[WholePlan, Control]:
    """Solve a task on the nodes of a search; the answer has the risk on all coordinates."""
    if task.target is None:
        plan = search.whole(*task.budget(task.most))
        return plan, _confirmed(task, plan)
    return _fewest_whole(task, search, task.target)


def _fewest_whole(
    task: ControlTask, search: ControlSearch, target: float
) -> tuple[WholePlan, Control]:
    """Find the fewest steps or samples at which whole batches reach a target."""
    low, high = _range(task, search, target)
    fewest = _root(lambda n: search.lowest(*task.budget(n)).log_risk - math.log(target), low, high)

    def solved(amount: int) -> tuple[WholePlan, Control]:
        plan = search.whole(*task.budget(amount))
        return plan, _confirmed(task, plan)

    too_few, enough = fewest - 1, fewest
    best = solved(enough)
    step = max(1, round(enough * RAISE))
    # Where whole batches are not all alike, the larger ones at the end can make fewer do.
    while best[1].risk <= target and too_few >= task.least:
        fewer = solved(too_few)
        if fewer[1].risk > target:
            break
        enough, best, step = too_few, fewer, 2 * step
        too_few = enough - step
    too_few = max(too_few, task.least - 1)
    while best[1].risk > target:
        # What whole batches cost is made up for by more of what is searched.
        too_few, enough = enough, enough + 2 * max(enough - too_few, step)
        if enough > task.most:
            raise _NotReachedError
        best = solved(enough)
    for _ in range(MOST_HALVINGS):
        if enough - too_few <= 1:
            break
        middle = (too_few + enough) // 2
        between = solved(middle)
        if between[1].risk <= target:
            enough, best = middle, between
        else:
            too_few = middle
    return best


def _range(task: ControlTask, search: ControlSearch, target: float) -> tuple[int, int]:
    """Find a number of steps or samples at which a target is reached, and one below the fewest."""
    most = task.most
    low = high = task.least
    if task.samples is not None:
        high = most
    elif task.steps is not None:
        # All samples that the limits allow, which may be any number.
        is_limited = task.limits.batches.most < math.inf
        lowest = search.lowest(task.steps, most if is_limited else math.inf).log_risk
        if lowest > math.log(target):
            raise _NotReachedError
    while True:
        lowest = search.lowest(*task.budget(high)).log_risk
        if lowest <= math.log(target):
            return low, high
        if high >= most:
            raise _NotReachedError
        low, high = high, min(GROWTH * high, most)


def _root(excess: Callable[[int], float], low: int, high: int) -> int:
    """Find the lowest whole number from `low` to `high` at which a falling function is <= 0."""
    import scipy.optimize

    if excess(low) <= 0.0 or low == high:
        return low
    root = scipy.optimize.brentq(
        lambda x: excess(min(max(round(math.exp(x)), low), high)) or -1e-300,
        math.log(low),
        math.log(high),
        xtol=max(0.3 / high, ROOT_TOLERANCE),
    )
    guess = min(max(round(math.exp(root)), low + 1), high)
    while guess < high and excess(guess) > 0.0:
        guess = min(guess + max(1, round(guess * ROOT_TOLERANCE)), high)
    return guess


def _confirmed(task: ControlTask, plan: WholePlan) -> Control:
    """Return schedules, and the risk of all coordinates."""
    lr = Piecewise(np.exp(plan.log_rates).tolist(), plan.lengths.tolist())
    algorithm = task.algorithm.with_hyper_parameters(lr=lr)
    batch = Piecewise(plan.batches.sizes, plan.batches.lengths)
    steps = sum(plan.batches.lengths)
    spent = sum(n * b for n, b in zip(*plan.batches, strict=True))
    risk = expected_risk(task.problem, algorithm, batch, steps)
    return Control(algorithm, batch, steps, spent, risk)
