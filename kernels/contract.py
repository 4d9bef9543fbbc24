"""The contract of a Monte Carlo backend: the tuples that it is given, and its methods.

Backends give the same bits. Noise is a pure function (see `noise`); all other arithmetic is done in
the one order of IEEE operations that is given here. Sums over coordinates are one fixed tree: a
leaf of 64 coordinates is folded in halves (j with j + 32, then with j + 16, ...), then neighbouring
leaves are added in pairs.

With D = A - I and b added up from the entries of a setting, and a normal z or a sum of samples z,
a step is, in this order,

    s_a + (((b_a (sigma amplitude) z + D_a0 s_0) + (D_a1 s_1 + D_a2 s_2)) + ...)

unless the model has a rule, which takes state and gradient ``h s_0 + (sigma amplitude) z`` to the
next state (see `rules`). A row of an observable is the sum over coordinates of ``(weight x) x``,
where x is the evaluated iterate ``read_0 s_0 + read_1 s_1 + ...``.

Numba takes the named tuples as they are. The structs of C and the code that fills them are
generated from the annotations; that of an array says how many axes it has.
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

LEAF = 64  # coordinates that are summed together; arrays over coordinates have whole leaves
NARROW = LEAF // 4  # coordinates that kernels for the CPU work on if a problem has no more
TILE = 8 * LEAF  # coordinates that a backend for the CPU works on at a time
NO_STEP = np.iinfo(np.int64).max  # stands for "never" where the minimum of steps is taken
LIMIT = 1e290  # a setting has diverged if the risk of one coordinate is beyond this
ALL = 0  # the number of the group that has all coordinates


class Noise(NamedTuple):
    """The stream of noise, and whether a step takes one draw or a sum of samples."""

    key: Annotated[NDArray[np.uint64], 1]  # (2,): low and high half of the seed
    replicas: Annotated[Ints, 1]  # (replicas,): their numbers in the stream
    first: int  # the number of the first coordinate in the stream
    law: int  # the code of a noise.Law
    summed: bool  # whether every sample is drawn, and their sum used; else one draw a step
    parameter: np.float32  # the parameter of the law, if it has one


class Formula(NamedTuple):
    """Curvatures ``h_i = 1 / i`` of coordinates from `first` on, whose noise is h too.

    It replaces the arrays over coordinates of a `Model`, which are empty then; `values` is h alone.
    """

    first: int
    size: int
    edges: Floats  # (bands + 1,): the edges of the bands, ascending; or empty


class Model(NamedTuple):
    """Settings with n components in the state, on d coordinates, zeros filling the last leaf.

    With a rule there are no entries, the first row of `values` is h, and the evaluated iterate is
    the component at which `read` is 1.
    """

    entries: Annotated[Ints, 2]  # (entries, 4): term, row, column (n for b), row of values or -1;
    # for leaps, columns beyond n are kicks too, of noise that is independent and of equal size
    offsets: Annotated[Ints, 1]  # (settings + 1,): where each setting's entries begin
    factors: Annotated[Floats, 1]  # (entries,): the entry, or the multiple of a row of `values`
    values: Annotated[Floats, 2]  # (arrays, d): the arrays that entries are multiples of
    sigma: Annotated[Floats, 1]  # (d,): standard deviation of the per-sample gradient
    weight: Annotated[Floats, 2]  # (weights, d): of observables; the first is h / 2, for the risk
    rows: Annotated[Ints, 2]  # (rows, 2): for each row of a record, its weight and its group
    group: Annotated[Ints, 1]  # (d,): the group of each coordinate, from 1; or empty
    read: Annotated[Floats, 2]  # (settings, n): the evaluated iterate is read . state
    extremes: Annotated[Floats, 2]  # (2, arrays + 2): least, largest of values, sigma, h / 2
    rule: int = 0  # the code of a rules.Rule, negative if states have averages; 0 if linear
    first: int = 0  # of a `Formula`, from which kernels for the CPU make arrays of a tile
    size: int = 0  # of it, or 0 where there are arrays


_NONE, _NO_SIZES = np.zeros(0, dtype=np.int64), np.zeros((0, 0))


class Timeline(NamedTuple):
    """Steps `begin` .. `end` - 1, in segments of constant settings.

    A backend that needs looks adds them by `excursions.watched`. If the model has a rule, the
    weights are its numbers. Leaps may have segments that repeat the map of several steps, as of a
    whole period: `spans` says of how many, and such segments have stops at multiples of it only.
    """

    begin: int
    end: int
    segment_end: Annotated[Ints, 1]  # (segments,), ascending, the last is `end`
    weights: Annotated[Floats, 3]  # (segments, settings, terms): weights of the recurrence's terms
    amplitude: Annotated[Floats, 2]  # (segments, settings): a factor of the drawn noise
    samples: Annotated[Ints, 2]  # (segments, settings): how many are summed in a step
    records: Annotated[Ints, 1]  # (records,): recorded steps, ascending, within begin .. end
    looks: Annotated[Ints, 1] = _NONE  # steps at which to compare states with harmless sizes
    harmless: Annotated[Floats, 2] = _NO_SIZES  # (settings, n): of components; see `excursions`
    spans: Annotated[Ints, 1] = _NONE  # (segments,): steps of its map; or empty, if all are one


KERNEL_TUPLES = (Noise, Model, Timeline)
"""The named tuples that kernels take, in this order."""


class Chunk(NamedTuple):
    """The steps that one call goes through, and the state that it advances."""

    noise: Noise
    model: Model
    timeline: Timeline
    state: Floats  # (settings, replicas, n, d), changed in place
    alive: NDArray[np.bool_]  # (settings, replicas): which to advance; others have diverged
    workers: Any  # the number of threads, or the numbers of devices


class Load(NamedTuple):
    """The size of a run, by which a backend is chosen."""

    components: tuple[int, ...]  # of the states of its groups of linear settings
    dim: int  # coordinates of the problem, or of a block of it
    replicas: int
    threads: int
    leaps: bool
    seconds: float  # that the work takes the fastest backend, roughly
    has_rules: bool = False  # whether there are settings with an update rule
    summed: bool = False  # whether steps sum samples, rather than draw one normal


class Measured(NamedTuple):
    """The results of a chunk: records and divergence."""

    values: Floats  # (records, settings, replicas, rows): sums over coordinates
    diverged_at: Ints  # (settings, replicas): the first step of divergence, or -1


class Backend(ABC):
    """An implementation of the contract; each is registered by name in `kernels.REGISTRY`.

    The attributes say what it can do. The defaults are right for a backend for the CPU.
    """

    asynchronous: ClassVar[bool] = False
    """Whether it computes while Python goes on, between `BackendState.launch` and `collect`."""
    block_coordinates: ClassVar[int] = 1 << 18
    """Coordinates that are best worked on at a time, a power of two."""
    blocks_of_formulas: ClassVar[int] = 1
    """Factor of these coordinates for blocks whose curvatures are a `Formula`."""
    block_bytes: ClassVar[int] = 1 << 27
    """Bytes that the state of so many coordinates should not exceed."""
    relative_time: float = 1.0
    """The time that work takes, where the fastest backend for CPUs takes 1."""
    untimed_steps: ClassVar[int] = 256
    """Steps at most in the first call of a run, before one was timed."""
    most_components: ClassVar[float] = math.inf
    """The largest number of components in a state."""

    def takes_formula(
        self, coordinates: int, components: int, rule: int, leaps: bool, bands: bool
    ) -> bool:
        """Whether so many curvatures may be a `Formula`, given what shall be done with them."""
        return False

    def leap_numbers(self, components: int) -> int:
        """Return the numbers for each coordinate that leaps of so many components are kept in."""
        return 0

    @property
    @abstractmethod
    def moments(self) -> Any:
        """The module of the exact second moments, with `propagate` and `settings_risk`."""

    @property
    @abstractmethod
    def closed_form(self) -> Any:
        """The module of the closed form for recurrences of one component.

        It has `constant_risk` and `constant_settings_risk`.
        """

    @property
    @abstractmethod
    def first_passage(self) -> Any:
        """The module of the search for the first passage, with `first_passage`."""

    @property
    @abstractmethod
    def array_moments(self) -> Any:
        """The module of the moments of arrays in cells of curvature, with `add_moments`."""

    @abstractmethod
    def philox4x32(
        self, counters: NDArray[np.uint32], keys: NDArray[np.uint32]
    ) -> NDArray[np.uint32]:
        """Return the words of the generator, (m, 4), for counters (m, 4) and keys (m, 2)."""

    @abstractmethod
    def normals(self, words: NDArray[np.uint32]) -> NDArray[np.float32]:
        """Return four normals for each row of four words, (m, 4); tests check the transform so."""

    @abstractmethod
    def start(
        self, noise: Noise, mean: Floats, deviation: Floats, workers: Any, size: int | None = None
    ) -> Floats:
        """Return the initial iterates ``w_0 = mean + deviation z``, (replicas, d).

        Mean and deviation are (d,), in whole leaves; or (1,), the same for each of `size`
        coordinates, which are filled up with zeros.
        """

    @abstractmethod
    def advance(self, chunk: Chunk) -> Measured:
        """Go through a chunk step by step.

        A setting and replica has diverged at the first step at which the risk of a coordinate is
        beyond `LIMIT` or not a number, at the chunk's beginning, its end or between, whatever comes
        later. Backends do not look at every step, but find it always (see `excursions`).
        """

    @abstractmethod
    def leap(self, chunk: Chunk) -> Measured:
        """Go through a chunk by leaps: one Gaussian draw to each record and segment's end.

        A setting and replica has diverged at the first of these stops at which the risk of a
        coordinate is beyond `LIMIT` or not a number; there is nothing between stops.
        """

    def new_state(
        self,
        noise: Noise,
        model: Model,
        state: Floats,
        workers: Any,
        formula: Formula | None = None,
    ) -> BackendState:
        """Return an object that holds the state of some coordinates where this backend wants it."""
        assert formula is None
        return BackendState(self, noise, model, state, workers)

    def devices(self) -> list[str]:
        """Return the names of the devices to choose from."""
        return []

    def free_memory(self, workers: Any) -> float:
        """Return the bytes free for states, or infinity if they are in the process's memory."""
        return math.inf

    def prepare(self, workers: Any) -> None:
        """Make sure that workers can be started, before anything is written.

        Raises
        ------
        ValueError
            If they cannot.
        """
        return

    def is_ready(self, load: Load) -> bool:
        """Whether it can begin with a run at once, without compiling for long."""
        return True

    def compile_seconds(self) -> float:
        """Return the seconds spent on compiling or loading kernels in this process so far."""
        return 0.0


