"""The view of one's own data: a spectrum with its risk curve, or a run and the exact model."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import Problem, Run, expected_risk, steps_to_target
from ...algorithms.base import LinearAlgorithm
from ...foundation.messages import InputError
from ...foundation.validation import Array
from .. import figures, settings
from ..dropped import Dropped
from ..parameters import Values
from ..view import Numbers, View

LAST_STEP, POINTS = 10**6, 181
MOST_DOTS = 400
"""Eigenvalues that are drawn at most."""
QUANTILES = 0.1, 0.9
"""Between these is the band of a run's replicas."""
EXAMPLE = Dropped("an example, a power law of 1000 coordinates", problem=Problem.power_law(1000))
"""The text that stands there until a file is dropped."""

PARAMETERS = (
    settings.LR,
    settings.BATCH_SIZE,
    settings.MOMENTUM,
    settings.EMA,
    settings.POWER,
    settings.TARGET,
)


def numbers(values: Values, dropped: Dropped | None = None) -> Numbers:
    """Compute the risk on a spectrum, or beside a run."""
    shown = dropped or EXAMPLE
    if shown.run is not None:
        return _of_run(shown.name, shown.run)
    assert shown.problem is not None
    return _of_problem(shown.name, shown.problem, values)


def _of_problem(name: str, problem: Problem, values: Values) -> Numbers:
    """Compute the risk of the setting that is chosen, and the spectrum."""
    method, size = settings.sgd(values), values["batch_size"]
    steps = np.unique(np.geomspace(1, LAST_STEP, POINTS).astype(np.int64))
    rank, h = spectrum(problem)
    return {
        "name": name,
        "kind": "spectrum",
        "dim": problem.dim,
        "dropped": problem.dropped,
        "rank": rank,
        "h": h,
        "steps": steps,
        "risk": expected_risk(problem, method, size, steps),
        "target": values["target"],
        "first": steps_to_target(problem, method, size, values["target"]),
    }


def spectrum(problem: Problem) -> tuple[NDArray[np.int64], Array]:
    """Return ranks and curvatures, the largest first, of some coordinates at equal ratios."""
    rank = np.unique(np.geomspace(1, problem.dim, MOST_DOTS).astype(np.int64))
    if problem.is_power_law:
        return rank, np.array([problem.block(r - 1, r).h[0] for r in rank.tolist()])
    ordered: Array = np.sort(problem.h)[::-1]
    return rank, ordered[rank - 1]


def _of_run(name: str, run: Run) -> Numbers:
    """Compute quantiles of a run's risks, and the exact risk of its settings where there is one."""
    assert run.experiment is not None
    risk = run.risk.reshape(-1, *run.risk.shape[-2:])
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(risk, QUANTILES, axis=1)
        mean = risk.mean(axis=1)
    rank, h = spectrum(run.experiment.problem)
    exact = []
    for setting in run.experiment.settings[:MOST_SETTINGS]:
        curve = np.full(run.steps.shape, np.nan)
        if isinstance(setting.algorithm, LinearAlgorithm):
            # where there is no exact answer, as for data sets of many coordinates, it stays empty
            with suppress(InputError):
                curve = expected_risk(
                    run.experiment.problem, setting.algorithm, setting.batch_size, run.steps
                )
        exact.append(curve)
    return {
        "name": name,
        "kind": "run",
        "rank": rank,
        "h": h,
        "status": run.status,
        "replicas": risk.shape[1],
        "settings": [repr(setting.algorithm) for setting in run.experiment.settings],
        "steps": run.steps,
        "mean": mean[:MOST_SETTINGS],
        "low": low[:MOST_SETTINGS],
        "high": high[:MOST_SETTINGS],
        "exact": np.array(exact),
    }


MOST_SETTINGS = len(figures.COLORS)
"""Settings of a run that are drawn; more could not be told apart."""


