"""The execution of an experiment: it is planned, carried out, and its outcome put in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algorithms.base import RuleAlgorithm
from ..exact.stability import largest_stable_lr
from ..kernels import noise
from ..kernels.contract import NO_STEP, Load, Noise
from ..output.progress import rated
from ..schedules.timeline import values_at
from .chunking import ChunkSizer
from .controller import Controller
from .experiment import Experiment
from .fingerprint import fingerprint
from .loops import Outcome, by_blocks, by_steps
from .lowering import Group, group_settings
from .memory import LoopOrder, check_memory, choose_order, saved_order
from .recorder import Recorder
from .resources import Resources, Wanted
from .result import Run, with_public_axes
from .signals import Signals
from .task import Task


@dataclass(frozen=True)
class ExecutionPlan:
    """How an experiment is carried out: by which resources, and in which order of the loops."""

    experiment: Experiment
    resources: Resources
    task: Task
    order: LoopOrder

    def fingerprint(self) -> str:
        """Tell whether another machine starts from the same numbers."""
        return fingerprint(self.experiment)

    def execute(self, signals: Signals, recorder: Recorder) -> Run:
        """Compute the run from its start, or from the state that the recorder has saved."""
        return execute(self, signals, recorder)


SECONDS_PER_STEP = 5e-10
"""Time of a coordinate-step on one core, in which a backend is chosen; also of a drawn sample."""
SECONDS_PER_LEAP = 1e-7
"""Time of a coordinate's leap, roughly."""


def plan_execution(experiment: Experiment, wanted: Wanted, most_bytes: int) -> ExecutionPlan:
    """Plan to work in blocks if the state takes more than `most_bytes`, and check the memory.

    Raises
    ------
    InputError
        If there is too little memory, or the backend cannot do it.
    """
    groups = groups_of(experiment)
    resources = wanted.resources(load_of(experiment, wanted.threads, groups))
    task = _as_task(experiment, groups, resources)
    order = choose_order(task, experiment.keep_state, most_bytes)
    check_memory(task, order, experiment.keep_state)
    return ExecutionPlan(experiment, resources, task, order)


def execute(plan: ExecutionPlan, signals: Signals, recorder: Recorder) -> Run:
    """Compute the run from its start, or from the state that the recorder has saved."""
    experiment, task, order = plan.experiment, plan.task, plan.order
    saved = recorder.take_saved_state()
    if saved is not None:
        order = saved_order(task, saved)
        check_memory(task, order, experiment.keep_state)
    chunk_sizer = ChunkSizer(task, order.coordinates)
    total = task.problem.dim * task.steps * task.setting_count * task.replica_count
    with rated("simulation", total, "coordinate-steps") as report:
        controller = Controller(chunk_sizer, signals, recorder, report)
        if order.in_blocks:
            outcome = by_blocks(task, controller, saved)
        else:
            outcome = by_steps(task, controller, saved, experiment.keep_state)
    stats = {
        **plan.resources.stats,
        "order": "blocks" if order.in_blocks else "steps",
        "coordinate_steps": outcome.coordinate_steps,
        "compile": controller.compile_seconds,
        "compute": controller.compute_seconds,
        "write": recorder.write_seconds,
    }
    if outcome.interrupted:
        stats["signal"] = signals.number
    with signals.shield():
        run = recorder.finish(_as_run(experiment, task, outcome, stats))
    return run if experiment.listed else run.only_setting()


def groups_of(experiment: Experiment) -> list[Group]:
    """Group the settings of an experiment."""
    return group_settings(experiment.settings, experiment.steps, experiment.sampling == "leap")


def load_of(experiment: Experiment, threads: int, groups: Sequence[Group]) -> Load:
    """Estimate how large a run of settings in these groups is."""
    leaps = experiment.sampling == "leap"
    each = experiment.problem.dim * experiment.replicas.size / threads
    if leaps:
        steps = len(experiment.settings) * experiment.records.size * SECONDS_PER_LEAP
    else:
        samples = [s.batch_size.least if experiment.sampling == "per-sample" else 1.0
                   for s in experiment.settings]  # fmt: skip
        steps = sum(samples) * experiment.steps * SECONDS_PER_STEP
    components = tuple(sorted({group.components for group in groups if not group.rule}))
    has_rules = any(group.rule for group in groups)
    dim = experiment.problem.dim
    replicas, seconds = experiment.replicas.size, each * steps
    summed = experiment.sampling == "per-sample"
    return Load(components, dim, replicas, threads, leaps, seconds, has_rules, summed)


def _as_task(experiment: Experiment, groups: list[Group], resources: Resources) -> Task:
    """Bring the experiment to the form that the loops take."""
    seed = experiment.seed
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint64)
    per_sample = experiment.sampling == "per-sample"
    law = noise.LAWS[experiment.data]
    parameter = np.float32(2.0 / experiment.df)
    first = 0 if experiment.coordinates is None else experiment.coordinates.first
    return Task(
        experiment.problem,
        groups,
        experiment.steps,
        experiment.records.copy(),  # Kernels take arrays that may be written to.
        Noise(key, experiment.replicas.copy(), first, law.code, per_sample, parameter),
        law.scale(experiment.df) if per_sample else None,
        experiment.sampling == "leap",
        experiment.layout,
        resources.backend,
        resources.workers,
        experiment.traced - first,
    )


def _as_run(experiment: Experiment, task: Task, outcome: Outcome, stats: dict[str, Any]) -> Run:
    """Make a run of the outcome, with an axis of settings, and a message for what happened."""
    diverged_at = outcome.diverged_at
    steps = task.records[: outcome.records]
    values = with_public_axes(outcome.values[: steps.size], steps, diverged_at)
    status, message = ending(experiment, diverged_at)
    if outcome.interrupted:
        status = "interrupted"
        in_blocks = stats["order"] == "blocks"
        total = task.problem.dim if in_blocks else task.steps
        unit = "coordinates, so that no record is complete" if in_blocks else "steps"
        message = " ".join([f"after {outcome.done} of {total} {unit}", message]).strip()
    return Run(
        steps,
        task.layout.split(values),
        status,
        message,
        diverged_at,
        None if outcome.states is None else tuple(outcome.states),
        stats,
        experiment,
    )


def ending(experiment: Experiment, diverged_at: NDArray[np.int64]) -> tuple[str, str]:
    """The status of a run that has ended, and a message: which setting diverged first, and when."""
    if not (diverged_at >= 0).any():
        return "finished", ""
    step = np.where(diverged_at < 0, NO_STEP, diverged_at)
    g, r = divmod(int(np.argmin(step)), step.shape[1])
    algorithm, batch_size = experiment.settings[g]
    setting = f"setting {g}, " if len(experiment.settings) > 1 else ""
    message = (
        f"{setting}{algorithm!r} diverged at step {step[g, r]} (replica "
        f"{experiment.replicas[r]}): lower the learning rate"
    )
    if not isinstance(algorithm, RuleAlgorithm):
        first = float(values_at(batch_size, np.zeros(1, dtype=np.int64))[0])
        limit = largest_stable_lr(experiment.problem, algorithm, first)
        message += f"; constant ones are stable up to about {limit:.4g} here"
    return "diverged", message
