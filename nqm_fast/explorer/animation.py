"""The two coordinates as a moving picture for slides, drawn by Matplotlib."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..drawing.environment import check_matplotlib
from ..drawing.output import load_matplotlib, own_settings
from ..drawing.style import GREY, SERIES
from ..foundation.messages import InputError
from ..foundation.validation import Array
from ..output.saving import written_beside
from .plane import DEVIATIONS, INSIDE, Plane, Walks, contours, ellipse, limits, walks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ".gif", ".mp4"
SIZE, DPI = (9.6, 5.4), 100
"""Inches and dots for each, of the shape that slides have."""
HOLD = 12
"""Frames for which the last picture stays."""


def check_out(out: Path) -> None:
    """Make sure, before anything is computed, that a file of this name can be written.

    Raises
    ------
    InputError
        If it ends like no moving picture, or needs ffmpeg, which is not installed.
    """
    check_matplotlib()
    kind = out.suffix.lower()
    if kind not in KINDS:
        raise InputError(f"--out must end with {' or '.join(KINDS)}, not {str(out)!r}")
    if kind == ".mp4" and shutil.which("ffmpeg") is None:
        raise InputError(
            f"--out {str(out)!r} needs ffmpeg, which is not installed: install it, or write a .gif"
        )


def animate(
    plane: Plane, out: Path, fps: int = 12, report: Callable[[int, int, str], None] | None = None
) -> None:
    """Write the paths of four methods as a moving picture.

    Parameters
    ----------
    plane : Plane
    out : Path
        Ends with .gif or .mp4.
    fps : int
        Frames in a second, >= 1.
    report : callable, optional
        Takes frames done, frames in all, and "".

    Raises
    ------
    InputError
        If such a file cannot be written.
    """
    check_out(out)
    load_matplotlib()
    found = walks(plane)
    with own_settings(), tempfile.TemporaryDirectory(prefix="nqm-fast-") as folder:
        from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        draw = _drawing(figure, plane, found)
        last = len(found.steps) - 1
        draw(last)
        figure.canvas.draw()  # lays the panels out, once, as that takes longer than a frame
        figure.set_layout_engine("none")
        frames = [*range(last + 1), *[last] * HOLD]
        moving = FuncAnimation(figure, draw, frames, init_func=lambda: (), blit=False)
        kind = out.suffix.lower()
        writer: Any = (PillowWriter if kind == ".gif" else FFMpegWriter)(fps=fps)
        whole = Path(folder) / f"whole{kind}"
        moving.save(
            whole,
            writer=writer,
            progress_callback=report and (lambda k, _: report(k + 1, len(frames), "")),
        )
        with written_beside("--out", out) as part:
            shutil.copyfile(whole, part)


def _drawing(figure: Figure, plane: Plane, found: Walks) -> Callable[[int], tuple[()]]:
    """Draw what does not move; returns what draws a frame."""
    panels = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    bounds = limits(found)
    parts = []
    for k, (axes, (name, method)) in enumerate(zip(panels, plane.methods.items(), strict=True)):
        parts.append(_panel(axes, plane, bounds, SERIES[k]["color"], found.mean[k]))
        axes.set_title(f"{name}: {_hyper_parameters(name, method)}", fontsize=10)
    for axes in panels[2:]:
        axes.set_xlabel(f"flat coordinate, $h = {1 / plane.condition:.3g}$")
    for axes in panels[::2]:
        axes.set_ylabel("steep coordinate, $h = 1$")
    title = figure.suptitle("", fontsize=11)

    def draw(frame: int) -> tuple[()]:
        title.set_text(
            f"step {found.steps[frame]} of {found.steps[-1]}, batch size {plane.batch_size:g}: "
            f"the same noise for all; ellipses hold {INSIDE} % of all runs"
        )
        for k, (path, cloud, now, oval) in enumerate(parts):
            walked = found.paths[k]
            path.set_data(*walked[0, : frame + 1].T)
            cloud.set_data(*walked[1:, frame].T)
            now.set_data(*walked[:1, frame].T)
            corners = ellipse(found.mean[k, frame], DEVIATIONS * found.deviation[k, frame])
            oval.set_xy(np.stack(corners, axis=1))
        return ()

    return draw


def _panel(
    axes: Axes,
    plane: Plane,
    bounds: tuple[tuple[float, float], tuple[float, float]],
    color: str,
    mean: Array,
) -> tuple[Any, Any, Any, Any]:
    """Draw what stays in a panel; returns path, cloud, present point and ellipse."""
    from matplotlib.patches import Polygon

    corner = max(map(abs, bounds[0])), max(map(abs, bounds[1]))
    axes.plot(*contours(plane.problem, corner), color="#cccccc", linewidth=0.8, zorder=1)
    axes.plot(0.0, 0.0, "+", color="black", markersize=9, zorder=6)
    axes.plot(*mean.T, color=GREY, linestyle="--", linewidth=1.2, zorder=2)
    oval = Polygon(np.zeros((3, 2)), facecolor=color, alpha=0.22, edgecolor=color, zorder=2)
    axes.add_patch(oval)
    (path,) = axes.plot([], [], color=color, linewidth=1.4, zorder=3)
    (cloud,) = axes.plot([], [], ".", color=color, markersize=5, alpha=0.6, zorder=4)
    (now,) = axes.plot([], [], "o", color=color, markersize=7, markeredgecolor="white", zorder=5)
    axes.set_xlim(*bounds[0])
    axes.set_ylim(*bounds[1])
    axes.grid(visible=False)
    return path, cloud, now, oval


def _hyper_parameters(name: str, method: Any) -> str:
    """Write the hyper-parameters of a method."""
    parts = {
        "SGD": "",
        "momentum": rf", $\beta = {method.hyper_parameter('momentum'):g}$",
        "EMA": rf", $\gamma = {method.hyper_parameter('ema'):g}$",
        "preconditioner": f", $H^{{{method.hyper_parameter('power'):g}}}$",
    }
    return rf"$\eta = {method.lr.value:g}$" + parts[name]
