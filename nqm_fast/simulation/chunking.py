"""The size of a chunk: how many steps a kernel takes in one call."""

from __future__ import annotations

import numpy as np

from ..foundation.validation import Array
from ..kernels.contract import LEAF, padded
from ..schedules.timeline import values_at
from .task import Task

PARTIAL_BYTES = 1 << 25  # sums of leaves that a kernel may hold for the records of one call
SECONDS = 0.2  # that a call of a kernel should take: between calls, Ctrl-C is answered
GUESSED_SECONDS = 2e-10  # per coordinate-step of one setting, until a call was timed
BURST = 32  # A chunk is a multiple of it where it can be, as kernels make noise for many steps.
FEW_LEAPS = 256  # in the first call; a leap takes as long as many steps
LOOKAHEAD = 1 << 16  # steps at most whose batch sizes are computed to size one chunk


class ChunkSizer:
    """Chooses where chunks end, so that a call of a kernel takes about `SECONDS`."""

    def __init__(self, task: Task, coordinates: int) -> None:
        self.task = task
        settings = [setting for group in task.groups for setting in group.settings]
        self.batch_sizes = [] if task.sample_scale is None else [s.batch_size for s in settings]
        parallel = padded(coordinates) * task.replica_count * task.setting_count
        most = FEW_LEAPS if task.leaps else task.backend.untimed_steps
        most = most * self._draws_per_step(0, 1)[0]
        # The length of a chunk is measured in draws of a coordinate, which take equally long.
        self.draws_per_chunk = min(SECONDS / GUESSED_SECONDS / parallel, most)
        rows = task.setting_count * task.replica_count * len(task.layout.rows)
        record_bytes = 8 * rows * padded(coordinates) // LEAF
        self.most_records = max(PARTIAL_BYTES // record_bytes, 1)

    def _draws_per_step(self, begin: int, end: int) -> Array:
        """Draws of noise that a coordinate needs at steps begin .. end - 1, at most, (steps,)."""
        if not self.batch_sizes:
            return np.ones(end - begin)
        steps = np.arange(begin, end)
        largest: Array = np.max([values_at(b, steps) for b in self.batch_sizes], axis=0)
        return largest

    def _steps_per_chunk(self, done: int) -> int:
        """Count the steps from step `done` on that need `draws_per_chunk` draws together."""
        if not self.batch_sizes:
            return int(self.draws_per_chunk)
        most = min(LOOKAHEAD, self.task.steps - done, int(self.draws_per_chunk) + 1)
        draws = np.cumsum(self._draws_per_step(done, done + most))
        return int(np.searchsorted(draws, self.draws_per_chunk, side="right"))

    def next_stop(self, done: int) -> int:
        """The step at which the chunk that begins at step `done` ends."""
        task = self.task
        next_record = int(np.searchsorted(task.records, done, side="right"))
        last = next_record + self.most_records - 1
        if task.leaps:
            # A leap ends at a record, because one that ended elsewhere would draw other numbers.
            last = min(last, next_record + int(self.draws_per_chunk))
            return int(task.records[last]) if last < task.records.size else task.steps
        end = done + self._steps_per_chunk(done)
        if end - done >= BURST:
            end -= end % BURST
        if last < task.records.size:
            end = min(end, int(task.records[last]))
        return min(max(end, done + 1), task.steps)

    def adapt(self, seconds: float) -> None:
        """Rescale chunks so that the next takes about `SECONDS`, where the last took `seconds`."""
        change = np.clip(SECONDS / max(seconds, 1e-6), 0.25, 4.0)
        self.draws_per_chunk = float(np.clip(self.draws_per_chunk * change, 1.0, 2.0**40))
