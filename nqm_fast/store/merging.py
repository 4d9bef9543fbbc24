"""Runs in files merged: shards of coordinates, and replicas, to the run that they are pieces of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.immutable import comparable
from ..foundation.messages import InputError, shown
from ..parts import joined, shared_fields
from ..simulation.execution import ending
from ..simulation.experiment import Experiment
from ..simulation.fingerprint import fingerprint
from ..simulation.merging import Computed, Shard, coordinates_of, merged, merging_order
from ..simulation.result import Run
from . import access
from .files import Files, explained_errors, resume_command

if TYPE_CHECKING:
    from pathlib import Path

    from .shard_files import Piece

# Modules that import h5py are imported in functions, as in `access`.

PLACE = ("problem", "coordinates", "replicas")
"""Fields of an experiment that differ between its shards."""


class Part(NamedTuple):
    """The file of a shard, with what it is of."""

    files: Files
    experiment: Experiment
    header: dict[str, Any]

    def shard(self, replicas: NDArray[np.int64] | None = None) -> Shard:
        """Its place in the run; with other numbers of its replicas, if they are given."""
        numbers = self.experiment.replicas if replicas is None else replicas
        return Shard(str(self.files.given), coordinates_of(self.experiment), numbers)

    def computed(self) -> Computed:
        """Read what was computed.

        Raises
        ------
        InputError
            If the file has changed meanwhile.
        """
        import json

        from .reading import read_whole

        experiment, whole = read_whole(self.files)
        if whole.header["run_id"] != self.header["run_id"]:
            raise InputError(f"path {str(self.files.given)!r} was replaced while it was merged")
        observed = {name: whole.values[name] for name in experiment.layout.recorded_names}
        stats = json.loads(whole.header["stats"])
        times = whole.values["wall_time"]
        return Computed(observed, whole.diverged_at, whole.states, times, stats)


@in_usual_arithmetic
def merge(
    paths: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Run:
    """Join the shards of a run, which ``simulate(coordinates=...)`` has written, to the whole run.

    The bits are those of a run in one piece, whatever the order of the paths. Runs of other
    replicas are joined too, and the replicas are in ascending order then. The shards stay.

    Parameters
    ----------
    paths : iterable of path
        Files that have, together, every coordinate of every replica once.
    out : path
        The file of the whole run, as `simulate` writes it.
    overwrite : bool
        Replace the run that is in `out`.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If coordinates are missing or in two shards; if shards are of different problems, settings,
        seeds or versions of the noise; if one has not ended, or was computed with other last bits
        than here, as of another library of mathematics; if `out` exists.
    FileNotFoundError
        If there is no such file.
    OSError
        If `out` cannot be written.

    Examples
    --------
    >>> import nqm_fast as nqm, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> what = nqm.Problem.power_law(1000), nqm.SGD(0.1), 8, 100
    >>> for k, ends in enumerate([(0, 512), (512, 1000)]):
    ...     run = nqm.simulate(*what, coordinates=ends, out=folder / f"shard{k}.h5")
    >>> run = nqm.merge(folder.glob("shard*.h5"), folder / "run.h5")
    >>> bool((run.risk == nqm.simulate(*what).risk).all())
    True
    """
    if isinstance(paths, str | os.PathLike | Mapping) or not isinstance(paths, Iterable):
        raise InputError(f"paths must be a list of files of shards, not {shown(paths)}")
    parts = [_opened(path) for path in paths]
    if not parts:
        raise InputError("paths must be the files of one or more shards, but there are none")
    target = Files(out, "out")
    for part in parts:
        if part.files.base == target.base:
            raise InputError(f"out = {str(target.given)!r} is one of the shards: choose another")
    parts.sort(key=lambda part: coordinates_of(part.experiment))
    whole = _whole(parts)
    for part in parts:
        _check_ended(part)
        _check_same_bits(part)
    with access.place_for_new_run(target, overwrite) as old_files:
        _write(target, whole, parts, [part.shard() for part in parts], by_place=False)
        for old_file in old_files:
            old_file.unlink(missing_ok=True)
    return access.stored_run(target)


def _opened(path: Any) -> Part:
    """Read what a shard is of."""
    from .reading import read_plan

    files = Files(path, "paths")
    return Part(files, *read_plan(files))


def _whole(parts: list[Part]) -> Experiment:
    """The experiment whose shards these are, in the order of their coordinates.

    Raises
    ------
    InputError
        If they are none of one experiment, or not all.
    """
    first, *others = parts
    for part in others:
        _check_same_run(first, part)
    shards = [part.shard() for part in parts]
    order = merging_order(shards)
    row, *other_rows = order
    for k in other_rows:
        _check_same_problem([parts[i] for i in row], [parts[i] for i in k])
    problem = joined([parts[k].experiment.problem for k in row])
    replicas = np.unique(np.concatenate([shard.replicas for shard in shards]))
    return replace(first.experiment, problem=problem, replicas=replicas, coordinates=None)


def _check_same_run(first: Part, part: Part) -> None:
    """Make sure that two shards are of one run, as far as that does not depend on their place."""
    a, b = first.experiment, part.experiment
    names = f"path {str(part.files.given)!r} is no shard of the run of {str(first.files.given)!r}"
    for field in fields(Experiment):
        if field.name in PLACE:
            continue
        one, other = getattr(a, field.name), getattr(b, field.name)
        if comparable(one) != comparable(other):
            raise InputError(f"{names}: {field.name} is {shown(other)}, not {shown(one)}")
    of, other_of = coordinates_of(a).of, coordinates_of(b).of
    if of != other_of:
        raise InputError(f"{names}: its problem has {other_of} coordinates, not {of}")
    if comparable(shared_fields(a.problem)) != comparable(shared_fields(b.problem)):
        raise InputError(f"{names}: it is of another problem")


def _check_same_problem(row: list[Part], other_row: list[Part]) -> None:
    """Make sure that shards of some replicas are of the problem that those of others are of."""
    problem, other = (joined([part.experiment.problem for part in x]) for x in (row, other_row))
    if problem != other:
        a, b = (str(x[0].files.given) for x in (row, other_row))
        raise InputError(f"path {b!r} is no shard of the run of {a!r}: it is of another problem")


def _check_ended(part: Part) -> None:
    """Make sure that a shard has ended."""
    from .reading import ENDED_STATUSES

    if part.header["status"] not in ENDED_STATUSES:
        raise InputError(
            f"path {str(part.files.given)!r} has not ended: merge it when it has, or go on with: "
            f"{resume_command(part.files.given)}"
        )


def _check_same_bits(part: Part) -> None:
    """Make sure that powers and schedules have the last bits here that a shard was made with."""
    if fingerprint(part.experiment) != part.header["fingerprint"]:
        raise InputError(
            f"path {str(part.files.given)!r} was computed with other last bits of powers or "
            "schedules than those here, as of another library of mathematics: merge shards where "
            "they were computed, and compute all of them with one library"
        )


def has_ended(files: Files) -> bool:
    """Whether there is a run that has ended in a file."""
    from .reading import ENDED_STATUSES, read_plan

    return files.base.exists() and read_plan(files)[1]["status"] in ENDED_STATUSES


def is_merged(files: Files, whole: Experiment) -> bool:
    """Whether a run of this experiment is complete in a file; no other is looked into."""
    from .reading import ENDED_STATUSES, read_plan
    from .serialization import are_same

    if not files.base.exists():
        return False
    try:
        experiment, header = read_plan(files)
    except InputError:  # It is no run, which whoever writes there will say.
        return False
    return header["status"] in ENDED_STATUSES and are_same(experiment, whole)


def check_is(files: Files, experiment: Experiment) -> None:
    """Make sure that a file holds a run of an experiment.

    Raises
    ------
    InputError
        If it is another run.
    """
    _check_is(_opened(files.given), experiment)


def _check_is(part: Part, experiment: Experiment) -> None:
    """Make sure that a file that was opened holds a run of an experiment."""
    from .serialization import are_same

    if not are_same(part.experiment, experiment):
        raise InputError(f"path {str(part.files.given)!r} holds another run: remove it")


def merge_pieces(target: Files, whole: Experiment, pieces: Sequence[tuple[Piece, Path]]) -> None:
    """Write the file of a run of which all shards have ended; the caller has its lock."""
    parts = []
    for piece, path in pieces:
        part = _opened(path)
        _check_is(part, piece.of(whole))
        _check_ended(part)
        _check_same_bits(part)
        parts.append(part)
    numbers = [np.arange(piece.begin, piece.end) for piece, _ in pieces]
    shards = [part.shard(own) for part, own in zip(parts, numbers, strict=True)]
    _write(target, whole, parts, shards, by_place=True)


def _write(
    target: Files, whole: Experiment, parts: list[Part], shards: list[Shard], by_place: bool
) -> None:
    """Write the file of the run whose shards these are; the caller has its lock."""
    from . import serialization
    from .header import checkpoint_interval, new_header, status_attributes
    from .layout import RECORD, Whole
    from .writing import write_whole

    result = merged(whole, shards, lambda k: parts[k].computed(), by_place=by_place)
    configuration, arrays = serialization.encode(whole)
    interval = checkpoint_interval(parts[0].header)
    header = new_header(whole, configuration, fingerprint(whole), interval)
    header["started"] = min(part.header["started"] for part in parts)
    status, message = ending(whole, result.diverged_at)
    header |= status_attributes(status, message, result.stats, 1)
    values = {RECORD: whole.records, **result.observed, "wall_time": result.wall_time}
    states = None if result.states is None else list(result.states)
    content = Whole(header, arrays, values, result.diverged_at, states)
    with explained_errors(target, lambda: "the shards are as they were; mend that, then ask again"):
        write_whole(target, whole, content)
