"""The Monte Carlo engine: the model itself, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import kernels
from .algorithms import Algorithm
from .checks import (
    Array,
    InputError,
    any_array,
    choice,
    in_range,
    integer,
    number,
    real_array,
    shown,
    step_array,
)
from .engine import Outcome, Work, block_size, by_blocks, by_steps
from .exact import as_problem, cores
from .kernels import noise as numbering
from .kernels.contract import Noise, padded
from .problem import Problem
from .run import Run
from .schedules import Schedule
from .settings import (
    Setting,
    as_settings,
    grouped,
    largest_stable_lr,
    piecewise_constant,
    whole_batches,
)

SAMPLING = ("minibatch", "per-sample", "leap")
DEFAULT_DF = 5.0
RECORDS = 200  # by default
IN_MEMORY = 1 << 28  # bytes of coordinates above which they are worked through in blocks


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
    bands: ArrayLike | None = None,
    keep_state: bool = False,
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
    backend : {"auto", "numba", "numpy"}
        "auto" is the fastest that is installed.
    threads : int, optional
        All cores by default, or as many as the environment variable NQM_NUM_THREADS says.
    bands : int or array_like, optional
        Also record the risk by curvature: this many bands of equal width in log(h), or the
        ascending edges of bands.
    keep_state : bool
        Return the state after the last step. Without it, problems too large for memory are
        worked through in blocks of coordinates.

    Returns
    -------
    Run
        With `steps` (records,), `risk` (replicas, records), `state`, `status` and `stats`;
        `risk` has a leading axis G for a list of settings. Ctrl-C returns the run so far,
        with the status "interrupted".

    Raises
    ------
    InputError
        If an argument is outside its limits, does not go with another, or needs more memory
        than there is.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(100)
    >>> run = nqm.simulate(problem, nqm.SGD(0.1), 8, 50, replicas=20, record=[50])
    >>> bool(abs(run.risk.mean() / nqm.expected_risk(problem, nqm.SGD(0.1), 8, 50) - 1) < 0.1)
    True
    """
    as_problem(problem)
    steps = integer("steps", steps, least=0)
    settings = as_settings(algorithm, batch_size, steps)
    choice("sampling", sampling, SAMPLING)
    choice("data", data, tuple(numbering.DATA))
    numbers = _replica_numbers(replicas)
    seed = integer("seed", seed, least=0)
    df = _degrees_of_freedom(df, data)
    _check_limits(problem, settings, steps, seed, sampling, data)
    records = _records(record, steps)
    edges = _band_edges(bands, problem)
    name = _backend(backend)
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint64)
    code, summed = numbering.DATA[data], sampling == "per-sample"
    work = Work(
        problem,
        grouped(settings),
        steps,
        records,
        Noise(key, numbers, 0, code, summed, np.float32(2.0 / df)),
        numbering.scale(data, df) if summed else None,
        sampling == "leap",
        edges,
        kernels.load_backend(name),
        cores() if threads is None else integer("threads", threads, least=1),
    )
    in_blocks = _choose_order(work, bool(keep_state))
    outcome = by_blocks(work) if in_blocks else by_steps(work, bool(keep_state))
    run = _as_run(work, settings, outcome, in_blocks, name)
    return run if isinstance(algorithm, list | tuple) else _only_setting(run)


def _replica_numbers(replicas: Any) -> NDArray[np.int64]:
    if any_array(replicas).ndim:
        numbers = step_array("replicas", replicas)
        if numbers.ndim != 1 or not numbers.size:
            raise InputError(
                f"replicas must be a count or a sequence of numbers, not {shown(replicas)}"
            )
    else:
        numbers = np.arange(integer("replicas", replicas, least=1))
    if numbers.max() >= numbering.REPLICAS:
        raise InputError(
            f"replicas must be below {numbering.REPLICAS}, where their numbers would overflow "
            f"the noise counter, not {numbers.max()}"
        )
    return numbers


def _degrees_of_freedom(df: Any, data: str) -> float:
    if df is None:
        return DEFAULT_DF
    if data != "student-t":
        raise InputError(f"df = {shown(df)} is for data='student-t', not {data!r}")
    return number("df", df, above=2.0)


def _check_limits(
    problem: Problem,
    settings: Sequence[Setting],
    steps: int,
    seed: int,
    sampling: str,
    data: str,
) -> None:
    """What the noise counter holds, and what a mode of sampling allows."""
    if problem.has_counts:
        raise InputError(
            "count must be 1 for a simulation: identical coordinates see different noise, "
            "so that one cannot stand for several (list each, or use expected_risk)"
        )
    if seed >= 1 << 64:
        raise InputError(f"seed must be below 2^64, not {seed}")
    if problem.dim > numbering.COORDINATES:
        raise InputError(
            f"problem has {problem.dim} coordinates, but the noise counter numbers only "
            f"{numbering.COORDINATES} of them"
        )
    most = numbering.STEPS // 4 if sampling == "leap" else numbering.STEPS
    if steps > most:
        raise InputError(
            f"steps must be at most {most}, where the noise counter ends"
            f"{' for leaps' * (sampling == 'leap')}, not {steps}"
        )
    if data != "normal" and sampling != "per-sample":
        raise InputError(
            f"data={data!r} needs sampling='per-sample', as sampling={sampling!r} draws means "
            "of normal data only"
        )
    if sampling == "per-sample":
        whole_batches(settings, steps, numbering.most_samples(data))
    if sampling == "leap":
        piecewise_constant(settings, steps)


