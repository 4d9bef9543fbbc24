"""Runs of whole paths, setting by setting and replica by replica, each through all its records.

No record is complete before all paths are. A run in a file saves the paths that are done, and goes
on with the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array
from ..kernels.contract import LIMIT
from ..machine.parallel import threads_limited
from ..output.progress import rated
from .execution import ending
from .experiment import Experiment
from .recorder import KernelSeconds, Recorder, RunProgress
from .result import Run, with_public_axes
from .signals import Signals


class Part(NamedTuple):
    """The next paths of a setting."""

    values: Array
    """Their records, shape (records, paths, rows)."""
    states: Array | None = None
    """Their last states, shape (paths, components, d), where they are kept."""


Rest = Callable[[int, int], Generator[Part]]
"""Yields the paths of a setting from a replica on, in the order in which they are added."""


class Paths:
    """The records of all paths that were sampled so far, setting by setting, replica by replica."""

    def __init__(
        self, experiment: Experiment, recorder: Recorder, states: Sequence[Array] | None
    ) -> None:
        self._experiment = experiment
        settings, replicas = len(experiment.settings), experiment.replicas.size
        shape = experiment.records.size, settings, replicas, experiment.layout.size
        self.values = np.zeros(shape)
        self.states = states
        """Last states of each setting, (replicas, components, d), if they are kept."""
        self.total = settings * replicas
        """Paths of all settings."""
        self.done = 0
        """Paths that were sampled."""
        saved = recorder.take_saved_state()
        if saved is not None:
            self.values, self.done = saved["values"], int(saved["paths"])
            for number, state in enumerate(states or ()):
                state[:] = saved[f"state_{number}"]
        self._earlier = recorder.earlier_kernel_seconds
        self._begin = time.perf_counter()
        self._undiverged = np.full((settings, replicas), -1, dtype=np.int64)

    def rest(self, sampled: Rest) -> Generator[Part]:
        """Sample paths that are not done, in the order in which they are to be added."""
        while self.done < self.total:
            yield from sampled(*divmod(self.done, self.values.shape[2]))

    def add(self, part: Part) -> None:
        """Add the next paths of a setting."""
        number, first = divmod(self.done, self.values.shape[2])
        chosen = slice(first, first + part.values.shape[1])
        self.values[:, number, chosen] = part.values
        if self.states is not None:
            self.states[number][chosen] = part.states
        self.done += part.values.shape[1]

    def progress(self) -> RunProgress:
        """Say how far the run has come; no record is complete before all paths are."""
        seconds = self._earlier.compute + time.perf_counter() - self._begin
        steps = self.done * self._experiment.problem.dim * self._experiment.steps
        return RunProgress(
            0,
            self.values,
            self._undiverged,
            steps,
            KernelSeconds(self._earlier.compile, seconds),
            self._saved,
        )

    def _saved(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of a checkpoint."""
        states = {f"state_{number}": state for number, state in enumerate(self.states or ())}
        return {"values": self.values, "paths": np.array(self.done)} | states


def execute_paths(
    experiment: Experiment,
    sampled: Rest,
    stats: dict[str, Any],
    states: Sequence[Array] | None,
    signals: Signals,
    recorder: Recorder,
) -> Run:
    """Sample all paths, or those that were not when the recorder has saved the others.

    `stats` are the first facts of the run, with its threads; `states` arrays for the last states.
    """
    paths = Paths(experiment, recorder, states)
    with (
        threads_limited(stats["threads"]),
        rated("simulation", paths.total, "replicas") as report,
        closing(paths.rest(sampled)) as rest,
    ):
        for part in rest:
            paths.add(part)
            now = paths.progress()
            with signals.shield():
                recorder.event(now)
                stopped = signals.number is not None
                if stopped:
                    recorder.stop(now)
            report(paths.done)
            if stopped:
                break
            signals.waiting = True
    with signals.shield():
        run = recorder.finish(_as_run(experiment, paths, stats, signals, recorder))
    return run if experiment.listed else run.only_setting()


def _as_run(
    experiment: Experiment,
    paths: Paths,
    stats: dict[str, Any],
    signals: Signals,
    recorder: Recorder,
) -> Run:
    """Make a run of the paths, with an axis of settings."""
    now = paths.progress()
    stats = stats | {
        "coordinate_steps": now.coordinate_steps,
        "compile": now.kernel_seconds.compile,
        "compute": now.kernel_seconds.compute,
        "write": recorder.write_seconds,
    }
    values, records = paths.values, experiment.records
    diverged_at = first_divergence(values[..., 0], records)
    status, message = ending(experiment, diverged_at)
    states = None if paths.states is None else tuple(paths.states)
    if paths.done < paths.total:
        stats["signal"] = signals.number
        status, values, records, states = "interrupted", values[:0], records[:0], None
        counted = f"after {paths.done} of {paths.total} replicas of all settings"
        message = f"{counted}, so that no record is complete"
        diverged_at = np.full_like(diverged_at, -1)
    public = with_public_axes(values, records, diverged_at)
    return Run(
        records.copy(),
        experiment.layout.split(public),
        status,
        message,
        diverged_at,
        states,
        stats,
        experiment,
    )


def first_divergence(risk: Array, records: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first record at which a risk is beyond all limits, or -1; (settings, replicas)."""
    if not records.size:
        return np.full(risk.shape[1:], -1)
    is_beyond = ~(risk <= LIMIT)
    first = np.where(is_beyond.any(axis=0), np.argmax(is_beyond, axis=0), -1)
    return np.where(first >= 0, records[first], -1)
