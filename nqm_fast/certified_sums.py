"""Sums over all coordinates as sums over few nodes, certified for the function that is summed.

Whatever the number of coordinates is, spans of them are replaced by the nodes of a Gauss rule. The
sum over n nodes for each span is compared with that over 2 n. Where they differ, spans are compared
one by one with more nodes, and those that still differ are halved, until they agree or all their
coordinates are nodes. So an answer never depends on how smooth the function is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .coordinates.blocks import Block, joined_blocks
from .foundation.validation import Array, InputError
from .machine.parallel import in_threads
from .problem import Problem

# How many nodes stand for a span.
COARSE, FINE = 10, 20
"""Nodes of a span at first, which suffice for functions without oscillations."""
REFINED_COARSE, REFINED_FINE = 64, 128
"""Nodes of a span that is compared by itself, where a function may oscillate some times."""

# When two sums agree.
AGREEMENT = 1e-12
"""Relative difference of sums over n and 2 n nodes, of which that over 2 n is far more accurate."""
SHARE = 1e-13
"""Difference of a span's sums that is negligible, relative to the sum over all spans."""
NEGLIGIBLE = 1e-290
"""Difference that is negligible by itself: relative ones lose digits near the least double."""
MOST_SPANS = 1 << 17
"""Spans that may be compared at a time, which bounds the memory."""

# Where all coordinates are summed.
BLOCK = 1 << 16
"""Coordinates that a thread works on at a time, so that their arrays stay in its cache."""
WORTH_A_PASS = 1 << 14
"""Up to so many coordinates of arrays all are summed, which takes less than to make nodes."""
MOST_SUMMED = 1 << 30
"""Coordinates of a power law that are summed where nodes would not fit into memory."""
NEVER_TOO_MANY = 1 << 62
"""More coordinates than there can be."""


class Nodes(Protocol):
    """Coordinates that nodes can stand for, span by span."""

    @property
    def dim(self) -> int:
        """How many coordinates there are."""

    @property
    def is_pointwise(self) -> bool:
        """Whether the fields of nodes are those that coordinates of their curvature have."""

    @property
    def spans(self) -> list[Any]:
        """All coordinates as spans."""

    def split(self, span: Any) -> list[Any]:
        """Cut a span into smaller ones; into none if that is impossible."""

    def is_exact(self, span: Any, nodes: int) -> bool:
        """Whether so many nodes are all that there is in a span."""

    def block(self, span: Any, nodes: int, *, rough: bool = False) -> Block:
        """Compute the nodes of a span; rough ones show how accurate others are."""

    def joined(self, nodes: int, *, rough: bool = False) -> Block:
        """Compute the nodes of all spans."""


