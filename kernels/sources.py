"""The sources of the kernels: the list of modules that are compiled, and a digest of all files."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

EXACT = (
    "maps",
    "sums",
    "extended_maps",
    "leap_map",
    "moments",
    "closed_form",
    "risk_bounds",
    "first_passage",
    "array_moments",
)
"""Modules of the exact model, each after those it imports."""
COMPILED = (
    "noise",
    "rules",
    *(f"exact.{name}" for name in EXACT),
    *(
        f"numba.{name}"
        for name in (
            "lanes",
            "noise",
            "start",
            "tile",
            "dense",
            "step",
            "rule",
            "leap",
            "in_step",
            "features",
            "scaled_noise",
        )
    ),
)
"""Modules whose functions are compiled, by Numba or ahead of time, each after those it imports."""


@cache
def digest() -> str:
    """Return a digest of all sources of the kernels, which shows that compiled code is outdated."""
    here = Path(__file__).parent
    files = (path for kind in ("*.py", "*.pyx", "*.h") for path in here.rglob(kind))
    content = b"".join(path.read_bytes() for path in sorted(files))
    return hashlib.sha256(content).hexdigest()[:16]
