"""Runs of least squares on drawn features, in which all coordinates go in step.

Noise that depends on the iterate needs a sum over all coordinates for every sample. So a replica
goes through the steps as a whole, a thread for each, and is not cut into tiles of coordinates.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..exact.coupled.maps import CoupledBlock, Recurrences
from ..exact.timeline import weighted_segments
from ..kernels.contract import Noise, padded
from ..kernels.feature_laws import KURTOSIS
from ..kernels.features import Samples
from ..kernels.noise import LAWS
from ..kernels.reference import tree_sum
from ..noise import Gaussian
from ..parallel import in_threads, threads_limited
from ..validation import Array, InputError, shown
from .collapsed import first_divergence
from .execution import ending
from .experiment import Experiment
from .lowering import band_numbers, pad_to_leaves
from .result import Run, with_public_axes
from .settings import Setting

KERNELS = {"numba": "numba.features", "cython": "cython_cpu", "numpy": "features"}
"""Modules of kernels that take all coordinates in step, by the name of their backend."""
WORTH_COMPILING = 1 << 22
"""Samples of coordinates that take NumPy as long as Numba takes to compile, roughly."""
MOST_NUMBERS = 1 << 26
"""Coordinates times components of a state that is taken in step."""


def check_features(experiment: Experiment, devices: Any, files: Any, executor: Any) -> None:
    """Refuse what a run of drawn features cannot have.

    Raises
    ------
    InputError
        If it is asked for, or the features have another kurtosis than the noise.
    """
    noise = experiment.problem.noise_model
    if not isinstance(noise, Gaussian):
        raise InputError(
            f"problem must have noise that is the same everywhere or nqm.noise.Gaussian for "
            f"simulate, not {noise!r}"
        )
    if experiment.sampling not in ("minibatch", "per-sample"):
        raise InputError(
            f"sampling must be 'minibatch' or 'per-sample' for noise that depends on the iterate, "
            f"where all samples are drawn in step, not {experiment.sampling!r}"
        )
    kurtosis = KURTOSIS.get(experiment.data)
    if kurtosis != noise.kurtosis:
        laws = ", ".join(f"{name!r} has {x:g}" for name, x in KURTOSIS.items())
        raise InputError(
            f"data = {experiment.data!r} must be features of the kurtosis {noise.kurtosis:g} that "
            f"the problem's noise has: {laws}"
        )
    for name, value, what in (
        ("devices", devices, "which runs on the CPU"),
        ("out", files, "whose runs are in memory only"),
        ("executor", executor, "whose coordinates go in step"),
        ("coordinates", experiment.coordinates, "whose coordinates go in step"),
    ):
        if value is not None:
            raise InputError(
                f"{name} must be left out for noise that depends on the iterate, {what}"
            )


def run_features(experiment: Experiment, backend: str, threads: int) -> Run:
    """Sample all replicas under all settings.

    Raises
    ------
    InputError
        If the backend has no such kernel, or a batch is not a whole number.
    """
    begin = time.perf_counter()
    name, advance = _kernel(experiment, backend)
    layout, replicas, records = experiment.layout, experiment.replicas, experiment.records
    values = np.zeros((records.size, len(experiment.settings), replicas.size, len(layout.rows)))
    states: list[Array] = []
    with threads_limited(threads):
        for number, setting in enumerate(experiment.settings):
            states.append(_sample(experiment, setting, advance, name, values[:, number]))
    diverged_at = first_divergence(values[..., 0], records)
    status, message = ending(experiment, diverged_at)
    run = Run(
        records.copy(),
        layout.split(with_public_axes(values, records, diverged_at)),
        status,
        message,
        diverged_at,
        tuple(states) if experiment.keep_state else None,
        {"backend": name, "threads": threads, "order": "steps",
         "compute": time.perf_counter() - begin},
        experiment,
    )  # fmt: skip
    return run if experiment.listed else run.only_setting()


def _kernel(experiment: Experiment, backend: str) -> tuple[str, Callable[..., None]]:
    """Return the name of a backend, and its kernel."""
    problem = experiment.problem
    work = problem.dim * experiment.steps * experiment.replicas.size * len(experiment.settings)
    if backend == "auto":
        is_long = work >= WORTH_COMPILING and kernels.is_installed("numba")
        ahead = "cython" if kernels.is_installed("cython") else "numpy"
        backend = "numba" if is_long else ahead
    if backend not in KERNELS:
        raise InputError(
            f"backend must be {' or '.join(map(repr, KERNELS))} for noise that depends on the "
            f"iterate, not {shown(backend)}"
        )
    module = import_module(f"..kernels.{KERNELS[backend]}", __package__)
    return backend, module.advance_features


def _sample(
    experiment: Experiment,
    setting: Setting,
    advance: Callable[..., None],
    backend: str,
    values: Array,
) -> Array:
    """Write the records of one setting, (records, replicas, rows); the last states are returned."""
    problem, records = experiment.problem, experiment.records
    h, c = problem.h, problem.c
    noise = problem.noise_model
    assert noise is not None
    _, shared, weight = noise.coupling(h, c)
    block = CoupledBlock(h, c, np.ones(h.size), np.ones(h.size), shared, shared, weight)
    rows = Recurrences(setting.linear, block)
    n, size = rows.kicks.shape[2], padded(h.size)
    if n * size > MOST_NUMBERS:
        raise InputError(
            f"problem has {problem.dim} coordinates, more than the {MOST_NUMBERS // n} that are "
            "simulated in step"
        )
    key = np.array([experiment.seed & 0xFFFFFFFF, experiment.seed >> 32], dtype=np.uint64)
    samples = Samples(
        LAWS[experiment.data].code,
        key,
        pad_to_leaves(np.sqrt(weight), h.size),
        pad_to_leaves(np.array(weight), h.size),
        pad_to_leaves(np.sqrt(c), h.size),
        rows.point_vector,
    )
    legs = _legs(setting, rows, records, experiment.steps, h.size)
    measure = _Measure(experiment, rows.read_vector, h)
    stream = Noise(key, experiment.replicas.copy(), 0, 0, False, np.float32(0.0))
    mean, deviation = (pad_to_leaves(x, h.size) for x in (problem.mean0, np.sqrt(problem.var0)))
    start = kernels.load_backend(backend).start(stream, mean, deviation, 1)
    states = np.zeros((experiment.replicas.size, n, size))

    def run(replica: int) -> None:
        """Take a replica through all steps."""
        state = states[replica]
        state[:] = rows.start_vector[:, None] * start[replica]
        taken = 0
        for begin, end, change, kick, batch in legs:
            if begin < end:
                number = int(experiment.replicas[replica])
                advance(samples, change, kick, batch, number, begin, end, state)
            if taken < records.size and records[taken] == end:
                measure(state, values[taken, replica])
                taken += 1

    in_threads(run, range(experiment.replicas.size), "simulation")
    return states[:, :, : h.size]


Leg = tuple[int, int, Array, Array, int]
"""First step and end of steps of equal settings, their ``A - I`` and b, and the batch size."""


def _legs(
    setting: Setting, rows: Recurrences, records: NDArray[np.int64], steps: int, size: int
) -> list[Leg]:
    """Cut all steps at records, and where a setting changes.

    Raises
    ------
    InputError
        If a batch is not a whole number of samples.
    """
    legs: list[Leg] = []
    nothing = np.zeros(0)
    if records.size and records[0] == 0:
        legs.append((0, 0, nothing, nothing, 1))
    stops = np.union1d(records, [steps])
    for part in weighted_segments(setting.linear, setting.batch_size, max(steps, 1)):
        for first, length, weights, inverse in zip(
            part.start.tolist(), part.length.tolist(), part.weights, part.inverse_batch, strict=True
        ):
            last = min(first + length, steps)
            batch = round(1.0 / inverse)
            if batch != round(1.0 / inverse, 9):
                raise InputError(
                    f"batch_size must be whole numbers, as samples are drawn, not {1.0 / inverse:g}"
                )
            K, b = rows.matrices(weights)
            change = np.stack([[pad_to_leaves(np.ascontiguousarray(x), size) for x in row]
                               for row in np.moveaxis(K, 0, 2)])  # fmt: skip
            kick = np.stack([pad_to_leaves(np.ascontiguousarray(x), size) for x in b.T])
            inside = stops[(stops > first) & (stops < last)].tolist()
            edges = [first, *inside, last] if first < last else []
            legs += [(begin, end, change, kick, batch) for begin, end in itertools.pairwise(edges)]
    return legs


class _Measure:
    """The rows of a record, each a sum over coordinates in the order of the contract."""

    def __init__(self, experiment: Experiment, read: Array, h: Array) -> None:
        layout = experiment.layout
        self._read = read
        weights = [weight(h) for weight in layout.weights]
        band = np.zeros(h.size, dtype=np.int64)
        if layout.edges is not None:
            band = band_numbers(layout.edges, h)
        self._rows = [
            pad_to_leaves(weights[w] * ((group == 0) | (band == group)), h.size)
            for w, group in layout.rows.tolist()
        ]

    def __call__(self, state: Array, out: Array) -> None:
        """Write the rows of a state to `out`."""
        x = self._read[0] * state[0]
        for a in range(1, len(state)):
            x = x + self._read[a] * state[a]
        with np.errstate(over="ignore", invalid="ignore"):
            for row, weight in enumerate(self._rows):
                out[row] = tree_sum((weight * x) * x)
