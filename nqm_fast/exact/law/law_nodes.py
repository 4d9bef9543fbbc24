"""Nodes that stand for many coordinates in the law of the risk.

All cumulants of the risk are sums over coordinates of smooth functions, so that a Gauss rule of
the counting measure gives them all. It is certified for the first three at every step asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...algorithms.base import LinearAlgorithm
from ...certified_sums import COARSE, FINE, Nodes, certified_sums, summed_nodes
from ...coordinates.blocks import Block, joined_blocks
from ...coordinates.power_law_nodes import PowerLawNodes, Span
from ...foundation.validation import Array
from ...problem import Problem
from ...schedules import Schedule
from ..states import evaluated_moments

CUMULANTS = 3
LAW_ACCURACY = 1e-12
"""Relative error of a cumulant that is negligible beside that of probabilities."""
SAMPLED_ACCURACY = 1e-10
"""Relative error of a cumulant that is negligible beside that of any number of samples."""
LONGEST_ENUMERATED = 1 << 15
"""Coordinates of a span that may be enumerated where a rule's weights would be too low."""


class CumulantSums:
    """The first cumulants of the risk of blocks of coordinates, as `certified_sums` takes them.

    A mean start, which is the same for all coordinates that nodes stand for, counts as variance:
    what is certified are sums over functions that are as smooth.
    """

    def __init__(
        self, algorithm: LinearAlgorithm, batch_size: Schedule, records: NDArray[np.int64]
    ) -> None:
        """Take steps in ascending order, at least one."""
        self.algorithm, self.batch_size, self.records = algorithm, batch_size, records
        self.rows = CUMULANTS * records.size

    def __call__(self, blocks: Sequence[Block], rows: NDArray[np.intp]) -> Array:
        """Compute the cumulants of each block in rows of the given indices, (rows, blocks)."""
        block = joined_blocks(blocks)
        first = np.cumsum([0] + [b.h.size for b in blocks[:-1]])
        used, place = np.unique(rows // CUMULANTS, return_inverse=True)
        with np.errstate(over="ignore", invalid="ignore"):
            response, noise, block, _ = evaluated_moments(
                block, self.algorithm, self.batch_size, self.records[used]
            )
            scale = block.h * (response * response * block.second_moment + noise)
            powers = scale[place] ** (rows % CUMULANTS + 1)[:, None]
            return np.add.reduceat(block.multiplicity * powers, first, axis=1)


def law_block(
    problem: Problem, algorithm: LinearAlgorithm, batch: Schedule, records: NDArray[np.int64]
) -> Block | None:
    """Return nodes that stand for all coordinates in the law of the risk.

    None where the law needs the coordinates themselves.

    Raises
    ------
    InputError
        If nodes of enough accuracy do not fit into memory.
    """
    nodes, sums = summed_nodes(problem), CumulantSums(algorithm, batch, records)
    if nodes is None or not nodes.is_pointwise:
        return None
    if isinstance(nodes, PowerLawNodes):
        return _fewest_nodes(nodes, sums, LAW_ACCURACY)
    certified = certified_sums(nodes, sums)
    return None if certified is None else certified.block


class SampledNodes:
    """Nodes of a power law of which each stands for at least so many coordinates, or for one."""

    is_pointwise = True

    def __init__(self, nodes: PowerLawNodes, least: float) -> None:
        self._nodes, self._least, self.dim = nodes, least, nodes.dim
        self.spans, self.split = nodes.spans, nodes.split

    def is_exact(self, span: Span, nodes: int) -> bool:
        """Whether all coordinates of a span are enumerated."""
        if self._nodes.is_exact(span, nodes):
            return True
        is_short = span.last - span.first <= LONGEST_ENUMERATED
        rule = self._nodes.block(span, nodes)
        return is_short and bool(rule.multiplicity.min() < self._least)

    def block(self, span: Span, nodes: int, *, rough: bool = False) -> Block:
        """Compute the nodes that stand for a span, or its coordinates."""
        used = span.last - span.first if self.is_exact(span, nodes) else nodes
        return self._nodes.block(span, used)

    def joined(self, nodes: int, *, rough: bool = False) -> Block:
        """Compute the nodes of all spans."""
        return joined_blocks([self.block(span, nodes) for span in self.spans])


def sampled_block(
    problem: Problem,
    algorithm: LinearAlgorithm,
    batch: Schedule,
    records: NDArray[np.int64],
    least: float,
) -> Block | None:
    """Return as few nodes as sampling needs, each with a count of 1 or of at least `least`.

    None where the law needs the coordinates themselves.
    """
    nodes = summed_nodes(problem)
    if not isinstance(nodes, PowerLawNodes) or not records.size:
        return None
    sums = CumulantSums(algorithm, batch, records)
    return _fewest_nodes(SampledNodes(nodes, least), sums, SAMPLED_ACCURACY)


def _fewest_nodes(nodes: Nodes, sums: CumulantSums, accuracy: float) -> Block | None:
    """Return the coarse nodes if finer ones agree with them so well, or else finer ones."""
    few = nodes.joined(COARSE)
    fine, coarse = sums([nodes.joined(FINE), few], np.arange(sums.rows)).T
    with np.errstate(invalid="ignore"):
        if (np.abs(fine - coarse) <= accuracy * np.abs(fine)).all():
            return few
    certified = certified_sums(nodes, sums)
    return None if certified is None else certified.block
