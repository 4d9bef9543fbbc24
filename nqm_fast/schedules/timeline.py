"""Schedules cut into segments, which are runs of steps with constant settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, InputError, any_array, counted, shown
from . import Constant, Schedule


def piece_at(schedule: Schedule, step: int) -> tuple[float, bool]:
    """Return the end of the piece that contains `step`, and whether it is constant.

    Schedules may be a user's own: one whose piece does not go on would be asked for ever.

    Raises
    ------
    InputError
        If `piece` does not return a later step, and whether the piece is constant.
    """
    if type(schedule) is Constant:
        return math.inf, True
    piece = schedule.piece(step)
    try:
        end, is_constant = piece
        goes_on = end > step and (math.isinf(end) or end == int(end))
    except (TypeError, ValueError):
        goes_on = False
    if not goes_on:
        raise InputError(
            f"{type(schedule).__name__}.piece({step}) must be a pair of a step after {step}, or "
            f"math.inf, and whether values are the same until there, not {shown(piece)}"
        )
    return end, bool(is_constant)


def values_at(schedule: Schedule, steps: NDArray[np.int64]) -> Array:
    """Return the values at the given steps, an array of their shape.

    Raises
    ------
    InputError
        If `values` does not return one number for each step.
    """
    if type(schedule) is Constant:
        return np.full(steps.shape, schedule.value)
    values = schedule.values(steps)
    array = any_array("values", values)
    if array.shape != steps.shape or array.dtype.kind not in "iuf" or np.isnan(array).any():
        raise InputError(
            f"{type(schedule).__name__}.values must return a number for each step, an array of "
            f"shape {steps.shape}, not {shown(values)}"
        )
    return np.asarray(array, dtype=np.float64)


def pieces(schedule: Schedule, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (first step, end, whether constant) of each piece of the steps begin .. end - 1."""
    while begin < end:
        piece_end, is_constant = piece_at(schedule, begin)
        piece_end = int(min(piece_end, end))
        yield begin, piece_end, is_constant
        begin = piece_end


WINDOW = 1 << 15
"""Steps of a varying schedule that are held as arrays at a time, which bounds the memory."""
LEAST_WINDOW = 1 << 8
"""The same at the first steps, so that few steps do not take the time of many."""


MOST_VARYING = 1 << 40
"""Steps in a row, each computed by itself, that take a day or more."""


class Segments(NamedTuple):
    """Consecutive segments of steps, each with constant settings."""

    start: NDArray[np.int64]
    """First step of each segment, shape (segments,) like all fields."""
    length: NDArray[np.int64]
    """Number of steps."""
    values: Array
    """Values of the schedules, shape (schedules, segments)."""


def segments(schedules: Sequence[Schedule], stop: int, *, merge: bool = True) -> Iterator[Segments]:
    """Cut steps 0 .. stop - 1 into segments of constant settings, about `WINDOW` at a time.

    With ``merge=False`` every step is a segment, for algorithms that depend on the step itself.

    Raises
    ------
    InputError
        If more than `MOST_VARYING` steps in a row differ, which would take for ever.
    """
    waiting: list[Segments] = []
    begin = 0
    while begin < stop:
        found = [piece_at(schedule, begin) for schedule in schedules]
        # A segment keeps its whole length even beyond `stop`: the order of the kernels' operations
        # depends on it, and an answer must not depend on how many steps are asked for.
        end = int(min(*(piece_end for piece_end, _ in found), max(stop, begin + WINDOW)))
        if merge and all(is_constant for _, is_constant in found):
            starts = np.array([begin])
        else:
            _check_varying(begin, min(stop, *(piece_end for piece_end, _ in found)))
            end = min(end, begin + min(max(begin, LEAST_WINDOW), WINDOW))
            starts = np.arange(begin, end)
        values = np.array([values_at(schedule, starts) for schedule in schedules])
        if merge:
            differs = np.ones(starts.size, dtype=bool)
            differs[1:] = (values[:, 1:] != values[:, :-1]).any(axis=0)
            starts, values = starts[differs], values[:, differs]
        waiting.append(Segments(starts, np.diff(starts, append=end), values))
        begin = end
        if sum(part.start.size for part in waiting) >= WINDOW or begin >= stop:
            yield Segments(*(np.concatenate(part, axis=-1) for part in zip(*waiting, strict=True)))
            waiting = []


def _check_varying(begin: int, end: float) -> None:
    """Raise an InputError if the steps begin .. end - 1 are too many to go through one by one."""
    if end - begin > MOST_VARYING:
        raise InputError(
            f"steps must be at most {MOST_VARYING} where settings change in every step, as these "
            f"are computed one by one, not {int(end) - begin}: schedules of constant pieces, such "
            "as schedules.Piecewise, have no such limit"
        )


def check_length(name: str, schedule: Schedule, steps: int) -> None:
    """Raise an InputError unless the schedule covers `steps` steps."""
    if schedule.length < steps:
        hint = ": an array has one value for each step" if name == "batch_size" else ""
        raise InputError(
            f"{name} has values for {counted(int(schedule.length), 'step')}, but {steps} are asked "
            f"for{hint}"
        )


def check_lengths(schedules: Mapping[str, Schedule], steps: int) -> None:
    """Raise an InputError unless all schedules, by name, cover `steps` steps."""
    for name, schedule in schedules.items():
        check_length(name, schedule, steps)


def shortest_length(schedules: Mapping[str, Schedule]) -> float:
    """Return the number of steps that all of the schedules cover."""
    return min(schedule.length for schedule in schedules.values())


def ordered_records(
    steps: NDArray[np.int64], schedules: Mapping[str, Schedule]
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return the different steps in ascending order, and where each of those asked for is there.

    Raises
    ------
    InputError
        If a schedule, by its name, ends before the last of them.
    """
    if steps.size == 1:
        ordered, position = steps.reshape(1), np.zeros(1, dtype=np.intp)
    else:
        ordered, position = np.unique(steps, return_inverse=True)
    check_lengths(schedules, int(ordered[-1]))
    return ordered, position
