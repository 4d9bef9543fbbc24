"""The folder of compiled code. Nothing here needs Numba, which takes half a second to import."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import platformdirs

from ..sources import digest


@cache
def folder() -> Path | None:
    """Return a writable folder for code that this Numba compiled of these sources, or None.

    Numba notices a change of the file that holds a function, not of another file whose
    functions and constants were compiled into it.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR", "").strip()
    for home in [Path(chosen).absolute()] if chosen else _usual_homes():
        found = home / f"compiled-{digest()}-{version('numba')}"
        try:
            found.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(found, os.W_OK | os.X_OK):
            return found
    return None


def _usual_homes() -> list[Path]:
    """Return the folders that are tried, the best first: beside the sources, or the user's."""
    homes = [Path(__file__).parent / "__pycache__"]
    with suppress(RuntimeError):  # there is no HOME, and the system does not know the user
        homes.append(platformdirs.user_cache_path("nqm_fast"))
    return [home for home in homes if home.is_absolute()]


def holds_code() -> bool:
    """Whether anything was compiled before."""
    found = folder()
    return found is not None and any(found.glob("*.nbi"))
