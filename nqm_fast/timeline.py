"""Schedules cut into segments, which are runs of steps with constant settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .schedules import Schedule
from .validation import Array, InputError, counted


def pieces(schedule: Schedule, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (first step, end, whether constant) of each piece of the steps begin .. end - 1."""
    while begin < end:
        piece_end, is_constant = schedule.piece(begin)
        piece_end = int(min(piece_end, end))
        yield begin, piece_end, is_constant
        begin = piece_end


WINDOW = 1 << 15
"""Steps of a varying schedule that are held as arrays at a time, which bounds the memory."""


class Segments(NamedTuple):
    """Consecutive segments of steps, each with constant settings."""

    start: NDArray[np.int64]
    """First step of each segment, shape (segments,) like all fields."""
    length: NDArray[np.int64]
    """Number of steps."""
    lr: Array
    batch_size: Array


def segments(
    lr: Schedule, batch_size: Schedule, stop: int, *, merge: bool = True
) -> Iterator[Segments]:
    """Cut steps 0 .. stop - 1 into segments of constant settings, about `WINDOW` at a time.

    With ``merge=False`` every step is a segment, for algorithms that depend on the step itself.
    """
    waiting: list[Segments] = []
    begin = 0
    while begin < stop:
        lr_end, lr_is_constant = lr.piece(begin)
        batch_end, batch_is_constant = batch_size.piece(begin)
        # A segment keeps its whole length even beyond `stop`: the order of the kernels' operations
        # depends on it, and an answer must not depend on how many steps are asked for.
        end = int(min(lr_end, batch_end, max(stop, begin + WINDOW)))
        if lr_is_constant and batch_is_constant and merge:
            starts = np.array([begin])
        else:
            end = min(end, begin + WINDOW)
            starts = np.arange(begin, end)
        rates, batches = lr.values(starts), batch_size.values(starts)
        if merge:
            differs = np.ones(starts.size, dtype=bool)
            differs[1:] = (rates[1:] != rates[:-1]) | (batches[1:] != batches[:-1])
            starts, rates, batches = starts[differs], rates[differs], batches[differs]
        waiting.append(Segments(starts, np.diff(starts, append=end), rates, batches))
        begin = end
        if sum(part.start.size for part in waiting) >= WINDOW or begin >= stop:
            yield Segments(*(np.concatenate(column) for column in zip(*waiting, strict=True)))
            waiting = []


def check_length(name: str, schedule: Schedule, steps: int) -> None:
    """Raise an InputError unless the schedule covers `steps` steps."""
    if schedule.length < steps:
        hint = ": an array has one value for each step" if name == "batch_size" else ""
        raise InputError(
            f"{name} has values for {counted(int(schedule.length), 'step')}, but {steps} are asked "
            f"for{hint}"
        )
