"""Coordinates as arrays, which engines take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..foundation.validation import Array


class Block(NamedTuple):
    """Coordinates of a problem, as arrays of shape (coordinates,).

    A field that is the same for all coordinates may have shape (1,) instead.
    """

    h: Array
    """Curvature."""
    c: Array
    """Variance of the per-sample gradient."""
    second_moment: Array
    """``E[w_0^2]`` of the initial iterate."""
    multiplicity: Array
    """Number of identical coordinates that an entry stands for."""
    variance: Array
    """Variance of the initial iterate."""


def joined_blocks(blocks: Sequence[Block], multiple: int = 1) -> Block:
    """Join blocks one after the other, each filled up to a multiple of a number of coordinates.

    It is filled with copies of its last coordinate without initial iterate or noise.
    """
    sizes = [-(-block.h.size // multiple) * multiple for block in blocks]

    def join(name: str) -> Array:
        columns = []
        for block, size in zip(blocks, sizes, strict=True):
            column = np.empty(size)
            field = getattr(block, name)
            column[: block.h.size] = field
            column[block.h.size :] = 0.0 if name in ("c", "second_moment") else field[-1]
            columns.append(column)
        return np.concatenate(columns)

    return Block(*(join(name) for name in Block._fields))
