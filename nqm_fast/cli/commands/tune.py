"""``nqm-fast tune``: find the hyper-parameters that need the fewest steps."""

from __future__ import annotations

import argparse
import math
from typing import Any

from ... import SGD, tune
from ..options import (
    HYPER_PARAMETERS,
    add_backend,
    add_hyper_parameters,
    add_problem,
    chosen_hyper_parameters,
    chosen_problem,
)
from ..tables import print_results

ORDER = 7


def add(commands: Any) -> None:
    """Add the command to the parser."""
    best = commands.add_parser(
        "tune", allow_abbrev=False, help="find the hyper-parameters that need the fewest steps"
    )
    best.set_defaults(run=_tune)
    add_problem(best)
    best.add_argument("--target", type=float, required=True, help="excess risk to reach")
    best.add_argument(
        "--over",
        nargs="+",
        default=["lr"],
        metavar="NAME",
        help=f"what to search: {', '.join(SGD.tunable)} (default: lr)",
    )
    add_hyper_parameters(best, "fixed")
    add_backend(best)
    best.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _tune(chosen: argparse.Namespace) -> None:
    problem = chosen_problem(chosen)
    rows = []
    for batch_size in chosen.batch_size:
        best = tune(
            problem,
            batch_size,
            chosen.target,
            chosen.over,
            backend=chosen.backend,
            **chosen_hyper_parameters(chosen),
        )
        reached = best.steps < math.inf
        setting = {
            name: value.value if name == "lr" else value
            for name in HYPER_PARAMETERS
            if (value := getattr(best.algorithm, name)) or name in chosen.over
        }
        rows.append(
            {"batch_size": batch_size, "steps": best.steps if reached else None}
            | setting
            | {"risk": best.risk if best.risk < math.inf else None}
        )
    print_results(chosen, {"problem": repr(problem), "target": chosen.target}, rows)
