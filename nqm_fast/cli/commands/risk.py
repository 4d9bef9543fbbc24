"""``nqm-fast risk``: the expected risk of a setting at given steps."""

from __future__ import annotations

import argparse
from typing import Any

from ... import expected_risk, steps_to_target
from ...foundation.validation import plain_number
from ..options import add_backend, add_hyper_parameters, add_problem, chosen_setting, setting_facts
from ..tables import finite, print_json, print_results, whole_number

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
    problem, algorithm = chosen_setting(chosen)
    rows, first = [], []
    for batch_size in chosen.batch_size:
        risks = expected_risk(problem, algorithm, batch_size, chosen.steps, backend=chosen.backend)
        rows += [
            {"batch_size": plain_number(batch_size), "steps": step, "risk": finite(risk)}
            for step, risk in zip(chosen.steps, risks.tolist(), strict=True)
        ]
        if chosen.target is not None:
            steps = steps_to_target(
                problem, algorithm, batch_size, chosen.target, backend=chosen.backend
            )
            first.append({"batch_size": plain_number(batch_size), "steps": finite(steps)})
    if chosen.json:
        facts = setting_facts(chosen, problem, algorithm)
        print_json("risk", facts, rows, steps_to_target=first)
        return
    said = {"problem": repr(problem), "algorithm": repr(algorithm)} | {
        f"steps to {chosen.target:g} at batch size {row['batch_size']}": row["steps"]
        for row in first
    }
    print_results(said, rows)
