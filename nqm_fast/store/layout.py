"""The layout of a run's file: variables with dimensions, units and descriptions, and attributes.

Files are netCDF4 in all but name, so that xarray opens them. There are two layouts. The file of a
finished or interrupted run is for its readers, with compressed variables. A live file is written so
that no kill can damage committed records, not even one that tears a write apart: it has room for
all records from the start, so that no index and no other metadata ever changes, and a record is
written into its place, where the step is -1 until then. It is not compressed, but has a checksum of
each record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array
from ..simulation.experiment import Experiment
from ..simulation.observables import OBSERVABLES, PATHS, TRACED, recorded

NAME = "nqm_fast run"
VERSION = 4
"""Versions before it are read as well: 1 had only the risk and the risk by band, 2 no shards, and 3
no paths of coordinates."""
FORMAT_BOUNDS = ("v110", "v110")  # oldest and newest version of HDF5's file format
CHUNK_BYTES = 1 << 19  # HDF5 chunks have over half of it, if the array is that large, up to this.
FILTERS: dict[str, Any] = {
    "shuffle": True,
    "compression": "gzip",
    "compression_opts": 1,
    "fletcher32": True,
}
RECORD = "step"  # the dimension of records, and the variable with their steps
_CHECKSUM_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # It is odd, see `record_checksums`.
# The netCDF4 format demands these words as the name of the scale.
DIMENSION_ONLY = "This is a netCDF dimension but not a netCDF variable. {:10d}"


class Variable(NamedTuple):
    """An array of the file, with the names of its dimensions and its attributes."""

    dims: tuple[str, ...]
    units: str
    description: str
    dtype: str = "f8"
    fill: Any = np.nan


DIMENSION_SCALES = {
    "setting": Variable(("setting",), "1", "number of the setting", "i8", -1),
    "replica": Variable(("replica",), "1", "number of the replica", "i8", -1),
    "step": Variable(("step",), "1", "steps done when the record was made", "i8", -1),
    "band": Variable(("band",), "1", "number of the band of curvatures, from 0", "i8", -1),
    TRACED: Variable((TRACED,), "1", "number of the coordinate whose path is recorded", "i8", -1),
}

_WALL_TIME = Variable(("step",), "s", "running time when the record was made, without breaks")
_DIVERGED = "first step at which a coordinate's risk exceeded 1e290, -1 for none"
_LIVE_ONLY = {
    "diverged_at": Variable(
        ("setting", "replica", "step"), "1", f"{_DIVERGED}, as known with the record", "i8", -1
    ),
    "checksum": Variable(("step",), "1", "checksum of the record", "u8", 0),
}
DIVERGED_AT = Variable(("setting", "replica"), "1", _DIVERGED, "i8", -1)
BAND_EDGE = Variable(("band_edge",), "1", "curvatures that bound the bands")


def record_variables(experiment: Experiment) -> dict[str, Variable]:
    """The variables with a value for each record, in the order in which a commit writes them.

    The step is the last, because a record is committed as soon as its step is there. The checksums
    of records depend on the order as well.
    """
    first, *others = experiment.layout.recorded_names
    return {
        first: _recorded_variable(first),
        "wall_time": _WALL_TIME,
        **{name: _recorded_variable(name) for name in others},
        RECORD: DIMENSION_SCALES[RECORD],
    }


def _recorded_variable(name: str) -> Variable:
    """The variable of an observable or a path."""
    dims, units, description = recorded(name)
    return Variable(("setting", "replica", RECORD, *dims), units, description)


def live_variables(experiment: Experiment) -> dict[str, Variable]:
    """The variables with a value for each record in a live file, where records are the first axis.

    The file also says for each record which settings and replicas have diverged, and has checksums.
    """
    variables = _LIVE_ONLY | record_variables(experiment)
    return {
        name: variable._replace(dims=(RECORD, *(d for d in variable.dims if d != RECORD)))
        for name, variable in variables.items()
    }


def scales_first(variables: Mapping[str, Variable]) -> list[tuple[str, Variable]]:
    """Order variables so that a dimension's scale is created before it is attached to others."""
    return sorted(variables.items(), key=lambda item: item[1].dims != (item[0],))


def state_names(experiment: Experiment) -> list[str]:
    """The names of the variables that hold the final states, one for each setting."""
    if not experiment.listed:
        return ["state"]
    return [f"state_{g}" for g in range(len(experiment.settings))]


