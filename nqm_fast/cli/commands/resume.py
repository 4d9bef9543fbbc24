"""``nqm-fast resume``: go on with a run, also for more steps or replicas."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ...runs.api import resume
from ...simulation.result import Run
from ..options import add_resources, chosen_resources
from ..outcome import carry_out, status_of
from ..tables import whole_number

ORDER = 2


def add(commands: Any) -> None:
    """Add the command to the parser."""
    again = commands.add_parser(
        "resume",
        allow_abbrev=False,
        help="go on with a run that was interrupted or killed, or make a finished one longer",
    )
    again.set_defaults(run=_resume)
    again.add_argument("file", type=Path, metavar="FILE")
    again.add_argument(
        "--steps", type=whole_number, metavar="N", help="steps that it shall have, from its start"
    )
    again.add_argument(
        "--replicas",
        type=whole_number,
        nargs="+",
        metavar="R",
        help="how many replicas it shall have, or the numbers of two or more",
    )
    again.add_argument(
        "--record",
        type=whole_number,
        nargs="+",
        metavar="STEP",
        help="record every so many of the new steps, or two or more steps (default: as before)",
    )
    add_resources(again)
    again.add_argument(
        "--checkpoint-every", type=float, metavar="SECONDS", help="the run's own, if left out"
    )


def _resume(chosen: argparse.Namespace) -> int:
    from ...store import description

    def go_on() -> Run:
        return resume(
            chosen.file,
            steps=chosen.steps,
            replicas=_one_or_several(chosen.replicas),
            record=_one_or_several(chosen.record),
            checkpoint_every=chosen.checkpoint_every,
            **chosen_resources(chosen),
        )

    facts = description.describe_file(chosen.file)
    extended = chosen.steps is not None or chosen.replicas is not None
    if "checkpoint" in facts:
        print(f"checkpoint {facts['checkpoint']}", file=sys.stderr)
    elif not extended:
        run = go_on()  # This tidies up after a process that was killed at its very end.
        print(f"{chosen.file} is {run.status}: there is nothing to go on with")
        if run.status == "finished":
            print("give it more steps or replicas with --steps N, --replicas R")
        return status_of(run)
    elif (
        chosen.steps is not None
        and chosen.steps > int(facts["steps"])
        and facts["state"] == "not kept"
    ):
        print(
            f"steps 1 to {facts['steps']} are computed once more, as their last state was not kept "
            "(keep_state = true)",
            file=sys.stderr,
        )

    return carry_out(go_on, chosen.file)


def _one_or_several(numbers: list[int] | None) -> Any:
    """Return a list of one number as the number, which means how many."""
    return numbers[0] if numbers is not None and len(numbers) == 1 else numbers
