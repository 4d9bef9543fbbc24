"""Everything that the loops of a simulation are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..kernels.contract import TILE, Backend, Noise
from ..problem import Problem
from .lowering import Group
from .observables import RecordLayout


@dataclass(frozen=True)
class Task:
    """Everything that a run is determined by."""

    problem: Problem
    groups: list[Group]
    steps: int
    records: NDArray[np.int64]
    noise: Noise
    drawn: float | None  # scale of one sample, if every one is drawn
    leaps: bool
    layout: RecordLayout
    backend: Backend
    workers: int | tuple[int, ...]  # threads, or numbers of devices

    @property
    def settings(self) -> int:
        """How many settings."""
        return sum(len(group.numbers) for group in self.groups)

    @property
    def replicas(self) -> int:
        """How many replicas."""
        return int(self.noise.replicas.size)

    @property
    def components(self) -> int:
        """Numbers in the state of a coordinate, of all settings and replicas."""
        return self.replicas * sum(len(g.numbers) * g.components for g in self.groups)

    @property
    def record_shape(self) -> tuple[int, int, int]:
        """What a record holds: settings, replicas, rows of the observables."""
        return self.settings, self.replicas, len(self.layout.rows)


def block_size(task: Task) -> int:
    """Coordinates in a block: a power of two, so that a block is a branch of the sums."""
    most = max(task.backend.block_bytes // (8 * task.components), 1)
    return max(TILE, 1 << most.bit_length() - 1)
