"""``nqm-fast animate``: the paths of four methods in two coordinates, as a moving picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...foundation.validation import integer, number
from ...output.progress import counted
from ..tables import whole_number

ORDER = 7

NUMBERS = (
    ("condition", float, 10.0, "larger curvature, which is 1, over the smaller one"),
    ("sigma", float, 3.0, "standard deviation of the data"),
    ("lr", float, 0.3, "learning rate, times the larger curvature"),
    ("momentum", float, 0.8, "momentum of the method with momentum"),
    ("ema", float, 0.9, "average of the method with an average"),
    ("power", float, 0.5, "power of the preconditioner"),
    ("batch-size", whole_number, 4, "samples in a step"),
    ("steps", whole_number, 40, "steps"),
    ("replicas", whole_number, 16, "runs that are seen as points, one of them as a path"),
    ("seed", whole_number, 2, "seed of the noise, which is the same for all methods"),
    ("fps", whole_number, 12, "frames in a second"),
)
"""Options: name, type, default and meaning."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    animate = commands.add_parser(
        "animate",
        allow_abbrev=False,
        help="write the paths of four methods in two coordinates as a GIF or an MP4, for slides",
    )
    animate.set_defaults(run=_animate)
    animate.add_argument(
        "--out",
        type=Path,
        default=Path("lecture.gif"),
        metavar="FILE",
        help="ends with .gif, or .mp4 where ffmpeg is installed (default: lecture.gif)",
    )
    for name, kind, default, meaning in NUMBERS:
        animate.add_argument(
            f"--{name}", type=kind, default=default, metavar="X",
            help=f"{meaning} (default: {default:g})",
        )  # fmt: skip


def _animate(chosen: argparse.Namespace) -> None:
    from ...explorer.animation import animate, check_out
    from ...explorer.plane import Plane

    check_out(chosen.out)
    number("--condition", chosen.condition, least=1.0)
    number("--sigma", chosen.sigma, least=0.0)
    integer("--fps", chosen.fps, least=1, most=60)
    integer("--steps", chosen.steps, least=1, most=100_000)
    integer("--replicas", chosen.replicas, least=1, most=1000)
    plane = Plane(**{name: getattr(chosen, name) for name in Plane._fields})
    with counted("frames") as report:
        animate(plane, chosen.out, chosen.fps, report)
    print(chosen.out)