def _records(record: Any, steps: int) -> NDArray[np.int64]:
    """Steps to record, ascending."""
    if record is None:
        spaced = np.geomspace(1.0, max(steps, 1), RECORDS).round().astype(np.int64)
        return np.unique([0, steps, *spaced[spaced <= steps]])
    if not any_array(record).ndim:
        stride = integer("record", record, least=1)
        return np.unique(np.append(np.arange(0, steps + 1, stride), steps))
    chosen = np.unique(step_array("record", record))
    if chosen.size and chosen[-1] > steps:
        raise InputError(
            f"record must be steps from 0 to the last, {steps}, but contains {chosen[-1]}"
        )
    return chosen


def _band_edges(bands: Any, problem: Problem) -> Array | None:
    if bands is None:
        return None
    if any_array(bands).ndim:
        edges = real_array("bands", bands)
        in_range("bands", edges, least=0.0)
        if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
            raise InputError(f"bands must be two or more ascending edges, not {shown(bands)}")
        return edges
    count = integer("bands", bands, least=1)
    low, high = problem.curvature_range
    if low == high and count > 1:
        raise InputError(f"bands must be 1 where all curvatures are alike, not {count}")
    edges = np.geomspace(low, high, count + 1) if low < high else np.array([low, 2.0 * low])
    edges[0], edges[-1] = low, max(high, edges[-1])
    return edges


def _backend(name: Any) -> str:
    choice("backend", name, ("auto", *kernels.BACKENDS))
    present = kernels.present_backends()
    if name != "auto" and name not in present:
        raise InputError(
            f"backend={name!r} is not installed: run 'pip install {kernels.BACKENDS[name][1]}', "
            f"or use one of {', '.join(present)}"
        )
    return present[0] if name == "auto" else str(name)


def _choose_order(work: Work, keep_state: bool) -> bool:
    """Whether coordinates are worked through in blocks, if the run fits into memory at all."""
    import psutil

    def held(coordinates: int) -> int:
        arrays = 2 * work.components + work.replicas + 8 + 2 * work.settings
        return 8 * padded(coordinates) * arrays

    in_blocks = not keep_state and held(work.problem.dim) > IN_MEMORY
    results = 16 * work.records.size * math.prod(work.sums)
    at_once = min(block_size(work), work.problem.dim) if in_blocks else work.problem.dim
    needed = results + held(at_once)
    available = psutil.virtual_memory().available
    if needed > available:
        change = "record fewer steps" if results > needed / 2 else "use fewer replicas or settings"
        if keep_state and results <= needed / 2:
            change += ", or keep_state=False, which works through the coordinates in blocks"
        raise InputError(
            f"this run needs about {needed / 1e9:.1f} GB of memory, but {available / 1e9:.1f} GB "
            f"are available: {change}"
        )
    return in_blocks


def _as_run(
    work: Work, settings: Sequence[Setting], outcome: Outcome, in_blocks: bool, backend: str
) -> Run:
    """Axes in the order of the public API, inf after divergence, and words for what happened."""
    diverged_at = outcome.diverged_at
    steps = work.records
    if outcome.interrupted:
        steps = steps[:0] if in_blocks else steps[: int(np.sum(steps <= outcome.done))]
    risk = np.moveaxis(outcome.risk[: steps.size], 0, 2)  # settings, replicas, records, bands
    late = (diverged_at[..., None] >= 0) & (steps >= diverged_at[..., None])
    risk = np.where(late[..., None], np.inf, risk)
    status, message = "finished", ""
    if (diverged_at >= 0).any():
        status, message = "diverged", _divergence(work, settings, diverged_at)
    if outcome.interrupted:
        status = "interrupted"
        total = work.problem.dim if in_blocks else work.steps
        of = "coordinates, so that no record is complete" if in_blocks else "steps"
        message = " ".join([f"after {outcome.done} of {total} {of}", message]).strip()
    progress = outcome.done * (work.steps if in_blocks else work.problem.dim)
    stats = {
        "backend": backend,
        "threads": work.threads,
        "compute": outcome.seconds,
        "coordinate_steps": progress * work.settings * work.replicas,
        "order": "blocks" if in_blocks else "steps",
    }
    return Run(
        steps,
        np.ascontiguousarray(risk[..., 0]),
        status,
        message,
        diverged_at,
        None if outcome.states is None else tuple(outcome.states),
        work.bands,
        None if work.bands is None else np.ascontiguousarray(risk[..., 1:]),
        stats,
    )


def _divergence(work: Work, settings: Sequence[Setting], diverged_at: NDArray[np.int64]) -> str:
    """When the first setting diverged, and what to change."""
    when = np.where(diverged_at < 0, np.iinfo(np.int64).max, diverged_at)
    g, r = divmod(int(np.argmin(when)), when.shape[1])
    algorithm = settings[g].algorithm
    which = f"setting {g}, " if len(settings) > 1 else ""
    return (
        f"{which}{algorithm!r} diverged at step {when[g, r]} (replica "
        f"{work.noise.replicas[r]}): lower the learning rate; constant ones are stable up to "
        f"about {largest_stable_lr(algorithm, work.problem):.4g} here"
    )


def _only_setting(run: Run) -> Run:
    """The run without its leading axis."""
    return replace(
        run,
        risk=run.risk[0],
        diverged_at=run.diverged_at[0],
        state=None if run.state is None else run.state[0],
        band_risk=None if run.band_risk is None else run.band_risk[0],
    )
