"""``nqm-fast advise``: the best constants, schedules and methods, in words and numbers."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...columns import Table
from ...exact.advice import Advice, Method, Way, advice
from ...exact.optimal_control import Control
from ...kernels import exact_model_on
from ..options import (
    add_backend,
    add_problem_alone,
    algorithm_facts,
    chosen_problem,
    problem_facts,
)
from ..tables import finite, print_json, print_results, print_table, whole_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 7


def add(commands: Any) -> None:
    """Add the command to the parser."""
    advise = commands.add_parser(
        "advise",
        allow_abbrev=False,
        help="the best constants and schedules for a target or a budget, and what methods save",
    )
    advise.set_defaults(run=_advise)
    add_problem_alone(advise)
    advise.add_argument("--target", type=float, help="excess risk to reach")
    advise.add_argument(
        "--steps", type=whole_number, metavar="N",
        help="with --target: in so many steps, by the fewest samples",
    )  # fmt: skip
    advise.add_argument(
        "--samples", type=whole_number, metavar="N",
        help="with --target: with so many samples, in the fewest steps; with --steps: to the"
        " lowest risk",
    )  # fmt: skip
    advise.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the best schedules into a picture"
    )
    add_backend(advise)
    advise.add_argument("--json", action="store_true", help="print JSON instead of text")


def _advise(chosen: argparse.Namespace) -> None:
    if chosen.plot is not None:
        from ...figures._output import check_picture

        check_picture(chosen.plot, "--plot")
    problem = chosen_problem(chosen)
    with exact_model_on(chosen.backend):
        found = advice(problem, steps=chosen.steps, samples=chosen.samples, target=chosen.target)
    facts = {name: getattr(chosen, name) for name in ("target", "steps", "samples")}
    best = found.ways[-1].control
    if chosen.plot is not None and best is not None:
        from ...figures._output import write_png

        write_png(chosen.plot, _plot, _curves(best))
    if chosen.json:
        rows = [_row(way) for way in found.ways]
        schedules = (
            {} if best is None else {"lr": _rows(best.lr), "batch_size": _rows(best.batch_size)}
        )
        print_json(
            "advise",
            {"problem": problem_facts(chosen, problem)} | facts,
            rows,
            schedules=schedules,
            batch_size=found.batch_size,
            methods=[_method(x) for x in found.methods],
        )
        return
    given = {name: value for name, value in facts.items() if value is not None}
    print_results({"problem": repr(problem)} | given, [_row(way) for way in found.ways])
    for sentence in _sentences(found, given):
        print(sentence)
    print_table([_short(_method(x)) for x in found.methods])


def _row(way: Way) -> dict[str, Any]:
    """Describe a way; None where the target is out of reach."""
    control = way.control
    row: dict[str, Any] = {"plain_SGD": way.name}
    if control is None:
        return row | dict.fromkeys(("steps", "samples", "risk", "lr", "batch_size"))
    return row | {
        "steps": control.steps,
        "samples": control.samples,
        "risk": control.risk,
        "lr": _span(control.lr),
        "batch_size": _span(control.batch_size),
    }


def _span(schedule: Any) -> str:
    """Write the first and the last value of a schedule, or the only one."""
    first, last = schedule.values_[0], schedule.values_[-1]
    return f"{first:.4g}" if len(set(schedule.values_)) == 1 else f"{first:.4g} to {last:.4g}"


def _rows(schedule: Any) -> list[dict[str, Any]]:
    """Return the runs of equal values of a schedule."""
    table = schedule.to_table()
    columns = (column.tolist() for column in table.values())
    return [dict(zip(table, row, strict=True)) for row in zip(*columns, strict=True)]


def _method(method: Method) -> dict[str, Any]:
    """Describe a method."""
    row: dict[str, Any] = {"method": method.name, "steps": finite(method.steps)}
    return row | algorithm_facts(method.algorithm)


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Keep what a screen has room for."""
    return {name: row[name] for name in ("method", "steps", "lr", "momentum", "ema", "power")}


def _sentences(found: Advice, given: dict[str, Any]) -> list[str]:
    """Say what schedules and methods save."""
    sentences = []
    constant = found.ways[0].control
    what = next((name for name in ("samples", "steps") if name not in given), "risk")
    if constant is None:
        sentences.append("No constants reach the target.")
    else:
        saved = [
            f"{_saving(getattr(way.control, what), getattr(constant, what))} by {way.name}"
            for way in found.ways[1:]
            if way.control is not None
        ]
        verb = "Lower risk than that of" if what == "risk" else f"Fewer {what} than"
        sentences.append(f"{verb} the best constants: {', '.join(saved)}.")
    plain = found.methods[0].steps
    methods = [f"{_saving(x.steps, plain)} by {x.name}" for x in found.methods[1:]]
    sentences.append(
        f"Fewer steps to {found.target:.6g} in batches of {found.batch_size}, all constant: "
        f"{', '.join(methods)}."
    )
    return sentences


def _saving(now: float, before: float) -> str:
    """Write by which part a number is lower than another, as in "12 %"."""
    if not math.isfinite(before) or not before:
        return "no comparison"
    return "never" if math.isinf(now) else f"{100.0 * (1.0 - now / before):.3g} %"


def _curves(best: Control) -> Table:
    """Return the schedules as columns."""
    lr, batch = best.lr.to_table(), best.batch_size.to_table()
    return {f"lr_{name}": x for name, x in lr.items()} | {
        f"b_{name}": x for name, x in batch.items()
    }


def _plot(figure: Figure, table: Table) -> None:
    """Draw learning rate and batch size over the steps."""
    rates, sizes = figure.subplots(2, 1, sharex=True)
    for axes, name, label in ((rates, "lr", "learning rate"), (sizes, "b", "batch size")):
        edges = [*table[f"{name}_begin"].tolist(), int(table[f"{name}_end"][-1])]
        axes.stairs(table[f"{name}_value"], edges, baseline=None)
        axes.set(yscale="log", ylabel=label)
    sizes.set_xlabel("step")
    rates.set_title("best schedules of plain SGD")
