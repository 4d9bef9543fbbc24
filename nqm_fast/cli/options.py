"""Options of commands of the exact engine: the problem, batch sizes, and hyper-parameters."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from .. import SGD, Problem
from .tables import whole_number

HYPER_PARAMETERS = tuple(field.name for field in fields(SGD))
"""Names of the fields of SGD, each of which is an option."""


def add_problem(parser: argparse.ArgumentParser) -> None:
    """Add the options for a problem and for batch sizes."""
    parser.add_argument(
        "--dim",
        type=whole_number,
        default=10_000,
        help="coordinates of a power law (default: 10000)",
    )
    parser.add_argument(
        "--exponent", type=float, default=1.0, help="its h_i = i^-exponent (default: 1)"
    )
    parser.add_argument("--problem", type=Path, metavar="FILE", help="instead, a saved problem")
    parser.add_argument(
        "--batch-size", type=float, nargs="+", required=True, metavar="B", help="one or more"
    )


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add the option for the backend of the exact model."""
    parser.add_argument("--backend", default="auto", help="numba, cython or numpy (default: auto)")


def add_hyper_parameters(parser: argparse.ArgumentParser, article: str) -> None:
    """Add an option for every field of the algorithm."""
    for name in HYPER_PARAMETERS:
        parser.add_argument(f"--{name}", type=float, help=f"{article} {name} of SGD")


def chosen_problem(chosen: argparse.Namespace) -> Problem:
    """Load or make the problem that the options describe."""
    if chosen.problem is not None:
        return Problem.load(chosen.problem)
    return Problem.power_law(chosen.dim, chosen.exponent)


def chosen_hyper_parameters(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the hyper-parameters that are given, by name."""
    return {
        name: getattr(chosen, name)
        for name in HYPER_PARAMETERS
        if getattr(chosen, name) is not None
    }
