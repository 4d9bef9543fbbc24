"""The computation of the model: hot loops that know arrays and numbers only.

The public package describes problems and algorithms; the functions here receive those
descriptions as arrays and never import from ``nqm_fast``. Importing this package
is cheap: compiled code is loaded by the first call of a function that needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from .contract import Backend, Load
from .notice import say_once


class Registered(NamedTuple):
    """An entry of the list of backends; the backend itself need not be installed.

    Its module has an instance of `contract.Backend` under the name ``BACKEND``.
    """

    module: str  # relative to this package
    needs: str  # the module that must be installed
    cure: str  # how to install it
    on_request: bool = False  # whether it is used only when it is asked for by name
    compiled_code: str = ""  # the module that knows whether it has compiled before, if it compiles


REGISTRY = {
    "numba": Registered(
        "numba.backend", "numba", "run 'pip install numba'", compiled_code="numba.folder"
    ),
    "cython": Registered(
        "cython_cpu",
        f"{__name__}.cython_cpu",
        "its extension was not built, as without a C compiler; install GCC or Clang, then nqm-fast "
        "again, with NQM_REQUIRE_EXT=1 in the environment to see what is missing",
    ),
    "numpy": Registered("reference", "numpy", "run 'pip install numpy'"),
    "cuda": Registered(
        "cuda.backend",
        "numba_cuda",
        "run \"pip install 'nqm-fast[cuda13]'\", or [cuda12] if the driver is older than 580",
        on_request=True,
    ),
}
"""All backends by name, fastest first; those on request come last. There is no other list."""

FOR_EXACT_MODEL = ("cython", "numba", "numpy")
"""Backends for the exact model, best first: its work is short, and compiling takes long."""

COMPILE_SECONDS = 12.0
"""Seconds that Numba takes to compile the kernels of a run, roughly."""

START_SECONDS = 1.5
"""Seconds that a process takes to import Numba and to load kernels of a run that are compiled."""

_exact: ContextVar[str | None] = ContextVar("_exact", default=None)
"""The name of the backend that the exact model runs on, or "auto"; None outside its functions."""


class BackendError(ValueError):
    """A backend is installed, but does not work here; the message says why."""


@cache
def is_installed(name: str) -> bool:
    """Whether the module that a backend needs is installed; it is looked for once in a process."""
    return find_spec(REGISTRY[name].needs) is not None


def present_backends() -> list[str]:
    """Return the installed backends that are not on request only, fastest first."""
    return [name for name in REGISTRY if is_installed(name) and not REGISTRY[name].on_request]


@cache
def load_backend(name: str) -> Backend:
    """Return the backend of that name.

    Raises
    ------
    BackendError
        If it is installed but does not work.
    """
    try:
        backend: Backend = import_module(f".{REGISTRY[name].module}", __name__).BACKEND
    except Exception as error:  # an old build, another NumPy, a setting, a warning
        raise _unusable(name, error) from error
    return backend


def prepared_backend(name: str, workers: object) -> Backend:
    """Return the backend of that name, which can start so many workers.

    Raises
    ------
    BackendError
        If it is installed but does not work.
    """
    backend = load_backend(name)
    try:
        backend.prepare(workers)
    except Exception as error:
        raise _unusable(name, error) from error
    return backend


def _unusable(name: str, error: Exception) -> BackendError:
    """Say in one line why a backend cannot be used."""
    reason, _, _ = " ".join(str(error).split()).partition("Traceback")
    return BackendError(f"backend {name!r} cannot be used: {reason.rstrip(' .:')}")


def soonest_backend(load: Load) -> tuple[str, Backend]:
    """Return the backend that has done a run soonest, with its name.

    The kernels of one that compiles while a program runs are used if they are compiled already, or
    if the run is so long that compiling them pays. Where it cannot be the soonest, it is not even
    imported, which takes long too. Backends that do not work here are passed over.
    """
    names = present_backends()
    times: dict[str, float] = {}
    for name in sorted(names, key=lambda name: bool(REGISTRY[name].compiled_code)):
        code = REGISTRY[name].compiled_code
        starting = START_SECONDS if code and not _is_imported(name) else 0.0
        if code and times:
            least = starting + load.seconds
            if least < min(times.values()) and not _has_compiled(code):
                least += COMPILE_SECONDS
            if least >= min(times.values()):
                times[name] = least
                continue
        try:
            backend = load_backend(name)
        except BackendError as error:
            say_once(f"{error}; another one is used")
            continue
        waiting = 0.0 if backend.is_ready(load) else COMPILE_SECONDS
        times[name] = starting + waiting + backend.relative_time * load.seconds
    soonest = sorted(times, key=lambda name: (times[name], names.index(name)))
    return _first_that_works(soonest, load.threads)


def _is_imported(name: str) -> bool:
    """Whether the module of a backend is imported already."""
    return f"{__name__}.{REGISTRY[name].module}" in sys.modules


def _has_compiled(module: str) -> bool:
    """Whether there may be compiled code; it is looked for without a slow import."""
    return bool(import_module(f".{module}", __name__).holds_code())


def _first_that_works(names: Iterable[str], workers: object) -> tuple[str, Backend]:
    """Return the first backend that works, and say which do not."""
    for name in names:
        try:
            return name, prepared_backend(name, workers)
        except BackendError as error:
            say_once(f"{error}; another one is used")
    raise BackendError("no backend can be used")


@contextmanager
def exact_model_on(name: str) -> Generator[None]:
    """Let the exact model run on a backend within the context; "auto" is the soonest."""
    token = _exact.set(name)
    try:
        yield
    finally:
        _exact.reset(token)


def exact_model_is_placed() -> bool:
    """Whether this is within `exact_model_on`."""
    return _exact.get() is not None


def fastest_backend() -> Backend:
    """Return the backend that the exact model runs on: the one chosen, or the soonest."""
    name = _exact.get()
    return load_backend(name) if name not in (None, "auto") else _soonest_for_exact_model()


@cache
def _soonest_for_exact_model() -> Backend:
    """Return the first backend that works, among those that need no compiling first."""
    present = present_backends()
    return _first_that_works([name for name in FOR_EXACT_MODEL if name in present], 1)[1]
