"""How the model is computed: hot loops that know arrays and numbers only.

The public package describes problems and algorithms; the functions here receive those
descriptions as plain arrays and never import from ``nqm_fast``. Importing this package
is free: Numba is loaded by the first call of a function that needs it.
"""

from __future__ import annotations

from types import ModuleType


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
