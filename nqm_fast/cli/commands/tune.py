"""``nqm-fast tune``: find the hyper-parameters that need the fewest steps."""

from __future__ import annotations

import argparse
from typing import Any

from ... import SGD, tune
from ...foundation.validation import plain_number
from ...tuning import MOST_STEPS
from ..options import (
    add_backend,
    add_problem,
    algorithm_facts,
    algorithm_text,
    chosen_problem,
    problem_facts,
)
from ..search import add_search, chosen_search
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
    add_search(best)
    best.add_argument(
        "--by", default="exact", choices=tuple(MOST_STEPS),
        help="how; algorithms that are not linear need simulation (default: exact)",
    )  # fmt: skip
    best.add_argument(
        "--replicas", type=whole_number, metavar="N", help="of a simulation (default: 8)"
    )
    best.add_argument("--seed", type=whole_number, metavar="N", help="of a simulation (default: 0)")
    add_backend(best)
    best.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _tune(chosen: argparse.Namespace) -> None:
    problem = chosen_problem(chosen)
    search = chosen_search(chosen)
    simulated = chosen.by == "simulation"
    rows = []
    for batch_size in chosen.batch_size:
        best = tune(
            problem,
            batch_size,
            chosen.target,
            search.over,
            algorithm=search.algorithm,
            by=chosen.by,
            replicas=chosen.replicas,
            seed=chosen.seed,
            backend=chosen.backend,
            **search.fixed,
        )
        rows.append(
            {"batch_size": plain_number(batch_size), "steps": finite(best.steps)}
            | ({"low": finite(best.low), "high": finite(best.high)} if simulated else {})
            | algorithm_facts(best.algorithm)
            | {"risk": finite(best.risk)}
        )
    over, template = search.over, search.template
    facts = {"problem": problem_facts(chosen, problem), "target": chosen.target, "over": over}
    if type(template) is not SGD or simulated:
        facts |= {"algorithm": algorithm_text(template), "by": chosen.by}
    if chosen.json:
        print_json("tune", facts, rows)
        return
    names = template.parameter_names()
    shown = [name for name in names if name in over or any(row[name] != 0 for row in rows)]
    keys = ["batch_size", "steps", *["low", "high"] * simulated, *shown, "risk"]
    named = {} if chosen.algorithm == "SGD" else {"algorithm": algorithm_text(template)}
    print_results(
        {"problem": repr(problem)} | named | {"target": chosen.target},
        [{key: row[key] for key in keys} for row in rows],
    )
