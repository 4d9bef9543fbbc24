"""The best settings at many batch sizes, each found once, and near those at its neighbours.

How the fewest steps and the best settings change with the batch size is smooth, so that between two
batch sizes the answer is expected from those at both. The search there is short. It looks for no
other troughs; where there may be some, as for momentum in few coordinates or few steps, each batch
size is searched as a whole, as `tune` does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...algorithms.base import Algorithm
from ...algorithms.sgd import SGD
from ...algorithms.sparse import sizes_of
from ...foundation.validation import InputError, integer, number, shown
from ...noise import FinitePopulation
from ...problem import Problem, as_additive_problem, as_problem
from ...schedules import Constant
from ..control.piecewise_schedule import optimal_schedule
from ..first_passage import steps_to_target
from ..risk import expected_risk
from ..search.box import example_values, made
from ..search.minimiser import FEW_COORDINATES
from ..search.nodes import searched_nodes
from ..tuning import Near, Tuned, tuned, tuned_near
from ..tuning_task import Task, checked_task

NEAR = 4096.0
"""Largest quotient of two batch sizes between whose answers another one is near."""
MOST_NOISE = 2.0**800
"""In targets, as batch sizes are numbers."""
APART = 3
"""One of so many batch sizes is searched before those between; of these, one of as many first."""
MANY_STEPS = 1000
"""Steps from which on troughs of settings with phases hardly differ."""
ENOUGH = 2.0**100
"""A batch size at which noise is no more than the last digit of a risk, if it is not at 1."""


class TunedSizes:
    """The best settings for a target by batch size.

    Parameters are those of `tune`, and the pieces of learning rate of `optimal_schedule`, if any.
    What it has found it keeps.
    """

    def __init__(
        self,
        problem: Problem,
        target: float,
        over: Sequence[str],
        algorithm: type[Algorithm] | Algorithm,
        max_steps: int,
        effort: str,
        fixed: dict[str, Any],
        pieces: int | None = None,
    ) -> None:
        target = number("target", target, above=0.0)
        most = integer("max_steps", max_steps, least=1)
        noise = as_problem(problem).noise_model
        if isinstance(noise, FinitePopulation):
            raise InputError(
                "problem must have batches with replacement where batch sizes are compared, not "
                f"{noise!r}, whose batches end at its samples"
            )
        one = Constant(1.0)
        self._task = checked_task(problem, one, target, over, algorithm, most, effort, fixed)
        self.problem, self.target, self.over = problem, target, self._task.names
        self.found: dict[float, Tuned] = {}
        example = made(self._task.kind, example_values(self.over) | fixed)
        if example.batches_per_step != 1:
            raise InputError(
                f"algorithm must take one batch a step where batch sizes are compared, not "
                f"{shown(example)}: a batch so many times as large is the same"
            )
        initial = expected_risk(problem, example, 1.0, 0)
        if target >= initial:
            raise InputError(f"target must be below the initial risk, {initial:g}, not {target:g}")
        self._has_phases = sizes_of(example).components > 1
        schedules = example.schedules.values()
        self._is_constant = not example.depends_on_step and all(
            isinstance(schedule, Constant) for schedule in schedules
        )
        self.pieces = None if pieces is None else integer("pieces", pieces, least=1)
        is_plain = algorithm is SGD and fixed.keys() <= {"power"} and self.over == ["lr"]
        if pieces is not None and not is_plain:
            raise InputError(
                f"pieces = {shown(pieces)} is for plain SGD, over lr alone and without other "
                "hyper-parameters than power"
            )
        if pieces is not None:
            as_additive_problem(problem, "pieces")
        self._power = float(fixed.get("power", 0.0))
        self.enough = ENOUGH * max(1.0, self._noise_of_one())
        """A batch size at which there is no noise left."""

    def _noise_of_one(self) -> float:
        """Estimate the risk, in targets, that noise adds in a long step with batches of one."""
        if self.problem.noise_model is not None:
            return 1.0
        nodes = searched_nodes(self.problem)
        with np.errstate(over="ignore"):
            trace = float(np.sum(nodes.multiplicity * nodes.c * np.ones_like(nodes.h)))
        return min(2.0 * trace / self.problem.curvature_range[1] / self.target, MOST_NOISE)

    def at(self, batch_size: float) -> Tuned:
        """Find the best setting at a batch size."""
        if batch_size not in self.found:
            self.found[batch_size] = self._search(batch_size)
        return self.found[batch_size]

    def _search(self, batch_size: float) -> Tuned:
        """Search at a batch size, near the answers at neighbours if they lead there."""
        if self.pieces is not None:
            arguments = self.problem, batch_size, self.target, self.pieces, self._power
            return optimal_schedule(*arguments, max_steps=self._task.limit)
        near = self._near(batch_size)
        task = self._task._replace(batch=Constant(batch_size))
        return tuned(task) if near is None else self._checked(task, tuned_near(task, near))

    def all_at(self, batch_sizes: Sequence[float]) -> list[Tuned]:
        """Find the best setting at each of some batch sizes, which ascend."""
        apart = batch_sizes[:: APART**2], batch_sizes[-1:], batch_sizes[::APART], batch_sizes
        for size in itertools.chain(*apart):
            self.at(size)
        return [self.found[size] for size in batch_sizes]

    def least_steps(self) -> float:
        """Find the fewest steps without noise, which no batch size needs fewer than."""
        return min(self.steps(self.enough), *(float(x.steps) for x in self.found.values()))

    def steps(self, batch_size: float) -> float:
        """Find the fewest steps at a batch size; inf if the target is not reached."""
        return float(self.at(batch_size).steps)

    def samples(self, batch_size: float) -> float:
        """Find the samples that these steps take."""
        return batch_size * self.steps(batch_size)

    def must_reach(self, name: str, batch_size: float) -> None:
        """Make sure that the target is reached at a batch size.

        Raises
        ------
        InputError
            If it is not; the message names the argument that the batch size is.
        """
        found = self.at(batch_size)
        if math.isinf(found.steps):
            raise InputError(
                f"{name} must be a batch size at which the target {self.target:g} is reached in "
                f"max_steps = {self._task.limit} steps, not {batch_size:g}, where the lowest risk "
                f"is {found.risk:.3g}: choose a larger one, or more steps"
            )

    def _near(self, batch_size: float) -> Near | None:
        """Say where the answer is expected, if answers at neighbours do say it."""
        below = max((size for size in self.found if size < batch_size), default=0.0)
        above = min((size for size in self.found if size > batch_size), default=math.inf)
        if not below or above > NEAR * below:
            return None
        if not self._is_constant or self.problem.noise_model is not None:
            return None
        first, last = self.found[below], self.found[above]
        if math.isinf(first.steps) or math.isinf(last.steps):
            return None
        # Steps are linear in 1 / batch size where samples and steps make up for each other.
        part = (1.0 / batch_size - 1.0 / above) / (1.0 / below - 1.0 / above)
        steps = round(last.steps + part * (first.steps - last.steps))
        few = self.problem.dim <= FEW_COORDINATES or steps < MANY_STEPS
        if few and (self._has_phases or len(self.over) > 1):
            return None
        share = math.log(batch_size / below) / math.log(above / below)
        ends: Any = first.algorithm, last.algorithm
        return Near(max(steps, 1), ends, share)

    def _checked(self, task: Task, found: Tuned) -> Tuned:
        """Return the better of what was found nearby and the setting of a smaller batch size.

        That setting never needs more steps here than there, as there is less noise.
        """
        size = task.batch.least
        others = [x for other, x in self.found.items() if other < size and x.steps < found.steps]
        if not others:
            return found
        best = min(others, key=lambda x: x.steps)
        steps = steps_to_target(task.problem, best.algorithm, size, task.target)
        if steps >= found.steps:
            return found
        risk = expected_risk(task.problem, best.algorithm, size, int(steps))
        return Tuned(steps, best.algorithm, risk)
