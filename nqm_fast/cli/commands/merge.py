"""``nqm-fast merge``: join the shards of a run to the whole run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ... import merge
from ..outcome import carry_out

ORDER = 3


def add(commands: Any) -> None:
    """Add the command to the parser."""
    joining = commands.add_parser(
        "merge", allow_abbrev=False, help="join the shards of a run, of run --coordinates"
    )
    joining.set_defaults(run=_merge)
    joining.add_argument("files", nargs="+", type=Path, metavar="SHARD")
    joining.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="HDF5 file of the whole run"
    )
    joining.add_argument("--overwrite", action="store_true", help="replace the run that is there")


def _merge(chosen: argparse.Namespace) -> int:
    return carry_out(
        lambda: merge(chosen.files, chosen.out, overwrite=chosen.overwrite),
        chosen.out,
        "the same command",
    )