SETTINGS_CODE = f"""\
exact = []
for setting in run.experiment.settings[:{MOST_SETTINGS}]:
    try:
        curve = nqm.expected_risk(problem, setting.algorithm, setting.batch_size, steps)
    except nqm.InputError:  # there is no exact answer
        curve = np.full(steps.shape, np.nan)
    exact.append(curve)"""


def code(values: Values, dropped: Dropped | None = None) -> str:
    """Write a program that computes the same, of a file in the working folder."""
    shown = dropped or EXAMPLE
    hint = f"# start it where {shown.name!r} is, or write that file's whole path"
    if shown.run is not None:
        assert shown.run.experiment is not None
        return "\n".join(
            [
                settings.IMPORTS,
                f"run = nqm.open_run({shown.name!r})  {hint}",
                "problem, steps = run.experiment.problem, run.steps",
                *_spectrum_code(shown.run.experiment.problem),
                f"risk = run.risk.reshape(-1, *run.risk.shape[-2:])[:{MOST_SETTINGS}]"
                "  # setting, replica, record",
                f"low, high = np.quantile(risk, {list(QUANTILES)}, axis=1)",
                "mean = risk.mean(axis=1)",
                SETTINGS_CODE,
                "print(mean[:, -1])",
            ]
        )
    assert shown.problem is not None
    made = (
        "problem = nqm.Problem.power_law(1000)"
        if dropped is None
        else f"problem = nqm.read_spectrum({shown.name!r})  {hint}"
    )
    method, size = settings.method_code(settings.sgd(values)), values["batch_size"]
    return "\n".join(
        [
            settings.IMPORTS,
            made,
            *_spectrum_code(shown.problem),
            f"method, batch_size, target = {method}, {size}, {values['target']!r}",
            f"steps = np.unique(np.geomspace(1, {LAST_STEP}, {POINTS}).astype(np.int64))",
            "risk = nqm.expected_risk(problem, method, batch_size, steps)",
            "first = nqm.steps_to_target(problem, method, batch_size, target)",
            'print(f"{first:g} steps to {target:g}, risk {risk[-1]:.4g} in the end")',
        ]
    )


def _spectrum_code(problem: Problem) -> list[str]:
    """Write code for what `spectrum` returns."""
    if problem.is_power_law:
        curvatures = "np.array([problem.block(r - 1, r).h[0] for r in rank.tolist()])"
    else:
        curvatures = "np.sort(problem.h)[::-1][rank - 1]"
    return [
        f"rank = np.unique(np.geomspace(1, problem.dim, {MOST_DOTS}).astype(np.int64))",
        f"h = {curvatures}",
    ]


def words(found: Numbers) -> str:
    """Say what was dropped, and the main result."""
    if found["kind"] == "run":
        count = len(found["settings"])
        several = (
            f", the first {MOST_SETTINGS} of {count} settings" if count > MOST_SETTINGS else ""
        )
        return (
            f"{found['name']}: a run that is {found['status']}, {found['replicas']} replicas, "
            f"{len(found['steps'])} records{several}. Mean risk at its last record: "
            f"{', '.join(f'{mean[-1]:.4g}' for mean in found['mean'])}."
        )
    first = found["first"]
    reached = (
        f"the risk {found['target']:g} is never reached"
        if math.isinf(first)
        else f"the risk {found['target']:g} is reached after {first:,.0f} steps"
    )
    lost = f" {found['dropped']}." if found["dropped"] else ""
    return f"{found['name']}: {found['dim']:,} coordinates; with this setting {reached}.{lost}"


