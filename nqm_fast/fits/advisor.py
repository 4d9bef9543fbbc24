"""The settings that a fitted model advises, and steps and batch sizes to a loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ..foundation.arithmetic import methods_in_usual_arithmetic
from ..foundation.validation import InputError, choice, number, shown
from ..output.columns import Table
from .critical_sizes import DEFINITIONS, CriticalSize, critical_size
from .predictor import Predictor
from .recommendation import Recommendation, checked_target, recommended, steps_to_loss, template_of
from .responses import edge_of
from .templates import Template
from .training_run import TrainingRun
from .units import place, shift


@methods_in_usual_arithmetic
@dataclass(frozen=True, eq=False, repr=False)
class Advisor(Predictor):
    """A fit as far as it advises settings."""

    measured: Table

    def tune(
        self,
        *,
        dim: int | None = None,
        steps: int | None = None,
        samples: float | None = None,
        batch_size: float | None = None,
        over: Sequence[str] = ("lr",),
        schedule: str = "constant lr",
        momentum: float | None = None,
        ema: float | None = None,
        group: str = "",
    ) -> Recommendation:
        """Find the learning rate, and the batch size for a number of samples, of the lowest loss.

        Learning rates go up to the limit of stability if the fit knows of one, as a run had
        diverged or its sharpness was measured; else at least up to the highest of the runs.

        Parameters
        ----------
        dim : int, optional
            Number of parameters.
        steps, samples : int
            One of them: steps, or samples, which are steps times the batch size.
        batch_size : float, optional
            Of the run, if it is not sought.
        over : ("lr",) or ("lr", "batch_size")
        schedule : str
            A template as `read_runs` takes them, whose peak is called ``lr``, such as
            ``"warmup 0.01, cosine lr"``.
        momentum, ema, group : optional
            As of `TrainingRun`.

        Returns
        -------
        Recommendation
            With ``lr, batch_size, steps, loss``.

        Raises
        ------
        InputError
            If an argument is outside its limits.
        """
        settings = {"momentum": momentum, "ema": ema, "group": group}

        def highest(size: float) -> float:
            limit = self._largest_lr(size, dim, momentum, group)
            if self.is_stable:
                return limit
            known = self.measured["lr"]  # NaN of runs whose rate was tuned
            return max(limit, float(np.max(known[~np.isnan(known)], initial=0.0)))

        return recommended(
            self._last_loss, highest, dim=dim, steps=steps, samples=samples, batch_size=batch_size,
            over=over, schedule=schedule, settings=settings,
        )  # fmt: skip

    def _largest_lr(
        self, batch_size: float, dim: int | None, momentum: float | None, group: str
    ) -> float:
        """Return the learning rate at which the steepest direction is at the edge of stability."""
        values = self._values(group)
        probe = TrainingRun(None, 1, batch_size=batch_size, lr=self.units.lr, dim=dim)
        edge = math.log(edge_of(momentum or 0.0))
        beyond = shift(values, place(probe, self.units)) - edge
        return self.units.lr * math.exp(-beyond / (1.0 + values["lr_power"]))

    def steps_to_target(
        self,
        target: float,
        *,
        batch_size: float,
        dim: int | None = None,
        lr: Any = None,
        schedule: str = "constant lr",
        momentum: float | Sequence[float] | None = None,
        ema: float | Sequence[float] | None = None,
        sharpness: float | None = None,
        group: str = "",
    ) -> float:
        """Find the fewest steps to a loss.

        Parameters
        ----------
        target : float
            Loss, above the irreducible one.
        batch_size : float
        dim : int, optional
            Number of parameters.
        lr : number, schedule or str, optional
            Template or schedule. By default it is tuned for the number of steps.
        schedule : str
            The shape of a learning rate that is tuned, as of `tune`.
        momentum, ema : number or list of numbers, optional
            As of `TrainingRun`; of several the best is taken.
        sharpness : float, optional
            A largest curvature that was measured, which limits a rate that is tuned.
        group : str

        Returns
        -------
        float
            inf if the loss is never reached.

        Raises
        ------
        InputError
            If an argument is outside its limits.
        """
        lowest = self._natural(self._values(group), "irreducible")
        aim = checked_target(target, lowest)
        size = number("batch_size", batch_size, least=1.0)
        tuned = Template("schedule", schedule)

        def shape(steps: int) -> Any:
            return tuned.schedule({"lr": 1.0}, steps)

        shape_of = shape if lr is None else template_of(lr)

        def run(steps: int, past: tuple[Any, Any]) -> TrainingRun:
            return TrainingRun(
                None, steps, batch_size=size, lr=shape_of(steps), dim=dim, momentum=past[0],
                ema=past[1], tuned_lr=lr is None, sharpness=sharpness, group=group,
            )  # fmt: skip

        found = math.inf
        for past in product(_several("momentum", momentum), _several("ema", ema)):
            run(1, past)  # Its settings are checked whether or not a loss is asked for.
            if aim > self._left(dim, group):  # Directions beyond `dim` are never learnt.
                found = steps_to_loss(self._last_loss, aim, partial(run, past=past), found)
        return found

    def critical_batch_size(
        self,
        target: float,
        *,
        dim: int | None = None,
        definition: str = "knee",
        overhead: float = 0.2,
        reference: float = 1.0,
        lr: Any = None,
        schedule: str = "constant lr",
        group: str = "",
    ) -> CriticalSize:
        """Find the critical batch size to a loss: how far larger batches still pay.

        By the steps of `steps_to_target`, in which directions are held at the edge of stability,
        and noise that no batch averages out remains. For momentum and averages of the weights,
        and by noise scale, there is ``nqm.critical_batch_size(fitted.problem(dim),
        fitted.excess_risk(target, dim))``.

        Parameters
        ----------
        target : float
            Loss, above the irreducible one.
        dim : int, optional
            Number of parameters.
        definition : {"knee", "overhead", "half"}
            "knee": the samples at the batch size `reference`, over the steps without noise of
            batches. "overhead": the batch size at which the samples are ``1 + overhead`` times
            those at `reference`. "half": the batch size at which the steps are twice those without
            noise of batches.
        overhead : float
            Samples more than by linear scaling, as a share, > 0.
        reference : float
            A small batch size, >= 1, from which linear scaling starts. A measured curve's smallest
            batch size gives what would be found by it.
        lr, schedule, group : optional
            As of `steps_to_target`.

        Returns
        -------
        CriticalSize
            With ``value``, and the curve as ``batch_sizes`` and ``steps``.

        Raises
        ------
        InputError
            If an argument is outside its limits, or the target is not reached at `reference`.
        """
        choice("definition", definition, DEFINITIONS)

        def steps(size: float) -> float:
            return self.steps_to_target(
                target, batch_size=size, dim=dim, lr=lr, schedule=schedule, group=group
            )

        return critical_size(
            steps, target, definition=definition, overhead=overhead, reference=reference
        )

    def _last_loss(self, run: TrainingRun) -> float:
        """Predict the loss of a run at its only step."""
        return float(self.predict(run))


def _several(name: str, value: Any) -> list[Any]:
    """Return a list of one value or several."""
    values = [value] if value is None or np.ndim(value) == 0 else list(value)
    if not values:
        raise InputError(f"{name} must be a number or a list of one or more, not {shown(value)}")
    return values
