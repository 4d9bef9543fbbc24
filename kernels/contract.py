"""What a Monte Carlo backend is: the records that it is given, and the methods that it has.

Backends give the same bits, because noise is a pure function (see `noise`), every other operation
is spelled out here and in them in one order of IEEE operations, and sums over coordinates are one
fixed tree: a leaf of 64 is folded in halves (j with j + 32, then with j + 16, ...), neighbouring
leaves are added in pairs.

With D = A - I and b added up from the entries of a setting, a step is, in this order,

    s_a + (((b_a (sigma amplitude) z + D_a0 s_0) + (D_a1 s_1 + D_a2 s_2)) + ...)

and what a row of an observable adds up over coordinates is ``(weight x) x``, where x is the
evaluated iterate ``q_0 s_0 + q_1 s_1 + ...``.

The records are named tuples, which Numba takes as they are. The structs of C and the code that
fills them are generated from their annotations: an array's says how many axes it has.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAF = 64  # coordinates in a leaf of the sums; arrays over coordinates have whole leaves
TILE = 8 * LEAF  # what a backend may work on at a time, if there are that many coordinates
NO_STEP = np.iinfo(np.int64).max  # as a step, where the first of several is looked for
LIMIT = 1e290  # risk of one coordinate beyond which a setting has diverged
ALL = 0  # number of the group that has all coordinates


class Noise(NamedTuple):
    """Which noise: the stream, and how many samples of it make a step."""

    key: Annotated[NDArray[np.uint64], 1]  # low and high half of the seed
    replicas: Annotated[Ints, 1]
    first: int  # number of the first coordinate
    law: int  # the code of a noise.Law
    summed: bool  # every sample is drawn, and their sum used; otherwise one draw a step
    parameter: np.float32  # of the law, if it has one


class Formula(NamedTuple):
    """Curvatures ``h_i = 1 / i`` of coordinates from `first` on, whose noise is h too.

    It stands for a model's arrays over coordinates, which are empty: `values` is h alone.
    """

    first: int
    size: int
    edges: Floats  # (bands + 1,), or none


class Model(NamedTuple):
    """Settings of n components each, on d coordinates (padded with zeros to whole leaves)."""

    entries: Annotated[Ints, 2]  # (entries, 4): term, row, column (n for b), row of values or -1
    offsets: Annotated[Ints, 1]  # (settings + 1,): where each setting's entries begin
    factors: Annotated[Floats, 1]  # (entries,)
    values: Annotated[Floats, 2]  # (arrays, d)
    sigma: Annotated[Floats, 1]  # (d,) standard deviation of the per-sample gradient
    weight: Annotated[Floats, 2]  # (weights, d) of observables; the first is h / 2, the risk's
    rows: Annotated[Ints, 2]  # (rows, 2): what is recorded, by number of weight and of group
    group: Annotated[Ints, 1]  # (d,) number of the group of a coordinate, from 1; or none
    read: Annotated[Floats, 2]  # (settings, n)


class Timeline(NamedTuple):
    """Steps `begin` .. `end` - 1, in segments of constant settings."""

    begin: int
    end: int
    segment_end: Annotated[Ints, 1]  # (segments,), ascending, the last is `end`
    weights: Annotated[Floats, 3]  # (segments, settings, terms)
    amplitude: Annotated[Floats, 2]  # (segments, settings): what the drawn noise is multiplied with
    samples: Annotated[Ints, 2]  # (segments, settings): how many are summed
    records: Annotated[Ints, 1]  # ascending, within begin .. end


RECORDS = (Noise, Model, Timeline)
"""Records that kernels take as they are, in this order."""


class Chunk(NamedTuple):
    """The steps that a backend is to go through in one call, and the state to take through them."""

    noise: Noise
    model: Model
    timeline: Timeline
    state: Floats  # (settings, replicas, n, d), changed in place
    alive: NDArray[np.bool_]  # (settings, replicas): the others have diverged, and are left alone
    workers: Any  # how many threads, or which devices


class Measured(NamedTuple):
    """What a backend found on its way through a chunk."""

    values: Floats  # (records, settings, replicas, rows): sums over coordinates
    diverged_at: Ints  # (settings, replicas): first step of divergence, or -1


class Backend(ABC):
    """A way to carry out the model; each is registered by name in `kernels.REGISTRY`.

    The attributes say what it can do; the defaults are those of a backend for the CPU.
    """

    asynchronous: ClassVar[bool] = False
    """Whether it computes while Python goes on, between `BackendState.launch` and `collect`."""
    takes_formulas: ClassVar[bool] = False
    """Whether curvatures may be a `Formula`."""
    block_bytes: ClassVar[int] = 1 << 22
    """Of states that are best worked on at a time."""
    most_components: ClassVar[float] = math.inf
    """Of a state."""
    leap_arrays: ClassVar[int] = 0
    """Arrays over coordinates that leaps need for each element of a matrix."""

    @property
    @abstractmethod
    def moments(self) -> Any:
        """The kernels of the exact second moments."""

    @property
    @abstractmethod
    def closed_form(self) -> Any:
        """The closed form for recurrences of one component."""

    @property
    @abstractmethod
    def first_passage(self) -> Any:
        """The search for the first passage."""

    @abstractmethod
    def philox4x32(
        self, counters: NDArray[np.uint32], keys: NDArray[np.uint32]
    ) -> NDArray[np.uint32]:
        """Words of the generator, (m, 4), from counters (m, 4) and keys (m, 2)."""

    @abstractmethod
    def normals(self, words: NDArray[np.uint32]) -> NDArray[np.float32]:
        """Four normals from each row of four words, (m, 4), for the tests of the transform."""

    @abstractmethod
    def start(self, noise: Noise, mean: Floats, deviation: Floats, workers: Any) -> Floats:
        """Initial iterates ``w_0 = mean + deviation z``, shape (replicas, d)."""

    @abstractmethod
    def advance(self, chunk: Chunk) -> Measured:
        """Go through a chunk step by step.

        The first step at which a coordinate's risk exceeded `LIMIT` is looked for only where it
        does so at the end.
        """

    @abstractmethod
    def leap(self, chunk: Chunk) -> Measured:
        """Go through a chunk by one Gaussian draw from each segment's end or record to the next."""

    def new_state(
        self,
        noise: Noise,
        model: Model,
        state: Floats,
        workers: Any,
        formula: Formula | None = None,
    ) -> BackendState:
        """Keep the state of some coordinates, where this backend wants it."""
        assert formula is None
        return BackendState(self, noise, model, state, workers)

    def devices(self) -> list[str]:
        """Names of the devices that there are to choose from."""
        return []

    def free_memory(self, workers: Any) -> float:
        """Bytes that states can take, where that is not the process's memory."""
        return math.inf

    def compile_seconds(self) -> float:
        """Seconds that compiling kernels, or loading them, has taken in this process so far."""
        return 0.0


