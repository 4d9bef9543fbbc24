"""How the model is computed: hot loops that know arrays and numbers only.

The public package describes problems and algorithms; the functions here receive those
descriptions as plain arrays and never import from ``nqm_fast``. Importing this package
is free: what is compiled is loaded by the first call of a function that needs it.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple


class Backend(NamedTuple):
    """Of the Monte Carlo engine: the module here, what must be installed, and how to get that."""

    module: str
    needs: str
    cure: str
    on_request: bool = False  # taken only where it is asked for by name


BACKENDS = {
    "numba": Backend("numba.backend", "numba", "run 'pip install numba'"),
    "cython": Backend(
        "cython_cpu",
        f"{__name__}.cython_cpu",
        "its extension was not built, as without a C compiler; install GCC or Clang, then nqm-fast "
        "again, with NQM_REQUIRE_EXT=1 in the environment to see what is missing",
    ),
    "numpy": Backend("reference", "numpy", "run 'pip install numpy'"),
    "cuda": Backend(
        "cuda.backend",
        "numba_cuda",
        "run \"pip install 'nqm-fast[cuda13]'\", or [cuda12] if the driver is older than 580",
        on_request=True,
    ),
}
"""Fastest first, but for what is not taken unasked."""


def is_installed(name: str) -> bool:
    """Whether a backend's requirement is."""
    return find_spec(BACKENDS[name].needs) is not None


def present_backends() -> list[str]:
    """Backends to choose from whose requirement is installed, fastest first."""
    return [name for name in BACKENDS if is_installed(name) and not BACKENDS[name].on_request]


class BackendError(ValueError):
    """A backend that is installed, but does not work here, and why."""


def load_backend(name: str) -> ModuleType:
    """The module that fulfils the `contract` under that name."""
    return _loaded(name, BACKENDS[name].module)


def _loaded(backend: str, module: str) -> ModuleType:
    try:
        return import_module(f".{module}", __name__)
    except (ImportError, ValueError) as error:  # an old build, another NumPy, a wrong setting
        raise BackendError(f"backend {backend!r} cannot be used: {error}") from error


def compile_seconds() -> float:
    """What compiling kernels, or loading them from the cache, has taken in this process so far."""
    compiler = sys.modules.get(f"{__name__}.numba.jit")
    seconds = float(compiler.clock.duration) if compiler and compiler.clock.done else 0.0
    for_gpus = sys.modules.get(f"{__name__}.cuda.jit")
    return seconds + (for_gpus.seconds if for_gpus else 0.0)


@cache
def fastest_backend() -> Any:
    """The kernels of the exact model, of the fastest backend that is installed."""
    name = present_backends()[0]
    if name == "cython":
        return load_backend(name)
    if name == "numba":
        found = {
            n: _loaded(name, f"exact.{n}") for n in ("moments", "closed_form", "first_passage")
        }
    else:
        found = _loaded(name, "exact.vectorized").load()
    return SimpleNamespace(**found)
