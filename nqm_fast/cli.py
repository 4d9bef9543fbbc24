"""The command line: ``nqm-fast figures``, ``nqm-fast tune``, ``nqm-fast risk``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import SGD, InputError, Problem, __version__, expected_risk, steps_to_target, tune
from .progress import counted, shown_on_terminal

FIXED = ("lr", "momentum", "ema", "power")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, 2 for a mistake in the arguments."""
    chosen = _parser().parse_args(arguments)
    try:
        with shown_on_terminal():
            chosen.run(chosen)
    except InputError as error:
        print(f"nqm-fast {chosen.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = error.filename or "output"
        print(f"nqm-fast {chosen.command}: {where}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nqm-fast",
        allow_abbrev=False,
        description="The noisy quadratic model of minibatch training, solved exactly.",
    )
    parser.add_argument("--version", action="version", version=f"nqm-fast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    figures = commands.add_parser(
        "figures", allow_abbrev=False, help="draw the figures of the paper, with their data"
    )
    figures.set_defaults(run=_figures)
    figures.add_argument(
        "names", nargs="*", metavar="NAME", help="figures to draw (all; an unknown name lists them)"
    )
    figures.add_argument("--out", type=Path, default=Path("figures"), metavar="DIR")

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
    risk.add_argument("--steps", type=_whole, nargs="+", required=True, metavar="STEP")
    risk.add_argument("--target", type=float, help="also say when this risk is first reached")
    _add_settings(risk, "the")
    risk.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _add_problem(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dim", type=_whole, default=10_000, help="coordinates of a power law (default: 10000)"
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


def _whole(text: str) -> int:
    """A whole number, also written as 1e6."""
    value = float(text)
    if not value.is_integer():
        raise ValueError
    return int(value)


_whole.__name__ = "whole number"  # argparse puts it into its message


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
    _show(chosen, {"problem": repr(problem), "target": chosen.target}, rows)


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
    _show(chosen, facts, rows)


def _figures(chosen: argparse.Namespace) -> None:
    from . import figures

    with counted("figures") as report:
        drawn = figures.draw(chosen.names, chosen.out, report)
    for figure in drawn:
        print(f"{figure.picture}  {figure.title}")
    summary = figures.critical_batch_sizes(drawn)
    if summary:
        print("\ncritical batch size: samples at the smallest batch / steps at the largest")
        _table([row._asdict() | {"batch_size": round(row.batch_size)} for row in summary])


def _show(chosen: argparse.Namespace, facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print facts and rows as JSON (null: never, or beyond the range of a double) or a table."""
    if chosen.json:
        print(json.dumps(facts | {"results": rows}, indent=2, allow_nan=False))
        return
    for name, value in facts.items():
        print(f"{name}: {'never' if value is None else value}")
    _table(rows)


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(*(name.replace("_", " ") for name in rows[0]), box=SIMPLE)
    for column in table.columns:
        column.justify = "right"
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    # no digit may be lost: a pipe gets long lines, a narrow terminal folded ones
    width = None if sys.stdout.isatty() else 400
    Console(highlight=False, width=width).print(table)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "never" if name == "steps" else "inf"
    if isinstance(value, str | int):
        return str(value)
    return f"{value:.8g}"
