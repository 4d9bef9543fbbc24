"""The task of the loops of a simulation: everything that they are given."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..kernels.contract import LEAF, TILE, Backend, Noise
from ..problem import Problem
from .lowering import Group
from .models import is_formula
from .observables import RecordLayout


@dataclass(frozen=True)
class Task:
    """An experiment in the form that the loops take, and the backend that computes it."""

    problem: Problem
    groups: list[Group]
    steps: int
    records: NDArray[np.int64]  # steps to record, ascending
    noise: Noise
    sample_scale: float | None  # gives a sample variance 1; None if batch means are drawn
    leaps: bool  # whether the state is drawn from record to record
    layout: RecordLayout
    backend: Backend
    workers: int | tuple[int, ...]  # how many threads, or the numbers of the devices
    traced: NDArray[np.int64]  # coordinates whose paths are recorded, ascending

    @property
    def setting_count(self) -> int:
        """How many settings there are, in all groups."""
        return sum(len(group.numbers) for group in self.groups)

    @property
    def replica_count(self) -> int:
        """How many replicas there are."""
        return int(self.noise.replicas.size)

    @property
    def numbers_per_coordinate(self) -> int:
        """How many numbers make the state of a coordinate, with all settings and replicas."""
        return self.replica_count * sum(len(g.numbers) * g.components for g in self.groups)

    @property
    def record_shape(self) -> tuple[int, int, int]:
        """The shape of a record: (settings, replicas, rows and paths)."""
        return self.setting_count, self.replica_count, self.layout.size


def block_size(task: Task) -> int:
    """Coordinates in a block: a power of two, so that a block is a branch of the sums."""
    backend = task.backend
    most = max(backend.block_bytes // (8 * task.numbers_per_coordinate), 1)
    size = max(TILE, min(1 << most.bit_length() - 1, backend.block_coordinates))
    several = backend.blocks_of_formulas * size
    without_arrays = all(
        is_formula(group, task.problem, several, task.layout, backend, task.leaps)
        for group in task.groups
    )
    return several if without_arrays else size


def traced_ranges(traced: NDArray[np.int64], begin: int, end: int) -> list[tuple[int, int]]:
    """Return the neighbouring leaves with traced coordinates, as ranges within begin .. end - 1."""
    if not traced.size:
        return []
    leaves = np.unique(traced[(begin <= traced) & (traced < end)] // LEAF)
    if not leaves.size:
        return []
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(leaves) > 1) + 1, [leaves.size]])
    return [
        (int(leaves[a]) * LEAF, min((int(leaves[b - 1]) + 1) * LEAF, end))
        for a, b in pairwise(cuts.tolist())
    ]
