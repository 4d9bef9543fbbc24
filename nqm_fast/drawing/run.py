"""The figure of a simulation: its curves, their spread, and the exact expectation."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import RuleAlgorithm
from ..exact.risk import expected_risk
from ..foundation.validation import Array, InputError, flag
from ..labels import common_text, setting_labels
from ..problem import Problem
from ..unknown import is_known
from .environment import check_matplotlib
from .looks import Look, look_of, shades
from .study import problem_text
from .style import CAPTION_WIDTH, add_caption

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A run and its experiment are those of the simulation, which stands on this package.

EXACT_POINTS = 200
"""Points of an exact curve, at most: more would not be seen, and take time."""
DIVERGED_FACTOR = 100.0
"""A curve is cut where the risk is that many times the first, as it diverges there."""
EXACT: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1}
MOST_PANELS = 9
"""Settings whose bands are drawn, each in a panel of its own."""
UNFINISHED = {
    "interrupted": "interrupted",
    "running": "still running",
    "killed": "its process was killed",
}


def risk_by_setting(run: Any) -> Array:
    """Return the risk of a run of one or several settings, shape (settings, replicas, records)."""
    risk: Array = run.risk if run.risk.ndim == 3 else run.risk[None]
    return risk


def setting_label(experiment: Any, g: int) -> str:
    """Name a setting by what it has of its own; one that is alone by its algorithm."""
    return setting_labels(experiment.settings)[g]


def exact_risk(
    experiment: Any, g: int, steps: NDArray[np.int64], problem: Problem | None = None
) -> Array:
    """Compute the expected risk of a setting at some steps, in the whole problem or a part.

    It is NaN where the setting's classes are missing, and where the algorithm is not linear.
    """
    algorithm = experiment.settings[g].algorithm
    if not is_known(experiment.settings[g]) or isinstance(algorithm, RuleAlgorithm):
        return np.full(steps.shape, np.nan)
    algorithm, batch_size = experiment.settings[g]
    risk: Array = expected_risk(problem or experiment.problem, algorithm, batch_size, steps)
    return risk


def draw(run: Any, path: Path, bands: bool = False, argument: str = "path") -> Path:
    """Draw a run, also an unfinished one, or its risk by band.

    Raises
    ------
    InputError
        If it has no record after step 0 yet, or no bands, or Matplotlib is not installed.
    """
    from .output import check_picture, write_png

    check_matplotlib()
    check_drawable(run, bands)
    check_picture(path, argument)
    write_png(path, lambda figure, _: plot(figure, run, bands), {})
    return path


def figure_of(run: Any, bands: bool = False) -> Figure:
    """Draw a run into a new figure, which notebooks show.

    Raises
    ------
    InputError
        As `draw` does.
    """
    from .output import new_figure

    check_matplotlib()
    check_drawable(run, bands)
    return new_figure(lambda figure, _: plot(figure, run, bands), {})


def check_drawable(run: Any, bands: bool) -> None:
    """Raise an InputError unless a run has what shall be drawn."""
    flag("bands", bands)
    if run.experiment is None or not (run.steps > 0).any():
        raise InputError(f"the run is {run.status} and has no record after step 0 to draw")
    if bands and run.band_risk is None:
        raise InputError("the run has no bands to draw: simulate it with bands=...")


def plot(figure: Figure, run: Any, bands: bool = False) -> None:
    """Draw a run into an empty figure: all settings, or the bands of each in a panel."""
    if bands:
        _plot_bands(figure, run)
    else:
        _plot_settings(figure, run)


class Curve(NamedTuple):
    """Risks of shape (replicas, steps) at `steps`, and the exact risk at some of them.

    Parts that are above `top` are not drawn.
    """

    steps: NDArray[np.int64]
    risk: Array
    exact_steps: NDArray[np.int64]
    exact: Array
    top: float

    def draw(self, axes: Axes, color: Any, dash: Any = "-", width: float = 2.5) -> bool:
        """Draw mean and range of the risk, and the exact risk on top.

        Returns whether the curve is cut off, as it diverges; there is a mark then.
        """
        risk = np.where(self.risk <= self.top, self.risk, np.nan)
        exact = np.where(self.exact <= self.top, self.exact, np.nan)
        mean = risk.mean(axis=0)
        look: dict[str, Any] = {"color": color, "linewidth": width, "linestyle": dash}
        axes.loglog(self.steps, mean, alpha=0.8, **look)
        if len(risk) > 1:
            low, high = risk.min(axis=0), risk.max(axis=0)
            axes.fill_between(self.steps, low, high, color=color, alpha=0.3, linewidth=0)
        axes.loglog(self.exact_steps, exact, **EXACT | {"linewidth": 0.4 * width})
        shown = np.flatnonzero(np.isfinite(mean))
        is_cut = bool(shown.size and shown[-1] < mean.size - 1)
        if is_cut:
            end = shown[-1]
            mark: dict[str, Any] = {"marker": "x", "markersize": 8, "markeredgewidth": 2}
            axes.plot(self.steps[end : end + 1], mean[end : end + 1], color=color, **mark)
        return is_cut


def _plot_settings(figure: Figure, run: Any) -> None:
    """Draw all settings of a run in one pair of axes."""
    from matplotlib.lines import Line2D

    experiment = run.experiment
    shown, exact_steps = _shown_steps(run)
    risks = risk_by_setting(run)[:, :, shown]
    first = risks[:, :, 0]
    finite = first[np.isfinite(first)]
    top = DIVERGED_FACTOR * float(np.median(finite)) if finite.size else np.inf
    look = look_of(experiment.settings)
    axes = figure.subplots()
    cut = False
    for g, risk in enumerate(risks):
        exact = exact_risk(experiment, g, exact_steps)
        curve = Curve(run.steps[shown], risk, exact_steps, exact, top)
        width = 2.5 if look.scale is None else 1.5
        cut |= curve.draw(axes, look.colors[g], look.dashes[g], width)
    marked = _with_divergence(look, run)
    is_exact = any(not isinstance(s.algorithm, RuleAlgorithm) for s in experiment.settings)
    marked.explain(figure, axes, [Line2D([], [], label="exact expectation", **EXACT)] * is_exact)
    axes.set_xlabel("step $t$")
    axes.set_ylabel("excess risk")
    replicas = experiment.replicas.size
    spread = f", and range of {replicas} replicas" if replicas > 1 else ""
    title = f"Monte Carlo: {'mean' if replicas > 1 else 'one replica'}{spread}"
    axes.set_title("\n".join([title, *_notes(run, cut)]))
    _show_missing_steps(axes, run)
    add_caption(figure, caption(run))


def _shown_steps(run: Any) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Find the records after step 0, as logarithmic axes need, and the steps of exact curves."""
    shown = run.steps > 0
    steps = run.steps[shown]
    chosen = np.unique(np.linspace(0, steps.size - 1, EXACT_POINTS).astype(int))
    return shown, steps[chosen]


