"""The computation of the model: hot loops that know arrays and numbers only.

The public package describes problems and algorithms; the functions here receive those
descriptions as arrays and never import from ``nqm_fast``. Importing this package
is cheap: compiled code is loaded by the first call of a function that needs it.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from .contract import Backend


class Registered(NamedTuple):
    """An entry of the list of backends; the backend itself need not be installed.

    Its module has an instance of `contract.Backend` under the name ``BACKEND``.
    """

    module: str  # relative to this package
    needs: str  # the module that must be installed
    cure: str  # how to install it
    on_request: bool = False  # whether it is used only when it is asked for by name


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
"""All backends by name, fastest first; those on request come last. There is no other list."""


class BackendError(ValueError):
    """A backend is installed, but does not work here; the message says why."""


def is_installed(name: str) -> bool:
    """Whether the module that a backend needs is installed."""
    return find_spec(REGISTRY[name].needs) is not None


def present_backends() -> list[str]:
    """Return the installed backends that are not on request only, fastest first."""
    return [name for name in REGISTRY if is_installed(name) and not REGISTRY[name].on_request]


def load_backend(name: str) -> Backend:
    """Return the backend of that name.

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
    """Return the fastest installed backend, on which the exact model runs."""
    return load_backend(present_backends()[0])
