"""The one place that sets Numba's compile options, and says so while it compiles."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import platformdirs
from numba import extending, types
from numba.core import event
from numba.cpython.unsafe.tuple import tuple_setitem

from .. import noise
from ..sources import digest

Function = TypeVar("Function", bound=Callable[..., Any])

# No fastmath: it deletes NaN checks and reorders sums. The NumPy error model turns
# x / 0 into inf instead of a branch that would stop loops from being vectorised.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}


def _cache_folder() -> Path | None:
    """Return a writable folder for code compiled of exactly these sources, or None.

    Numba notices a change of the file that holds a function, not of another file whose
    functions and constants were compiled into it.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    homes = [Path(__file__).parent / "__pycache__", platformdirs.user_cache_path("nqm_fast")]
    for home in [Path(chosen)] if chosen else homes:
        folder = home / f"compiled-{digest()}"
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


def kernel(function: Function, **more: bool) -> Function:
    """Compile ``function`` for the CPU on its first call, keeping the result on disk."""
    options = OPTIONS | more
    if _FOLDER is None:
        return cast(Function, numba.njit(**options)(function))
    usual = config.CACHE_DIR
    config.CACHE_DIR = str(_FOLDER)
    try:
        return cast(Function, numba.njit(**options, cache=True)(function))
    finally:
        config.CACHE_DIR = usual


def uncached_kernel(function: Function) -> Function:
    """Compile a function that is made anew in every process, so that no cache would find it.

    Its code is cached as a part of the kernels that call it.
    """
    return cast(Function, numba.njit(**OPTIONS)(function))


def parallel_kernel(function: Function) -> Function:
    """Compile like `kernel`, with loops over `prange` on threads; call it within `threads`."""
    return kernel(function, parallel=True)


def inlined(function: Function) -> Function:
    """Compile a function that must become a part of its callers' loops."""
    return kernel(function, forceinline=True)


prange = numba.prange
replace_component = tuple_setitem
"""``replace_component(state, a, x)`` is the tuple with component a replaced, in unrolled loops."""


_one_at_a_time = threading.Lock()  # a threading layer may not be entered from two threads


@contextmanager
def threads(count: int) -> Generator[None]:
    """Let parallel kernels within use `count` threads, or as many as Numba was started with."""
    with _one_at_a_time:
        usual = numba.get_num_threads()
        numba.set_num_threads(min(count, config.NUMBA_NUM_THREADS))
        try:
            yield
        finally:
            numba.set_num_threads(usual)


def _fma(_: Any, x: Any, y: Any, z: Any) -> Any:
    """Give Numba ``fma(x, y, z)``, which is ``x * y + z`` rounded once, as an instruction."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    kind: Any = types.float32 if x == y == z == types.float32 else types.float64
    return kind(x, y, z), generate


fma: Any = extending.intrinsic(_fma)


@inlined
def product_error(x: Any, y: Any, product: Any) -> Any:
    """Return what rounding has taken from a product of two float64 numbers."""
    return fma(x, y, -product)


# The functions that backends share are compiled as they are, except for these two, which NumPy
# needs in another form.
_INLINED: dict[str, Any] = {"jit_options": OPTIONS | {"forceinline": True}}
extending.overload(noise.fma, **_INLINED)(lambda x, y, z: lambda x, y, z: fma(x, y, z))
extending.overload(noise.select, **_INLINED)(
    lambda condition, x, y: lambda condition, x, y: x if condition else y
)
for _shared in noise.SHARED:
    extending.register_jitable(**OPTIONS, forceinline=True)(_shared)


class _SayOnce(event.Listener):
    """Tell the terminal about the first compilation of this process, which takes seconds."""

    def on_start(self, _: event.Event) -> None:
        _unregister("numba:compile", self)
        sys.stderr.write("nqm_fast: compiling the kernels (once; the result is cached) ...\n")
        sys.stderr.flush()

    def on_end(self, _: event.Event) -> None:
        """Say nothing, since the result itself follows."""


_timing: Any = event.TimingListener  # times the outermost compilation, which may start others
clock = _timing()
_register("numba:compiler_lock", clock)
_register("numba:compile", _SayOnce())
