"""The one place that sets Numba's compile options, and says so while it compiles."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import platformdirs
from numba import extending, types
from numba.core import event

Function = TypeVar("Function", bound=Callable[..., Any])

# No fastmath: it deletes NaN checks and reorders sums. The NumPy error model turns
# x / 0 into inf instead of a branch that would stop loops from being vectorised.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}


def _cache_folder() -> Path | None:
    """A writable folder for compiled code that belongs to exactly these sources.

    Numba notices a change of the file that holds a function, not of another file whose
    functions and constants were compiled into it.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    homes = [Path(__file__).parent / "__pycache__", platformdirs.user_cache_path("nqm_fast")]
    for home in [Path(chosen)] if chosen else homes:
        folder = home / f"compiled-{digest[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


_FOLDER = _cache_folder()

_register: Any = event.register
_unregister: Any = event.unregister
config: Any = numba.config  # a module whose attributes are made at run time


def kernel(function: Function) -> Function:
    """Compile ``function`` for the CPU on its first call, keeping the result on disk."""
    if _FOLDER is None:
        return cast(Function, numba.njit(**OPTIONS)(function))
    usual = config.CACHE_DIR
    config.CACHE_DIR = str(_FOLDER)
    try:
        return cast(Function, numba.njit(**OPTIONS, cache=True)(function))
    finally:
        config.CACHE_DIR = usual


@extending.intrinsic
def fma(_: Any, x: Any, y: Any, z: Any) -> Any:
    """``x * y + z`` rounded once, spelled out: the compiler is not free to choose."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(x, y, z), generate


class _SayOnce(event.Listener):
    """Tell the terminal about the first compilation of this process, which takes seconds."""

    def on_start(self, _: event.Event) -> None:
        _unregister("numba:compile", self)
        sys.stderr.write("nqm_fast: compiling the kernels (once; the result is cached) ...\n")
        sys.stderr.flush()

    def on_end(self, _: event.Event) -> None:
        """Nothing to say: the answer itself follows."""


_register("numba:compile", _SayOnce())
