"""Noise that grows away from the optimum: what it changes, and real SGD on Gaussian features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..algorithms.sgd import SGD
from ..drawing.study import TARGET, Study
from ..drawing.style import GREY, SERIES, add_caption, add_legend
from ..exact.risk import expected_risk
from ..exact.stability import largest_stable_lr
from ..exact.tuning import tune
from ..machine.jobs import Job, Solved
from ..noise import Gaussian
from ..output.columns import Table, rows_where, table_of_rows
from ..problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 11
TITLE = "Noise that grows away from the optimum matters for small batches"
PAPER = "none: the paper's noise is the same everywhere"
OWN_PROBLEM = True

BATCHES = (1, 4, 64)
"""Batch sizes of the training curves."""
SWEPT = tuple(2**k for k in range(0, 13, 3))
"""Batch sizes at which the learning rate is tuned."""
SWEPT_DIM = 1000
"""Coordinates of the problem whose learning rate is tuned, which takes a second at each size."""
MEASURED_DIM = 100
"""Coordinates of the training curves, which plain SGD on drawn samples has to go through."""
LABEL_NOISE, SHARE = 0.1, 0.5
"""Variance of the labels, and the learning rate as a part of the largest stable one."""
STEPS = 1000
DRAWS = 2048
"""Samples that all runs together draw in a step, so that small batches have more runs."""
SEED = 0
COUPLED, ADDITIVE, MEASURED = "coupled", "additive", "measured"
"""Noise of least squares, noise that is the same everywhere, and real SGD."""

Array = NDArray[np.float64]
Row = tuple[str, int, float, float, float]


def measured_problem() -> Problem:
    """Return the problem of the training curves."""
    return Problem.power_law(MEASURED_DIM).with_noise(Gaussian(label_noise=LABEL_NOISE))


def swept_problems() -> dict[str, Problem]:
    """Return the problem whose learning rate is tuned, with both kinds of noise."""
    problem = Problem.power_law(SWEPT_DIM)
    return {COUPLED: problem.with_noise(Gaussian()), ADDITIVE: problem}


def curves() -> list[Row]:
    """Compute and measure training curves at some batch sizes (a job)."""
    problem = measured_problem()
    steps = np.unique(np.geomspace(1, STEPS, 20).round().astype(np.int64))
    rows: list[Row] = []
    for batch in BATCHES:
        lr = SHARE * largest_stable_lr(problem, SGD(1.0), batch)
        for name, model in ((COUPLED, problem), (ADDITIVE, problem.with_noise(None))):
            predicted = expected_risk(model, SGD(lr), batch, steps)
            rows += [(name, batch, t, x, np.nan) for t, x in zip(steps, predicted, strict=True)]
        runs = DRAWS // batch
        risk = descend(problem.h, lr, batch, steps, runs)
        error = risk.std(axis=1, ddof=1) / runs**0.5
        table = zip(steps, risk.mean(axis=1), error, strict=True)
        rows += [(MEASURED, batch, t, x, e) for t, x, e in table]
    return rows


def descend(h: Array, lr: float, batch: int, steps: NDArray[np.int64], runs: int) -> Array:
    """Measure the excess loss of independent runs at the given steps, shape (steps, runs).

    This is least squares, with normal features and a noisy label drawn for each sample.
    """
    rng = np.random.default_rng([SEED, batch])
    w = rng.normal(size=(runs, h.size))
    excess = []
    for step in range(1, int(steps[-1]) + 1):
        gradient = np.zeros(w.shape)
        for _ in range(batch):
            x = rng.standard_normal(size=w.shape, dtype=np.float32) * np.sqrt(h)
            residual = np.einsum("ri,ri->r", x, w) - LABEL_NOISE**0.5 * rng.normal(size=runs)
            gradient += residual[:, None] * x
        w -= lr / batch * gradient
        if step in steps:
            excess.append(0.5 * (w * w) @ h)
    return np.array(excess)


def stability() -> list[Row]:
    """Compute the largest stable learning rates at all batch sizes (a job)."""
    return [
        (f"{name} limit", batch, np.nan, largest_stable_lr(problem, SGD(1.0), batch), np.nan)
        for name, problem in swept_problems().items()
        for batch in SWEPT
    ]


def tuned_steps(name: str, batch: int) -> Row:
    """Tune the learning rate at a batch size under a kind of noise (a job)."""
    found: Any = tune(swept_problems()[name], batch, TARGET)
    return f"{name} steps", batch, found.steps, found.algorithm.lr.value, np.nan


def jobs(_: Study) -> list[Job]:
    """List the jobs: training curves, limits of stability, and a tuning at every batch size."""
    tuning = [Job(tuned_steps, (name, b)) for name in (COUPLED, ADDITIVE) for b in SWEPT]
    return [Job(curves, long=True), Job(stability), *tuning]


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate all curves, one below the other.

    The column value has risks, or learning rates beside the steps that they take.
    """
    first, second, *tuning = (solved[job] for job in jobs(study))
    names = "quantity", "batch_size", "steps", "value", "standard_error"
    return table_of_rows(names, [*first, *second, *tuning])