class Sums(Protocol):
    """A function of blocks of coordinates, with a sum over each block in each of its rows."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    def __call__(self, blocks: Sequence[Block], rows: NDArray[np.intp], /) -> Array:
        """Compute the sum over each block in rows of the given indices, shape (rows, blocks)."""


class Certified(NamedTuple):
    """Sums over all coordinates, and the nodes that gave them."""

    sums: Array
    """Shape (rows,)."""
    block: Block
    """The nodes, which give the sums in all rows."""


def coordinate_sums(problem: Problem, sums: Sums, label: str, *, is_linear: bool = True) -> Array:
    """Compute sums over all coordinates of a problem, over few nodes where there are many.

    `label` names the work on the progress bar. Sums that are not linear in the noise and in the
    second moment of the start need nodes that have both. The answer has shape (rows,).
    """
    nodes = summed_nodes(problem)
    if nodes is not None and (is_linear or nodes.is_pointwise):
        certified = certified_sums(nodes, sums)
        if certified is not None:
            return certified.sums
    every = np.arange(sums.rows)

    def part(begin: int) -> Array:
        return sums([problem.block(begin, min(begin + BLOCK, problem.dim))], every)[:, 0]

    parts = in_threads(part, range(0, problem.dim, BLOCK), label)
    with np.errstate(over="ignore"):
        return np.asarray(np.sum(parts, axis=0))


def summed_nodes(problem: Problem) -> Nodes | None:
    """Return the nodes over which sums are computed, or None if it is over all coordinates."""
    return problem.nodes if problem.is_power_law or problem.dim > WORTH_A_PASS else None


def certified_block(
    problem: Problem, nodes: Nodes, sums: Sums, most: int = NEVER_TOO_MANY
) -> Block:
    """Return nodes that stand for all coordinates in each row, or the coordinates themselves.

    Where more than `most` coordinates would be needed, the nodes are the best there are.
    """
    certified = certified_sums(nodes, sums)
    if certified is not None:
        return certified.block
    return problem.block(0, problem.dim) if problem.dim <= most else nodes.joined(REFINED_FINE)


def certified_sums(nodes: Nodes, sums: Sums) -> Certified | None:
    """Compute sums over all coordinates, of which each is certified by itself.

    The answer is None where only the coordinates themselves are enough.

    Raises
    ------
    InputError
        If nodes that agree do not fit into memory.
    """
    every = np.arange(sums.rows)
    fine, coarse = sums([nodes.joined(FINE), nodes.joined(COARSE, rough=True)], every).T
    open_rows = np.flatnonzero(~_agree(fine, coarse, AGREEMENT * np.abs(fine)))
    if not open_rows.size:
        return Certified(fine, nodes.joined(FINE))
    answer = fine.copy()
    refined = _refined_sums(nodes, sums, open_rows)
    if refined is None:
        return None
    answer[open_rows], spans = refined
    return Certified(answer, joined_blocks([nodes.block(span, REFINED_FINE) for span in spans]))


def _refined_sums(
    nodes: Nodes, sums: Sums, rows: NDArray[np.intp]
) -> tuple[Array, list[Any]] | None:
    """Compute sums for some rows, from spans that are halved until their own sums agree.

    Returns the sums, shape (rows,), and the spans, which all rows agree on.
    """
    spans = nodes.spans
    waiting = np.ones((rows.size, len(spans)), dtype=bool)
    kept: list[list[float]] = [[] for _ in rows]
    used: list[Any] = []
    while spans:
        needed = np.flatnonzero(waiting.any(axis=1))
        fine, coarse = _compared(nodes, sums, spans, rows[needed])
        waiting = waiting[needed]
        total = np.where(waiting, fine, 0.0).sum(axis=1)
        total += [_sum(kept[row]) for row in needed]
        scale = np.maximum(SHARE * np.abs(total)[:, None], AGREEMENT * np.abs(fine))
        agrees = _agree(fine, coarse, scale)
        for row, values, done in zip(needed, fine, waiting & agrees, strict=True):
            kept[row] += values[done].tolist()
        waiting &= ~agrees
        is_open = np.asarray(waiting.any(axis=0))
        used += [span for span, more in zip(spans, is_open, strict=True) if not more]
        halves = [nodes.split(span) for span, more in zip(spans, is_open, strict=True) if more]
        if not all(halves):
            return None
        if 2 * len(halves) > MOST_SPANS:
            if nodes.dim <= MOST_SUMMED:
                return None
            raise _too_many(spans, np.where(waiting, np.abs(fine - coarse), 0.0), total)
        waiting = np.repeat(waiting[:, is_open], [len(x) for x in halves], axis=1)
        rows_left = np.zeros((rows.size, waiting.shape[1]), dtype=bool)
        rows_left[needed] = waiting
        waiting = rows_left
        spans = [half for pair in halves for half in pair]
    return np.array([_sum(values) for values in kept]), used


def _too_many(spans: Sequence[Any], difference: Array, total: Array) -> InputError:
    """Return the error that so many nodes do not fit into memory; difference is (rows, spans)."""
    relative = (difference / np.abs(total)[:, None]).max(axis=0)
    worst = int(relative.argmax())
    return InputError(
        f"problem needs more nodes than fit into memory for a sum that changes so fast with "
        f"curvature: {spans[worst]} alone has it to {relative[worst]:.1g}, and more than "
        f"{MOST_SPANS} spans would have to be compared"
    )


def _compared(
    nodes: Nodes, sums: Sums, spans: Sequence[Any], rows: NDArray[np.intp]
) -> tuple[Array, Array]:
    """Compute the sums of spans over more and over fewer nodes, two arrays (rows, spans)."""
    blocks = [nodes.block(span, REFINED_FINE) for span in spans]
    inexact = [k for k, span in enumerate(spans) if not nodes.is_exact(span, REFINED_FINE)]
    blocks += [nodes.block(spans[k], REFINED_COARSE, rough=True) for k in inexact]
    both = sums(blocks, rows)
    fine = both[:, : len(spans)]
    coarse = fine.copy()
    coarse[:, inexact] = both[:, len(spans) :]
    return fine, coarse


def _sum(values: Sequence[float]) -> float:
    """Sum numbers in whatever order, to the same bits, or to inf."""
    return math.fsum(values) if math.isfinite(sum(values)) else math.inf


def _agree(fine: Array, coarse: Array, tolerance: Array) -> NDArray[np.bool_]:
    """Whether sums differ by at most a tolerance, or are beyond the range of a double."""
    with np.errstate(invalid="ignore"):
        is_close = np.abs(fine - coarse) <= tolerance + NEGLIGIBLE
    return is_close | ~(np.isfinite(fine) | np.isfinite(coarse))
