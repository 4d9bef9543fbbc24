"""The two orders of the loops over coordinates and steps, and their outcome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array
from ..kernels.contract import NO_STEP
from .controller import Controller
from .propagation import Propagation
from .recorder import RunProgress, SavedArrays
from .task import Task, block_size
from .tracing import propagation_of


@dataclass
class Outcome:
    """The results that the loops of a run have when they end or are stopped."""

    values: Array  # (records, settings, replicas, rows), of all records of the run
    records: int  # how many are complete
    diverged_at: NDArray[np.int64]  # (settings, replicas): first step of divergence, or -1
    states: list[Array] | None  # of each setting, (replicas, components, d)
    done: int  # steps, or coordinates in the order of blocks
    coordinate_steps: int
    interrupted: bool


def by_steps(
    task: Task, controller: Controller, saved: SavedArrays | None, keep_state: bool
) -> Outcome:
    """Take all coordinates through a chunk of the steps, then through the next chunk."""
    propagation = propagation_of(task, 0, task.problem.dim)
    if saved is not None:
        propagation.restore(saved)

    def progress() -> RunProgress:
        return RunProgress(
            propagation.records,
            propagation.values,
            propagation.diverged_at,
            propagation.coordinate_steps,
            controller.kernel_seconds,
            propagation.state_to_save,
        )

    controller.drive(propagation, progress)
    return Outcome(
        propagation.values,
        propagation.records,
        propagation.diverged_at,
        propagation.final_states() if keep_state else None,
        propagation.done,
        propagation.coordinate_steps,
        not propagation.ended,
    )


class PairwiseSum:
    """Sum of blocks in the order of a balanced tree, holding only unfinished branches."""

    def __init__(self) -> None:
        self.branches: list[tuple[int, Array]] = []  # level in the tree, and sum

    def add(self, block: Array, level: int = 0) -> None:
        """Add the next block, a branch of this level; it begins at a multiple of its length."""
        while self.branches and self.branches[-1][0] == level:
            block = self.branches.pop()[1] + block
            level += 1
        self.branches.append((level, block))

    def total(self) -> Array:
        """The sum of the blocks so far."""
        total = self.branches[-1][1]
        for _, branch in reversed(self.branches[:-1]):
            total = branch + total
        return total


class BlockSums:
    """The blocks that have gone through all steps, added up."""

    def __init__(self, task: Task) -> None:
        self.values = PairwiseSum()  # of arrays (records, settings, replicas, rows)
        self.first_divergence = np.full(task.record_shape[:2], NO_STEP)
        self.size = block_size(task)
        self.done = 0  # coordinates
        self.coordinate_steps = 0

    def add(self, propagation: Propagation) -> None:
        """Add a block that has gone through all steps."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.values.add(propagation.values)
        diverged_at = np.where(propagation.diverged_at < 0, NO_STEP, propagation.diverged_at)
        self.first_divergence = np.minimum(self.first_divergence, diverged_at)
        self.done += propagation.size
        self.coordinate_steps += propagation.coordinate_steps

    def state_to_save(self) -> SavedArrays:
        """The arrays that `restore` needs; checkpoints contain them under these names."""
        branches = {f"branch_{k}": branch for k, (_, branch) in enumerate(self.values.branches)}
        levels = np.array([level for level, _ in self.values.branches], dtype=np.int64)
        counts = np.array([self.done, self.coordinate_steps, self.size])
        return branches | {"levels": levels, "first": self.first_divergence, "blocks": counts}

    def restore(self, saved: SavedArrays) -> None:
        """Return to the blocks that were done when the arrays were saved."""
        levels = saved["levels"].tolist()
        self.values.branches = [(level, saved[f"branch_{k}"]) for k, level in enumerate(levels)]
        self.first_divergence = saved["first"]
        self.done, self.coordinate_steps, self.size = saved["blocks"].tolist()


def by_blocks(task: Task, controller: Controller, saved: SavedArrays | None) -> Outcome:
    """Take a block of coordinates through all steps, then the next: no array is as long as d.

    No record is complete before the last block is done.
    """
    dim = task.problem.dim
    sums = BlockSums(task)
    if saved is not None:
        sums.restore(saved)
    stopped, unfinished = False, 0
    while sums.done < dim and not stopped:
        stopped, unfinished = _next_block(task, controller, sums, saved)
        saved = None
    ended = sums.done == dim
    return Outcome(
        sums.values.total() if ended else np.zeros((task.records.size, *task.record_shape)),
        task.records.size if ended else 0,
        np.where(sums.first_divergence == NO_STEP, -1, sums.first_divergence),
        None,
        sums.done,
        sums.coordinate_steps + unfinished,
        not ended,
    )


def _next_block(
    task: Task, controller: Controller, sums: BlockSums, saved: SavedArrays | None
) -> tuple[bool, int]:
    """Take the next block through all steps, and add it to the sums.

    Returns whether a signal came, and the coordinate-steps that were done if it did not end. The
    block's memory is free then, for the next one to take: that of the system would be cleared.
    """
    propagation = propagation_of(task, sums.done, min(sums.done + sums.size, task.problem.dim))
    if saved is not None:
        propagation.restore(saved)

    def progress() -> RunProgress:
        return RunProgress(
            0,
            propagation.values,
            propagation.diverged_at,
            sums.coordinate_steps + propagation.coordinate_steps,
            controller.kernel_seconds,
            lambda: (
                sums.state_to_save()
                | propagation.state_to_save()
                | {"values": propagation.values[: propagation.records]}
            ),
        )

    stopped = controller.drive(propagation, progress)
    if not propagation.ended:
        return True, propagation.coordinate_steps
    sums.add(propagation)
    return stopped, 0
