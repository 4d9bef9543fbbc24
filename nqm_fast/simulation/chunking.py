"""How many steps a kernel goes at a time: the size of a chunk."""

from __future__ import annotations

import math

import numpy as np

from ..kernels.contract import LEAF, padded
from ..validation import Array
from .task import Task

PARTIAL_BYTES = 1 << 25  # sums of leaves that a kernel may hold for the records of one call
SECONDS = 0.2  # that a call of a kernel should take: between calls, Ctrl-C is answered
FIRST_GUESS = 2e-10  # seconds for a coordinate-step of a setting, until a call was timed
BURST = 32  # a call has a multiple of so many steps, where it can
LAID_OUT = 1 << 16  # steps of batch sizes that are looked at at a time


class ChunkSizer:
    """Chooses how many steps a kernel goes at a time, so that a call takes about `SECONDS`."""

    def __init__(self, task: Task, size: int) -> None:
        self.task = task
        settings = [setting for group in task.groups for setting in group.settings]
        self.batch_sizes = [] if task.drawn is None else [s.batch_size for s in settings]
        each = padded(size) * task.replicas * task.settings
        most = 8 * BURST * self._samples(0, 1)[0]
        self.length = min(SECONDS / FIRST_GUESS / each, most)  # in samples of a coordinate
        record = 8 * math.prod(task.record_shape) * padded(size) // LEAF
        self.most_records = max(PARTIAL_BYTES // record, 1)

    def _samples(self, begin: int, end: int) -> Array:
        """Variates that a step of a coordinate takes, at most, in any setting."""
        if not self.batch_sizes:
            return np.ones(end - begin)
        steps = np.arange(begin, end)
        largest: Array = np.max([b.values(steps) for b in self.batch_sizes], axis=0)
        return largest

    def _steps(self, done: int) -> int:
        """Steps from `done` on that have `length` samples."""
        if not self.batch_sizes:
            return int(self.length)
        most = min(LAID_OUT, self.task.steps - done, int(self.length) + 1)
        samples = self._samples(done, done + most)
        return int(np.searchsorted(np.cumsum(samples), self.length, side="right"))

    def next_stop(self, done: int) -> int:
        """The step at which the chunk that begins at step `done` ends."""
        task = self.task
        next_record = int(np.searchsorted(task.records, done, side="right"))
        last = next_record + self.most_records - 1
        if task.leaps:  # a jump may end at records only, or it would be another jump
            last = min(last, next_record + int(self.length))
            return int(task.records[last]) if last < task.records.size else task.steps
        end = done + self._steps(done)
        if end - done >= BURST:
            end -= end % BURST
        if last < task.records.size:
            end = min(end, int(task.records[last]))
        return min(max(end, done + 1), task.steps)

    def adapt(self, seconds: float) -> None:
        """Rescale chunks so that the next takes about `SECONDS`, where the last took `seconds`."""
        change = np.clip(SECONDS / max(seconds, 1e-6), 0.25, 4.0)
        self.length = float(np.clip(self.length * change, 1.0, 2.0**40))
