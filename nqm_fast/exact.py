"""The exact model: expected risk at any step, for any linear algorithm."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import kernels
from .algorithms import Algorithm, Recurrence, as_algorithm
from .checks import Array, InputError, integer, shown, step_array
from .problem import Block, Problem
from .progress import track
from .schedules import WINDOW, Schedule, as_schedule, check_length, runs

BLOCK = 1 << 16  # coordinates worked on at a time: their arrays stay in cache


class Arrays(NamedTuple):
    """A recurrence over a block of coordinates, as the kernels take it."""

    q: tuple[float, ...]
    start: tuple[float, ...]
    values: Array
    place: NDArray[np.int64]
    scale: Array


class Settings(NamedTuple):
    """Consecutive runs of constant settings, as the kernels take them."""

    begin: NDArray[np.int64]
    length: NDArray[np.int64]
    weights: Array
    inverse_batch: Array
    is_constant: bool  # one run for ever


def as_arrays(recurrence: Recurrence, size: int) -> Arrays:
    """Collect the entries that are not zero; column n of `place` is the kick."""
    n = len(recurrence.read)
    place: list[tuple[int, int, int, int]] = []
    scale: list[float] = []
    sources: dict[int, Array] = {}
    order: dict[int, int] = {}
    for term, (matrix, kick) in enumerate(recurrence.terms):
        for row in range(n):
            for column, entry in enumerate([*matrix[row], kick[row]]):
                factor, array = entry if isinstance(entry, tuple) else (1.0, entry)
                if isinstance(array, np.ndarray):
                    sources[id(array)] = array
                    source = order.setdefault(id(array), len(order))
                    place.append((term, row, column, source))
                    scale.append(factor)
                elif array:
                    place.append((term, row, column, -1))
                    scale.append(array)
    rows = list(sources.values())
    return Arrays(
        tuple(float(x) for x in recurrence.read),
        tuple(float(x) for x in recurrence.start),
        rows[0][None] if len(rows) == 1 else np.array(rows).reshape(-1, size),
        np.array(place, dtype=np.int64),
        np.array(scale, dtype=np.float64),
    )


def settings(algorithm: Algorithm, batch_size: Schedule, stop: int) -> Iterator[Settings]:
    """The algorithm's runs over steps 0 .. stop - 1."""
    same = (math.inf, True)
    if (
        not algorithm.depends_on_step
        and algorithm.lr.piece(0) == same
        and batch_size.piece(0) == same
    ):
        zero = np.zeros(1, dtype=np.int64)
        weights = np.ascontiguousarray(algorithm.weights(algorithm.lr.values(zero), zero))
        inverse_batch = 1.0 / batch_size.values(zero)
        yield Settings(zero, np.array([max(stop, WINDOW)]), weights, inverse_batch, True)
        return
    for part in runs(algorithm.lr, batch_size, stop, merge=not algorithm.depends_on_step):
        weights = np.ascontiguousarray(algorithm.weights(part.lr, part.start))
        yield Settings(part.start, part.length, weights, 1.0 / part.batch_size, False)


def as_problem(value: object) -> Problem:
    """`value` if it is a problem."""
    if not isinstance(value, Problem):
        raise InputError(
            f"problem must be a Problem such as nqm.Problem.power_law(10000), not {shown(value)}"
        )
    return value


class Piece(NamedTuple):
    """Some runs, and the records (run, offset) that fall into them."""

    runs: Settings
    record_run: NDArray[np.int64]
    record_offset: NDArray[np.int64]
    is_last: bool


def with_records(parts: Iterator[Settings], steps: NDArray[np.int64]) -> Iterator[Piece]:
    """Give every part of the timeline the records (ascending steps) that fall into it."""
    taken = 0
    for part in parts:
        end = part.begin[-1] + part.length[-1]
        is_last = bool(end >= steps[-1])
        stop = steps.size if is_last else int(np.searchsorted(steps, end))
        mine = steps[taken:stop]
        run = np.searchsorted(part.begin, mine, side="right") - 1
        yield Piece(part, run, mine - part.begin[run], is_last)
        taken = stop


