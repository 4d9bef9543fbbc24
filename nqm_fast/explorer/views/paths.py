"""The view of two coordinates: paths of four methods, and the two terms of each one's risk."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import figures, plane, settings
from ..dropped import Dropped
from ..parameters import Slider, Values, decades, evenly, powers_of_two
from ..plane import Plane
from ..view import Numbers, View

SIGMAS = 0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0

PARAMETERS = (
    Slider("condition", "ratio of curvatures h1 / h2", decades(1.0, 100.0, 10), 10.0),
    Slider("sigma", "sigma of the data", SIGMAS, 3.0),
    Slider("lr", "learning rate, times h1", evenly(0.05, 2.5, 0.05), 0.3),
    Slider("momentum", "momentum", settings.MOMENTA, 0.8),
    Slider("ema", "average (EMA)", settings.MOMENTA, 0.9),
    Slider("power", "power of the preconditioner", evenly(0.0, 1.0, 0.05), 0.5),
    Slider("batch_size", "batch size", powers_of_two(0, 10), 4),
    Slider("steps", "steps", (10, 20, 30, 40, 80, 120, 160, 200, 240, 320, 400, 600), 40),
    Slider("replicas", "runs in a cloud", (1, 2, 4, 8, 16, 32), 16),
    Slider("seed", "seed of the noise", tuple(range(1, 21)), 2),
)
TERMS = {"convergence": "solid", "steady_state": "dashed"}
TICKS = 4
"""Numbers beside an axis of a plane, roughly: text takes longest to draw."""
PATH_ALPHA, CLOUD_ALPHA = 0.9, 0.55


def numbers(values: Values, dropped: Dropped | None = None) -> Numbers:
    """Simulate the paths, and compute their exact laws."""
    chosen = Plane(**values)
    found = plane.walks(chosen)
    return found._asdict() | {"plane": chosen, "walks": found, "methods": list(chosen.methods)}


def code(values: Values, dropped: Dropped | None = None) -> str:
    """Write a program that computes the same."""
    chosen = Plane(**values)
    lines = [
        f'    "{name}": {settings.method_code(method)},' for name, method in chosen.methods.items()
    ]
    return "\n".join(
        [
            settings.IMPORTS,
            f"problem = nqm.Problem([1 / {chosen.condition!r}, 1.0], sigma=[{chosen.sigma!r}] * 2, "
            f"mean0={list(plane.START)}, var0=0.0)",
            "methods = {",
            *lines,
            "}",
            f"batch_size, steps = {chosen.batch_size}, "
            f"np.arange(0, {chosen.steps + 1}, {chosen.every})",
            "run = nqm.simulate(",
            f"    problem, list(methods.values()), batch_size, {chosen.steps}, record=steps,",
            f"    replicas={chosen.replicas}, seed={chosen.seed}, trajectory=[0, 1],",
            ")",
            "paths = run.trajectory.evaluated  # method, replica, record, coordinate",
            "laws = [nqm.moments(problem, one, batch_size, steps) for one in methods.values()]",
            "mean = np.stack([law.evaluated_mean for law in laws])",
            "deviation = np.sqrt([law.evaluated_variance for law in laws])",
            "convergence = np.stack([law.convergence for law in laws])",
            "steady_state = np.stack([law.steady_state for law in laws])",
            "for name, law in zip(methods, laws):",
            '    print(f"{name}: risk {law.risk[-1].sum():.4g} in the end")',
        ]
    )


def words(found: Numbers) -> str:
    """Say what risk each method has in the end, and of which terms."""
    convergence, steady = found["convergence"][:, -1].sum(-1), found["steady_state"][:, -1].sum(-1)
    parts = [
        f"{name} {a + b:.3g} ({a:.2g} + {b:.2g})"
        for name, a, b in zip(found["methods"], convergence, steady, strict=True)
    ]
    return (
        f"Expected risk after {found['plane'].steps} steps, as convergence + steady-state term: "
        f"{', '.join(parts)}."
    )


class Picture:
    """A plane for each method, and below the terms of the risk of both coordinates."""

    def __init__(self) -> None:
        self.methods = ["SGD", "momentum", "EMA", "preconditioner"]
        self.walks: plane.Walks | None = None
        self.frame = plane.MOST_FRAMES  # the last, whatever it is
        self.contours = figures.source("contours", width=[], height=[])
        self.planes = [self._plane(*x) for x in zip(self.methods, figures.COLORS, strict=False)]
        self.risks = [self._risks(name) for name in plane.COORDINATES]
        panels = [panel["figure"] for panel in self.planes]
        for panel in panels[1:]:
            panel.x_range, panel.y_range = panels[0].x_range, panels[0].y_range
        self.rows = [panels[:2], panels[2:], [panel["figure"] for panel in self.risks]]

    def _plane(self, name: str, color: str) -> dict[str, Any]:
        """Make the figure of a method."""
        figure = figures.new_figure("flat coordinate", "steep coordinate", title=name, height=270)
        figure.axis.ticker.desired_num_ticks = TICKS
        figure.axis.ticker.num_minor_ticks = 0
        sources = {
            key: figures.source(f"{key} {name}", x=[], y=[])
            for key in ("path", "mean", "cloud", "now")
        }
        sources["law"] = figures.source(f"law {name}", x=[], y=[], width=[], height=[])
        figure.ellipse(0.0, 0.0, "width", "height", source=self.contours, fill_alpha=0.0,
                       color=figures.NEUTRAL, line_alpha=0.45, line_width=1)  # fmt: skip
        figure.ellipse("x", "y", "width", "height", source=sources["law"], color=color,
                       fill_alpha=0.18)  # fmt: skip
        figure.line("x", "y", source=sources["mean"], color=figures.NEUTRAL, line_dash="dashed",
                    line_width=2)  # fmt: skip
        figure.line("x", "y", source=sources["path"], color=color, line_width=2,
                    line_alpha=PATH_ALPHA)  # fmt: skip
        figure.scatter("x", "y", source=sources["cloud"], color=color, size=5,
                       fill_alpha=CLOUD_ALPHA, line_alpha=0.0)  # fmt: skip
        figure.scatter("x", "y", source=sources["law"], color=figures.NEUTRAL, marker="x",
                       size=10, line_width=2)  # fmt: skip
        figure.scatter("x", "y", source=sources["now"], color=color, size=10)
        figure.scatter([0.0], [0.0], marker="cross", color=figures.NEUTRAL, size=14, line_width=2)
        return {"figure": figure, **sources}

    def _risks(self, name: str) -> dict[str, Any]:
        """Make the figure of the terms of the risk of a coordinate."""
        from bokeh.models import Span

        figure = figures.new_figure(
            "step", "expected risk", y_log=True, height=300,
            title=f"{name} coordinate (dashed: steady-state term)",
        )  # fmt: skip
        names = [f"{term}{k}" for term in TERMS for k in range(len(self.methods))]
        terms, named = figures.source(f"terms {name}", step=[], **{name: [] for name in names}), []
        for k, (method, color) in enumerate(zip(self.methods, figures.COLORS, strict=False)):
            lines = [
                figure.line(
                    "step", f"{term}{k}", source=terms, color=color, line_width=2, line_dash=dash
                )
                for term, dash in TERMS.items()
            ]
            named.append((method, lines))
        figures.add_legend(figure, named, columns=2)
        now = Span(location=0, dimension="height", line_color=figures.NEUTRAL, line_width=1.5)
        figure.add_layout(now)
        return {"figure": figure, "terms": terms, "now": now}

    def show(self, numbers: Numbers) -> None:
        """Draw these numbers instead of those before, at the same frame if there is such."""
        found: plane.Walks = numbers["walks"]
        self.walks = found
        x_limits, y_limits = plane.limits(found)
        first = self.planes[0]["figure"]
        figures.set_range(first.x_range, *x_limits)
        figures.set_range(first.y_range, *y_limits)
        corner = max(map(abs, x_limits)), max(map(abs, y_limits))
        wide, high = 2.0 * plane.rings(numbers["plane"].problem, corner).T
        self.contours.data = figures.as_lists({"width": wide, "height": high})
        for k, panel in enumerate(self.planes):
            panel["mean"].data = _columns(found.mean[k])
        for axis, panel in enumerate(self.risks):
            shown = {
                f"{term}{k}": figures.drawable(numbers[term][k, :, axis])
                for term in TERMS
                for k in range(len(self.methods))
            }
            panel["terms"].data = figures.as_lists({"step": found.steps} | shown)
            figures.set_range(panel["figure"].x_range, 0, found.steps[-1])
            figures.show_all_of_log(panel["figure"].y_range, *shown.values(), decades=6)
        self.show_frame(min(self.frame, len(found.steps) - 1))

    def frames(self, numbers: Numbers) -> list[int]:
        """Return the steps that are frames."""
        steps: list[int] = numbers["steps"].tolist()
        return steps

    def show_frame(self, frame: int) -> None:
        """Draw the paths up to a frame, and the cloud and the ellipse there."""
        found = self.walks
        if found is None:
            return
        self.frame = frame
        for k, panel in enumerate(self.planes):
            paths, mean = found.paths[k], found.mean[k, frame]
            panel["path"].data = _columns(paths[0, : frame + 1])
            panel["cloud"].data = _columns(paths[1:, frame])
            panel["now"].data = _columns(paths[:1, frame])
            wide, high = _columns(2.0 * plane.DEVIATIONS * found.deviation[k, frame, None]).values()
            panel["law"].data = _columns(mean[None]) | {"width": wide, "height": high}
        for panel in self.risks:
            panel["now"].location = int(found.steps[frame])


def _columns(points: Any) -> dict[str, Any]:
    """Return points as columns, with gaps where a path has left the numbers."""
    points = np.where(np.isfinite(points), points, np.nan)
    return figures.as_lists({"x": points[:, 0], "y": points[:, 1]})


VIEW = View(
    name="paths",
    short="Two coordinates",
    title="Two coordinates: where four methods go with the same noise",
    intro=(
        "Paths over contours of the loss. Lines: one run; dashed: the exact mean; points: other "
        f"runs at this step; ellipses: the exact law, with {plane.INSIDE} % of all runs inside."
    ),
    parameters=PARAMETERS,
    numbers=numbers,
    words=words,
    code=code,
    results=("steps", "paths", "mean", "deviation", "convergence", "steady_state"),
    picture=Picture,
    is_animated=True,
)
