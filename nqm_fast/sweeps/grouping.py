"""Points grouped into tasks that take long enough to be worth sending, and short enough to lose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from itertools import repeat
from typing import NamedTuple

import numpy as np

from ..foundation.immutable import comparable
from .kinds import Load
from .plan import Plan

TASK_SECONDS = 10.0
"""How long a task may take, by estimate: what a kill loses, unless a point takes longer."""
LEAST_SECONDS = 0.5
"""How long it shall take at least: sending it, and writing its file, takes milliseconds."""
TASKS_PER_WORKER = 4
"""Tasks that each worker shall have at least, so that all end at about the same time."""
MOST_POINTS = 4096
"""Points of a task, which a kill loses too."""
IDLE = frozenset(("target", "seed", "data", "df", "backend"))
"""Names on which the cost of a point hardly depends."""


class Group(NamedTuple):
    """The points of a task, and what they cost together."""

    points: tuple[int, ...]
    load: Load


def families(plan: Plan, points: Sequence[int]) -> list[list[int]]:
    """Put points together that are solved together, because they share one noise stream."""
    if not plan.kind.shares:
        return [[point] for point in points]
    alike: dict[object, list[int]] = defaultdict(list)
    for point, key in zip(points, _keys(plan, points, plan.names_of_settings), strict=True):
        alike[key].append(point)
    return list(alike.values())


def _keys(plan: Plan, points: Sequence[int], left_out: Set[str]) -> Iterator[object]:
    """Yield keys that are equal for points which differ only in the values of some names."""
    axes = plan.grid.axes
    where = plan.grid.indices(np.asarray(points, dtype=np.int64))
    kept = [name for name in axes if name not in left_out]
    columns = [where[name].tolist() for name in kept]
    for numbers in zip(*columns, strict=True) if kept else repeat((), len(points)):
        if plan.grid.listed:  # Each point has a number of its own, also where the values are alike.
            yield comparable([axes[name][k] for name, k in zip(kept, numbers, strict=True)])
        else:
            yield numbers


def grouped(plan: Plan, points: Sequence[int], workers: int) -> list[Group]:
    """Group points into tasks, the longest first.

    The groups depend on nothing else, so that several processes can share them.
    """
    ordered = [point for family in families(plan, points) for point in family]
    loads = _loads(plan, ordered)
    total = sum(load.seconds for load in loads)
    shared = total / (workers * TASKS_PER_WORKER)
    limit = min(max(shared, LEAST_SECONDS), TASK_SECONDS) * (1.0 + 1e-9)  # for rounding
    groups: list[Group] = []
    held: list[int] = []
    seconds = memory = 0.0

    def close() -> None:
        groups.append(Group(tuple(held), Load(seconds, memory)))
        held.clear()

    for point, load in zip(ordered, loads, strict=True):
        if held and (seconds + load.seconds > limit or len(held) == MOST_POINTS):
            close()
        if not held:
            seconds = memory = 0.0
        held.append(point)
        seconds += load.seconds
        # Points that are solved together are in memory together.
        memory = memory + load.memory if plan.kind.shares else max(memory, load.memory)
    if held:
        close()
    return sorted(groups, key=lambda group: -group.load.seconds)


def _loads(plan: Plan, points: Sequence[int]) -> list[Load]:
    """Return what points cost, computed once for those that cost about the same."""
    known: dict[object, Load] = {}
    loads = []
    for point, key in zip(points, _keys(plan, points, plan.names_of_settings | IDLE), strict=True):
        if key not in known:
            known[key] = plan.load(point)
        loads.append(known[key])
    return loads
