"""A call of `sweep`: what is not done yet is grouped, sent to workers, and merged."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import wait
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import InputError, counted, integer, shown
from ..machine.executors import Engine, as_executor, check_executor, outcomes
from ..machine.free_memory import available_bytes
from ..machine.packing import packed
from ..output.progress import rated
from ..store.access import check_folder
from ..store.files import Files, locked
from . import folder as files
from .dataset import dataset, read_complete, write
from .grouping import Group, grouped
from .plan import Plan, as_plan, package_version
from .task import Report, Task, solve, start, warm

if TYPE_CHECKING:
    import xarray

MOST_NAMED = 3
"""Points that a warning names, of those that have no results."""


class SweepWarning(UserWarning):
    """Some points of a sweep have no results."""


def _checked_part(part: Any, out: Any) -> tuple[int, int] | None:
    """Check which part of the points is wanted."""
    if part is None:
        return None
    if not isinstance(part, list | tuple) or len(part) != 2:
        raise InputError(f"part must be (k, n), the k-th of n parts from 0, not {shown(part)}")
    count = integer("part[1]", part[1], least=1)
    number = integer("part[0]", part[0], least=0, most=count - 1)
    if out is None:
        raise InputError("part needs out, where the parts come together")
    return number, count


def swept(
    what: Any, grid: Any, common: dict[str, Any], executor: Any, out: Any, threads: Any, part: Any
) -> xarray.Dataset:
    """Check the arguments of `sweep`, and do it."""
    plan = as_plan(what, grid, common)
    threads = integer("threads_per_task", threads, least=1)
    share = _checked_part(part, out)
    check_executor(executor)
    if out is None:
        return _Session(plan, threads, None).solved(executor, None)
    return _in_file(plan, threads, Files(out, "out"), executor, share)


def _in_file(
    plan: Plan, threads: int, out: Files, executor: Any, share: tuple[int, int] | None
) -> xarray.Dataset:
    """Do what is not done yet, and merge all if no other process does a part of it."""
    check_folder(out)
    folder = files.folder_of(out.base)
    complete = read_complete(out.base, plan)
    if complete is not None:
        if folder.exists():  # A process was killed at its very end.
            files.remove(folder)
        return complete
    files.prepare(folder, plan)
    own = out if share is None else Files(folder / f"part-{share[0]}-of-{share[1]}", "out")
    with locked(own):
        session = _Session(plan, threads, folder)
        found = session.solved(executor, share)
        if share is None:
            write(out.base, found)
            if found.attrs["complete"]:
                files.remove(folder)
    return found


@dataclass
class _Session:
    """A call of `sweep`: its plan, and what has come of it so far."""

    plan: Plan
    threads: int
    folder: Path | None
    failures: dict[int, str] = field(default_factory=dict)
    rows: list[NDArray[Any]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    """Files of the folder whose rows are here."""

    def solved(self, executor: Any, share: tuple[int, int] | None) -> xarray.Dataset:
        """Solve what is not done yet, or a share of it, and arrange all that is done."""
        self._read()
        done = np.zeros(self.plan.grid.size, dtype=bool)
        for rows in self.rows:
            done[rows["point"]] = True
        if not done.all():
            with as_executor(executor) as engine:
                self._solve(engine, self._groups(done, engine.workers, share), done)
            self._read()
        rows = np.concatenate([np.zeros(0, self.plan.dtype), *self.rows])
        done[rows["point"]] = True
        self._report(rows)
        return dataset(self.plan, rows, self.failures, bool(done.all()))

    def _read(self) -> None:
        """Read what is in the folder and was not read before."""
        if self.folder is not None:
            self.rows.append(files.read_rows(self.folder, self.plan, self.known))

    def _groups(
        self, done: NDArray[np.bool_], workers: int, share: tuple[int, int] | None
    ) -> list[Group]:
        """Group the points that are not done, or those of a share."""
        if share is None:
            return grouped(self.plan, np.flatnonzero(~done).tolist(), workers)
        number, count = share
        everything = grouped(self.plan, range(done.size), count)
        mine = [group for group in everything[number::count] if not done[list(group.points)].all()]
        left = [point for group in mine for point in group.points if not done[point]]
        return grouped(self.plan, left, workers)

    def _solve(self, engine: Engine, groups: Sequence[Group], done: NDArray[np.bool_]) -> None:
        """Send tasks to the workers, and note what comes back."""
        if not groups:
            return
        _check_memory(engine, groups)
        finished = int(done.sum())
        with rated("sweep", self.plan.grid.size, "points") as report:
            report(finished)
            if engine.is_local:
                self._warm(engine, groups)
            tasks = (self._task(group) for group in groups)
            with closing(outcomes(engine, solve, tasks, self._split)) as found:
                for task, result, error in found:
                    self._note(task, result, error)
                    finished += len(task.points)
                    report(finished)

    def _warm(self, engine: Engine, groups: Sequence[Group]) -> None:
        """Have one worker compile what all will load, while the others start."""
        others = min(engine.workers, len(groups)) - 1
        submit = engine.executor.submit
        # What goes wrong here goes wrong at the points too, which report it.
        wait([submit(warm, self._task(groups[0])), *(submit(start) for _ in range(others))])

    def _task(self, group: Group) -> Task:
        """Make the task of a group."""
        points = group.points
        inline = packed(self.plan.part(points)) if self.folder is None else None
        digest, memory = self.plan.digest, group.load.memory
        version = package_version()
        return Task(version, digest, points, memory, self.threads, self.folder, inline)

    def _split(self, task: Task) -> list[Task]:
        """Cut a task that died into its points, to find out which it is that kills workers."""
        if len(task.points) == 1:
            return []
        return [self._task(Group((point,), self.plan.load(point))) for point in task.points]

    def _note(self, task: Task, result: Report | None, error: BaseException | None) -> None:
        """Note the results of a task, and which of its points have failed."""
        if result is None:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            text = f"{kind}{' '.join(str(error).split())}"
            self.failures |= dict.fromkeys(task.points, text)
            return
        self.failures |= dict(result.failures)
        if result.rows is not None:
            self.rows.append(result.rows)

    def _report(self, rows: NDArray[Any]) -> None:
        """Warn of points without results; raise an InputError if there are no others."""
        if not self.failures:
            return
        named = [
            f"{self.plan.grid.described(point)}: {text}"
            for point, text in sorted(self.failures.items())[:MOST_NAMED]
        ]
        more = len(self.failures) - len(named)
        named += [f"and {more} more"] * bool(more)
        count = counted(len(self.failures), "point")
        message = f"{count} of {self.plan.grid.size} failed; " + "; ".join(named)
        if not rows.size:
            raise InputError(message)
        warnings.warn(message, SweepWarning, stacklevel=5)


def _check_memory(engine: Engine, groups: Sequence[Group]) -> None:
    """Make sure that the tasks of processes on this machine fit into its memory together.

    Raises
    ------
    InputError
        If they do not.
    """
    if not engine.is_local:
        return  # Each worker knows what it has.
    largest = sorted((group.load.memory for group in groups), reverse=True)
    available = available_bytes()
    needed = sum(largest[: engine.workers])
    if needed > available:
        fit = int(available // largest[0])
        cure = f"use executor={fit}" if fit else "use fewer replicas or records"
        raise InputError(
            f"{engine.workers} tasks at a time need about {needed / 1e9:.1f} GB of memory, but "
            f"{available / 1e9:.1f} GB are available: {cure}"
        )
