"""``nqm-fast run``: simulate an experiment, stream it to a file, and plot it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ... import InputError
from ...simulation.api import simulate
from ...simulation.result import Run
from .. import config
from ..options import add_resources, chosen_resources
from ..outcome import carry_out

ORDER = 1


def add(commands: Any) -> None:
    """Add the command to the parser."""
    run = commands.add_parser(
        "run", allow_abbrev=False, help="simulate an experiment, stream it to a file, and plot it"
    )
    run.set_defaults(run=_run)
    run.add_argument(
        "config", nargs="?", type=Path, metavar="FILE", help="in TOML (default: see init)"
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value, such as steps=100 or setting.0.lr=0.5",
    )
    run.add_argument("--out", type=Path, metavar="FILE", help="HDF5 file to write")
    run.add_argument("--overwrite", action="store_true", help="replace the run that is there")
    add_resources(run)


def _run(chosen: argparse.Namespace) -> int:
    wanted = config.load(chosen.config, chosen.set)
    out = chosen.out or Path(wanted.out)
    arguments = wanted.arguments | chosen_resources(chosen)

    def start() -> Run:
        try:
            return simulate(**arguments, out=out, overwrite=chosen.overwrite)
        except InputError as error:
            is_about_option = chosen.out is not None and str(error).startswith("out ")
            raise error if is_about_option else wanted.source.located(error) from None

    return carry_out(start, out)
