"""Options that commands share: modules, problem, batch sizes, hyper-parameters, and backend."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Container, Generator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import SGD, Algorithm, InputError, Problem
from ..coordinates.spectrum import NEGATIVE, SHAPE
from ..kernels import REGISTRY
from ..noise import described_noise
from ..schedules import Constant
from ..spectra.reading import read_spectrum
from ..store import serialization
from .tables import plain, whole_number

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
    add_problem_alone(parser)
    parser.add_argument(
        "--batch-size", type=plain, nargs="+", required=True, metavar="B", help="one or more"
    )


def add_problem_alone(parser: argparse.ArgumentParser) -> None:
    """Add the options for a problem, without batch sizes."""
    parser.add_argument(
        "--dim",
        type=whole_number,
        help="coordinates of a power law (default: 10000)",
    )
    add_power_law(parser)
    add_problem_file(parser)
    parser.add_argument(
        "--noise-model",
        nargs="+",
        metavar=("KIND", "NAME=VALUE"),
        help="noise that depends on the iterate, such as Gaussian label_noise=0.1 (default: none)",
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
    """Add options for the algorithm, and for its parameters."""
    parser.add_argument(
        "--algorithm",
        default="SGD",
        metavar="NAME",
        help="such as Nesterov, or 'EMA(Nesterov)' for one around another (default: SGD)",
    )
    for name in HYPER_PARAMETERS:
        parser.add_argument(f"--{name}", type=float, help=f"{article} {name}")
    parser.add_argument(
        "--parameter",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help=f"{article} parameters that other algorithms have, such as nu=0.7 form=original",
    )


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
    """Load or make the problem that the options describe, with its noise."""
    problem = _chosen_spectrum(chosen)
    words = getattr(chosen, "noise_model", None)
    return problem if words is None else problem.with_noise(described_noise(_noise_table(words)))


def _noise_table(words: list[str]) -> dict[str, Any]:
    """Return the table that the words of --noise-model stand for."""
    table: dict[str, Any] = {"kind": words[0]}
    for word in words[1:]:
        name, equals, text = word.partition("=")
        try:
            table[name] = plain(text)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(
                f"--noise-model must be a kind and NAME=VALUE, such as kurtosis=1, not {word!r}"
            )
    return table


def _chosen_spectrum(chosen: argparse.Namespace) -> Problem:
    """Load or make the problem that the options describe, with the same noise everywhere."""
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
    """Return the parameters of the algorithm that are given, by name."""
    given = {
        name: getattr(chosen, name)
        for name in HYPER_PARAMETERS
        if getattr(chosen, name) is not None
    }
    for word in chosen.parameter:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise InputError(f"--parameter must be NAME=VALUE, such as nu=0.7, not {word!r}")
        given[name] = _number_or_word(text)
    return given


def _number_or_word(text: str) -> int | float | str:
    """Convert text to a number if it is one."""
    try:
        return plain(text)
    except ValueError:
        return text


def chosen_algorithm(chosen: argparse.Namespace, searched: Sequence[str] = ()) -> Any:
    """Return the algorithm that is chosen; the learning rate is 1 if it is `searched`.

    Raises
    ------
    InputError
        If there is no such algorithm, or a parameter is missing or unknown.
    """
    kinds = [algorithm_class(name) for name in chosen.algorithm.rstrip(") ").split("(")]
    given = chosen_hyper_parameters(chosen)
    left = set(given)
    algorithm: Any = None
    for kind in reversed(kinds):
        names = {f.name.rstrip("_"): f for f in fields(kind) if f.init}
        if ("inner" in names) != (algorithm is not None):
            around = f"{kind.__name__}(SGD)" if algorithm is None else kind.__name__
            raise InputError(f"--algorithm {chosen.algorithm} must be {around} there")
        values = {name: value for name, value in given.items() if name in names}
        if algorithm is not None:
            values["inner"] = algorithm
        elif "lr" in searched:
            values.setdefault("lr", 1.0)
        for name, field in names.items():
            if name not in values and field.default is MISSING:
                option = f"--{name}" if name in HYPER_PARAMETERS else f"--parameter {name}=..."
                raise InputError(f"{option} is required: the {name} of {kind.__name__}")
        left -= values.keys()
        algorithm = kind(**{names[name].name: value for name, value in values.items()})
    if left:
        raise InputError(f"{min(left)} is not a parameter of {chosen.algorithm}")
    return algorithm


def algorithm_class(name: str) -> Any:
    """Return the class of algorithms of a name.

    Raises
    ------
    InputError
        If there is none.
    """
    known = serialization.kinds(Algorithm)
    if name.strip() not in known:
        raise InputError(f"--algorithm must be one of {', '.join(known)}, not {name.strip()!r}")
    return known[name.strip()]


def chosen_setting(chosen: argparse.Namespace) -> tuple[Problem, Any]:
    """Return the problem and the algorithm that are chosen, where no learning rate is searched.

    Raises
    ------
    InputError
        If there is no learning rate.
    """
    if chosen.lr is None:
        raise InputError("--lr is required: the learning rate, >= 0")
    return chosen_problem(chosen), chosen_algorithm(chosen)


def setting_facts(chosen: argparse.Namespace, problem: Problem, algorithm: Any) -> dict[str, Any]:
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
    if problem.noise_model is not None:
        facts["noise_model"] = repr(problem.noise_model)
    return facts | ({"dropped": asdict(problem.dropped)} if problem.dropped else {})


def schedule_span(schedule: Any) -> str:
    """Write the first and the last value of a schedule in pieces, or the only one."""
    first, last = schedule.values_[0], schedule.values_[-1]
    return f"{first:.4g}" if len(set(schedule.values_)) == 1 else f"{first:.4g} to {last:.4g}"


def schedule_rows(schedule: Any) -> list[dict[str, Any]]:
    """Return the runs of equal values of a schedule, for JSON."""
    table = schedule.to_table()
    columns = (column.tolist() for column in table.values())
    return [dict(zip(table, row, strict=True)) for row in zip(*columns, strict=True)]


def algorithm_facts(algorithm: Any) -> dict[str, Any]:
    """Return all parameters of an algorithm by name, and its kind if it is not SGD, for JSON.

    A learning rate that changes is a list of its runs of equal values.
    """
    kind = {} if type(algorithm) is SGD else {"kind": algorithm_text(algorithm)}
    values = {name: algorithm.hyper_parameter(name) for name in algorithm.parameter_names()}
    rate = algorithm.lr
    lr = rate.value if isinstance(rate, Constant) else schedule_rows(rate)
    return kind | values | {"lr": lr}


def algorithm_text(algorithm: Any) -> str:
    """Return the kind of an algorithm, such as ``EMA(SGD)``, as an option has it."""
    inner = getattr(algorithm, "inner", None)
    name = type(algorithm).__name__
    return name if inner is None else f"{name}({algorithm_text(inner)})"
