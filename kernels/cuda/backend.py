"""The Monte Carlo backend for NVIDIA's GPUs, through `numba.cuda`.

States stay on the devices between calls. Coordinates are spread over the devices in whole groups
of leaves, one `Shard` for each, so that sums come out the same on any number of devices.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

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
    Measured,
    Model,
    Noise,
    Timeline,
    spread,
)
from ..reference import pair_sum
from . import tasks
from .jit import (
    available,
    check_process,
    compile_seconds,
    cuda,
    device_names,
    explained,
    free_bytes,
    launch,
)
from .leap import numbers_of_maps
from .reduce import GROUP
from .shard import Shard, copy_to_device, grid
from .start import normal_rows, philox_rows, start_rows


def devices(workers: Any) -> list[int]:
    """Return the numbers of the devices to use; a number of threads stands for the first device."""
    return [0] if isinstance(workers, int) else list(workers)


def _run_on_rows(function: Any, inputs: Sequence[Any], out: NDArray[Any]) -> None:
    """Launch a kernel with a thread for each row of `out`, and copy what it writes there."""
    with explained():
        written = cuda.to_device(out.ravel())
        given = [cuda.to_device(np.ascontiguousarray(x)) for x in inputs]
        launch(function, (max(-(-len(out) // LEAF), 1),), LEAF, 0, *given, written)
        out[:] = written.copy_to_host().reshape(out.shape)


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
        self.slices = [slice(at, min(at + share, d)) for at in range(0, d, share)]
        self.shards = []
        for part, device in zip(self.slices, chosen, strict=False):
            own = None
            if formula is not None:
                first, size = formula.first + part.start, formula.size - part.start
                own = formula._replace(first=first, size=size)
            arrays = model._replace(
                values=model.values[:, part], sigma=model.sigma[part],
                weight=model.weight[:, part], group=model.group[part],
            )  # fmt: skip
            numbered = noise._replace(first=noise.first + part.start)
            self.shards.append(
                Shard(numbered, arrays, tasks.law_of(noise), state[..., part], device, own)
            )

    def launch(self, timeline: Timeline, alive: NDArray[np.bool_], leaps: bool) -> None:
        """Start to go through the timeline on all devices; `alive` is (settings, replicas)."""
        self.records, self.begin = timeline.records.size, time.perf_counter()
        compiled = self.backend.compile_seconds()
        for shard in self.shards:
            shard.launch(timeline, alive, leaps)
        self.compiled = (
            self.backend.compile_seconds() - compiled
        )  # the devices' clocks ran meanwhile

    def collect(self) -> tuple[Measured, float]:
        """Wait for the chunk; return what was measured, and the seconds without compiling."""
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
        """Return the state as last collected, (settings, replicas, n, d)."""
        return np.concatenate([shard.read() for shard in self.shards], axis=-1)

    def write(self, state: Floats) -> None:
        """Replace the state, (settings, replicas, n, d)."""
        for shard, part in zip(self.shards, self.slices, strict=True):
            shard.write(state[..., part])


class CudaBackend(Backend):
    """The backend for NVIDIA's GPUs; the exact model runs on the CPU even so."""

    asynchronous = True
    block_coordinates = 1 << 23
    block_bytes = 1 << 26
    most_components = 8  # more do not fit into the shared memory of a block

    def __init__(self) -> None:
        available()

    @property
    def moments(self) -> Any:
        """The exact model has no kernels for GPUs; it runs on the CPU."""
        raise NotImplementedError("the exact model runs on the CPU")

    closed_form = first_passage = array_moments = moments

    def prepare(self, workers: Any) -> None:
        """Make sure that CUDA works in this process."""
        check_process()

    def devices(self) -> list[str]:
        """Return the names of the GPUs."""
        return device_names()

    def leap_numbers(self, components: int) -> int:
        """Return the numbers for each coordinate that maps take on a device."""
        return numbers_of_maps(components)

    def free_memory(self, workers: Any) -> float:
        """Return the bytes free on the chosen devices together, if all get the same share."""
        chosen = devices(workers)
        return len(chosen) * min(free_bytes(n) / chosen.count(n) for n in set(chosen))

    def compile_seconds(self) -> float:
        """Return the seconds spent on compiling kernels in this process so far."""
        return compile_seconds()

    def philox4x32(
        self, counters: NDArray[np.uint32], keys: NDArray[np.uint32]
    ) -> NDArray[np.uint32]:
        """Return the words of the generator, (m, 4), for counters (m, 4) and keys (m, 2)."""
        words = np.zeros((len(counters), 4), dtype=np.uint32)
        _run_on_rows(philox_rows, (counters.ravel(), keys.ravel()), words)
        return words

    def normals(self, words: NDArray[np.uint32]) -> NDArray[np.float32]:
        """Return four normals for each row of four words, (m, 4)."""
        z = np.zeros((len(words), 4), dtype=np.float32)
        _run_on_rows(normal_rows, (words.ravel(),), z)
        return z

    def takes_formula(
        self, coordinates: int, components: int, rule: int, leaps: bool, bands: bool
    ) -> bool:
        """Whether curvatures may be a `Formula`: they may always."""
        return True

    def start(
        self, noise: Noise, mean: Floats, deviation: Floats, workers: Any, size: int | None = None
    ) -> Floats:
        """Return the initial iterates, (replicas, d)."""
        mean, deviation = spread(mean, deviation, size)
        shape = noise.replicas.size, mean.size
        with cuda.gpus[devices(workers)[0]], explained():
            w = cuda.device_array(shape[0] * shape[1])
            given = [cuda.to_device(np.ascontiguousarray(x)) for x in (mean, deviation)]
            blocks = grid(mean.size // LEAF, shape[0])
            launch(start_rows, blocks, LEAF, 0, copy_to_device(noise, 0), *given, w)
            found: Floats = w.copy_to_host().reshape(shape)
        return found

    def advance(self, chunk: Chunk) -> Measured:
        """Go through a chunk step by step."""
        return self._go_through(chunk, leaps=False)

    def leap(self, chunk: Chunk) -> Measured:
        """Go through a chunk by leaps."""
        return self._go_through(chunk, leaps=True)

    def _go_through(self, chunk: Chunk, leaps: bool) -> Measured:
        """Copy the state to the devices, go through the chunk, and copy it back."""
        noise, model, timeline, state, alive, workers = chunk
        on_devices = self.new_state(noise, model, state, workers)
        on_devices.launch(timeline, alive, leaps)
        measured, _ = on_devices.collect()
        state[:] = on_devices.read()
        return measured

    def new_state(
        self,
        noise: Noise,
        model: Model,
        state: Floats,
        workers: Any,
        formula: Formula | None = None,
    ) -> BackendState:
        """Put the state of some coordinates on the devices."""
        return GpuState(self, noise, model, state, workers, formula)


BACKEND = CudaBackend()
