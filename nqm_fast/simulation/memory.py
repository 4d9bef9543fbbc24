"""The memory of a run: how many coordinates are held at a time, and whether they fit."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..foundation.validation import InputError
from ..kernels.contract import padded
from ..machine.free_memory import available_bytes
from .recorder import SavedArrays
from .task import Task, block_size, traced_ranges

SMALL = 1 << 22
"""Bytes that every process has room for: what is free is not asked for, which takes 0.1 ms."""


class LoopOrder(NamedTuple):
    """The order of the loops: all coordinates at once, or a block of them through all steps."""

    in_blocks: bool
    coordinates: int  # that are held at a time


def held_bytes(task: Task, coordinates: int) -> int:
    """Bytes that the arrays over so many coordinates take, in memory or on a device."""
    weights = len(task.layout.weights)
    periods = sum(2 * group.components**2 * len(group.periods) for group in task.groups)
    arrays = 2 * task.numbers_per_coordinate + task.replica_count
    arrays += 7 + weights + 2 * task.setting_count + periods
    if task.leaps:
        largest = max(group.components for group in task.groups)
        arrays += task.backend.leap_numbers(largest)
    return 8 * padded(coordinates) * arrays


def choose_order(task: Task, keep_state: bool, most_bytes: int) -> LoopOrder:
    """Work in blocks if all coordinates take over `most_bytes`, or much of the free memory."""
    dim = task.problem.dim
    held = held_bytes(task, dim)
    if keep_state or held <= min(most_bytes, SMALL):
        return LoopOrder(False, dim)
    free = task.backend.free_memory(task.workers)
    if held <= min(most_bytes, available_bytes() // 4, free / 2):
        return LoopOrder(False, dim)
    return LoopOrder(True, min(block_size(task), dim))


def saved_order(task: Task, saved: SavedArrays) -> LoopOrder:
    """The order in which a run was begun, and in which it must be resumed on any machine."""
    if "blocks" not in saved:
        return LoopOrder(False, task.problem.dim)
    return LoopOrder(True, min(int(saved["blocks"][2]), task.problem.dim))


def check_memory(task: Task, order: LoopOrder, keep_state: bool) -> None:
    """Make sure that a run fits.

    Raises
    ------
    InputError
        If it takes more memory than there is, or is more than the backend can do.
    """
    backend = task.backend
    largest = max(group.components for group in task.groups)
    if largest > backend.most_components:
        raise InputError(
            f"algorithm must have at most {backend.most_components} components for this backend, "
            f"not {largest}: use another backend"
        )
    in_blocks = ", or keep_state=False, which works through the coordinates in blocks"
    results = 16 * task.records.size * math.prod(task.record_shape)
    traced = sum(b - a for a, b in traced_ranges(task.traced, 0, task.problem.dim))
    held = held_bytes(task, order.coordinates) + (held_bytes(task, traced) if traced else 0)
    needed = results + held
    if needed <= SMALL:
        return
    available = available_bytes()
    if needed > available:
        change = "record fewer steps" if results > needed / 2 else "use fewer replicas or settings"
        if 2 * task.layout.traced > len(task.layout.rows):
            change += ", or fewer coordinates in trajectory"
        if keep_state and results <= needed / 2:
            change += in_blocks
        raise InputError(
            f"this run needs about {needed / 1e9:.1f} GB of memory, but {available / 1e9:.1f} GB "
            f"are available: {change}"
        )
    free = backend.free_memory(task.workers)
    if held > free:
        raise InputError(
            f"this run needs about {held / 1e9:.1f} GB of the GPU's memory, of which "
            f"{free / 1e9:.1f} GB are free: use more devices, or fewer replicas or settings"
            f"{in_blocks if keep_state else ''}"
        )
