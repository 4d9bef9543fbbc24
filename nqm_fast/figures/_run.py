"""The figure of a simulation: its curves, their spread, and the exact expectation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..exact.risk import expected_risk
from ..simulation.experiment import Experiment
from ..simulation.result import Run
from ..validation import Array, InputError
from ._style import SERIES, add_caption

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXACT_POINTS = 200
"""Points of an exact curve, at most: more would not be seen, and take time."""
DIVERGED_FACTOR = 100.0
"""A curve is cut where the risk is that many times the first, as it diverges there."""
EXACT = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1}


def risk_by_setting(run: Run) -> Array:
    """Return the risk of a run of one or several settings, shape (settings, replicas, records)."""
    return run.risk if run.risk.ndim == 3 else run.risk[None]


def setting_label(experiment: Experiment, g: int) -> str:
    """Name a setting by its algorithm, and by its batch size where settings differ in it."""
    setting = experiment.settings[g]
    name = repr(setting.algorithm)
    if all(other.batch_size == setting.batch_size for other in experiment.settings):
        return name
    return f"{name}, B = {setting.batch_size_text}"


def exact_risk(experiment: Experiment, g: int, steps: NDArray[np.int64]) -> Array:
    """Compute the expected risk of a setting at some steps."""
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
    """The curve of one setting, without the parts that are above `top`."""

    name: str
    number: int
    top: float

    def draw(
        self,
        axes: Axes,
        steps: NDArray[np.int64],
        risk: Array,
        exact: Array,
        exact_steps: NDArray[np.int64],
    ) -> None:
        """Draw mean and range of the risk of shape (replicas, steps), and the exact risk on top."""
        color = SERIES[self.number % len(SERIES)]["color"]
        risk = np.where(risk <= self.top, risk, np.nan)
        exact = np.where(exact <= self.top, exact, np.nan)
        mean: dict[str, Any] = {"linewidth": 2.5, "alpha": 0.8, "label": self.name}
        axes.loglog(steps, risk.mean(axis=0), color=color, **mean)
        if len(risk) > 1:
            low, high = risk.min(axis=0), risk.max(axis=0)
            axes.fill_between(steps, low, high, color=color, alpha=0.3, linewidth=0)
        line: dict[str, Any] = EXACT
        axes.loglog(exact_steps, exact, **line)


def _plot(figure: Figure, run: Run, experiment: Experiment | None) -> None:
    """Draw all settings of a run that has an experiment."""
    from matplotlib.ticker import LogFormatter, LogLocator

    assert experiment is not None
    shown = run.steps > 0
    steps = run.steps[shown]
    exact_steps = steps[np.unique(np.linspace(0, steps.size - 1, EXACT_POINTS).astype(int))]
    risks = risk_by_setting(run)[:, :, shown]
    top = DIVERGED_FACTOR * float(np.median(risks[:, :, 0]))
    diverged = np.reshape(run.diverged_at, risks.shape[:2]).max(axis=1) >= 0
    axes = figure.subplots()
    for g, risk in enumerate(risks):
        curve = Curve(setting_label(experiment, g) + " (diverged)" * bool(diverged[g]), g, top)
        exact = exact_risk(experiment, g, exact_steps)
        curve.draw(axes, steps, risk, exact, exact_steps)
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
    add_caption(
        figure, f"{experiment.problem!r}, {experiment.sampling} sampling, seed {experiment.seed}"
    )
