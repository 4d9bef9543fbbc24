"""Shards merged: what was computed of a run in pieces, put together to its bits.

Replicas stand beside each other. Sums over coordinates are added in the order of the tree that
`coordinates` describes, so that the order in which shards were computed does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..foundation.validation import Array, InputError
from ..kernels.contract import NO_STEP
from .coordinates import Coordinates
from .experiment import Experiment
from .loops import PairwiseSum
from .observables import PATHS
from .result import with_public_axes

ADDED = ("coordinate_steps", "compile", "compute", "write")
"""Statistics of a run that are sums over its shards."""


class Shard(NamedTuple):
    """A piece of a run: its place, and its name for messages."""

    name: str
    coordinates: Coordinates
    replicas: NDArray[np.int64]


class Computed(NamedTuple):
    """The results of a shard, with an axis of settings."""

    observed: Mapping[str, Array]
    diverged_at: NDArray[np.int64]  # (settings, replicas)
    states: Sequence[Array] | None  # of each setting, (replicas, components, coordinates)
    wall_time: Array | None  # (records,)
    stats: dict[str, Any]


def coordinates_of(experiment: Experiment) -> Coordinates:
    """The coordinates of a shard, or of a whole run."""
    dim = experiment.problem.dim
    return experiment.coordinates or Coordinates(0, dim, dim)


def merging_order(shards: Sequence[Shard]) -> dict[tuple[int, ...], list[int]]:
    """Say for the numbers of shards in the order of their coordinates which replicas they make up.

    Raises
    ------
    InputError
        If coordinates of a replica are missing, or in two shards.
    """
    shards_of: dict[int, list[int]] = defaultdict(list)
    for k in sorted(range(len(shards)), key=lambda k: shards[k].coordinates):
        for replica in np.unique(shards[k].replicas).tolist():
            shards_of[replica].append(k)
    replicas_of: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for replica, numbers in sorted(shards_of.items()):
        replicas_of[tuple(numbers)].append(replica)
    for in_order, replicas in replicas_of.items():
        _check_tiling([shards[k] for k in in_order], replicas[0])
    return replicas_of


def _check_tiling(shards: Sequence[Shard], replica: int) -> None:
    """Make sure that shards, ordered by their coordinates, have each coordinate once."""
    end, before = 0, ""
    for name, (first, last, _), _ in shards:
        if first < end:
            raise InputError(
                f"paths overlap: coordinates {first} to {min(end, last) - 1} of replica {replica} "
                f"are in {before!r} and in {name!r}"
            )
        _check_no_gap(end, first, replica)
        end, before = last, name
    _check_no_gap(end, shards[0].coordinates.of, replica)


def _check_no_gap(end: int, begin: int, replica: int) -> None:
    """Make sure that a shard begins where those before it have ended."""
    if begin > end:
        raise InputError(
            f"paths have a gap: coordinates {end} to {begin - 1} of replica {replica} are in none"
        )


class _Sum:
    """Shards of the same replicas, added up."""

    def __init__(self) -> None:
        self.values = PairwiseSum()  # of arrays (settings, replicas, records, rows)
        self.first_divergence: NDArray[np.int64] | None = None
        self.states: list[list[Array]] = []  # of each shard and setting
        self.paths: list[list[Array]] = [[] for _ in PATHS]  # each (settings, replicas, records, .)

    def add(
        self, experiment: Experiment, level: int, own: Computed, rows: NDArray[np.intp]
    ) -> None:
        """Add the next shard, of which these rows are the replicas."""
        values = replace(experiment.layout, traced=0).joined(own.observed)[:, rows]
        with np.errstate(over="ignore", invalid="ignore"):
            self.values.add(values, level)
        diverged_at = own.diverged_at[:, rows]
        first = np.where(diverged_at < 0, NO_STEP, diverged_at)
        earlier = self.first_divergence
        self.first_divergence = first if earlier is None else np.minimum(earlier, first)
        if own.states is not None:
            self.states.append([state[rows] for state in own.states])
        for name, parts in zip(PATHS, self.paths, strict=True):
            if name in own.observed:  # Coordinates that are traced may be in other shards.
                parts.append(own.observed[name][:, rows])

    def total(self) -> tuple[Array, NDArray[np.int64], list[Array] | None]:
        """The values, the first steps of divergence, and the states, inf where they diverged."""
        assert self.first_divergence is not None
        diverged_at = np.where(self.first_divergence == NO_STEP, -1, self.first_divergence)
        states = [np.concatenate(parts, axis=-1) for parts in zip(*self.states, strict=True)]
        for state, at in zip(states, diverged_at, strict=False):
            state[at >= 0] = np.inf
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self.values.total()
        paths = [path for parts in self.paths for path in parts]
        return np.concatenate([sums, *paths], axis=-1), diverged_at, states or None


def merged(
    whole: Experiment,
    shards: Sequence[Shard],
    computed: Callable[[int], Computed],
    *,
    by_place: bool = False,
) -> Computed:
    """Merge shards to the whole run.

    Parameters
    ----------
    whole : Experiment
        Of all coordinates, and of the replicas in the order wanted.
    shards : sequence of Shard
    by_place : bool
        Whether the replicas of shards are numbered by their places in the run, which may have one
        twice, and not by their numbers.
    computed : callable
        Gives what was computed of a shard, by its number; few are held at a time.

    Raises
    ------
    InputError
        If coordinates of a replica are missing, or in two shards.
    """
    order, stats = merging_order(shards), Statistics()
    wall_time = np.zeros(whole.records.size)
    numbers: list[int] = []
    values, firsts, states = [], [], []
    counted: set[int] = set()
    for in_order, replicas in order.items():
        numbers += replicas
        added = _Sum()
        for k in in_order:
            own = computed(k)
            rows = _places(shards[k].replicas, replicas)
            added.add(whole, shards[k].coordinates.level, own, rows)
            if k not in counted:
                counted.add(k)
                stats.add(own.stats)
                wall_time += np.nan if own.wall_time is None else own.wall_time
        of_group = added.total()
        values.append(of_group[0])
        firsts.append(of_group[1])
        states.append(of_group[2])
    wanted = np.arange(whole.replicas.size) if by_place else whole.replicas
    place = _places(np.array(numbers), wanted)
    diverged_at = np.concatenate(firsts, axis=1)[:, place]
    all_values = np.concatenate(values, axis=1)[:, place]
    public = with_public_axes(np.moveaxis(all_values, 2, 0), whole.records, diverged_at)
    own_states = None
    if whole.keep_state:
        of_settings = zip(*(s for s in states if s is not None), strict=True)
        own_states = [np.concatenate(parts)[place] for parts in of_settings]
    observed = whole.layout.split(public)
    return Computed(observed, diverged_at, own_states, wall_time, stats.total)


def _places(among: NDArray[np.int64], wanted: ArrayLike) -> NDArray[np.intp]:
    """The places of wanted numbers in an array that has them all."""
    order = np.argsort(among, kind="stable")
    places: NDArray[np.intp] = order[np.searchsorted(among, wanted, sorter=order)]
    return places


class Statistics:
    """Statistics of a run in shards: sums, and all names of backends."""

    def __init__(self) -> None:
        self.total: dict[str, Any] = {"order": "shards", "shards": 0}
        self.backends: set[str] = set()

    def add(self, stats: dict[str, Any]) -> None:
        """Add those of a shard."""
        total = self.total
        self.backends.add(stats["backend"])
        total["shards"] += stats.get("shards", 1)
        total["backend"] = ", ".join(sorted(self.backends))
        total["threads"] = max(total.get("threads", 1), stats["threads"])
        for name in ADDED:
            total[name] = total.get(name, 0) + stats[name]
