"""Finished runs made longer, or given more replicas, in the files that they have."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import InputError
from ..simulation.experiment import Experiment, with_replicas
from ..simulation.recorder import SavedArrays
from . import checkpoints, serialization
from .files import Files, explained_errors, locked, resume_command
from .header import checkpoint_interval, permanent_attributes, status_attributes
from .layout import RECORD, Whole, record_variables
from .reading import ENDED_STATUSES, Stored, read
from .writing import write_whole

_AGAIN = "mend that, then ask again"


class Extension(NamedTuple):
    """The plan of a run that shall be longer: an experiment that begins with the one that it has.

    `state` is that after the last step of a run that has ended, if it was kept; else the steps are
    computed once more, and their records compared with those that there are.
    """

    experiment: Experiment
    fingerprint: str
    state: SavedArrays | None


def lengthen(files: Files, stored: Stored, extension: Extension) -> None:
    """Make the files of a run those of a longer one that was interrupted, with all its records.

    The caller has the lock. A kill at any moment leaves the one run or the other.
    """
    experiment = extension.experiment
    count = f"{stored.records} of {experiment.records.size} records are there"
    message = f"{count}; go on with: {resume_command(files.given)}"
    stats = json.loads(stored.header["stats"])
    header, arrays = _new_header(stored, experiment, extension.fingerprint)
    header |= status_attributes("interrupted", message, stats, 1, _resumed(stored))
    whole = Whole(header, arrays, stored.values, stored.diverged_at, None)
    with explained_errors(files, lambda: f"the run is as it was; {_AGAIN}"):
        if stored.status not in ENDED_STATUSES:
            _forget_blocks(files, stored)
        elif extension.state is not None:
            checkpoints.save(files, _metadata(stored), extension.state)
        write_whole(files, experiment, whole)
    for path in stored.continuations:
        path.unlink(missing_ok=True)


def _resumed(stored: Stored) -> str:
    """When a run was resumed last, or empty; files of earlier versions do not say it."""
    return str(stored.latest.get("resumed", ""))


def _metadata(stored: Stored) -> dict[str, Any]:
    """The metadata of a checkpoint after the last step of a run that has ended."""
    stats, times = json.loads(stored.header["stats"]), stored.values["wall_time"]
    return {
        "run_id": stored.header["run_id"],
        "records": stored.records,
        "coordinate_steps": stats["coordinate_steps"],
        "seconds": float(times[-1]) if times.size else 0.0,
        "spent": [stats[name] for name in ("compile", "compute", "write")],
    }


def _forget_blocks(files: Files, stored: Stored) -> None:
    """Remove checkpoints in the order of blocks, whose sums are of the records of the old run."""
    for _, arrays in checkpoints.usable(files, stored.header["run_id"], stored.records):
        if "blocks" in arrays:
            files.checkpoint.unlink(missing_ok=True)
            files.previous.unlink(missing_ok=True)
            return


def _new_header(
    stored: Stored, experiment: Experiment, fingerprint: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The permanent attributes of a run with another experiment, and the arrays that they name."""
    configuration, arrays = serialization.encode(experiment)
    header = permanent_attributes(stored.header)
    text = json.dumps(configuration, allow_nan=False)
    return header | {"configuration": text, "fingerprint": fingerprint}, arrays


