"""Experiments in TOML: what is wrong is named with its line and with what is allowed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from itertools import pairwise
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
from ..kernels.noise import LAWS
from ..problem import Problem
from ..schedules import Schedule
from ..simulation.experiment import SAMPLING
from ..simulation.observables import RISK
from ..store import serialization
from ..validation import InputError, shown

Path_ = tuple[str | int, ...]


def default_text() -> str:
    """The commented example, which is also what runs without a file."""
    return files(__package__).joinpath("default.toml").read_text(encoding="utf-8")


def _whole(value: Any) -> Any:
    """1e6 is a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _one_of(allowed: Iterable[str]) -> Callable[[str], str]:
    """A check that a word is one of those allowed."""
    words = [repr(word) for word in allowed]

    def check(value: str) -> str:
        if repr(value) not in words:
            said = f"{', '.join(words[:-1])} or {words[-1]}"
            raise PydanticCustomError("one_of", f"Input should be {said}")
        return value

    return check


Whole = Annotated[int, BeforeValidator(_whole)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ProblemTable(_Table):
    """The problem: a power law, or a file."""

    dim: Annotated[Whole, Field(ge=1)] = 1_000_000
    exponent: Annotated[float, Field(ge=0.0)] = 1.0
    file: str | None = None

    def build(self) -> Problem:
        """The problem itself."""
        if self.file is not None:
            if not Path(self.file).exists():
                raise InputError(f"file = {self.file!r} does not exist")
            return Problem.load(self.file)
        return Problem.power_law(self.dim, self.exponent)


class RunTable(_Table):
    """The whole file. What may have several forms is checked by `simulate`."""

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
    keep_state: bool = False
    checkpoint_every: Annotated[float, Field(ge=0.0)] = 60.0
    backend: str = "auto"
    threads: Annotated[Whole, Field(ge=1)] | None = None
    devices: Any = None
    problem: ProblemTable = ProblemTable()
    setting: Annotated[list[dict[str, Any]], Field(min_length=1)]


@dataclass
class Source:
    """Where the values of a configuration stand."""

    name: str
    lines: dict[Path_, int]
    changes: dict[Path_, str]  # what --set says of them

    def place(self, path: Path_) -> str:
        """The words that an error begins with."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.changes:
                return f"--set {self.changes[path[:end]]}: "
            if path[:end] in self.lines:
                return f"{self.name}, line {self.lines[path[:end]]}: "
        return f"{self.name}: "

    def find(self, name: str, within: Path_ = ()) -> Path_:
        """The first place in a table where a value of that name stands; or the table."""
        for path in [*self.changes, *self.lines]:
            if path[: len(within)] == within and path[-1] == name:
                return path
        return within


@dataclass
class Configuration:
    """A validated file: what `simulate` is called with."""

    out: str
    arguments: dict[str, Any]
    source: Source

    def explained(self, error: InputError) -> InputError:
        """The error of an argument, with the place in the file where its value stands.

        Messages begin with the name of the argument.
        """
        path = self.source.find(str(error).split()[0])
        return InputError(f"{self.source.place(path)}{error}") if path else error


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
        If it is no TOML, or a key is unknown, or a value has the wrong type or is impossible.
    """
    name = "the default experiment" if file is None else str(file)
    text = default_text() if file is None else _text(file)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name}: not valid TOML: {error}") from None
    source = Source(name, lines_of(text), {})
    for change in changes:
        source.changes |= dict.fromkeys(_set(content, change), change)
    try:
        table = RunTable.model_validate(content)
    except ValidationError as error:
        raise InputError("\n".join(_described(e, source) for e in error.errors())) from None
    values = {key: getattr(table, key) for key in RunTable.model_fields}
    out, problem, tables = (values.pop(key) for key in ("out", "problem", "setting"))
    with _placed(source, ("batch_size",)):
        batch_size = _scheduled(values["batch_size"])
    algorithms, sizes = [], []
    for k, setting in enumerate(tables):
        with _placed(source, ("setting", k)):
            algorithms.append(_algorithm(setting))
            sizes.append(_scheduled(setting.get("batch_size", batch_size)))
    with _placed(source, ("problem",)):
        values["problem"] = problem.build()
    return Configuration(out, values | {"algorithm": algorithms, "batch_size": sizes}, source)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{file}: not a text file, and so not TOML") from None


def _algorithm(table: Mapping[str, Any]) -> Any:
    """What a setting's table describes beside its batch size."""
    rest = {key: value for key, value in table.items() if key != "batch_size"}
    return serialization.build(Algorithm, {"kind": "SGD"} | rest)


def _scheduled(value: Any) -> Any:
    return serialization.build(Schedule, value) if isinstance(value, Mapping) else value


@contextmanager
def _placed(source: Source, path: Path_) -> Generator[None]:
    """Give errors within the place of the value that they name."""
    try:
        yield
    except InputError as error:
        place = source.place(source.find(str(error).split()[0], path))
        raise InputError(f"{place}{error}") from None


def _described(error: Any, source: Source) -> str:
    """One error of pydantic's, as a sentence."""
    path: Path_ = tuple(error["loc"])
    name = ".".join(map(str, path))
    if error["type"] == "extra_forbidden":
        model = ProblemTable if path[0] == "problem" else RunTable
        allowed = list(model.model_fields)
        near = get_close_matches(str(path[-1]), allowed, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"{source.place(path)}{name} is not a key{hint}: allowed are {', '.join(allowed)}"
    if error["type"] in ("missing", "too_short"):
        return f"{source.place(path)}{name} must be one or more tables [[setting]]"
    said = error["msg"].removeprefix("Input should ").removeprefix("be ")
    if error["type"] in ("dict_type", "model_type"):
        said = "a table"
    return f"{source.place(path)}{name} must be {said}, not {shown(error['input'])}"


def _set(content: dict[str, Any], change: str) -> list[Path_]:
    """Change one value; the paths of it and of all in it."""
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set must be key=value, such as steps=100, not {change!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a word needs no quotes here
    path: Path_ = tuple(int(x) if x.isdecimal() else x for x in key.strip().split("."))
    place: Any = content
    for step, following in pairwise(path):
        place = (
            place.setdefault(step, {}) if isinstance(place, dict) else _item(place, step, change)
        )
        if not isinstance(place, dict | list):
            raise InputError(f"--set {change}: {step} has no {following}")
    if isinstance(place, list):
        _item(place, path[-1], change)
    place[path[-1]] = value
    return [path, *_paths(value, path)]


def _item(items: list[Any], index: str | int, change: str) -> Any:
    if not isinstance(index, int) or index >= len(items):
        raise InputError(f"--set {change}: {index} must be a number from 0 to {len(items) - 1}")
    return items[index]


def lines_of(text: str) -> dict[Path_, int]:
    """On which line each key stands, found by reading ever more of the lines."""
    found: dict[Path_, int] = {}
    lines = text.splitlines()
    begin = 0  # of what was not read yet
    for end in range(1, len(lines) + 1):
        try:
            content = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # within a value of several lines
        whole = (n for n in range(begin, end) if lines[n].strip() and lines[n].lstrip()[0] != "#")
        first = next(whole, end - 1) + 1
        for path in _paths(content):
            found.setdefault(path, first)
        begin = end
    return found


def _paths(value: Any, path: Path_ = ()) -> list[Path_]:
    """Of all values in nested tables and lists."""
    found: list[Path_] = []
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            found += [(*path, key), *_paths(item, (*path, key))]
    return found
