"""A run in shards that workers compute, on any executor, merged to the bits of one machine.

Each shard is a run of its own. With a file it is one too, in a folder that workers share, and is
checkpointed and gone on with as runs are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.messages import InputError, counted
from ..kernels.contract import TILE
from ..machine.executors import Engine, as_executor, outcomes
from ..machine.packing import packed, unpacked
from ..output.progress import rated, shown
from ..simulation.coordinates import branches, parts_of
from ..simulation.execution import ending, groups_of, load_of
from ..simulation.experiment import Experiment
from ..simulation.fingerprint import fingerprint
from ..simulation.merging import Computed, Shard, merged
from ..simulation.resources import Wanted
from ..simulation.result import Run
from ..store import access, merging
from ..store.files import Files, is_held, locked
from ..store.shard_files import Piece, ShardFiles
from .running import IN_MEMORY, Terminated, ending_by_signals, go_on, run_in_file, run_in_memory

PER_WORKER = 4
"""Shards for each worker: with more, those that end early wait less for the last."""
SECONDS = 60.0
"""Seconds of work in a shard, roughly: workers may come later, or be more than an executor says."""
MOST_SHARDS = 1 << 14
"""Shards that a run is cut into for that reason alone; each takes time to send and to merge."""
GPU_SPEED = 100.0
"""Speed of a GPU, where that of a core is 1, roughly."""
WAIT_SECONDS = 0.5
"""Between two looks whether another process still writes a shard."""


class Orders(NamedTuple):
    """The orders that all tasks of a run have in common."""

    resources: Wanted
    interval: float  # seconds between checkpoints


@dataclass(frozen=True)
class Task:
    """A shard to compute, which is cut out of the whole run when it is sent to a worker."""

    whole: Experiment
    piece: Piece
    path: str | None  # of its file
    orders: Orders

    @property
    def experiment(self) -> Experiment:
        """The shard's own."""
        return self.piece.of(self.whole)

    def __reduce__(self) -> tuple[Any, ...]:
        own = self.experiment
        return SentTask, (packed(own), fingerprint(own), self.path, self.orders)


class SentTask(NamedTuple):
    """A shard to compute, in another process."""

    packed: bytes
    expected_fingerprint: str  # where the run was begun
    path: str | None
    orders: Orders

    @property
    def experiment(self) -> Experiment:
        """The shard's own.

        Raises
        ------
        InputError
            If this process would compute other bits.
        """
        own: Experiment = unpacked(self.packed)
        if fingerprint(own) != self.expected_fingerprint:
            raise InputError(
                "executor has a worker on which powers or schedules come out with other last bits "
                "than here, as of another library of mathematics: use workers with the same one"
            )
        return own


class StoppedShardError(RuntimeError):
    """A shard was stopped by a signal to its worker; if it has a file, it is saved."""


class FailedShardsError(RuntimeError):
    """Shards of a run have failed, also when they were tried again."""


# -- in a worker -------------------------------------------------------------------------


@in_usual_arithmetic
def compute(task: Task | SentTask) -> Computed | None:
    """Compute a shard, or go on with it; returns what was computed if it has no file."""
    experiment = task.experiment
    try:
        with shown(False):
            if task.path is None:
                run = run_in_memory(experiment, task.orders.resources)
            else:
                run = _in_its_file(experiment, Files(task.path), task.orders)
    except (Terminated, KeyboardInterrupt) as stopped:
        raise StoppedShardError(f"a shard was stopped: {stopped!r}") from None
    if run.status == "interrupted":
        raise StoppedShardError(f"a shard was stopped: {run.message}")
    return None if task.path is not None else _with_axis_of_settings(run, experiment)


def _in_its_file(experiment: Experiment, files: Files, orders: Orders) -> Run:
    """Compute a shard in its file, or go on with it.

    Another process may still write it, which was begun by a caller that is no more: then it is
    waited for. A shard whose state is large is worked through in blocks: there may be many on a
    machine, and nobody waits for the records of one.
    """
    resources, interval = orders
    while True:
        while is_held(files.lock):
            time.sleep(WAIT_SECONDS)
        is_there = files.base.exists()
        try:
            if is_there:
                merging.check_is(files, experiment)
                return go_on(files, resources, interval, most_bytes=IN_MEMORY)
            return run_in_file(files, experiment, resources, False, interval, IN_MEMORY)
        except InputError:
            # It may be that process's doing: that it has begun or ended since we looked.
            if files.base.exists() == is_there and not is_held(files.lock):
                raise


def _with_axis_of_settings(run: Run, experiment: Experiment) -> Computed:
    """Return the results of a run in arrays that have an axis of settings."""
    listed = experiment.listed
    observed = {name: x if listed else x[None] for name, x in run.observed.items()}
    states = run.state if listed or run.state is None else (run.state,)
    diverged_at = run.diverged_at if listed else run.diverged_at[None]
    return Computed(observed, diverged_at, states, None, run.stats)


# -- where the run was begun -------------------------------------------------------------


