"""How the model is computed: hot loops that know arrays and numbers only.

The public package describes problems and algorithms; the functions here receive those
descriptions as plain arrays and never import from ``nqm_fast``. Importing this package
is free: what is compiled is loaded by the first call of a function that needs it.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from .contract import Backend


class Registered(NamedTuple):
    """A backend that may be there: its module, what must be installed, and how to get that.

    The module has the backend itself, an instance of `contract.Backend`, as ``BACKEND``.
    """

    module: str
    needs: str
    cure: str
    on_request: bool = False  # taken only where it is asked for by name


REGISTRY = {
    "numba": Registered("numba.backend", "numba", "run 'pip install numba'"),
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
"""Fastest first, but for what is not taken unasked. This is the only list of backends."""


class BackendError(ValueError):
    """A backend that is installed, but does not work here, and why."""


def is_installed(name: str) -> bool:
    """Whether what a backend needs is installed."""
    return find_spec(REGISTRY[name].needs) is not None


def present_backends() -> list[str]:
    """Backends to choose from whose requirement is installed, fastest first."""
    return [name for name in REGISTRY if is_installed(name) and not REGISTRY[name].on_request]


def load_backend(name: str) -> Backend:
    """The backend of that name.

    Raises
    ------
    BackendError
        If it is installed but does not work.
    """
    try:
        backend: Backend = import_module(f".{REGISTRY[name].module}", __name__).BACKEND
    except (ImportError, ValueError) as error:  # an old build, another NumPy, a wrong setting
        raise BackendError(f"backend {name!r} cannot be used: {error}") from error
    return backend


@cache
def fastest_backend() -> Backend:
    """The fastest backend that is installed, which the exact model runs on."""
    return load_backend(present_backends()[0])
