"""The published experiment: its problem, its settings, and jobs that solve it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import bounds
from ..exact.piecewise_schedule import optimal_schedule
from ..exact.tuning import tune
from ..problem import Problem
from ._jobs import Job, Solved

DIM = 10_000
TARGET = 0.01
POWERS = (0.0, 0.25, 0.5, 0.75)
BATCH_SIZES = tuple(2**k for k in range(2, 22))
EVERY_OTHER_BATCH_SIZE = BATCH_SIZES[::2]
"""For sweeps over more than the learning rate, which take longer."""
PIECES = 10
"""Pieces of an optimal schedule that is compared with a constant learning rate."""

HYPER_PARAMETERS = {"plain": ("lr",), "momentum": ("lr", "momentum"), "ema": ("lr", "ema")}
"""Hyper-parameters that are tuned, by kind of optimiser."""
SCHEDULE = "schedule"
"""The kind of optimiser that is plain SGD with an optimal schedule."""

Table = dict[str, NDArray[Any]]
"""Columns of one length, by name."""


class Best(NamedTuple):
    """The fewest steps of a kind of optimiser, and the constant setting that takes them."""

    steps: int | float
    lr: float = float("nan")
    momentum: float = 0.0
    ema: float = 0.0


class Setting(NamedTuple):
    """A kind of optimiser, and the problem that it is tuned for."""

    optimiser: str
    power: float
    target: float
    batch_size: int


@cache
def problem() -> Problem:
    """Return the problem of Zhang et al. 2019, section 3, one object for all its quadratures."""
    return Problem.power_law(DIM)


def tuned(setting: Setting) -> Best:
    """Tune one kind of optimiser (a job)."""
    optimiser, power, target, batch_size = setting
    if optimiser == SCHEDULE:
        return Best(optimal_schedule(problem(), batch_size, target, PIECES, power).steps)
    found = tune(problem(), batch_size, target, HYPER_PARAMETERS[optimiser], power=power)
    chosen: Any = found.algorithm
    return Best(found.steps, chosen.lr.value, chosen.momentum, chosen.ema)


class Sweep(NamedTuple):
    """Kinds of optimisers, tuned for every batch size."""

    optimisers: tuple[str, ...]
    powers: tuple[float, ...] = POWERS
    targets: tuple[float, ...] = (TARGET,)
    batch_sizes: tuple[int, ...] = BATCH_SIZES

    def settings(self) -> list[Setting]:
        """List all settings of the sweep."""
        return [Setting(*values) for values in product(*self)]

    def jobs(self) -> list[Job]:
        """List the jobs: tuning of every setting, and the samples that each target needs."""
        tuning = [Job(tuned, (setting,)) for setting in self.settings()]
        return [Job(needed_samples, (target,)) for target in self.targets] + tuning

    def table(self, solved: Solved) -> Table:
        """Tabulate settings, their best hyper-parameters and steps, and lower bounds on steps."""
        settings = self.settings()
        best = [solved[Job(tuned, (setting,))] for setting in settings]
        samples = [solved[Job(needed_samples, (setting.target,))] for setting in settings]
        table = table_of_rows(Setting._fields, settings) | table_of_rows(Best._fields, best)
        for name, n in table_of_rows(("cramer_rao_steps", "bayes_steps"), samples).items():
            table[name] = np.maximum(n / table["batch_size"], 1.0)
        return table


def needed_samples(target: float) -> tuple[float, float]:
    """Compute the samples that any unbiased estimate, and any estimate, needs (a job)."""
    cramer_rao = bounds.cramer_rao_samples(problem(), target)
    return cramer_rao, bounds.bayes_samples(problem(), target)


def table_of_rows(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Make a table from its rows."""
    values = zip(*rows, strict=True)
    return {name: np.array(column) for name, column in zip(names, values, strict=True)}


def rows_where(table: Table, **wanted: Any) -> Table:
    """Keep the rows whose columns have the values given."""
    keep = np.logical_and.reduce([table[name] == value for name, value in wanted.items()])
    return {name: column[keep] for name, column in table.items()}


def distinct_values(table: Table, name: str) -> list[Any]:
    """List the different values of a column, in the order of their first appearance."""
    return list(dict.fromkeys(table[name].tolist()))
