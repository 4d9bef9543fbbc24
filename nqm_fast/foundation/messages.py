"""Errors about arguments, and how values are written in their messages."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

MOST_ITEMS = 20
"""Length of a sequence whose items are written without their types; a message has no more."""


class InputError(ValueError):
    """An argument cannot be used; the message names it, its value and what is allowed."""


def shown(value: object) -> str:
    """Return the repr of a value for a message, on one line of at most 60 characters."""
    try:
        if type(value) in (list, tuple) and len(value) <= MOST_ITEMS:  # type: ignore[arg-type]
            items = [_without_type(item) for item in value]  # type: ignore[attr-defined]
            value = items if isinstance(value, list) else tuple(items)
        text = " ".join(repr(_without_type(value)).split())
    except Exception as error:  # Such as an int of more digits than Python writes.
        text = f"{type(value).__name__} that cannot be written: {error}"
    return text if len(text) <= 60 else text[:57] + "..."


def _without_type(value: Any) -> Any:
    """Replace a number of NumPy or a path, whose reprs name their types, by a plain value."""
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def reason(error: Exception) -> str:
    """Write what a function of somebody else has raised, on one line of at most 200 characters."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    return text if len(text) <= 200 else text[:197] + "..."


def counted(count: int, noun: str) -> str:
    """Write a count with its noun, such as "1 step" and "2 steps"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
