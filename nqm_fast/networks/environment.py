"""The libraries that networks need, and whether they are installed."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

from ..foundation.messages import InputError

LIBRARIES = {
    "jax": "JAX",
    "optax": "optax",
    "kfac_jax": "kfac-jax",
    "mnist1d": "mnist1d",
    "sklearn": "scikit-learn",
}
"""Names of distributions by the modules that are imported."""


def load_jax() -> Any:
    """Import JAX.

    Raises
    ------
    InputError
        If it is not installed.
    """
    need("networks", "jax", "optax")
    import jax

    return jax


def load_kfac() -> Any:
    """Import kfac-jax.

    Raises
    ------
    InputError
        If it is not installed.
    """
    need("curvatures for kfac", "kfac_jax")
    with warnings.catch_warnings():
        # It sets an option of JAX that will go, which is no concern of whoever runs this.
        warnings.simplefilter("ignore", DeprecationWarning)
        import kfac_jax
    return kfac_jax


def need(what: str, *modules: str) -> None:
    """Raise an InputError that says what to install, if one of the modules is missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(LIBRARIES[name] for name in missing)
        raise InputError(f"{what} need {names}: pip install 'nqm-fast[networks]'")


def versions() -> dict[str, str]:
    """Return the versions of the libraries on which the numbers of a study depend."""
    import importlib.metadata  # It takes long to load.

    found = {}
    for distribution in ("jax", "jaxlib", "optax", "kfac-jax", "numpy"):
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[distribution] = "missing"
    return found
