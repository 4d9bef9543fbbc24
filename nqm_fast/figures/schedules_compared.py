"""Named schedules, each tuned, against the best learning rates and batch sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..algorithms.sgd import SGD
from ..drawing.study import Study
from ..drawing.style import GREY, SERIES, add_caption, wrapped
from ..exact.control.optimal_control import optimal_control
from ..exact.control.schedule_comparison import NAMES, OPTIMAL, Comparison, compare_schedules
from ..exact.risk import expected_risk
from ..machine.jobs import Job, Solved
from ..output.columns import Table, distinct_values, rows_where, table_of_rows
from ..schedules import Piecewise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..problem import Problem

ORDER = 8
TITLE = "A plateau with a late decay is near the best learning rate; growing batches save the rest"
SUBJECT = "Named schedules against the best learning rates and batch sizes"
PAPER = "none: the paper has constant learning rates and its own schedules"

STEPS, SAMPLES = 8192, 1 << 20
HORIZONS = tuple(2.0 ** (k / 2) for k in range(-6, 5))
SCALED_FROM = 1
"""The batch size whose best learning rate is scaled up."""
SCALED_TO = tuple(2**k for k in range(12))
SCALED_SAMPLES = 1 << 17
PHASES = 4
FIRST_RATES = tuple(2.0**-k for k in range(8))
"""Learning rates of the first phase, relative to the largest stable one."""
FAMILIES = {
    "halve lr": (0.5, 1.0, 2.0),
    "double B": (1.0, 2.0, 1.0),
    "large B first": (1.0, 0.5, 1.0),
}
"""Factors of learning rate, batch size and steps from phase to phase."""
LEAST_SIZE, PHASE_STEPS = 16, 256
"""The batch size and the steps of the smallest phase."""

Row = tuple[str, str, float, float]


def compared(study: Study) -> Comparison:
    """Compare all schedules (a job)."""
    return compare_schedules(study.problem, SAMPLES, STEPS, NAMES, horizons=HORIZONS)


def scaled(study: Study) -> list[Row]:
    """Scale a learning rate up with the batch size, for equal samples (a job)."""
    problem = study.problem
    base = _best_constant(problem, SCALED_FROM)
    rows: list[Row] = []
    for size in SCALED_TO:
        factor = size / SCALED_FROM
        for rule, lr in (
            ("linear scaling", base * factor),
            ("square-root scaling", base * factor**0.5),
            ("tuned", _best_constant(problem, size)),
        ):
            if lr < study.largest_lr:
                risk = expected_risk(problem, SGD(lr), size, SCALED_SAMPLES // size)
                rows.append(("scaling", rule, float(size), float(risk)))
    return rows


def _best_constant(problem: Problem, size: int) -> float:
    """Find the best constant learning rate of a batch size."""
    steps = SCALED_SAMPLES // size
    best: Any = optimal_control(problem, steps=steps, samples=steps * size, over=())
    return float(best.lr.values_[0])


def phased(study: Study) -> list[Row]:
    """Halve the learning rate, or double or halve the batch size, in phases (a job)."""
    rows: list[Row] = []
    for part in FIRST_RATES:
        for family, (by_rate, by_size, by_steps) in FAMILIES.items():
            powers = np.arange(PHASES)
            sizes = LEAST_SIZE * by_size**powers
            lengths = (PHASE_STEPS * by_steps**powers).astype(int).tolist()
            first = 0.5 * part * study.largest_lr
            lr = Piecewise((first * by_rate**powers).tolist(), lengths)
            grown = sizes * max(1.0, LEAST_SIZE / sizes.min())
            batch = Piecewise(grown.tolist(), lengths)
            risk = expected_risk(study.problem, SGD(lr), batch, sum(lengths))
            rows.append(("phases", family, first, float(risk)))
    return rows


def jobs(study: Study) -> list[Job]:
    """List the jobs of all panels."""
    alone = study._replace(batch_sizes=None)
    return [Job(work, (alone,)) for work in (compared, scaled, phased)]


def compute(study: Study, solved: Solved) -> Table:
    """Tabulate what panels show: learning rates over time, excess at horizons, scaled rates."""
    comparison, *others = (solved[job] for job in jobs(study))
    rows = list(_compared_rows(comparison))
    for more in others:
        rows += more
    return table_of_rows(("panel", "schedule", "x", "y"), rows)


def _compared_rows(comparison: Comparison) -> Iterator[Row]:
    """Yield learning rates and excess risks of schedules, and the best batch sizes."""
    at = np.unique(np.concatenate([np.linspace(0, STEPS - 1, 200), STEPS - np.geomspace(1, 99)]))
    at = np.unique(at.astype(np.int64))
    for row in comparison.schedules:
        for step, lr in zip(at.tolist(), row.lr.values(at).tolist(), strict=True):
            yield "lr", row.name, step / STEPS, lr
        for steps, excess in zip(comparison.horizons.tolist(), row.anytime.tolist(), strict=True):
            yield "excess", row.name, steps / STEPS, excess
    sizes = comparison.optimum.batch_size.values(at)
    for step, size in zip(at.tolist(), sizes.tolist(), strict=True):
        yield "batch size", OPTIMAL, step / STEPS, size


def plot(figure: Figure, table: Table, study: Study) -> None:
    """Draw learning rates, what they leave on the table, and which rules are equivalent."""
    figure.set_size_inches(10.5, 8.0)
    (rates, excess), (scaling, phases) = figure.subplots(2, 2)
    figure.suptitle(study.title(TITLE, SUBJECT), fontsize=11)
    names = distinct_values(rows_where(table, panel="lr"), "schedule")
    looks = dict(zip(names, SERIES, strict=False))
    _draw(rates, rows_where(table, panel="lr"), looks, marker="")
    rates.set(yscale="log", xlabel="part of the steps", ylabel=r"learning rate $\eta$")
    rates.set_title(f"tuned for {STEPS} steps, $2^{{20}}$ samples")
    sizes = rates.twinx()
    rows = rows_where(table, panel="batch size")
    sizes.plot(rows["x"], rows["y"], color=GREY, linestyle=":")
    sizes.set(yscale="log", ylabel="batch size of optimal (dotted)")
    sizes.grid(visible=False)
    shown = rows_where(table, panel="excess")
    kept = shown["schedule"] != OPTIMAL
    _draw(excess, {name: column[kept] for name, column in shown.items()}, looks)
    excess.set(xlabel=f"steps, relative to {STEPS}", ylabel="excess over the best of these steps")
    excess.set_xscale("log", base=2)
    excess.set_yscale("log")
    excess.set_title("stopped early, or gone on with")
    _draw(scaling, rows_where(table, panel="scaling"), {}, legend=True)
    scaling.set(xlabel="batch size", ylabel="excess risk")
    scaling.set_xscale("log", base=2)
    scaling.set_yscale("log")
    scaling.set_title(f"best rate of batch size {SCALED_FROM} scaled, equal samples")
    lines: tuple[dict[str, Any], ...] = (
        {"linewidth": 4.0, "alpha": 0.4},
        {"linestyle": "--"},
        {"linestyle": "-"},
    )
    looks = {name: {**x, **y} for name, x, y in zip(FAMILIES, SERIES, lines, strict=False)}
    _draw(phases, rows_where(table, panel="phases"), looks, legend=True)
    phases.set(xlabel="first learning rate", ylabel="excess risk")
    phases.set_xscale("log", base=2)
    phases.set_yscale("log")
    phases.set_title(f"{PHASES} phases, equal samples in all")
    handles, labels = rates.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    add_caption(
        figure, wrapped(figure, f"{study.caption} Plain SGD in batches of 128, or the best.")
    )


def _draw(
    axes: Axes, table: Table, looks: dict[str, dict[str, Any]], *, legend: bool = False, **more: Any
) -> None:
    """Draw a line for each schedule."""
    for name, series in zip(distinct_values(table, "schedule"), SERIES, strict=False):
        rows = rows_where(table, schedule=name)
        axes.plot(rows["x"], rows["y"], label=name, **{**looks.get(name, series), **more})
    if legend:
        axes.legend()
