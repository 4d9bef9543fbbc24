"""The entry points of the Monte Carlo engine: `simulate` and `resume`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import ArrayLike

from ..algorithms.base import Algorithm
from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.validation import InputError, flag, number
from ..output.progress import shown
from ..problem import Problem
from ..schedules import Schedule
from ..simulation.experiment import Experiment, as_experiment, with_replicas
from ..simulation.observables import RISK
from ..simulation.resources import Wanted, as_resources
from ..simulation.result import Run
from ..store import access
from ..store.files import Files
from .extension import checked_plan, longer_run
from .running import Terminated, go_on, run_in_file, run_in_memory

if TYPE_CHECKING:
    from ..store.extension import Extension
    from ..store.reading import Stored


@in_usual_arithmetic
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
    trajectory: ArrayLike | None = None,
    keep_state: bool = False,
    coordinates: Sequence[int] | None = None,
    executor: Any = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    checkpoint_every: float = 60.0,
    progress: bool | None = None,
) -> Run:
    """Simulate the model and record its excess risk ``1/2 sum h w_t^2``.

    Noise is a pure function of seed, replica, coordinate, step and sample (a counter-based
    generator, Philox4x32-10), and all arithmetic has one order: the same arguments give the
    same bits whatever the backend, the number of threads and the steps recorded, and
    whichever replicas and settings are simulated together.

    Parameters
    ----------
    problem : Problem
        With d coordinates and no counts other than 1, unless sampling is "collapsed". With
        `noise.Gaussian`, of whose features every sample is drawn, or `noise.LossDependent`, all
        coordinates go in step: by linear algorithms, "minibatch" or "per-sample", on CPUs.
    algorithm : Algorithm, or list of G
        Such as ``nqm.SGD(0.1, momentum=0.9)``. The settings of a list see one noise stream
        (common random numbers), which takes most of the variance out of comparisons.
    batch_size : number, array_like of shape (steps,), or schedule; or list of G of them
        Samples per step, >= 1; whole numbers for ``sampling="per-sample"``. Beside a list of
        algorithms, a list has one for each; for values per step give `schedules.PerStep`.
    steps : int
        Steps to simulate, >= 0.
    replicas : int or sequence of int
        How many independent runs, or the numbers of those to run.
    seed : int
        In [0, 2^64).
    record : int or array_like of int, optional
        Every so many steps, with 0 and the last; or the steps themselves. By default about
        200 that are evenly spaced in log(t), with 0 and the last.
    sampling : {"minibatch", "per-sample", "leap", "collapsed"}
        "minibatch" draws the mean of the batch, exact in law for normal data. "per-sample"
        draws and averages every sample. "leap" draws the state from record to record, exact
        in law, at a cost that does not depend on the steps between; its jumps, and so its
        bits, depend on `record`, and schedules must be piecewise constant. "collapsed" draws
        the risk from record to record, exact in law, without the coordinates: those that are alike
        (a `count`, whole or large) take as long as one of them, under schedules of any kind. It is
        computed by NumPy, whose generators it uses: bits depend on `record`, but not on `threads`
        or on which replicas are together. All records of a replica are made at once, so that in a
        file none is complete before the end. It has no `trajectory`.
    data : {"normal", "uniform", "rademacher", "laplace", "student-t"}
        Law of the data; all but "normal" need ``sampling="per-sample"``.
    df : float, optional
        Degrees of freedom of "student-t", from 2.75 to 1e12; 5 by default. Below, tails that have
        much of the variance are beyond the resolution of what is drawn.
    backend : {"auto", "numba", "cython", "numpy", "cuda"}
        "auto" is what the environment variable NQM_BACKEND names, or the one that is done
        soonest: "numba" if its kernels are compiled, now or by an earlier process, or if the run
        is so long that compiling pays; else "cython"; but never "cuda", an NVIDIA GPU. Where
        coordinates go in step, "cython" is first. All give the same bits.
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
    trajectory : int or sequence of int, optional
        Numbers of coordinates, counted from 0, whose paths to record at every record: the first
        component of the state, which is the iterate w for SGD, and the evaluated iterate, in
        ``run.trajectory``. They are computed once more beside the run, to the same bits, with their
        neighbours in leaves of 64, at a cost that does not depend on the problem's size; beside a
        GPU by the CPU. A shard has the paths of those that are its own.
    keep_state : bool
        Return the state after the last step. Without it, problems too large for memory are
        worked through in blocks of coordinates.
    coordinates : (int, int), optional
        Compute one shard: coordinates first .. last - 1, whose sums `risk` and all else observed
        then are. They must be a branch of the sums over all coordinates: a power of two of them,
        at least 64, that begins at a multiple of it; the last may end with the problem. `merge`
        joins shards to the run, with the bits that it has in one piece.
    executor : int, Executor or Client, optional
        Split coordinates and replicas into shards, compute them on workers, and merge them: on so
        many processes of this machine, on an executor of ``concurrent.futures``, or on a client of
        ``dask.distributed``. The bits are those of one machine. `threads` then are those of each
        shard, one by default. With `out`, workers need its folder: shards are files in one beside
        it (``run.shards``), and the same call goes on with those that there are, whatever the
        executor; without, nothing is kept of a call that does not end.
    out : path, optional
        An HDF5 file that records are written to while they are computed; read it, also
        meanwhile, with `open_run`. After an interruption or a kill, `resume` goes on. A
        relative path counts from the working directory at the call.
    overwrite : bool
        Replace the run that is in `out`.
    checkpoint_every : float
        Seconds between checkpoints, >= 0; longer where they would take over 1 % of the time.
    progress : bool, optional
        Whether to show a bar if it takes over a second. By default there is one on a terminal
        and in a notebook; with True also lines of text in a pipe.

    Returns
    -------
    Run
        With `steps` (records,), `risk` (replicas, records), `state`, `status` and `stats`;
        `risk` and all else observed have a leading axis G for a list of settings. Ctrl-C returns
        the run so far, with the status "interrupted"; where nothing is done yet, it is a
        KeyboardInterrupt.
        With `out`, SIGTERM and SIGHUP save the run and then end the process, with status 143
        or 129. Signals that the process ignores, as a background job of a shell ignores Ctrl-C,
        stay ignored, and so do those for which it has a handler of its own.

    Raises
    ------
    InputError
        If an argument is outside its limits, does not go with another, or needs more memory
        than there is; if `out` exists, or another process is writing it.
    RuntimeError
        If `executor` ends before all shards are done, or some have failed three times. What is done
        is kept, with `out`.
    MemoryError
        If a GPU's memory is taken by others meanwhile. A run with `out` is saved first.
    OSError
        If `out` cannot be written, or its file system has no locks. What was saved remains.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(100)
    >>> run = nqm.simulate(problem, nqm.SGD(0.1), 8, 50, replicas=20, record=[50])
    >>> bool(abs(run.risk.mean() / nqm.expected_risk(problem, nqm.SGD(0.1), 8, 50) - 1) < 0.1)
    True
    """
    files = None if out is None else Files(out, "out")  # absolute from the start
    experiment = as_experiment(
        problem, algorithm, batch_size, steps, replicas=replicas, seed=seed, record=record,
        sampling=sampling, data=data, df=df, bands=bands, keep_state=keep_state, observe=observe,
        coordinates=coordinates, trajectory=trajectory,
    )  # fmt: skip
    here = executor is None
    resources = as_resources(backend, threads if here else threads or 1, devices, here=here)
    interval = number("checkpoint_every", checkpoint_every, least=0.0)
    replaces = flag("overwrite", overwrite)
    if experiment.problem.noise_model is not None and not here:
        raise InputError(
            "executor must be left out for noise that depends on the iterate, whose coordinates go "
            "in step"
        )
    if experiment.sampling == "collapsed" and not here:
        raise InputError(
            "executor must be left out for sampling='collapsed', which uses the threads of one "
            "machine"
        )
    with shown(progress):
        if executor is not None:
            from .distribution import run_in_shards  # It takes long to load.

            return run_in_shards(executor, experiment, resources, files, replaces, interval)
        if files is None:
            return run_in_memory(experiment, resources)
        return run_in_file(files, experiment, resources, replaces, interval)


@in_usual_arithmetic
def resume(
    path: str | os.PathLike[str],
    *,
    steps: int | None = None,
    replicas: int | Sequence[int] | None = None,
    record: ArrayLike | None = None,
    backend: str = "auto",
    threads: int | None = None,
    devices: int | Sequence[int] | None = None,
    checkpoint_every: float | None = None,
    progress: bool | None = None,
) -> Run:
    """Go on with a run that was interrupted or killed, or that shall have more steps or replicas.

    The bits are those of a run without a break, and of one that had all its steps and replicas from
    the start. New steps begin at the last one if its state was kept (``keep_state=True``), else at
    step 0: then the old ones are computed once more, and their records compared. While steps are
    added, the file is that of an interrupted run. New replicas are computed in a file of their own
    beside it (``run.replicas.h5``), and are put into the run at their end.

    Parameters
    ----------
    path : path
        The file that was the argument `out` of `simulate`.
    steps : int, optional
        Steps that the run shall have, counted from its start: not fewer than it has, and with
        ``sampling="collapsed"`` no more either.
    replicas : int or sequence of int, optional
        How many replicas the run shall have, or their numbers, with those that it has among them.
    record : int or array_like of int, optional
        Which of the new steps to record, as in `simulate`. By default records go on as they began:
        log-spaced if that was the default, every so many steps if there was a stride. Where steps
        were listed, only the new last one is recorded. Old records stay.
    backend, threads, devices, progress
        As in `simulate`; they need not be those of before.
    checkpoint_every : float, optional
        Seconds between checkpoints, >= 0; what `simulate` was given, if left out.

    Returns
    -------
    Run
        The whole run; of one that is finished, what is in the file.

    Raises
    ------
    InputError
        If the file is damaged, foreign or from a newer version, or if another process is
        writing it; if the run cannot have so many steps, or not these replicas.
    FileNotFoundError
        If there is no such file.
    OSError
        If it cannot be written. What was saved remains.
    """
    files = Files(path)
    resources = as_resources(backend, threads, devices)
    interval = checkpoint_every
    if interval is not None:
        interval = number("checkpoint_every", interval, least=0.0)
    if record is not None and steps is None:
        raise InputError("record says which new steps to record, and needs steps=...")
    if replicas is not None:  # A mistake is found before steps are added.
        with_replicas(cast(Experiment, access.stored_run(files).experiment), replicas)

    def extend(stored: Stored) -> Extension | None:
        """Say which longer run this one shall become, if it shall."""
        return longer_run(files.given, stored, steps, record, resources)

    with shown(progress):
        run = go_on(files, resources, interval, extend if steps is not None else None)
        if replicas is None or run.status == "interrupted":
            return run
        return _add_replicas(files, replicas, resources, interval)


def _add_replicas(files: Files, replicas: Any, resources: Wanted, interval: float | None) -> Run:
    """Compute the replicas that a finished run has not yet, and put them into its file."""
    from ..store.extension import AddedReplicas

    addition = AddedReplicas(files, replicas)

    def so_far(run: Run) -> Run:
        """The run as it is in its file, with the message of that of its new replicas."""
        message = addition.message(run.message)
        return replace(access.stored_run(files), status="interrupted", message=message)

    addition.forget_merged()
    if not addition.missing.replicas.size:
        return access.stored_run(files)
    checked_plan(files.given, addition.stored, resources)
    try:
        if addition.path.exists():
            addition.check()
            run = go_on(Files(addition.path), resources, interval)
        else:
            pause = addition.checkpoint_interval if interval is None else interval
            run = run_in_file(Files(addition.path), addition.missing, resources, False, pause)
    except Terminated as ended:
        rest = None if ended.run is None else so_far(ended.run)
        raise Terminated(ended.number, rest) from None
    if run.status == "interrupted":
        return so_far(run)
    addition.merge()
    return access.stored_run(files)
