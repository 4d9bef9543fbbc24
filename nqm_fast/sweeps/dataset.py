"""The results of a sweep as a dataset of xarray, and its file."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import InputError
from ..output.saving import special_kind, written_beside
from .folder import FORMAT
from .grid import POINT, coordinate, label
from .plan import Plan, package_version

if TYPE_CHECKING:
    import xarray

ERROR = "error"
"""The variable that says why points have no results; it is there only if some have none."""


def dataset(
    plan: Plan, rows: NDArray[Any], failures: Mapping[int, str], is_complete: bool
) -> xarray.Dataset:
    """Arrange the rows of points, of which some may be missing, along the axes of the grid."""
    import xarray

    grid = plan.grid
    variables: dict[str, Any] = {}
    for name, field in plan.fields.items():
        fill = np.nan if field.dtype == "<f8" else -1
        values = np.full((grid.size, *field.shape), fill, dtype=field.dtype)
        values[rows["point"]] = rows[name]
        dims = (*grid.dims, *(dim.name for dim in field.dims))
        shaped = values.reshape((*grid.shape, *field.shape))
        variables[name] = dims, shaped, {"description": field.description}
    if failures:
        errors = np.full(grid.size, "", dtype=object)
        errors[list(failures)] = list(failures.values())
        text = "why a point has no results"
        variables[ERROR] = grid.dims, errors.reshape(grid.shape), {"description": text}
    coords: dict[str, Any] = {
        dim.name: dim.values for field in plan.fields.values() for dim in field.dims
    }
    for name, axis in grid.axes.items():
        coords[name] = (grid.dims[0] if grid.listed else name), coordinate(axis)
    facts = {
        "format": FORMAT,
        "what": plan.what,
        "arguments": ", ".join(f"{name} = {label(x)}" for name, x in plan.common.items()),
        "version": package_version(),
        "digest": plan.digest,
        "complete": int(is_complete),
    }
    return xarray.Dataset(variables, coords, facts)


def write(path: Path, data: xarray.Dataset) -> None:
    """Write a dataset as one HDF5 file."""
    with written_beside("out", path) as part, _written_here():
        data.to_netcdf(part, engine="h5netcdf")


@contextmanager
def _written_here() -> Generator[None]:
    """Let xarray write in this process: Dask would have it ask its cluster, which may be lost."""
    if "dask" not in sys.modules:
        yield
        return
    with sys.modules["dask"].config.set(scheduler="synchronous"):
        yield


def read(path: Path, argument: str = "out") -> xarray.Dataset:
    """Read the file of a sweep.

    Raises
    ------
    InputError
        If it is none.
    """
    import xarray

    try:
        data = xarray.load_dataset(path, engine="h5netcdf")
    except FileNotFoundError:
        raise
    except Exception as error:  # HDF5 and netCDF raise all kinds at foreign bytes.
        raise InputError(f"{argument} = {str(path)!r} cannot be read: {error}") from None
    if data.attrs.get("format") != FORMAT:
        raise InputError(f"{argument} = {str(path)!r} is not the file of a sweep")
    return data


def described(data: xarray.Dataset) -> dict[str, str]:
    """Describe a sweep, by title."""
    points = [name for name, size in data.sizes.items() if name in data.coords or name == POINT]
    inner = {"step", "replica", "band", "piece"}
    axes = {str(name): data.sizes[name] for name in points if name not in inner}
    failed = int((data[ERROR] != "").sum()) if ERROR in data else 0
    state = "complete" if data.attrs["complete"] else "not complete: the same call goes on"
    found = {"sweep": data.attrs["what"], "status": state}
    found["points"] = " x ".join(f"{size} {name}" for name, size in axes.items())
    if failed:
        found["failed"] = f"{failed}, and their variable {ERROR!r} says why"
    found["arguments"] = data.attrs["arguments"]
    found["results"] = ", ".join(str(name) for name in data.data_vars if name != ERROR)
    return found | {"written by": f"nqm-fast {data.attrs['version']}"}


def is_sweep(path: Path) -> bool:
    """Whether a file is that of a sweep."""
    import h5py

    if special_kind(path) is not None:
        return False  # To look into it would wait for whoever writes to it.
    try:
        with h5py.File(path) as file:
            found = file.attrs.get("format", "")
    except OSError:
        return False
    return found in (FORMAT, FORMAT.encode())


def read_complete(path: Path, plan: Plan) -> xarray.Dataset | None:
    """Read the file of a sweep if all of its points are done.

    Raises
    ------
    InputError
        If there is a file that is none of this sweep.
    """
    if not path.exists():
        return None
    data = read(path)
    if data.attrs["digest"] != plan.digest:
        raise InputError(
            f"out = {str(path)!r} is another sweep, whose grid or arguments differ: choose another "
            "file"
        )
    return data if data.attrs["complete"] else None