def plot(figure: Figure, table: Table, _: Study) -> None:
    """Draw training curves on the left, learning rates in the middle, steps on the right."""
    figure.set_size_inches(12, 4.6)
    figure.suptitle(TITLE)
    add_caption(
        figure,
        f"Left: $d={MEASURED_DIM}$, $h_i=1/i$, labels of variance {LABEL_NOISE:g}, half the "
        "largest stable learning rate; bars: 2 standard errors of real SGD on Gaussian features. "
        f"Middle and right: $d={SWEPT_DIM}$, $h_i=c_i=1/i$, target {TARGET:g}.",
    )
    left, middle, right = figure.subplots(1, 3)
    _draw_curves(left, table)
    styles: dict[str, Any] = {COUPLED: SERIES[0], ADDITIVE: {"color": GREY, "marker": "s"}}
    for name, style in styles.items():
        limit = rows_where(table, quantity=f"{name} limit")
        best = rows_where(table, quantity=f"{name} steps")
        middle.plot(limit["batch_size"], limit["value"], color=style["color"], linestyle=":")
        middle.plot(best["batch_size"], best["value"], **style)
        right.plot(best["batch_size"], best["steps"], **style)
    for axes, label in ((middle, "best learning rate"), (right, "steps to target")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("batch size $B$")
        axes.set_ylabel(label)
    entries = [
        ("noise of least squares", styles[COUPLED]),
        ("noise of the optimum", styles[ADDITIVE]),
        ("largest stable", {"color": "black", "linestyle": ":"}),
    ]
    add_legend(middle, entries, "lower right")


def _draw_curves(axes: Any, table: Table) -> None:
    """Draw training curves as lines, and measurements as markers."""
    entries: list[tuple[str, dict[str, Any]]] = []
    for batch, series in zip(BATCHES, SERIES, strict=False):
        coupled, additive, measured = (
            rows_where(table, quantity=name, batch_size=batch)
            for name in (COUPLED, ADDITIVE, MEASURED)
        )
        color = series["color"]
        axes.plot(coupled["steps"], coupled["value"], color=color)
        axes.plot(additive["steps"], additive["value"], color=color, linestyle="--", linewidth=1)
        points: dict[str, Any] = {**series, "linestyle": "none", "capsize": 3}
        error = 2.0 * measured["standard_error"]
        axes.errorbar(measured["steps"], measured["value"], error, **points)
        entries.append((f"real SGD, $B={batch}$", {**series, "linestyle": "none"}))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("step $t$")
    axes.set_ylabel("excess risk")
    dashed = {"color": "black", "linestyle": "--", "linewidth": 1}
    entries += [("model of least squares", {"color": "black"}), ("same noise everywhere", dashed)]
    add_legend(axes, entries, "lower left")
