"""Two coordinates as a plane: paths of four methods on one noise stream, over the loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..algorithms.sgd import SGD
from ..drawing.study import Study, unpickled
from ..drawing.style import GREY, SERIES, wrapped
from ..exact.coordinate_moments import chosen_block, moments
from ..foundation.validation import Array, InputError
from ..machine.jobs import Job, Solved
from ..output.columns import Table, rows_where, table_of_rows
from ..problem import Problem
from ..runs.api import simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 9
TITLE = "Two coordinates: where four methods go with the same noise"
PAPER = "none: the lecture's picture of what sections 3.1 to 3.4 compute"
LEAST_DIM = 2
"""Coordinates that a problem must have."""

LECTURE = Problem([1.0, 0.1], mean0=[2.5, 8.0], var0=0.0)
"""A steep and a flat coordinate; the noise of both is their curvature, as in the paper."""
TENTH = 9
"""The second coordinate of a larger problem, unless another is chosen."""
LR_H = 0.3
"""Learning rate times the larger curvature."""
MOMENTUM, EMA, POWER = 0.8, 0.95, 0.5
TIME_CONSTANTS = 3.0
"""Steps of the picture, in those in which the mean of SGD falls to 1/e in the flat direction."""
STEPS = 30, 400
"""The fewest and the most steps of a picture."""
NOISE_SHARE = 0.01
"""Steady-state risk of SGD over the initial risk, by which a batch size is chosen."""
SHOWN_TIMES = 0.06, 0.25, 1.0
"""When ellipses are drawn, as parts of the steps."""
DEVIATIONS, INSIDE = 2.0, 86
"""Half axes of ellipses in standard deviations, and the percentage of runs inside of them."""
SEED = 2
COLUMNS = (
    "optimiser", "steps", "x", "y", "w_x", "w_y", "mean_x", "mean_y", "deviation_x", "deviation_y"
)  # fmt: skip

Row = tuple[Any, ...]


class Plane(NamedTuple):
    """The two coordinates of the picture: x is the flatter one, y the steeper one."""

    problem: Problem  # of these two, in this order
    numbers: tuple[int, int]  # in the problem that they are of
    lr: float
    batch_size: float
    steps: int

    @property
    def algorithms(self) -> dict[str, SGD]:
        """The methods by name; their steps in the steep direction are alike at first."""
        steepest = float(self.problem.h.max())
        return {
            "SGD": SGD(self.lr),
            "momentum": SGD(self.lr, momentum=MOMENTUM),
            "EMA": SGD(self.lr, ema=EMA),
            "preconditioner": SGD(self.lr * steepest**POWER, power=POWER),
        }


def plane_of(
    pickled: bytes | None,
    coordinates: tuple[int, int] | None,
    batch_sizes: tuple[float, ...] | None,
) -> Plane:
    """Choose what to draw: the lecture's problem, or two coordinates of another.

    They start at the root mean square of their start.

    Raises
    ------
    InputError
        If the problem has no such coordinates.
    """
    whole = LECTURE if pickled is None else unpickled(pickled)
    chosen = coordinates or (0, min(TENTH, whole.dim - 1))
    for number in chosen:
        if number >= whole.dim:
            raise InputError(
                f"coordinates must be two from 0 to {whole.dim - 1} for the figure plane, but "
                f"contain {number}"
            )
    numbers = np.array(chosen)
    block = chosen_block(whole, numbers)
    numbers = numbers[np.argsort(block.h, kind="stable")]
    block = chosen_block(whole, numbers)
    start = np.copysign(np.sqrt(block.second_moment), whole.mean0[numbers])
    problem = Problem(block.h, block.c, mean0=start, var0=0.0)
    flat, steep = block.h.tolist()
    lr = LR_H / steep
    steps = round(float(np.clip(TIME_CONSTANTS * steep / (flat * LR_H), *STEPS)))
    if batch_sizes is not None:
        size = batch_sizes[0]
    else:
        steady = 0.25 * lr * float(np.sum(block.c / (1.0 - 0.5 * lr * block.h)))
        initial = 0.5 * float(np.sum(block.h * block.second_moment))
        ratio = steady / (NOISE_SHARE * initial) if initial > 0.0 else 1.0
        size = 2.0 ** max(round(math.log2(ratio)), 0) if ratio > 0.0 else 1.0
    first, second = numbers.tolist()
    return Plane(problem, (first, second), lr, size, steps)


def check(study: Study) -> None:
    """Make sure that the problem has the coordinates."""
    plane_of(study.pickled, study.coordinates, study.batch_sizes)


def walks(
    pickled: bytes | None,
    coordinates: tuple[int, int] | None,
    batch_sizes: tuple[float, ...] | None,
) -> list[Row]:
    """Simulate the paths, and compute their exact means and deviations (a job)."""
    plane = plane_of(pickled, coordinates, batch_sizes)
    problem, algorithms, steps = plane.problem, plane.algorithms, np.arange(plane.steps + 1)
    run = simulate(
        problem,
        list(algorithms.values()),
        plane.batch_size,
        plane.steps,
        record=1,
        seed=SEED,
        trajectory=[0, 1],
        progress=False,
    )
    assert run.trajectory is not None
    rows: list[Row] = []
    for g, (name, algorithm) in enumerate(algorithms.items()):
        exact = moments(problem, algorithm, plane.batch_size, steps)
        columns = np.concatenate(
            [
                run.trajectory.evaluated[g, 0],
                run.trajectory.w[g, 0],
                exact.evaluated_mean,
                np.sqrt(exact.evaluated_variance),
            ],
            axis=1,
        )
        rows += [(name, t, *values) for t, values in enumerate(columns.tolist())]
    return rows


def jobs(study: Study) -> list[Job]:
    """List the only job."""
    return [Job(walks, (study.pickled, study.coordinates, study.batch_sizes))]


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate the paths of evaluated iterates and of w, and exact means and deviations."""
    return table_of_rows(COLUMNS, solved[jobs(study)[0]])