def _diverged_at(run: Any) -> NDArray[np.int64]:
    """The first step at which each setting diverged in a replica, (settings,); -1 for none."""
    by_replica = np.reshape(run.diverged_at, risk_by_setting(run).shape[:2])
    never = np.iinfo(np.int64).max
    first = np.where(by_replica >= 0, by_replica, never).min(axis=1)
    return np.where(first == never, -1, first)


def _with_divergence(look: Look, run: Any) -> Look:
    """Say in labels at which step settings diverged."""
    pairs = zip(look.labels, _diverged_at(run).tolist(), strict=True)
    labels = [f"{label} (diverged at step {at})" if at >= 0 else label for label, at in pairs]
    for g, risk in enumerate(risk_by_setting(run)[:, :, run.steps > 0]):
        if not np.isfinite(risk).any():
            labels[g] = labels[g].removesuffix(")") + ", before its first record)"
    return look._replace(labels=labels)


def _notes(run: Any, cut: bool = False) -> list[str]:
    """Say that a run is unfinished, that settings diverged, or that curves are cut off."""
    notes = []
    if run.status in UNFINISHED:
        last, steps = int(run.steps[-1]), run.experiment.steps
        notes.append(f"unfinished, {UNFINISHED[run.status]}: records up to step {last} of {steps}")
    diverged = _diverged_at(run) >= 0
    if diverged.any():
        count = (
            f"{int(diverged.sum())} of {diverged.size} settings"
            if diverged.size > 1
            else "the setting"
        )
        notes.append(f"{count} diverged")
    if cut:
        mark = "\N{MULTIPLICATION SIGN}: here a curve leaves the picture"
        notes[-1:] = [f"{notes[-1]} ({mark})"] if diverged.any() else [*notes[-1:], mark]
    return notes


