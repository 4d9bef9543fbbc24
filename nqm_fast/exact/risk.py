"""The exact model: expected risk at any step, for any linear algorithm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import kernels
from ..algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ..algorithms.sparse import SparseRecurrence, sizes_of
from ..certified_sums import coordinate_sums
from ..coordinates.blocks import Block, joined_blocks
from ..foundation.validation import Array, step_array
from ..machine.backends import takes_backend
from ..machine.parallel import in_threads
from ..problem import Problem, as_problem
from ..schedules import Schedule, as_schedule
from ..schedules.timeline import WINDOW, ordered_records
from .coupled.risk import coupled_risk
from .data.data_noise import data_risk
from .data.population import population_batch
from .periodic import engine_recurrence
from .timeline import RecordedSegments, recorded_segments
from .units import alike, block_in_units, is_moderate, is_ordinary, recurrence_with_units

WORTH_A_THREAD = 1 << 12
"""Coordinates that take longer than the start of a thread."""


def block_risk(
    block: Block, algorithm: LinearAlgorithm, timeline: Iterable[RecordedSegments]
) -> Array:
    """Compute the risk of a block of coordinates at all records, shape (records,)."""
    return np.asarray(tile_risks(block, algorithm, timeline).sum(axis=1))


def tile_risks(
    block: Block, algorithm: LinearAlgorithm, timeline: Iterable[RecordedSegments]
) -> Array:
    """Compute the risk of each tile of a block at all records, shape (records, tiles)."""
    recurrence = engine_recurrence(algorithm, block.h)
    timeline = iter(timeline)
    first = next(timeline)
    if first.segments.is_constant:
        weights, inverse_batch = first.segments.weights[0], first.segments.inverse_batch[0]
        return constant_partials(block, recurrence, weights, inverse_batch, first.record_offset)
    return partials(block, recurrence, chain([first], timeline))


def partials(
    block: Block, recurrence: SparseRecurrence, timeline: Iterable[RecordedSegments]
) -> Array:
    """Compute the risk of each tile of a block at all records, shape (records, tiles)."""
    size = block.h.size
    moments = kernels.fastest_backend().moments
    n = len(recurrence.read)
    carried = np.empty((2, n + n * (n + 1) // 2, 0))
    risk = []
    for number, part in enumerate(timeline):
        if number == 0 and not part.is_last:
            carried = np.empty((*carried.shape[:2], size))
        partial = np.empty((part.record_segment.size, -(-size // moments.TILE)))
        moments.propagate(
            *recurrence,
            part.segments.weights,
            part.segments.inverse_batch,
            part.segments.length,
            part.record_segment,
            part.record_offset,
            *block[:4],
            carried,
            number == 0,
            part.is_last,
            partial,
        )
        risk.append(partial)
    return np.concatenate(risk)


def constant_partials(
    block: Block,
    recurrence: SparseRecurrence,
    weights: Array,
    inverse_batch: float,
    steps: NDArray[np.int64],
) -> Array:
    """Compute the risk of each tile of a block under constant settings, shape (steps, tiles)."""
    fields = block[:4]
    backend = kernels.fastest_backend()
    if len(recurrence.read) == 1:
        closed = backend.closed_form
        partial = np.empty((steps.size, -(-block.h.size // closed.TILE)))
        start, read = recurrence.start[0], recurrence.read[0]
        closed.constant_risk(
            start, read, *recurrence[2:], weights, inverse_batch, steps, *fields, partial
        )
        return partial
    moments = backend.moments
    partial = np.empty((steps.size, -(-block.h.size // moments.TILE)))
    moments.propagate(
        *recurrence,
        weights[None],
        np.array([inverse_batch]),
        np.array([max(int(steps[-1]), WINDOW)]),
        np.zeros(steps.size, dtype=np.int64),
        steps,
        *fields,
        np.empty((2, 0, 0)),
        True,
        True,
        partial,
    )
    return partial


@takes_backend
def expected_risk(
    problem: Problem,
    algorithm: Algorithm,
    batch_size: ArrayLike | Schedule,
    steps: ArrayLike,
    *,
    backend: str = "auto",
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
    backend : {"auto", "numba", "cython", "numpy"}
        "auto" is what the environment variable NQM_BACKEND names, or the one that has the answer
        soonest. All give the same bits, but NumPy, whose sums differ by 1e-13.

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
    algorithm = as_algorithm("algorithm", algorithm)
    batch = as_schedule("batch_size", batch_size, least=1.0)
    asked = step_array("steps", steps)
    if not asked.size:
        return np.zeros(asked.shape)
    ordered, position = ordered_records(asked, algorithm.schedules | {"batch_size": batch})
    if problem.noise_model is None:
        risk = coordinate_sums(problem, RiskSums(algorithm, batch, ordered), "expected risk")
    elif problem.noise_model.is_data:
        risk = data_risk(problem, algorithm, batch, ordered)
    elif not problem.noise_model.is_coupled:
        with_population = population_batch(problem, batch)
        risk = expected_risk(problem.with_noise(None), algorithm, with_population, ordered)
    else:
        sums = partial(RiskSums, algorithm, batch)
        risk = coupled_risk(problem, algorithm, batch, ordered, sums)
    answer = risk[position].reshape(asked.shape)
    return answer if asked.ndim else float(answer)


class RiskSums:
    """The risk of blocks of coordinates at some steps, as `certified_sums` takes it."""

    def __init__(
        self, algorithm: LinearAlgorithm, batch_size: Schedule, steps: NDArray[np.int64]
    ) -> None:
        """Take steps in ascending order, at least one."""
        self.algorithm, self.batch_size, self.steps = algorithm, batch_size, steps
        self.rows = steps.size
        self._starts: dict[bytes, list[RecordedSegments]] = {}

    def __call__(self, blocks: Sequence[Block], rows: NDArray[np.intp]) -> Array:
        """Compute the risk of each block at steps of the given indices, shape (rows, blocks)."""
        risks, moderate = self._sums(blocks, rows)
        with np.errstate(over="ignore"):
            if moderate and is_ordinary(risks.sum(axis=1)):
                return risks
        return np.stack([self._sums_in_units(block, rows) for block in blocks], axis=1)

    def _sums(self, blocks: Sequence[Block], rows: NDArray[np.intp]) -> tuple[Array, bool]:
        """Compute the risk of each block, (rows, blocks), and whether all blocks are moderate."""
        if len(blocks) == 1:
            partial = self._tiles(blocks[0], rows).sum(axis=1, keepdims=True)
            return np.asarray(partial), is_moderate(blocks[0])
        tile = tile_size(self.algorithm)
        first = np.cumsum([0] + [-(-block.h.size // tile) for block in blocks])
        # Whole blocks are joined for each call of a kernel, which is worth a thread if it is long.
        parts = -(-first[-1] * tile // WORTH_A_THREAD)
        groups = np.unique(np.searchsorted(first, np.linspace(0, first[-1], parts + 1)))

        def risks(k: int) -> tuple[Array, bool]:
            low, high = int(groups[k]), int(groups[k + 1])
            joined = joined_blocks(blocks[low:high], tile)
            partial = self._tiles(joined, rows)
            # The kernel for varying settings may have smaller tiles, of which blocks are whole too.
            per_tile = partial.shape[1] // (first[high] - first[low])
            starts = per_tile * (first[low:high] - first[low])
            return np.asarray(np.add.reduceat(partial, starts, axis=1)), is_moderate(joined)

        found, moderate = zip(
            *in_threads(risks, range(len(groups) - 1), "expected risk"), strict=True
        )
        return np.concatenate(found, axis=1), all(moderate)

    def _sums_in_units(self, block: Block, rows: NDArray[np.intp]) -> Array:
        """Compute the risk of a block where products leave the range on the way, shape (rows,)."""
        risks = np.zeros(rows.size)
        block = Block(*(np.broadcast_to(field, block.h.shape) for field in block))
        for chosen in alike(block):
            part = Block(*(np.ascontiguousarray(field[chosen]) for field in block))
            timeline = self._timeline(self.steps[rows])
            first = next(timeline)
            weights = first.segments.weights
            units, recurrence = recurrence_with_units(part, self.algorithm, weights)
            scaled = block_in_units(part, units)
            with np.errstate(over="ignore"):
                risks += partials(scaled, recurrence, chain([first], timeline)).sum(axis=1)
        return risks

    def _tiles(self, block: Block, rows: NDArray[np.intp]) -> Array:
        """Compute the risk of each tile of a block, shape (rows, tiles)."""
        steps = self.steps[rows]
        # A timeline of one part is made once. A longer one is made again for each block, as holding
        # all of its parts could fill the memory.
        start = self._starts.get(steps.tobytes())
        if start is None:
            start = self._starts[steps.tobytes()] = list(islice(self._timeline(steps), 2))
        timeline = start if start[0].is_last else self._timeline(steps)
        with np.errstate(over="ignore"):
            return tile_risks(block, self.algorithm, timeline)

    def _timeline(self, steps: NDArray[np.int64]) -> Iterator[RecordedSegments]:
        """Yield the timeline."""
        return recorded_segments(self.algorithm, self.batch_size, steps)


def tile_size(algorithm: LinearAlgorithm) -> int:
    """Return a number of coordinates that is whole tiles in all kernels for an algorithm."""
    backend = kernels.fastest_backend()
    is_scalar = sizes_of(algorithm).components == 1
    return math.lcm(backend.moments.TILE, backend.closed_form.TILE if is_scalar else 1)
