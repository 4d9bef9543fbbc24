"""The recorder that writes a run to its files."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from errno import ENOENT
from typing import Any

import numpy as np

from ..simulation.experiment import Experiment
from ..simulation.recorder import Recorder, RunProgress, SavedArrays
from ..simulation.result import Run, arranged
from ..validation import InputError
from . import checkpoints, serialization
from .files import Files, resume_command
from .header import KEPT, new_header, status_attributes
from .layout import RECORD
from .reading import ENDED, Stored
from .writing import LiveFile, Whole, write_whole

MOST = 0.01  # of the time, that commits, and that checkpoints, may take
GAPS = (1.0, 60.0)  # seconds between commits, at least, and where a hundredth of the time is more


class FileRecorder(Recorder):
    """Commits records, saves checkpoints, and puts all into one file in the end."""

    def __init__(
        self, files: Files, experiment: Experiment, every: float, origin: Stored | str
    ) -> None:
        """Of a run that is stored, or of a new one with a fingerprint."""
        stored = None if isinstance(origin, str) else origin
        begin = time.perf_counter()
        self.files, self.experiment, self.every = files, experiment, every
        configuration, self.arrays = serialization.encode(experiment)
        self.stored = stored
        self.saved: SavedArrays | None = None
        self.committed = 0 if stored is None else stored.records
        self.noted = 0  # records whose time is known, or that were compared
        self.wall_time = np.full(experiment.records.size, np.nan)
        self.before = 0.0  # seconds that the run took before it was resumed
        if isinstance(origin, str):
            self.header = new_header(experiment, configuration, origin)
        if stored is not None:
            self.header = {name: stored.header[name] for name in KEPT}
            self._restore(stored)
        number = 1 if stored is None else files.free_number()
        path, own = (files.base, self.arrays) if number == 1 else (files.continuation(number), None)
        attributes = self.header | status_attributes("running", "", {}, number)
        with self.explained("out must be a file that can be written"):
            self.live = LiveFile(path, files.part, experiment, attributes, own)
        self.base = self._base()
        self.begin = time.perf_counter()
        self.seconds += self.begin - begin
        self.next_commit = self.begin
        self.next_checkpoint = self.begin + every

    def _restore(self, stored: Stored) -> None:
        """Find the newest checkpoint that can be gone on from."""
        times = stored.values["wall_time"]
        self.wall_time[: times.size] = times
        self.before = float(times[-1]) if times.size else 0.0
        run_id = self.header["run_id"]
        found = next(checkpoints.usable(self.files, run_id, stored.records), None)
        if found is not None:
            facts, self.saved = found
            self.before = max(self.before, facts["seconds"])
            *self.spent, self.seconds = facts["spent"]
            self.noted = facts["records"]
            if "values" not in self.saved:
                self.saved["values"] = np.moveaxis(self._stored_values(self.noted), 2, 0)

    def _stored_values(self, records: int) -> Any:
        """What is committed, (settings, replicas, records, rows)."""
        assert self.stored is not None
        return self.experiment.layout.joined(self.stored.values)[:, :, :records]

    @contextmanager
    def opened(self) -> Generator[FileRecorder]:
        """Close the file in the end, whatever happens."""
        try:
            yield self
        except OSError:
            self.live.cut_off()
            raise
        finally:
            self.live.close()

    def taken(self) -> SavedArrays | None:
        """The state of the checkpoint, which is not kept."""
        saved, self.saved = self.saved, None
        return saved

    # -- events --------------------------------------------------------------------------

    def event(self, progress: RunProgress) -> None:
        """Write what is due."""
        now = time.perf_counter()
        self._note(progress, now)
        if progress.state is not None and self.is_due:
            self.save(progress)
        elif self.noted > self.committed and now >= self.next_commit:
            self.commit(progress)
        self.seconds += time.perf_counter() - now

    @property
    def is_due(self) -> bool:
        """A checkpoint is to be saved."""
        return time.perf_counter() >= self.next_checkpoint

    def stop(self, progress: RunProgress) -> None:
        """Save where the run is."""
        begin = time.perf_counter()
        self.save(progress)
        self.seconds += time.perf_counter() - begin

    def _note(self, progress: RunProgress, now: float) -> None:
        """Give new records their time; those of before a kill must come out the same."""
        low, self.noted = self.noted, max(progress.records, self.noted)
        again = slice(low, min(self.noted, self.committed))
        if again.stop > low and self.stored is not None:
            steps = self.experiment.records[again]
            new = arranged(progress.values[again], steps, progress.diverged_at)
            if not np.array_equal(new, self._stored_values(again.stop)[:, :, low:]):
                raise InputError(
                    f"path {str(self.files.base)!r} cannot be gone on with: steps {steps[0]} to "
                    f"{steps[-1]} give other numbers here than those it holds"
                )
        self.wall_time[max(low, self.committed) : self.noted] = self.elapsed(now)

    def elapsed(self, now: float) -> float:
        """Seconds that the run takes so far."""
        return self.before + now - self.begin

    def commit(self, progress: RunProgress) -> None:
        """Write the records that are new."""
        begin = time.perf_counter()
        rows = slice(self.committed, self.noted)
        if rows.stop > rows.start:
            steps = self.experiment.records[rows]
            new = arranged(progress.values[rows], steps, progress.diverged_at)
            observed = self.experiment.layout.split(new)
            known = progress.diverged_at.shape
            values = {
                RECORD: steps,
                **{name: np.moveaxis(array, 2, 0) for name, array in observed.items()},
                "wall_time": self.wall_time[rows],
                "diverged_at": np.broadcast_to(progress.diverged_at, (steps.size, *known)),
            }
            with self.explained():
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
        facts = {
            "run_id": self.header["run_id"],
            "records": progress.records,
            "coordinate_steps": progress.coordinate_steps,
            "seconds": self.elapsed(begin),
            "spent": [*progress.spent, self.seconds],
        }
        with self.explained():
            self.live.sync()
            self.check()
            checkpoints.save(self.files, facts, progress.state())
        now = time.perf_counter()
        self.next_checkpoint = now + max(self.every, (now - begin) / MOST)

    # -- the end -------------------------------------------------------------------------

    def finish(self, run: Run) -> Run:
        """Put the whole run into one file; what is beside it is needed only to go on.

        The run has an axis of settings, whether they were listed or not.
        """
        begin = time.perf_counter()
        self.wall_time[self.noted : run.steps.size] = self.elapsed(begin)
        if run.status not in ENDED:
            message = f"{run.message}; go on with: {resume_command(self.files.base)}"
            run = replace(run, message=message)
        if self.stored is not None and run.steps.size < self.committed:
            run = self._with_committed(run)  # it has not caught up with what is in the files
        wall_time = self.wall_time[: run.steps.size]
        values = {RECORD: run.steps, **run.observed, "wall_time": wall_time}
        header = self.header | status_attributes(run.status, run.message, run.stats, 1)
        whole = Whole(header, self.arrays, values, run.diverged_at, run.state)
        with self.explained():
            self.check()
            write_whole(self.files, self.experiment, whole)
            self.live.close()
            done_with = self.files.leftovers() if run.status in ENDED else []
            for path in (*self.own_continuations(), *done_with):
                path.unlink(missing_ok=True)
        self.seconds += time.perf_counter() - begin
        stats = run.stats | {"write": self.seconds}
        return replace(run, stats=stats, wall_time=wall_time)

    def _with_committed(self, run: Run) -> Run:
        """The run with the records that were committed before it was resumed."""
        assert self.stored is not None
        values = self.stored.values
        return replace(
            run,
            steps=values[RECORD],
            observed={name: values[name] for name in self.experiment.observe},
            diverged_at=np.maximum(self.stored.diverged_at, run.diverged_at),
            state=None,
        )

    def check(self) -> None:
        """The run's files are still there, and nobody else's are in their place.

        Raises
        ------
        FileNotFoundError
            If one was removed, moved or replaced.
        """
        self.live.check()
        if self._base() != self.base:
            raise FileNotFoundError(ENOENT, "another file is in its place", str(self.files.base))

    def _base(self) -> tuple[int, ...]:
        """What tells the first file from others; only the first segment is written to."""
        found = self.files.base.stat()
        if self.live.path == self.files.base:
            return found.st_dev, found.st_ino
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def own_continuations(self) -> list[Any]:
        """Segments of this run."""
        before = [] if self.stored is None else self.stored.continuations
        return [*before, *([] if self.live.path == self.files.base else [self.live.path])]

    @contextmanager
    def explained(self, advice: str = "") -> Generator[None]:
        """Say what can be done where the disk is full, or a folder or file not as it was."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # HDF5 raises either
            found = re.search(r"errno = (\d+)", str(error))
            number = getattr(error, "errno", None) or (int(found[1]) if found else 0)
            own = None if found else getattr(error, "strerror", None)
            reason = own or (os.strerror(number) if number else str(error))
            with suppress(OSError):
                self.files.part.unlink(missing_ok=True)
            said = f"{reason}: {advice or self.advice()}"
            raise OSError(number, said, str(self.files.base)) from None

    def advice(self) -> str:
        """What can be done."""
        base = self.files.base
        if not base.exists() or self._base() != self.base:
            return "the run has no file to go on with"
        return f"the run was stopped; mend that, then go on with: {resume_command(base)}"
