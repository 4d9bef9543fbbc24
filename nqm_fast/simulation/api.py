"""The Monte Carlo engine: the model itself, sample by sample."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..algorithms.base import Algorithm
from ..algorithms.stability import largest_stable_lr
from ..kernels import noise as numbering
from ..kernels.contract import NO_STEP, Noise
from ..problem import Problem
from ..progress import rated
from ..schedules import Schedule
from ..store import access
from ..validation import InputError, number
from .chunking import ChunkSizer
from .controller import Controller
from .experiment import Experiment, as_experiment
from .fingerprint import fingerprint
from .loops import Outcome, by_blocks, by_steps
from .lowering import grouped
from .memory import LoopOrder, check_memory, chosen_order, saved_order
from .observables import RISK
from .recorder import Recorder
from .resources import Resources, as_resources
from .result import Run, arranged
from .signals import Signals, Stopped, caught, ending
from .task import Task

if TYPE_CHECKING:
    from ..store.reading import Stored

IN_MEMORY = 1 << 28  # bytes of coordinates above which they are worked through in blocks
STREAMED = 1 << 32  # the same for a run whose records are to be read while it goes on


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM, SIGHUP), and the run, if it had begun, is saved."""

    def __init__(self, number: int, run: Run | None) -> None:
        super().__init__(128 + number)
        self.number, self.run = number, run


def simulate(
    problem: Problem,
    algorithm: Algorithm | Sequence[Algorithm],
    batch_size: ArrayLike | Schedule | Sequence[Any],
    steps: int,
    *,
    replicas: int | Sequence[int] = 1,
    seed: int = 0,
    record: ArrayLike | None = None,
    sampling: str = "minibatch",
    data: str = "normal",
    df: float | None = None,
    backend: str = "auto",
    threads: int | None = None,
    devices: int | Sequence[int] | None = None,
    bands: ArrayLike | None = None,
    observe: str | Sequence[str] = (RISK,),
    keep_state: bool = False,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    checkpoint_every: float = 60.0,
) -> Run:
    """Simulate the model and record its excess risk ``1/2 sum h w_t^2``.

    Noise is a pure function of seed, replica, coordinate, step and sample (a counter-based
    generator, Philox4x32-10), and all arithmetic has one order: the same arguments give the
    same bits whatever the backend, the number of threads and the steps recorded, and
    whichever replicas and settings are simulated together.

    Parameters
    ----------
    problem : Problem
        With d coordinates and no counts other than 1.
    algorithm : Algorithm, or list of G
        Such as ``nqm.SGD(0.1, momentum=0.9)``. The settings of a list see one noise stream
        (common random numbers), which takes most of the variance out of comparisons.
    batch_size : number, array_like of shape (steps,), or schedule; or list of G of them
        Samples per step, >= 1; whole numbers for ``sampling="per-sample"``.
    steps : int
        Steps to simulate, >= 0.
    replicas : int or sequence of int
        How many independent runs, or the numbers of those to run.
    seed : int
        In [0, 2^64).
    record : int or array_like of int, optional
        Every so many steps, with 0 and the last; or the steps themselves. By default about
        200 that are evenly spaced in log(t), with 0 and the last.
    sampling : {"minibatch", "per-sample", "leap"}
        "minibatch" draws the mean of the batch, exact in law for normal data. "per-sample"
        draws and averages every sample. "leap" draws the state from record to record, exact
        in law, at a cost that does not depend on the steps between; its jumps, and so its
        bits, depend on `record`, and schedules must be piecewise constant.
    data : {"normal", "uniform", "rademacher", "laplace", "student-t"}
        Law of the data; all but "normal" need ``sampling="per-sample"``.
    df : float, optional
        Degrees of freedom of "student-t", > 2; 5 by default.
    backend : {"auto", "numba", "cython", "numpy", "cuda"}
        "auto" is the first of these that is installed, but never "cuda", an NVIDIA GPU; all
        give the same bits.
    threads : int, optional
        All cores by default, or as many as the environment variable NQM_NUM_THREADS says.
    devices : int or sequence of int, optional
        Numbers of the GPUs to use with ``backend="cuda"``, as ``nqm-fast info`` shows them;
        the first by default. Several share the coordinates.
    bands : int or array_like, optional
        Also record the risk by curvature: this many bands of equal width in log(h), or the
        ascending edges of bands.
    observe : str or sequence of str
        What to record beside the risk, which always is: "weight_norm" is the squared norm of the
        evaluated iterate. Everything observed is in the run's `observed`, and an attribute of it.
    keep_state : bool
        Return the state after the last step. Without it, problems too large for memory are
        worked through in blocks of coordinates.
    out : path, optional
        An HDF5 file that records are written to while they are computed; read it, also
        meanwhile, with `open_run`. After an interruption or a kill, `resume` goes on.
    overwrite : bool
        Replace the run that is in `out`.
    checkpoint_every : float
        Seconds between checkpoints, >= 0; longer where they would take over 1 % of the time.

    Returns
    -------
    Run
        With `steps` (records,), `risk` (replicas, records), `state`, `status` and `stats`;
        `risk` and all else observed have a leading axis G for a list of settings. Ctrl-C returns
        the run so far, with the status "interrupted"; where nothing is done yet, it is a
        KeyboardInterrupt.
        With `out`, SIGTERM and SIGHUP save the run and then end the process, with status 143
        or 129.

    Raises
    ------
    InputError
        If an argument is outside its limits, does not go with another, or needs more memory
        than there is; if `out` exists, or another process is writing it.
    MemoryError
        If a GPU's memory is taken by others meanwhile. A run with `out` is saved first.
    OSError
        If `out` cannot be written. What was saved remains.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(100)
    >>> run = nqm.simulate(problem, nqm.SGD(0.1), 8, 50, replicas=20, record=[50])
    >>> bool(abs(run.risk.mean() / nqm.expected_risk(problem, nqm.SGD(0.1), 8, 50) - 1) < 0.1)
    True
    """
    experiment = as_experiment(
        problem,
        algorithm,
        batch_size,
        steps,
        replicas=replicas,
        seed=seed,
        record=record,
        sampling=sampling,
        data=data,
        df=df,
        bands=bands,
        keep_state=keep_state,
        observe=observe,
    )
    resources = as_resources(backend, threads, devices)
    if out is None:
        with caught([signal.SIGINT]) as signals:
            return _carried_out(_planned(experiment, resources, IN_MEMORY), signals, Recorder())
    every = number("checkpoint_every", checkpoint_every, least=0.0)
    plan = _planned(experiment, resources, STREAMED)  # before anything is overwritten
    new = access.created(out, experiment, fingerprint(plan.task), bool(overwrite), every)
    with _recording(new) as (signals, recorder):
        return _carried_out(plan, signals, recorder)


