"""The width of a tile, which the compiler knows by the length of a tuple."""

from __future__ import annotations

from ..contract import LEAF, NARROW
from .jit import known_length


@known_length
def lanes(leaves):
    """Return how many coordinates a tile has; one without whole leaves is the first of a leaf."""
    return LEAF * len(leaves) if len(leaves) > 0 else NARROW
