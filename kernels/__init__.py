"""How the model is computed: hot loops that know arrays and numbers only.

The public package describes problems and algorithms; the functions here receive those
descriptions as plain arrays and never import from ``nqm_fast``. Importing this package
is free: what is compiled is loaded by the first call of a function that needs it.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple


class Backend(NamedTuple):
    """Of the Monte Carlo engine: the module here, what must be installed, and how to get that."""

    module: str
    needs: str
    cure: str
    on_request: bool = False  # taken only where it is asked for by name


BACKENDS = {
    "numba": Backend("numba_cpu", "numba", "run 'pip install numba'"),
    "cython": Backend(
        "cython_cpu",
        f"{__name__}.cython_cpu",
        "its extension was not built, as without a C compiler; install GCC or Clang, then nqm-fast "
        "again, with NQM_REQUIRE_EXT=1 in the environment to see what is missing",
    ),
    "numpy": Backend("reference", "numpy", "run 'pip install numpy'"),
    "cuda": Backend(
        "cuda_gpu",
        "numba_cuda",
        "run \"pip install 'nqm-fast[cuda13]'\", or [cuda12] if the driver is older than 580",
        on_request=True,
    ),
}
"""Fastest first, but for what is not taken unasked."""

SOURCES = (
    *("noise", "numba_noise", "numba_tile", "numba_walk", "numba_leap", "numba_cpu"),
    *("moments", "closed_form", "passage"),
)
"""Modules whose functions are compiled, by Numba or ahead of time, each after those it imports."""


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


@cache
def digest() -> str:
    """Of everything here: other sources need another compilation."""
    here = Path(__file__).parent
    files = (path for kind in ("*.py", "*.pyx", "*.h") for path in here.rglob(kind))
    content = b"".join(path.read_bytes() for path in sorted(files))
    return hashlib.sha256(content).hexdigest()[:16]


def compile_seconds() -> float:
    """What compiling kernels, or loading them from the cache, has taken in this process so far."""
    compiler = sys.modules.get(f"{__name__}.compile")
    seconds = float(compiler.clock.duration) if compiler and compiler.clock.done else 0.0
    for_gpus = sys.modules.get(f"{__name__}.cuda_target")
    return seconds + (for_gpus.seconds if for_gpus else 0.0)


def load_moments() -> Any:
    """The second-moment kernels."""
    return _exact("moments")


def load_passage() -> Any:
    """The first-passage search."""
    return _exact("passage")


def load_closed_form() -> Any:
    """The closed form for one-component recurrences."""
    return _exact("closed_form")


@cache
def _exact(name: str) -> Any:
    """A part of the exact model, of the fastest backend that is installed."""
    fastest = present_backends()[0]
    if fastest == "numba":
        return _loaded(fastest, name)
    if fastest == "cython":
        return getattr(load_backend("cython"), name)
    return _loaded(fastest, "arrays").load()[name]
