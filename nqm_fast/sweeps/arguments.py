"""The values of a point as a problem, an algorithm, and the other arguments of a function."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any, NamedTuple, cast

from ..algorithms.base import Algorithm
from ..algorithms.sgd import SGD
from ..coordinates.problem_files import content
from ..coordinates.spectrum import SHAPE
from ..foundation.immutable import comparable
from ..foundation.validation import InputError, shown
from ..problem import Problem
from ..spectra.reading import read_spectrum
from ..store import serialization

PROBLEM = ("problem", "dim", *SHAPE, "damping", "negative")
"""Names whose values make the problem."""
OWN = ("problem", "algorithm")
"""Arguments of functions that are made of others."""


class Arguments(NamedTuple):
    """A problem, an algorithm or its class, its hyper-parameters, and the other arguments."""

    problem: Problem
    algorithm: Any
    hyper: dict[str, Any]
    call: dict[str, Any]

    @property
    def setting(self) -> Any:
        """The algorithm with its hyper-parameters."""
        if isinstance(self.algorithm, type):
            for name in _required(self.algorithm):
                if name not in self.hyper:
                    raise InputError(
                        f"{name} of {self.algorithm.__name__} must be given, as an axis or for all "
                        "points"
                    )
            return self.algorithm(**self.hyper)
        algorithm: Any = self.algorithm
        if not self.hyper:
            return algorithm
        if not is_dataclass(algorithm):
            raise InputError(
                f"algorithm must be a dataclass where {min(self.hyper)} varies, "
                f"not {shown(algorithm)}"
            )
        return cast(Algorithm, algorithm).with_hyper_parameters(**self.hyper)


@cache
def parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's parameters that are named ones."""
    found = inspect.signature(function).parameters.values()
    return tuple(p.name for p in found if p.kind is not inspect.Parameter.VAR_KEYWORD)


def _required(kind: type) -> Iterator[str]:
    """Yield the parameters of a class that have no default."""
    several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.default is inspect.Parameter.empty and parameter.kind not in several:
            yield name


def arguments(
    function: Callable[..., Any],
    refused: Mapping[str, str],
    values: Mapping[str, Any],
    contents: Mapping[str, str],
) -> Arguments:
    """Sort values by what they are for: the problem, the call, and else the algorithm.

    `refused` has reasons why arguments of the function cannot be given, `contents` the digests of
    files.

    Raises
    ------
    InputError
        If one is refused, or they contradict each other.
    """
    problem, call, hyper = {}, {}, {}
    for name, value in values.items():
        if name in refused:
            raise InputError(f"{name} = {shown(value)} cannot be given to a sweep: {refused[name]}")
        if name in PROBLEM:
            problem[name] = value
        elif name in parameters(function) and name not in OWN:
            call[name] = value
        elif name not in OWN:
            hyper[name] = value
    algorithm = as_algorithm_or_class(values.get("algorithm", SGD))
    kind = algorithm if isinstance(algorithm, type) else type(algorithm)
    names = parameters(kind) if kind is algorithm else algorithm.parameter_names()
    for name in hyper:
        if name not in names:
            raise InputError(
                f"{name} is not an argument of {function.__name__}, nor of {kind.__name__}, which "
                f"has {', '.join(names)}"
            )
    return Arguments(problem_of(problem, contents), algorithm, hyper, call)


def as_algorithm_or_class(value: Any) -> Any:
    """Return an algorithm, or a class of them, which may be given by its name."""
    if isinstance(value, str):
        known = serialization.kinds(Algorithm)
        if value not in known:
            raise InputError(f"algorithm must be one of {', '.join(known)}, not {value!r}")
        return known[value]
    if isinstance(value, Algorithm) or (isinstance(value, type) and issubclass(value, Algorithm)):
        return value
    raise InputError(f"algorithm must be an algorithm or a class of them, not {shown(value)}")


_latest: dict[Any, Problem] = {}
"""The problem that was made last, as neighbouring points often have the same."""


def content_digest(file: str) -> str:
    """Return a digest of the bytes of a file."""
    return hashlib.sha256(content(file).data).hexdigest()


def problem_of(values: Mapping[str, Any], contents: Mapping[str, str]) -> Problem:
    """Return the problem that values make: itself, in a file, or a power law.

    `contents` has the digests that files must have.
    """
    given = values.get("problem")
    others = {name: value for name, value in values.items() if name != "problem"}
    if isinstance(given, Problem):
        if others:
            raise InputError(
                f"{min(others)} cannot be given beside problem, which is one by itself"
            )
        return given
    # A file may have another content than when it was read last.
    read = None
    if isinstance(given, str):
        read = content_digest(given)
        if read != contents.get(given, read):
            raise InputError(
                f"problem = {given!r} has changed since the sweep was planned: begin anew"
            )
    key = comparable(values), read
    found = _latest.get(key)  # Another thread may put its own problem there meanwhile.
    if found is None:
        found = _new_problem(given, others)
        _latest.clear()
        _latest[key] = found
    return found


def _new_problem(file: Any, others: dict[str, Any]) -> Problem:
    """Read a problem from a file, or make a power law."""
    if isinstance(file, str):
        for name in SHAPE:
            if name in others:
                raise InputError(f"{name} cannot be given beside problem = {file!r}, a file")
        return read_spectrum(file, **others)
    if file is not None:
        raise InputError(f"problem must be a Problem or the name of a file, not {shown(file)}")
    if "negative" in others:
        raise InputError("negative is for a problem in a file: a power law has positive curvatures")
    if "dim" not in others:
        raise InputError("problem or dim must be given, as an axis or for all points")
    return Problem.power_law(**others)
