"""``nqm-fast tune``: find the hyper-parameters that need the fewest steps."""

from __future__ import annotations

import argparse
from typing import Any

from ... import SGD, tune
from ...validation import plain_number
from ..options import (
    HYPER_PARAMETERS,
    add_backend,
    add_hyper_parameters,
    add_problem,
    algorithm_facts,
    chosen_hyper_parameters,
    chosen_problem,
    problem_facts,
)
from ..tables import finite, print_json, print_results

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
        help=f"what to search: {', '.join(SGD.tunable)}, several of them, or all (default: lr)",
    )
    add_hyper_parameters(best, "fixed")
    add_backend(best)
    best.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _tune(chosen: argparse.Namespace) -> None:
    problem = chosen_problem(chosen)
    over = _searched(chosen.over)
    rows = []
    for batch_size in chosen.batch_size:
        best = tune(
            problem,
            batch_size,
            chosen.target,
            over,
            backend=chosen.backend,
            **chosen_hyper_parameters(chosen),
        )
        rows.append(
            {"batch_size": plain_number(batch_size), "steps": finite(best.steps)}
            | algorithm_facts(best.algorithm)
            | {"risk": finite(best.risk)}
        )
    facts = {"problem": problem_facts(chosen, problem), "target": chosen.target, "over": over}
    if chosen.json:
        print_json("tune", facts, rows)
        return
    shown = [
        name for name in HYPER_PARAMETERS if name in over or any(row[name] != 0 for row in rows)
    ]
    keys = ["batch_size", "steps", *shown, "risk"]
    print_results(
        {"problem": repr(problem), "target": chosen.target},
        [{key: row[key] for key in keys} for row in rows],
    )


def _searched(words: list[str]) -> list[str]:
    """Return the names of what to search, which may be given with commas, or as "all"."""
    names = [name for word in words for name in word.split(",") if name]
    return list(SGD.tunable) if names == ["all"] else names
