"""Real minibatch SGD on real data, compared with the prediction of the model."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..algorithms.sgd import SGD
from ..drawing.study import Study
from ..drawing.style import SERIES, add_caption, add_legend
from ..exact.risk import expected_risk
from ..foundation.validation import InputError
from ..machine.jobs import Job, Solved
from ..output.columns import Table, distinct_values, rows_where, table_of_rows
from ..problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 10
TITLE = "Real data: SGD on the digits images, and what the model predicts of it"
PAPER = "none: real data, which the paper has of neural networks"
OWN_PROBLEM = True

BATCHES = (4, 16, 64)
LR = 0.03
RIDGE = 1e-3
MODELS = "expected_risk", "additive_risk"
"""Noise exactly that of the data set, and that at the optimum everywhere."""
DRAWS = 3200
"""Rows that all runs together draw in a step, so that small batches have more runs."""
STEPS = 2000
SEED = 0

Array = NDArray[np.float64]


def experiment() -> list[tuple[int, int, float, float, float, float]]:
    """Run all batch sizes (one job, because loading scikit-learn takes as long as the runs)."""
    from sklearn.datasets import load_digits

    pixels, label = load_digits(return_X_y=True)
    x, y = pixels / 16.0, label.astype(np.float64)
    problem = Problem.from_least_squares(x, y, ridge=RIDGE, noise="data")
    additive = problem.with_noise(None)
    steps = np.unique(np.geomspace(1, STEPS, 24).round().astype(np.int64))
    rows = []
    for batch in BATCHES:
        excess = descend(x, y, batch, steps)
        error = excess.std(axis=1, ddof=1) / (DRAWS // batch) ** 0.5
        predicted = [expected_risk(model, SGD(LR), batch, steps) for model in (problem, additive)]
        table = zip(steps.tolist(), excess.mean(axis=1), error, *predicted, strict=True)
        rows += [(batch, *row) for row in table]
    return rows


def descend(x: Array, y: Array, batch: int, steps: NDArray[np.int64]) -> Array:
    """Measure the excess loss of independent runs at the given steps, shape (steps, runs).

    Rows are drawn with replacement; weights start at zero.
    """
    n, d = x.shape
    runs = DRAWS // batch
    hessian = x.T @ x / n + RIDGE * np.eye(d)
    optimum = np.linalg.solve(hessian, x.T @ y / n)
    rng = np.random.default_rng([SEED, batch])
    w = np.zeros((runs, d))
    excess = []
    for step in range(1, int(steps[-1]) + 1):
        drawn = rng.integers(n, size=(runs, batch))
        rows = x[drawn]
        residual = np.matmul(rows, w[:, :, None])[:, :, 0] - y[drawn]
        gradient = np.matmul(residual[:, None, :], rows)[:, 0] / batch + RIDGE * w
        w -= LR * gradient
        if step in steps:
            gap = w - optimum
            excess.append(0.5 * np.einsum("ri,ri->r", gap @ hessian, gap))
    return np.array(excess)


def jobs(_: Study) -> list[Job]:
    """List the only job, or raise an InputError where the data is not installed."""
    if importlib.util.find_spec("sklearn") is None:
        raise InputError("the figure digits needs scikit-learn: pip install 'nqm-fast[figures]'")
    return [Job(experiment, long=True)]


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate measured and predicted excess loss."""
    names = "batch_size", "step", "mean_excess_loss", "standard_error", *MODELS
    return table_of_rows(names, solved[jobs(study)[0]])


def plot(figure: Figure, table: Table, _: Study) -> None:
    """Draw predictions as lines and measurements as markers, and below them their ratio.

    Dashed lines are where noise is the same everywhere.
    """
    figure.set_size_inches(7, 6)
    figure.suptitle(TITLE)
    described = "label regressed on 64 pixels of 1797 images"
    add_caption(figure, rf"{described}; $\eta = {LR:g}$, ridge {RIDGE:g}; bars: 2 standard errors")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    batches = distinct_values(table, "batch_size")
    for batch, series in zip(batches, SERIES, strict=False):
        rows = rows_where(table, batch_size=batch)
        measured, model, additive = (rows[name] for name in ("mean_excess_loss", *MODELS))
        dashed: dict[str, Any] = {"color": series["color"], "linestyle": "--", "linewidth": 1}
        above.plot(rows["step"], additive, **dashed)
        below.plot(rows["step"], additive / model, **dashed)
        points: dict[str, Any] = {**series, "linestyle": "none", "capsize": 3}
        above.plot(rows["step"], model, color=series["color"])
        above.errorbar(rows["step"], measured, 2.0 * rows["standard_error"], **points)
        ratio, error = measured / model, rows["standard_error"] / model
        below.errorbar(rows["step"], ratio, 2.0 * error, **points)
    above.set_xscale("log")
    above.set_yscale("log")
    above.set_ylabel("excess loss over the optimum")
    below.axhline(1.0, color="black", linewidth=1)
    below.set_ylabel("SGD / model")
    below.set_xlabel("step $t$")
    entries: list[tuple[str, dict[str, Any]]] = [
        (f"SGD, $B = {batch}$: mean of {DRAWS // batch} runs", {**series, "linestyle": "none"})
        for batch, series in zip(batches, SERIES, strict=False)
    ]
    add_legend(
        above,
        [
            *entries,
            ("model, noise of the data", {"color": "black"}),
            ("model, noise of the optimum", {"color": "black", "linestyle": "--", "linewidth": 1}),
        ],
        "lower left",
    )
