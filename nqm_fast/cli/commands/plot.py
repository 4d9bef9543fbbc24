"""``nqm-fast plot``: draw a run, also an unfinished one, or a sweep."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ... import InputError, open_run
from ...simulation.tables import check_installed
from ..outcome import default_picture, draw_run

ORDER = 4


def add(commands: Any) -> None:
    """Add the command to the parser."""
    plot = commands.add_parser(
        "plot", allow_abbrev=False, help="draw a run, also an unfinished one, or a sweep"
    )
    plot.set_defaults(run=_plot)
    plot.add_argument("file", type=Path, metavar="FILE")
    plot.add_argument(
        "--bands", action="store_true", help="the risk by band of curvature, if it was recorded"
    )
    plot.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="picture to write (default: the name of the run with .png)",
    )


def _plot(chosen: argparse.Namespace) -> int:
    from ...sweeps import dataset

    picture = chosen.out or default_picture(chosen.file)
    if dataset.is_sweep(chosen.file):
        return _plot_sweep(chosen, picture)
    run = open_run(chosen.file)
    if picture.exists() and picture.samefile(chosen.file):
        raise InputError(f"--out {picture} is the run itself: choose another file")
    print(draw_run(run, picture, chosen.bands))
    return 0


def _plot_sweep(chosen: argparse.Namespace, picture: Path) -> int:
    """Draw a sweep."""
    from ...drawing.sweep import draw
    from ...sweeps import dataset

    if chosen.bands:
        raise InputError("--bands is for a run: a sweep is drawn along an axis of its grid")
    check_installed("xarray")
    print(draw(dataset.read(chosen.file, "FILE"), picture))
    return 0