class BackendState:
    """The state of some coordinates under all settings of a model, between chunks.

    `launch` says how far to go next, and `collect` waits for that. A backend that keeps states in
    a memory of its own, or computes while Python goes on, has a class that inherits from this one.
    """

    def __init__(
        self, backend: Backend, noise: Noise, model: Model, state: Floats, workers: Any
    ) -> None:
        self.backend, self.noise, self.model = backend, noise, model
        self.state, self.workers = state, workers

    def launch(self, timeline: Timeline, alive: NDArray[np.bool_], leaps: bool) -> None:
        """Set out through the timeline; `alive` is (settings, replicas)."""
        self.chunk = Chunk(self.noise, self.model, timeline, self.state, alive, self.workers)
        self.leaps = leaps

    def collect(self) -> tuple[Measured, float]:
        """What was measured on the way, and the seconds that it took, without compiling."""
        move = self.backend.leap if self.leaps else self.backend.advance
        begin = time.perf_counter() - self.backend.compile_seconds()
        measured = move(self.chunk)
        return measured, time.perf_counter() - self.backend.compile_seconds() - begin

    def read(self) -> Floats:
        """The state as last collected, (settings, replicas, n, d).

        A copy if the backend is asynchronous; else it may change later.
        """
        return self.state

    def write(self, state: Floats) -> None:
        """Set the state."""
        self.state[:] = state


def nothing_measured(chunk: Chunk) -> Measured:
    """Room for what `advance` and `leap` find."""
    settings, replicas = chunk.state.shape[:2]
    shape = chunk.timeline.records.size, settings, replicas, len(chunk.model.rows)
    return Measured(np.zeros(shape), np.full((settings, replicas), -1, dtype=np.int64))


def padded(size: int) -> int:
    """`size` rounded up to whole tiles, or whole leaves where that wastes much."""
    tiles, leaves = -(-size // TILE) * TILE, -(-size // LEAF) * LEAF
    return tiles if 4 * tiles <= 5 * leaves else leaves
