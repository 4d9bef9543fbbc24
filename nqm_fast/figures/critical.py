"""Four definitions of the critical batch size, and the noise scale over training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..algorithms.sgd import SGD
from ..drawing.critical import LABELS, definition_styles
from ..drawing.study import DIM, TARGET, Study
from ..drawing.style import DASHED, SERIES, SOLID, add_caption, add_legend, wrapped
from ..exact.batches.critical import by_every_definition
from ..exact.batches.tuned_sizes import TunedSizes
from ..exact.noise_scale import noise_scale
from ..exact.risk import expected_risk
from ..exact.tuning import tune
from ..foundation.validation import Array
from ..machine.jobs import Job, Solved
from ..output.columns import Table, distinct_values, rows_where, table_of_rows
from ..problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 12
TITLE = "Critical batch sizes differ, and the noise scale does not know of momentum"
PAPER = "section 3: the critical batch size, by more than one definition"
OWN_PROBLEM = True

TARGETS = {0.0: (0.01, 0.03, 0.1, 0.3, 1.0), 0.95: (0.01, 0.1, 1.0)}
"""Targets by momentum; with momentum each takes longer."""
EXPONENTS = (0.6, 0.8, 1.0, 1.25, 1.5)
POINTS = 120
"""Steps at which the noise scale is drawn."""
MOST = 10**10
"""Steps up to which targets may take; some exponents need many at a batch size of 1."""

# The published finding: the noise scale is near 0 at first, rises, and levels off.
NEAR_ZERO = 0.1
"""Part of the last value that the first may be, to be near 0."""
LEVEL = 0.95
"""Part of the last value that the one at half of the steps must be, to have levelled off."""
FALL = 0.99
"""Part of any earlier value that all must be, to rise."""

Row = tuple[str, str, float, float, float]


class Training(NamedTuple):
    """A training, tuned for the target, along which the noise scale is drawn."""

    over: tuple[str, ...]
    batch_size: int


TRAININGS = (
    Training(("lr",), 64),
    Training(("lr",), 2**18),
    Training(("lr", "momentum"), 64),
    Training(("lr", "momentum"), 2**18),
)


def definitions(panel: str, x: float, momentum: float) -> list[Row]:
    """Find the critical batch size by each definition (a job).

    `x` is the target, or the exponent of the spectrum at the same target over the initial risk.
    """
    problem, target = Problem.power_law(DIM), x
    if panel == "exponent":
        share = TARGET / _initial_risk(problem)
        problem = Problem.power_law(DIM, x)
        target = share * _initial_risk(problem)
    sizes = TunedSizes(problem, target, ("lr",), SGD, MOST, "full", {"momentum": momentum})
    found = by_every_definition(sizes)
    return [(panel, name, momentum, x, one.value) for name, one in found.items()]


def _initial_risk(problem: Problem) -> float:
    return float(expected_risk(problem, SGD(0.0), 1.0, 0))


def scale_over_time(number: int) -> list[Row]:
    """Compute the noise scale along one of the trainings (a job)."""
    over, size = TRAININGS[number]
    problem = Problem.power_law(DIM)
    best: Any = tune(problem, size, TARGET, over)
    early = np.geomspace(1, best.steps, POINTS)
    steps = np.unique(np.append(early, best.steps / 2).round().astype(np.int64))
    scale = noise_scale(problem, best.algorithm, size, np.append(0, steps)).weighted
    shares = np.append(0, steps) / best.steps
    rows = zip(shares.tolist(), scale.tolist(), strict=True)
    return [("time", str(number), best.algorithm.momentum, *row) for row in rows]


def jobs(_: Study) -> list[Job]:
    """List the jobs: definitions by target and by exponent, and the noise scale over time."""
    by_target = [
        Job(definitions, ("target", x, m)) for m, targets in TARGETS.items() for x in targets
    ]
    by_exponent = [Job(definitions, ("exponent", x, 0.0)) for x in EXPONENTS]
    trainings = [Job(scale_over_time, (k,)) for k in range(len(TRAININGS))]
    return [*by_target, *by_exponent, *trainings]


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate all curves, one below the other.

    The column series has the definition, or the number of a training; x the target, the exponent,
    or the share of the training's steps.
    """
    rows = [row for job in jobs(study) for row in solved[job]]
    return table_of_rows(("panel", "series", "momentum", "x", "value"), rows)


