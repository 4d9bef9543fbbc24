"""``nqm-fast critical``: how large a batch may be, by every definition, and what it costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ... import SGD
from ...exact.batches.critical import CriticalBatchSize, by_every_definition
from ...exact.batches.frontier import Choice, Frontier
from ...exact.batches.tuned_sizes import TunedSizes
from ...foundation.validation import number, plain_number
from ...machine.backends import takes_backend
from ...problem import as_additive_problem
from ...tuning import MOST_STEPS
from ..batch_sizes import (
    WHY,
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
    algorithm_text,
    chosen_problem,
    problem_facts,
    schedule_span,
)
from ..search import ChosenSearch, add_search, chosen_search
from ..tables import finite, plain, print_json, print_results, print_table, whole_number

ORDER = 9


def add(commands: Any) -> None:
    """Add the command to the parser."""
    critical = commands.add_parser(
        "critical",
        allow_abbrev=False,
        help="how large a batch may be: critical batch sizes, and steps against samples",
    )
    critical.set_defaults(run=_critical)
    add_problem_alone(critical)
    critical.add_argument("--target", type=float, required=True, help="excess risk to reach")
    critical.add_argument(
        "--reference", type=plain, default=1, metavar="B",
        help="a small batch size, from which samples are counted (default: 1)",
    )  # fmt: skip
    critical.add_argument(
        "--overhead", type=float, default=0.2, metavar="X",
        help="samples more than there, as a share (default: 0.2)",
    )  # fmt: skip
    critical.add_argument(
        "--step", type=whole_number, metavar="N",
        help="step of that training at which the noise scale is taken (default: its last)",
    )  # fmt: skip
    critical.add_argument(
        "--pieces", type=whole_number, metavar="N",
        help="instead of a constant learning rate, schedules of so many pieces, all tuned",
    )  # fmt: skip
    add_costs(critical)
    critical.add_argument(
        "--deadline", type=float, metavar="STEPS",
        help="also say which batch size takes the fewest samples in so many steps",
    )  # fmt: skip
    critical.add_argument(
        "--max-steps", type=whole_number, default=MOST_STEPS["exact"], metavar="N",
        help="steps after which a target counts as never reached (default: 10^9)",
    )  # fmt: skip
    critical.add_argument("--plot", type=Path, metavar="FILE", help="also draw this picture")
    add_search(critical)
    add_backend(critical)
    critical.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _critical(chosen: argparse.Namespace) -> None:
    costs = chosen_costs(chosen)
    if chosen.deadline is not None:
        number("--deadline", chosen.deadline, least=0.0)
    problem, search = chosen_problem(chosen), chosen_search(chosen)
    check_plot(chosen.plot)
    found, choices = _found(problem, search, chosen, costs, backend=chosen.backend)
    if chosen.plot is not None:
        from ...drawing.critical import draw_critical

        draw_critical(found, problem, chosen.plot, "--plot")
    if chosen.json:
        _print_json(chosen, problem, search, found, choices)
    else:
        _print_tables(chosen, problem, search, found, choices)


@takes_backend
def _found(
    problem: Any,
    search: ChosenSearch,
    chosen: argparse.Namespace,
    costs: tuple[float, float] | None,
    *,
    backend: str = "auto",
) -> tuple[dict[str, CriticalBatchSize], dict[str, Choice]]:
    """Find critical batch sizes by definition, and the batch sizes that were asked for."""
    overhead = number("overhead", chosen.overhead, above=0.0)
    reference = number("reference", chosen.reference, least=1.0)
    sizes = TunedSizes(
        problem, chosen.target, search.over, search.algorithm, chosen.max_steps, "full",
        search.fixed, chosen.pieces,
    )  # fmt: skip
    if chosen.step is not None:
        as_additive_problem(problem, "--step")
    found = by_every_definition(sizes, reference, overhead, chosen.step)
    curve = found["knee"].curve
    choices = {}
    if costs is not None:
        choices["cheapest"] = curve.cheapest(*costs)
    if chosen.deadline is not None:
        choices["within_deadline"] = curve.within(chosen.deadline)
    return found, choices


def _curve(curve: Frontier) -> list[dict[str, Any]]:
    """List what was tuned at each batch size."""
    return [
        {
            "batch_size": plain_number(size),
            "steps": finite(best.steps),
            "samples": finite(size * best.steps),
        }
        | algorithm_facts(best.algorithm)
        for size, best in zip(curve.batch_sizes.tolist(), curve.tuned, strict=True)
    ]


def _print_json(
    chosen: argparse.Namespace,
    problem: Any,
    search: ChosenSearch,
    found: dict[str, CriticalBatchSize],
    choices: dict[str, Choice],
) -> None:
    curve = found["knee"].curve
    facts = {
        "problem": problem_facts(chosen, problem),
        "target": chosen.target,
        "over": search.over,
        "algorithm": algorithm_text(search.template),
        "reference": chosen.reference,
        "overhead": chosen.overhead,
        "step": chosen.step,
        "pieces": chosen.pieces,
    }
    print_json(
        "critical",
        facts,
        definition_rows(found),
        curve=_curve(curve),
        least_steps=curve.least_steps,
        hyperbola=curve.hyperbola._asdict(),
        choices={name: choice_facts(one) for name, one in choices.items()},
    )


def _print_tables(
    chosen: argparse.Namespace,
    problem: Any,
    search: ChosenSearch,
    found: dict[str, CriticalBatchSize],
    choices: dict[str, Choice],
) -> None:
    curve = found["knee"].curve
    named = {} if type(search.template) is SGD else {"algorithm": algorithm_text(search.template)}
    rows = explained(found, chosen.overhead, chosen.step)
    facts = {"target": chosen.target, "reference": f"batch size {chosen.reference}"}
    print_results({"problem": repr(problem)} | named | facts, rows)
    print(WHY)
    table = _curve(curve)
    names = search.template.parameter_names()
    shown = [name for name in names if name in search.over or any(row[name] != 0 for row in table)]
    if chosen.pieces is not None:
        for row, best in zip(table, curve.tuned, strict=True):
            row["lr"] = schedule_span(best.algorithm.lr)
    print_table(
        [{key: row[key] for key in ("batch_size", "steps", "samples", *shown)} for row in table]
    )
    fitted = curve.hyperbola
    print(
        f"steps without noise: {curve.least_steps:g}\n"
        f"hyperbola: {fitted.least_steps:.6g} steps + {fitted.least_samples:.6g} samples / batch "
        f"size, at most {100 * fitted.worst:.2g} % off"
    )
    for name, one in choices.items():
        cause = "the cheapest" if name == "cheapest" else f"within {chosen.deadline:g} steps"
        print(f"{cause}: {choice_text(one)}")
    if chosen.plot is not None:
        print(chosen.plot)
