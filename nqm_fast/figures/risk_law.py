"""The law of the risk: densities at several steps, and quantiles around the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..algorithms.sgd import SGD
from ..drawing.study import DIM, Study, problem_text
from ..drawing.style import GREY, SERIES, add_caption
from ..exact.law.distribution import risk_distribution
from ..machine.jobs import Job, Solved
from ..output.columns import Table, distinct_values, rows_where, table_of_rows
from ..problem import Problem
from ..runs.api import simulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 10
TITLE = "One training run is not the mean: the law of the risk"
PAPER = "section 3.1: the expected risk, of which this is the law"
OWN_PROBLEM = True

LR, BATCH_SIZE = 1.0, 16
DENSITY_STEPS = (10, 300, 10_000)
"""Steps at which the whole density is drawn."""
LAST_STEP = 10**5
QUANTILES = (0.05, 0.5, 0.95)
POINTS, BINS, REPLICAS = 161, 40, 20_000
RANGE = (1e-3, 0.99)
"""Quantiles between which densities are drawn."""

Row = tuple[str, int, float, float]


def densities() -> list[Row]:
    """Compute the density of the risk over its mean at some steps (a job)."""
    rows: list[Row] = []
    for step in DENSITY_STEPS:
        law = risk_distribution(Problem.power_law(DIM), SGD(LR), BATCH_SIZE, step)
        low, high = law.quantile(RANGE)
        x = np.linspace(low, high, POINTS)
        density = law.pdf(x) * law.mean
        rows += [("density", step, a, b) for a, b in zip(x / law.mean, density, strict=True)]
    return rows


def histograms() -> list[Row]:
    """Sample the same by simulation (a job)."""
    problem, algorithm = Problem.power_law(DIM), SGD(LR)
    run = simulate(
        problem,
        algorithm,
        BATCH_SIZE,
        DENSITY_STEPS[-1],
        replicas=REPLICAS,
        record=DENSITY_STEPS,
        sampling="collapsed",
        progress=False,
    )
    rows: list[Row] = []
    for k, step in enumerate(DENSITY_STEPS):
        law = risk_distribution(problem, algorithm, BATCH_SIZE, step)
        low, high = law.quantile(RANGE)
        edges = np.linspace(low, high, BINS + 1) / law.mean
        count, _ = np.histogram(run.risk[:, k] / law.mean, edges)
        height = count / (REPLICAS * np.diff(edges))
        middle = 0.5 * (edges[1:] + edges[:-1])
        rows += [("simulated density", step, a, b) for a, b in zip(middle, height, strict=True)]
    return rows


def quantiles() -> list[Row]:
    """Compute quantiles and the mean along training (a job)."""
    steps = np.unique(np.geomspace(1, LAST_STEP, 60).round().astype(np.int64))
    law = risk_distribution(Problem.power_law(DIM), SGD(LR), BATCH_SIZE, steps)
    rows = [("mean", int(t), np.nan, float(x)) for t, x in zip(steps, law.mean, strict=True)]
    for q in QUANTILES:
        risk = law.quantile(q)
        rows += [("quantile", int(t), q, float(x)) for t, x in zip(steps, risk, strict=True)]
    return rows


def jobs(_: Study) -> list[Job]:
    """List the jobs: densities, their simulation, and quantiles."""
    return [Job(densities), Job(histograms), Job(quantiles)]


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate all curves, one below the other.

    The column x has the risk over its mean, or the probability of a quantile.
    """
    rows = [row for job in jobs(study) for row in solved[job]]
    return table_of_rows(("quantity", "steps", "x", "value"), rows)


def plot(figure: Figure, table: Table, _: Study) -> None:
    """Draw densities on the left, and the mean with a band of quantiles on the right."""
    figure.set_size_inches(9, 4.4)
    figure.suptitle(TITLE)
    text = problem_text(Problem.power_law(DIM))
    add_caption(
        figure,
        f"{text[0].upper()}{text[1:]}, plain SGD with learning rate {LR:g} and batch size "
        f"{BATCH_SIZE}; circles: {REPLICAS} simulated runs.",
    )
    left, right = figure.subplots(1, 2)
    densities_only = rows_where(table, quantity="density")
    for step, series in zip(distinct_values(densities_only, "steps"), SERIES, strict=False):
        exact = rows_where(table, quantity="density", steps=step)
        left.plot(exact["x"], exact["value"], color=series["color"], label=f"$t = {step:g}$")
        drawn = rows_where(table, quantity="simulated density", steps=step)
        left.plot(drawn["x"], drawn["value"], "o", markersize=3, mfc="none", color=series["color"])
    left.set_xlabel("excess risk over its mean")
    left.set_ylabel("probability density")
    left.legend(loc="upper right")
    low, middle, high = (rows_where(table, quantity="quantile", x=q) for q in QUANTILES)
    right.fill_between(
        low["steps"], low["value"], high["value"], color=SERIES[0]["color"], alpha=0.25,
        label="90 % of runs",
    )  # fmt: skip
    right.loglog(middle["steps"], middle["value"], color=GREY, linestyle="--", label="median")
    mean = rows_where(table, quantity="mean")
    right.loglog(mean["steps"], mean["value"], color=SERIES[0]["color"], label="expected risk")
    right.set_xlabel("step $t$")
    right.set_ylabel("excess risk")
    right.legend(loc="lower left")