def state_variable(name: str) -> Variable:
    """The variable of a final state.

    Settings differ in the number of components, so that each has a dimension of its own for them.
    """
    text = "components of the recurrence (for SGD w, v, e) after the last step"
    return Variable(("replica", f"{name}_component", "coordinate"), "1", text)


def records_per_chunk(record_bytes: int) -> int:
    """The number of records, of so many bytes each, in an HDF5 chunk: a power of two."""
    return 1 << max(CHUNK_BYTES // record_bytes, 1).bit_length() - 1


def chunk_shape(variable: Variable, shape: tuple[int, ...], records: int) -> tuple[int, ...]:
    """The shape of an HDF5 chunk with so many records.

    It holds the last axes as far as they fit, but a single band, so that each can be read alone.
    """
    room = CHUNK_BYTES // np.dtype(variable.dtype).itemsize
    chunk = [1] * len(shape)
    for axis in reversed(range(len(shape))):
        if variable.dims[axis] == RECORD:
            chunk[axis] = records
        elif variable.dims[axis] != "band" or len(shape) == 1:
            chunk[axis] = max(min(shape[axis], room), 1)
        room = max(room // chunk[axis], 1)
    return tuple(chunk)


def add_variable(
    file: h5py.File,
    name: str,
    variable: Variable,
    shape: tuple[int, ...],
    records: int,
    values: Any = None,
) -> None:
    """Add a variable, in HDF5 chunks of so many records; the axis of records can grow."""
    growing = RECORD in variable.dims
    options: dict[str, Any] = {"fillvalue": variable.fill}
    if growing or all(shape):
        options |= FILTERS | {"chunks": chunk_shape(variable, shape, records)}
    if growing:
        options["maxshape"] = tuple(
            None if d == RECORD else n for d, n in zip(variable.dims, shape, strict=True)
        )
    dataset = file.create_dataset(name, shape, variable.dtype, **options)
    if values is not None and all(shape):
        dataset[...] = values
    describe_and_attach(file, name, variable, dataset)


def add_live_variable(
    file: h5py.File, name: str, variable: Variable, shape: tuple[int, ...]
) -> None:
    """Add a variable with contiguous room for all records.

    Only the steps are filled, with -1 for records that are not committed.
    """
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    options.set_layout(h5py.h5d.CONTIGUOUS)
    options.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    options.set_fill_value(np.array(variable.fill, variable.dtype))
    fill_time = h5py.h5d.FILL_TIME_ALLOC if name == RECORD else h5py.h5d.FILL_TIME_NEVER
    options.set_fill_time(fill_time)
    kind, space = h5py.h5t.py_create(np.dtype(variable.dtype)), h5py.h5s.create_simple(shape)
    dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, options))
    describe_and_attach(file, name, variable, dataset)


def add_setting_coordinates(file: h5py.File, columns: Mapping[str, NDArray[Any]]) -> None:
    """Add what tells settings apart, and name it as coordinates, which xarray makes them.

    Nothing of it is read here: experiments are read from the configuration.
    """
    taken = {*DIMENSION_SCALES, *OBSERVABLES, *PATHS, *_LIVE_ONLY, "wall_time", "band_edge"}
    columns = {name: values for name, values in columns.items() if name not in taken}
    for name, values in columns.items():
        is_text = values.dtype == object
        text = "what differs between settings" if is_text else f"{name} of the setting"
        if not is_text:
            text += "; NaN where a schedule varies"
        # HDF5 has no checksums for texts of variable length.
        options = {"dtype": h5py.string_dtype()} if is_text else FILTERS | {"chunks": values.shape}
        dataset = file.create_dataset(name, data=values, **options)
        describe_and_attach(file, name, Variable(("setting",), "1", text), dataset)
    file.attrs["coordinates"] = " ".join(columns)


def describe_and_attach(
    file: h5py.File, name: str, variable: Variable, dataset: h5py.Dataset
) -> None:
    """Describe a variable, and attach the scales of its dimensions to its axes."""
    describe(dataset, variable.units, variable.description)
    if variable.dims == (name,):
        dataset.make_scale(name)
        return
    for axis, dim in enumerate(variable.dims):
        if dim not in file:
            add_dimension(file, dim, dataset.shape[axis])
        dataset.dims[axis].attach_scale(file[dim])


