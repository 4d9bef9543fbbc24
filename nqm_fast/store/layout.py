"""What is in a run's file: variables with dimensions, units and descriptions, and attributes.

Files are netCDF4 in all but name, so that xarray opens them. They have two layouts. That of a
finished or interrupted run is for its readers: chunks, compressed. A live one is written so that no
kill can damage what was committed, not even one that tears a write apart: it has room for all
records from the start, so that no index and no other metadata ever changes, and a record is written
into its place, where the step is -1 until then. It has no filters, but a checksum of each record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ..simulation.experiment import Experiment
from ..simulation.observables import OBSERVABLES

NAME = "nqm_fast run"
VERSION = 2  # 1 had no observables but the risk, whole and of bands, and is read as well
BOUNDS = ("v110", "v110")
CHUNK = 1 << 19  # bytes, at most; more than half of it where the array is that large
FILTERS: dict[str, Any] = {
    "shuffle": True,
    "compression": "gzip",
    "compression_opts": 1,
    "fletcher32": True,
}
RECORD = "step"
_ODD = np.uint64(0x9E3779B97F4A7C15)
NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable. {:10d}"  # netCDF4's own words


class Variable(NamedTuple):
    """An array of the file."""

    dims: tuple[str, ...]
    units: str
    description: str
    dtype: str = "f8"
    fill: Any = np.nan


SCALES = {
    "setting": Variable(("setting",), "1", "number of the setting", "i8", -1),
    "replica": Variable(("replica",), "1", "number of the replica", "i8", -1),
    "step": Variable(("step",), "1", "steps done when the record was made", "i8", -1),
    "band": Variable(("band",), "1", "number of the band of curvatures, from 0", "i8", -1),
}

_WALL_TIME = Variable(("step",), "s", "running time when the record was made, without breaks")
_DIVERGED = "first step at which a coordinate's risk exceeded 1e290, -1 for none"
_LIVE = {
    "diverged_at": Variable(
        ("setting", "replica", "step"), "1", f"{_DIVERGED}, as known with the record", "i8", -1
    ),
    "checksum": Variable(("step",), "1", "checksum of the record", "u8", 0),
}
DIVERGED = Variable(("setting", "replica"), "1", _DIVERGED, "i8", -1)
BAND_EDGE = Variable(("band_edge",), "1", "curvatures that bound the bands")


def per_record(experiment: Experiment) -> dict[str, Variable]:
    """Variables with a value for each record; the last, the step, is the commit mark.

    Checksums of records depend on their order.
    """
    first, *others = experiment.observe
    found = {first: _observed(first), "wall_time": _WALL_TIME}
    return found | {name: _observed(name) for name in others} | {RECORD: SCALES[RECORD]}


def _observed(name: str) -> Variable:
    """The variable of an observable."""
    observable = OBSERVABLES[name]
    dims = ("setting", "replica", RECORD, *["band"] * observable.by_band)
    return Variable(dims, observable.units, observable.description)


def live(experiment: Experiment) -> dict[str, Variable]:
    """The same for a file that is being written, with records along the first axis."""
    found = _LIVE | per_record(experiment)
    return {
        name: variable._replace(dims=(RECORD, *(d for d in variable.dims if d != RECORD)))
        for name, variable in found.items()
    }


def scales_first(variables: Mapping[str, Variable]) -> list[tuple[str, Variable]]:
    """In an order in which they can be made."""
    return sorted(variables.items(), key=lambda item: item[1].dims != (item[0],))


def state_names(experiment: Experiment) -> list[str]:
    """Names of the variables of the final state of each setting."""
    if not experiment.listed:
        return ["state"]
    return [f"state_{g}" for g in range(len(experiment.settings))]


def state_variable(name: str) -> Variable:
    """The final state of a setting; settings differ in their number of components."""
    text = "components of the recurrence (for SGD w, v, e) after the last step"
    return Variable(("replica", f"{name}_component", "coordinate"), "1", text)


def chunk_length(row: int) -> int:
    """Records in a chunk, of `row` bytes each."""
    return 1 << max(CHUNK // row, 1).bit_length() - 1


def chunk_shape(variable: Variable, shape: tuple[int, ...], records: int) -> tuple[int, ...]:
    """Whole along the last axes as far as they fit; bands are apart, as risk is."""
    room = CHUNK // np.dtype(variable.dtype).itemsize
    chunk = [1] * len(shape)
    for axis in reversed(range(len(shape))):
        if variable.dims[axis] == RECORD:
            chunk[axis] = records
        elif variable.dims[axis] != "band" or len(shape) == 1:
            chunk[axis] = max(min(shape[axis], room), 1)
        room = max(room // chunk[axis], 1)
    return tuple(chunk)


def add(
    file: h5py.File,
    name: str,
    variable: Variable,
    shape: tuple[int, ...],
    records: int,
    values: Any = None,
) -> None:
    """Make a variable; along the records it can grow, in chunks of so many."""
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
    attach(file, name, variable, dataset)


def add_live(file: h5py.File, name: str, variable: Variable, shape: tuple[int, ...]) -> None:
    """Make a variable with room for all records, in one piece; only steps are written at once."""
    room = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    room.set_layout(h5py.h5d.CONTIGUOUS)
    room.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    room.set_fill_value(np.array(variable.fill, variable.dtype))
    filled = name == RECORD
    room.set_fill_time(h5py.h5d.FILL_TIME_ALLOC if filled else h5py.h5d.FILL_TIME_NEVER)
    kind, space = h5py.h5t.py_create(np.dtype(variable.dtype)), h5py.h5s.create_simple(shape)
    dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, room))
    attach(file, name, variable, dataset)


def attach(file: h5py.File, name: str, variable: Variable, dataset: h5py.Dataset) -> None:
    """Describe a variable, and attach scales to its dimensions."""
    describe(dataset, variable.units, variable.description)
    if variable.dims == (name,):
        dataset.make_scale(name)
        return
    for axis, dim in enumerate(variable.dims):
        if dim not in file:
            add_dimension(file, dim, dataset.shape[axis])
        dataset.dims[axis].attach_scale(file[dim])


def add_dimension(file: h5py.File, name: str, size: int) -> None:
    """A dimension without values: they would be 0, 1, 2, ..."""
    dataset = file.create_dataset(name, (size,), ">f4")
    dataset.make_scale(NO_VARIABLE.format(size))
    describe(dataset, "1", "a dimension without values")


def describe(dataset: h5py.Dataset, units: str, description: str) -> None:
    """Attributes that every variable has."""
    dataset.attrs["units"] = units
    dataset.attrs["description"] = description


def add_arrays(file: h5py.File, arrays: Mapping[str, NDArray[Any]]) -> None:
    """The arrays that the configuration names, in a group of their own."""
    group = file.create_group("configuration")
    for name, array in arrays.items():
        dim = f"configuration_{array.size}"
        text = f"{name} of the configuration"
        variable = Variable((dim,), "1", text, array.dtype.str[1:], 0)
        options = FILTERS | {"chunks": chunk_shape(variable, array.shape, 1)} if array.size else {}
        attach(file, name, variable, group.create_dataset(name, data=array, **options))


def checksums(values: Mapping[str, NDArray[Any]], experiment: Experiment) -> NDArray[np.uint64]:
    """Of every record of a live file, over all its other variables, which have 8 bytes each.

    The words, times odd numbers that differ, modulo 2^64: no flipped bit leaves it as it was. For
    millions of small records this is hundreds of times as fast as a CRC of each.
    """
    records = len(values[RECORD])
    parts = [values[name] for name in live(experiment) if name != "checksum"]
    words = (
        np.concatenate(
            [np.ascontiguousarray(x).view(np.uint64).reshape(records, -1) for x in parts if x.size],
            axis=1,
        )
        if records
        else np.zeros((0, 1), dtype=np.uint64)
    )
    odd = 2 * np.arange(words.shape[1], dtype=np.uint64) + np.uint64(1)
    found: NDArray[np.uint64] = (words * (odd * _ODD)).sum(axis=1, dtype=np.uint64)
    return found


# -- attributes --------------------------------------------------------------------------


SEAL = "sealed"


def seal(file: h5py.File, header: Mapping[str, Any]) -> None:
    """Write the attributes of the root.

    Each is there under its name for whoever opens the file, and all of them once more in a text
    of fixed length with its digest. That is what is read here: HDF5 keeps texts of variable
    length where it has no checksums, and damaged ones can make it hang.
    """
    for name, value in header.items():
        file.attrs[name] = value
    text = json.dumps(dict(header)).encode()
    file.attrs[SEAL] = np.bytes_(hashlib.sha256(text).hexdigest().encode() + text)


def unsealed(file: h5py.File) -> dict[str, Any] | None:
    """The attributes of the root, or none if it has none of ours.

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
