"""Reading a run's files, also while they are written, and refusing all other files."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOENT
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, InputError
from ..kernels.noise import STREAM
from ..output.saving import special_kind
from ..simulation.experiment import Experiment
from . import serialization
from .files import Files, is_held, is_signed
from .layout import (
    NAME,
    RECORD,
    VERSION,
    Whole,
    contents_digest,
    live_variables,
    record_checksums,
    record_variables,
    state_names,
    unseal,
)
from .snapshot import SIGNATURE, Snapshot, ends_with_hdf5

ENDED_STATUSES = ("finished", "diverged")
TRIES = 6  # A try fails if a file is replaced, or a record half written, while it is read.
RETRY_SECONDS = 0.05  # between two tries


@dataclass
class Stored:
    """The content of the files of a run."""

    experiment: Experiment
    header: dict[str, Any]  # of the first file
    latest: dict[str, Any]  # the header of the last file
    values: dict[str, NDArray[Any]]  # of `layout.record_variables`, by name
    diverged_at: NDArray[np.int64]  # (settings, replicas)
    states: Sequence[Array] | None  # of each setting, (replicas, components, d), if kept
    status: str
    continuations: list[Path]

    @property
    def records(self) -> int:
        """How many records are committed."""
        return int(self.values[RECORD].size)


class ForeignError(InputError):
    """The file is not damaged, but this version of nqm_fast cannot read it."""


def read(files: Files) -> Stored:
    """Read all that is committed, and try again if the files change meanwhile.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputError
        If it is damaged, foreign, or from a newer version.
    """
    for attempt in range(TRIES):
        try:
            return _try_to_read(files)
        except FileNotFoundError as error:
            if not files.base.exists() or attempt == TRIES - 1:
                raise FileNotFoundError(error.errno, error.strerror, str(files.given)) from None
        except ForeignError:
            raise
        except InputError:
            if attempt == TRIES - 1:
                raise
        time.sleep(RETRY_SECONDS)
    raise AssertionError


def read_plan(files: Files) -> tuple[Experiment, dict[str, Any]]:
    """Read what a run is of, and the header of its first file, but nothing that was computed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputError
        If it is damaged, foreign, or from a newer version.
    """
    name = files.shown(files.base)
    with opened_for_reading(files.base, name) as file:
        header = checked_header(name, file)
        return stored_experiment(file, header), header


def _try_to_read(files: Files) -> Stored:
    """Read all that is committed, or raise FileNotFoundError if the file is replaced meanwhile."""
    base_at_start = files.base.stat()
    with opened_for_reading(files.base, files.shown(files.base)) as file:
        header = checked_header(files.shown(files.base), file)
        experiment = stored_experiment(file, header)
        status = header["status"]
        states = None
        if status == "running":
            parts = [live_values(file, experiment)]
            diverged_at = pop_last_diverged_at(parts[0])
        else:
            whole = _whole(files.base, file, header, experiment)
            parts, diverged_at, states = [dict(whole.values)], whole.diverged_at, whole.states
    latest = header
    continuations = []
    for number, path in files.continuations().items():
        with suppress(ForeignError), opened_for_reading(path, files.shown(path)) as file:
            later = checked_header(files.shown(path), file)
            if (later["run_id"], later["segment"]) != (header["run_id"], number):
                continue
            continuations.append(path)
            if status not in ENDED_STATUSES:
                parts.append(live_values(file, experiment))
                diverged_at = np.maximum(diverged_at, pop_last_diverged_at(parts[-1]))
                status, states, latest = later["status"], None, later
    if status == "running" and not is_held(files.lock):
        status = "killed"
    if not os.path.samestat(base_at_start, files.base.stat()):
        raise FileNotFoundError(ENOENT, "replaced while it was read", str(files.base))
    values = join_parts(files.shown(files.base), experiment, parts)
    return Stored(experiment, header, latest, values, diverged_at, states, status, continuations)


def read_whole(files: Files) -> tuple[Experiment, Whole]:
    """Read the file of a run that has ended, without a look at other files in its folder.

    Raises
    ------
    FileNotFoundError, InputError
        As `read` does, and if the run has not ended.
    """
    name = files.shown(files.base)
    with opened_for_reading(files.base, name) as file:
        header = checked_header(name, file)
        if header["status"] not in ENDED_STATUSES:
            raise InputError(f"path {name!r} has not ended")
        experiment = stored_experiment(file, header)
        return experiment, _whole(files.base, file, header, experiment)


def _whole(path: Path, file: h5py.File, header: dict[str, Any], experiment: Experiment) -> Whole:
    """Read the content of the file of a run that has ended or was stopped, and check it."""
    values, states = whole_values(file, experiment), final_states(file, experiment)
    arrays = configuration_arrays(file)
    whole = Whole(header, arrays, values, file["diverged_at"][()], states)
    check_whole(path, experiment, whole)
    return whole


def check_whole(path: Path, experiment: Experiment, whole: Whole) -> None:
    """Make sure that the file of a run that has ended or was stopped is as it was written.

    HDF5 cuts off the digest of all bytes when it writes to the file. What others have added then,
    such as an attribute, is no damage as long as the run's own arrays are the same.

    Raises
    ------
    ValueError
        If it is not.
    """
    if is_signed(path):
        return
    contents = whole.header.get("contents")
    if not ends_with_hdf5(path) or contents is None:
        raise ValueError("its bytes do not match their digest")
    if contents_digest(whole.named_arrays(experiment)) != contents:
        raise ValueError("its arrays do not match their digest")


def same_run(path: Path, header: Mapping[str, Any]) -> bool:
    """Whether a file holds the part of a run that has this header."""
    try:
        with opened_for_reading(path, str(path)) as file:
            found = unseal(file) or {}
    except (OSError, InputError):
        return False
    return all(found.get(name) == header[name] for name in ("run_id", "segment"))


@contextmanager
def opened_for_reading(path: Path, name: str) -> Generator[h5py.File]:
    """Open a file for reading, and say in one sentence what is wrong if it is damaged.

    Within the context, HDF5 raises many kinds of errors for damaged files. Errors call it `name`.
    """
    kind = "a folder" if path.is_dir() else special_kind(path)
    if kind is not None:
        raise ForeignError(f"path {name!r} is {kind}, not a run")
    with path.open("rb") as file:
        start = file.read(len(SIGNATURE))
    if start != SIGNATURE:
        reason = "not an HDF5 file" if start else "empty"
        raise ForeignError(f"path {name!r} is {reason}, and so not a run of nqm_fast")
    try:
        with Snapshot(path) as raw, h5py.File(raw, "r") as file:
            yield file
    except (FileNotFoundError, InputError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        # The traceback holds objects of h5py. If they were collected later, within a call of h5py,
        # that call might wait for its own lock for ever.
        traceback.clear_frames(error.__traceback__)
        raise InputError(f"path {name!r} is damaged: {reason}") from None


def checked_header(path: str, file: h5py.File) -> dict[str, Any]:
    """Read the root attributes, and make sure that this version of nqm_fast can read the file."""
    header = unseal(file)
    if header is None and str(file.attrs.get("format", "")).startswith("nqm-fast sweep"):
        raise ForeignError(
            f"path {path!r} is the file of a sweep, and no run: xarray.open_dataset reads it"
        )
    if header is None or header.get("schema") != NAME:
        raise ForeignError(f"path {path!r} is an HDF5 file, but was not written by nqm_fast")
    if header["schema_version"] > VERSION:
        raise ForeignError(
            f"path {path!r} has schema version {header['schema_version']}, and this version "
            f"of nqm_fast reads up to {VERSION}: update nqm_fast"
        )
    if header["noise_stream"] != STREAM:
        raise ForeignError(
            f"path {path!r} was made with version {header['noise_stream']} of the noise, and "
            f"this version of nqm_fast has version {STREAM}: use the one that made it"
        )
    return header


def stored_experiment(file: h5py.File, header: dict[str, Any]) -> Experiment:
    """Read the experiment, which is in the header and in arrays beside it."""
    return serialization.decode(json.loads(header["configuration"]), configuration_arrays(file))


def configuration_arrays(file: h5py.File) -> dict[str, NDArray[Any]]:
    """Read the arrays that the configuration refers to by name."""
    return {name: dataset[()] for name, dataset in file["configuration"].items()}


def whole_values(file: h5py.File, experiment: Experiment) -> dict[str, NDArray[Any]]:
    """Read the values of all records from the file of a run that has ended or was stopped."""
    return {name: file[name][()] for name in record_variables(experiment)}


def live_values(file: h5py.File, experiment: Experiment) -> dict[str, NDArray[Any]]:
    """Read the committed records of a live file, with the axes that a whole file has.

    `diverged_at` is (settings, replicas, records).
    """
    # The steps are read first: a record whose step is there is complete in all other variables.
    steps = file[RECORD][()]
    committed = np.flatnonzero(steps >= 0)
    records = slice(int(committed[0]), int(committed[-1]) + 1) if committed.size else slice(0, 0)
    values = {name: file[name][records] for name in live_variables(experiment)}
    values[RECORD] = steps[records]
    if not np.array_equal(values.pop("checksum"), record_checksums(values, experiment)):
        raise ValueError("a record does not match its checksum")
    whole = record_variables(experiment)
    for name in values:
        axis = whole[name].dims.index(RECORD) if name in whole else -1
        values[name] = np.moveaxis(values[name], 0, axis)
    return values


def pop_last_diverged_at(values: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Remove `diverged_at` from the values of a live file, and return that of its last record."""
    by_record = values.pop("diverged_at")
    if not by_record.shape[-1]:
        return np.full(by_record.shape[:-1], -1, dtype=np.int64)
    return by_record[..., -1]


def final_states(file: h5py.File, experiment: Experiment) -> list[Array] | None:
    """Read the final state of each setting, (replicas, components, d), if they were kept."""
    names = state_names(experiment)
    return [file[name][()] for name in names] if names[0] in file else None


def join_parts(
    base: str, experiment: Experiment, parts: list[dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """Join the records of all files of a run.

    Where a record was computed once more after a kill, it is taken from the first file.
    """
    steps = np.concatenate([part[RECORD] for part in parts])
    steps, first = np.unique(steps, return_index=True)
    if not np.array_equal(steps, experiment.records[: steps.size]):
        raise InputError(f"path {base!r} is damaged: records are missing")
    return {
        name: np.concatenate([part[name] for part in parts], axis=axis).take(first, axis=axis)
        for name, variable in record_variables(experiment).items()
        for axis in [variable.dims.index(RECORD)]
    }
