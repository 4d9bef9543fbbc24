"""A fitted model, and what it predicts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arithmetic import methods_in_usual_arithmetic
from ..columns import Table
from ..html import facts_table
from ..saving import file_path, written_beside
from ..validation import InputError, number, shown
from .model import Units, place, shift
from .parameters import ALL, EXTRA
from .predictor import Predictor
from .recommendation import (
    Recommendation,
    checked_target,
    recommended,
    steps_to_loss,
    template_of,
)
from .responses import EDGE
from .solver import Layout
from .training_run import TrainingRun, as_runs

FORMAT = "nqm-fast fit 1"


@methods_in_usual_arithmetic
@dataclass(frozen=True, eq=False, repr=False)
class Fitted(Predictor):
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
        predicted``.
    tried : list of dict
        Choices of extra parameters, with the errors of runs left out: ``extra, error``.
    """

    error: float
    left_out_error: float
    measured: Table
    tried: list[dict[str, Any]]

    @property
    def extra(self) -> tuple[str, ...]:
        """Parameters of the optimiser that the fit has."""
        return tuple(name for name in self.layout.free if name in EXTRA)

    # -- predictions ---------------------------------------------------------------------

    def interval(self, run: TrainingRun, level: float = 0.9) -> tuple[Any, Any]:
        """Say within which limits the losses of a run will be.

        The errors of parameters are those of a sandwich over runs (whole curves, as records of one
        curve err together), carried to the logarithm of the loss, with the runs' own scatter.

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
        loss, slopes = self._predicted(one)
        variance = np.einsum("ra,ab,rb->r", slopes, self.covariance, slopes) + self.error**2
        freedom = max(len(self.measured["loss"]) - self.x.size, 1)
        half = float(t.ppf(0.5 + 0.5 * share, freedom)) * np.sqrt(variance)
        limits = [(loss * np.exp(sign * half)).reshape(one.steps.shape) for sign in (-1.0, 1.0)]
        low, high = (limit if limit.ndim else float(limit) for limit in limits)
        return low, high

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
        values = self._values(group)
        probe = TrainingRun(None, 1, batch_size=batch_size or 1, lr=self.units.lr, dim=dim)
        beyond = shift(values, place(probe, self.units)) - math.log(EDGE)
        highest = self.units.lr * math.exp(-beyond / (1.0 + values["lr_power"]))
        if not self.is_stable:  # Directions are held at the edge, as far as runs have shown it.
            highest = max(highest, float(self.measured["lr"].max()))
        return recommended(
            self._last_loss, highest, dim=dim, steps=steps, samples=samples, batch_size=batch_size,
            over=over, schedule=schedule, settings=settings,
        )  # fmt: skip

    def steps_to_target(
        self,
        target: float,
        *,
        batch_size: float,
        dim: int | None = None,
        lr: Any = None,
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
            Template or schedule. By default it is constant, and tuned for the number of steps.
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
        shape = template_of(1.0 if lr is None else lr)

        def run(steps: int) -> TrainingRun:
            return TrainingRun(
                None, steps, batch_size=batch_size, lr=shape(steps), dim=dim,
                tuned_lr=lr is None, group=group,
            )  # fmt: skip

        return steps_to_loss(self._last_loss, checked_target(target, lowest), run)

    def _last_loss(self, run: TrainingRun) -> float:
        """Predict the loss of a run at its only step."""
        return float(self.predict(run))

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
        from ..figures._fit import figure_of

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
                float(content["error"]),
                _or_nan(content["left_out_error"]),
                measured,
                list(content["tried"]),
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
