"""The way NumPy treats overflow and the like within public functions, whatever a caller has set.

Results go through infinity and underflow on purpose, which ``np.seterr(all="raise")``, of a caller,
would forbid.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property, wraps
from typing import Any, TypeVar, cast

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])
Class = TypeVar("Class", bound=type)

MARK = "_in_usual_arithmetic"
"""The attribute of functions that `in_usual_arithmetic` has made."""
CONSTRUCTORS = ("__init__", "__post_init__")

_is_within: ContextVar[bool] = ContextVar("_is_within", default=False)
"""Whether this is within a public function."""


def usual_arithmetic() -> np.errstate:
    """Make a context in which NumPy treats overflow and the like as by default."""
    return np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")


def in_usual_arithmetic(function: Function) -> Function:
    """Run a public function in `usual_arithmetic`, if it is not called from another such one.

    What another has chosen for a calculation then holds in the methods that it calls, too.
    """

    @wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        if _is_within.get():
            return function(*arguments, **named)
        token = _is_within.set(True)
        try:
            with usual_arithmetic():
                return function(*arguments, **named)
        finally:
            _is_within.reset(token)

    setattr(run, MARK, True)
    return cast(Function, run)


def methods_in_usual_arithmetic(cls: Class) -> Class:
    """Run the constructor, the public methods and the properties of a class in it, in place."""
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name not in CONSTRUCTORS:
            continue
        if isinstance(member, classmethod | staticmethod):
            setattr(cls, name, type(member)(in_usual_arithmetic(member.__func__)))
        elif isinstance(member, property) and member.fget is not None:
            setattr(cls, name, property(in_usual_arithmetic(member.fget), doc=member.__doc__))
        elif isinstance(member, cached_property):
            member.func = in_usual_arithmetic(member.func)
        elif callable(member) and not isinstance(member, type):
            setattr(cls, name, in_usual_arithmetic(cast(Callable[..., Any], member)))
    return cls
