"""Short names of settings and schedules, for legends, tables and coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Protocol

import numpy as np

from .schedules import Constant, PerStep, Piecewise, Schedule
from .unknown import UnknownAlgorithm, as_call

DIGITS = (4, 6, 9, 17)
"""Digits of numbers in labels: as few of these as tell all labels apart."""
MOST_FIELDS = 2
"""Fields that settings differ in, up to which a label lists them rather than the algorithm."""
BATCH_SIZE = "batch size"


class Setting(Protocol):
    """An algorithm at a batch size."""

    @property
    def algorithm(self) -> Any: ...  # noqa: D102
    @property
    def batch_size(self) -> Schedule: ...  # noqa: D102


def short_name(value: Any, digits: int = DIGITS[-1]) -> str:
    """Write a number or a schedule shortly, such as ``Cosine(1, 2000)`` or ``PerStep(20 values)``.

    Numbers have so many digits, and fewer where these say the same.
    """
    if isinstance(value, Constant):
        return short_name(value.value, digits)
    if isinstance(value, PerStep):
        count = value.array.size
        return f"PerStep({count} value{'s' * (count != 1)})"
    if isinstance(value, Piecewise):
        count = len(value.lengths)
        return f"Piecewise({count} piece{'s' * (count != 1)})"
    if is_dataclass(value) and not isinstance(value, type):
        own = [f for f in fields(value) if f.init]
        positional = [f for f in own if not f.kw_only]
        while positional and _is_default(value, positional[-1]):
            positional.pop()
        words = [short_name(getattr(value, f.name), digits) for f in positional]
        words += [
            f"{f.name}={short_name(getattr(value, f.name), digits)}"
            for f in own
            if f.kw_only and not _is_default(value, f)
        ]
        return f"{type(value).__name__}({', '.join(words)})"
    if isinstance(value, Mapping):  # a schedule in the description of an unknown algorithm
        return as_call(value)
    if isinstance(value, float | np.floating):
        return _short_number(float(value), digits)
    if isinstance(value, np.ndarray):
        return f"{value.size} value{'s' * (value.size != 1)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else text[:37] + "..."


def _short_number(value: float, digits: int) -> str:
    """Write a float with so many digits, or all that it has if these are fewer."""
    if math.isfinite(value) and value == int(value) and abs(value) < 10**digits:
        return str(int(value))
    text = f"{value:.{digits}g}"
    shortest = repr(value)
    return text if float(text) != value or len(text) <= len(shortest) else shortest


def _is_default(value: Any, field: Any) -> bool:
    """Whether a field of a dataclass has its default."""
    if field.default is MISSING:
        return False
    return bool(np.array_equal(getattr(value, field.name), field.default))


def _fields_of(algorithm: Any) -> dict[str, Any]:
    """The fields of an algorithm's dataclass by name."""
    return {f.name.rstrip("_"): getattr(algorithm, f.name) for f in fields(algorithm) if f.init}


def parameters(setting: Setting) -> dict[str, Any]:
    """The parameters of a setting by name: its kind, the fields of its algorithm, its batch size.

    Constant schedules are numbers.
    """
    algorithm: Any = setting.algorithm  # A user's own need not be a dataclass.
    kind = type(algorithm).__name__
    own: dict[str, Any] = {"algorithm": short_name(algorithm)}
    if isinstance(algorithm, UnknownAlgorithm):
        own = dict(algorithm.description)
        kind = own.pop("kind", kind)
    elif is_dataclass(algorithm):
        own = _fields_of(algorithm)
        while is_dataclass(inner := own.pop("inner", None)):
            # An algorithm around another one has the parameters of both.
            kind += f" of {type(inner).__name__}"
            own = _fields_of(inner) | own
    values = {"kind": kind} | own | {BATCH_SIZE: setting.batch_size}
    return {
        name: float(value.value) if isinstance(value, Constant) else value
        for name, value in values.items()
    }


def differing(settings: Sequence[Setting]) -> list[str]:
    """The names of the parameters in which settings differ."""
    tables = [parameters(setting) for setting in settings]
    names = list(dict.fromkeys(name for table in tables for name in table))
    texts = {name: {short_name(table.get(name)) for table in tables} for name in names}
    varying = [name for name in names if len(texts[name]) > 1]
    # Schedules of one short name may differ all the same.
    return varying or [name for name in names if _differs([table.get(name) for table in tables])]


def _differs(values: list[Any]) -> bool:
    """Whether schedules of one short name are different objects with different values."""
    first, *others = values
    return isinstance(first, Schedule) and any(first != other for other in others)


def setting_labels(settings: Sequence[Setting]) -> list[str]:
    """Name settings by what differs between them, such as ``lr = 0.1`` or ``B = 64``.

    Where they differ in many ways, and where there is one, the algorithm is named, and the batch
    size where it differs.
    """
    varying = differing(settings)
    labels: list[str] = []
    for digits in DIGITS:
        labels = [_label(setting, varying, digits) for setting in settings]
        if len(set(labels)) == len(labels):
            return labels
    counts = {label: labels.count(label) for label in labels}
    return [
        f"{label}, setting {g}" if counts[label] > 1 else label for g, label in enumerate(labels)
    ]


def _label(setting: Setting, varying: list[str], digits: int) -> str:
    """Name a setting of several that differ in some parameters."""
    table = parameters(setting)
    if not varying or "kind" in varying or len(varying) > MOST_FIELDS:
        words = [short_name(setting.algorithm, digits)]
        varying = [name for name in varying if name == BATCH_SIZE]
    else:
        words = []
    for name in varying:
        symbol = "B" if name == BATCH_SIZE else name
        words.append(f"{symbol} = {short_name(table.get(name), digits)}")
    return ", ".join(words)


def common_text(settings: Sequence[Setting]) -> str:
    """Say in words what all settings have in common: algorithm or kind, and batch size."""
    varying = differing(settings)
    table = parameters(settings[0])
    names = {name: value for name, value in table.items() if name not in varying}
    words = []
    if not varying or varying == [BATCH_SIZE]:
        words.append(short_name(settings[0].algorithm, DIGITS[1]))
    elif "kind" in names and len(varying) <= MOST_FIELDS:
        shown = {
            name: value
            for name, value in names.items()
            if name not in ("kind", BATCH_SIZE)
            and not (value is None or (isinstance(value, int | float) and value == 0))
        }
        inner = ", ".join(f"{name} = {short_name(x, DIGITS[1])}" for name, x in shown.items())
        words.append(f"{names['kind']}{f' with {inner}' if inner else ''}")
    if BATCH_SIZE in names:
        words.append(f"batch size {short_name(names[BATCH_SIZE], DIGITS[1])}")
    return " at ".join(words)


def coordinates(settings: Sequence[Setting]) -> dict[str, Any]:
    """Return the parameters that tell settings apart, by name: arrays with an element for each.

    "label" is text, the others are numbers, such as "lr", "momentum" and "batch_size": NaN for a
    schedule that varies, and for what an algorithm does not have.
    """
    tables = [parameters(setting) for setting in settings]
    names = dict.fromkeys(name for table in tables for name in table)
    columns: dict[str, Any] = {"label": np.array(setting_labels(settings), dtype=object)}
    for name in names:
        values = [table.get(name) for table in tables]
        numbers = [float(x) if isinstance(x, int | float) else math.nan for x in values]
        if any(isinstance(x, int | float | Schedule | Mapping) for x in values):
            columns[name.replace(" ", "_")] = np.array(numbers)
    return columns
