"""Predictions from the parameters of a fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..foundation.arithmetic import methods_in_usual_arithmetic
from ..foundation.validation import Array, InputError, integer, number, shown
from ..problem import MOST_COORDINATES, Problem
from .directions import dim_of
from .model import Prediction, beyond, predict, prepared
from .solver import Layout
from .training_run import TrainingRun, as_runs
from .units import Units, over_limit, place

IDENTIFIED = 0.5
"""Standard error, of a logarithm or of an exponent, below which a parameter is identified."""


class Estimate(NamedTuple):
    """A parameter that was fitted.

    Attributes
    ----------
    value : float
        A scale in the units of the runs, or an exponent.
    error : float
        Standard error, of the logarithm for scales.
    is_identified : bool
        Whether the runs say what it is, within a factor of 1.6 or 0.5. Parameters are badly
        identified where predictions are not.
    """

    value: float
    error: float
    is_identified: bool


@methods_in_usual_arithmetic
@dataclass(frozen=True, eq=False, repr=False)
class Predictor:
    """Parameters in the units of a fit, and what follows from them."""

    layout: Layout
    units: Units
    x: Array
    covariance: Array
    is_stable: bool

    @property
    def parameters(self) -> dict[str, Estimate]:
        """The parameters by name, each with its standard error and whether it is identified.

        ``h_i = scale i^-exponent``, ``c_i = noise i^-noise_exponent`` and ``h_i E[w_0i^2] = start
        i^-start_exponent`` of a run of typical settings, and the irreducible loss. Those of
        a group are called by it too, as in ``irreducible[small]``.
        """
        errors = np.sqrt(np.diag(self.covariance))
        found = {}
        for column, (name, group) in enumerate(self.layout.columns):
            value = self._natural(self._values(group or self.layout.groups[0]), name)
            error = float(errors[column])
            label = name if group is None else f"{name}[{group}]"
            found[label] = Estimate(value, error, error < IDENTIFIED)
        return found

    def _natural(self, values: Mapping[str, float], name: str) -> float:
        """Return a parameter in the units of the runs."""
        units = self.units
        largest = math.exp(values["scale"]) / units.lr
        loss = units.loss
        match name:
            case "scale":
                return largest
            case "noise":
                return largest * loss * units.batch_size * math.exp(values["noise"])
            case "start" | "irreducible":
                return loss * math.exp(values[name])
            case "noise_exponent":
                return values["exponent"] + values["noise_exponent"]
            case "noise_floor":
                return math.expm1(values["noise_floor"]) / units.batch_size
        return values[name]

    def _values(self, group: str) -> dict[str, float]:
        """Return all parameters of a group in the units of the fit.

        Raises
        ------
        InputError
            If parameters are each group's own, and the group was not fitted.
        """
        if self.layout.own and group not in self.layout.groups:
            raise InputError(
                f"group must be one of those fitted, {', '.join(self.layout.groups)}, not "
                f"{shown(group)}, as each has its own {', '.join(sorted(self.layout.own))}"
            )
        return self.layout.values(self.x, group)

    @property
    def irreducible(self) -> float:
        """The irreducible loss, of the first group if each has its own."""
        return self._natural(self._values(self.layout.groups[0]), "irreducible")

    def problem(
        self, dim: int | None = None, *, batch_size: float | None = None, group: str | None = None
    ) -> Problem:
        """Return the problem of a dimension, for all exact answers and simulations.

        Its loss lacks the irreducible one, and the initial risk of directions beyond `dim`.

        Parameters
        ----------
        dim : int, optional
            Number of directions; by default as many as can be counted.
        batch_size : float, optional
            At which effective learning rates and the noise floor are those of the problem, where
            the fit says that they depend on it. By default the typical one of the runs.
        group : str, optional
            Whose parameters are meant, if groups have their own; the first by default.

        Raises
        ------
        InputError
            If `dim` is not a whole number from 1 to 2^53, or there is no such group.
        """
        size = integer("dim", dim_of(dim), least=1, most=MOST_COORDINATES)
        values = self._values(self.layout.groups[0] if group is None else group)
        batch = self.units.batch_size
        if batch_size is not None:
            batch = number("batch_size", batch_size, least=1.0)
        factor = (size / self.units.dim) ** values["dim_power"]
        factor *= (batch / self.units.batch_size) ** values["batch_power"]
        noise = 1.0 + batch * self._natural(values, "noise_floor")
        return Problem.power_law(
            size,
            values["exponent"],
            noise_exponent=self._natural(values, "noise_exponent"),
            start_exponent=values["start_exponent"],
            scale=factor * self._natural(values, "scale"),
            noise=factor * noise * self._natural(values, "noise"),
            start=self._natural(values, "start"),
        )

    def excess_risk(
        self, loss: float, dim: int | None = None, *, group: str | None = None
    ) -> float:
        """Return the excess risk in ``problem(dim)`` at which a run has a loss.

        It is what is left of the loss without the irreducible one, and without the initial risk of
        directions beyond `dim`: the target for `nqm.tune` and all other exact answers.

        Parameters
        ----------
        loss : float
        dim : int, optional
            Number of directions, as of `problem`.
        group : str, optional
            As of `problem`.

        Raises
        ------
        InputError
            If the loss is not above all that a run of this dimension is left with.
        """
        left = self._left(dim, self.layout.groups[0] if group is None else group)
        risk = number("loss", loss, above=0.0) - left
        if risk <= 0.0:
            raise InputError(
                f"loss must be above {left:g}, which is left at dim = {shown(dim)} after any "
                f"training, not {shown(loss)}"
            )
        return risk

    def _left(self, dim: int | None, group: str) -> float:
        """Return the loss that is left after any training."""
        size = integer("dim", dim_of(dim), least=1, most=MOST_COORDINATES)
        values = self._values(group)
        tail = beyond(values["start_exponent"], size) * self._natural(values, "start")
        return self._natural(values, "irreducible") + tail

    def predict(self, runs: TrainingRun | Sequence[TrainingRun]) -> Any:
        """Predict losses.

        Parameters
        ----------
        runs : TrainingRun or list of TrainingRun
            Their losses, if they have some, are not looked at.

        Returns
        -------
        float, ndarray or list
            For a run the loss at its steps, of their shape; for a list a list of these. It is inf
            where a run is beyond the limit of stability, if the fit knows of one.

        Raises
        ------
        InputError
            If something else is given, or a run's group has not been fitted.
        """
        shaped = [self._losses(run).reshape(run.steps.shape) for run in as_runs(runs)]
        plain = [loss if loss.ndim else float(loss) for loss in shaped]
        return plain[0] if isinstance(runs, TrainingRun) else plain

    def _losses(self, run: TrainingRun) -> Array:
        """Predict the losses of a run, shape (records,)."""
        loss = self._predicted_at(self.x, run).loss
        over = over_limit(self._values(run.group), run, place(run, self.units))
        if self.is_stable and over is not None and over > 0.0:
            return np.where(run.steps.reshape(-1) > 0, math.inf, loss)
        return loss

    def _log_slopes(self, run: TrainingRun) -> Array:
        """Return derivatives of the logarithms of a run's losses, shape (records, columns)."""
        values = self._values(run.group)
        found = predict(values, prepared(run), self.units, free=self.layout.free)
        zero = np.zeros(found.loss.shape)
        slopes = [
            found.slopes[name] / found.loss if group in (None, run.group) else zero
            for name, group in self.layout.columns
        ]
        return np.array(slopes).T

    def _predicted_at(self, x: Array, run: TrainingRun) -> Prediction:
        """Predict a run with other numbers than those that were found."""
        self._values(run.group)  # The group must be one of those fitted.
        values = self.layout.values(x, run.group)
        return predict(values, prepared(run), self.units, free=())
