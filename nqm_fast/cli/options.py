"""Options of commands: modules, the problem, batch sizes, and hyper-parameters."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from .. import SGD, InputError, Problem
from .tables import whole_number

HYPER_PARAMETERS = tuple(field.name for field in fields(SGD))
"""Names of the fields of SGD, each of which is an option."""


def import_modules(names: Sequence[str]) -> None:
    """Import modules by name, or from files that end with .py, which define classes of one's own.

    Modules in the working folder, and beside such a file, are found too, after all others.
    """
    for name in names:
        is_file = name.endswith(".py")
        folder = str(Path(name).parent.absolute() if is_file else Path.cwd())
        if folder not in sys.path:
            sys.path.append(folder)
        try:
            importlib.import_module(Path(name).stem if is_file else name)
        except Exception as error:  # Whatever a module raises, the user shall see which it was.
            reason = " ".join(str(error).split())
            raise InputError(
                f"--import {name} is impossible: {type(error).__name__}: {reason}"
            ) from error


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
