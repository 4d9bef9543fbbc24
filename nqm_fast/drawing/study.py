"""The subject of figures: a problem, a target and batch sizes, those published or one's own.

Jobs that solve them are here as well.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .. import bounds
from ..exact.control.piecewise_schedule import optimal_schedule
from ..exact.tuning import tune
from ..machine.jobs import Job, Solved
from ..output.columns import Table, table_of_rows
from ..problem import Problem

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


class Study(NamedTuple):
    """A problem, a target and batch sizes, by default those of Zhang et al. 2019, section 3.

    Attributes
    ----------
    pickled : bytes or None
        A problem of one's own. As bytes it is hashable, and quick to send to worker processes.
    target : float
        Excess risk.
    batch_sizes : tuple of float, or None
        Those of the figure, if none are given.
    results : str or None
        The folder of a study of networks; None for the one that is shipped.
    coordinates : tuple of int, or None
        Two coordinates, of the figure plane.
    """

    pickled: bytes | None = None
    target: float = TARGET
    batch_sizes: tuple[float, ...] | None = None
    results: str | None = None
    coordinates: tuple[int, int] | None = None

    @property
    def problem(self) -> Problem:
        """The problem, one object for all of its nodes."""
        return _problem(self.pickled)

    def sizes(self, usual: Sequence[float]) -> tuple[float, ...]:
        """The batch sizes, those of the figure if there are no others."""
        return tuple(usual) if self.batch_sizes is None else self.batch_sizes

    @property
    def largest_lr(self) -> float:
        """The largest stable learning rate of plain SGD."""
        return 2.0 / self.problem.curvature_range[1]

    def title(self, finding: str, subject: str) -> str:
        """Title a figure by what it shows of the paper's problem; by its subject for another."""
        return finding if self == Study() else subject

    @property
    def caption(self) -> str:
        """Describe the problem in a sentence."""
        text = problem_text(self.problem)
        return f"{text[0].upper()}{text[1:]}."


@cache
def _problem(pickled: bytes | None) -> Problem:
    """Make a problem of its bytes, or that of the paper."""
    return Problem.power_law(DIM) if pickled is None else unpickled(pickled)


def unpickled(pickled: bytes) -> Problem:
    """Make a problem of its bytes."""
    problem: Problem = pickle.loads(pickled)
    return problem


def problem_text(problem: Problem) -> str:
    """Describe a problem in words, within a sentence."""
    if problem.noise_model is not None:
        return f"{problem_text(problem.with_noise(None))}, with noise {problem.noise_model!r}"
    count = f"{problem.dim} coordinate{'s' * (problem.dim != 1)}"
    fields = problem.fields
    if fields.keys() <= {"dim", "exponent", "damping"}:
        exponent = fields["exponent"]
        law = "1/i" if exponent == 1 else f"i^{{-{exponent:g}}}" if exponent else "1"
        law += f"+{fields['damping']:g}" if "damping" in fields else ""
        return f"the power law of {count}, $h_i=c_i={law}$"
    if problem.is_power_law and "first" not in fields:
        laws = [f"{name.replace('_', ' ')} {x:g}" for name, x in fields.items() if name != "dim"]
        return f"the power law of {count}, {', '.join(laws)}"
    low, high = problem.curvature_range
    return f"a problem of {count} with curvatures from {low:.3g} to {high:.3g}"


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
    batch_size: float


def tuned(study: Study, setting: Setting) -> Best:
    """Tune one kind of optimiser (a job)."""
    optimiser, power, target, batch_size = setting
    problem = study.problem
    if optimiser == SCHEDULE:
        return Best(optimal_schedule(problem, batch_size, target, PIECES, power).steps)
    found = tune(problem, batch_size, target, HYPER_PARAMETERS[optimiser], power=power)
    chosen: Any = found.algorithm
    return Best(found.steps, chosen.lr.value, chosen.momentum, chosen.ema)


class Sweep(NamedTuple):
    """Kinds of optimisers, tuned for every batch size, and for multiples of the target."""

    optimisers: tuple[str, ...]
    powers: tuple[float, ...] = POWERS
    targets: tuple[float, ...] = (1.0,)
    batch_sizes: tuple[int, ...] = BATCH_SIZES

    def settings(self, study: Study) -> list[Setting]:
        """List all settings of the sweep."""
        targets = [float(f"{study.target * factor:.12g}") for factor in self.targets]
        sizes = study.sizes(self.batch_sizes)
        return [Setting(*x) for x in product(self.optimisers, self.powers, targets, sizes)]

    def jobs(self, study: Study) -> list[Job]:
        """List the jobs: tuning of every setting, and the samples that each target needs."""
        settings = self.settings(study)
        tuning = [Job(tuned, (_of_problem(study), setting)) for setting in settings]
        targets = dict.fromkeys(setting.target for setting in settings)
        return [Job(needed_samples, (_of_problem(study), target)) for target in targets] + tuning

    def table(self, study: Study, solved: Solved) -> Table:
        """Tabulate settings, their best hyper-parameters and steps, and lower bounds on steps."""
        settings, alone = self.settings(study), _of_problem(study)
        best = [solved[Job(tuned, (alone, setting))] for setting in settings]
        samples = [solved[Job(needed_samples, (alone, setting.target))] for setting in settings]
        table = table_of_rows(Setting._fields, settings) | table_of_rows(Best._fields, best)
        for name, n in table_of_rows(("cramer_rao_steps", "bayes_steps"), samples).items():
            table[name] = np.maximum(n / table["batch_size"], 1.0)
        return table


def _of_problem(study: Study) -> Study:
    """The study with its problem alone, so that equal jobs of several figures are equal."""
    return Study(study.pickled)


def needed_samples(study: Study, target: float) -> tuple[float, float]:
    """Compute the samples that any unbiased estimate, and any estimate, needs (a job)."""
    cramer_rao = bounds.cramer_rao_samples(study.problem, target)
    return cramer_rao, bounds.bayes_samples(study.problem, target)
