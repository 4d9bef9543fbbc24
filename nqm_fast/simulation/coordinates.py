"""The coordinates of a shard: a branch of the sums over coordinates, computed by itself.

Sums over coordinates are a balanced tree (see `kernels.contract`). A branch of it has a power of
two of coordinates, and begins at a multiple of that; the last may be cut off at the problem's end.
So branches that are computed apart can be added in the tree's order, to the bits of one run.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..foundation.validation import InputError, any_array, shown
from ..kernels.contract import LEAF


class Coordinates(NamedTuple):
    """Coordinates first .. last - 1 of a problem that has `of`."""

    first: int
    last: int
    of: int

    @property
    def size(self) -> int:
        """How many there are."""
        return self.last - self.first

    @property
    def level(self) -> int:
        """The binary logarithm of the size of their branch, which may reach beyond the end."""
        return max(self.size - 1, LEAF - 1).bit_length()

    @property
    def is_branch(self) -> bool:
        """Whether they are a branch of the sums."""
        whole = 1 << self.level
        return self.first % whole == 0 and self.last == min(self.first + whole, self.of)

    @property
    def is_everything(self) -> bool:
        """Whether they are all coordinates of the problem."""
        return self.size == self.of

    def __str__(self) -> str:
        return f"{self.first} to {self.last - 1} of {self.of}"


def as_coordinates(value: Any, dim: int) -> Coordinates | None:
    """Check the argument `coordinates` of `simulate`; None stands for all coordinates.

    Raises
    ------
    InputError
        If it is not a branch of the sums.
    """
    if value is None:
        return None
    numbers = any_array("coordinates", value)
    is_large = numbers.dtype == object and all(type(x) is int for x in numbers.flat)
    if numbers.shape != (2,) or not (is_large or numbers.dtype.kind in "iuf"):
        raise InputError(
            "coordinates must be two numbers, the first and the one after the last, "
            f"not {shown(value)}"
        )
    first, last = numbers.tolist()
    if not (0 <= first < last <= dim and first == int(first) and last == int(last)):
        raise InputError(
            f"coordinates must be two whole numbers with 0 <= first < last <= {dim}, "
            f"not {shown(value)}"
        )
    asked = Coordinates(int(first), int(last), dim)
    if not asked.is_branch:
        ranges = " and ".join(f"({near.first}, {near.last})" for near in nearest_branches(asked))
        raise InputError(
            f"coordinates = {shown(value)} is no branch of the sums, which has a power of two of "
            f"coordinates, {LEAF} or more, and begins at a multiple of it: nearest are {ranges}"
        )
    return None if asked.is_everything else asked


def nearest_branches(asked: Coordinates) -> list[Coordinates]:
    """Return the two branches whose ends are nearest to those asked for.

    All coordinates together are among them only where they are a single leaf.
    """
    found = set()
    for level in (asked.level - 1, asked.level, asked.level + 1):
        if 1 << level < LEAF:
            continue
        below = asked.first >> level << level
        for first in (below, below + (1 << level)):
            near = Coordinates(first, min(first + (1 << level), asked.of), asked.of)
            if first < asked.of and (asked.of <= LEAF or not near.is_everything):
                found.add(near)
    distances = {x: abs(x.first - asked.first) + abs(x.last - asked.last) for x in found}
    return sorted(found, key=lambda x: (distances[x], x))[:2]


def branches(dim: int, count: int, least: int) -> list[Coordinates]:
    """Cut coordinates into at least `count` branches of one size, if each then has `least`."""
    level = max(least - 1, LEAF - 1).bit_length()
    while -(-dim // (2 << level)) >= count and dim > 1 << level:
        level += 1
    size = 1 << level
    return [Coordinates(first, min(first + size, dim), dim) for first in range(0, dim, size)]


def parts_of(numbers: int, count: int) -> list[slice]:
    """Cut so many things in a row into at most `count` parts of nearly one size."""
    ends = np.linspace(0, numbers, min(count, numbers) + 1).round().astype(int)
    return [slice(a, b) for a, b in pairwise(ends.tolist())]
