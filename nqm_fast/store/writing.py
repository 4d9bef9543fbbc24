"""Writing a run's files: a live segment while it computes, a whole file when it ends."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ..checks import Array
from ..experiment import Experiment
from .files import Files, replace
from .layout import (
    BAND_EDGE,
    BOUNDS,
    DIVERGED,
    LIVE_DIVERGED,
    RECORD,
    SCALES,
    add,
    add_arrays,
    chunk_length,
    per_record,
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


def new_file(part: Path, experiment: Experiment, arrays: Values | None) -> h5py.File:
    """A file with what does not change during a run; the caller gives it its name."""
    file = h5py.File(part, "w", libver=BOUNDS, locking=False)
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
    return file


class Segment:
    """A live file in SWMR mode, which others may read while records are added."""

    def __init__(
        self,
        path: Path,
        part: Path,
        experiment: Experiment,
        header: Mapping[str, Any],
        arrays: Values | None,
    ) -> None:
        self.path = path
        size = sizes(experiment)
        self.chunk = chunk_length(8 * size["setting"] * size["replica"])
        variables = per_record(experiment) | {"diverged_at": LIVE_DIVERGED}
        with new_file(part, experiment, arrays) as file:
            for name, variable in variables.items():
                shape = tuple(size[dim] for dim in variable.dims)
                add(file, name, variable, shape, self.chunk)
            seal(file, header)
        replace(part, path)
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
        access.set_file_locking(False, True)
        flags = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE
        self.file = h5py.File(h5py.h5f.open(os.fsencode(path), flags, fapl=access))
        self.axes = {name: variable.dims.index(RECORD) for name, variable in variables.items()}
        self.length = 0

    def add(self, values: Values) -> None:
        """Commit records: every chunk is written once, and the step last of all."""
        steps = values[RECORD]
        for low in range(0, steps.size, self.chunk):
            rows = slice(low, min(low + self.chunk, steps.size))
            end = self.length + rows.stop - rows.start
            for name in [*(name for name in self.axes if name != RECORD), RECORD]:
                dataset, axis = self.file[name], self.axes[name]
                dataset.resize(self.length + self.chunk, axis)
                before = (slice(None),) * axis
                dataset[(*before, slice(self.length, end))] = values[name][(*before, rows)]
                dataset.flush()
            self.length += self.chunk

    def sync(self) -> None:
        """Wait until all is on disk, and still under its name.

        Raises
        ------
        FileNotFoundError
            If the file was removed or moved.
        """
        handle = self.file.id.get_vfd_handle()
        os.fsync(handle)
        self.check()

    def check(self) -> None:
        """The file is still under its name."""
        mine = os.fstat(self.file.id.get_vfd_handle())
        there = os.stat(self.path)
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            raise FileNotFoundError(2, "another file is in its place", str(self.path))

    def close(self) -> None:
        """Leave it in order, if the disk lets us."""
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
        for name, variable in per_record(experiment).items():
            row = math.prod(size[d] for d in variable.dims if d not in (RECORD, "band"))
            values = whole.values[name]
            add(file, name, variable, values.shape, chunk_length(8 * row), values)
        add(file, "diverged_at", DIVERGED, whole.diverged_at.shape, 1, whole.diverged_at)
        if whole.states is not None:
            for name, state in zip(state_names(experiment), whole.states, strict=True):
                add(file, name, state_variable(name), state.shape, 1, state)
        seal(file, whole.header)
    replace(files.part, files.base)
