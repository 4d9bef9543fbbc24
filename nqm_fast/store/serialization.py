"""Serialization of experiments as JSON and arrays, from which the same bits come back.

Schedules and algorithms are written as their class and the fields of their dataclass, so that a
new class needs nothing here. Arrays are kept beside the JSON, which refers to them by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import Algorithm
from ..foundation.validation import InputError, shown
from ..problem import Problem
from ..schedules import Constant, Schedule, as_schedule
from ..simulation.coordinates import Coordinates
from ..simulation.experiment import Experiment
from ..simulation.observables import RISK, observed_names
from ..simulation.settings import Setting
from ..unknown import UnknownAlgorithm, UnknownSchedule

Arrays = Mapping[str, NDArray[Any]]
INNER = "inner"
"""The parameter that is an algorithm itself, of those that go around another one."""
PACKAGE_PREFIX = __name__.partition(".")[0] + "."


def kind_of(cls: Any) -> str:
    """The kind that stands for a class: its name, and for a class of others also its module."""
    ours = cls.__module__.startswith(PACKAGE_PREFIX)
    return str(cls.__name__) if ours else f"{cls.__module__}:{cls.__qualname__}"


def kinds(base: type) -> dict[str, Any]:
    """All dataclasses below `base` that are defined in this process, by their kind.

    Those of this package whose names begin with an underscore are nobody's to choose.
    """
    by_kind: dict[str, Any] = {}
    subclasses: list[Any] = base.__subclasses__()
    for cls in subclasses:
        kind = kind_of(cls)
        own = {kind: cls} if is_dataclass(cls) and not kind.startswith("_") else {}
        by_kind |= own | kinds(cls)
    return by_kind


def parameters(cls: Any) -> dict[str, str]:
    """The parameters of a class, which descriptions may hold, and the names of their fields.

    A field may have an underscore at its end, as a word of Python does, that is left out.
    """
    return {f.name.rstrip("_"): f.name for f in fields(cls) if f.init}


def build(base: type, description: Mapping[str, Any]) -> Any:
    """Build the algorithm or schedule that a table with its `kind` and parameters describes.

    Raises
    ------
    InputError
        If the kind or a parameter is unknown, or a parameter is missing.
    """
    known = kinds(base)
    kind = description.get("kind")
    if not isinstance(kind, str) or kind not in known:
        ours = ", ".join(name for name in known if ":" not in name)
        raise InputError(f"kind must be one of {ours}, not {shown(kind)}{_where_defined(kind)}")
    field_names = parameters(known[kind])
    given = {name: value for name, value in description.items() if name != "kind"}
    for name in given:
        if name not in field_names:
            allowed = ", ".join(field_names)
            raise InputError(f"{name} is not a parameter of {kind}, which has {allowed}")
    values = {field_names[name]: _built(name, value) for name, value in given.items()}
    needed = [f.name for f in fields(known[kind]) if f.init and f.default is MISSING]
    missing = [
        name for name, field in field_names.items() if field in needed and field not in values
    ]
    if missing:
        raise InputError(f"kind = {kind!r} needs {', '.join(missing)}")
    return known[kind](**values)


def _built(name: str, value: Any) -> Any:
    """Build the value of a parameter, a table for a schedule or for an inner algorithm."""
    if not isinstance(value, Mapping):
        return value
    return build(Algorithm, {"kind": "SGD", **value}) if name == INNER else build(Schedule, value)


def _where_defined(kind: Any) -> str:
    """A hint where the class of a kind is defined, if it is one of others."""
    module, colon, _ = kind.partition(":") if isinstance(kind, str) else ("", "", "")
    if not colon:
        return ""
    if module == "__main__":
        return " (defined in the script that made it: go on in that script)"
    return f" (import {module} first, which defines it; on the command line, --import {module})"


def _reason(description: Mapping[str, Any], error: Exception) -> str:
    """Why what a description describes is not known."""
    if isinstance(error, InputError):
        return str(error)
    return f"{description.get('kind')} cannot be made: {type(error).__name__}: {error}"


def _decoded_setting(description: Mapping[str, Any]) -> Setting:
    """The setting that a table describes, as far as its classes are defined in this process."""
    algorithm, batch_size = description["algorithm"], description["batch_size"]
    try:
        built = build(Algorithm, algorithm)
    except Exception as error:  # A class of others may have changed, and raise what it likes.
        built = UnknownAlgorithm(algorithm, _reason(algorithm, error))
    try:
        given = build(Schedule, batch_size) if isinstance(batch_size, Mapping) else batch_size
        schedule = as_schedule("batch_size", given, least=1.0)
    except Exception as error:
        if not isinstance(batch_size, Mapping):
            raise
        schedule = UnknownSchedule(batch_size, _reason(batch_size, error))
    return Setting(built, schedule)


def encode(experiment: Experiment) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Encode an experiment as a configuration, ready for JSON, and the arrays that it names.

    Raises
    ------
    InputError
        If an algorithm or schedule is not a dataclass of numbers, arrays and schedules.
    """
    arrays: dict[str, NDArray[Any]] = {}
    known = kinds(Algorithm) | kinds(Schedule)

    def encoded(name: str, value: Any) -> Any:
        """A value as JSON can hold it; `name` is its place, and the name of its array."""
        if isinstance(value, np.ndarray) and value.ndim == 1:
            arrays[name] = value
            return {"array": name}
        if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim):
            return encoded(name, value.item())
        if isinstance(value, Constant):
            return encoded(name, value.value)
        if is_dataclass(value) and kind_of(type(value)) in known:
            names = parameters(type(value))
            inner = {key: encoded(f"{name}.{key}", getattr(value, f)) for key, f in names.items()}
            return {"kind": kind_of(type(value))} | inner
        if isinstance(value, Mapping):
            return {key: encoded(f"{name}.{key}", x) for key, x in value.items()}
        if isinstance(value, list | tuple):
            return [encoded(f"{name}.{k}", x) for k, x in enumerate(value)]
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        raise InputError(
            f"{name} cannot be written to a file: {shown(value)} is not a dataclass of finite "
            "numbers, one-dimensional arrays and schedules"
        )

    settings = [
        {
            "algorithm": encoded(f"settings.{k}.algorithm", algorithm),
            "batch_size": encoded(f"settings.{k}.batch_size", batch_size),
        }
        for k, (algorithm, batch_size) in enumerate(experiment.settings)
    ]
    configuration = {"problem": encoded("problem", experiment.problem.fields), "settings": settings}
    for field in fields(Experiment)[2:]:
        configuration[field.name] = encoded(field.name, getattr(experiment, field.name))
    return configuration, arrays