# -- the picture -------------------------------------------------------------------------

FINDINGS = {
    "SGD": "SGD is slow along the flat direction",
    "momentum": "Momentum is faster there, and noisier",
    "EMA": "An average of SGD's iterates is quieter, and late",
    "preconditioner": "A preconditioner evens the directions out",
}
LABEL_PLACES = ((-1, 0), (0, 1), (0, -1))
"""Where the label of each ellipse is: left of it, above or below."""


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw a panel for each method, all over the contours of the loss."""
    plane = plane_of(study.pickled, study.coordinates, study.batch_sizes)
    figure.set_size_inches(9, 7.4)
    figure.suptitle(TITLE)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    limits = _limits(table)
    methods = zip(panels.flat, plane.algorithms.items(), SERIES, strict=False)
    for axes, (name, algorithm), series in methods:
        _draw_contours(axes, plane, limits)
        _draw_method(axes, rows_where(table, optimiser=name), series["color"], name == "EMA")
        axes.set_title(f"{FINDINGS[name]}\n{_hyper_parameters(name, algorithm)}", fontsize=10)
    flat, steep = plane.problem.h
    for axes in panels[1]:
        axes.set_xlabel(f"flat coordinate {_name(plane, 0)}, curvature $h = {flat:.3g}$")
    for axes in panels[:, 0]:
        axes.set_ylabel(f"steep coordinate {_name(plane, 1)}, $h = {steep:.3g}$")
    _add_common_legend(figure, wrapped(figure, _caption(plane)))


def _name(plane: Plane, axis: int) -> str:
    """The symbol of a coordinate, numbered from 1 as in formulas."""
    return f"$w_{{{plane.numbers[axis] + 1}}}$"


def _hyper_parameters(name: str, algorithm: SGD) -> str:
    """The hyper-parameters of a method."""
    extra = {
        "SGD": "",
        "momentum": rf", momentum $\beta = {MOMENTUM:g}$",
        "EMA": rf", average $\gamma = {EMA:g}$",
        "preconditioner": f", preconditioner $H^{{{POWER:g}}}$",
    }
    lr = algorithm.lr.values(np.zeros(1))[0]
    return rf"learning rate $\eta = {lr:.3g}$" + extra[name]


def _caption(plane: Plane) -> str:
    """Say what is drawn."""
    return (
        f"{plane.steps} steps with batch size {plane.batch_size:g} from the root mean square of "
        "the start; all see the same noise. Means and ellipses are exact. "
        "Shades: contours of the population loss."
    )


def _add_common_legend(figure: Figure, caption: str) -> None:
    """Add one legend for all panels, below them, with a caption."""
    from matplotlib.lines import Line2D

    dark = "#333333"
    styles: dict[str, dict[str, Any]] = {
        "start": {"marker": "s", "linestyle": "none", "color": dark},
        "minimum": {"marker": "+", "linestyle": "none", "color": "black", "markersize": 9},
        "one run": {"color": dark},
        "iterates that are averaged": {"color": GREY, "linewidth": 0.6},
        "mean of all runs": {"color": "black", "linestyle": "--"},
        f"{INSIDE} % of runs at step $t$": {
            "marker": "o", "markersize": 10, "linestyle": "none", "color": "#cccccc",
            "markeredgecolor": "black",
        },
    }  # fmt: skip
    handles = [Line2D([], [], label=label, **style) for label, style in styles.items()]
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=6, handlelength=1.8, frameon=False,
        title=caption, title_fontsize=8.5,
    )  # fmt: skip
    legend.get_title().set_color(GREY)


def _limits(table: Table) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of x and y, in which are all paths, ellipses and the minimum."""
    found = []
    for axis in "xy":
        mean, spread = table[f"mean_{axis}"], DEVIATIONS * table[f"deviation_{axis}"]
        values = np.concatenate([table[axis], mean - spread, mean + spread, [0.0]])
        low, high = float(values.min()), float(values.max())
        margin = 0.08 * (high - low or 1.0)
        found.append((low - margin, high + margin))
    return found[0], found[1]


