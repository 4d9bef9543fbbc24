"""The published experiment: its problem, its settings, and jobs that solve it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import Problem, bounds, optimal_schedule, tune
from ._jobs import Job, Solved

DIM = 10_000
TARGET = 0.01
POWERS = (0.0, 0.25, 0.5, 0.75)
BATCH_SIZES = tuple(2**k for k in range(2, 22))
EVERY_OTHER = BATCH_SIZES[::2]  # for sweeps over more than the learning rate
PIECES = 10

SEARCHED = {"plain": ("lr",), "momentum": ("lr", "momentum"), "ema": ("lr", "ema")}
SCHEDULE = "schedule"

Table = dict[str, NDArray[Any]]
"""Columns of one length, by name."""


class Best(NamedTuple):
    """The fewest steps of a kind of optimiser, and the constant setting that takes them."""

    steps: int | float
    lr: float = float("nan")
    momentum: float = 0.0
    ema: float = 0.0


class Setting(NamedTuple):
    """What a kind of optimiser is tuned for."""

    optimiser: str
    power: float
    target: float
    batch_size: int


@cache
def problem() -> Problem:
    """Return the problem of Zhang et al. 2019, section 3: one object, keeping its quadratures."""
    return Problem.power_law(DIM)


def best(setting: Setting) -> Best:
    """Tune one kind of optimiser (a job)."""
    optimiser, power, target, batch_size = setting
    if optimiser == SCHEDULE:
        return Best(optimal_schedule(problem(), batch_size, target, PIECES, power).steps)
    found = tune(problem(), batch_size, target, SEARCHED[optimiser], power=power)
    chosen: Any = found.algorithm
    return Best(found.steps, chosen.lr.value, chosen.momentum, chosen.ema)


class Sweep(NamedTuple):
    """Kinds of optimisers, tuned for every batch size."""

    optimisers: tuple[str, ...]
    powers: tuple[float, ...] = POWERS
    targets: tuple[float, ...] = (TARGET,)
    batch_sizes: tuple[int, ...] = BATCH_SIZES

    def settings(self) -> list[Setting]:
        """List what is tuned."""
        return [Setting(*values) for values in product(*self)]

    def jobs(self) -> list[Job]:
        """Tune, and count the samples that the targets need."""
        answers = [Job(best, (setting,)) for setting in self.settings()]
        return [Job(samples, (target,)) for target in self.targets] + answers

    def table(self, solved: Solved) -> Table:
        """Tabulate settings, answers and lower bounds."""
        settings = self.settings()
        answers = [solved[Job(best, (setting,))] for setting in settings]
        needed = [solved[Job(samples, (setting.target,))] for setting in settings]
        table = columns(Setting._fields, settings) | columns(Best._fields, answers)
        for name, n in columns(("cramer_rao_steps", "bayes_steps"), needed).items():
            table[name] = np.maximum(n / table["batch_size"], 1.0)
        return table


def samples(target: float) -> tuple[float, float]:
    """Count the samples that no unbiased estimate, and no estimate, can do without (a job)."""
    cramer_rao = bounds.cramer_rao_samples(problem(), target)
    return cramer_rao, bounds.bayes_samples(problem(), target)


def columns(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Make a table from its rows."""
    values = zip(*rows, strict=True)
    return {name: np.array(column) for name, column in zip(names, values, strict=True)}


def select(table: Table, **wanted: Any) -> Table:
    """Keep the rows whose columns have the values given."""
    keep = np.logical_and.reduce([table[name] == value for name, value in wanted.items()])
    return {name: column[keep] for name, column in table.items()}


def levels(table: Table, name: str) -> list[Any]:
    """List the different values of a column, in the order of their first appearance."""
    return list(dict.fromkeys(table[name].tolist()))