def decode(configuration: Mapping[str, Any], arrays: Arrays) -> Experiment:
    """Decode an experiment from its configuration and arrays.

    Algorithms and schedules that are not defined in this process can be shown only.
    """

    def with_arrays(value: Any) -> Any:
        """Put arrays where the configuration names them."""
        if isinstance(value, Mapping):
            if set(value) == {"array"}:
                return arrays[value["array"]]
            return {key: with_arrays(x) for key, x in value.items()}
        return [with_arrays(x) for x in value] if isinstance(value, list) else value

    complete = with_arrays(configuration)
    settings = [_decoded_setting(setting) for setting in complete["settings"]]
    problem = Problem.from_fields(complete["problem"])
    # Files of schema version 1 do not say what they observe, which was the risk.
    observe = tuple(complete.get("observe") or observed_names(RISK, complete["bands"]))
    # Files before schema version 3 are of all coordinates.
    own = complete.get("coordinates")
    changed = {"problem": problem, "settings": tuple(settings), "observe": observe}
    changed["coordinates"] = None if own is None else Coordinates(*own)
    return Experiment(**(complete | changed))


def are_same(one: Experiment, other: Experiment) -> bool:
    """Whether two experiments are the same, by what files would contain of them."""
    (text, arrays), (other_text, other_arrays) = map(encode, (one, other))
    return (
        text == other_text
        and arrays.keys() == other_arrays.keys()
        and all(np.array_equal(arrays[name], other_arrays[name]) for name in arrays)
    )
