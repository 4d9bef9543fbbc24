"""The figure of a simulation: its curves and their spread over the exact expectation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import expected_risk
from ..simulation.experiment import Experiment
from ..simulation.result import Run
from ..validation import Array, InputError
from ._style import SERIES, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 200  # of the exact curve, at most
TOO_FAR = 100.0  # times the first risk: a curve that goes there diverges
EXACT = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1}


def as_listed(run: Run) -> Array:
    """Risk with an axis of settings, (settings, replicas, records)."""
    return run.risk if run.risk.ndim == 3 else run.risk[None]


def label(experiment: Experiment, g: int) -> str:
    """What a setting is called: with its batch size, where settings differ in it."""
    setting = experiment.settings[g]
    name = repr(setting.algorithm)
    if all(other.batch_size == setting.batch_size for other in experiment.settings):
        return name
    return f"{name}, B = {setting.batch_size_text}"


def exact_risk(experiment: Experiment, g: int, steps: NDArray[np.int64]) -> Array:
    """Expected risk of a setting."""
    algorithm, batch_size = experiment.settings[g]
    risk: Array = expected_risk(experiment.problem, algorithm, batch_size, steps)
    return risk


def draw(run: Run, path: Path) -> Path:
    """Draw a run, also an unfinished one.

    Raises
    ------
    InputError
        If it has no record after step 0 yet, or Matplotlib is not installed.
    """
    from . import check_matplotlib
    from ._output import write_png

    check_matplotlib()
    if run.experiment is None or not (run.steps > 0).any():
        raise InputError(f"the run is {run.status} and has no record after step 0 to draw")
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:] not in kinds:
        raise InputError(f"--out must end with one of .{', .'.join(kinds)}, not {path.suffix!r}")
    write_png(path, lambda figure, _: _plot(figure, run, run.experiment), {})
    return path


class Curve(NamedTuple):
    """One setting in the figure; what is above `top` is left out."""

    name: str
    number: int
    top: float

    def draw(
        self, axes: Axes, steps: NDArray[np.int64], risk: Array, exact: Array, few: NDArray[np.intp]
    ) -> None:
        """The mean and range of the replicas (replicas, steps), and over them what is exact."""
        color = SERIES[self.number % len(SERIES)]["color"]
        risk = np.where(risk <= self.top, risk, np.nan)
        exact = np.where(exact <= self.top, exact, np.nan)
        mean: dict[str, Any] = {"linewidth": 2.5, "alpha": 0.8, "label": self.name}
        axes.loglog(steps, risk.mean(axis=0), color=color, **mean)
        if len(risk) > 1:
            low, high = risk.min(axis=0), risk.max(axis=0)
            axes.fill_between(steps, low, high, color=color, alpha=0.3, linewidth=0)
        line: dict[str, Any] = EXACT
        axes.loglog(steps[few], exact, **line)


def _plot(figure: Figure, run: Run, experiment: Experiment | None) -> None:
    from matplotlib.ticker import LogFormatter, LogLocator

    assert experiment is not None
    shown = run.steps > 0
    steps = run.steps[shown]
    few = np.unique(np.linspace(0, steps.size - 1, POINTS).astype(int))
    risks = as_listed(run)[:, :, shown]
    top = TOO_FAR * float(np.median(risks[:, :, 0]))
    diverged = np.reshape(run.diverged_at, risks.shape[:2]).max(axis=1) >= 0
    axes = figure.subplots()
    for g, risk in enumerate(risks):
        curve = Curve(label(experiment, g) + " (diverged)" * bool(diverged[g]), g, top)
        curve.draw(axes, steps, risk, exact_risk(experiment, g, steps[few]), few)
    line: dict[str, Any] = EXACT
    axes.plot([], [], label="exact expectation", **line)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(LogFormatter(minor_thresholds=(np.inf, np.inf)))
    axes.set_xlabel("step $t$")
    axes.set_ylabel("excess risk")
    replicas = experiment.replicas.size
    spread = f", and range of {replicas} replicas" if replicas > 1 else ""
    axes.set_title(f"Monte Carlo: {'mean' if replicas > 1 else 'one replica'}{spread}")
    axes.legend()
    describe(
        figure, f"{experiment.problem!r}, {experiment.sampling} sampling, seed {experiment.seed}"
    )
