"""Named schedules, each tuned, against the best one: the risk that each leaves on the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...algorithms.sgd import SGD
from ...foundation.arithmetic import methods_in_usual_arithmetic
from ...foundation.validation import (
    MOST_STEPS,
    Array,
    InputError,
    choice,
    in_range,
    integer,
    number,
    real_array,
    shown,
)
from ...machine.backends import takes_backend
from ...output.columns import Table
from ...output.html import rows_table
from ...problem import Problem
from ...schedules import Piecewise, Schedule
from ..risk import expected_risk
from ..search.nodes import fewest_nodes
from .additive_search import RISK_TOLERANCE, ControlLimits, ControlSearch
from .batch_budget import BatchLimits, whole_batches
from .coupled_search import control_search
from .named_schedules import SHAPES, Shape
from .optimal_control import Control, optimal_control
from .piece_layout import gathered_lengths
from .quasi_newton import lowest_point
from .task import check_noise

OPTIMAL, OPTIMAL_LR = "optimal", "optimal-lr"
NAMES = (*SHAPES, OPTIMAL, OPTIMAL_LR)
USUAL = (*SHAPES, OPTIMAL)
HORIZONS = 0.25, 0.5, 1.0, 2.0
TUNED_PIECES = 256
"""Pieces of constant learning rate that stand for a schedule while it is tuned."""
SCANNED_PEAKS = 16
"""Peaks of which the best is a start, a factor of e apart."""
LOG_PEAKS = 25.0
"""How far the log of a peak may be below the limit of stability."""
LEAST_RATE = 1e-30
"""Stands for a rate of 0, relative to the peak, where a logarithm is taken."""
DIFFERENCE = 1e-6
"""Change of numbers of a shape, for derivatives of its values."""


class Compared(NamedTuple):
    """A schedule at its best, and what it leaves on the table.

    Attributes
    ----------
    name : str
    lr, batch_size : Schedule
    risk : float
        Expected excess risk after all steps.
    excess : float
        By which part the risk is above that of the best schedules.
    anytime : ndarray, shape (horizons,)
        The same at other horizons, against what is the best there.
    """

    name: str
    lr: Schedule
    batch_size: Schedule
    risk: float
    excess: float
    anytime: Array


@methods_in_usual_arithmetic
class Comparison(NamedTuple):
    """Schedules of one budget.

    Attributes
    ----------
    schedules : tuple of Compared
        In the order of their names as given.
    optimum : Control
        The best learning rates and batch sizes.
    horizons : ndarray of int
        Numbers of steps at which ``anytime`` is.
    """

    schedules: tuple[Compared, ...]
    optimum: Control
    horizons: NDArray[np.int64]

    def __getitem__(self, key: Any) -> Any:
        """The schedule of a name, or a field by its number."""
        if not isinstance(key, str):
            return tuple(self)[key]
        choice("schedule", key, [row.name for row in self.schedules])
        return next(row for row in self.schedules if row.name == key)

    def to_table(self) -> Table:
        """Columns ``schedule``, ``risk``, ``excess``, and ``excess at N steps`` of each horizon.

        Returns
        -------
        dict of ndarrays
            A table for pandas, with a row for each schedule.
        """
        table: Table = {
            "schedule": np.array([row.name for row in self.schedules]),
            "risk": np.array([row.risk for row in self.schedules]),
            "excess": np.array([row.excess for row in self.schedules]),
        }
        for k, steps in enumerate(self.horizons.tolist()):
            table[f"excess at {steps} steps"] = np.array([x.anytime[k] for x in self.schedules])
        return table

    def _repr_html_(self) -> str:
        columns = self.to_table()
        rows = [
            dict(zip(columns, row, strict=True))
            for row in zip(*(x.tolist() for x in columns.values()), strict=True)
        ]
        facts = {"steps": self.optimum.steps, "samples": self.optimum.samples}
        return rows_table("Comparison", facts, rows)


class _Budget(NamedTuple):
    """The steps and samples that all schedules may spend."""

    problem: Problem
    steps: int
    samples: int
    power: float

    @property
    def batch(self) -> Piecewise:
        """Batch sizes that are all alike, or differ by one."""
        limits = BatchLimits(1, math.inf, False, True)
        whole = whole_batches(np.ones(1), np.array([self.steps]), self.samples, limits)
        return Piecewise(whole.sizes, whole.lengths)

    def at(self, steps: int) -> _Budget:
        """The budget of another number of steps, in batches as large."""
        return self._replace(steps=steps, samples=max(self.samples * steps // self.steps, steps))

    def optimum(self, over: Sequence[str] = ("lr", "batch_size")) -> Control:
        """The best schedules."""
        example = SGD(0.0, power=self.power)
        return optimal_control(
            self.problem, steps=self.steps, samples=self.samples, over=over, algorithm=example
        )


@takes_backend
def compare_schedules(
    problem: Problem,
    samples: int,
    steps: int,
    names: Sequence[str] = USUAL,
    *,
    horizons: ArrayLike = HORIZONS,
    power: float = 0.0,
    backend: str = "auto",
) -> Comparison:
    """Risk that schedules of the learning rate leave on the table, each with its own numbers tuned.

    Plain SGD in batches of samples / steps. Tuned are the peak and: for "cosine" and "linear"
    where they end, for "wsd" the part of the time that is its linear decay to 0, for "power" the
    time after which it falls and how steeply. "optimal-lr" is the best learning rate in the same
    batches, "optimal" with the best batch sizes as well: all are compared with it.

    Parameters
    ----------
    problem : Problem
        With noise as in `optimal_control`.
    samples, steps : int
        The budget; at least one sample a step.
    names : sequence of str
        Of "constant", "cosine", "linear", "wsd", "power", "optimal" and "optimal-lr".
    horizons : array_like of float
        Other lengths of the run, > 0, relative to `steps`, for ``anytime``: what a schedule that
        was tuned for `steps` is worth when one stops early or goes on (with its last value). From
        the plateau of "wsd" one can decay at any time: its peak and part of decay stay the same.
        "optimal" and "optimal-lr" are made anew, and the samples are in proportion to the steps.
    power : float
        Exponent of the preconditioner.
    backend : {"auto", "numba", "cython", "numpy"}
        As in `expected_risk`.

    Returns
    -------
    Comparison
        ``schedules``, by name too: ``comparison["cosine"].risk``.

    Raises
    ------
    InputError
        If an argument is outside its limits.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(1000)
    >>> both = nqm.compare_schedules(problem, 2**15, 1024, ["constant", "cosine", "optimal"])
    >>> both["constant"].excess > both["cosine"].excess > both["optimal"].excess == 0.0
    True
    """
    check_noise(problem, "compare_schedules")
    if not isinstance(names, list | tuple) or not names:
        raise InputError(f"names must be a list of {', '.join(NAMES)}, not {shown(names)}")
    for name in names:
        choice("names", name, NAMES)
    if len(set(names)) < len(names):
        raise InputError(f"names must differ from each other, not {shown(names)}")
    steps = integer("steps", steps, least=1)
    samples = integer("samples", samples, least=1)
    if samples < steps:
        raise InputError(f"samples must be at least steps = {steps}, not {samples}")
    parts = np.atleast_1d(real_array("horizons", horizons)).ravel()
    in_range("horizons", parts, above=0.0)
    budget = _Budget(problem, steps, samples, number("power", power))
    if parts.max(initial=0.0) * max(samples, steps) > MOST_STEPS:
        raise InputError(f"horizons must be lower, as {parts.max():g} is more than 2^62 samples")
    ends = np.maximum(np.rint(parts * steps), 1.0).astype(np.int64)
    others = {int(t): budget.at(int(t)) for t in ends}
    optimum = budget.optimum()
    best = {t: (optimum if t == steps else x.optimum()).risk for t, x in others.items()}
    search = _tuning_search(budget)
    rows = [_compared(name, budget, search, others, best, optimum) for name in names]
    return Comparison(tuple(rows), optimum, ends)


def _tuning_search(budget: _Budget) -> ControlSearch:
    """Return what computes the risk of many pieces, with its gradient."""
    free = BatchLimits(1, math.inf, False, True)
    limits = ControlLimits(True, True, math.inf, 0, free)
    lengths = gathered_lengths(budget.steps, TUNED_PIECES)
    example, block = SGD(1.0, power=budget.power), fewest_nodes(budget.problem, has_state=False)
    return control_search(budget.problem, block, example, lengths, limits)


def _compared(
    name: str,
    budget: _Budget,
    search: ControlSearch,
    others: dict[int, _Budget],
    best: dict[int, float],
    optimum: Control,
) -> Compared:
    """Tune one schedule, and look at it at all horizons."""
    if name in (OPTIMAL, OPTIMAL_LR):
        over = ("lr", "batch_size") if name == OPTIMAL else ("lr",)
        chosen = optimum if name == OPTIMAL else budget.optimum(over)
        lr, batch, risk = chosen.lr, chosen.batch_size, chosen.risk
        anew = (
            [x.optimum(over).risk for x in others.values()] if name != OPTIMAL else [*best.values()]
        )
    else:
        shape = SHAPES[name]
        peak, numbers = _tuned(shape, budget, search)
        lr, batch = shape.schedule(peak, numbers, budget.steps), budget.batch
        risk = _risks(budget, lr, [budget.steps])[0]
        if shape.is_made_anew:
            anew = [
                _risks(x, shape.schedule(peak, numbers, x.steps), [x.steps])[0]
                for x in others.values()
            ]
        else:
            anew = _risks(budget, lr, list(others))
    at = dict(zip(others, anew, strict=True))
    anytime = np.array([_part_above(at[t], best[t]) for t in others])
    return Compared(name, lr, batch, risk, _part_above(risk, optimum.risk), anytime)


def _part_above(risk: float, best: float) -> float:
    """Return by which part a risk is above the best."""
    return risk / best - 1.0 if best else (0.0 if risk == best else math.inf)


def _risks(budget: _Budget, lr: Schedule, steps: list[int]) -> list[float]:
    """Compute the risk at some steps, in equal batches."""
    risks = expected_risk(budget.problem, SGD(lr, power=budget.power), budget.batch, steps)
    found: list[float] = risks.tolist()
    return found


def _tuned(shape: Shape, budget: _Budget, search: ControlSearch) -> tuple[float, Array]:
    """Find the peak and the numbers of a shape with the lowest risk of its pieces."""
    lengths = np.asarray(search.pieces)
    gone = (np.cumsum(lengths) - 0.5 * (lengths + 1)) / budget.steps
    size = np.full(len(lengths), budget.samples / budget.steps)

    def log_shape(numbers: Array) -> Array:
        return np.asarray(np.log(np.maximum(shape.values(numbers, gone), LEAST_RATE)))

    def objective(point: Array) -> tuple[float, Array]:
        numbers = point[1:]
        value, slope = search.log_risk(point[0] + log_shape(numbers), lengths, lambda *_: size)
        changes = DIFFERENCE * np.eye(len(numbers))
        by_number = [
            slope @ (log_shape(numbers + d) - log_shape(numbers - d)) / (2.0 * DIFFERENCE)
            for d in changes
        ]
        return value, np.array([slope.sum(), *by_number])

    limit = search.log_limit
    bounds = [(limit - LOG_PEAKS, limit), *shape.bounds]
    answers = []
    for start in shape.starts:
        peaks = [np.array([limit - k, *start]) for k in range(SCANNED_PEAKS)]
        first = min(peaks, key=lambda point: objective(point)[0])
        answers.append(lowest_point(objective, first, bounds, RISK_TOLERANCE))
    point = min(answers, key=lambda answer: answer[0])[1]
    return math.exp(point[0]), point[1:]