class AddedReplicas:
    """Further replicas of a finished run: they are computed in a file of their own beside it.

    Attributes
    ----------
    stored : Stored
        The run.
    wanted, missing : Experiment
        With all replicas that the run shall have, and with those that it has not.
    path : Path
        The file of those that are missing.
    checkpoint_interval : float
        Seconds between checkpoints that the run was begun with.

    Raises
    ------
    InputError
        If the run has replicas that are not wanted.
    """

    def __init__(self, files: Files, replicas: Any) -> None:
        self.files = files
        self.stored = read(self.files)
        self.checkpoint_interval = checkpoint_interval(self.stored.header)
        experiment = self.stored.experiment
        self.wanted = with_replicas(experiment, replicas)
        numbers = self.wanted.replicas
        self.missing = replace(experiment, replicas=numbers[~np.isin(numbers, experiment.replicas)])
        base = files.base
        self.path = base.with_name(f"{base.stem}.replicas{base.suffix}")

    def check(self) -> None:
        """Make sure that the file of the missing replicas, which was begun before, is theirs.

        Raises
        ------
        InputError
            If it is another run's.
        """
        if not serialization.are_same(read(Files(self.path)).experiment, self.missing):
            raise InputError(
                f"replicas are computed in {self.files.shown(self.path)!r}, where there is another "
                "run: ask for those that it was begun for, or remove it"
            )

    def forget_merged(self) -> None:
        """Remove the file of replicas that the run has already, which a kill may have left."""
        if not self.path.exists():
            return
        more = read(Files(self.path))
        numbers, merged = more.experiment.replicas, self.stored.experiment.replicas
        of_this_run = replace(self.stored.experiment, replicas=numbers)
        if (
            more.status in ENDED_STATUSES
            and np.isin(numbers, merged).all()
            and serialization.are_same(more.experiment, of_this_run)
        ):
            self.path.unlink(missing_ok=True)

    def message(self, what_happened: str) -> str:
        """Say how to go on where the run of the missing replicas was interrupted."""
        numbers = self.wanted.replicas
        is_count = np.array_equal(numbers, np.arange(numbers.size))
        shown = [numbers.size] if is_count else numbers.tolist()
        command = f"{resume_command(self.files.given)} --replicas {' '.join(map(str, shown))}"
        what_happened = what_happened.partition("; go on with:")[0]
        return f"while replicas were added, {what_happened}; go on with: {command}"

    def merge(self) -> None:
        """Put the replicas into the file of the run, in the order wanted, and remove their own.

        Raises
        ------
        InputError
            If the run has changed meanwhile.
        """
        files, wanted = self.files, self.wanted
        with locked(files):
            stored, more = read(files), read(Files(self.path))
            numbers = np.concatenate([stored.experiment.replicas, more.experiment.replicas])
            ended = stored.status in ENDED_STATUSES and more.status in ENDED_STATUSES
            is_ours = (
                stored.header["run_id"] == self.stored.header["run_id"]
                and serialization.are_same(stored.experiment, self.stored.experiment)
                and serialization.are_same(more.experiment, self.missing)
            )
            if not (ended and is_ours):
                raise InputError(f"path {str(files.given)!r} has changed while replicas were added")
            order = np.argsort(numbers)[np.searchsorted(np.sort(numbers), wanted.replicas)]
            with explained_errors(files, lambda: f"no replicas were added; {_AGAIN}"):
                write_whole(files, wanted, _joined(stored, more, wanted, order))
            self.path.unlink(missing_ok=True)


def _joined(stored: Stored, more: Stored, wanted: Experiment, order: NDArray[np.int64]) -> Whole:
    """The content of the file of a run whose replicas were computed in two, in this order."""
    values = {
        name: np.concatenate([stored.values[name], more.values[name]], axis).take(order, axis)
        for name, variable in record_variables(wanted).items()
        if "replica" in variable.dims
        for axis in [variable.dims.index("replica")]
    }
    values[RECORD] = stored.values[RECORD]
    values["wall_time"] = stored.values["wall_time"] + more.values["wall_time"]
    states = None
    if stored.states is not None and more.states is not None:
        pairs = zip(stored.states, more.states, strict=True)
        states = [np.concatenate(pair)[order] for pair in pairs]
    header, arrays = _new_header(stored, wanted, stored.header["fingerprint"])
    header |= _joint_status(stored, more)
    diverged_at = np.concatenate([stored.diverged_at, more.diverged_at], axis=1)[:, order]
    return Whole(header, arrays, values, diverged_at, states)


def _joint_status(stored: Stored, more: Stored) -> dict[str, Any]:
    """The changing attributes of a run whose replicas were computed in two runs."""
    first, second = (json.loads(part.header["stats"]) for part in (stored, more))
    added = ("coordinate_steps", "compile", "compute", "write")
    stats = second | {name: first[name] + second[name] for name in added}
    status = "diverged" if "diverged" in (stored.status, more.status) else "finished"
    message = stored.header["message"] or more.header["message"]
    return status_attributes(status, message, stats, 1, max(_resumed(stored), _resumed(more)))
