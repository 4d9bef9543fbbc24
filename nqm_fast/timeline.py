"""Time as the engines see it: schedules cut into segments of constant settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .schedules import Schedule
from .validation import Array, InputError


def pieces(schedule: Schedule, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """The pieces of steps begin .. end - 1: first step, end, and whether it is constant."""
    while begin < end:
        until, same = schedule.piece(begin)
        yield begin, int(min(until, end)), same
        begin = int(min(until, end))


WINDOW = 1 << 15  # steps of a varying schedule that are laid out at a time


class Segments(NamedTuple):
    """Consecutive segments of steps, each with constant settings."""

    start: NDArray[np.int64]
    length: NDArray[np.int64]
    lr: Array
    batch_size: Array


def segments(
    lr: Schedule, batch_size: Schedule, stop: int, *, merge: bool = True
) -> Iterator[Segments]:
    """Cut steps 0 .. stop - 1 into segments of constant settings, some thousands at a time.

    With ``merge=False`` every step is a segment, for algorithms that depend on the step itself.
    """
    held: list[Segments] = []
    begin = 0
    while begin < stop:
        (end_lr, same_lr), (end_batch, same_batch) = lr.piece(begin), batch_size.piece(begin)
        # A segment keeps its whole length even beyond `stop`: the order of the kernels' operations
        # depends on it, and an answer must not depend on how many steps are asked for.
        end = int(min(end_lr, end_batch, max(stop, begin + WINDOW)))
        if same_lr and same_batch and merge:
            starts = np.array([begin])
        else:
            end = min(end, begin + WINDOW)
            starts = np.arange(begin, end)
        a, b = lr.values(starts), batch_size.values(starts)
        if merge:
            new = np.ones(starts.size, dtype=bool)
            new[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
            starts, a, b = starts[new], a[new], b[new]
        held.append(Segments(starts, np.diff(starts, append=end), a, b))
        begin = end
        if sum(part.start.size for part in held) >= WINDOW or begin >= stop:
            yield Segments(*(np.concatenate(column) for column in zip(*held, strict=True)))
            held = []


def check_length(name: str, schedule: Schedule, steps: int) -> None:
    """The schedule covers `steps` steps."""
    if schedule.length < steps:
        raise InputError(
            f"{name} has values for {schedule.length:.0f} steps, but {steps} are asked for"
        )
