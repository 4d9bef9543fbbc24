"""The view of batch sizes: steps to a target at each, tuned there, and the critical batch size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import SGD, InputError, frontier
from .. import figures, settings
from ..dropped import Dropped
from ..parameters import Choice, Switch, Values
from ..view import Numbers, View

LARGEST = 20
"""Batch sizes go up to this power of two."""
FEW, MANY = 4, 2
"""From batch size to batch size exponents of two differ by so much; few are fast."""
MOST_STEPS = 10**9
"""Steps after which `frontier` gives up."""
CURVE = np.geomspace(1.0, 2.0**LARGEST, 121)

PARAMETERS = (
    Choice(
        "method",
        "method",
        {
            "sgd": "SGD",
            "momentum": "momentum",
            "ema": "average (EMA)",
            "power": "preconditioner",
        },
        "sgd",
    ),
    settings.MOMENTUM_OF_METHOD,
    settings.EMA_OF_METHOD,
    settings.POWER_OF_METHOD,
    settings.TARGET,
    settings.DIM,
    settings.EXPONENT,
    Switch("fine", "more batch sizes (slower)", False),
)


def method(values: Values) -> SGD:
    """Return the method, whose learning rate is tuned at each batch size."""
    name = values["method"]
    return SGD(1.0) if name == "sgd" else SGD(1.0, **{name: values[name]})


def exponents(values: Values) -> range:
    """Return the exponents of two of the batch sizes."""
    return range(0, LARGEST + 1, MANY if values["fine"] else FEW)


def numbers(values: Values, dropped: Dropped | None = None) -> Numbers:
    """Tune the learning rate at each batch size, and fit the hyperbola of steps and samples."""
    problem, sizes = settings.power_law(values), [2**k for k in exponents(values)]
    try:
        found = frontier(problem, values["target"], sizes, over=("lr",), algorithm=method(values))
    except InputError as error:
        raise InputError(_refusal(values, str(error))) from error
    hyperbola = found.hyperbola
    rates: list[Any] = [best.algorithm.hyper_parameter("lr") for best in found.tuned]
    return {
        "batch_sizes": found.batch_sizes,
        "steps": found.steps,
        "lr": np.array([rate.value for rate in rates]),
        "least_steps": hyperbola.least_steps,
        "least_samples": hyperbola.least_samples,
        "critical": hyperbola.critical_batch_size,
        "target": values["target"],
    }


def _refusal(values: Values, sentence: str) -> str:
    """Say in the words of the page what `frontier` says in those of its arguments."""
    target = f"the target risk {values['target']:g}"
    if sentence.startswith("batch_sizes must be a batch size at which"):
        return (
            f"With batch size 1 {target} is not reached in {MOST_STEPS:,} steps, whatever the "
            "learning rate: choose a higher target, fewer coordinates or a steeper spectrum."
        )
    if sentence.startswith("target must be below the initial risk"):
        return f"Training begins at or below {target}: choose a lower one."
    return sentence


def code(values: Values, dropped: Dropped | None = None) -> str:
    """Write a program that computes the same."""
    step = exponents(values).step
    return "\n".join(
        [
            settings.IMPORTS,
            settings.power_law_code(values),
            f"target = {values['target']!r}",
            f"sizes = [2**k for k in range(0, {LARGEST + 1}, {step})]",
            f"method = {settings.method_code(method(values))}  # its lr is tuned",
            'found = nqm.frontier(problem, target, sizes, over=("lr",), algorithm=method)',
            "batch_sizes, steps = found.batch_sizes, found.steps",
            "lr = np.array([best.algorithm.lr.value for best in found.tuned])",
            "least_steps = found.hyperbola.least_steps",
            "least_samples = found.hyperbola.least_samples",
            "critical = found.hyperbola.critical_batch_size",
            'print(f"critical batch size: {critical:.0f}")',
            "for row in zip(batch_sizes, steps, lr):",
            '    print("batch size {:.0f}: {:.0f} steps with lr {:.4g}".format(*row))',
        ]
    )


def words(found: Numbers) -> str:
    """Say what the critical batch size is, and what is least."""
    if not math.isfinite(found["critical"]):
        return (
            f"The critical batch size for the risk {found['target']:g} is beyond all batch sizes "
            "here: steps still fall in proportion at the largest."
        )
    return (
        f"The critical batch size for the risk {found['target']:g} is about "
        f"{found['critical']:,.0f}: far below it {found['least_samples']:,.0f} samples are enough, "
        f"far above it {found['least_steps']:,.0f} steps."
    )


class Picture:
    """Steps and samples over batch sizes, with the fitted hyperbola and the critical batch size."""

    def __init__(self) -> None:
        self.points = figures.source("points", size=[], steps=[], samples=[], lr=[])
        self.curve = figures.source("hyperbola", size=[], steps=[], samples=[])
        self.bounds = figures.source("asymptotes", size=[], few=[], many=[])
        self.critical = figures.source("critical", x=[], low=[], high=[])
        self.rows = [[self._figure("steps"), self._figure("samples")], [self._rates()]]

    def _figure(self, name: str) -> Any:
        """Make the figure of steps or of samples."""
        figure = figures.new_figure(
            "batch size", f"{name} to the target", x_log=True, y_log=True, height=380
        )
        blue, orange, *_ = figures.COLORS
        line = figure.line("size", name, source=self.curve, color=blue, line_width=2.5)
        dots = figure.scatter("size", name, source=self.points, color=blue, size=9)
        if name == "steps":
            asymptotes = [
                figure.line(
                    "size", side, source=self.bounds, color=figures.NEUTRAL, line_dash="dashed"
                )
                for side in ("few", "many")
            ]
        mark = figure.segment(
            "x", "low", "x", "high", source=self.critical, color=orange, line_width=2.5
        )
        named = [("tuned", [dots]), ("hyperbola", [line]), ("critical batch size", [mark])]
        if name == "steps":
            named.append(("asymptotes", asymptotes))
        figures.add_legend(figure, named, columns=2)
        figures.set_range(figure.x_range, 1.0, 2.0**LARGEST)
        return figure

    def _rates(self) -> Any:
        """Make the figure of the best learning rates."""
        figure = figures.new_figure(
            "batch size", "best learning rate", x_log=True, y_log=True, height=220
        )
        figure.line("size", "lr", source=self.points, color=figures.COLORS[2], line_width=2.5)
        figure.scatter("size", "lr", source=self.points, color=figures.COLORS[2], size=9)
        figures.set_range(figure.x_range, 1.0, 2.0**LARGEST)
        return figure

    def show(self, numbers: Numbers) -> None:
        """Draw these numbers instead of those before."""
        sizes, steps = numbers["batch_sizes"], figures.drawable(numbers["steps"])
        least, samples = numbers["least_steps"], numbers["least_samples"]
        lr = figures.drawable(numbers["lr"])
        self.points.data = {"size": sizes, "steps": steps, "samples": sizes * steps, "lr": lr}
        fitted = figures.drawable(least + samples / CURVE)
        self.curve.data = {"size": CURVE, "steps": fitted, "samples": CURVE * fitted}
        few = figures.drawable(samples / CURVE)
        self.bounds.data = {"size": CURVE, "few": few, "many": np.full(CURVE.size, least)}
        critical = [numbers["critical"]] if math.isfinite(numbers["critical"]) else []
        self.critical.data = {
            "x": critical, "low": [1e-30] * len(critical), "high": [1e30] * len(critical)
        }  # fmt: skip
        (of_steps, of_samples), (of_rates,) = self.rows
        figures.show_all_of_log(of_steps.y_range, steps, fitted)
        figures.show_all_of_log(of_samples.y_range, sizes * steps, CURVE * fitted)
        figures.show_all_of_log(of_rates.y_range, lr)


VIEW = View(
    name="batch",
    short="Batch sizes",
    title="Steps against batch size, and the critical batch size",
    intro=(
        "The learning rate is tuned at each batch size for the fewest steps to the target. The "
        "critical batch size is where the hyperbola's two asymptotes meet."
    ),
    parameters=PARAMETERS,
    numbers=numbers,
    words=words,
    code=code,
    results=("batch_sizes", "steps", "lr", "least_steps", "least_samples", "critical"),
    picture=Picture,
)
