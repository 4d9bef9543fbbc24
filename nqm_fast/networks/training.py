"""Many trainings of a network side by side: settings and seeds in one compiled loop over steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .environment import load_jax
from .optimizers import Optimizer
from .tasks.base import Task

DECAYS = (0.8, 0.95, 0.99, 0.998)
"""Decays of the averages of the weights that every training carries along."""
KINDS = 1 + len(DECAYS)
"""Iterates whose loss is measured: the last one, and each average."""
WINDOW = 0.1
"""The running mean is over measurements of the last tenth of the steps."""
PATIENCE = 1.3
"""Trainings that take so many times the steps of the best are not waited for."""
LAST_PATIENCE = 3.0
"""So many times in the end, so that a slow seed is not taken for one that never arrives."""
KIND_PATIENCE = 4.0
"""Nor is a last iterate that takes so many times the steps of the best average, or conversely."""
STALLED = 0.25
"""A training has stalled when its lowest loss is older than all but this share of its steps."""
LEAST_STEPS = 50
"""Steps before which no training is called stalled."""
MEASUREMENTS = 4
"""Measurements of the losses in one call of the compiled loop."""
DIVERGED = 100.0
"""A training has diverged when its loss is so many times the first, or not a number."""

Floats = NDArray[np.float64]


class Trial(NamedTuple):
    """A training: its learning rate, the other hyper-parameter, and its seed."""

    lr: float
    second: float
    seed: int


@dataclass
class Outcome:
    """The outcome of one training.

    Attributes
    ----------
    trial : Trial
    steps : ndarray of float, shape (KINDS,)
        First step at which the running mean of the loss was below the target; inf if it was not
        while the training was watched.
    validation : ndarray of float, shape (KINDS,)
        Validation loss soon after that step; NaN if there is none.
    lowest : ndarray of float, shape (KINDS,)
        The lowest running mean.
    diverged : bool
    watched : int
        Steps that the training was watched.
    curve : ndarray, shape (measurements, 2)
        Steps, and the loss of the last iterate.
    """

    trial: Trial
    steps: Floats
    validation: Floats
    lowest: Floats
    diverged: bool
    watched: int
    curve: Floats


class Trainer:
    """Trains a task with an optimiser at a batch size, `width` trainings at a time.

    Samples of a batch are drawn with replacement. Trainings of one seed begin at the same
    parameters and see the same batches.
    """

    def __init__(self, task: Task, optimizer: Optimizer, batch_size: int, width: int) -> None:
        self.task, self.optimizer = task, optimizer
        self.batch_size, self.width = batch_size, width
        jax = load_jax()
        self.updates = optimizer.updates(task)
        self.jax = jax
        self.train = tuple(jax.numpy.asarray(x) for x in task.train)
        self.measured = tuple(x[: task.measured] for x in self.train)
        self.held_out = tuple(jax.numpy.asarray(x) for x in task.validation)
        self.start = jax.jit(jax.vmap(self._start))
        self.advance = jax.jit(self._advance)
        self.validate = jax.jit(jax.vmap(lambda iterates: self._losses(iterates, self.held_out)))

    # -- what JAX compiles ---------------------------------------------------------------

    def _start(self, key: Any) -> tuple[Any, Any, Any]:
        """Return parameters, state and averages of one training before its first step."""
        jax = self.jax
        parameters = self.task.init(jax.random.fold_in(key, 0))
        batch = tuple(x[: self.batch_size] for x in self.train)
        state = self.updates.init(parameters, batch, key)
        averages = jax.tree.map(lambda x: jax.numpy.stack([x] * len(DECAYS)), parameters)
        return parameters, state, averages

    def _advance(self, step: Any, carry: Any, keys: Any, lr: Any, second: Any, stops: Any) -> Any:
        """Take all trainings to each of the stops; return the last step, carry and losses."""
        jax = self.jax

        def segment(carry: Any, stop: Any) -> Any:
            step, trainings = carry
            trainings = jax.lax.fori_loop(
                step, stop, lambda t, x: self._step(t, x, keys, lr, second), trainings
            )
            return (stop, trainings), jax.vmap(self._iterate_losses)(trainings[0], trainings[2])

        return jax.lax.scan(segment, (step, carry), stops)

    def _step(self, step: Any, trainings: Any, keys: Any, lr: Any, second: Any) -> Any:
        """Take all trainings one step further."""
        jax, updates, task = self.jax, self.updates, self.task

        def observe(trainings: Any, key: Any, second: Any) -> Any:
            parameters, state, averages = trainings
            key = jax.random.fold_in(key, step + 1)
            chosen = jax.random.randint(key, (self.batch_size,), 0, task.size)
            batch = tuple(x[chosen] for x in self.train)
            gradient = jax.grad(task.objective)(parameters, batch)
            state = updates.observe(state, parameters, batch, key, second)
            return (parameters, state, averages), gradient

        def refresh(trainings: Any, second: Any) -> Any:
            parameters, state, averages = trainings
            return parameters, updates.refresh(state, second), averages

        def apply(trainings: Any, gradient: Any, lr: Any, second: Any) -> Any:
            parameters, state, averages = trainings
            parameters, state = updates.apply(gradient, state, parameters, lr, second)
            return parameters, state, jax.tree.map(_averaged, averages, parameters)

        trainings, gradient = jax.vmap(observe)(trainings, keys, second)
        if updates.period:
            # The condition is the same for all trainings, so that only one branch is computed.
            trainings = jax.lax.cond(
                step % updates.period == 0,
                lambda x: jax.vmap(refresh)(x, second),
                lambda x: x,
                trainings,
            )
        return jax.vmap(apply)(trainings, gradient, lr, second)

    def _iterate_losses(self, parameters: Any, averages: Any) -> Any:
        """The measured losses of the last iterate and of the averages, (KINDS,)."""
        return self._losses(_iterates(parameters, averages), self.measured)

    def _losses(self, iterates: Any, batch: Any) -> Any:
        """The losses of several iterates, whose parameters have a further first axis."""
        return self.jax.lax.map(lambda parameters: self.task.objective(parameters, batch), iterates)

    # -- what drives it ------------------------------------------------------------------

    def run(
        self,
        trials: Sequence[Trial],
        best: Floats | None = None,
        patience: float = PATIENCE,
        resolution: float | None = None,
    ) -> list[Outcome]:
        """Train until the best have reached the target, and little more.

        Parameters
        ----------
        trials : sequence of Trial
        best : ndarray, shape (2,), optional
            Fewest steps that are known already, of the last iterate and of the best average.
        patience : float
            Trainings that take so many times the steps of the best are not waited for.
        resolution : float, optional
            Distance of neighbouring measurements of the loss; by default that of the task.
        """
        outcomes: list[Outcome] = []
        known = np.full(2, math.inf) if best is None else np.array(best)
        for at in range(0, len(trials), self.width):
            part = list(trials[at : at + self.width])
            found = self._run_together(part, known, patience, resolution or self.task.resolution)
            outcomes += found
            for outcome in found:
                known = np.minimum(known, best_of_both(outcome.steps))
        return outcomes

    def _run_together(
        self, trials: list[Trial], known: Floats, patience: float, resolution: float
    ) -> list[Outcome]:
        """Train at most `width` trials side by side."""
        jax = self.jax
        padded = trials + trials[:1] * (self.width - len(trials))
        keys = jax.vmap(jax.random.key)(np.array([trial.seed for trial in padded]))
        lr = np.array([trial.lr for trial in padded], dtype=np.float32)
        second = np.array([trial.second for trial in padded], dtype=np.float32)
        carry = self.start(keys)
        watch = Watch(self.task.target, len(trials), patience)
        most = self.task.most_steps(self.batch_size)
        step = 0
        while not watch.has_seen_enough(step, known, most):
            stops = next_stops(step, resolution)
            (_, carry), losses = self.advance(step, carry, keys, lr, second, stops)
            step = int(stops[-1])
            new = watch.see(stops, np.asarray(losses, dtype=np.float64)[:, : len(trials)])
            if new.any():
                iterates = jax.vmap(_iterates)(carry[0], carry[2])
                watch.note_validation(new, np.asarray(self.validate(iterates)))
        return watch.outcomes(trials)


def _averaged(average: Any, x: Any) -> Any:
    """Move the averages of an array of parameters, whose first axis is the decay, towards it."""
    kept = np.array(DECAYS, dtype=np.float32).reshape((-1,) + (1,) * x.ndim)
    return average + (1.0 - kept) * (x - average)


def _iterates(parameters: Any, averages: Any) -> Any:
    """Join the parameters and their averages along a first axis."""
    import jax

    return jax.tree.map(
        lambda x, several: jax.numpy.concatenate([x[None], several]), parameters, averages
    )


def next_stops(step: int, resolution: float) -> NDArray[np.int32]:
    """The next steps at which losses are measured: all at first, then in a geometric sequence."""
    stops = []
    for _ in range(MEASUREMENTS):
        step = max(step + 1, math.ceil(step * (1.0 + resolution)))
        stops.append(step)
    return np.array(stops, dtype=np.int32)


def best_of_both(steps: Floats) -> Floats:
    """The steps of the last iterate, and those of the average that needs fewest, (2,)."""
    return np.array([steps[0], steps[1:].min()])


class Watch:
    """The measurements of trainings that run side by side, and which have reached the target."""

    def __init__(self, target: float, count: int, patience: float) -> None:
        self.target, self.patience = target, patience
        self.stops: list[int] = []
        self.losses: list[Floats] = []  # for each stop, (trials, KINDS)
        self.steps = np.full((count, KINDS), math.inf)
        self.validation = np.full((count, KINDS), math.nan)
        self.lowest = np.full((count, KINDS), math.inf)
        self.lowest_at = np.zeros((count, KINDS))  # the step of the lowest running mean
        self.diverged = np.zeros(count, dtype=bool)

    def see(self, stops: NDArray[np.int32], losses: Floats) -> NDArray[np.bool_]:
        """Take measurements, (stops, trials, KINDS); return which have newly reached the target."""
        before = np.isfinite(self.steps)
        for stop, loss in zip(stops.tolist(), losses, strict=True):
            self.stops.append(stop)
            self.losses.append(loss)
            beyond = ~(loss[:, 0] <= DIVERGED * self.losses[0][:, 0])
            self.diverged |= beyond & ~np.isfinite(self.steps[:, 0])
            begin = next(k for k, x in enumerate(self.stops) if x > (1.0 - WINDOW) * stop)
            mean = np.mean(self.losses[begin:], axis=0)
            mean = np.where(np.isfinite(mean), mean, math.inf)
            self.lowest_at = np.where(mean < self.lowest, stop, self.lowest_at)
            self.lowest = np.minimum(self.lowest, mean)
            self.steps = np.where((mean < self.target) & np.isinf(self.steps), stop, self.steps)
        new: NDArray[np.bool_] = np.isfinite(self.steps) & ~before
        return new

    def note_validation(self, new: NDArray[np.bool_], losses: Floats) -> None:
        """Note validation losses, (width, KINDS), of those that have newly reached the target."""
        self.validation[new] = losses[: len(new)][new]

    def has_seen_enough(self, step: int, known: Floats, most: int) -> bool:
        """Whether nothing is left that could be the best, or the steps are used up."""
        if not step:
            return False
        found = np.array([best_of_both(steps) for steps in self.steps])
        best = np.minimum(known, found.min(axis=0))
        best = np.where(np.isinf(best), KIND_PATIENCE * best.min(), self.patience * best)
        stalled = (step > LEAST_STEPS) & (self.lowest_at.max(axis=1) < STALLED * step)
        ended = np.isfinite(found).all(axis=1) | self.diverged | stalled
        return bool(step >= min(most, best.max()) or ended.all())

    def outcomes(self, trials: list[Trial]) -> list[Outcome]:
        """Return how each training went."""
        curves = np.array([loss[:, 0] for loss in self.losses])
        return [
            Outcome(
                trial,
                self.steps[k],
                self.validation[k],
                self.lowest[k],
                bool(self.diverged[k]),
                self.stops[-1],
                np.column_stack([self.stops, curves[:, k]]),
            )
            for k, trial in enumerate(trials)
        ]