def pieces(whole: Experiment, orders: Orders, workers: int) -> list[Piece]:
    """Cut a run into pieces for so many workers: coordinates first, then replicas."""
    speed = GPU_SPEED if orders.resources.name == "cuda" else orders.resources.threads
    seconds = load_of(whole, 1, groups_of(whole)).seconds / speed
    count = max(PER_WORKER * workers, min(math.ceil(seconds / SECONDS), MOST_SHARDS))
    own = branches(whole.problem.dim, count, TILE)
    parts = parts_of(whole.replicas.size, -(-count // len(own)))
    return [Piece(x, part.start, part.stop) for part in parts for x in own]


def run_in_shards(
    executor: Any,
    whole: Experiment,
    resources: Wanted,
    files: Files | None,
    overwrite: bool,
    interval: float,
) -> Run:
    """Compute a run in shards on an executor, and merge them.

    Raises
    ------
    InputError
        If the run is a shard itself; if there is no such executor; if a shard cannot be computed.
    FailedShardsError
        If shards have failed, also when they were tried again. Those that are done are kept.
    """
    if whole.coordinates is not None:
        raise InputError(
            "coordinates must be left out with an executor, which splits them into shards itself"
        )
    orders = Orders(resources, interval)
    with ending_by_signals(), as_executor(executor) as engine:
        if files is None:
            return _in_memory(engine, whole, orders)
        return _in_files(engine, whole, orders, files, overwrite)


def _in_memory(engine: Engine, whole: Experiment, orders: Orders) -> Run:
    """Compute a run of which nothing is kept but what it returns."""
    tasks = [Task(whole, piece, None, orders) for piece in pieces(whole, orders, engine.workers)]
    results: dict[int, Computed] = {}
    numbers = {task.piece: k for k, task in enumerate(tasks)}

    def keep(task: Task, result: Any) -> None:
        results[numbers[task.piece]] = result

    _carry_out(engine, whole, tasks, 0, keep)
    # Replicas are numbered by their places, as a run may have one twice.
    shards = [
        Shard("", task.piece.coordinates, np.arange(task.piece.begin, task.piece.end))
        for task in tasks
    ]
    return as_run(whole, merged(whole, shards, results.pop, by_place=True))


def _in_files(
    engine: Engine, whole: Experiment, orders: Orders, files: Files, overwrite: bool
) -> Run:
    """Compute a run in files, or go on with one."""
    shards = ShardFiles(files)
    if shards.pieces_of(whole) is not None and merging.is_merged(files, whole):
        with locked(files):
            shards.remove()  # A kill has left them after they were merged.
        return access.stored_run(files)
    with access.place_for_new_run(files, overwrite) as old_files:
        plan = shards.begin(whole, pieces(whole, orders, engine.workers), overwrite)
        paths = [shards.path(k) for k in range(len(plan))]
        tasks = [
            Task(whole, piece, str(path), orders) for piece, path in zip(plan, paths, strict=True)
        ]
        waiting = [task for task in tasks if not merging.has_ended(Files(task.path))]
        done = sum(_work(task.piece, whole) for task in tasks) - sum(
            _work(task.piece, whole) for task in waiting
        )
        _carry_out(engine, whole, waiting, done, _check_is_here)
        merging.merge_pieces(files, whole, list(zip(plan, paths, strict=True)))
        for old_file in old_files:
            old_file.unlink(missing_ok=True)
    shards.remove()
    return access.stored_run(files)


def _check_is_here(task: Task, _: Any) -> None:
    """Make sure that a file which a worker has written is seen here."""
    if not Files(task.path).base.exists():
        raise InputError(
            f"out must be in a folder that all workers share, but what one has written to "
            f"{task.path!r} is not here"
        )


def _work(piece: Piece, whole: Experiment) -> int:
    """The coordinate-steps of a piece."""
    replicas = piece.end - piece.begin
    return piece.coordinates.size * replicas * whole.steps * len(whole.settings)


def _carry_out(
    engine: Engine,
    whole: Experiment,
    tasks: Sequence[Task],
    done: int,
    keep: Callable[[Task, Any], None],
) -> None:
    """Have the tasks computed, show progress, and say in the end which of them have failed."""
    total = done + sum(_work(task.piece, whole) for task in tasks)
    failed: list[tuple[Task, BaseException]] = []
    with rated("simulation", total, "coordinate-steps") as report:
        report(done)
        for task, result, error in outcomes(engine, compute, tasks):
            if isinstance(error, InputError):
                raise error
            if error is not None:
                failed.append((task, error))
                continue
            keep(task, result)
            done += _work(task.piece, whole)
            report(done)
    if failed:
        raise FailedShardsError(_failure(failed, len(tasks)))


def _failure(failed: Sequence[tuple[Task, BaseException]], tasks: int) -> str:
    """Say which shards have failed, why, and what to do."""
    task, error = failed[0]
    rest = "the others are done, and the same call goes on with these: "
    return (
        f"{counted(len(failed), 'shard')} of {tasks} failed, also when tried again; "
        f"{rest if task.path is not None else ''}the first, coordinates {task.piece.coordinates}, "
        f"with {type(error).__name__}: {error}"
    )


def as_run(whole: Experiment, result: Computed) -> Run:
    """The run that was merged in memory."""
    status, message = ending(whole, result.diverged_at)
    states = None if result.states is None else tuple(result.states)
    run = Run(
        whole.records, dict(result.observed), status, message, result.diverged_at, states,
        result.stats, whole,
    )  # fmt: skip
    return run if whole.listed else run.only_setting()
