"""Writing a run's files: a live file while it computes, and a whole file when it ends."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from errno import ENOENT
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..labels import coordinates
from ..output.saving import replace
from ..simulation.experiment import Experiment
from ..simulation.observables import TRACED
from .files import Files, sign
from .layout import (
    BAND_EDGE,
    DIMENSION_SCALES,
    DIVERGED_AT,
    FORMAT_BOUNDS,
    RECORD,
    Whole,
    add_configuration_arrays,
    add_live_variable,
    add_setting_coordinates,
    add_variable,
    contents_digest,
    live_variables,
    record_checksums,
    record_variables,
    records_per_chunk,
    scales_first,
    seal,
    state_names,
    state_variable,
)

Values = Mapping[str, NDArray[Any]]


def dimension_sizes(experiment: Experiment) -> dict[str, int]:
    """The sizes of the dimensions by name; that of records is 0, as it grows."""
    bands = 0 if experiment.bands is None else experiment.bands.size - 1
    replicas = experiment.replicas.size
    sizes = {"setting": len(experiment.settings), "replica": replicas, "band": bands, RECORD: 0}
    return sizes | {TRACED: experiment.traced.size}


class Output(io.FileIO):
    """A file that HDF5 writes, and that hides errors from it, because it crashes if a write fails.

    After an error nothing is written any more, and `check` raises the error.
    """

    error: BaseException | None = None

    def write(self, content: Any) -> int:
        """Write all of the content, or remember the error."""
        rest = memoryview(content).cast("B")
        size = rest.nbytes
        try:
            while rest.nbytes and self.error is None:
                rest = rest[super().write(rest) :]
        except BaseException as error:  # also one that a signal has raised
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file in bytes, or remember the error."""
        try:
            return super().truncate(size)
        except BaseException as error:
            self.error = self.error or error
            return size or 0

    def check(self) -> None:
        """Raise the error that was remembered, if there is one."""
        if self.error is not None:
            raise self.error


@contextmanager
def new_file(part: Path, experiment: Experiment, arrays: Values | None) -> Generator[h5py.File]:
    """Open a new file with the variables that do not change during a run.

    The caller adds the others, and renames the file from `part` when it is complete.
    """
    part.unlink(missing_ok=True)  # It may be that of a killed process, or no file of ours.
    with Output(part, "w+") as output:
        try:
            with h5py.File(output, "w", libver=FORMAT_BOUNDS) as file:
                add_fixed(file, experiment, arrays)
                yield file
        finally:
            # An error in writing is raised rather than another that it has caused in HDF5.
            output.check()


def add_fixed(file: h5py.File, experiment: Experiment, arrays: Values | None) -> None:
    """Add the variables that do not change during a run; `arrays` is of the configuration."""
    size = dimension_sizes(experiment)
    numbers = {
        "setting": np.arange(size["setting"]),
        "replica": experiment.replicas,
        "band": np.arange(size["band"]),
        TRACED: experiment.traced,
    }
    for name, values in numbers.items():
        if values.size:
            add_variable(file, name, DIMENSION_SCALES[name], values.shape, 1, values)
    if experiment.bands is not None:
        edges = experiment.bands
        add_variable(file, "band_edge", BAND_EDGE, edges.shape, 1, edges)
    add_setting_coordinates(file, coordinates(experiment.settings))
    if arrays is not None:
        add_configuration_arrays(file, arrays)


class LiveFile:
    """A file to which records are added while others may read it, in the SWMR mode of HDF5."""

    def __init__(
        self,
        path: Path,
        part: Path,
        experiment: Experiment,
        header: Mapping[str, Any],
        arrays: Values | None,
    ) -> None:
        self.path, self.experiment = path, experiment
        size = dimension_sizes(experiment) | {RECORD: experiment.records.size}
        variables = live_variables(experiment)
        with new_file(part, experiment, arrays) as file:
            for name, variable in scales_first(variables):
                shape = tuple(size[dim] for dim in variable.dims)
                add_live_variable(file, name, variable, shape)
            seal(file, header)
        replace(part, path)
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
        access.set_file_locking(False, True)
        flags = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE
        self.file = h5py.File(h5py.h5f.open(os.fsencode(path), flags, fapl=access))
        self.datasets = {name: self.file[name] for name in variables}

    def add(self, begin: int, values: Values) -> None:
        """Commit records from number `begin` on, which are given along the first axis.

        The step is written last, as it marks a record as committed.
        """
        values = {**values, "checksum": record_checksums(values, self.experiment)}
        rows = slice(begin, begin + values[RECORD].size)
        for name, dataset in self.datasets.items():
            if name != RECORD:
                dataset[rows] = values[name]
                dataset.flush()
        self.datasets[RECORD][rows] = values[RECORD]
        self.datasets[RECORD].flush()

    def sync(self) -> None:
        """Wait until all records are on disk."""
        os.fsync(self.file.id.get_vfd_handle())

    def check(self) -> None:
        """Make sure that the file still is where it was created.

        Raises
        ------
        FileNotFoundError
            If it was removed, moved or replaced.
        """
        mine = os.fstat(self.file.id.get_vfd_handle())
        if not os.path.samestat(mine, os.stat(self.path)):
            raise FileNotFoundError(ENOENT, "another file is in its place", str(self.path))

    def close(self) -> None:
        """Close the file, if that was not done before."""
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


def write_whole(
    files: Files,
    experiment: Experiment,
    whole: Whole,
    before_replacing: Callable[[], None] = lambda: None,
) -> None:
    """Replace the first file of a run by one with all its records.

    `before_replacing` is called when the new file is complete, and closes the old one if it is
    open: what is open cannot be replaced everywhere.
    """
    size = dimension_sizes(experiment)
    contents = {"contents": contents_digest(whole.named_arrays(experiment))}
    with new_file(files.part, experiment, whole.arrays) as file:
        for name, variable in scales_first(record_variables(experiment)):
            # Each band is in HDF5 chunks of its own.
            numbers = math.prod(size[d] for d in variable.dims if d not in (RECORD, "band"))
            values = whole.values[name]
            add_variable(file, name, variable, values.shape, records_per_chunk(8 * numbers), values)
        diverged_at = whole.diverged_at
        add_variable(file, "diverged_at", DIVERGED_AT, diverged_at.shape, 1, diverged_at)
        if whole.states is not None:
            for name, state in zip(state_names(experiment), whole.states, strict=True):
                add_variable(file, name, state_variable(name), state.shape, 1, state)
        seal(file, whole.header | contents)
    sign(files.part)
    before_replacing()
    replace(files.part, files.base)
