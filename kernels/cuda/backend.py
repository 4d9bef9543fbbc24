"""The Monte Carlo backend for NVIDIA's GPUs, through `numba.cuda`.

States stay on the devices between calls, in two copies: while the next stretch of steps is
computed from one to the other, the first can still be read. Coordinates are spread over the
devices in whole groups of leaves, so that sums come out the same on any number of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..contract import (
    LEAF,
    NO_STEP,
    Backend,
    BackendState,
    Chunk,
    Floats,
    Formula,
    Ints,
    Measured,
    Model,
    Noise,
    Timeline,
)
from ..reference import pair_sum
from . import tasks
from .jit import available, compile_seconds, cuda, device_names, explained, free_bytes, launch
from .leap import MAPS, jump_kernel, map_kernel, measure_kernel
from .reduce import GROUP, add_leaves, clear
from .start import harmonic, normal_rows, philox_rows, start_rows
from .step import advance_kernel, search_kernel

MOST_ROWS = 1 << 15  # of a grid, in one direction


def grid(columns: int, rows: int) -> tuple[int, int, int]:
    """Blocks of a grid with a row for each replica, or sum."""
    most = min(rows, MOST_ROWS)
    return columns, max(most, 1), -(-rows // max(most, 1))


def devices(workers: Any) -> list[int]:
    """Numbers of the devices to use; a count of threads stands for the first."""
    return [0] if isinstance(workers, int) else list(workers)


def on_device(record: Any, stream: Any) -> Any:
    """A tuple with its arrays on the device."""
    moved = (
        cuda.to_device(np.ascontiguousarray(x), stream=stream) if isinstance(x, np.ndarray) else x
        for x in record
    )
    return type(record)(*moved)


def _by_rows(function: Any, inputs: Sequence[Any], out: NDArray[Any]) -> None:
    with explained():
        there = cuda.to_device(out.ravel())
        given = [cuda.to_device(np.ascontiguousarray(x)) for x in inputs]
        launch(function, (max(-(-len(out) // LEAF), 1),), LEAF, 0, *given, there)
        out[:] = there.copy_to_host().reshape(out.shape)


class PendingChunk(NamedTuple):
    """What a launch leaves to be collected."""

    kept: Any  # what must not be freed meanwhile, on the device and, while it is copied, here
    out: Any  # pinned: sums of groups of leaves, (rows, groups)
    beyond: Any  # pinned: marks or first steps of divergence, (settings replicas,)
    begun: Any
    computed: Any
    copied: Any
    again: Callable[[], Ints] | None  # find the first steps of divergence, where there are marks


class Shard:
    """Neighbouring coordinates on one device."""

    def __init__(
        self, noise: Noise, model: Model, state: Floats, device: int, formula: Formula | None
    ) -> None:
        self.device, self.model = device, model
        self.shape = state.shape
        settings, replicas, n, d = state.shape
        self.leaves = d // LEAF
        self.law = tasks.law_of(noise)
        sizes = np.array([replicas, settings, self.leaves, len(model.rows), noise.first, n])
        with self.here():
            # what leaves the device does not wait for what is computed meanwhile
            self.work, self.copies, self.reads = (cuda.stream() for _ in range(3))
            self.sizes = cuda.to_device(sizes, stream=self.work)
            self.noise = on_device(noise, self.work)
            self.coefficients = self._coefficients(model, d, formula)
            self.state = [cuda.device_array(state.size) for _ in range(2)]
            self.now = 0  # which of them is the state
            self.write(state)
        self.maps: Any = None
        self.pinned: dict[Any, Any] = {}
        self.running: PendingChunk | None = None

    @contextmanager
    def here(self) -> Generator[None]:
        """On the shard's device."""
        with cuda.gpus[self.device], explained():
            yield

    def _coefficients(self, model: Model, d: int, formula: Formula | None) -> Any:
        arrays = on_device(tasks.coefficients(model, d), self.work)
        if formula is None:
            return arrays
        h, sigma, weight = (cuda.device_array(d) for _ in range(3))
        group = cuda.device_array(d if formula.edges.size else 0, dtype=np.int64)
        edges = cuda.to_device(formula.edges, stream=self.work)
        written = h, sigma, weight, group
        blocks = (d // LEAF,)
        launch(harmonic, blocks, LEAF, self.work, formula.first, formula.size, edges, *written)
        return arrays._replace(values=h, sigma=sigma, weight=weight, group=group)

    def write(self, state: Floats) -> None:
        """Set the state, (settings, replicas, n, d)."""
        settings, replicas, n, _ = self.shape
        tiled = state.reshape(settings, replicas, n, self.leaves, LEAF).transpose(0, 1, 3, 2, 4)
        with self.here():
            source = np.ascontiguousarray(tiled).ravel()
            self.state[self.now].copy_to_device(source, stream=self.work)
            self.work.synchronize()

    def read(self) -> Floats:
        """The state as last collected."""
        settings, replicas, n, _ = self.shape
        with self.here():
            tiled = self.state[self.now].copy_to_host(stream=self.reads)
            self.reads.synchronize()
        tiled = tiled.reshape(settings, replicas, self.leaves, n, LEAF)
        return np.ascontiguousarray(tiled.transpose(0, 1, 3, 2, 4)).reshape(self.shape)

    def _pinned(self, size: int, kind: Any) -> Any:
        """Memory here that a device can write to, which takes long to get."""
        held = self.pinned.get(kind)
        if held is None or held.size < size:
            held = self.pinned[kind] = cuda.pinned_array(size, dtype=kind)
        return held[:size]

    def launch(self, timeline: Timeline, alive: NDArray[np.bool_], leaps: bool) -> None:
        """Start on the way to the timeline's end."""
        settings, replicas = alive.shape
        rows = timeline.records.size * settings * replicas * len(self.model.rows)
        groups = -(-self.leaves // GROUP)
        with self.here():
            stream = self.work
            begun, computed, copied = (cuda.event() for _ in range(3))
            sums = cuda.device_array(max(rows, 1) * groups, stream=stream)
            out, marks = self._pinned(sums.size, np.float64), self._pinned(alive.size, np.int64)
            begun.record(stream)
            flags = alive.ravel().astype(np.uint8)
            living = cuda.to_device(flags, stream=stream)
            partial = cuda.device_array(max(rows, 1) * self.leaves, stream=stream)
            launch(clear, (-(-partial.size // LEAF),), LEAF, stream, partial)
            after = self.state[1 - self.now]
            after.copy_to_device(self.state[self.now], stream=stream)
            move = self._leap if leaps else self._advance
            beyond, again, more = move(timeline, living, partial)
            if rows:
                blocks = grid(groups, rows)
                launch(add_leaves, blocks, GROUP, stream, partial, self.leaves, groups, sums)
            computed.record(stream)
            computed.wait(self.copies)
            sums.copy_to_host(out, stream=self.copies)
            beyond.copy_to_host(marks, stream=self.copies)
            copied.record(self.copies)
        kept = partial, sums, beyond, living, flags, more
        self.running = PendingChunk(kept, out, marks, begun, computed, copied, again)

    def _advance(self, timeline: Timeline, alive: Any, partial: Any) -> Any:
        """Step by step; marks where a setting has diverged, and how to find out when."""
        settings, replicas, n, _ = self.shape
        stream = self.work
        plan = tasks.steps(self.model, timeline, self.law)
        steps = on_device(plan, stream)
        none = np.zeros(settings * replicas, dtype=np.int64)
        beyond, first = (cuda.to_device(x, stream=stream) for x in (none, none + NO_STEP))
        before, after = self.state[self.now], self.state[1 - self.now]
        blocks = grid(self.leaves, replicas)
        shared = self.noise, self.coefficients, steps, self.sizes, alive
        kernel = advance_kernel(n, self.law)
        launch(kernel, blocks, LEAF, stream, *shared, after, partial, beyond)

        def again() -> Ints:
            """The state before is used up for it."""
            with self.here():
                search = search_kernel(n, self.law)
                launch(search, blocks, LEAF, stream, *shared, before, after, first)
                found: Ints = first.copy_to_host(stream=stream)
                stream.synchronize()
            return found

        return beyond, again, (plan, none)

    def _leap(self, timeline: Timeline, alive: Any, partial: Any) -> Any:
        """From stop to stop; first steps at which settings have diverged."""
        settings, replicas, n, d = self.shape
        stream = self.work
        records, ends = timeline.records, timeline.segment_end
        stops = np.union1d(ends, records[records > timeline.begin])
        plan = tasks.coefficients_of_segments(self.model, timeline)
        steps = on_device(plan, stream)
        if self.maps is None:
            self.maps = cuda.device_array(3 * MAPS * n * n * d)
        state = self.state[1 - self.now]
        first = cuda.to_device(np.full(settings * replicas * self.leaves, -1), stream=stream)
        exceeded = cuda.to_device(np.full(settings * replicas, NO_STEP), stream=stream)
        blocks = grid(self.leaves, replicas)

        def look(t: int) -> None:
            at = int(np.searchsorted(records, t))
            record = at if at < records.size and records[at] == t else -1
            launch(
                measure_kernel(n), blocks, LEAF, stream, self.coefficients, self.sizes, settings,
                record, t, int(t == timeline.end), alive, state, partial, first, exceeded,
            )  # fmt: skip

        t, made = timeline.begin, (-1, -1, -1)
        look(t)
        for stop in stops.tolist():
            segment = int(np.searchsorted(ends, t, side="right"))
            for g in range(settings):
                if made != (g, segment, stop - t):
                    made = g, segment, stop - t
                    launch(
                        map_kernel(n), (self.leaves,), LEAF, stream, self.coefficients, steps,
                        self.sizes, segment, g, settings, stop - t, self.maps,
                    )  # fmt: skip
                launch(
                    jump_kernel(n), blocks, LEAF, stream, self.noise, self.sizes, g, t, alive,
                    self.maps, state,
                )  # fmt: skip
            t = stop
            look(t)
        return exceeded, None, (plan, steps, first)

    def collect(self) -> tuple[Floats, Ints, float]:
        """Sums of groups of leaves, first steps of divergence, seconds."""
        running = self.running
        assert running is not None
        with self.here():
            running.copied.synchronize()
            seconds = running.begun.elapsed_time(running.computed) / 1e3
        first = np.array(running.beyond)
        if running.again is not None:
            first = running.again() if first.any() else np.full(first.size, NO_STEP)
        sums = np.array(running.out).reshape(-1, -(-self.leaves // GROUP))
        self.running = None
        self.now = 1 - self.now
        return sums, first, seconds


class GpuState(BackendState):
    """The state of some coordinates, on one device or several."""

    def __init__(
        self,
        backend: Backend,
        noise: Noise,
        model: Model,
        state: Floats,
        workers: Any,
        formula: Formula | None = None,
    ) -> None:
        self.backend, self.model, self.shape = backend, model, state.shape
        chosen = devices(workers)
        d = state.shape[-1]
        share = -(-d // (len(chosen) * GROUP * LEAF)) * GROUP * LEAF
        self.parts = [slice(at, min(at + share, d)) for at in range(0, d, share)]
        self.shards = []
        for part, device in zip(self.parts, chosen, strict=False):
            own = None
            if formula is not None:
                first, size = formula.first + part.start, formula.size - part.start
                own = formula._replace(first=first, size=size)
            arrays = model._replace(
                values=model.values[:, part], sigma=model.sigma[part],
                weight=model.weight[:, part], group=model.group[part],
            )  # fmt: skip
            numbered = noise._replace(first=noise.first + part.start)
            self.shards.append(Shard(numbered, arrays, state[..., part], device, own))

    def launch(self, timeline: Timeline, alive: NDArray[np.bool_], leaps: bool) -> None:
        """Start on the way to the timeline's end."""
        self.records, self.begin = timeline.records.size, time.perf_counter()
        compiled = self.backend.compile_seconds()
        for shard in self.shards:
            shard.launch(timeline, alive, leaps)
        self.compiled = self.backend.compile_seconds() - compiled  # while the devices' clocks ran

    def collect(self) -> tuple[Measured, float]:
        """Wait for what was launched."""
        settings, replicas = self.shape[:2]
        found = [shard.collect() for shard in self.shards]
        sums = np.concatenate([sums for sums, _, _ in found], axis=1)
        shape = self.records, settings, replicas, len(self.model.rows)
        with np.errstate(over="ignore", invalid="ignore"):
            values = pair_sum(sums)[: int(np.prod(shape))].reshape(shape)
        first = np.min([first for _, first, _ in found], axis=0).reshape(settings, replicas)
        seconds = max(seconds for _, _, seconds in found)
        if seconds < 0.0:  # the simulator has no clock
            seconds = time.perf_counter() - self.begin
        seconds = max(seconds - self.compiled, 0.0)
        return Measured(values, np.where(first == NO_STEP, -1, first)), seconds

    def read(self) -> Floats:
        """The state as last collected."""
        return np.concatenate([shard.read() for shard in self.shards], axis=-1)

    def write(self, state: Floats) -> None:
        """Set the state."""
        for shard, part in zip(self.shards, self.parts, strict=True):
            shard.write(state[..., part])


class CudaBackend(Backend):
    """NVIDIA's GPUs; the exact model beside them is the fastest that the CPU has."""

    asynchronous = True
    takes_formulas = True
    block_bytes = 1 << 26
    most_components = 8  # whose matrix fits into the memory of a block
    leap_arrays = 3 * MAPS

    def __init__(self) -> None:
        available()

    @property
    def moments(self) -> Any:
        """The kernels of the exact second moments, which GPUs do not have."""
        raise NotImplementedError("the exact model runs on the CPU")

    closed_form = first_passage = moments

    def devices(self) -> list[str]:
        """Names of the GPUs."""
        return device_names()

    def free_memory(self, workers: Any) -> float:
        """Bytes that are free on the chosen devices together, if all get the same share."""
        chosen = devices(workers)
        return len(chosen) * min(free_bytes(n) / chosen.count(n) for n in set(chosen))

    def compile_seconds(self) -> float:
        """Seconds that compiling kernels has taken in this process so far."""
        return compile_seconds()

    def philox4x32(
        self, counters: NDArray[np.uint32], keys: NDArray[np.uint32]
    ) -> NDArray[np.uint32]:
        """Words of the generator, (m, 4), from counters (m, 4) and keys (m, 2)."""
        words = np.zeros((len(counters), 4), dtype=np.uint32)
        _by_rows(philox_rows, (counters.ravel(), keys.ravel()), words)
        return words

    def normals(self, words: NDArray[np.uint32]) -> NDArray[np.float32]:
        """Four normals from each row of four words."""
        z = np.zeros((len(words), 4), dtype=np.float32)
        _by_rows(normal_rows, (words.ravel(),), z)
        return z

    def start(self, noise: Noise, mean: Floats, deviation: Floats, workers: Any) -> Floats:
        """Initial iterates, shape (replicas, d)."""
        shape = noise.replicas.size, mean.size
        with cuda.gpus[devices(workers)[0]], explained():
            w = cuda.device_array(shape[0] * shape[1])
            given = [cuda.to_device(np.ascontiguousarray(x)) for x in (mean, deviation)]
            blocks = grid(mean.size // LEAF, shape[0])
            launch(start_rows, blocks, LEAF, 0, on_device(noise, 0), *given, w)
            found: Floats = w.copy_to_host().reshape(shape)
        return found

    def advance(self, chunk: Chunk) -> Measured:
        """Go step by step."""
        return self._at_once(chunk, leaps=False)

    def leap(self, chunk: Chunk) -> Measured:
        """Go from stop to stop."""
        return self._at_once(chunk, leaps=True)

    def _at_once(self, chunk: Chunk, leaps: bool) -> Measured:
        """Take the state to the devices, through the chunk, and back."""
        noise, model, timeline, state, alive, workers = chunk
        moved = self.new_state(noise, model, state, workers)
        moved.launch(timeline, alive, leaps)
        measured, _ = moved.collect()
        state[:] = moved.read()
        return measured

    def new_state(
        self,
        noise: Noise,
        model: Model,
        state: Floats,
        workers: Any,
        formula: Formula | None = None,
    ) -> BackendState:
        """Keep the state of some coordinates on the devices."""
        return GpuState(self, noise, model, state, workers, formula)


BACKEND = CudaBackend()
