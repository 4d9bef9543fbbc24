"""The width of a tile, which the compiler knows by the length of a tuple."""

from __future__ import annotations

from ..contract import LEAF, NARROW
from .jit import inlined, known_length

QUADS = LEAF // NARROW  # of a narrow tile, whose noise is made together
QUAD_BITS, QUAD_MASK = QUADS.bit_length() - 1, QUADS - 1


@known_length
def lanes(leaves):
    """Return how many coordinates a tile has; one without whole leaves is the first of a leaf."""
    return LEAF * len(leaves) if len(leaves) > 0 else NARROW


@known_length
def pitch(leaves):
    """Return how far apart the rows of a quad are, of words and of noise: by a leaf at least.

    So those of a narrow tile for four quads are side by side.
    """
    return LEAF * max(len(leaves), 1)


@inlined
def place(leaves, step):
    """Return where the noise of a step begins in that of a burst; a quad has four such rows."""
    if len(leaves) > 0:
        return step * lanes(leaves)
    quad = step >> 2
    return (quad >> QUAD_BITS) * (4 * LEAF) + (step & 3) * LEAF + (quad & QUAD_MASK) * NARROW
