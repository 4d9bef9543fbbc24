"""The one place that sets Numba's compile options, and says so while it compiles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core import event

Function = TypeVar("Function", bound=Callable[..., Any])

# No fastmath: it deletes NaN checks and reorders sums. The NumPy error model turns
# x / 0 into inf instead of a branch that would stop loops from being vectorised.
OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}


def kernel(function: Function) -> Function:
    """Compile ``function`` for the CPU on its first call, keeping the result on disk."""
    compiled: Function = numba.njit(**OPTIONS)(function)
    return compiled


class _SayOnce(event.Listener):  # type: ignore[misc]  # Numba ships no type hints
    """Tell the terminal about the first compilation of this process, which takes seconds."""

    def on_start(self, _: event.Event) -> None:
        event.unregister("numba:compile", self)
        sys.stderr.write("nqm_fast: compiling the kernels (once; the result is cached) ...\n")
        sys.stderr.flush()

    def on_end(self, _: event.Event) -> None:
        """Nothing to say: the answer itself follows."""


event.register("numba:compile", _SayOnce())
