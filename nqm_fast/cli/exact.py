"""The commands that solve the model: ``nqm-fast tune`` and ``nqm-fast risk``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from .. import SGD, InputError, Problem, expected_risk, steps_to_target, tune
from .tables import show, whole

FIXED = ("lr", "momentum", "ema", "power")


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    best = commands.add_parser(
        "tune", allow_abbrev=False, help="find the hyper-parameters that need the fewest steps"
    )
    best.set_defaults(run=_tune)
    _add_problem(best)
    best.add_argument("--target", type=float, required=True, help="excess risk to reach")
    best.add_argument(
        "--over",
        nargs="+",
        default=["lr"],
        metavar="NAME",
        help="what to search: lr, momentum, ema (default: lr)",
    )
    _add_settings(best, "fixed")
    best.add_argument("--json", action="store_true", help="print JSON instead of a table")

    risk = commands.add_parser(
        "risk", allow_abbrev=False, help="expected risk of one setting at given steps"
    )
    risk.set_defaults(run=_risk)
    _add_problem(risk)
    risk.add_argument("--steps", type=whole, nargs="+", required=True, metavar="STEP")
    risk.add_argument("--target", type=float, help="also say when this risk is first reached")
    _add_settings(risk, "the")
    risk.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_problem(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dim", type=whole, default=10_000, help="coordinates of a power law (default: 10000)"
    )
    parser.add_argument(
        "--exponent", type=float, default=1.0, help="its h_i = i^-exponent (default: 1)"
    )
    parser.add_argument("--problem", type=Path, metavar="FILE", help="instead, a saved problem")
    parser.add_argument(
        "--batch-size", type=float, nargs="+", required=True, metavar="B", help="one or more"
    )


def _add_settings(parser: argparse.ArgumentParser, article: str) -> None:
    for name in FIXED:
        parser.add_argument(f"--{name}", type=float, help=f"{article} {name} of SGD")


def _problem(chosen: argparse.Namespace) -> Problem:
    if chosen.problem is not None:
        return Problem.load(chosen.problem)
    return Problem.power_law(chosen.dim, chosen.exponent)


def _given(chosen: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(chosen, name) for name in FIXED if getattr(chosen, name) is not None}


def _tune(chosen: argparse.Namespace) -> None:
    problem = _problem(chosen)
    rows = []
    for batch_size in chosen.batch_size:
        best = tune(problem, batch_size, chosen.target, chosen.over, **_given(chosen))
        reached = best.steps < math.inf
        setting = {
            name: value.value if name == "lr" else value
            for name in FIXED
            if (value := getattr(best.algorithm, name)) or name in chosen.over
        }
        rows.append(
            {"batch_size": batch_size, "steps": best.steps if reached else None}
            | setting
            | {"risk": best.risk if best.risk < math.inf else None}
        )
    show(chosen, {"problem": repr(problem), "target": chosen.target}, rows)


def _risk(chosen: argparse.Namespace) -> None:
    if chosen.lr is None:
        raise InputError("--lr is required: the learning rate, >= 0")
    problem = _problem(chosen)
    algorithm = SGD(**_given(chosen))
    rows = []
    facts: dict[str, Any] = {"problem": repr(problem), "algorithm": repr(algorithm)}
    for batch_size in chosen.batch_size:
        risks = expected_risk(problem, algorithm, batch_size, chosen.steps)
        rows += [
            {"batch_size": batch_size, "steps": step, "risk": risk if risk < math.inf else None}
            for step, risk in zip(chosen.steps, risks.tolist(), strict=True)
        ]
        if chosen.target is not None:
            first = steps_to_target(problem, algorithm, batch_size, chosen.target)
            key = f"steps to {chosen.target:g} at batch size {batch_size:g}"
            facts[key] = first if first < math.inf else None
    show(chosen, facts, rows)
