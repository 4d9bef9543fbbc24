"""Options that commands share: modules, problem, batch sizes, hyper-parameters, and backend."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Container, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import SGD, InputError, Problem
from ..kernels import REGISTRY
from ..spectra import read_spectrum
from ..spectrum import NEGATIVE, SHAPE
from .tables import whole_number

DEFAULT_DIM = 10_000
"""Coordinates of the power law where neither a dimension nor a file is given."""

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
        help="coordinates of a power law (default: 10000)",
    )
    add_power_law(parser)
    add_problem_file(parser)
    parser.add_argument(
        "--batch-size", type=float, nargs="+", required=True, metavar="B", help="one or more"
    )


def add_power_law(parser: argparse.ArgumentParser) -> None:
    """Add the options for a power law beside its number of coordinates."""
    for name, meaning in (
        ("exponent", "its h_i = scale i^-exponent (default: 1)"),
        ("noise-exponent", "its c_i = noise i^-noise-exponent (default: c = h)"),
        ("start-exponent", "its h_i E[w_0i^2] = start i^-start-exponent (default: E[w_0i^2] = 1)"),
        ("scale", "its largest curvature (default: 1)"),
        ("noise", "the noise of its first coordinate (default: scale)"),
        ("start", "twice the initial risk of its first coordinate (default: scale)"),
    ):
        parser.add_argument(f"--{name}", type=float, metavar="X", help=meaning)


def add_problem_file(parser: argparse.ArgumentParser) -> None:
    """Add the options for a problem in a file, and for its curvatures."""
    parser.add_argument(
        "--problem",
        type=Path,
        metavar="FILE",
        help="instead, a saved problem, or a spectrum in .npz, .npy or text (weights need --dim)",
    )
    parser.add_argument(
        "--negative",
        choices=NEGATIVE,
        help="what becomes of its curvatures that are negative or zero (default: error)",
    )
    parser.add_argument(
        "--damping", type=float, metavar="D", help="added to all curvatures first (default: 0)"
    )


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add the option for the backend of the exact model."""
    parser.add_argument("--backend", default="auto", help="numba, cython or numpy (default: auto)")


def add_hyper_parameters(parser: argparse.ArgumentParser, article: str) -> None:
    """Add an option for every field of the algorithm."""
    for name in HYPER_PARAMETERS:
        parser.add_argument(f"--{name}", type=float, help=f"{article} {name} of SGD")


def add_resources(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what computes; none of them changes a bit of the results."""
    parser.add_argument(
        "--backend", choices=("auto", *REGISTRY), help="what computes (default: auto)"
    )
    parser.add_argument("--threads", type=whole_number, metavar="N", help="default: all cores")
    parser.add_argument(
        "--devices", type=whole_number, nargs="+", metavar="GPU", help="with --backend cuda"
    )


def chosen_resources(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the resources that are given, as arguments of `simulate` and `resume`."""
    names = ("backend", "threads", "devices")
    return {name: value for name in names if (value := getattr(chosen, name)) is not None}


def add_workers(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the options that say which workers compute what can be split."""
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument(
        "--workers",
        type=whole_number,
        metavar="N",
        help=f"processes of this machine that share the work (default: {default})",
    )
    workers.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="instead, workers of a scheduler, such as tcp://host:8786, or its file",
    )


@contextmanager
def chosen_executor(chosen: argparse.Namespace) -> Generator[Any]:
    """Give the number of workers, or a client of the scheduler of Dask, while the context lasts."""
    if chosen.dask is None:
        if chosen.workers is not None and chosen.workers < 1:
            raise InputError(f"--workers must be a whole number >= 1, not {chosen.workers}")
        yield chosen.workers
        return
    if find_spec("distributed") is None:
        raise InputError("--dask needs distributed: pip install 'nqm-fast[dask]'")
    import distributed

    connect: Any = distributed.Client  # which has no types
    is_file = Path(chosen.dask).exists()
    where = {"scheduler_file": chosen.dask} if is_file else {"address": chosen.dask}
    try:
        client = connect(**where)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--dask {chosen.dask} has no scheduler: {reason}") from None
    with client:
        yield client


def chosen_problem(chosen: argparse.Namespace) -> Problem:
    """Load or make the problem that the options describe."""
    names = ("dim", *SHAPE, "negative", "damping")
    given = {name: x for name in names if (x := getattr(chosen, name)) is not None}
    if chosen.problem is None:
        if "negative" in given:
            raise InputError(
                f"--negative {chosen.negative} is for --problem FILE: the curvatures of a power "
                "law are positive"
            )
        return Problem.power_law(**{"dim": DEFAULT_DIM} | given)
    unused, hint = unused_beside(chosen.problem, given)
    if unused:
        options = [f"--{name.replace('_', '-')}" for name in unused]
        raise InputError(
            f"--problem {chosen.problem} is a problem by itself, so that "
            f"{' and '.join(options)} cannot be given too: choose{hint}"
        )
    return read_spectrum(chosen.problem, **given)


def unused_beside(file: Path, given: Container[str]) -> tuple[list[str], str]:
    """Return which parameters of a power law have no use beside a file, and why `dim` has none.

    A file with weights needs `dim`, so that it is left to whoever reads the file.
    """
    is_idle = "dim" in given and not file.exists()
    unused = ["dim"] * is_idle + [name for name in SHAPE if name in given]
    return unused, " (only a file with weights needs it, but there is none)" * is_idle


def chosen_hyper_parameters(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the hyper-parameters that are given, by name."""
    return {
        name: getattr(chosen, name)
        for name in HYPER_PARAMETERS
        if getattr(chosen, name) is not None
    }


def chosen_setting(chosen: argparse.Namespace) -> tuple[Problem, SGD]:
    """Return the problem and the algorithm that are chosen, where no learning rate is searched.

    Raises
    ------
    InputError
        If there is no learning rate.
    """
    if chosen.lr is None:
        raise InputError("--lr is required: the learning rate, >= 0")
    return chosen_problem(chosen), SGD(**chosen_hyper_parameters(chosen))


def setting_facts(chosen: argparse.Namespace, problem: Problem, algorithm: SGD) -> dict[str, Any]:
    """Describe a problem, an algorithm and the target for JSON."""
    facts: dict[str, Any] = {"problem": problem_facts(chosen, problem)}
    return facts | {"algorithm": algorithm_facts(algorithm), "target": chosen.target}


def problem_facts(chosen: argparse.Namespace, problem: Problem) -> dict[str, Any]:
    """Describe the chosen problem for JSON: the same keys for all that were not cut."""
    low, high = problem.curvature_range
    facts = {
        "file": None if chosen.problem is None else str(chosen.problem),
        "dim": problem.dim,
        "exponent": problem.fields.get("exponent"),
        "least_curvature": low,
        "largest_curvature": high,
    }
    laws = SHAPE[1:] if problem.is_power_law else ()
    facts |= {name: problem.fields[name] for name in laws if name in problem.fields}
    return facts | ({"dropped": asdict(problem.dropped)} if problem.dropped else {})


def algorithm_facts(algorithm: Any) -> dict[str, float]:
    """Return all hyper-parameters of SGD by name, for JSON."""
    values = {name: getattr(algorithm, name) for name in HYPER_PARAMETERS}
    return values | {"lr": algorithm.lr.value}
