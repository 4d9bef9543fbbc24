"""Runs under noise that depends on the iterate, in which all coordinates go in step.

Such noise needs a sum over all coordinates in every step, or for every sample. So a replica
goes through the steps as a whole, a thread for each, and is not cut into tiles of coordinates.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..algorithms.base import RuleAlgorithm
from ..exact.coupled.maps import CoupledBlock, Recurrences
from ..exact.timeline import weighted_segments
from ..foundation.validation import Array, InputError, shown
from ..kernels.contract import Noise, padded
from ..kernels.reference import tree_sum
from ..machine.parallel import each_in_threads
from .drawn_noise import DRAWN, DrawnNoise, key_of
from .experiment import Experiment
from .fingerprint import fingerprint
from .models import band_numbers, pad_to_leaves
from .paths import Part, execute_paths
from .recorder import Recorder
from .resources import Wanted
from .result import Run
from .settings import Setting
from .signals import Signals

WORTH_COMPILING = 1 << 22
"""Samples of coordinates that take NumPy as long as Numba takes to compile, roughly."""
MOST_NUMBERS = 1 << 26
"""Coordinates times components of a state that is taken in step."""


def plan_in_step(experiment: Experiment, wanted: Wanted) -> InStepPlan:
    """Plan to sample all replicas under all settings, each with all coordinates in step.

    Raises
    ------
    InputError
        If something is asked for that such a run cannot have, or what is drawn cannot be that of
        the problem's noise.
    """
    _check(experiment, wanted.devices)
    drawn = DRAWN[type(experiment.problem.noise_model)]
    name, advance = _kernel(experiment, drawn, wanted.name)
    samplers = [
        _Sampler(experiment, setting, drawn, advance, name) for setting in experiment.settings
    ]
    return InStepPlan(experiment, name, wanted.threads, tuple(samplers))


def _check(experiment: Experiment, devices: Any) -> None:
    """Refuse what such a run cannot have."""
    noise = experiment.problem.noise_model
    if type(noise) not in DRAWN:
        kinds = " or ".join(f"nqm.noise.{kind.__name__}" for kind in DRAWN)
        raise InputError(
            f"problem must have no description of noise, or {kinds}, for simulate, not {noise!r}"
        )
    if experiment.sampling not in ("minibatch", "per-sample"):
        raise InputError(
            f"sampling must be 'minibatch' or 'per-sample' for noise that depends on the iterate, "
            f"where all steps are taken one by one, not {experiment.sampling!r}"
        )
    for setting in experiment.settings:
        if isinstance(setting.algorithm, RuleAlgorithm):
            raise InputError(
                f"algorithm must be linear for noise that depends on the iterate, which "
                f"{setting.algorithm!r} is not"
            )
    for name, value, what in (
        ("devices", devices, "which runs on the CPU"),
        ("coordinates", experiment.coordinates, "whose coordinates go in step"),
    ):
        if value is not None:
            raise InputError(
                f"{name} must be left out for noise that depends on the iterate, {what}"
            )


@dataclass(frozen=True)
class InStepPlan:
    """A run of coordinates in step: it takes every replica of each setting through all steps."""

    experiment: Experiment
    backend: str
    threads: int
    samplers: tuple[_Sampler, ...]

    def fingerprint(self) -> str:
        """Tell whether another machine starts from the same numbers."""
        return fingerprint(self.experiment)

    def execute(self, signals: Signals, recorder: Recorder) -> Run:
        """Sample all replicas, or those that were not when the recorder has saved the others."""
        stats = {"backend": self.backend, "threads": self.threads, "order": "replicas"}
        experiment, states = self.experiment, None
        if experiment.keep_state:
            replicas, d = experiment.replicas.size, experiment.problem.dim
            states = [np.zeros((replicas, sampler.components, d)) for sampler in self.samplers]
        return execute_paths(experiment, self._sampled, stats, states, signals, recorder)

    def _sampled(self, number: int, first: int) -> Generator[Part]:
        """Sample the replicas of a setting, from one on to the last."""
        sampler = self.samplers[number]
        yield from each_in_threads(sampler, range(first, self.experiment.replicas.size))


def _kernel(
    experiment: Experiment, drawn: type[DrawnNoise], backend: str
) -> tuple[str, Callable[..., None]]:
    """Return the name of a backend, and its kernel."""
    problem = experiment.problem
    work = problem.dim * experiment.steps * experiment.replicas.size * len(experiment.settings)
    if backend == "auto":
        is_long = work >= WORTH_COMPILING and kernels.is_installed("numba")
        backend = "numba" if is_long else "numpy"
        if kernels.is_installed("cython"):
            backend = "cython"
    if backend not in drawn.kernels:
        raise InputError(
            f"backend must be {' or '.join(map(repr, drawn.kernels))} for noise that depends on "
            f"the iterate, not {shown(backend)}"
        )
    module = import_module(f"..kernels.{drawn.kernels[backend]}", __package__)
    return backend, getattr(module, drawn.kernel)


class _Sampler:
    """Samples the replicas of one setting."""

    def __init__(
        self,
        experiment: Experiment,
        setting: Setting,
        drawn: type[DrawnNoise],
        advance: Callable[..., None],
        backend: str,
    ) -> None:
        problem = experiment.problem
        h, c = problem.h, problem.c
        noise = problem.noise_model
        assert noise is not None
        _, shared, weight = noise.coupling(h, c)
        block = CoupledBlock(h, c, np.ones(h.size), np.ones(h.size), shared, shared, weight)
        self._rows = Recurrences(setting.linear, block)
        self.components = self._rows.kicks.shape[2]
        if self.components * padded(h.size) > MOST_NUMBERS:
            raise InputError(
                f"problem has {problem.dim} coordinates, more than the "
                f"{MOST_NUMBERS // self.components} that are simulated in step"
            )
        self._experiment, self._advance = experiment, advance
        self._drawn = drawn(experiment, self._rows)
        self._segments, self._legs = _legs(setting, self._drawn, experiment)
        self._measure = _Measure(experiment, self._rows.read_vector, h)
        self._mean = pad_to_leaves(problem.mean0, h.size)
        self._deviation = pad_to_leaves(np.sqrt(problem.var0), h.size)
        self._backend = kernels.load_backend(backend)

    def __call__(self, replica: int) -> Part:
        """Take a replica through all steps."""
        experiment, records = self._experiment, self._experiment.records
        number = experiment.replicas[replica : replica + 1].copy()
        stream = Noise(key_of(experiment.seed), number, 0, 0, False, np.float32(0.0))
        start = self._backend.start(stream, self._mean, self._deviation, 1)
        state = self._rows.start_vector[:, None] * start[0]
        values = np.zeros((records.size, 1, experiment.layout.size))
        taken = 0
        noise, at = self._drawn.described(), -1
        for begin, end, segment in self._legs:
            if begin < end:
                if segment != at:
                    at, samples = segment, self._segments[segment].samples
                    change, kick = self._coefficients(self._segments[segment])
                self._advance(noise, change, kick, samples, int(number[0]), begin, end, state)
            if taken < records.size and records[taken] == end:
                self._measure(state, values[taken, 0])
                taken += 1
        kept = state[None, :, : experiment.problem.dim] if experiment.keep_state else None
        return Part(values, kept)

    def _coefficients(self, segment: _Segment) -> tuple[Array, Array]:
        """Return ``A - I`` and the kick of a segment, (n, n, d) and (n, d), in whole leaves.

        They are made when they are used, as there may be as many segments as steps.
        """
        K, b = self._rows.matrices(segment.weights)
        size = len(b)
        change = np.stack([[pad_to_leaves(np.ascontiguousarray(x), size) for x in row]
                           for row in np.moveaxis(K, 0, 2)])  # fmt: skip
        kick = np.stack([pad_to_leaves(np.ascontiguousarray(x), size) for x in b.T])
        return change, self._drawn.kick(kick, segment.inverse_batch)


class _Segment(NamedTuple):
    """Steps of equal settings."""

    weights: Array
    """Factor of each term of the recurrence, shape (terms,)."""
    inverse_batch: float
    samples: int
    """How many samples a step draws."""


Leg = tuple[int, int, int]
"""First step and end of steps between records, and the number of their segment."""


def _legs(
    setting: Setting, drawn: DrawnNoise, experiment: Experiment
) -> tuple[list[_Segment], list[Leg]]:
    """Cut all steps at records, and where a setting changes.

    Raises
    ------
    InputError
        If a batch cannot be drawn.
    """
    segments: list[_Segment] = []
    legs: list[Leg] = []
    records, steps = experiment.records, experiment.steps
    if records.size and records[0] == 0:
        legs.append((0, 0, 0))
    stops = np.union1d(records, [steps])
    for part in weighted_segments(setting.linear, setting.batch_size, max(steps, 1)):
        for first, length, weights, inverse in zip(
            part.start.tolist(),
            part.length.tolist(),
            part.weights,
            part.inverse_batch.tolist(),
            strict=True,
        ):
            last = min(first + length, steps)
            inside = stops[np.searchsorted(stops, first, "right") : np.searchsorted(stops, last)]
            edges = [first, *inside.tolist(), last] if first < last else []
            legs += [(*pair, len(segments)) for pair in itertools.pairwise(edges)]
            segments.append(_Segment(weights, inverse, drawn.samples(inverse)))
    return segments, legs


class _Measure:
    """The rows of a record, sums over coordinates in the order of the contract, and paths."""

    def __init__(self, experiment: Experiment, read: Array, h: Array) -> None:
        layout = experiment.layout
        self._read, self._traced = read, experiment.traced
        weights = [weight(h) for weight in layout.weights]
        band = np.zeros(h.size, dtype=np.int64)
        if layout.edges is not None:
            band = band_numbers(layout.edges, h)
        self._rows = [
            pad_to_leaves(weights[w] * ((group == 0) | (band == group)), h.size)
            for w, group in layout.rows.tolist()
        ]

    def __call__(self, state: Array, out: Array) -> None:
        """Write the rows of a state to `out`, and the paths of its traced coordinates."""
        x = self._read[0] * state[0]
        for a in range(1, len(state)):
            x = x + self._read[a] * state[a]
        with np.errstate(over="ignore", invalid="ignore"):
            for row, weight in enumerate(self._rows):
                out[row] = tree_sum((weight * x) * x)
        paths = state[0, self._traced], x[self._traced]
        out[len(self._rows) :] = np.concatenate(paths)
