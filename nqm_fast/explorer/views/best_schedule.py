"""The view of schedules: the best learning rates and batch sizes for a budget."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import expected_risk, optimal_control
from .. import figures, settings
from ..dropped import Dropped
from ..parameters import Choice, Slider, Values, evenly, powers_of_two
from ..view import Numbers, View

OVER = {"both": ("lr", "batch_size"), "lr": ("lr",), "batch_size": ("batch_size",)}
POINTS = 121
"""Steps at which the risk is drawn."""

PARAMETERS = (
    Choice(
        "over",
        "changes in time",
        {
            "both": "rate and batch",
            "lr": "rate alone",
            "batch_size": "batch alone",
        },
        "both",
    ),
    Slider("steps", "steps", powers_of_two(6, 17), 2**13),
    Slider("mean_batch", "samples per step, in the mean", powers_of_two(0, 14), 128),
    Slider("pieces", "pieces", (4, 8, 16, 24, 32, 48, 64), 16),
    Slider("max_lr", "largest learning rate", evenly(0.05, 2.0, 0.05), 1.0),
    settings.DIM,
    settings.EXPONENT,
)


def records(steps: int) -> Any:
    """Return the steps at which the risk is drawn."""
    return np.unique(np.geomspace(1, steps, POINTS).round().astype(np.int64))


def numbers(values: Values, dropped: Dropped | None = None) -> Numbers:
    """Search the best schedules, and the best constants beside them."""
    problem, steps = settings.power_law(values), values["steps"]
    samples, max_lr = steps * values["mean_batch"], values["max_lr"]
    budget = {"steps": steps, "samples": samples, "max_lr": max_lr}
    best = optimal_control(problem, **budget, over=OVER[values["over"]], pieces=values["pieces"])
    constant = optimal_control(problem, **budget, over=(), pieces=1)
    at, every = records(steps), np.arange(steps)
    return {
        "at": at,
        "risk": expected_risk(problem, best.algorithm, best.batch_size, at),
        "constant_risk": expected_risk(problem, constant.algorithm, constant.batch_size, at),
        "best_risk": best.risk,
        "best_constant_risk": constant.risk,
        "lr": best.lr.values(every),
        "batch_size": best.batch_size.values(every),
        "constant_lr": constant.lr.values(np.zeros(1, dtype=np.int64))[0],
        "steps": steps,
        "samples": best.samples,
    }


def code(values: Values, dropped: Dropped | None = None) -> str:
    """Write a program that computes the same."""
    over = OVER[values["over"]]
    return "\n".join(
        [
            settings.IMPORTS,
            settings.power_law_code(values),
            f"steps, samples = {values['steps']}, {values['steps'] * values['mean_batch']}",
            f"budget = dict(steps=steps, samples=samples, max_lr={values['max_lr']!r})",
            f"over, pieces = {over!r}, {values['pieces']}",
            "best = nqm.optimal_control(problem, **budget, over=over, pieces=pieces)",
            "constant = nqm.optimal_control(problem, **budget, over=(), pieces=1)",
            f"at = np.unique(np.geomspace(1, steps, {POINTS}).round().astype(np.int64))",
            "risk = nqm.expected_risk(problem, best.algorithm, best.batch_size, at)",
            "setting = constant.algorithm, constant.batch_size",
            "constant_risk = nqm.expected_risk(problem, *setting, at)",
            "best_risk, best_constant_risk = best.risk, constant.risk",
            "lr = best.lr.values(np.arange(steps))",
            "batch_size = best.batch_size.values(np.arange(steps))",
            "print(best.lr.to_table(steps))",
            "print(best.batch_size.to_table(steps))",
            'print(f"risk {best_risk:.5g}, with the best constants {best_constant_risk:.5g}")',
        ]
    )


def words(found: Numbers) -> str:
    """Say what the best schedules leave, beside the best constants."""
    saved = 100.0 * (1.0 - found["best_risk"] / found["best_constant_risk"])
    return (
        f"After {found['steps']:,} steps and {found['samples']:,} samples the best schedule leaves "
        f"the risk {found['best_risk']:.4g}, {saved:.0f} % less than the best constants "
        f"({found['best_constant_risk']:.4g} with learning rate {found['constant_lr']:.3g})."
    )


def stairs(steps: Any, values: Any) -> dict[str, Any]:
    """Return the corners of a line that is constant from change to change."""
    changes = np.flatnonzero(np.diff(values)) + 1
    begins = np.concatenate([[0], changes])
    ends = np.concatenate([changes, [steps]])
    return {"x": np.stack([begins, ends], 1).ravel(), "y": np.repeat(values[begins], 2)}


class Picture:
    """Learning rates, batch sizes and the risk, over the steps."""

    def __init__(self) -> None:
        self.lr = figures.source("lr", x=[], y=[])
        self.batch = figures.source("batch_size", x=[], y=[])
        self.risk = figures.source("risk", x=[], best=[], constant=[])
        blue, orange, green, *_ = figures.COLORS
        top = []
        for label, source, color in (
            ("learning rate", self.lr, blue),
            ("batch size", self.batch, green),
        ):
            figure = figures.new_figure("steps", label, y_log=True, height=280)
            figure.line("x", "y", source=source, color=color, line_width=2.5)
            top.append(figure)
        below = figures.new_figure(
            "steps", "expected excess risk", x_log=True, y_log=True, height=300
        )
        best = below.line("x", "best", source=self.risk, color=blue, line_width=2.5)
        constant = below.line(
            "x", "constant", source=self.risk, color=orange, line_width=2.5, line_dash="dashed"
        )
        figures.add_legend(below, [("best schedule", [best]), ("best constants", [constant])])
        self.rows = [top, [below]]

    def show(self, numbers: Numbers) -> None:
        """Draw these numbers instead of those before."""
        steps, (of_lr, of_batch), (of_risk,) = numbers["steps"], *self.rows
        self.lr.data = stairs(steps, numbers["lr"])
        self.batch.data = stairs(steps, numbers["batch_size"])
        risk, constant = (
            figures.drawable(numbers["risk"]),
            figures.drawable(numbers["constant_risk"]),
        )
        self.risk.data = {"x": numbers["at"], "best": risk, "constant": constant}
        for figure in (of_lr, of_batch):
            figures.set_range(figure.x_range, 0, steps)
        figures.set_range(of_risk.x_range, 1, steps)
        figures.show_all_of_log(of_lr.y_range, numbers["lr"])
        figures.show_all_of_log(of_batch.y_range, numbers["batch_size"])
        figures.show_all_of_log(of_risk.y_range, risk, constant)


VIEW = View(
    name="schedule",
    short="Best schedule",
    title="The best learning rates and batch sizes for a budget",
    intro=(
        "Plain SGD with so many steps and samples: what leaves the lowest expected risk, and what "
        "the best constant learning rate and batch size leave."
    ),
    parameters=PARAMETERS,
    numbers=numbers,
    words=words,
    code=code,
    results=("at", "risk", "constant_risk", "best_risk", "best_constant_risk", "lr", "batch_size"),
    picture=Picture,
)
