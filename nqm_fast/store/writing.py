"""Writing a run's files: a live segment while it computes, a whole file when it ends."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from errno import ENOENT
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ..simulation.experiment import Experiment
from ..validation import Array
from .files import Files, replace, sign
from .layout import (
    BAND_EDGE,
    BOUNDS,
    DIVERGED,
    RECORD,
    SCALES,
    add,
    add_arrays,
    add_live,
    checksums,
    chunk_length,
    live,
    per_record,
    scales_first,
    seal,
    state_names,
    state_variable,
)

Values = Mapping[str, NDArray[Any]]


def sizes(experiment: Experiment) -> dict[str, int]:
    """Lengths of the dimensions that do not grow."""
    bands = 0 if experiment.bands is None else experiment.bands.size - 1
    replicas = experiment.replicas.size
    return {"setting": len(experiment.settings), "replica": replicas, "band": bands, RECORD: 0}


class Output(io.FileIO):
    """A file for HDF5 to write, which crashes where a write fails: it is told of none.

    After a failure nothing is written any more, and `check` raises it.
    """

    error: BaseException | None = None

    def write(self, content: Any) -> int:
        """Write all of it."""
        rest = memoryview(content).cast("B")
        size = rest.nbytes
        try:
            while rest.nbytes and self.error is None:
                rest = rest[super().write(rest) :]
        except BaseException as error:  # a signal's as well
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Make the file so long."""
        try:
            return super().truncate(size)
        except BaseException as error:
            self.error = self.error or error
            return size or 0

    def check(self) -> None:
        """All was written."""
        if self.error is not None:
            raise self.error


@contextmanager
def new_file(part: Path, experiment: Experiment, arrays: Values | None) -> Generator[h5py.File]:
    """A file with what does not change during a run; the caller gives it its name."""
    with Output(part, "w+") as output:
        try:
            with h5py.File(output, "w", libver=BOUNDS) as file:
                add_fixed(file, experiment, arrays)
                yield file
        finally:
            output.check()  # before all that may have come of it


def add_fixed(file: h5py.File, experiment: Experiment, arrays: Values | None) -> None:
    """What does not change during a run."""
    size = sizes(experiment)
    numbers = {
        "setting": np.arange(size["setting"]),
        "replica": experiment.replicas,
        "band": np.arange(size["band"]),
    }
    for name, values in numbers.items():
        if values.size:
            add(file, name, SCALES[name], values.shape, 1, values)
    if experiment.bands is not None:
        add(file, "band_edge", BAND_EDGE, experiment.bands.shape, 1, experiment.bands)
    if arrays is not None:
        add_arrays(file, arrays)


class LiveFile:
    """A live file in SWMR mode, which others may read while records are added."""

    def __init__(
        self,
        path: Path,
        part: Path,
        experiment: Experiment,
        header: Mapping[str, Any],
        arrays: Values | None,
    ) -> None:
        self.path, self.experiment = path, experiment
        size = sizes(experiment) | {RECORD: experiment.records.size}
        variables = live(experiment)
        with new_file(part, experiment, arrays) as file:
            for name, variable in scales_first(variables):
                add_live(file, name, variable, tuple(size[dim] for dim in variable.dims))
            seal(file, header)
        replace(part, path)
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
        access.set_file_locking(False, True)
        flags = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE
        self.file = h5py.File(h5py.h5f.open(os.fsencode(path), flags, fapl=access))
        self.datasets = {name: self.file[name] for name in variables}

    def add(self, begin: int, values: Values) -> None:
        """Commit records from number `begin` on, given along the first axis; the step is last."""
        values = {**values, "checksum": checksums(values, self.experiment)}
        rows = slice(begin, begin + values[RECORD].size)
        for name, dataset in self.datasets.items():
            if name != RECORD:
                dataset[rows] = values[name]
                dataset.flush()
        self.datasets[RECORD][rows] = values[RECORD]
        self.datasets[RECORD].flush()

    def sync(self) -> None:
        """Wait until all is on disk."""
        os.fsync(self.file.id.get_vfd_handle())

    def check(self) -> None:
        """The file is still under its name."""
        mine = os.fstat(self.file.id.get_vfd_handle())
        if not os.path.samestat(mine, os.stat(self.path)):
            raise FileNotFoundError(ENOENT, "another file is in its place", str(self.path))

    def close(self) -> None:
        """Leave it in order."""
        if self.file:
            self.file.close()

    def cut_off(self) -> None:
        """Leave the file as it is on disk, after a write has failed.

        HDF5 would try to write again as it closes the file, and crash where it cannot; so what
        it writes now goes nowhere.
        """
        if self.file:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, self.file.id.get_vfd_handle())
            os.close(nowhere)
            with suppress(OSError, RuntimeError):
                self.file.close()


class Whole(NamedTuple):
    """What a file of a run that has ended, or was interrupted, holds beside its experiment."""

    header: Mapping[str, Any]
    arrays: Values
    values: Mapping[str, Any]
    diverged_at: NDArray[np.int64]
    states: Sequence[Array] | None


def write_whole(files: Files, experiment: Experiment, whole: Whole) -> None:
    """Put one file with all records, and nothing else, in the place of the run's first."""
    size = sizes(experiment)
    with new_file(files.part, experiment, whole.arrays) as file:
        for name, variable in scales_first(per_record(experiment)):
            row = math.prod(size[d] for d in variable.dims if d not in (RECORD, "band"))
            values = whole.values[name]
            add(file, name, variable, values.shape, chunk_length(8 * row), values)
        add(file, "diverged_at", DIVERGED, whole.diverged_at.shape, 1, whole.diverged_at)
        if whole.states is not None:
            for name, state in zip(state_names(experiment), whole.states, strict=True):
                add(file, name, state_variable(name), state.shape, 1, state)
        seal(file, whole.header)
    sign(files.part)
    replace(files.part, files.base)
