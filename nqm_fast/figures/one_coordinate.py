"""One coordinate: convergence rate and steady-state risk against momentum."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..algorithms.sgd import SGD
from ..drawing.study import Study
from ..drawing.style import GREY, SERIES
from ..exact.risk import expected_risk
from ..machine.jobs import Job, Solved
from ..output.columns import Table
from ..problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 9
TITLE = "One coordinate at ηh = 0.0005: what momentum gains and costs"
PAPER = "figure 2: convergence rate and steady-state risk against momentum"
OWN_PROBLEM = True

LR_H = 0.0005
"""Learning rate times curvature."""
CRITICAL_MOMENTUM = (1.0 - math.sqrt(LR_H)) ** 2
"""Momentum of critical damping, at which the mean decays fastest."""
MOMENTUM_GAPS = np.geomspace(1.0, 1e-3, 301)
"""Values of 1 - momentum."""
SOLVER_EVERY = 25
"""The exact solver checks the closed form at every so many of these values."""
LATE_STEP = 10**8
"""A step at which the risk has reached its steady state."""


def steady_state() -> list[float]:
    """Solve for the steady-state risk at some of the momenta (a job)."""
    one = Problem([1.0])
    momenta = (1.0 - MOMENTUM_GAPS[::SOLVER_EVERY]).tolist()
    return [expected_risk(one, SGD(LR_H, momentum=beta), 1, LATE_STEP) for beta in momenta]


def jobs(_: Study) -> list[Job]:
    """List the only job, which checks the closed form."""
    return [Job(steady_state)]


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate closed forms for all momenta, and the exact solver's risk for some."""
    beta = 1.0 - MOMENTUM_GAPS
    trace = 1.0 - LR_H + beta
    root = (trace + np.sqrt(trace**2 - 4.0 * beta + 0j)) / 2.0
    solver = np.full(MOMENTUM_GAPS.size, np.nan)
    solver[::SOLVER_EVERY] = solved[jobs(study)[0]]
    return {
        "momentum": beta,
        "rate": -np.log(np.abs(root)),
        "steady_state_risk": (1.0 + beta)
        * LR_H
        / (2.0 * (2.0 * beta + 2.0 - LR_H) * MOMENTUM_GAPS),
        "steady_state_risk_solver": solver,
    }


def plot(figure: Figure, table: Table, _: Study) -> None:
    """Draw convergence rate and steady-state risk one above the other, against momentum."""
    figure.set_size_inches(7, 6)
    figure.suptitle(TITLE)
    above, below = figure.subplots(2, 1, sharex=True)
    gap = 1.0 - table["momentum"]
    above.loglog(gap, table["rate"], color=SERIES[0]["color"])
    above.set_ylabel("convergence rate per step\n" + r"$-\ln\,\max|r|$")
    below.loglog(gap, table["steady_state_risk"], color=SERIES[0]["color"], label="closed form")
    below.loglog(
        gap,
        table["steady_state_risk_solver"],
        linestyle="none",
        marker="o",
        markerfacecolor="none",
        clip_on=False,
        color=SERIES[1]["color"],
        label=r"exact solver, $t = 10^8$",
    )
    below.set_ylabel("steady-state excess risk\n($h = c = B = 1$)")
    below.legend(loc="upper left")
    for axes in (above, below):
        axes.axvline(1.0 - CRITICAL_MOMENTUM, color=GREY, linestyle="--", linewidth=1)
    critical = rf"critical damping, $\beta = (1 - \sqrt{{\eta h}})^2 = {CRITICAL_MOMENTUM:.4f}$"
    above.text((1.0 - CRITICAL_MOMENTUM) * 0.93, table["rate"].min() * 1.1, critical, color=GREY)
    below.set_xlim(1.0, MOMENTUM_GAPS[-1])
    momenta = (0, 0.5, 0.9, 0.99, 0.999)
    below.set_xticks([1.0 - beta for beta in momenta], [f"{beta:g}" for beta in momenta])
    below.set_xlabel(r"momentum $\beta$")
