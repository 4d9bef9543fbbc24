"""``nqm-fast info``: what this machine has, or what a run's file holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

ORDER = 4


def add(commands: Any) -> None:
    """Add the command to the parser."""
    info = commands.add_parser(
        "info", allow_abbrev=False, help="what this machine has, or what a run's file holds"
    )
    info.set_defaults(run=_info)
    info.add_argument("file", nargs="?", type=Path, metavar="FILE")


def _info(chosen: argparse.Namespace) -> int:
    from ...store import description

    found = (
        description.describe_machine()
        if chosen.file is None
        else description.describe_file(chosen.file)
    )
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:{width}}  {value}")
    return 0