class Picture:
    """The spectrum and a risk curve; or mean and band of a run's replicas, and the exact risk."""

    def __init__(self) -> None:
        self.spectrum = figures.source("spectrum", rank=[], h=[])
        left = figures.new_figure("rank", "curvature h", x_log=True, y_log=True, height=400)
        left.scatter("rank", "h", source=self.spectrum, color=figures.COLORS[0], size=5)
        right = figures.new_figure("steps", "excess risk", x_log=True, y_log=True, height=400)
        self.rows = [[left, right]]
        self.target = figures.source("target", x=[], y=[])
        right.line("x", "y", source=self.target, color=figures.NEUTRAL, line_width=1.5)
        self.series = []
        named: list[tuple[str, list[Any]]] = []
        for k, color in enumerate(figures.COLORS):
            curve = figures.source(f"curve {k}", x=[], mean=[], exact=[])
            band = figures.source(f"band {k}", x=[], y=[])
            area = right.patch("x", "y", source=band, color=color, fill_alpha=0.2, line_alpha=0.0)
            mean = right.line("x", "mean", source=curve, color=color, line_width=2.5)
            exact = right.line(
                "x", "exact", source=curve, color=color, line_width=2, line_dash="dashed"
            )
            named.append(("", [mean, area, exact]))
            self.series.append((curve, band))
        self.items = figures.add_legend(right, named, columns=1)

    def show(self, numbers: Numbers) -> None:
        """Draw these numbers instead of those before."""
        (left, right), is_run = self.rows[0], numbers["kind"] == "run"
        self.spectrum.data = {"rank": numbers["rank"], "h": numbers["h"]}
        figures.show_all_of_log(left.x_range, numbers["rank"])
        figures.show_all_of_log(left.y_range, numbers["h"])
        for item in self.items:
            item.visible = False
        for curve, band in self.series:
            curve.data, band.data = {"x": [], "mean": [], "exact": []}, {"x": [], "y": []}
        shown = self._show_run(numbers) if is_run else self._show_problem(numbers)
        steps = numbers["steps"]
        figures.show_decades(right, steps)
        figures.show_all_of_log(right.y_range, *shown, decades=8)

    def _show_problem(self, numbers: Numbers) -> list[Array]:
        """Draw a spectrum and its curve; gives what is to be seen."""
        steps, risk = numbers["steps"], figures.drawable(numbers["risk"])
        gap = np.full(risk.shape, np.nan)
        self.series[0][0].data = {"x": steps, "mean": risk, "exact": gap}
        self.items[0].update(visible=True, label={"value": "expected risk"})
        self.target.data = {"x": [1, LAST_STEP], "y": [numbers["target"]] * 2}
        return [np.minimum(risk, 10 * risk[0]), np.array([numbers["target"]])]

    def _show_run(self, numbers: Numbers) -> list[Array]:
        """Draw a run; gives what is to be seen."""
        steps, there = numbers["steps"], numbers["steps"] > 0
        self.target.data = {"x": [], "y": []}
        rows = zip(*(numbers[name] for name in ("mean", "low", "high", "exact")), strict=True)
        for k, row in enumerate(rows):
            mean, low, high, exact = (figures.drawable(x[there]) for x in row)
            curve, band = self.series[k]
            curve.data = {"x": steps[there], "mean": mean, "exact": exact}
            seen = np.isfinite(low) & np.isfinite(high)
            x = steps[there][seen]
            band.data = {
                "x": np.concatenate([x, x[::-1]]),
                "y": np.concatenate([low[seen], high[seen][::-1]]),
            }  # fmt: skip
            self.items[k].update(visible=True, label={"value": numbers["settings"][k]})
        return [numbers["low"], numbers["high"], numbers["exact"]]


VIEW = View(
    name="data",
    short="Your data",
    title="Your own spectrum, or your run",
    intro=(
        "Drop a spectrum (.npz, .npy, .csv, .txt) or a problem that was saved, and see its risk "
        "for a setting; or the HDF5 file of a run: mean and 10 % to 90 % of its replicas, and the "
        "exact risk, dashed. A link keeps the setting, not the file."
    ),
    parameters=PARAMETERS,
    numbers=numbers,
    words=words,
    code=code,
    results=("rank", "h", "steps", "risk", "first", "low", "high", "mean", "exact"),
    picture=Picture,
    takes_file=True,
)
