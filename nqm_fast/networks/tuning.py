"""The hyper-parameters that reach a task's target in the fewest steps, at one batch size.

The published protocol (Shallue et al. 2019): a grid, widened while its best point is on its edge,
then refined around that point, and several seeds of the best points in the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .optimizers import OPTIMIZERS
from .tasks import as_task
from .tasks.base import ROUGH_RESOLUTION
from .training import DECAYS, LAST_PATIENCE, PATIENCE, Floats, Outcome, Trainer, Trial, best_of_both

COARSE, FINE = 2, 1
"""Distances of neighbours in a grid, in places: a factor of two of the learning rate, and one."""
FIRST_LRS = range(-6, 7, COARSE)
"""Places of the first grid's learning rates, where there is no other batch size to begin at."""
MOST_WIDENINGS = 12
LARGE = 32
"""Batch size above which fewer trainings run side by side, as their work no longer hides."""
WIDTHS = 16, 8
FINALISTS = 2
"""Points that are trained with all seeds, of the last iterate and of averages."""

Point = tuple[int, int]
"""Places of the learning rate and of the other hyper-parameter."""


class Unit(NamedTuple):
    """An optimiser of a task at a batch size, which are tuned at a time.

    Attributes
    ----------
    task : str or Task
    optimizer : str
    batch_size : int
    target : float or None
        None for the task's own.
    seeds : int
    near : tuple of int, or None
        The best point at a larger batch size, and that batch size.
    quick : bool
        Whether losses are measured roughly.
    """

    task: Any
    optimizer: str
    batch_size: int
    target: float | None = None
    seeds: int = 3
    near: tuple[int, int, int] | None = None
    quick: bool = False


@dataclass
class Best:
    """The best setting of a unit, of the last iterate or of an average of the weights."""

    steps: float
    least_steps: float
    most_steps: float
    lr: float
    second: float
    ema_decay: float
    validation_loss: float
    lowest_loss: float


@dataclass
class Result:
    """The outcome of tuning a unit: the best last iterate, the best average, and all trials."""

    best: tuple[Best, Best]
    point: Point
    curve: Floats
    outcomes: list[Outcome]


@dataclass
class _Grid:
    """Points that have been trained, with their outcomes by seed."""

    trainer: Trainer
    resolution: float
    """Distance of neighbouring measurements of the loss."""
    fewest: Floats = field(default_factory=lambda: np.full(2, math.inf))
    """Steps known before, of the last iterate and of averages."""
    trained: dict[tuple[Point, int], Outcome] = field(default_factory=dict)

    @property
    def optimizer(self) -> Any:
        return self.trainer.optimizer

    def is_inside(self, point: Point) -> bool:
        """Whether a point has a value of the second hyper-parameter."""
        return 0 <= point[1] < len(self.optimizer.values)

    def train(
        self, points: Iterable[Point], seeds: Iterable[int], patience: float = PATIENCE
    ) -> bool:
        """Train the points that were not trained before; return whether there were any."""
        wanted = [(p, seed) for seed in seeds for p in dict.fromkeys(points) if self.is_inside(p)]
        new = [key for key in wanted if key not in self.trained]
        trials = [self._trial(point, seed) for point, seed in new]
        outcomes = self.trainer.run(trials, self.known(), patience, self.resolution)
        self.trained.update(zip(new, outcomes, strict=True))
        return bool(new)

    def _trial(self, point: Point, seed: int) -> Trial:
        second = self.optimizer.values[point[1]]
        return Trial(self.optimizer.lr(point[0], second), second, seed)

    def known(self) -> Floats:
        """The fewest steps found with any seed, of the last iterate and of averages."""
        found = [best_of_both(outcome.steps) for outcome in self.trained.values()]
        return np.asarray(np.min([self.fewest, *found], axis=0))

    def ranking(self, kind: int, seeds: int = 1) -> list[Point]:
        """The points of which so many seeds were trained, the best first.

        `kind` is 0 for the last iterate and 1 for averages. Points that need as many steps are
        ordered by the lowest loss.
        """
        points = [p for (p, seed) in self.trained if seed == seeds - 1]

        def key(point: Point) -> tuple[float, float]:
            outcomes = [self.trained[point, seed] for seed in range(seeds)]
            steps = np.mean([best_of_both(x.steps)[kind] for x in outcomes])
            lowest = np.mean([best_of_both(x.lowest)[kind] for x in outcomes])
            return float(steps), float(lowest)

        return sorted(points, key=key)


