"""``nqm-fast risk``: the expected risk of a setting at given steps."""

from __future__ import annotations

import argparse
import math
from typing import Any

from ... import SGD, InputError, expected_risk, steps_to_target
from ..options import (
    add_backend,
    add_hyper_parameters,
    add_problem,
    chosen_hyper_parameters,
    chosen_problem,
)
from ..tables import print_results, whole_number

ORDER = 8


def add(commands: Any) -> None:
    """Add the command to the parser."""
    risk = commands.add_parser(
        "risk", allow_abbrev=False, help="expected risk of one setting at given steps"
    )
    risk.set_defaults(run=_risk)
    add_problem(risk)
    risk.add_argument("--steps", type=whole_number, nargs="+", required=True, metavar="STEP")
    risk.add_argument("--target", type=float, help="also say when this risk is first reached")
    add_hyper_parameters(risk, "the")
    add_backend(risk)
    risk.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _risk(chosen: argparse.Namespace) -> None:
    if chosen.lr is None:
        raise InputError("--lr is required: the learning rate, >= 0")
    problem = chosen_problem(chosen)
    algorithm = SGD(**chosen_hyper_parameters(chosen))
    rows = []
    facts: dict[str, Any] = {"problem": repr(problem), "algorithm": repr(algorithm)}
    for batch_size in chosen.batch_size:
        risks = expected_risk(problem, algorithm, batch_size, chosen.steps, backend=chosen.backend)
        rows += [
            {"batch_size": batch_size, "steps": step, "risk": risk if risk < math.inf else None}
            for step, risk in zip(chosen.steps, risks.tolist(), strict=True)
        ]
        if chosen.target is not None:
            first = steps_to_target(
                problem, algorithm, batch_size, chosen.target, backend=chosen.backend
            )
            key = f"steps to {chosen.target:g} at batch size {batch_size:g}"
            facts[key] = first if first < math.inf else None
    print_results(chosen, facts, rows)