def _show_missing_steps(axes: Axes, run: Any) -> None:
    """Leave room for the steps of an unfinished run that are not there yet."""
    if run.status in UNFINISHED and run.steps[-1] < run.experiment.steps:
        axes.axvline(float(run.steps[-1]), color="#777777", linewidth=1, linestyle=":")
        axes.set_xlim(right=run.experiment.steps)


def caption(run: Any) -> str:
    """Say in a sentence what was simulated."""
    experiment = run.experiment
    what = common_text(experiment.settings)
    several = len(experiment.settings) > 1
    kind = f" of {what}" if what and not what.startswith("batch") else f" at {what}" if what else ""
    law = "" if experiment.data == "normal" else f" of {experiment.data} data"
    replicas = experiment.replicas.size
    curve = f"the mean of {replicas} replicas" if replicas > 1 else "one replica"
    shard = experiment.coordinates
    part = "" if shard is None else f", a shard of it (coordinates {shard})"
    sentence = (
        f"{'Each curve' if several else 'The curve'} is {curve}{kind}, on "
        f"{problem_text(experiment.problem)}{part}, with {experiment.sampling} sampling{law} from "
        f"seed {experiment.seed}."
    )
    return "\n".join(textwrap.wrap(sentence, CAPTION_WIDTH, break_long_words=False))


def band_problem(problem: Problem, low: float, high: float, last: bool) -> Problem:
    """The coordinates of a problem whose curvatures are in a band."""
    h = problem.h
    inside = (h >= low) & ((h <= high) if last else (h < high))
    parts = {name: getattr(problem, name)[inside] for name in ("c", "mean0", "var0", "count")}
    return Problem(h[inside], **parts)


def _plot_bands(figure: Figure, run: Any) -> None:
    """Draw the risk of each band in shades, and that of all coordinates in grey."""
    experiment = run.experiment
    shown, exact_steps = _shown_steps(run)
    risks = risk_by_setting(run)[:, :, shown]
    by_band = np.reshape(run.band_risk, (*risk_by_setting(run).shape, -1))[:, :, shown]
    count, edges = by_band.shape[-1], experiment.bands
    panels = min(len(risks), MOST_PANELS)
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure.set_size_inches(max(7.0, 3.6 * columns + 2.4), max(5.0, 3.2 * rows + 1.2))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    labels = _with_divergence(look_of(experiment.settings), run).labels
    problems = [
        band_problem(experiment.problem, edges[k], edges[k + 1], k == count - 1)
        if np.any((experiment.problem.h >= edges[k]) & (experiment.problem.h <= edges[k + 1]))
        else None
        for k in range(count)
    ]
    top = DIVERGED_FACTOR * float(np.median(risks[:, :, 0]))
    for g, axes in enumerate(grid.flat):
        if g >= panels:
            axes.set_axis_off()
            continue
        whole = exact_risk(experiment, g, exact_steps)
        Curve(run.steps[shown], risks[g], exact_steps, whole, top).draw(axes, "#999999")
        for k, problem in enumerate(problems):
            if problem is not None:
                exact = exact_risk(experiment, g, exact_steps, problem)
                curve = Curve(run.steps[shown], by_band[g, :, :, k], exact_steps, exact, top)
                curve.draw(axes, shades()(k / max(count - 1, 1)), width=1.8)
        axes.set_title(labels[g])
        _show_missing_steps(axes, run)
    _explain_bands(figure, edges)
    figure.supylabel("excess risk")
    for axes in grid[-1]:
        axes.set_xlabel("step $t$")
    hidden = [f"the first {panels} of {len(risks)} settings"] if panels < len(risks) else []
    title = "Monte Carlo: risk by band of curvature"
    figure.suptitle("\n".join([title, *hidden, *_notes(run)]))
    add_caption(figure, caption(run))


def _explain_bands(figure: Figure, edges: Array) -> None:
    """Add a legend for the bands beside the axes, from the largest curvatures down."""
    from matplotlib.lines import Line2D

    count = edges.size - 1
    entries = [
        Line2D(
            [], [], color=shades()(k / max(count - 1, 1)), linewidth=1.8,
            label=f"{edges[k]:.2g} to {edges[k + 1]:.2g}",
        )
        for k in reversed(range(count))
    ]  # fmt: skip
    entries.append(Line2D([], [], color="#999999", linewidth=2.5, label="all"))
    entries.append(Line2D([], [], label="exact expectation", **EXACT))
    columns = 1 + len(entries) // 25
    figure.legend(handles=entries, loc="outside right upper", title="curvature", ncols=columns)
