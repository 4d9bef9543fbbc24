"""The recorder that writes a run to its files."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from errno import ENOENT
from pathlib import Path
from typing import Any

import numpy as np

from ..foundation.validation import InputError
from ..simulation.experiment import Experiment
from ..simulation.recorder import KernelSeconds, Recorder, RunProgress, SavedArrays
from ..simulation.result import Run, with_public_axes
from . import checkpoints, serialization
from .files import Files, explained_errors, resume_command
from .header import new_header, permanent_attributes, status_attributes, timestamp
from .layout import RECORD, Whole
from .reading import ENDED_STATUSES, Stored, same_run
from .writing import LiveFile, write_whole

MOST = 0.01  # the part of the time that commits may take, and that checkpoints may take
OTHER_FILE = "another file is in its place"
GAPS = (1.0, 60.0)  # bounds, in seconds, of pauses between commits: MOST of the time so far


class FileRecorder(Recorder):
    """Commits records, saves checkpoints, and puts all into one file in the end."""

    def __init__(
        self,
        files: Files,
        experiment: Experiment,
        checkpoint_interval: float,
        fingerprint: str,
        stored: Stored | None = None,
    ) -> None:
        """Begin the live file of a new run, or of the run `stored`, which is resumed."""
        begin = time.perf_counter()
        self.files, self.experiment = files, experiment
        self.checkpoint_interval = checkpoint_interval
        configuration, self.arrays = serialization.encode(experiment)
        self.stored = stored
        self.saved_state: SavedArrays | None = None
        self.committed = 0 if stored is None else stored.records  # how many records
        self.noted = 0  # How many records have a wall time; `_note` has compared them if stored.
        self.wall_time = np.full(experiment.records.size, np.nan)
        self.earlier_seconds = 0.0  # that the run took before it was resumed
        if stored is None:
            self.header = new_header(experiment, configuration, fingerprint, checkpoint_interval)
            number, path, arrays = 1, files.base, self.arrays
        else:
            self.header = permanent_attributes(stored.header)
            self._restore(stored)
            number = files.free_number()
            path, arrays = files.continuation(number), None
        self.resumed = "" if stored is None else timestamp()
        self.live_header = self.header | status_attributes("running", "", {}, number, self.resumed)
        with explained_errors(files, lambda: "out must be a file that can be written"):
            self.live = LiveFile(path, files.part, experiment, self.live_header, arrays)
        self.base = files.base.stat()
        self.base_header = self.live_header if stored is None else stored.header
        self.begin = time.perf_counter()
        self.write_seconds += self.begin - begin
        self.next_commit = self.begin
        self.next_checkpoint = self.begin + checkpoint_interval

    def _restore(self, stored: Stored) -> None:
        """Read the newest checkpoint from which the run can be resumed, if there is one."""
        times = stored.values["wall_time"]
        self.wall_time[: times.size] = times
        self.earlier_seconds = float(times[-1]) if times.size else 0.0
        run_id = self.header["run_id"]
        newest = next(checkpoints.usable(self.files, run_id, stored.records), None)
        if newest is not None:
            metadata, self.saved_state = newest
            self.earlier_seconds = max(self.earlier_seconds, metadata["seconds"])
            *kernel_seconds, self.write_seconds = metadata["spent"]
            self.earlier_kernel_seconds = KernelSeconds(*kernel_seconds)
            self.noted = metadata["records"]
            if "values" not in self.saved_state:
                values = self._stored_values(stored, self.noted)
                self.saved_state["values"] = np.moveaxis(values, 2, 0)

    def _stored_values(self, stored: Stored, records: int) -> Any:
        """The first so many records of a stored run, (settings, replicas, records, rows)."""
        return self.experiment.layout.joined(stored.values)[:, :, :records]

    @contextmanager
    def closed_at_exit(self) -> Generator[None]:
        """Close the live file at the end of the context, whatever happens within."""
        try:
            yield
        except OSError:
            self.live.cut_off()
            raise
        finally:
            self.live.close()

    def take_saved_state(self) -> SavedArrays | None:
        """Hand out the state of the checkpoint, and forget it to free its memory."""
        saved_state, self.saved_state = self.saved_state, None
        return saved_state

    # -- events --------------------------------------------------------------------------

    def event(self, progress: RunProgress) -> None:
        """Save a checkpoint or commit records, if it is time to."""
        now = time.perf_counter()
        self._note(progress, now)
        if progress.state is not None and self.checkpoint_is_due:
            self.save(progress)
        elif self.noted > self.committed and now >= self.next_commit:
            self.commit(progress)
        self.write_seconds += time.perf_counter() - now

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.perf_counter() >= self.next_checkpoint

    def stop(self, progress: RunProgress) -> None:
        """Save a checkpoint, as the run stops before its end."""
        begin = time.perf_counter()
        self.save(progress)
        self.write_seconds += time.perf_counter() - begin

    def _note(self, progress: RunProgress, now: float) -> None:
        """Give new records their wall time, and compare them if they are committed already.

        Records that were committed after the last checkpoint are computed once more by a resumed
        run, and must come out the same.
        """
        low, self.noted = self.noted, max(progress.records, self.noted)
        repeated = slice(low, min(self.noted, self.committed))
        if repeated.stop > low and self.stored is not None:
            steps = self.experiment.records[repeated]
            new = with_public_axes(progress.values[repeated], steps, progress.diverged_at)
            old = self._stored_values(self.stored, repeated.stop)[:, :, low:]
            if not np.array_equal(new, old):
                raise InputError(
                    f"path {str(self.files.given)!r} cannot be gone on with: steps {steps[0]} to "
                    f"{steps[-1]} give other numbers here than those it holds"
                )
        self.wall_time[max(low, self.committed) : self.noted] = self.elapsed(now)

    def elapsed(self, now: float) -> float:
        """Seconds that the run has taken until `now`, without breaks."""
        return self.earlier_seconds + now - self.begin

    def commit(self, progress: RunProgress) -> None:
        """Write the records that are new to the live file."""
        begin = time.perf_counter()
        rows = slice(self.committed, self.noted)
        if rows.stop > rows.start:
            steps = self.experiment.records[rows]
            new = with_public_axes(progress.values[rows], steps, progress.diverged_at)
            observed = self.experiment.layout.split(new)
            shape = steps.size, *progress.diverged_at.shape
            values = {
                RECORD: steps,
                **{name: np.moveaxis(array, 2, 0) for name, array in observed.items()},
                "wall_time": self.wall_time[rows],
                "diverged_at": np.broadcast_to(progress.diverged_at, shape),
            }
            with self._explained_errors():
                self.check()
                self.live.add(rows.start, values)
            self.committed = rows.stop
        now = time.perf_counter()
        pause = float(np.clip(MOST * (now - self.begin), *GAPS))
        self.next_commit = now + max(pause, (now - begin) / MOST)

    def save(self, progress: RunProgress) -> None:
        """Write the records that are new, wait until they are on disk, and save a checkpoint."""
        begin = time.perf_counter()
        self.commit(progress)
        assert progress.state is not None
        metadata = {
            "run_id": self.header["run_id"],
            "records": progress.records,
            "coordinate_steps": progress.coordinate_steps,
            "seconds": self.elapsed(begin),
            "spent": [*progress.kernel_seconds, self.write_seconds],
        }
        with self._explained_errors():
            self.live.sync()
            self.check()
            checkpoints.save(self.files, metadata, progress.state())
        now = time.perf_counter()
        self.next_checkpoint = now + max(self.checkpoint_interval, (now - begin) / MOST)

    # -- the end -------------------------------------------------------------------------

    def finish(self, run: Run) -> Run:
        """Put the whole run into one file, and remove the files that are needed no more.

        The checkpoints remain if the run can be resumed. The run has an axis of settings, whether
        they were listed or not.
        """
        begin = time.perf_counter()
        self.wall_time[self.noted : run.steps.size] = self.elapsed(begin)
        if run.status not in ENDED_STATUSES:
            message = f"{run.message}; go on with: {resume_command(self.files.given)}"
            run = replace(run, message=message)
        if self.stored is not None and run.steps.size < self.committed:
            # A resumed run was stopped before it had computed all committed records once more.
            run = self._with_committed(run, self.stored)
        wall_time = self.wall_time[: run.steps.size]
        values = {RECORD: run.steps, **run.observed, "wall_time": wall_time}
        status = status_attributes(run.status, run.message, run.stats, 1, self.resumed)
        header = self.header | status
        whole = Whole(header, self.arrays, values, run.diverged_at, run.state)
        with self._explained_errors():
            self.check()
            write_whole(self.files, self.experiment, whole, self._let_go)
        leftovers = self.files.leftovers() if run.status in ENDED_STATUSES else []
        for path in (*self._continuations(), *leftovers):
            with suppress(OSError):  # The run is whole, and the next resumption removes them.
                path.unlink(missing_ok=True)
        self.write_seconds += time.perf_counter() - begin
        stats = run.stats | {"write": self.write_seconds}
        return replace(run, stats=stats, wall_time=wall_time)

    def _with_committed(self, run: Run, stored: Stored) -> Run:
        """The run with the records that were committed before it was resumed."""
        values = stored.values
        return replace(
            run,
            steps=values[RECORD],
            observed={name: values[name] for name in self.experiment.layout.recorded_names},
            diverged_at=np.maximum(stored.diverged_at, run.diverged_at),
            state=None,
        )

    def _let_go(self) -> None:
        """Close the live file, before its name is given to another file, or removed."""
        self.check()
        self.live.close()

    def check(self) -> None:
        """Make sure that the run's files are still there, and no others are in their place.

        Raises
        ------
        FileNotFoundError
            If one was removed, moved or replaced.
        """
        self.live.check()
        if not same_run(self.live.path, self.live_header):
            raise FileNotFoundError(ENOENT, OTHER_FILE, str(self.live.path))
        if not self._base_is_there():
            raise FileNotFoundError(ENOENT, OTHER_FILE, str(self.files.base))

    def _base_is_there(self) -> bool:
        """Whether the first file of the run is there, by its device, number and content.

        Its dates do not matter, nor what others have added to it.
        """
        if self.live.path == self.files.base:
            return True
        found = self.files.base.stat()
        return os.path.samestat(found, self.base) and same_run(self.files.base, self.base_header)

    def _continuations(self) -> list[Path]:
        """The continuations of this run, including the live file if it is one."""
        earlier = [] if self.stored is None else self.stored.continuations
        return [*earlier, *([] if self.live.path == self.files.base else [self.live.path])]

    def _explained_errors(self) -> AbstractContextManager[None]:
        """Say in errors of the file system how to go on with the run."""
        return explained_errors(self.files, self._advice)

    def _advice(self) -> str:
        """Say how to go on after an error of the file system."""
        try:
            there = same_run(self.files.base, self.base_header)
            there = there and os.path.samestat(self.files.base.stat(), self.base)
        except OSError:
            there = False
        if not there:
            return "the run has no file to go on with"
        command = resume_command(self.files.given)
        return f"the run was stopped; mend that, then go on with: {command}"
