"""``nqm-fast init``: write a commented example of an experiment."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ... import InputError
from ...output.saving import written_beside
from ..config import default_text

ORDER = 5


def add(commands: Any) -> None:
    """Add the command to the parser."""
    init = commands.add_parser("init", allow_abbrev=False, help="write a commented example")
    init.set_defaults(run=_init)
    init.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=Path("nqm.toml"),
        metavar="FILE",
        help="to write (default: nqm.toml)",
    )


def _init(chosen: argparse.Namespace) -> int:
    if os.path.lexists(chosen.file):
        raise InputError(f"{chosen.file} exists: give another name")
    with written_beside("FILE", chosen.file) as part:
        part.write_text(default_text(), encoding="utf-8")
    print(f"{chosen.file} written: edit it, then nqm-fast run {chosen.file}")
    return 0
