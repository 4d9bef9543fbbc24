"""How the model is computed: hot loops that know arrays and numbers only.

The public package describes problems and algorithms; the functions here receive those
descriptions as plain arrays and never import from ``nqm_fast``. Importing this package
is free: Numba is loaded by the first call of a function that needs it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

BACKENDS = {"numba": ("numba_cpu", "numba"), "numpy": ("reference", "numpy")}
"""Of the Monte Carlo engine, fastest first: the module here and what must be installed."""


def present_backends() -> list[str]:
    """Backends whose requirement is installed, fastest first."""
    return [name for name, (_, needs) in BACKENDS.items() if find_spec(needs)]


def load_backend(name: str) -> ModuleType:
    """The module that fulfils the `contract` under that name."""
    return import_module(f".{BACKENDS[name][0]}", __name__)


def compile_seconds() -> float:
    """What compiling kernels, or loading them from the cache, has taken in this process so far."""
    compiler = sys.modules.get(f"{__name__}.compile")
    return float(compiler.clock.duration) if compiler is not None and compiler.clock.done else 0.0


def load_moments() -> ModuleType:
    """The compiled second-moment kernels (imports Numba on first use)."""
    from . import moments

    return moments


def load_passage() -> ModuleType:
    """The compiled first-passage search."""
    from . import passage

    return passage


def load_closed_form() -> ModuleType:
    """The compiled closed form for one-component recurrences."""
    from . import closed_form

    return closed_form
