"""``nqm-fast advise``: the best constants, schedules, batches and methods, in words and numbers."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...exact.advice import MOST_STEPS, OVERHEAD, Advice, BatchSizes, Method, Way, advice
from ...exact.control.optimal_control import Control
from ...foundation.validation import plain_number
from ...kernels import exact_model_on
from ...output.columns import Table
from ..batch_sizes import (
    add_costs,
    check_plot,
    choice_facts,
    choice_text,
    chosen_costs,
    definition_rows,
    explained,
)
from ..options import (
    add_backend,
    add_problem_alone,
    algorithm_facts,
    chosen_problem,
    problem_facts,
    schedule_rows,
    schedule_span,
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
        help="for a target or a budget: the best constants and schedules, how large batches may be,"
        " and what methods save",
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
    add_costs(advise)
    advise.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the best schedules into a picture"
    )
    add_backend(advise)
    advise.add_argument("--json", action="store_true", help="print JSON instead of text")


def _advise(chosen: argparse.Namespace) -> None:
    costs = chosen_costs(chosen)
    check_plot(chosen.plot)
    problem = chosen_problem(chosen)
    with exact_model_on(chosen.backend):
        found = advice(
            problem, steps=chosen.steps, samples=chosen.samples, target=chosen.target, costs=costs
        )
    asked = ("target", "steps", "samples", "cost_step", "cost_sample")
    facts = {name: getattr(chosen, name) for name in asked}
    best = found.ways[-1].control
    if chosen.plot is not None and best is not None:
        from ...drawing.output import write_png

        write_png(chosen.plot, _plot, _curves(best))
    if chosen.json:
        rows = [_row(way) for way in found.ways]
        schedules = (
            {}
            if best is None
            else {"lr": schedule_rows(best.lr), "batch_size": schedule_rows(best.batch_size)}
        )
        print_json(
            "advise",
            {"problem": problem_facts(chosen, problem)} | facts,
            rows,
            schedules=schedules,
            critical=_critical(found.sizes),
            batch_size=found.batch_size,
            methods=[_method(x) for x in found.methods],
        )
        return
    given = {name: value for name, value in facts.items() if value is not None}
    heads = {"problem": repr(problem)}
    heads |= {name: x for name, x in given.items() if not name.startswith("cost")}
    heads["searched"] = _searched(given)
    print_results(heads, [_row(way) for way in found.ways])
    print(_schedules_save(found, given))
    _print_batch_sizes(found, costs)
    print(_methods_save(found))
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
        "lr": schedule_span(control.lr),
        "batch_size": schedule_span(control.batch_size),
    }


def _method(method: Method) -> dict[str, Any]:
    """Describe a method."""
    row: dict[str, Any] = {"method": method.name, "steps": finite(method.steps)}
    return row | algorithm_facts(method.algorithm)


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Keep what a screen has room for."""
    return {name: row[name] for name in ("method", "steps", "lr", "momentum", "ema", "power")}


def _critical(sizes: BatchSizes | None) -> dict[str, Any] | None:
    """Describe how large batches may be; None if no batch size reaches the target."""
    if sizes is None:
        return None
    cheapest = sizes.cheapest
    return {
        "reference": plain_number(sizes.reference),
        "overhead": OVERHEAD,
        "least_steps": sizes.critical["knee"].curve.least_steps,
        "definitions": definition_rows(sizes.critical),
        "cheapest": None if cheapest is None else choice_facts(cheapest),
    }


def _searched(given: dict[str, Any]) -> str:
    """Say what the best constants and schedules are the best in."""
    if "target" not in given:
        if "steps" not in given:
            return "the lowest risk of so many samples, one in each step"
        return "the lowest risk of so many steps and samples"
    if "steps" in given:
        return "the fewest samples that reach the target in so many steps"
    if "samples" in given:
        return "the fewest steps that reach the target with so many samples"
    return "the fewest samples that reach the target, in batches of 1 (--steps is a deadline)"


def _print_batch_sizes(found: Advice, costs: tuple[float, float] | None) -> None:
    """Print how large batches may be, in words and numbers."""
    head = f"Critical batch sizes to {found.target:.6g}, the learning rate tuned at each"
    sizes = found.sizes
    if sizes is None:
        print(f"{head}: none, as constants do not reach it in {MOST_STEPS:g} steps.")
        return
    print(f"{head}; the reference is batch size {sizes.reference:g}:")
    print_table(explained(sizes.critical, OVERHEAD))
    critical = sizes.critical
    print(
        f"Batches up to {critical['overhead'].value:.3g} take at most {100 * OVERHEAD:g} % more "
        f"samples than batches of {sizes.reference:g}, and fewer steps nearly in proportion; "
        f"far beyond {critical['knee'].value:.3g} steps hardly fall, as no batch size takes "
        f"fewer than {critical['knee'].curve.least_steps:g}."
    )
    if sizes.cheapest is not None and costs is not None:
        one = sizes.cheapest
        total = costs[0] * one.steps + costs[1] * one.samples
        print(
            f"The cheapest constants at {costs[0]:g} a step and {costs[1]:g} a sample cost "
            f"{total:.6g}: {choice_text(one)}."
        )


def _schedules_save(found: Advice, given: dict[str, Any]) -> str:
    """Say what schedules save."""
    constant = found.ways[0].control
    if constant is None:
        return "No constants reach the target."
    what = next((name for name in ("samples", "steps") if name not in given), "risk")
    saved = [
        f"{_saving(getattr(way.control, what), getattr(constant, what))} by {way.name}"
        for way in found.ways[1:]
        if way.control is not None
    ]
    verb = "Lower risk than that of" if what == "risk" else f"Fewer {what} than"
    return f"{verb} the best constants: {', '.join(saved)}."


def _methods_save(found: Advice) -> str:
    """Say what methods save."""
    plain = found.methods[0].steps
    where = f"{found.target:.6g} in batches of {found.batch_size}"
    if math.isinf(plain):
        return f"Constants of plain SGD do not reach {where} within {MOST_STEPS:g} steps."
    methods = [f"{_saving(x.steps, plain)} by {x.name}" for x in found.methods[1:]]
    return f"Fewer steps to {where}, all constant: {', '.join(methods)}."


def _saving(now: float, before: float) -> str:
    """Write by which part a number is lower than another, as in "12 %"."""
    if not before:
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
