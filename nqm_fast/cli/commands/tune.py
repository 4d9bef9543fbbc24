"""``nqm-fast tune``: find the hyper-parameters that need the fewest steps."""

from __future__ import annotations

import argparse
from typing import Any

from ... import SGD, tune
from ...tuning import MOST_STEPS
from ...validation import InputError, choice, plain_number
from ..options import (
    add_backend,
    add_hyper_parameters,
    add_problem,
    algorithm_facts,
    algorithm_text,
    chosen_algorithm,
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
        help="what to search: lr, momentum, ema, or what else the algorithm has; several, or all"
        " (default: lr)",
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
    words = [name for word in chosen.over for name in word.split(",") if name]
    template = chosen_algorithm(chosen, ["lr"])
    over = list(template.tunable) if words == ["all"] else words
    for name in over:
        choice("over", name, tuple(template.tunable))
    if "lr" not in over and chosen.lr is None:
        raise InputError("--lr is required: the learning rate, >= 0, which is not searched")
    fixed = chosen_hyper_parameters(chosen)
    _check_searched(over, fixed)
    # A class has defaults for what is not given; one around another has an example instead.
    is_alone = not hasattr(template, "inner")
    simulated = chosen.by == "simulation"
    rows = []
    for batch_size in chosen.batch_size:
        best = tune(
            problem,
            batch_size,
            chosen.target,
            over,
            algorithm=type(template) if is_alone else template,
            by=chosen.by,
            replicas=chosen.replicas,
            seed=chosen.seed,
            backend=chosen.backend,
            **(fixed if is_alone else {}),
        )
        rows.append(
            {"batch_size": plain_number(batch_size), "steps": finite(best.steps)}
            | ({"low": finite(best.low), "high": finite(best.high)} if simulated else {})
            | algorithm_facts(best.algorithm)
            | {"risk": finite(best.risk)}
        )
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


def _check_searched(over: list[str], fixed: dict[str, Any]) -> None:
    """Make sure that nothing is both searched and given, whatever the algorithm is."""
    for name in over:
        if name in fixed:
            raise InputError(f"{name} is searched (over) and given ({fixed[name]}): choose")
