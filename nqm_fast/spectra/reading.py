"""Spectra in files of other programs, read as problems."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coordinates import problem_files
from ..coordinates.arrays import LIMITS
from ..coordinates.problem_files import Content
from ..coordinates.spectrum import NEGATIVE
from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.validation import Array, InputError, choice, number
from ..problem import Problem
from .arrays import SUM_TOLERANCE, array_columns, named_columns, pairs_if_asked
from .columns import Columns
from .text import read_columns


@in_usual_arithmetic
def read_spectrum(
    path: str | os.PathLike[str],
    *,
    dim: float | None = None,
    negative: str = "error",
    damping: float = 0.0,
) -> Problem:
    """Read a problem from a file of curvatures, and maybe their noise, counts and start.

    Parameters
    ----------
    path : str or path
        An ``.npz`` or ``.npy`` file, or a text whose columns are parted by whitespace or commas,
        with comments after ``#``; what it is shows in the file, not in its name. Columns are named
        ``h``, and optionally ``c``, ``count`` or ``weight``, ``mean0``, ``var0``: in the first line
        of a text (also as a comment), as the keys of an ``.npz`` file, or as the fields of a
        structured array. Without names that is their order, of which there may be fewer. Files
        of `Problem.save` are read too. Nothing is ever unpickled. An array without names of at
        most five rows and columns may mean more than one thing, and is refused then.

        Eigenvalues and weights may have the names that PyHessian, spectral-density and
        hessian-eigenthings give them, and the shape (runs, nodes), or be two rows of an ``.npy``
        file, of shape (2, runs, nodes) or (2, nodes). Tridiagonal matrices of Lanczos runs, of
        shape (steps, steps), (steps, steps, runs) or (runs, steps, steps), are read as their
        eigenvalues and weights; one of two steps must be named ``T``.
    dim : float, optional
        Number of coordinates, for weights, which are shares of a spectrum: a coordinate's count
        is ``dim * weight``, not necessarily whole, divided by the number of runs, and all
        counts sum to `dim`. With it, the second of two columns without a name is a weight.
    negative : {"error", "drop", "abs"}
        What becomes of curvatures that are negative or zero; see `Problem`.
    damping : float
        Added to all curvatures first, >= 0.

    Returns
    -------
    Problem
        Its attribute `dropped` says what was left out.

    Raises
    ------
    InputError
        If the file is damaged, is no spectrum, or has a value outside its limits; of a text,
        the sentence names the line and the column.
    FileNotFoundError
        If there is no such file.
    """
    negative = choice("negative", negative, NEGATIVE)
    damping = number("damping", damping, least=0.0)
    dim = None if dim is None else number("dim", dim, above=0.0)
    file = problem_files.content(path)
    if file.data.startswith(problem_files.ZIP):
        arrays = problem_files.zipped_arrays(file)
        if problem_files.is_saved_problem(arrays):
            return _saved_problem(file, arrays, dim, negative, damping)
        columns = named_columns(file, arrays, dim)
    elif file.data.startswith(problem_files.NPY):
        columns = array_columns(file, problem_files.single_array(file), dim)
    elif file.data.startswith(problem_files.PICKLE) or b"cnumpy" in file.data[:200]:
        raise file.refused(f"is a pickle: {problem_files.OBJECTS}")
    else:
        columns = pairs_if_asked(read_columns(file), dim)
    return _problem(columns, dim, negative, damping)


def _saved_problem(
    file: Content,
    arrays: dict[str, NDArray[Any]],
    dim: float | None,
    negative: str,
    damping: float,
) -> Problem:
    """Return the problem that `Problem.save` has written."""
    if dim is not None:
        raise file.refused("is a problem by itself, so that dim cannot be given too")
    fields = problem_files.fields_in(file, arrays)
    try:
        return Problem.from_fields(fields, negative=negative, damping=damping)
    except (KeyError, TypeError, InputError) as error:
        raise file.refused(f"holds a damaged problem: {error}") from None


# -- columns as a problem ----------------------------------------------------------------


def _problem(columns: Columns, dim: float | None, negative: str, damping: float) -> Problem:
    """Make the problem, once all columns have been checked."""
    file, arrays = columns.file, columns.arrays
    if "h" not in arrays:
        given = ", ".join(arrays) or "nothing"
        raise file.refused(f"has no column h of curvatures, but {given}")
    if {"count", "weight"} <= set(arrays):
        raise file.refused("has both counts and weights, which are two names for one: keep one")
    if dim is not None and "weight" not in arrays:
        raise file.refused("has no weights, so that it is a problem by itself: leave out dim")
    for name in arrays:
        arrays[name] = _real(columns, name)
    _check_shapes(columns)
    checked = {name: x.ravel() if x.ndim else x for name, x in arrays.items() if name != "weight"}
    places = np.arange(checked["h"].size)
    if "weight" in arrays:
        count = _counts(columns, arrays["weight"], dim).ravel()
        places = np.flatnonzero(count)
        checked = {name: x[places] if x.ndim else x for name, x in checked.items()}
    for name, array in checked.items():
        _check_column(columns, name, array, places, **LIMITS.get(name, {}))
    if "weight" in arrays:
        checked["count"] = count[places]
    try:
        return Problem(**checked, negative=negative, damping=damping)
    except InputError as error:
        least = int(np.argmin(checked["h"]))
        if negative == "error" and checked["h"][least] + damping <= 0.0:
            raise columns.wrong("h", int(places[least]), str(error)) from None
        raise file.refused(f"is no problem: {error}") from None


def _real(columns: Columns, name: str) -> Array:
    """Return a column as doubles, which may be complex numbers without imaginary parts."""
    array = columns.arrays[name]
    if array.dtype.kind == "c" and not np.imag(array).any():
        array = np.real(array)
    if array.dtype.kind not in "iuf":
        kind = "complex numbers" if array.dtype.kind == "c" else f"of type {array.dtype}"
        raise columns.file.refused(f"has a column {name} that is not of real numbers, but {kind}")
    return array.astype(np.float64)


def _check_shapes(columns: Columns) -> None:
    """Raise an InputError unless all columns have the shape of h, or are single numbers."""
    arrays = columns.arrays
    shape = arrays["h"].shape
    most = 2 if "weight" in arrays else 1
    if not 1 <= len(shape) <= most or not arrays["h"].size:
        raise columns.file.refused(
            f"has curvatures h of the shape {shape}, which must be (d,), or beside weights "
            "(runs, nodes), and not empty"
        )
    for name, array in arrays.items():
        if array.shape != shape and (array.ndim or name == "weight"):
            raise columns.file.refused(
                f"has {name} of the shape {array.shape}, which must be that of h, {shape}"
            )


def _counts(columns: Columns, weight: Array, dim: float | None) -> Array:
    """Return how many coordinates each weight stands for."""
    _check_column(columns, "weight", weight, np.arange(weight.size), least=0.0)
    total = weight.sum(axis=-1, keepdims=True)
    if not (total > 0.0).all():
        raise columns.file.refused("has weights that are all zero")
    if (weight <= 1.0 + SUM_TOLERANCE).all():
        runs = np.round(total) if weight.ndim == 1 else np.ones_like(total)
        bad = np.abs(total - runs) > SUM_TOLERANCE * np.maximum(runs, 1.0)
        if bad.any():
            raise columns.file.refused(
                f"has weights that sum to {total[bad].flat[0]:g}, not to 1 for every run: some are "
                "missing, or they are counts, and their column must be named so"
            )
        if dim is None:
            raise columns.file.refused(
                "has weights that are shares of a spectrum: give dim, the number of coordinates"
            )
    elif weight.ndim == 2:
        raise columns.file.refused("has weights beyond 1 in several runs, which are no densities")
    if dim is None:
        return weight
    share = weight / total
    counts: Array = dim * share / (len(share) if share.ndim == 2 else 1)
    return counts


def _check_column(
    columns: Columns,
    name: str,
    array: Array,
    places: NDArray[np.intp],
    least: float = -np.inf,
    above: float = -np.inf,
) -> None:
    """Raise an InputError with the place of the first number that is not within the limits."""
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= least) & (array > above)))
    if not bad.size:
        return
    value = array.flat[bad[0]]
    limit = f">= {least:g}" if least > -np.inf else f"> {above:g}"
    allowed = limit if np.isfinite(value) else "finite"
    index = int(places[bad[0]]) if array.ndim else 0
    raise columns.wrong(name, index, f"{name} must be {allowed}, but is {value:g}")