def finding(shares: Array, scale: Array) -> str:
    """Say in words which parts of the published finding a training shows."""
    half = int(np.argmin(np.abs(shares - 0.5)))
    starts = scale[0] <= NEAR_ZERO * scale[-1]
    rises = bool((scale >= FALL * np.maximum.accumulate(scale)).all())
    levels = LEVEL <= scale[half] / scale[-1] <= 1.0 / LEVEL
    parts = {"near 0 at first": starts, "rises": rises, "levels off": levels}
    missing = [name for name, is_seen in parts.items() if not is_seen]
    return "all seen" if not missing else f"not seen: {', '.join(missing)}"


def plot(figure: Figure, table: Table, _: Study) -> None:
    """Draw definitions by target and by exponent, and the noise scale over time."""
    figure.set_size_inches(14, 5.4)
    figure.suptitle(TITLE)
    add_caption(
        figure,
        wrapped(
            figure,
            f"The power law of {DIM} coordinates, $h_i=c_i=1/i$, or $i$ to another power in the "
            f"middle, where the target is the same part of the initial risk as {TARGET:g} is on "
            "the left. The learning rate is tuned at every batch size. The knee is the samples at "
            "$B=1$ over the steps without noise; the overhead is 20 % more samples; the noise "
            "scale is $tr(HC)/E[G^T H G]$ at the end of the best training at $B=1$. Right: "
            f"trainings to {TARGET:g}, whose learning rate, and momentum if there is any, are "
            "tuned; published: the noise scale is near 0 at first, rises, and levels off.",
        ),
    )
    left, middle, right = figure.subplots(1, 3)
    styles = definition_styles()
    for axes, panel in ((left, "target"), (middle, "exponent")):
        for name, series in styles.items():
            for momentum, line in zip(TARGETS, (SOLID, DASHED), strict=True):
                rows = rows_where(table, panel=panel, series=name, momentum=momentum)
                axes.plot(rows["x"], rows["value"], **{**series, **line})
        axes.set_yscale("log")
        axes.set_ylabel("critical batch size")
    left.set_xscale("log")
    left.set_title("harder targets: larger batches")
    middle.set_title("steeper spectra: definitions change places")
    left.set_xlabel("target excess risk")
    middle.set_xlabel("exponent of the spectrum")
    entries = [(label, styles[name]) for name, label in LABELS.items()]
    add_legend(middle, entries, "upper left")
    middle.set_ylim(top=8000)
    lines = [
        (f"momentum {momentum:g}", {"color": "black", **line})
        for momentum, line in zip(TARGETS, (SOLID, DASHED), strict=True)
    ]
    add_legend(left, lines, "upper right")
    _draw_scales(right, rows_where(table, panel="time"))


def _draw_scales(axes: Any, table: Table) -> None:
    """Draw the noise scale over the share of a training that is done."""
    entries: list[tuple[str, dict[str, Any]]] = []
    for number, series in zip(distinct_values(table, "series"), SERIES, strict=False):
        rows = rows_where(table, series=number)
        over, size = TRAININGS[int(number)]
        look = {"color": series["color"]} | (SOLID if over == ("lr",) else {"linestyle": "--"})
        axes.loglog(rows["x"][1:], rows["value"][1:], **look)
        name = "plain SGD" if over == ("lr",) else "momentum"
        text = f"$2^{{{int(np.log2(size))}}}$"
        entries.append((f"{name}, $B=${text}: {finding(rows['x'], rows['value'])}", look))
    axes.set_title("the noise scale of a training")
    axes.set_ylim(top=1e7)  # room for the legend
    axes.set_xlabel("share of the training's steps")
    axes.set_ylabel("noise scale (samples)")
    add_legend(axes, entries, "upper left", title="published finding")
