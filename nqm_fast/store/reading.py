"""Reading a run's files, also while they are written, and refusing what is not one."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOENT
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..kernels.noise import STREAM
from ..simulation.experiment import Experiment
from ..validation import Array, InputError
from . import serialization
from .files import Files, is_signed
from .header import is_alive
from .layout import NAME, RECORD, VERSION, checksums, live, per_record, state_names, unsealed
from .snapshot import SIGNATURE, Snapshot

ENDED = ("finished", "diverged")
TRIES = 6  # a file may be replaced, or a record be on its way, while it is read
PAUSE = 0.05  # seconds between them


@dataclass
class Stored:
    """What the files of a run hold."""

    experiment: Experiment
    header: dict[str, Any]
    values: dict[str, NDArray[Any]]  # of the variables with a value for each record
    diverged_at: NDArray[np.int64]
    states: list[Array] | None
    status: str
    continuations: list[Path]

    @property
    def records(self) -> int:
        """How many are committed."""
        return int(self.values[RECORD].size)


class ForeignError(InputError):
    """The file is whole, but none that this version can read."""


def read(files: Files) -> Stored:
    """All that is committed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InputError
        If it is damaged, foreign, or from a newer version.
    """
    for attempt in range(TRIES):
        try:
            return _read(files)
        except FileNotFoundError:
            if not files.base.exists() or attempt == TRIES - 1:
                raise
        except ForeignError:
            raise
        except InputError:
            if attempt == TRIES - 1:
                raise
        time.sleep(PAUSE)
    raise AssertionError


def _read(files: Files) -> Stored:
    """One attempt; FileNotFoundError also where the file was replaced meanwhile."""
    begun = files.base.stat()
    with opened(files.base) as file:
        header = header_of(files.base, file)
        experiment = experiment_of(file, header)
        status = header["status"]
        states = None
        if status == "running":
            parts = [live_values_of(file, experiment)]
            diverged_at = last_known(parts[0])
        else:
            if not is_signed(files.base):
                raise ValueError("its bytes do not match their digest")
            parts = [values_of(file, experiment)]
            diverged_at = file["diverged_at"][()]
            states = states_of(file, experiment)
    continuations = []
    for number, path in files.continuations().items():
        with suppress(ForeignError), opened(path) as file:
            later = header_of(path, file)
            if (later["run_id"], later["segment"]) != (header["run_id"], number):
                continue
            continuations.append(path)
            if status not in ENDED:
                parts.append(live_values_of(file, experiment))
                diverged_at = np.maximum(diverged_at, last_known(parts[-1]))
                status, states, header["writer"] = later["status"], None, later["writer"]
    if status == "running" and not (files.lock.exists() and is_alive(json.loads(header["writer"]))):
        status = "killed"
    if not os.path.samestat(begun, files.base.stat()):
        raise FileNotFoundError(ENOENT, "replaced while it was read", str(files.base))
    values = joined(files.base, experiment, parts)
    return Stored(experiment, header, values, diverged_at, states, status, continuations)


@contextmanager
def opened(path: Path) -> Generator[h5py.File]:
    """A file for reading; whatever damaged ones make HDF5 raise within, as one sentence."""
    if path.is_dir():
        raise ForeignError(f"path {str(path)!r} is a folder, not a run")
    with path.open("rb") as file:
        start = file.read(len(SIGNATURE))
    if start != SIGNATURE:
        what = "not an HDF5 file" if start else "empty"
        raise ForeignError(f"path {str(path)!r} is {what}, and so not a run of nqm_fast")
    try:
        with Snapshot(path) as raw, h5py.File(raw, "r") as file:
            yield file
    except (FileNotFoundError, InputError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        # objects of h5py collected later, within one of its calls, may keep its lock for ever
        traceback.clear_frames(error.__traceback__)
        raise InputError(f"path {str(path)!r} is damaged: {reason}") from None


def header_of(path: Path, file: h5py.File) -> dict[str, Any]:
    """The root attributes, after a look whether they are ours and whole."""
    header = unsealed(file)
    if header is None or header.get("schema") != NAME:
        raise ForeignError(f"path {str(path)!r} is an HDF5 file, but was not written by nqm_fast")
    if header["schema_version"] > VERSION:
        raise ForeignError(
            f"path {str(path)!r} has schema version {header['schema_version']}, and this version "
            f"of nqm_fast reads up to {VERSION}: update nqm_fast"
        )
    if header["noise_stream"] != STREAM:
        raise ForeignError(
            f"path {str(path)!r} was made with version {header['noise_stream']} of the noise, and "
            f"this version of nqm_fast has version {STREAM}: use the one that made it"
        )
    return header


def experiment_of(file: h5py.File, header: dict[str, Any]) -> Experiment:
    """What is simulated."""
    arrays = {name: dataset[()] for name, dataset in file["configuration"].items()}
    return serialization.decode(json.loads(header["configuration"]), arrays)


def values_of(file: h5py.File, experiment: Experiment) -> dict[str, NDArray[Any]]:
    """Values per record of a file of a run that has ended."""
    return {name: file[name][()] for name in per_record(experiment)}


def live_values_of(file: h5py.File, experiment: Experiment) -> dict[str, NDArray[Any]]:
    """What is committed in a live file, with the axes of one that has ended."""
    steps = file[RECORD][()]  # first: what is there is committed in all others
    there = np.flatnonzero(steps >= 0)
    rows = slice(int(there[0]), int(there[-1]) + 1) if there.size else slice(0, 0)
    values = {name: file[name][rows] for name in live(experiment)}
    values[RECORD] = steps[rows]
    if not np.array_equal(values.pop("checksum"), checksums(values, experiment)):
        raise ValueError("a record does not match its checksum")
    final = per_record(experiment)
    for name in values:
        axis = final[name].dims.index(RECORD) if name in final else -1
        values[name] = np.moveaxis(values[name], 0, axis)
    return values


def last_known(values: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Where settings and replicas diverged, as far as the last record of a live file knows."""
    known = values.pop("diverged_at")
    return known[..., -1] if known.shape[-1] else np.full(known.shape[:-1], -1, dtype=np.int64)


def states_of(file: h5py.File, experiment: Experiment) -> list[Array] | None:
    """The final state of each setting, if it was kept."""
    names = state_names(experiment)
    return [file[name][()] for name in names] if names[0] in file else None


def joined(
    base: Path, experiment: Experiment, parts: list[dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """The records of all files; one that was made again after a kill is there only once."""
    steps = np.concatenate([part[RECORD] for part in parts])
    steps, first = np.unique(steps, return_index=True)
    if not np.array_equal(steps, experiment.records[: steps.size]):
        raise InputError(f"path {str(base)!r} is damaged: records are missing")
    return {
        name: np.concatenate([part[name] for part in parts], axis=axis).take(first, axis=axis)
        for name, variable in per_record(experiment).items()
        for axis in [variable.dims.index(RECORD)]
    }
