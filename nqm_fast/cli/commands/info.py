"""``nqm-fast info``: what this machine has, or what the file of a run or sweep holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...simulation.tables import check_installed

ORDER = 4


def add(commands: Any) -> None:
    """Add the command to the parser."""
    info = commands.add_parser(
        "info",
        allow_abbrev=False,
        help="what this machine has, or what the file of a run or sweep holds",
    )
    info.set_defaults(run=_info)
    info.add_argument("file", nargs="?", type=Path, metavar="FILE")


def _info(chosen: argparse.Namespace) -> int:
    from ...store import description
    from ...sweeps import dataset

    if chosen.file is None:
        found = description.describe_machine()
    elif dataset.is_sweep(chosen.file):
        check_installed("xarray")
        found = dataset.described(dataset.read(chosen.file, "FILE"))
    else:
        found = description.describe_file(chosen.file)
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:{width}}  {value}")
    return 0
