"""Experiments in TOML; an error names the line of the wrong value and the values allowed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from ..algorithms.base import Algorithm
from ..coordinates.spectrum import NEGATIVE, SHAPE
from ..foundation.validation import InputError, counted, shown
from ..kernels.noise import LAWS
from ..noise import described_noise
from ..problem import Problem
from ..schedules import Schedule
from ..simulation.experiment import SAMPLING
from ..simulation.observables import RISK
from ..spectra.reading import read_spectrum
from ..store import serialization
from .options import unused_beside
from .toml_source import KeyPath, Source, read_text, read_toml


def default_text() -> str:
    """Return the commented example, which is also the experiment that runs without a file."""
    return files(__package__).joinpath("default.toml").read_text(encoding="utf-8")


def _as_whole(value: Any) -> Any:
    """Convert a whole float such as 1e6 to an int, and leave other values to be checked."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _one_of(allowed: Iterable[str]) -> Callable[[str], str]:
    """Make a check that a word is one of those allowed."""
    words = [repr(word) for word in allowed]

    def check(value: str) -> str:
        if repr(value) not in words:
            choices = f"{', '.join(words[:-1])} or {words[-1]}"
            raise PydanticCustomError("one_of", f"Input should be {choices}")
        return value

    return check


Whole = Annotated[int, BeforeValidator(_as_whole)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


SPECTRAL = frozenset(("negative", "damping"))
"""Keys that say what becomes of curvatures, wherever they come from."""
ARRAYS = frozenset(("h", "c", "sigma", "mean0", "var0", "count")) | SPECTRAL
"""Keys of a problem that is listed: the arguments of `Problem`."""


class ProblemTable(_Table):
    """The table of the problem: a power law, a file, or arrays."""

    dim: Annotated[Whole, Field(ge=1)] = 1_000_000
    exponent: Annotated[float, Field(ge=0.0)] = 1.0
    noise_exponent: float | None = None  # the rest of a power law, which it checks
    start_exponent: float | None = None
    scale: float = 1.0
    noise: float | None = None
    start: float | None = None
    damping: Annotated[float, Field(ge=0.0)] = 0.0
    negative: Annotated[str, AfterValidator(_one_of(NEGATIVE))] = "error"
    file: str | None = None
    h: Any = None  # the arguments of Problem, which checks them
    c: Any = None
    sigma: Any = None
    mean0: Any = None
    var0: Any = None
    count: Any = None
    noise_model: dict[str, Any] | None = None

    def build(self) -> Problem:
        """Make or load the problem, with its noise."""
        problem = self._without_noise()
        return (
            problem
            if self.noise_model is None
            else problem.with_noise(described_noise(self.noise_model))
        )

    def _without_noise(self) -> Problem:
        """Make or load the problem."""
        given = {key: getattr(self, key) for key in ARRAYS & self.model_fields_set}
        if given.keys() - SPECTRAL:
            return self._from_arrays(given)
        if self.file is not None:
            return self._from_file(self.file)
        if "negative" in given:
            raise InputError(
                f"negative = {self.negative!r} is for a file or for h: the curvatures of a power "
                "law are positive"
            )
        law = {name: getattr(self, name) for name in SHAPE}
        return Problem.power_law(self.dim, **law, damping=self.damping)

    def _from_file(self, file: str) -> Problem:
        """Read the problem from a file, whose weights, if it has some, need `dim`."""
        unused, hint = unused_beside(Path(file), self.model_fields_set)
        if unused:
            raise InputError(
                f"file = {file!r} is a problem by itself, so that {' and '.join(unused)} cannot "
                f"be given too: remove one{hint}"
            )
        if not Path(file).exists():
            raise InputError(f"file = {file!r} does not exist")
        dim = self.dim if "dim" in self.model_fields_set else None
        try:
            return read_spectrum(file, dim=dim, negative=self.negative, damping=self.damping)
        except InputError as error:
            reason = str(error).removeprefix(f"path {file!r}")
            raise InputError(f"file = {file!r}{reason}") from None

    def _from_arrays(self, given: dict[str, Any]) -> Problem:
        """Make the problem of curvatures and other arrays that are listed here."""
        if "h" not in given:
            raise InputError(f"{min(given.keys() - SPECTRAL)} needs h, the list of curvatures")
        others = sorted(self.model_fields_set - ARRAYS - {"noise_model"})
        if others:
            raise InputError(
                f"{others[0]} = {shown(getattr(self, others[0]))} contradicts h: a problem is "
                "either listed as h, or a power law (dim, exponent), or a file"
            )
        return Problem(**given)


class RunTable(_Table):
    """The whole file. Values that may have several forms are checked by `simulate`."""

    out: str = "run.h5"
    steps: Annotated[Whole, Field(ge=0)] = 2000
    batch_size: Any = 16
    replicas: Any = 4
    seed: Annotated[Whole, Field(ge=0)] = 0
    record: Any = None
    sampling: Annotated[str, AfterValidator(_one_of(SAMPLING))] = "minibatch"
    data: Annotated[str, AfterValidator(_one_of(LAWS))] = "normal"
    df: float | None = None
    bands: Any = None
    observe: Any = RISK
    trajectory: Any = None
    keep_state: bool = False
    checkpoint_every: Annotated[float, Field(ge=0.0)] = 60.0
    backend: str = "auto"
    threads: Annotated[Whole, Field(ge=1)] | None = None
    devices: Any = None
    problem: ProblemTable = ProblemTable()
    setting: Annotated[list[dict[str, Any]], Field(min_length=1)]


@dataclass
class Configuration:
    """A validated configuration: the arguments that `simulate` is called with, and their origin."""

    out: str
    arguments: dict[str, Any]
    source: Source


def load(file: Path | None, changes: Sequence[str] = ()) -> Configuration:
    """Read a configuration, the default one without a file, and change some values.

    Parameters
    ----------
    file : path or None
    changes : sequence of str
        Such as ``steps=100`` or ``setting.0.lr=0.5``, values in TOML.

    Raises
    ------
    InputError
        If it is not valid TOML, a key is unknown, or a value has a wrong type or is impossible.
    """
    name = "the default experiment" if file is None else str(file)
    content, source = read_toml(name, default_text() if file is None else read_text(file), changes)
    problem = content.get("problem")
    another = {("problem", "file"), ("problem", "h")} & source.changes.keys()
    if file is None and another and isinstance(problem, dict):
        # The default experiment's power law gives way to another problem, unless it is asked for.
        for key in ("dim", *SHAPE):
            if ("problem", key) not in source.changes:
                problem.pop(key, None)
    try:
        table = RunTable.model_validate(content)
    except ValidationError as error:
        raise InputError("\n".join(describe_error(e, source) for e in error.errors())) from None
    values = {key: getattr(table, key) for key in RunTable.model_fields}
    out, law, tables = (values.pop(key) for key in ("out", "problem", "setting"))
    with _locating_errors(source, ("batch_size",)):
        batch_size = _build_schedule(values["batch_size"])
        shared = _shared_batch_sizes(batch_size, len(tables))
    algorithms, sizes = [], []
    for k, setting in enumerate(tables):
        with _locating_errors(source, ("setting", k)):
            algorithms.append(_build_algorithm(setting))
            sizes.append(_build_schedule(setting.get("batch_size", shared[k])))
    with _locating_errors(source, ("problem",)):
        values["problem"] = law.build()
    return Configuration(out, values | {"algorithm": algorithms, "batch_size": sizes}, source)


def _build_algorithm(table: Mapping[str, Any]) -> Any:
    """Make the algorithm of a setting, from all of its table but the batch size."""
    fields = {key: value for key, value in table.items() if key != "batch_size"}
    return serialization.build(Algorithm, {"kind": "SGD"} | fields)


def _shared_batch_sizes(batch_size: Any, count: int) -> list[Any]:
    """Give each setting the batch size that it has if its table has none."""
    if not isinstance(batch_size, list):
        return [batch_size] * count
    if len(batch_size) != count:
        raise InputError(
            f"batch_size has {counted(len(batch_size), 'value')} beside {counted(count, 'table')} "
            '[[setting]]: give one for each, or { kind = "PerStep", array = [...] } of one for '
            "each step"
        )
    return [_build_schedule(size) for size in batch_size]


def _build_schedule(value: Any) -> Any:
    """Make the schedule that a table describes, and leave other values as they are."""
    return serialization.build(Schedule, value) if isinstance(value, Mapping) else value


@contextmanager
def _locating_errors(source: Source, path: KeyPath) -> Generator[None]:
    """Add, to errors in this context, the place of the value that they name."""
    try:
        yield
    except InputError as error:
        place = source.place(source.find(str(error).split()[0], path))
        raise InputError(f"{place}{error}") from None


def describe_error(error: Any, source: Source) -> str:
    """Write an error of pydantic as a sentence."""
    path: KeyPath = tuple(error["loc"])
    name = ".".join(map(str, path))
    if error["type"] == "extra_forbidden":
        model = ProblemTable if path[0] == "problem" else RunTable
        allowed = list(model.model_fields)
        near = get_close_matches(str(path[-1]), allowed, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"{source.place(path)}{name} is not a key{hint}: allowed are {', '.join(allowed)}"
    if error["type"] in ("missing", "too_short"):
        return f"{source.place(path)}{name} must be one or more tables [[setting]]"
    requirement = error["msg"].removeprefix("Input should ").removeprefix("be ")
    if error["type"] in ("dict_type", "model_type"):
        requirement = "a table"
    return f"{source.place(path)}{name} must be {requirement}, not {shown(error['input'])}"