def add_dimension(file: h5py.File, name: str, size: int) -> None:
    """Add a dimension without values, which would be 0, 1, 2, ..."""
    dataset = file.create_dataset(name, (size,), ">f4")
    dataset.make_scale(DIMENSION_ONLY.format(size))
    describe(dataset, "1", "a dimension without values")


def describe(dataset: h5py.Dataset, units: str, description: str) -> None:
    """Set the attributes that every variable has."""
    dataset.attrs["units"] = units
    dataset.attrs["description"] = description


def add_configuration_arrays(file: h5py.File, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Add the arrays that the configuration refers to by name, in a group of their own."""
    group = file.create_group("configuration")
    for name, array in arrays.items():
        dim = f"configuration_{array.size}"
        text = f"{name} of the configuration"
        variable = Variable((dim,), "1", text, array.dtype.str[1:], 0)
        options = FILTERS | {"chunks": chunk_shape(variable, array.shape, 1)} if array.size else {}
        describe_and_attach(file, name, variable, group.create_dataset(name, data=array, **options))


def record_checksums(
    values: Mapping[str, NDArray[Any]], experiment: Experiment
) -> NDArray[np.uint64]:
    """The checksum of each record of a live file, over all its other variables, (records,).

    `values` has records along the first axis, and 8 bytes for each number. A checksum is the sum
    modulo 2^64 of these words times different odd numbers, so that it changes with any flipped bit.
    For millions of small records this is hundreds of times as fast as a CRC of each.
    """
    records = len(values[RECORD])
    parts = [values[name] for name in live_variables(experiment) if name != "checksum"]
    words = (
        np.concatenate(
            [np.ascontiguousarray(x).view(np.uint64).reshape(records, -1) for x in parts if x.size],
            axis=1,
        )
        if records
        else np.zeros((0, 1), dtype=np.uint64)
    )
    odd = 2 * np.arange(words.shape[1], dtype=np.uint64) + np.uint64(1)
    sums: NDArray[np.uint64] = (words * (odd * _CHECKSUM_FACTOR)).sum(axis=1, dtype=np.uint64)
    return sums


class Whole(NamedTuple):
    """The content, but for the experiment, of the file of a run that has ended or was stopped."""

    header: dict[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    values: Mapping[str, Any]
    diverged_at: NDArray[np.int64]
    states: Sequence[Array] | None

    def named_arrays(self, experiment: Experiment) -> dict[str, NDArray[Any]]:
        """All arrays by the names that they have in the file."""
        states = self.states or ()
        return {
            **{f"configuration/{name}": array for name, array in self.arrays.items()},
            **{
                name: np.asarray(self.values[name], variable.dtype)
                for name, variable in record_variables(experiment).items()
            },
            "diverged_at": self.diverged_at,
            **dict(zip(state_names(experiment), states, strict=False)),
        }


def contents_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """The digest of all arrays that a whole file holds for a run, whatever else is in the file."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{name} {little.dtype.str} {array.shape}\n".encode())
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


# -- attributes --------------------------------------------------------------------------

SEAL = "sealed"  # the attribute that holds a digest and all other attributes as JSON


def seal(file: h5py.File, header: Mapping[str, Any]) -> None:
    """Write the attributes of the root, and all of them once more as one text with its digest.

    People who open the file see each attribute under its name. Only the text, of fixed length, is
    read by `unseal`: HDF5 keeps texts of variable length where it has no checksums, and damaged
    ones can make it hang.
    """
    for name, value in header.items():
        file.attrs[name] = value
    text = json.dumps(dict(header)).encode()
    file.attrs[SEAL] = np.bytes_(hashlib.sha256(text).hexdigest().encode() + text)


def unseal(file: h5py.File) -> dict[str, Any] | None:
    """Read the attributes of the root that `seal` has written; None if it has written none.

    Raises
    ------
    ValueError
        If they are damaged.
    """
    if SEAL not in file.attrs:
        return None
    raw = bytes(file.attrs[SEAL])
    digest, text = raw[:64], raw[64:]
    if hashlib.sha256(text).hexdigest().encode() != digest:
        raise ValueError("its attributes do not match their digest")
    header: dict[str, Any] = json.loads(text)
    return header