def _draw_contours(
    axes: Axes, plane: Plane, limits: tuple[tuple[float, float], tuple[float, float]]
) -> None:
    """Draw contours of the population loss, at risks that grow as squares, and the minimum."""
    x, y = (np.linspace(low, high, 201) for low, high in limits)
    flat, steep = plane.problem.h
    risk: Array = 0.5 * (flat * x**2 + steep * y[:, None] ** 2)
    levels = float(risk.max()) * np.linspace(0.0, 1.0, 11) ** 2
    axes.contourf(x, y, risk, levels, cmap="Greys", alpha=0.35)
    axes.contour(x, y, risk, levels[1:], colors="white", linewidths=0.8)
    axes.plot(0.0, 0.0, "+", color="black", markersize=9, zorder=6)
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    axes.grid(visible=False)


def _draw_method(axes: Axes, rows: Table, color: str, is_average: bool) -> None:
    """Draw the path of a method, its exact mean, and ellipses around that."""
    if is_average:
        axes.plot(rows["w_x"], rows["w_y"], color=GREY, linewidth=0.6)
    axes.plot(rows["x"], rows["y"], color=color, linewidth=1.2, zorder=3)
    axes.plot(
        rows["mean_x"], rows["mean_y"], color="black", linestyle="--", linewidth=1.2, zorder=4
    )
    for part, place in zip(SHOWN_TIMES, LABEL_PLACES, strict=True):
        _draw_ellipse(axes, rows, round(part * rows["steps"][-1]), color, place)
    axes.plot(rows["x"][0], rows["y"][0], "s", color=color, markersize=7, zorder=6)


def _draw_ellipse(axes: Axes, rows: Table, step: int, color: str, place: tuple[int, int]) -> None:
    """Draw where most runs are at a step, with a label at a side of it."""
    from matplotlib.patches import Ellipse
    from matplotlib.patheffects import withStroke

    x, y = rows["mean_x"][step], rows["mean_y"][step]
    width, height = (DEVIATIONS * rows[f"deviation_{axis}"][step] for axis in "xy")
    axes.add_patch(Ellipse((x, y), 2 * width, 2 * height, color=color, alpha=0.22, lw=0, zorder=2))
    axes.add_patch(
        Ellipse((x, y), 2 * width, 2 * height, fill=False, edgecolor="black", lw=0.9, zorder=5)
    )
    axes.plot(x, y, "o", color="black", markersize=3.5, zorder=5)
    aside, above = place
    axes.annotate(
        f"$t={step}$", (x + aside * width, y + above * height), (4 * aside, 3 * above),
        textcoords="offset points", fontsize=8.5, zorder=7,
        ha="right" if aside else "center", va=("center", "bottom", "top")[above],
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip
