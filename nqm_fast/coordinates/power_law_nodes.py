"""Power laws as few nodes: the Gauss rules of the coordinates' numbers, range by range."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..foundation.validation import Array
from .blocks import Block
from .counting import counting_rule
from .spectrum import PowerLaw

ENUMERATED = 64
"""Coordinates up to this number stand for themselves: fields differ much from one to the next."""


class Span(NamedTuple):
    """Coordinates first .. last - 1 of a power law, numbered from 1."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"i = {self.first} .. {self.last - 1}"


class PowerLawNodes:
    """The coordinates of a power law as nodes, which are coordinates of numbers between them.

    Fields are smooth in the number i of a coordinate, so that over i = a .. 2 a - 1 sums of smooth
    functions of them need a dozen nodes whatever a is. Where a function oscillates, spans are cut.
    """

    is_pointwise = True
    """Whether the fields of nodes are those that coordinates of their curvature have."""

    def __init__(self, law: PowerLaw) -> None:
        self._law = law
        self.dim = law.dim
        """How many coordinates there are."""
        self._joined: dict[int, Block] = {}

    @cached_property
    def spans(self) -> list[Span]:
        """The coordinates as spans over which the number at most doubles."""
        first, end = self._law.first + 1, self._law.first + self._law.dim + 1
        spans = []
        while first < end:
            last = min(2 * first if first > ENUMERATED else ENUMERATED + 1, end)
            spans.append(Span(first, last))
            first = last
        return spans

    def split(self, span: Span) -> list[Span]:
        """Halve a span."""
        middle = (span.first + span.last) // 2
        return [Span(span.first, middle), Span(middle, span.last)]

    def is_exact(self, span: Span, nodes: int) -> bool:
        """Whether so many nodes are all the coordinates of a span."""
        return span.last - span.first <= max(nodes, ENUMERATED)

    def block(self, span: Span, nodes: int, *, rough: bool = False) -> Block:
        """Compute the nodes that stand for a span; none of them are ever rough."""
        return self._law.at(*self._numbers(span, nodes))

    def joined(self, nodes: int, *, rough: bool = False) -> Block:
        """Compute the nodes that stand for all coordinates, so many for each span."""
        if nodes not in self._joined:  # Threads that make it at the same time make the same.
            columns = [self._numbers(span, nodes) for span in self.spans]
            numbers, counts = (np.concatenate(column) for column in zip(*columns, strict=True))
            self._joined[nodes] = self._law.at(numbers, counts)
        return self._joined[nodes]

    def _numbers(self, span: Span, nodes: int) -> tuple[Array, Array]:
        """Compute the nodes of a span, as numbers of coordinates, and their counts."""
        length = span.last - span.first
        used = length if self.is_exact(span, nodes) else nodes
        offset, count = counting_rule(length, used)
        return offset + (span.first + 0.5 * (length - 1)), count
