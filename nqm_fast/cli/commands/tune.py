"""``nqm-fast tune``: find the hyper-parameters that need the fewest steps."""

from __future__ import annotations

import argparse
from typing import Any

from ... import SGD, Algorithm, tune
from ...store.serialization import kinds
from ...tuning import MOST_STEPS
from ...validation import choice, plain_number
from ..options import (
    add_backend,
    add_hyper_parameters,
    add_problem,
    algorithm_facts,
    chosen_hyper_parameters,
    chosen_problem,
    problem_facts,
)
from ..tables import finite, print_json, print_results, whole_number

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
    best.add_argument(
        "--algorithm", default="SGD", metavar="KIND", help="such as SGD or Adam (default: SGD)"
    )
    best.add_argument(
        "--by", default="exact", choices=tuple(MOST_STEPS),
        help="how; algorithms that are not linear need simulation (default: exact)",
    )  # fmt: skip
    best.add_argument(
        "--replicas", type=whole_number, metavar="N", help="of a simulation (default: 8)"
    )
    best.add_argument("--seed", type=whole_number, metavar="N", help="of a simulation (default: 0)")
    add_hyper_parameters(best, "fixed")
    add_backend(best)
    best.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _tune(chosen: argparse.Namespace) -> None:
    problem = chosen_problem(chosen)
    known = kinds(Algorithm)
    kind = known[choice("--algorithm", chosen.algorithm, tuple(known))]
    over = _searched(chosen.over, kind)
    simulated = chosen.by == "simulation"
    rows = []
    for batch_size in chosen.batch_size:
        best = tune(
            problem,
            batch_size,
            chosen.target,
            over,
            algorithm=kind,
            by=chosen.by,
            replicas=chosen.replicas,
            seed=chosen.seed,
            backend=chosen.backend,
            **chosen_hyper_parameters(chosen),
        )
        rows.append(
            {"batch_size": plain_number(batch_size), "steps": finite(best.steps)}
            | ({"low": finite(best.low), "high": finite(best.high)} if simulated else {})
            | algorithm_facts(best.algorithm)
            | {"risk": finite(best.risk)}
        )
    facts = {"problem": problem_facts(chosen, problem), "target": chosen.target, "over": over}
    if kind is not SGD or simulated:
        facts |= {"algorithm": chosen.algorithm, "by": chosen.by}
    if chosen.json:
        print_json("tune", facts, rows)
        return
    shown = [
        name
        for name in algorithm_facts(best.algorithm)
        if name in over or any(row[name] != 0 for row in rows)
    ]
    keys = ["batch_size", "steps", *["low", "high"] * simulated, *shown, "risk"]
    print_results(
        {"problem": repr(problem), "target": chosen.target},
        [{key: row[key] for key in keys} for row in rows],
    )


def _searched(words: list[str], kind: type[Algorithm]) -> list[str]:
    """Return the names of what to search, which may be given with commas, or as "all"."""
    names = [name for word in words for name in word.split(",") if name]
    return list(kind.tunable) if names == ["all"] else names
