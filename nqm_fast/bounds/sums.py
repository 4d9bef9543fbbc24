"""Sums of expressions in the fields of coordinates over a whole problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..certified_sums import coordinate_sums
from ..coordinates.blocks import Block, joined_blocks
from ..foundation.validation import Array, step_array
from ..problem import Problem, as_additive_problem


class Expressions(NamedTuple):
    """Expressions in the fields of coordinates, one for each row, as `certified_sums` takes them.

    ``summand(block, row)`` gives the value for each coordinate, of a row in shape (1,).
    """

    summand: Callable[[Block, Array], Array]
    columns: Array
    """The value that `summand` takes for each row of the result, shape (rows,)."""

    @property
    def rows(self) -> int:
        """Number of rows of the result."""
        return self.columns.size

    def __call__(self, blocks: Sequence[Block], rows: NDArray[np.intp]) -> Array:
        """Compute the sums over each block, shape (rows, blocks)."""
        whole = blocks[0] if len(blocks) == 1 else joined_blocks(blocks)
        starts = np.cumsum([0] + [block.h.size for block in blocks[:-1]])
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            values = [self.summand(whole, self.columns[row : row + 1]) for row in rows]
            if len(blocks) == 1:
                return np.array([[x.sum()] for x in values])
            return np.array([np.add.reduceat(x, starts) for x in values])


def sum_at_steps(problem: Problem, steps: ArrayLike, risk: Callable[[Block, Array], Array]) -> Any:
    """Sum the risk of all coordinates at steps of any shape.

    ``risk(block, t)`` gives the risk of each coordinate of a block after t steps, t of shape (1,).
    """
    as_additive_problem(problem, "closed forms and bounds")
    t = step_array("steps", steps)
    if not t.size:
        return np.zeros(t.shape)

    def summand(block: Block, row: Array) -> Array:
        return risk(block, row) * block.multiplicity

    rows = Expressions(summand, t.reshape(-1).astype(np.float64))
    total = coordinate_sums(problem, rows, "closed form").reshape(t.shape)
    return total if t.ndim else float(total)


def sum_over_coordinates(
    problem: Problem, summand: Callable[[Block], Array], *, is_linear: bool
) -> float:
    """Sum an expression in the fields of a block over all coordinates.

    Nodes have the noise or the start alone where these do not follow from the curvature: they give
    the sum only if it `is_linear` in both.
    """
    as_additive_problem(problem, "closed forms and bounds")

    def expression(block: Block, _: Array) -> Array:
        return np.broadcast_to(summand(block), block.h.shape)

    rows = Expressions(expression, np.zeros(1))
    return float(coordinate_sums(problem, rows, "bound", is_linear=is_linear)[0])
