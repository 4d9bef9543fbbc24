"""``nqm-fast figures``: draw the figures of the paper."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...progress import counted
from ..tables import print_table

ORDER = 6


def add(commands: Any) -> None:
    """Add the command to the parser."""
    figures = commands.add_parser(
        "figures", allow_abbrev=False, help="draw the figures of the paper, with their data"
    )
    figures.set_defaults(run=_figures)
    figures.add_argument(
        "names", nargs="*", metavar="NAME", help="figures to draw (all; an unknown name lists them)"
    )
    figures.add_argument("--out", type=Path, default=Path("figures"), metavar="DIR")


def _figures(chosen: argparse.Namespace) -> None:
    from ... import figures

    with counted("figures") as report:
        drawn = figures.draw(chosen.names, chosen.out, report)
    for figure in drawn:
        print(f"{figure.picture}  {figure.title}")
    summary = figures.critical_batch_sizes(drawn)
    if summary:
        print("\ncritical batch size: samples at the smallest batch / steps at the largest")
        print_table([row._asdict() | {"batch_size": round(row.batch_size)} for row in summary])
