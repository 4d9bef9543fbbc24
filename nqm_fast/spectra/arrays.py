"""Spectra in files of NumPy: arrays by name, or by their shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coordinates.arrays import LIMITS
from ..coordinates.problem_files import Content
from ..foundation.messages import counted
from .columns import ORDER, Columns, renamed

SUM_TOLERANCE = 1e-3
"""Relative error of the sum of the weights of a density, which may be of single precision."""


def named_columns(file: Content, arrays: dict[str, NDArray[Any]], dim: float | None) -> Columns:
    """Return the columns among the arrays of an ``.npz`` file."""
    if set(arrays) == {"arr_0"}:
        return array_columns(file, arrays["arr_0"], dim)
    if set(arrays) == {"arr_0", "arr_1"}:
        names = ("h", "weight" if dim is not None or are_shares(arrays["arr_1"]) else "c")
        return Columns(file, dict(zip(names, arrays.values(), strict=True)))
    columns = renamed(file, arrays)
    tridiagonal = columns.arrays.pop("tridiag", None)
    if tridiagonal is not None and "h" not in columns.arrays:
        runs = _runs_of_tridiagonal(tridiagonal)
        if runs is None:
            raise file.refused("has a tridiagonal matrix that is not tridiagonal and symmetric")
        columns.arrays |= _of_lanczos(runs)
    return columns


def array_columns(file: Content, array: NDArray[Any], dim: float | None) -> Columns:
    """Return the columns that an array without names stands for, by its shape."""
    if array.dtype.names:
        return renamed(file, {name: array[name] for name in array.dtype.names})
    if array.dtype.kind not in "iufc":
        raise file.refused(f"holds no numbers, but elements of type {array.dtype}")
    if array.ndim == 1:
        return Columns(file, {"h": array})
    if (
        array.ndim in (2, 3)
        and len(array) == 2
        and (array.ndim == 3 or array.shape[1] > len(ORDER))
    ):
        if are_shares(array[1]):
            return Columns(file, {"h": array[0], "weight": array[1]})
    elif array.ndim == 2 and array.shape[1] <= len(ORDER):
        return _small_columns(file, array, dim)
    runs = _runs_of_tridiagonal(array)
    if runs is None:
        raise file.refused(
            f"has the shape {array.shape}, which must be (d,), (d, columns) with at most "
            f"{', '.join(ORDER)}, two rows of eigenvalues and weights that sum to 1, or that of "
            "tridiagonal matrices"
        )
    return Columns(file, _of_lanczos(runs))


def _small_columns(file: Content, array: NDArray[Any], dim: float | None) -> Columns:
    """Return the columns of an array that has as few as a spectrum, unless it may mean another.

    Raises
    ------
    InputError
        If it may as well be a matrix, or have rows for columns.
    """
    rows, columns = array.shape
    by_order = dict(zip(ORDER, array.T, strict=False))
    of_columns = Columns(file, by_order, is_named=False)
    meant = f"{counted(rows, 'row')} of {' and '.join(_order(columns, dim))}"
    advice = "give the arrays names, as np.savez(path, h=..., c=...) does"
    if rows == columns > 1 and _is_symmetric(array):
        runs = _runs_of_tridiagonal(array)
        if dim is not None and columns > 2 and runs is not None:
            return Columns(file, _of_lanczos(runs))
        raise file.refused(
            f"has a symmetric array of shape {array.shape}, which may be a matrix or {meant}: save "
            f"eigenvalues for a matrix (np.savez(path, T=...) for a tridiagonal one), or {advice}"
        )
    if not 1 < rows <= len(ORDER) or columns == 1 or array.dtype.kind == "c":
        return pairs_if_asked(of_columns, dim)
    turned = dict(zip(ORDER, array, strict=False))
    if dim is not None:
        # Only two columns, or two rows, may be eigenvalues and weights.
        can_be_turned = rows == 2 and are_shares(array[1])
        if columns > 2 and can_be_turned:
            return pairs_if_asked(Columns(file, turned, is_named=False), dim)
        is_ambiguous = columns == 2 and can_be_turned and bool((array[:, 1] >= 0.0).all())
    else:
        is_ambiguous = _is_within_limits(by_order) and _is_within_limits(turned)
    if is_ambiguous:
        other = f"{counted(columns, 'column')} of {' and '.join(_order(rows, dim))}"
        raise file.refused(
            f"has the shape {array.shape}, and may have {meant}, or {other}: {advice}"
        )
    return pairs_if_asked(of_columns, dim)


def _order(count: int, dim: float | None) -> tuple[str, ...]:
    """Name so many columns without names."""
    return ORDER[:count] if dim is None or count != 2 else ("h", "weight")


def _is_within_limits(arrays: dict[str, NDArray[Any]]) -> bool:
    """Whether numbers may be those of a spectrum, whose curvatures may still be negative."""
    return all(
        bool((array >= limits.get("least", -np.inf)).all())
        and bool((array > limits.get("above", -np.inf)).all())
        for name, array in arrays.items()
        for limits in (LIMITS.get(name, {}),)
    )


def _is_symmetric(matrix: NDArray[Any]) -> bool:
    """Whether a matrix is symmetric up to rounding, as of single precision."""
    largest = np.abs(matrix).max()
    return bool((np.abs(matrix - matrix.T) <= 1e-5 * largest).all())


def pairs_if_asked(columns: Columns, dim: float | None) -> Columns:
    """Take the second of two columns without names for a weight, if there is a `dim` for it.

    Raises
    ------
    InputError
        If there is none, and they seem to be weights all the same.
    """
    if columns.is_named or set(columns.arrays) != {"h", "c"}:
        return columns
    if dim is None:
        if len(columns.arrays["c"]) > 1 and are_shares(columns.arrays["c"]):
            raise columns.file.refused(
                "has two columns without names, of which the second sums to 1: give dim, the "
                "number of coordinates, if they are weights, or the names h and c in a first line"
            )
        return columns
    for mapping in (columns.arrays, columns.numbers):
        if "c" in mapping:
            mapping["weight"] = mapping.pop("c")  # type: ignore[assignment]
    return columns


def are_shares(weight: NDArray[Any]) -> bool:
    """Whether weights, of shape (runs, nodes) or (nodes,), are those of a density in every run."""
    if weight.dtype.kind not in "iufc" or not weight.size:
        return False
    sums = np.atleast_1d(np.real(weight).sum(axis=-1))
    return bool((np.real(weight) >= 0.0).all() and (np.abs(sums - 1.0) <= SUM_TOLERANCE).all())


def _runs_of_tridiagonal(array: NDArray[Any]) -> NDArray[Any] | None:
    """Return tridiagonal matrices as an array of shape (runs, steps, steps), if they are some.

    A run that has not been made yet is all zero, and left out.
    """
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.dtype.kind not in "iuf":
        return None
    for runs in (array, np.moveaxis(array, -1, 0)):
        steps = runs.shape[-1]
        is_square = runs.shape[1] == steps and steps > 1
        if not is_square or not np.isfinite(runs).all():
            continue
        outside = np.abs(np.subtract.outer(np.arange(steps), np.arange(steps))) > 1
        if not runs[:, outside].any() and np.allclose(runs, runs.swapaxes(1, 2), rtol=1e-5):
            made = runs[runs.any(axis=(1, 2))]
            return made if len(made) else None
    return None


def _of_lanczos(runs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return eigenvalues and weights, of shape (runs, steps), of tridiagonal matrices."""
    from scipy.linalg import eigh_tridiagonal

    pairs = [
        eigh_tridiagonal(np.diag(run).astype(float), np.diag(run, 1).astype(float)) for run in runs
    ]
    return {
        "h": np.array([values for values, _ in pairs]),
        "weight": np.array([vectors[0] ** 2 for _, vectors in pairs]),
    }
