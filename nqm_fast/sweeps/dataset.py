"""The results of a sweep as a dataset of xarray, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..saving import written_beside
from ..validation import InputError
from .folder import FORMAT
from .grid import coordinate, label
from .plan import Plan, package_version

if TYPE_CHECKING:
    import xarray

ENGINE = "h5netcdf"
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
    with written_beside("out", path) as part:
        data.to_netcdf(part, engine=ENGINE)


def read(path: Path, argument: str = "out") -> xarray.Dataset:
    """Read the file of a sweep.

    Raises
    ------
    InputError
        If it is none.
    """
    import xarray

    try:
        data = xarray.load_dataset(path, engine=ENGINE)
    except FileNotFoundError:
        raise
    except Exception as error:  # HDF5 and netCDF raise all kinds at foreign bytes.
        raise InputError(f"{argument} = {str(path)!r} cannot be read: {error}") from None
    if data.attrs.get("format") != FORMAT:
        raise InputError(f"{argument} = {str(path)!r} is not the file of a sweep")
    return data


def is_sweep(path: Path) -> bool:
    """Whether a file is that of a sweep."""
    import h5py

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
