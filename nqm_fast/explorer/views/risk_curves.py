"""The view of risk curves: several settings over the steps, and when each reaches a target."""

from __future__ import annotations

import math

import numpy as np

from ... import SGD, expected_risk, steps_to_target
from .. import figures, settings
from ..dropped import Dropped
from ..parameters import Choice, Values
from ..view import Numbers, View

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Learning rates that are compared, over that of the slider."""
SIZE_FACTORS = (1, 4, 16, 64, 256)
MOMENTA = (0.0, 0.5, 0.8, 0.9, 0.99)
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
LAST_STEP, POINTS = 10**6, 241
TOP = 10.0
"""The risk is drawn up to so many times its start."""

PARAMETERS = (
    Choice(
        "compare",
        "compare",
        {
            "lr": "learning rates",
            "batch_size": "batch sizes",
            "momentum": "momenta",
            "ema": "averages (EMA)",
            "power": "preconditioners",
        },
        "lr",
    ),
    settings.LR,
    settings.BATCH_SIZE,
    settings.MOMENTUM,
    settings.EMA,
    settings.POWER,
    settings.TARGET,
    settings.DIM,
    settings.EXPONENT,
)

Setting = tuple[SGD, float]


def compared(values: Values) -> dict[str, Setting]:
    """Return the settings that are compared, by their names."""
    name = values["compare"]
    if name == "lr":
        stops = [float(f"{factor * values['lr']:.6g}") for factor in FACTORS]
    elif name == "batch_size":
        stops = [factor * values["batch_size"] for factor in SIZE_FACTORS]
    else:
        others = [x for x in (POWERS if name == "power" else MOMENTA) if x != values[name]]
        stops = sorted([values[name], *others[: len(FACTORS) - 1]])
    found = {}
    for stop in stops:
        one = values | {name: stop}
        short = f"{stop:g}"
        text = short if float(short) == stop and "e" not in short else repr(stop)
        found[f"{name} {text}"] = settings.sgd(one), one["batch_size"]
    return found


def numbers(values: Values, dropped: Dropped | None = None) -> Numbers:
    """Compute the risk of each setting, and its first step at or below the target."""
    problem, chosen = settings.power_law(values), compared(values)
    steps = np.unique(np.geomspace(1, LAST_STEP, POINTS).astype(np.int64))
    return {
        "steps": steps,
        "risk": {name: expected_risk(problem, *one, steps) for name, one in chosen.items()},
        "first": {
            name: steps_to_target(problem, *one, values["target"]) for name, one in chosen.items()
        },
        "target": values["target"],
        "start": float(expected_risk(problem, SGD(0.0), 1, 0)),
    }


def code(values: Values, dropped: Dropped | None = None) -> str:
    """Write a program that computes the same."""
    lines = [
        f'    "{name}": ({settings.method_code(algorithm)}, {size}),'
        for name, (algorithm, size) in compared(values).items()
    ]
    return "\n".join(
        [
            settings.IMPORTS,
            settings.power_law_code(values),
            f"steps = np.unique(np.geomspace(1, {LAST_STEP}, {POINTS}).astype(np.int64))",
            f"target = {values['target']!r}",
            "settings = {  # algorithm, batch size",
            *lines,
            "}",
            "risk, first = {}, {}",
            "for name, (algorithm, batch_size) in settings.items():",
            "    risk[name] = nqm.expected_risk(problem, algorithm, batch_size, steps)",
            "    first[name] = nqm.steps_to_target(problem, algorithm, batch_size, target)",
            "for name, step in first.items():",
            '    print(f"{name}: {step:g} steps to {target:g}, risk at last {risk[name][-1]:.4g}")',
        ]
    )


def words(found: Numbers) -> str:
    """Say which setting is first at the target."""
    first = found["first"]
    best = min(first, key=first.__getitem__)
    target = f"{found['target']:g}"
    if math.isinf(first[best]):
        return f"None of these settings reaches the risk {target}."
    never = [name for name, steps in first.items() if math.isinf(steps)]
    others = f" It is never reached with {' and '.join(never)}." if never else ""
    return (
        f"With {best} the risk {target} is reached first, after {first[best]:,.0f} steps.{others}"
    )


class Picture:
    """Curves over logarithms of steps, with the target and its first passages."""

    def __init__(self) -> None:
        figure = figures.new_figure(
            "steps", "expected excess risk", x_log=True, y_log=True, height=440
        )
        self.figure, self.rows = figure, [[figure]]
        self.lines = []
        styles = zip(figures.COLORS, figures.DASHES, strict=True)
        for k, (color, dash) in enumerate(styles):
            curve = figures.source(f"curve {k}", x=[], y=[])
            mark = figures.source(f"first {k}", x=[], y=[])
            line = figure.line("x", "y", source=curve, color=color, line_dash=dash, line_width=2.5)
            figure.scatter("x", "y", source=mark, color=color, size=11)
            self.lines.append((curve, mark, line))
        self.items = figures.add_legend(figure, [("", [line]) for _, _, line in self.lines])
        self.target = figures.source("target", x=[], y=[])
        figure.line("x", "y", source=self.target, color=figures.NEUTRAL, line_width=1.5)
        figures.set_range(figure.x_range, 1, LAST_STEP)

    def show(self, numbers: Numbers) -> None:
        """Draw these numbers instead of those before."""
        steps, target, top = numbers["steps"], numbers["target"], TOP * numbers["start"]
        items = self.items
        for k, (curve, mark, line) in enumerate(self.lines):
            names = list(numbers["risk"])
            there = k < len(names)
            line.visible = items[k].visible = there
            if not there:
                curve.data, mark.data = {"x": [], "y": []}, {"x": [], "y": []}
                continue
            risk, first = numbers["risk"][names[k]], numbers["first"][names[k]]
            risk = np.where(risk <= top, risk, np.nan)
            curve.data = {"x": steps, "y": figures.drawable(risk)}
            seen = [first] if 1 <= first <= LAST_STEP else []
            mark.data = {"x": seen, "y": [target] * len(seen)}
            items[k].label = {"value": names[k]}
        self.target.data = {"x": [1, LAST_STEP], "y": [target, target]}
        risks = [np.minimum(risk, top) for risk in numbers["risk"].values()]
        figures.show_all_of_log(
            self.figure.y_range, *risks, np.array([target, numbers["start"]]), decades=7
        )


VIEW = View(
    name="risk",
    short="Risk curves",
    title="Risk over the steps, and when it reaches a target",
    intro=(
        "Exact expected risk of several settings of SGD on a power law, h = c = i^-exponent. "
        "A dot is the first step at or below the target."
    ),
    parameters=PARAMETERS,
    numbers=numbers,
    words=words,
    code=code,
    results=("steps", "risk", "first", "target"),
    picture=Picture,
)
