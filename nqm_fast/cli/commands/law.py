"""``nqm-fast law``: the law of the risk of single runs, and of when they reach a target."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from ... import (
    SGD,
    InputError,
    Problem,
    RiskDistribution,
    first_passage_distribution,
    risk_distribution,
)
from ...foundation.validation import plain_number
from ..options import add_backend, add_hyper_parameters, add_problem, chosen_setting, setting_facts
from ..tables import finite, print_json, print_results, print_table, whole_number

ORDER = 8
QUANTILES = [0.05, 0.5, 0.95]
PASSAGE = ("replicas", "seed", "every")
"""Options on the runs that are sampled for a target."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    law = commands.add_parser(
        "law",
        allow_abbrev=False,
        help="law of the risk of single runs at given steps, and of when they reach a target",
    )
    law.set_defaults(run=_law)
    add_problem(law)
    law.add_argument("--steps", type=whole_number, nargs="+", required=True, metavar="STEP")
    law.add_argument(
        "--quantiles", type=float, nargs="+", default=QUANTILES, metavar="Q",
        help="probabilities, 0 to 1 (default: 0.05 0.5 0.95)",
    )  # fmt: skip
    law.add_argument("--target", type=float, help="also say when runs first reach this risk")
    law.add_argument("--replicas", type=whole_number, help="runs sampled for that (default: 10000)")
    law.add_argument("--seed", type=whole_number, help="of these (default: 0)")
    law.add_argument(
        "--every", type=whole_number, metavar="STEPS", help="steps between looks at their risk"
    )
    add_hyper_parameters(law, "the")
    add_backend(law)
    law.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _law(chosen: argparse.Namespace) -> None:
    for q in chosen.quantiles:
        if not 0.0 <= q <= 1.0:
            raise InputError(f"--quantiles must be probabilities from 0 to 1, not {q:g}")
    unused = [f"--{name}" for name in PASSAGE if getattr(chosen, name) is not None]
    if unused and chosen.target is None:
        raise InputError(
            f"{' and '.join(unused)} cannot be given without --target, the risk to reach"
        )
    problem, algorithm = chosen_setting(chosen)
    rows, passages = [], []
    for batch_size in chosen.batch_size:
        law = risk_distribution(
            problem, algorithm, batch_size, chosen.steps, backend=chosen.backend
        )
        rows += _rows(law, batch_size, chosen.quantiles)
        if chosen.target is not None:
            passages.append(_passage(problem, algorithm, batch_size, chosen))
    if chosen.json:
        facts = setting_facts(chosen, problem, algorithm)
        print_json("law", facts, rows, first_passage=passages)
        return
    said = {"problem": repr(problem), "algorithm": repr(algorithm)}
    print_results(said, [_with_columns(row) for row in rows])
    if passages:
        print(f"first step at which the risk is at most {chosen.target:g}:")
        print_table([_with_columns(row) for row in passages])


def _rows(law: RiskDistribution, batch_size: float, quantiles: list[float]) -> list[dict[str, Any]]:
    """Describe the law at each step."""
    values = law.quantile(np.array(quantiles)[:, None])
    return [
        {
            "batch_size": plain_number(batch_size),
            "steps": int(step),
            "mean": finite(law.mean[k]),
            "std": finite(law.std[k]),
            "skewness": finite(law.skewness[k]),
            "quantiles": _pairs(quantiles, values[:, k]),
        }
        for k, step in enumerate(law.steps)
    ]


def _passage(
    problem: Problem, algorithm: SGD, batch_size: float, chosen: argparse.Namespace
) -> dict[str, Any]:
    """Describe the law of the first passage of single runs, beside that of the mean risk."""
    law = first_passage_distribution(
        problem,
        algorithm,
        batch_size,
        chosen.target,
        **{name: value for name in PASSAGE if (value := getattr(chosen, name)) is not None},
    )
    return {
        "batch_size": plain_number(batch_size),
        "of_expected_risk": finite(law.of_expected_risk),
        "mean": finite(law.mean),
        "never": law.never,
        "quantiles": _pairs(chosen.quantiles, law.quantile(chosen.quantiles)),
    }


def _pairs(quantiles: list[float], values: Any) -> list[dict[str, Any]]:
    """Write probabilities with the values that belong to them."""
    return [
        {"q": q, "value": finite(float(value))} for q, value in zip(quantiles, values, strict=True)
    ]


def _with_columns(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row for a table, with a column for each quantile in the place of their list."""
    columns = {f"{100.0 * pair['q']:g} %": pair["value"] for pair in row["quantiles"]}
    return {name: value for name, value in row.items() if name != "quantiles"} | columns