def resume(
    path: str | os.PathLike[str],
    *,
    backend: str = "auto",
    threads: int | None = None,
    devices: int | Sequence[int] | None = None,
    checkpoint_every: float = 60.0,
) -> Run:
    """Go on with a run that was interrupted or killed, to the same bits as without a break.

    Parameters
    ----------
    path : path
        What was the argument `out` of `simulate`.
    backend, threads, devices, checkpoint_every
        As in `simulate`; they need not be those of before.

    Returns
    -------
    Run
        The whole run; of one that is finished, what is in the file.

    Raises
    ------
    InputError
        If the file is damaged, foreign or from a newer version, or if another process is
        writing it.
    FileNotFoundError
        If there is no such file.
    OSError
        If it cannot be written. What was saved remains.
    """
    resources = as_resources(backend, threads, devices)
    every = number("checkpoint_every", checkpoint_every, least=0.0)
    plans: list[Plan] = []

    def check(stored: Stored) -> None:
        plans.append(_planned(stored.experiment, resources, STREAMED))
        if fingerprint(plans[0].task) != stored.header["fingerprint"]:
            raise InputError(
                f"path {str(path)!r} cannot be gone on with here: powers or schedules come out "
                "with other last bits than where it was begun, as of another library of mathematics"
            )

    with _recording(access.reopened(path, every, check)) as (signals, recorder):
        if recorder is None:
            return access.open_run(path)
        return _carried_out(plans[0], signals, recorder)


Opened = TypeVar("Opened")


@contextmanager
def _recording(
    opening: AbstractContextManager[Opened],
) -> Generator[tuple[Signals, Opened]]:
    """Open a recorder, and notice signals that ask for the end.

    Those that do not mean Ctrl-C end the process.
    """
    with caught(ending()) as signals:
        try:
            with ExitStack() as opened:  # which closes the files also where a signal comes here
                with signals.shield():
                    recorder = opened.enter_context(opening)
                yield signals, recorder
        except Stopped as stopped:
            if stopped.number != signal.SIGINT:
                raise Terminated(stopped.number, None) from None
            raise


