"""Steps, samples and critical batch sizes of one problem, as the command line draws them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..exact.batches.critical import CriticalBatchSize
from ..exact.batches.frontier import Frontier
from ..problem import Problem
from .output import check_picture, write_png
from .study import problem_text
from .style import GREY, SERIES, add_caption, add_legend, with_gaps, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {
    "knee": "knee",
    "overhead": "overhead",
    "noise-scale": "noise scale",
    "half": "twice the fewest steps",
}
"""Names of the definitions, in the order of their colours."""
FITTED: dict[str, Any] = {"color": GREY, "linestyle": "--", "linewidth": 1.2}
TUNED: dict[str, Any] = {"color": "black", "marker": "o"}


def definition_styles() -> dict[str, dict[str, Any]]:
    """Return the look of each definition, by name."""
    return dict(zip(LABELS, SERIES, strict=False))


def draw_critical(
    found: Mapping[str, CriticalBatchSize], problem: Problem, picture: Path, argument: str
) -> None:
    """Draw steps against batch size and against samples, with all critical batch sizes.

    `argument` is the name of the argument that names the picture.
    """
    check_picture(picture, argument)
    write_png(picture, lambda figure, _: _plot(figure, found, problem), {})


def _plot(figure: Figure, found: Mapping[str, CriticalBatchSize], problem: Problem) -> None:
    curve: Frontier = next(iter(found.values())).curve
    figure.set_size_inches(11, 4.8)
    figure.suptitle(f"Steps and samples to reach excess risk {curve.target:g}")
    text = problem_text(problem)
    add_caption(figure, wrapped(figure, f"{text[0].upper()}{text[1:]}."))
    left, right = figure.subplots(1, 2)
    sizes = np.geomspace(curve.batch_sizes[0], curve.batch_sizes[-1], 200)
    fitted = curve.hyperbola.steps(sizes)
    left.loglog(sizes, fitted, **FITTED)
    left.loglog(curve.batch_sizes, with_gaps(curve.steps), **TUNED)
    right.loglog(sizes * fitted, fitted, **FITTED)
    right.loglog(with_gaps(curve.samples), with_gaps(curve.steps), **TUNED)
    styles = definition_styles()
    low, high = left.get_xlim()
    entries: list[tuple[str, dict[str, Any]]] = []
    for name, one in found.items():
        line = {"color": styles[name]["color"], "linewidth": 1.8}
        entries.append((f"{LABELS[name]}: {one.value:.4g}", line))
        if low < one.value < high:
            left.axvline(one.value, **line)
    left.set_xlabel("batch size $B$ (samples per step)")
    left.set_ylabel("fewest steps")
    right.set_xlabel("samples")
    right.set_ylabel("fewest steps")
    add_legend(left, entries, "upper right", title="critical batch size")
    kinds = [("tuned", TUNED), ("hyperbola fitted to it", FITTED)]
    add_legend(right, kinds, "upper right")
