"""What a Monte Carlo backend is: one module with the five functions below.

Backends are `reference` (NumPy), `numba_cpu`, `cython_cpu` and `cuda_gpu`. They give the same
bits, because noise is a pure function (see `noise`), every other operation is spelled out here
and in them in one order of IEEE operations, and sums over coordinates are one fixed tree: a leaf
of 64 is folded in halves (j with j + 32, then with j + 16, ...), neighbouring leaves are added in
pairs.

``philox4x32(counters, keys)``
    Words of the generator: uint32 arrays (m, 4) and (m, 2) to (m, 4).
``normals(words)``
    uint32 (m, 4) to float32 (m, 4), for the tests of the transform.
``start(noise, mean, deviation, workers)``
    ``w_0 = mean + deviation z``, shape (replicas, d).
``advance(noise, model, timeline, state, alive, workers)``
    Step `state` (settings, replicas, n, d) in place over the timeline. Returns the risk at its
    records, (records, settings, replicas, 1 + bands), and for every setting and replica the
    first step at which a coordinate's risk exceeded `LIMIT` (or -1), looked for only where
    it does so at the end. A setting that is not `alive` (settings, replicas) is left alone.
``leap(noise, model, timeline, state, alive, workers)``
    The same by one Gaussian draw from each segment's end or record to the next.

`workers` is how many threads, or which devices. A backend that keeps states in a memory of its own,
or computes while Python goes on, has a class `Held` too, which inherits from the one here.

With D = A - I and b added up from the entries of a setting, a step is, in this order,

    s_a + (((b_a (sigma amplitude) z + D_a0 s_0) + (D_a1 s_1 + D_a2 s_2)) + ...)

and the risk of a coordinate ``(weight x) x`` with ``x = q_0 s_0 + q_1 s_1 + ...``.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAF = 64  # coordinates in a leaf of the sums; arrays over coordinates have whole leaves
TILE = 8 * LEAF  # what a backend may work on at a time, if there are that many coordinates
NO_STEP = np.iinfo(np.int64).max  # as a step, where the first of several is looked for
LIMIT = 1e290  # risk of one coordinate beyond which a setting has diverged


class Noise(NamedTuple):
    """Which noise: the stream, and how many samples of it make a step."""

    key: NDArray[np.uint64]  # low and high half of the seed
    replicas: Ints
    first: int  # number of the first coordinate
    data: int  # a code of noise.DATA
    summed: bool  # every sample is drawn, and their sum used; otherwise one draw a step
    exponent: np.float32  # 2 / df of Student's t


class Formula(NamedTuple):
    """Curvatures ``h_i = 1 / i`` of coordinates from `first` on, whose noise is h too.

    It stands for a model's arrays over coordinates, which are empty: `values` is h alone.
    """

    first: int
    size: int
    edges: Floats  # (bands + 1,), or none


class Model(NamedTuple):
    """Settings of n components each, on d coordinates (padded with zeros to whole leaves)."""

    entries: Ints  # (entries, 4): term, row, column (n for b), row of values or -1
    offsets: Ints  # (settings + 1,): whose the entries are
    factors: Floats  # (entries,)
    values: Floats  # (arrays, d)
    sigma: Floats  # (d,) standard deviation of the per-sample gradient
    weight: Floats  # (d,) h / 2
    band: Ints  # (d,) number of the band a coordinate belongs to, from 1
    bands: int
    read: Floats  # (settings, n)


class Timeline(NamedTuple):
    """Steps `begin` .. `end` - 1, in segments of constant settings."""

    begin: int
    end: int
    segment_end: Ints  # (segments,), ascending, the last is `end`
    weights: Floats  # (segments, settings, terms)
    amplitude: Floats  # (segments, settings): what the drawn noise is multiplied with
    samples: Ints  # (segments, settings): how many are summed
    records: Ints  # ascending, within begin .. end


class Held:
    """The state of some coordinates under all settings of a model, on its way through the steps.

    `launch` says how far to go next, and `collect` gives what `advance` or `leap` return, and the
    seconds that took, without compiling. What `read` gives is the state as last collected,
    (settings, replicas, n, d).
    """

    beside = False  # whether anything is computed between `launch` and `collect`
    formulas = False  # whether curvatures may be a `Formula`
    block_bytes = 1 << 22  # of states that are best worked on at a time
    most_components = math.inf  # of a state
    leap_arrays = 0  # over coordinates, for each element of a matrix, that leaps are held in

    @staticmethod
    def devices() -> list[str]:
        """Names of the devices that there are to choose from."""
        return []

    @staticmethod
    def free_memory(workers: Any) -> float:
        """Bytes that states can take, beside the process's memory."""
        return math.inf

    def __init__(
        self,
        backend: Any,
        noise: Noise,
        model: Model,
        state: Floats,
        workers: Any,
        formula: Formula | None = None,
    ) -> None:
        assert formula is None
        self.backend, self.noise, self.model = backend, noise, model
        self.state, self.workers = state, workers

    def launch(self, timeline: Timeline, alive: NDArray[np.bool_], leaps: bool) -> None:
        """Go through the timeline; `alive` is (settings, replicas)."""
        self.next = timeline, alive, leaps

    def collect(self) -> tuple[Floats, Ints, float]:
        """Risk at the timeline's records, first steps of divergence, seconds."""
        from . import compile_seconds

        timeline, alive, leaps = self.next
        move = self.backend.leap if leaps else self.backend.advance
        begin = time.perf_counter() - compile_seconds()
        risk, first = move(self.noise, self.model, timeline, self.state, alive, self.workers)
        return risk, first, time.perf_counter() - compile_seconds() - begin

    def read(self) -> Floats:
        """The state; a copy if anything is computed `beside`, else it may change later."""
        return self.state

    def write(self, state: Floats) -> None:
        """Set the state."""
        self.state[:] = state


def holder(backend: Any) -> type[Held]:
    """What holds the states of a backend."""
    found: type[Held] = getattr(backend, "Held", Held)
    return found


def empty_result(model: Model, timeline: Timeline, replicas: int) -> tuple[Floats, Ints]:
    """Space for what `advance` and `leap` return."""
    settings = len(model.read)
    risk = np.zeros((timeline.records.size, settings, replicas, 1 + model.bands))
    return risk, np.full((settings, replicas), -1, dtype=np.int64)


def padded(size: int) -> int:
    """`size` rounded up to whole tiles, or whole leaves where that wastes much."""
    tiles, leaves = -(-size // TILE) * TILE, -(-size // LEAF) * LEAF
    return tiles if 4 * tiles <= 5 * leaves else leaves
