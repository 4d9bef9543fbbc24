"""``nqm-fast resume``: go on with a run that was interrupted or killed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ...simulation.api import resume
from ...simulation.result import Run
from ..outcome import carry_out, status_of

ORDER = 2


def add(commands: Any) -> None:
    """Add the command to the parser."""
    again = commands.add_parser(
        "resume", allow_abbrev=False, help="go on with a run that was interrupted or killed"
    )
    again.set_defaults(run=_resume)
    again.add_argument("file", type=Path, metavar="FILE")
    again.add_argument("--threads", type=int, help="all cores, if left out")
    again.add_argument("--backend", default="auto")
    again.add_argument("--devices", type=int, nargs="+", metavar="GPU", help="with --backend cuda")
    again.add_argument(
        "--checkpoint-every", type=float, metavar="SECONDS", help="the run's own, if left out"
    )


def _resume(chosen: argparse.Namespace) -> int:
    from ...store import description

    checkpoint = description.describe_file(chosen.file).get("checkpoint")
    if checkpoint is None:
        run = resume(chosen.file)  # This tidies up after a process that was killed at its very end.
        print(f"{chosen.file} is {run.status}: there is nothing to go on with")
        return status_of(run)
    print(f"checkpoint {checkpoint}", file=sys.stderr)

    def go_on() -> Run:
        return resume(
            chosen.file,
            backend=chosen.backend,
            threads=chosen.threads,
            devices=chosen.devices,
            checkpoint_every=chosen.checkpoint_every,
        )

    return carry_out(go_on, chosen.file)