def tune_unit(unit: Unit) -> Result:
    """Tune an optimiser at a batch size (a job)."""
    task, optimizer = as_task(unit.task), OPTIMIZERS[unit.optimizer]
    if unit.target is not None:
        task = task.with_target(unit.target)
    if unit.quick:
        task = task.roughly_measured()
    width = WIDTHS[unit.batch_size > LARGE]
    trainer = Trainer(task, optimizer, unit.batch_size, width)
    grid = _Grid(trainer, max(task.resolution, ROUGH_RESOLUTION))
    if unit.near is None:
        places, second = FIRST_LRS, optimizer.first
    else:
        # between the same learning rate and one in proportion to the batch size, and a factor of
        # two beyond
        place, second, size = unit.near
        lowest = place - COARSE * math.ceil(math.log2(size / unit.batch_size))
        places = range(lowest - COARSE, place + COARSE + 1, COARSE)
    grid.train([(i, second + b) for i in places for b in (-COARSE, 0, COARSE)], [0])
    for distance in (COARSE, FINE):
        for _ in range(MOST_WIDENINGS):
            around = [grid.ranking(kind)[0] for kind in (0, 1)]
            if not grid.train([p for x in around for p in _cross(x, distance)], [0]):
                break
    finalists = [p for kind in (0, 1) for p in grid.ranking(kind)[:FINALISTS]]
    final = _Grid(trainer, task.resolution, grid.known())
    final.train(finalists, range(unit.seeds), LAST_PATIENCE)
    best = tuple(_best(final, kind, unit.seeds) for kind in (0, 1))
    point = final.ranking(0, unit.seeds)[0]
    outcomes = [*grid.trained.values(), *final.trained.values()]
    return Result((best[0], best[1]), point, _mean_curve(final, point, unit.seeds), outcomes)


def _cross(point: Point, distance: int) -> list[Point]:
    """The four neighbours of a point along one hyper-parameter each."""
    i, j = point
    return [(i - distance, j), (i, j - distance), (i, j + distance), (i + distance, j)]


def _best(grid: _Grid, kind: int, seeds: int) -> Best:
    """Summarise the best point of the last iterate (0) or of averages (1), over all seeds."""
    point = grid.ranking(kind, seeds)[0]
    outcomes = [grid.trained[point, seed] for seed in range(seeds)]
    columns = [0] if kind == 0 else range(1, 1 + len(DECAYS))
    # One decay for all seeds: that with the fewest steps, then with the lowest loss.
    column = min(
        columns,
        key=lambda k: (
            np.mean([x.steps[k] for x in outcomes]),
            np.mean([x.lowest[k] for x in outcomes]),
        ),
    )
    steps = np.array([x.steps[column] for x in outcomes])
    reached = np.array([x.validation[column] for x in outcomes])
    trial = outcomes[0].trial
    return Best(
        float(steps.mean()),
        float(steps.min()),
        float(steps.max()),
        trial.lr,
        trial.second,
        DECAYS[column - 1] if kind else 0.0,
        float(reached.mean()),
        float(np.mean([x.lowest[column] for x in outcomes])),
    )


def _mean_curve(grid: _Grid, point: Point, seeds: int) -> Floats:
    """The loss of the last iterate at a point, averaged over seeds while all were watched."""
    curves = [grid.trained[point, seed].curve for seed in range(seeds)]
    length = min(len(curve) for curve in curves)
    mean: Floats = np.mean([curve[:length] for curve in curves], axis=0)
    return mean