def block_risk(block: Block, algorithm: Algorithm, pieces: Iterable[Piece]) -> Array:
    """Risk of one block at the records of `pieces`, shape (records,)."""
    size = block.h.size
    arrays = as_arrays(algorithm.recurrence(block.h), size)
    pieces = iter(pieces)
    first = next(pieces)
    if first.runs.is_constant:
        weights, inverse_batch = first.runs.weights[0], first.runs.inverse_batch[0]
        partial = constant_partials(block, arrays, weights, inverse_batch, first.record_offset)
        return np.asarray(partial.sum(axis=1))
    moments = kernels.load_moments()
    n = len(arrays.q)
    carried = np.empty((n + n * (n + 1) // 2, 0))
    risk = []
    for number, piece in enumerate(chain([first], pieces)):
        if number == 0 and not piece.is_last:
            carried = np.empty((carried.shape[0], size))
        partial = np.empty((piece.record_run.size, -(-size // moments.TILE)))
        moments.propagate(
            *arrays,
            piece.runs.weights,
            piece.runs.inverse_batch,
            piece.runs.length,
            piece.record_run,
            piece.record_offset,
            *block[:4],
            carried,
            number == 0,
            piece.is_last,
            partial,
        )
        risk.append(partial.sum(axis=1))
    return np.concatenate(risk)


def constant_partials(
    block: Block, arrays: Arrays, weights: Array, inverse_batch: float, steps: NDArray[np.int64]
) -> Array:
    """Risk of every tile of a block under constant settings, shape (steps, tiles)."""
    fields = block[:4]
    if len(arrays.q) == 1:
        closed = kernels.load_closed_form()
        partial = np.empty((steps.size, -(-block.h.size // closed.TILE)))
        start, q = arrays.start[0], arrays.q[0]
        closed.constant_risk(start, q, *arrays[2:], weights, inverse_batch, steps, *fields, partial)
        return partial
    moments = kernels.load_moments()
    partial = np.empty((steps.size, -(-block.h.size // moments.TILE)))
    moments.propagate(
        *arrays,
        weights[None],
        np.array([inverse_batch]),
        np.array([max(int(steps[-1]), WINDOW)]),
        np.zeros(steps.size, dtype=np.int64),
        steps,
        *fields,
        np.empty((0, 0)),
        True,
        True,
        partial,
    )
    return partial


def expected_risk(
    problem: Problem,
    algorithm: Algorithm,
    batch_size: ArrayLike | Schedule,
    steps: ArrayLike,
) -> Any:
    """Expected excess risk ``1/2 sum count h E[w_t^2]`` after the given numbers of steps.

    Exact: the second moments of the recurrence are composed by repeated squaring
    (constant settings cost log2(t)); varying settings are stepped once for all records.
    Step 0 is the initial iterate. For plain SGD this is the closed form of Zhang et al.
    2019, section 3; for momentum and averaging, what their Theorems 1 and 2 bound.

    Parameters
    ----------
    problem : Problem
        With d coordinates.
    algorithm : Algorithm
        Such as ``nqm.SGD(0.1, momentum=0.9)``.
    batch_size : number, array_like of shape (steps,), or schedule
        Samples per step, >= 1.
    steps : array_like of int
        Any shape, any order, >= 0.

    Returns
    -------
    float or ndarray
        Excess risk, of the shape of `steps`; inf where it exceeds the range of a double.

    Raises
    ------
    InputError
        If an argument is outside its limits, or a schedule given as an array is shorter
        than the largest step.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> risk = nqm.expected_risk(nqm.Problem([1.0]), nqm.SGD(0.5), batch_size=1, steps=[0, 1])
    >>> risk.tolist()
    [0.5, 0.25]
    """
    as_problem(problem)
    as_algorithm("algorithm", algorithm)
    batch = as_schedule("batch_size", batch_size, least=1.0)
    asked = step_array("steps", steps)
    if not asked.size:
        return np.zeros(asked.shape)
    ordered, position = np.unique(asked, return_inverse=True)
    last = int(ordered[-1])  # at least one run, so that step 0 has a place
    check_length("lr", algorithm.lr, last)
    check_length("batch_size", batch, last)

    def timeline() -> Iterator[Piece]:
        return with_records(settings(algorithm, batch, max(last, 1)), ordered)

    # long timelines are made anew for every block rather than held
    start = list(islice(timeline(), 2))

    def part(begin: int) -> Array:
        block = problem.block(begin, min(begin + BLOCK, problem.dim))
        return block_risk(block, algorithm, start if start[0].is_last else timeline())

    with np.errstate(over="ignore"):
        risk = np.sum(in_threads(part, range(0, problem.dim, BLOCK), "expected risk"), axis=0)
    answer = risk[position].reshape(asked.shape)
    return answer if asked.ndim else float(answer)


def in_threads(function: Callable[[int], Any], items: range, what: str) -> list[Any]:
    """Map over `items` in order, on all cores: the kernels do not hold the interpreter lock."""
    threads = min(cores(), len(items))
    if threads < 2:
        return list(track(map(function, items), len(items), what))
    with ThreadPoolExecutor(threads) as pool:
        return list(track(pool.map(function, items), len(items), what))


def cores() -> int:
    """Cores to use: those the system grants, unless NQM_NUM_THREADS says otherwise."""
    chosen = os.environ.get("NQM_NUM_THREADS")
    if chosen is not None:
        return integer("NQM_NUM_THREADS", int(chosen) if chosen.isdecimal() else chosen, least=1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