@dataclass(frozen=True)
class Plan:
    """How an experiment is carried out."""

    experiment: Experiment
    resources: Resources
    task: Task
    order: LoopOrder


def _planned(experiment: Experiment, resources: Resources, most: int) -> Plan:
    """By blocks, if its state takes more than so many bytes."""
    task = _as_task(experiment, resources)
    order = chosen_order(task, experiment.keep_state, most)
    check_memory(task, order, experiment.keep_state)
    return Plan(experiment, resources, task, order)


def _carried_out(plan: Plan, signals: Signals, recorder: Recorder) -> Run:
    """The run, from the start or from where it was saved; the process ends if asked to."""
    experiment, resources, task = plan.experiment, plan.resources, plan.task
    saved, order = recorder.taken(), plan.order
    if saved is not None:
        order = saved_order(task, saved)
        check_memory(task, order, experiment.keep_state)
    chunk_sizer = ChunkSizer(task, order.coordinates)
    total = task.problem.dim * task.steps * task.settings * task.replicas
    with rated("simulation", total, "coordinate-steps") as report:
        controller = Controller(chunk_sizer, signals, recorder, report)
        if order.in_blocks:
            outcome = by_blocks(task, controller, saved)
        else:
            outcome = by_steps(task, controller, saved, experiment.keep_state)
    stats = {
        **resources.facts,
        "order": "blocks" if order.in_blocks else "steps",
        "coordinate_steps": outcome.coordinate_steps,
        "compile": controller.compile,
        "compute": controller.compute,
        "write": recorder.seconds,
    }
    if outcome.interrupted:
        stats["signal"] = signals.number
    with signals.shield():
        run = recorder.finish(_as_run(experiment, task, outcome, stats))
    run = run if experiment.listed else run.only_setting()
    if outcome.interrupted and signals.number not in (None, signal.SIGINT):
        raise Terminated(int(signals.number or 0), run)
    return run


def _as_task(experiment: Experiment, resources: Resources) -> Task:
    """The experiment as the engine takes it."""
    seed, data = experiment.seed, experiment.data
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint64)
    summed = experiment.sampling == "per-sample"
    law = numbering.LAWS[data]
    parameter = np.float32(2.0 / experiment.df)
    return Task(
        experiment.problem,
        grouped(experiment.settings),
        experiment.steps,
        experiment.records,
        Noise(key, experiment.replicas, 0, law.code, summed, parameter),
        law.scale(experiment.df) if summed else None,
        experiment.sampling == "leap",
        experiment.layout,
        resources.backend,
        resources.workers,
    )


def _as_run(experiment: Experiment, task: Task, outcome: Outcome, stats: dict[str, Any]) -> Run:
    """The outcome with axes as in the public API, and words for what happened."""
    diverged_at = outcome.diverged_at
    steps = task.records[: outcome.records]
    values = arranged(outcome.values[: steps.size], steps, diverged_at)
    status, message = "finished", ""
    if (diverged_at >= 0).any():
        status, message = "diverged", _divergence(experiment, task, diverged_at)
    if outcome.interrupted:
        status = "interrupted"
        in_blocks = stats["order"] == "blocks"
        total = task.problem.dim if in_blocks else task.steps
        of = "coordinates, so that no record is complete" if in_blocks else "steps"
        message = " ".join([f"after {outcome.done} of {total} {of}", message]).strip()
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


def _divergence(experiment: Experiment, task: Task, diverged_at: NDArray[np.int64]) -> str:
    """When the first setting diverged, and what to change."""
    when = np.where(diverged_at < 0, NO_STEP, diverged_at)
    g, r = divmod(int(np.argmin(when)), when.shape[1])
    algorithm = experiment.settings[g].algorithm
    which = f"setting {g}, " if len(experiment.settings) > 1 else ""
    return (
        f"{which}{algorithm!r} diverged at step {when[g, r]} (replica "
        f"{experiment.replicas[r]}): lower the learning rate; constant ones are stable up to "
        f"about {largest_stable_lr(algorithm, task.problem.curvature_range):.4g} here"
    )
