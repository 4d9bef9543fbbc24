"""Everything that the loops of a simulation are given."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ..kernels.contract import TILE, Noise, holder
from ..problem import Problem
from ..validation import Array
from .lowering import Group


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
    bands: Array | None
    backend: ModuleType
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
    def sums(self) -> tuple[int, int, int]:
        """What a record holds: settings, replicas, the whole risk and that of each band."""
        return self.settings, self.replicas, 1 if self.bands is None else self.bands.size


def block_size(task: Task) -> int:
    """Coordinates in a block: a power of two, so that a block is a branch of the sums."""
    most = max(holder(task.backend).block_bytes // (8 * task.components), 1)
    return max(TILE, 1 << most.bit_length() - 1)
