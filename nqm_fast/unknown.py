"""Algorithms and schedules in a file whose classes are not defined in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .algorithms.base import LinearAlgorithm
from .foundation.validation import InputError, shown
from .schedules import Schedule


class UnknownAlgorithm(LinearAlgorithm):
    """An algorithm in a file, whose class is not defined in this process.

    It can be shown; whatever needs its class raises the InputError `reason`.
    """

    def __init__(self, description: Mapping[str, Any], reason: str) -> None:
        self.description, self.reason = description, reason

    def __repr__(self) -> str:
        return as_call(self.description)

    @property
    def lr(self) -> Any:  # type: ignore[override]
        """The learning rate, which is not known."""
        raise InputError(self.reason)

    def recurrence(self, h: Any) -> Any:
        """The recurrence, which is not known."""
        raise InputError(self.reason)

    def largest_lr(self, h: Any) -> float:
        """The largest learning rate, which is not known."""
        raise InputError(self.reason)


class UnknownSchedule(Schedule):
    """A schedule in a file, whose class is not defined in this process.

    It can be shown; whatever needs its class raises the InputError `reason`.
    """

    def __init__(self, description: Mapping[str, Any], reason: str) -> None:
        self.description, self.reason = description, reason

    def __repr__(self) -> str:
        return as_call(self.description)

    def values(self, steps: Any) -> Any:
        """The values, which are not known."""
        raise InputError(self.reason)

    def piece(self, step: int) -> Any:
        """The piece at a step, which is not known."""
        raise InputError(self.reason)

    @property
    def least(self) -> float:
        """The lowest value, which is not known."""
        raise InputError(self.reason)


def as_call(value: Any) -> str:
    """Write a description as the call that makes what it describes, if its class were there."""
    if not isinstance(value, Mapping):
        return f"{value:g}" if isinstance(value, float) else shown(value)
    inner = (f"{name}={as_call(x)}" for name, x in value.items() if name != "kind")
    return f"{value.get('kind')}({', '.join(inner)})"


def is_known(setting: Iterable[Any]) -> bool:
    """Whether the classes of a setting's algorithm and schedule are defined in this process."""
    unknown = (UnknownAlgorithm, UnknownSchedule)
    return not any(isinstance(part, unknown) for part in setting)
