"""A fitted model, and what it predicts."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..foundation.arithmetic import methods_in_usual_arithmetic
from ..foundation.validation import Array, InputError, number, shown
from ..output.columns import Table
from ..output.html import facts_table
from ..output.saving import file_path, written_beside
from .advisor import Advisor
from .parameters import ALL, EXTRA
from .solver import Layout
from .training_run import TrainingRun, as_runs
from .units import Units

FORMAT = "nqm-fast fit 1"
SCATTER = 64
"""Quantiles that stand for the scatter of losses around a fit."""


@methods_in_usual_arithmetic
@dataclass(frozen=True, eq=False, repr=False)
class Fitted(Advisor):
    """The noisy quadratic model fitted to training runs, as `fit` returns it.

    Attributes
    ----------
    extra : tuple of str
        Parameters of the optimiser that the fit has: ``lr_power, noise_floor, batch_power,
        dim_power``; see docs/fitting.md.
    error : float
        Root of the mean square of the logarithms' errors on the runs that were fitted.
    left_out_error : float
        The same on the largest runs when these were left out, NaN if they were too few for that.
    measured : dict
        Table of the fitted records: ``run, name, group, steps, batch_size, lr, dim, loss,
        predicted``; `lr` is NaN for runs whose rate was tuned.
    tried : list of dict
        Choices of extra parameters, with the errors of runs left out: ``extra, burn_in, error``.
    repeated : ndarray, shape (bootstrap, parameters)
        Fits to runs with random weights, in the units of the fit, if `fit` was asked for some.
    """

    error: float
    left_out_error: float
    tried: list[dict[str, Any]]
    repeated: Array

    @property
    def extra(self) -> tuple[str, ...]:
        """Parameters of the optimiser that the fit has."""
        return tuple(name for name in self.layout.free if name in EXTRA)

    # -- predictions ---------------------------------------------------------------------

    def interval(self, run: TrainingRun, level: float = 0.9) -> tuple[Any, Any]:
        """Say within which limits the losses of a run will be.

        They are those of a further measurement: the errors of parameters, carried to the logarithm
        of the loss, with the runs' own scatter around the fit. Parameters err as in the fits of
        `fit`'s bootstrap, if it was asked for one, and else by linear propagation of the sandwich
        over runs (whole curves, as records of one curve err together). Where no schedule, size or
        batch size of this kind was fitted, the model's own error comes on top.

        Parameters
        ----------
        run : TrainingRun
        level : float
            Probability, > 0 and < 1.

        Returns
        -------
        low, high : float or ndarray
            Of the shape of the run's steps.

        Raises
        ------
        InputError
            If an argument is outside its limits.
        """
        from scipy.stats import t

        share = number("level", level, above=0.0, below=1.0)
        (one,) = as_runs(run)
        loss = self._losses(one)
        freedom = max(len(self.measured["loss"]) - self.x.size, 1)
        if self.repeated.size:
            # Each fit of the bootstrap with the scatter of single losses around it.
            chances = (np.arange(SCATTER) + 0.5) / SCATTER
            scatter = self.error * t.ppf(chances, freedom)
            fits = np.log([self._predicted_at(x, one).loss for x in self.repeated])
            around = (fits[:, None, :] + scatter[:, None]).reshape(-1, loss.size)
            ends = np.exp(np.quantile(around, [0.5 - 0.5 * share, 0.5 + 0.5 * share], axis=0))
        else:
            slopes = self._log_slopes(one)
            variance = np.einsum("ra,ab,rb->r", slopes, self.covariance, slopes) + self.error**2
            half = float(t.ppf(0.5 + 0.5 * share, freedom)) * np.sqrt(variance)
            ends = np.array([loss * np.exp(-half), loss * np.exp(half)])
        limits = [np.where(np.isinf(loss), loss, end).reshape(one.steps.shape) for end in ends]
        low, high = (limit if limit.ndim else float(limit) for limit in limits)
        return low, high

    def residuals(self) -> Table:
        """Return the fitted records as a table, with the logarithms of measured over predicted.

        Returns
        -------
        dict of ndarray
            Columns ``run, name, group, steps, batch_size, lr, dim, loss, predicted, residual``,
            where `lr` is the highest learning rate, and `batch_size` the mean.
        """
        with np.errstate(invalid="ignore"):
            residual = np.log(self.measured["loss"] / self.measured["predicted"])
        return self.measured | {"residual": residual}

    # -- descriptions --------------------------------------------------------------------

    def report(self) -> str:
        """Write what was fitted, how well, and what is identified, as text."""
        from .report import report

        return report(self)

    @property
    def start(self) -> dict[str, float]:
        """The parameters in the units of the fit, at which `fit` can start on similar runs."""
        return self.layout.known_values(self.x, self.layout.groups[0])

    def plot(self) -> Any:
        """Draw measured against predicted losses, curves, and residuals against each column.

        Returns
        -------
        matplotlib.figure.Figure
            It has ``savefig``, and notebooks show it.

        Raises
        ------
        InputError
            If Matplotlib is not installed.
        """
        from ..drawing.fit import figure_of

        return figure_of(self.residuals())

    def __repr__(self) -> str:
        return (
            f"<Fitted to {len(set(self.measured['run'].tolist()))} runs, error "
            f"{100.0 * self.error:.2g} %, irreducible loss {self.irreducible:.4g}>"
        )

    def _repr_html_(self) -> str:
        facts = {name: f"{found.value:.4g}" for name, found in self.parameters.items()}
        return facts_table("Fitted", {"error": self.error} | facts)

    # -- files ---------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the fit as plain JSON, which `load` reads.

        Raises
        ------
        InputError
            If `path` is no name of a file.
        """
        content = {
            "format": FORMAT,
            "parameters": {name: found._asdict() for name, found in self.parameters.items()},
            "free": self.layout.free,
            "own": sorted(self.layout.own),
            "groups": self.layout.groups,
            "units": self.units._asdict(),
            "x": self.x.tolist(),
            "covariance": self.covariance.tolist(),
            "is_stable": self.is_stable,
            "error": self.error,
            "left_out_error": _or_none(self.left_out_error),
            "measured": {k: [_or_none(v) for v in c.tolist()] for k, c in self.measured.items()},
            "tried": self.tried,
            "repeated": self.repeated.tolist(),
        }
        with written_beside("path", path) as part:
            part.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Fitted:
        """Read what `save` has written.

        Raises
        ------
        InputError
            If the file is something else.
        FileNotFoundError
            If there is none.
        """
        place_of_file = file_path("path", path)
        try:
            content = json.loads(place_of_file.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {shown(content['format'])}")
            measured = {k: _column(k, values) for k, values in content["measured"].items()}
            layout = Layout(
                tuple(content["free"]), frozenset(content["own"]), tuple(content["groups"])
            )
            unknown = [name for name in layout.free if name not in ALL]
            if unknown or len(content["x"]) != len(layout.columns):
                raise ValueError(f"it has parameters {unknown or content['x']}")
            return cls(
                layout,
                Units(**content["units"]),
                np.array(content["x"], dtype=float),
                np.array(content["covariance"], dtype=float),
                bool(content["is_stable"]),
                measured,
                float(content["error"]),
                _or_nan(content["left_out_error"]),
                list(content["tried"]),
                np.array(content.get("repeated", []), dtype=float).reshape(-1, len(layout.columns)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{place_of_file.name} is no fit that `save` has written: {error}"
            ) from None


def _or_none(value: Any) -> Any:
    """Replace an infinite or missing number, which JSON lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        return "inf" if value > 0 else None
    return value


def _or_nan(value: float | None) -> float:
    """Return a number that may be missing."""
    return math.nan if value is None else float(value)


def _column(name: str, values: ArrayLike) -> Any:
    """Return a column of the table of records."""
    if name in ("name", "group"):
        return np.array(values, dtype=str)
    return np.array([math.nan if value is None else float(value) for value in values])  # type: ignore[union-attr,arg-type]
