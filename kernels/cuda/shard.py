"""The state of neighbouring coordinates on one device, and what is launched to advance it.

A state is there twice: while the next chunk is computed from one copy to the other, the first can
still be read.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..contract import LEAF, NO_STEP, Floats, Formula, Ints, Model, Noise, Timeline
from ..excursions import watched
from . import reduce, tasks
from .jit import cuda, explained, launch
from .kicks import kick_kernel
from .leap import leap_kernel, map_kernel, measure_kernel, numbers_of_maps
from .rule import advance_rule_kernel
from .start import harmonic
from .step import advance_kernel, search_kernel

MOST_ROWS = 1 << 15  # blocks of a grid in its second direction


def grid(columns: int, rows: int) -> tuple[int, int, int]:
    """Return the shape of a grid of blocks with a row for each replica, or for each sum."""
    most = min(rows, MOST_ROWS)
    return columns, max(most, 1), -(-rows // max(most, 1))


def copy_to_device(record: Any, stream: Any) -> Any:
    """Copy a named tuple of arrays to the device."""
    copies = (
        cuda.to_device(np.ascontiguousarray(x), stream=stream) if isinstance(x, np.ndarray) else x
        for x in record
    )
    return type(record)(*copies)


class PendingChunk(NamedTuple):
    """A chunk that was launched, and is to be collected."""

    arrays: Any  # arrays that must not be freed until it is collected
    sums: Any  # of groups of leaves, in pinned memory, (rows groups,)
    divergence: Any  # marks or first steps, in pinned memory, (settings replicas,)
    begun: Any  # the event before the first kernel
    computed: Any  # the event after the last kernel
    copied: Any  # the event after the results are in pinned memory
    search: Callable[[], Ints] | None  # finds first steps of divergence, if those are marks


class Shard:
    """Neighbouring coordinates on one device, and their state under all settings."""

    def __init__(
        self,
        noise: Noise,
        model: Model,
        law: int,
        state: Floats,
        device: int,
        formula: Formula | None,
    ) -> None:
        self.device, self.model, self.law = device, model, law
        self.shape = state.shape
        settings, replicas, n, d = state.shape
        self.leaves = d // LEAF
        sizes = np.array([replicas, settings, self.leaves, len(model.rows), noise.first, n])
        with self.on_its_device():
            # three streams, so that copies and reads need not wait for the next chunk
            self.computing, self.copying, self.reading = (cuda.stream() for _ in range(3))
            self.sizes = cuda.to_device(sizes, stream=self.computing)
            self.stream, self.noise = noise, copy_to_device(noise, self.computing)
            self.coefficients = self._flat_model(model, d, formula)
            self.state = [cuda.device_array(state.size) for _ in range(2)]
            self.current = 0  # the copy that is the state
            self.write(state)
        self.maps: Any = None
        self.pinned: dict[Any, Any] = {}
        self.running: PendingChunk | None = None

    @contextmanager
    def on_its_device(self) -> Generator[None]:
        """Run what is within this context on the shard's device."""
        with cuda.gpus[self.device], explained():
            yield

    def _flat_model(self, model: Model, d: int, formula: Formula | None) -> Any:
        """Put the model on the device; the device computes the arrays of a formula itself."""
        arrays = copy_to_device(tasks.flat_model(model, d), self.computing)
        if formula is None:
            return arrays
        h, sigma, weight = (cuda.device_array(d) for _ in range(3))
        group = cuda.device_array(d if formula.edges.size else 0, dtype=np.int64)
        edges = cuda.to_device(formula.edges, stream=self.computing)
        written = h, sigma, weight, group
        blocks = (d // LEAF,)
        launch(harmonic, blocks, LEAF, self.computing, formula.first, formula.size, edges, *written)
        return arrays._replace(values=h, sigma=sigma, weight=weight, group=group)

    def write(self, state: Floats) -> None:
        """Replace the state, (settings, replicas, n, d)."""
        settings, replicas, n, _ = self.shape
        tiled = state.reshape(settings, replicas, n, self.leaves, LEAF).transpose(0, 1, 3, 2, 4)
        with self.on_its_device():
            source = np.ascontiguousarray(tiled).ravel()
            self.state[self.current].copy_to_device(source, stream=self.computing)
            self.computing.synchronize()

    def read(self) -> Floats:
        """Return the state as last collected, (settings, replicas, n, d)."""
        settings, replicas, n, _ = self.shape
        with self.on_its_device():
            tiled = self.state[self.current].copy_to_host(stream=self.reading)
            self.reading.synchronize()
        tiled = tiled.reshape(settings, replicas, self.leaves, n, LEAF)
        return np.ascontiguousarray(tiled.transpose(0, 1, 3, 2, 4)).reshape(self.shape)

    def _pinned(self, size: int, kind: Any) -> Any:
        """Return pinned memory, to which devices can write; it is kept, as it takes long to get."""
        memory = self.pinned.get(kind)
        if memory is None or memory.size < size:
            memory = self.pinned[kind] = cuda.pinned_array(size, dtype=kind)
        return memory[:size]

    def launch(self, timeline: Timeline, alive: NDArray[np.bool_], leaps: bool) -> None:
        """Start to go through the timeline; `alive` is (settings, replicas)."""
        settings, replicas = alive.shape
        rows = timeline.records.size * settings * replicas * len(self.model.rows)
        groups = -(-self.leaves // reduce.GROUP)
        with self.on_its_device():
            stream = self.computing
            begun, computed, copied = (cuda.event() for _ in range(3))
            sums = cuda.device_array(max(rows, 1) * groups, stream=stream)
            out, divergence = (
                self._pinned(sums.size, np.float64),
                self._pinned(alive.size, np.int64),
            )
            begun.record(stream)
            flags = alive.ravel().astype(np.uint8)
            living = cuda.to_device(flags, stream=stream)
            partial = cuda.device_array(max(rows, 1) * self.leaves, stream=stream)
            launch(reduce.clear, (-(-partial.size // LEAF),), LEAF, stream, partial)
            after = self.state[1 - self.current]
            after.copy_to_device(self.state[self.current], stream=stream)
            if self.model.rule:
                found, search, used = self._advance_by_rule(timeline, living, partial)
            elif leaps:
                found, search, used = self._leap(timeline, living, partial)
            else:
                looked_at = watched(self.stream, self.model, timeline, alive)
                found, search, used = self._advance(looked_at, living, partial)
            if rows:
                blocks = grid(groups, rows)
                launch(
                    reduce.add_leaves,
                    blocks,
                    reduce.GROUP,
                    stream,
                    partial,
                    self.leaves,
                    groups,
                    sums,
                )
            computed.record(stream)
            computed.wait(self.copying)
            sums.copy_to_host(out, stream=self.copying)
            found.copy_to_host(divergence, stream=self.copying)
            copied.record(self.copying)
        arrays = partial, sums, found, living, flags, used
        self.running = PendingChunk(arrays, out, divergence, begun, computed, copied, search)

    def _advance(self, timeline: Timeline, alive: Any, partial: Any) -> Any:
        """Launch the steps.

        Returns marks of the settings that may have diverged, the function that searches for the
        first steps of divergence, and the arrays that must not be freed.
        """
        settings, replicas, n, _ = self.shape
        stream = self.computing
        flat = tasks.steps(self.model, timeline, self.law)
        flat_timeline = copy_to_device(flat, stream)
        none = np.zeros(settings * replicas, dtype=np.int64)
        suspect, first = (cuda.to_device(x, stream=stream) for x in (none, none + NO_STEP))
        before, after = self.state[self.current], self.state[1 - self.current]
        blocks = grid(self.leaves, replicas)
        shared = self.noise, self.coefficients, flat_timeline, self.sizes
        kernel = advance_kernel(n, self.law)
        launch(kernel, blocks, LEAF, stream, *shared, alive, after, partial, suspect)

        def search() -> Ints:
            """Find the first steps of divergence, which overwrites the state before the chunk."""
            with self.on_its_device():
                kernel = search_kernel(n, self.law)
                launch(kernel, blocks, LEAF, stream, *shared, suspect, before, first)
                found: Ints = first.copy_to_host(stream=stream)
                stream.synchronize()
            return found

        return suspect, search, (flat, none)

    def _advance_by_rule(self, timeline: Timeline, alive: Any, partial: Any) -> Any:
        """Launch the steps of settings with an update rule.

        Returns the first steps of divergence, no search, and the arrays that must not be freed.
        """
        stream = self.computing
        flat = tasks.steps(self.model, timeline, self.law)
        flat_timeline = copy_to_device(flat, stream)
        settings, replicas, _, _ = self.shape
        diverged_at = cuda.to_device(np.full(settings * replicas, NO_STEP), stream=stream)
        launch(
            advance_rule_kernel(self.model.rule, self.law), grid(self.leaves, replicas), LEAF,
            stream, self.noise, self.coefficients, flat_timeline, self.sizes, alive,
            self.state[1 - self.current], partial, diverged_at,
        )  # fmt: skip
        return diverged_at, None, (flat, flat_timeline)

    def _leap(self, timeline: Timeline, alive: Any, partial: Any) -> Any:
        """Launch the leaps from stop to stop.

        Returns the first steps of divergence, no search, and the arrays that must not be freed.
        """
        settings, replicas, n, d = self.shape
        stream = self.computing
        records, ends = timeline.records, timeline.segment_end
        stops = np.union1d(ends, records[records > timeline.begin])
        flat = tasks.flat_timeline(self.model, timeline)
        flat_timeline = copy_to_device(flat, stream)
        if self.maps is None:
            self.maps = cuda.device_array(numbers_of_maps(n) * d)
        state = self.state[1 - self.current]
        diverged_at = cuda.to_device(np.full(settings * replicas, NO_STEP), stream=stream)
        blocks, kicks = grid(self.leaves, replicas), tasks.further_kicks(self.model)

        def measure(t: int) -> None:
            """Record at step t if that is asked for, and look for divergence."""
            at = int(np.searchsorted(records, t))
            record = at if at < records.size and records[at] == t else -1
            launch(
                measure_kernel(n), blocks, LEAF, stream, self.coefficients, self.sizes, settings,
                record, t, alive, state, partial, diverged_at,
            )  # fmt: skip

        t, made_for = timeline.begin, (-1, -1, -1)
        measure(t)
        for stop in stops.tolist():
            segment = int(np.searchsorted(ends, t, side="right"))
            steps = stop - t
            if timeline.spans.size:
                steps //= int(timeline.spans[segment])
            for g in range(settings):
                if made_for != (g, segment, steps):
                    made_for = g, segment, steps
                    if kicks:
                        launch(
                            kick_kernel(n), (self.leaves,), LEAF, stream, self.coefficients,
                            flat_timeline, self.sizes, segment, g, settings, kicks, self.maps,
                        )  # fmt: skip
                    launch(
                        map_kernel(n), (self.leaves,), LEAF, stream, self.coefficients,
                        flat_timeline, self.sizes, segment, g, settings, kicks, steps, self.maps,
                    )  # fmt: skip
                launch(
                    leap_kernel(n), blocks, LEAF, stream, self.noise, self.sizes, g, t, alive,
                    self.maps, state,
                )  # fmt: skip
            t = stop
            measure(t)
        return diverged_at, None, (flat, flat_timeline)

    def collect(self) -> tuple[Floats, Ints, float]:
        """Wait for the chunk.

        Returns the sums of groups of leaves, (rows, groups), the first steps of divergence,
        (settings replicas,), and the seconds that the device took.
        """
        running = self.running
        assert running is not None
        with self.on_its_device():
            running.copied.synchronize()
            seconds = running.begun.elapsed_time(running.computed) / 1e3
        first = np.array(running.divergence)
        if running.search is not None:
            first = running.search() if first.any() else np.full(first.size, NO_STEP)
        sums = np.array(running.sums).reshape(-1, -(-self.leaves // reduce.GROUP))
        self.running = None
        self.current = 1 - self.current
        return sums, first, seconds
