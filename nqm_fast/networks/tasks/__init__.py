"""The tasks of the study: networks with their data, losses and targets.

A task is a module of this package without a leading underscore. Its class is called like the
module's ``TASK``.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from ...foundation.messages import InputError, shown
from .base import AdaptedTask, Task

__all__ = ["Task", "as_task", "names"]

NEEDED = ("init", "loss", "train", "validation", "target")
"""Attributes that every task has, also one that does not inherit from `Task`."""


def names() -> list[str]:
    """List the names of the tasks that are shipped."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if name != "base")


def as_task(task: Any) -> Task:
    """Return a task by its name, as an object, or as "module:Class".

    Raises
    ------
    InputError
        If there is none, or it lacks what a task has.
    """
    if isinstance(task, str):
        return _task_named(task)
    if isinstance(task, type):
        task = task()
    missing = [name for name in NEEDED if not hasattr(task, name)]
    if missing:
        raise InputError(
            f"task must be one of {', '.join(names())}, or an object with "
            f"{', '.join(NEEDED)}; {shown(task)} has no {missing[0]}"
        )
    return task if isinstance(task, Task) else AdaptedTask(task)


@cache
def _task_named(name: str) -> Task:
    """Make a task of its name, once, as making its data takes time."""
    if name in names():
        task: Task = importlib.import_module(f"{__name__}.{name}").TASK()
        return task
    module, colon, attribute = name.partition(":")
    if not colon:
        raise InputError(
            f"task must be one of {', '.join(names())}, or MODULE:CLASS, not {shown(name)}"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"task {name} cannot be imported: {error}") from error
    return as_task(found)
