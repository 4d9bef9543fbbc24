"""Collapsed sampling: paths of the risk, exact in law, without the coordinates' own paths.

Coordinates that are alike are sampled together, and so are those that a node of a quadrature stands
for. Each replica has a stream of noise of its own, made of the seed and its number, so that bits
depend neither on threads nor on the other replicas.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..algorithms.sparse import checked_recurrence
from ..exact.law.law_nodes import sampled_block
from ..exact.states import Passage, States, passages
from ..foundation.validation import Array, InputError
from ..machine.free_memory import available_bytes
from ..machine.parallel import each_in_threads
from .experiment import Experiment
from .gram import Kinds, Many, Ones, chi_squares, leaps_of, normals, split_kinds, streams_of
from .models import band_numbers
from .observables import RISK
from .paths import Part, execute_paths
from .recorder import Recorder
from .resources import Wanted
from .result import Run
from .settings import Setting
from .signals import Signals

CHUNK_NUMBERS = 1 << 14
"""Numbers of a state that a thread works on at a time, in whole replicas."""
DRAWN_NUMBERS = 1 << 13
"""Numbers of a replica that are drawn at a time, in whole leaps; the bits depend on it."""
MOST_ENTRIES = 1 << 24
"""Different coordinates that are sampled at most."""
HASHED_DRAWS = 4096
"""Numbers of each kind whose bits show that a generator is the same."""
HASHED_RECORDS = 3
"""Records to which leaps are compared with those of another machine."""


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
        nodes = sampled_block(problem, setting.linear, setting.batch_size, records, least)
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


def plan_collapsed(experiment: Experiment, wanted: Wanted) -> CollapsedPlan:
    """Plan to sample all replicas under all settings.

    Raises
    ------
    InputError
        If the problem's counts do not allow it, there is too little memory, or a backend or device
        is asked for that cannot be used.
    """
    if wanted.is_named and wanted.name != "numpy":
        raise InputError(
            f"backend must be 'numpy' or 'auto' for sampling='collapsed', not {wanted.name!r}"
        )
    if wanted.devices is not None:
        raise InputError("devices must be left out for sampling='collapsed', which runs on the CPU")
    records = experiment.records.size
    kinds = []
    for setting in experiment.settings:
        components = len(checked_recurrence(setting.linear, np.ones(1)).read)
        kinds.append(split_kinds(kinds_of(experiment, setting, 2.0 * components - 1.0), components))
        size = sum(part.h.size for part in kinds[-1])
        numbers = experiment.replicas.size * len(experiment.layout.rows) * records
        _check_memory(2 * len(experiment.settings) * numbers + 2 * components**2 * size * records)
    return CollapsedPlan(experiment, wanted.threads, tuple(kinds))


@dataclass(frozen=True)
class CollapsedPlan:
    """How the paths of all settings are sampled, each from its start to the last record.

    Attributes
    ----------
    kinds : tuple of pairs of Kinds
        For each setting those of one coordinate, and those of many.
    """

    experiment: Experiment
    threads: int
    kinds: tuple[tuple[Kinds, Kinds], ...]

    def fingerprint(self) -> str:
        """Tell whether another machine has the same coordinates, leaps and generators."""
        import hashlib

        experiment = self.experiment
        digest = hashlib.sha256()
        streams = streams_of(experiment.seed, np.zeros(1, dtype=np.int64))
        digest.update(normals(streams, (HASHED_DRAWS,)).tobytes())
        digest.update(chi_squares(streams, np.geomspace(0.5, 1e12, HASHED_DRAWS)).tobytes())
        first = experiment.records[:HASHED_RECORDS]
        for setting, pair in zip(experiment.settings, self.kinds, strict=True):
            for kinds in (some for some in pair if some.h.size):
                for field in kinds.fields:
                    digest.update(np.ascontiguousarray(field).tobytes())
                for leap in leaps_of(States(kinds.block, setting.linear), _ways(setting, first)):
                    digest.update(leap.map.tobytes() + leap.factor.tobytes())
        return digest.hexdigest()

    def execute(self, signals: Signals, recorder: Recorder) -> Run:
        """Sample all paths, or those that were not when the recorder has saved the others."""
        stats = {"backend": "numpy", "threads": self.threads, "order": "replicas"}
        return execute_paths(self.experiment, self._sampled, stats, None, signals, recorder)

    def _sampled(self, number: int, first: int) -> Generator[Part]:
        """Sample the paths of a setting, from a replica on."""
        sampler = Sampler(self.experiment, self.experiment.settings[number], self.kinds[number])
        yield from sampler.from_replica(first)


class Sampler:
    """Samples the paths of one setting."""

    def __init__(
        self, experiment: Experiment, setting: Setting, kinds: tuple[Kinds, Kinds]
    ) -> None:
        few, many = kinds
        records = experiment.records
        self._experiment = experiment
        self._parts: list[Ones | Many] = []
        if few.h.size:
            self._parts.append(Ones(few, setting))
        if many.h.size:
            self._parts.append(Many(many, setting))
        self._rows = [_row_weights(experiment, part.kinds) for part in self._parts]
        self._first = int(records.size > 0 and records[0] == 0)
        ways = _ways(setting, records[self._first :])
        self._leaps = [list(leaps_of(part.states, ways)) for part in self._parts]
        self._ways = len(ways)
        components = len(setting.linear.recurrence(np.ones(1)).read)
        numbers = components**2 * (few.h.size + many.h.size)
        self._size = max(CHUNK_NUMBERS // numbers, 1)
        self._together = max(DRAWN_NUMBERS // numbers, 1)

    def from_replica(self, first: int) -> Generator[Part]:
        """Yield paths, some at a time, from a replica on to the last."""
        replicas = range(first, self._experiment.replicas.size, self._size)
        yield from map(Part, each_in_threads(self._sampled, replicas))

    def _sampled(self, begin: int) -> Array:
        """Take some replicas through all records."""
        experiment = self._experiment
        replicas = experiment.replicas[begin : begin + self._size]
        streams = streams_of(experiment.seed, replicas)
        shape = experiment.records.size, replicas.size, len(experiment.layout.rows)
        values = np.zeros(shape)
        with np.errstate(over="ignore", invalid="ignore"):
            states = [part.start(streams) for part in self._parts]
            if self._first:
                for part, state, weights in zip(self._parts, states, self._rows, strict=True):
                    values[0] += weighted_sums(part.squares(state), weights)
            for done in range(0, self._ways, self._together):
                stop = min(done + self._together, self._ways)
                for k, part in enumerate(self._parts):
                    noise = part.noise(streams, stop - done)
                    for record in range(done, stop):
                        leap = self._leaps[k][record]
                        states[k] = part.moved(states[k], leap, noise, record - done)
                        squares = part.squares(states[k])
                        values[self._first + record] += weighted_sums(squares, self._rows[k])
        return values


def _ways(setting: Setting, records: NDArray[np.int64]) -> list[list[Passage]]:
    """Return the passages to each record from the one before it, or from the start."""
    ways: list[list[Passage]] = [[]]
    if not records.size:
        return []
    for passage in passages(setting.linear, setting.batch_size, records):
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


def _check_memory(numbers: int) -> None:
    """Make sure that a run fits into memory."""
    needed, available = 8 * numbers, available_bytes()
    if needed > available:
        raise InputError(
            f"this run needs about {needed / 1e9:.1f} GB of memory, but {available / 1e9:.1f} GB "
            "are available: use fewer replicas, or record fewer steps"
        )
