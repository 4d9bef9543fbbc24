"""Collapsed sampling: paths of the risk, exact in law, without the coordinates' own paths.

Coordinates that are alike are sampled together, and so are those that a node of a quadrature stands
for. Each replica has a stream of noise of its own, made of the seed and its number, so that bits
depend neither on threads nor on the other replicas.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algorithms.sparse import checked_recurrence
from ..exact.law_nodes import sampled_block
from ..exact.states import Passage, passages
from ..kernels.contract import LIMIT
from ..parallel import in_threads, threads_limited
from ..validation import Array, InputError
from .execution import ending
from .experiment import Experiment
from .gram import Kinds, Many, Ones, leaps_of, split_kinds, streams_of
from .lowering import band_numbers
from .memory import available_bytes
from .observables import RISK
from .result import Run, with_public_axes
from .settings import Setting

CHUNK_NUMBERS = 1 << 14
"""Numbers of a state that a thread works on at a time, in whole replicas."""
DRAWN_NUMBERS = 1 << 13
"""Numbers of a replica that are drawn at a time, in whole leaps; the bits depend on it."""
MOST_ENTRIES = 1 << 24
"""Different coordinates that are sampled at most."""


def kinds_of(experiment: Experiment, setting: Setting, least: float) -> Kinds:
    """Collect the coordinates that are alike, or nodes that stand for those of a power law.

    Nodes stand for one coordinate or for at least `least`.

    Raises
    ------
    InputError
        If there are too many that differ.
    """
    problem, records = experiment.problem, experiment.records
    if experiment.observe == (RISK,):
        nodes = sampled_block(problem, setting.algorithm, setting.batch_size, records, least)
        if nodes is not None:
            h, c, start, count = np.broadcast_arrays(
                nodes.h, nodes.c, nodes.second_moment, nodes.multiplicity
            )
            return Kinds(h, c, np.zeros(h.size), start, count)
    if problem.dim > MOST_ENTRIES:
        reason = "" if experiment.observe == (RISK,) else " where more than the risk is recorded"
        raise InputError(
            f"problem has {problem.dim} coordinates, of which sampling='collapsed' takes "
            f"{MOST_ENTRIES}{reason}: give those that are alike as one, with count"
        )
    fields = np.stack([problem.h, problem.c, problem.mean0, problem.var0])
    kinds, number = np.unique(fields, axis=1, return_inverse=True)
    count = np.zeros(kinds.shape[1])
    np.add.at(count, number.ravel(), problem.count)
    h, c, mean0, var0 = kinds
    return Kinds(h, c, mean0, var0, count)


def check_resources(backend: str, devices: Any, files: Any, executor: Any) -> None:
    """Refuse what collapsed sampling cannot use.

    Raises
    ------
    InputError
        If a backend, a device, a file or an executor is asked for.
    """
    if backend not in ("auto", "numpy"):
        raise InputError(
            f"backend must be 'numpy' or 'auto' for sampling='collapsed', not {backend!r}"
        )
    for name, value, what in (
        ("devices", devices, "which runs on the CPU"),
        ("out", files, "whose runs are in memory only"),
        ("executor", executor, "which uses the threads of one machine"),
    ):
        if value is not None:
            raise InputError(f"{name} must be left out for sampling='collapsed', {what}")


def run_collapsed(experiment: Experiment, threads: int) -> Run:
    """Sample all replicas under all settings.

    Raises
    ------
    InputError
        If the problem's counts do not allow it, or there is too little memory.
    """
    layout, replicas = experiment.layout, experiment.replicas
    shape = experiment.records.size, len(experiment.settings), replicas.size, len(layout.rows)
    values = np.zeros(shape)
    begin = time.perf_counter()
    with threads_limited(threads):
        for number, setting in enumerate(experiment.settings):
            _sample(experiment, setting, values[:, number])
    diverged_at = _first_divergence(values[..., 0], experiment.records)
    public = with_public_axes(values, experiment.records, diverged_at)
    status, message = ending(experiment, diverged_at)
    run = Run(
        experiment.records.copy(),
        layout.split(public),
        status,
        message,
        diverged_at,
        None,
        {"backend": "numpy", "threads": threads, "order": "steps",
         "compute": time.perf_counter() - begin},
        experiment,
    )  # fmt: skip
    return run if experiment.listed else run.only_setting()


def _sample(experiment: Experiment, setting: Setting, values: Array) -> None:
    """Write the records of one setting, (records, replicas, rows)."""
    records, replicas = experiment.records, experiment.replicas
    components = len(checked_recurrence(setting.algorithm, np.ones(1)).read)
    kinds = kinds_of(experiment, setting, 2.0 * components - 1.0)
    few, many = split_kinds(kinds, components)
    _check_memory(2 * values.size + 2 * components**2 * kinds.h.size * records.size)
    parts = [part for part in (Ones(few, setting), Many(many, setting)) if part.kinds.h.size]
    rows = [_row_weights(experiment, part.kinds) for part in parts]
    first = int(records.size > 0 and records[0] == 0)
    ways = _ways(setting, records[first:])
    leaps = [list(leaps_of(part.states, ways)) for part in parts]
    numbers = components**2 * (few.h.size + many.h.size)
    size = max(CHUNK_NUMBERS // numbers, 1)
    together = max(DRAWN_NUMBERS // numbers, 1)

    def sample_chunk(begin: int) -> None:
        """Take a chunk of the replicas through all records."""
        chunk = slice(begin, begin + size)
        streams = streams_of(experiment.seed, replicas[chunk])
        states = [part.start(streams) for part in parts]
        if first:
            for part, state, weights in zip(parts, states, rows, strict=True):
                values[0, chunk] += weighted_sums(part.squares(state), weights)
        for done in range(0, len(ways), together):
            stop = min(done + together, len(ways))
            for k, part in enumerate(parts):
                noise = part.noise(streams, stop - done)
                for record in range(done, stop):
                    states[k] = part.moved(states[k], leaps[k][record], noise, record - done)
                    squares = part.squares(states[k])
                    values[first + record, chunk] += weighted_sums(squares, rows[k])

    with np.errstate(over="ignore", invalid="ignore"):
        in_threads(sample_chunk, range(0, replicas.size, size), "simulation")


def _ways(setting: Setting, records: NDArray[np.int64]) -> list[list[Passage]]:
    """Return the passages to each record from the one before it, or from the start."""
    ways: list[list[Passage]] = [[]]
    if not records.size:
        return []
    for passage in passages(setting.algorithm, setting.batch_size, records):
        ways[-1].append(passage)
        if passage.ends_at_record:
            ways.append([])
    return ways[:-1]


def _row_weights(experiment: Experiment, kinds: Kinds) -> Array:
    """The weight of each kind in each row of a record, (rows, kinds)."""
    layout = experiment.layout
    weights = np.stack([weight(kinds.h) for weight in layout.weights])
    band = np.zeros(kinds.h.size, dtype=np.int64)
    if layout.edges is not None:
        band = band_numbers(layout.edges, kinds.h)
    columns = [weights[w] * ((group == 0) | (band == group)) for w, group in layout.rows.tolist()]
    return np.stack(columns)


def weighted_sums(squares: Array, weights: Array) -> Array:
    """Add up the squares of each replica with each row of weights, (replicas, rows).

    A replica's sums have one order, which a product of matrices does not promise.
    """
    return np.stack([(squares * row).sum(axis=1) for row in weights], axis=1)


def _first_divergence(risk: Array, records: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first record at which a risk is beyond all limits, or -1; (settings, replicas)."""
    if not records.size:
        return np.full(risk.shape[1:], -1)
    is_beyond = ~(risk <= LIMIT)
    first = np.where(is_beyond.any(axis=0), np.argmax(is_beyond, axis=0), -1)
    return np.where(first >= 0, records[first], -1)


def _check_memory(numbers: int) -> None:
    """Make sure that a run fits into memory."""
    needed, available = 8 * numbers, available_bytes()
    if needed > available:
        raise InputError(
            f"this run needs about {needed / 1e9:.1f} GB of memory, but {available / 1e9:.1f} GB "
            "are available: use fewer replicas, or record fewer steps"
        )
