"""The task of a worker: some points of a sweep, solved, and their results written or returned."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..foundation.validation import InputError
from ..machine.free_memory import available_bytes
from ..machine.packing import unpacked
from ..machine.parallel import threads_limited
from . import folder as files
from .arguments import Arguments
from .grouping import families
from .kinds import warm as warm_kind
from .plan import Plan, fill, package_version


class Task(NamedTuple):
    """The message that a worker is sent: the points that it computes."""

    version: str
    """The version of the package that plans; another one may give other numbers."""
    digest: str
    points: tuple[int, ...]
    """Numbers of the points in the plan."""
    memory: float
    """Bytes that they take, by estimate."""
    threads: int
    folder: Path | None
    """Where the plan is, and results go; without it the plan is sent, and results are returned."""
    plan: bytes | None
    """A plan of these points alone, packed."""


class Report(NamedTuple):
    """The answer that a worker returns."""

    failures: list[tuple[int, str]]
    """Points that have no results, and why."""
    rows: NDArray[Any] | None
    """The results, if they are not in a file."""


def solve(task: Task) -> Report:
    """Solve the points of a task; those that fail do not keep the others from being done.

    Raises
    ------
    InputError
        If this worker has another version, cannot read the folder, or has too little memory.
    """
    plan, numbers = _opened(task)
    _check_memory(task.memory)
    failures: list[tuple[int, str]] = []
    rows = plan.empty_rows(task.points)
    row_of = {number: k for k, number in enumerate(numbers)}
    with threads_limited(task.threads):
        for family in families(plan, numbers):
            for some in _solved_together(plan, family):
                for number, result in some.items():
                    k = row_of[number]
                    if isinstance(result, Exception):
                        failures.append((task.points[k], _reason(result)))
                    else:
                        fill(rows, k, result)
    failed = {point for point, _ in failures}
    done = rows[[point not in failed for point in task.points]]
    if task.folder is None:
        return Report(failures, done)
    if done.size:
        files.write_rows(task.folder, task.digest, done)
    return Report(failures, None)


def start() -> None:
    """Do nothing; a worker that is called has started and imported what it needs for tasks."""


def warm(task: Task) -> None:
    """Compile what the first point of a task needs."""
    plan, numbers = _opened(task)
    with threads_limited(task.threads):
        warm_kind(plan.kind, plan.arguments(numbers[0]))


def _opened(task: Task) -> tuple[Plan, Sequence[int]]:
    """Return the plan of a task, and the numbers of its points in it."""
    if task.version != package_version():
        raise InputError(
            f"a worker has nqm-fast {package_version()}, and the sweep was planned with "
            f"{task.version}: install the same on all machines"
        )
    if task.folder is not None:
        return files.load_plan(task.folder, task.digest), task.points
    assert task.plan is not None
    return unpacked(task.plan), range(len(task.points))


def _solved_together(plan: Plan, family: Sequence[int]) -> list[dict[int, Any]]:
    """Solve points at once, or, if that fails, each alone, to find out which it is that fails."""
    try:
        arguments: list[Arguments] = [plan.arguments(number) for number in family]
        return [dict(zip(family, plan.kind.solve(arguments), strict=True))]
    except Exception as error:  # Algorithms of others raise what they like.
        if len(family) == 1:
            return [{family[0]: error}]
        return [part for number in family for part in _solved_together(plan, [number])]


def _reason(error: Exception) -> str:
    """Write an error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def _check_memory(needed: float) -> None:
    """Make sure that a task fits into what is free, before it starts.

    Raises
    ------
    InputError
        If it does not.
    """
    room = min(available_bytes(), _limit_of_dask())
    if needed > room:
        raise InputError(
            f"a task of this sweep needs about {needed / 1e9:.1f} GB of memory, but its worker has "
            f"{room / 1e9:.1f} GB: use fewer replicas or records, or workers with more memory"
        )


def _limit_of_dask() -> float:
    """Return the bytes that a worker of Dask grants each of its threads, if this is one."""
    if "distributed" not in sys.modules:
        return float("inf")
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return float("inf")
    limit = worker.memory_manager.memory_limit
    return float("inf") if not limit else limit / max(worker.state.nthreads, 1)