class BackendState:
    """The state of some coordinates under all settings of a model, between chunks.

    `launch` starts a chunk, and `collect` waits for its end. A backend that keeps states in memory
    of its own, or computes while Python goes on, has a class that inherits from this one.
    """

    def __init__(
        self, backend: Backend, noise: Noise, model: Model, state: Floats, workers: Any
    ) -> None:
        self.backend, self.noise, self.model = backend, noise, model
        self.state, self.workers = state, workers

    def launch(self, timeline: Timeline, alive: NDArray[np.bool_], leaps: bool) -> None:
        """Start to go through the timeline; `alive` is (settings, replicas)."""
        self.chunk = Chunk(self.noise, self.model, timeline, self.state, alive, self.workers)
        self.leaps = leaps

    def collect(self) -> tuple[Measured, float]:
        """Return what was measured on the way, and the seconds that it took without compiling."""
        go_through = self.backend.leap if self.leaps else self.backend.advance
        begin = time.perf_counter() - self.backend.compile_seconds()
        measured = go_through(self.chunk)
        return measured, time.perf_counter() - self.backend.compile_seconds() - begin

    def read(self) -> Floats:
        """Return the state as last collected, (settings, replicas, n, d).

        It is a copy if the backend is asynchronous; else later chunks change it.
        """
        return self.state

    def write(self, state: Floats) -> None:
        """Replace the state."""
        self.state[:] = state


def spread(mean: Floats, deviation: Floats, size: int | None) -> tuple[Floats, Floats]:
    """Return mean and deviation of each initial iterate, from those that `Backend.start` takes."""
    if size is None:
        return mean, deviation
    columns = np.zeros((2, padded(size)))
    columns[0, :size], columns[1, :size] = mean, deviation
    return columns[0], columns[1]


def nothing_measured(chunk: Chunk) -> Measured:
    """Return zeros, and no divergence, for `advance` and `leap` to fill in."""
    settings, replicas = chunk.state.shape[:2]
    shape = chunk.timeline.records.size, settings, replicas, len(chunk.model.rows)
    return Measured(np.zeros(shape), np.full((settings, replicas), -1, dtype=np.int64))


def padded(size: int) -> int:
    """Round `size` up to whole tiles, or to whole leaves if tiles take over a quarter more."""
    tiles, leaves = -(-size // TILE) * TILE, -(-size // LEAF) * LEAF
    return tiles if 4 * tiles <= 5 * leaves else leaves
