"""Recurrences as the arrays that kernels take, and the checks that they have to pass before.

Kernels index arrays without checking bounds. With a row, an entry or a weight too few they would
read or write memory that is not theirs. Whoever calls a kernel gets the recurrence from
`checked_recurrence`, its arrays from `sparse_recurrence` and its weights from `term_weights`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..foundation.validation import Array, InputError, any_array, shown
from .base import SIZES, LinearAlgorithm, Recurrence


class SparseRecurrence(NamedTuple):
    """The nonzero entries of a recurrence over d coordinates, as kernels take them."""

    read: tuple[float, ...]
    start: tuple[float, ...]
    values: Array
    """The different arrays that entries are multiples of, shape (arrays, d)."""
    entries: NDArray[np.int64]
    """Shape (entries, 4): term, row, column (n for the kick b), row of `values` or -1 for none."""
    factors: Array
    """Factor of that row of `values`, or the entry itself if it has none, shape (entries,)."""


def sparse_recurrence(recurrence: Recurrence, size: int) -> SparseRecurrence:
    """Collect the nonzero entries of a recurrence over `size` coordinates.

    Raises
    ------
    InputError
        If an array in it does not have that length.
    """
    n = len(recurrence.read)
    entries: list[tuple[int, int, int, int]] = []
    factors: list[float] = []
    arrays: dict[int, Array] = {}
    rows: dict[int, int] = {}
    for term, (matrix, kick) in enumerate(recurrence.terms):
        for row in range(n):
            for column, entry in enumerate([*matrix[row], kick[row]]):
                factor, array = entry if isinstance(entry, tuple) else (1.0, entry)
                if isinstance(array, np.ndarray) and array.ndim:
                    if array.shape != (size,):
                        where = f"row {row} of term {term}"
                        raise InputError(_wrong_length(where, array.shape, size))
                    arrays[id(array)] = np.asarray(array, dtype=np.float64)
                    entries.append((term, row, column, rows.setdefault(id(array), len(rows))))
                    factors.append(factor)
                elif array:
                    entries.append((term, row, column, -1))
                    factors.append(cast(float, factor * array))
    values = list(arrays.values())
    return SparseRecurrence(
        tuple(float(x) for x in recurrence.read),
        tuple(float(x) for x in recurrence.start),
        values[0][None] if len(values) == 1 else np.array(values).reshape(len(values), size),
        np.array(entries, dtype=np.int64).reshape(-1, 4),
        np.array(factors, dtype=np.float64),
    )


def sum_of_terms(recurrence: Recurrence, weights: Array) -> Recurrence:
    """Add up all terms, with weights of shape (terms, d), into a recurrence of one term."""

    def total(entries: Sequence[Any]) -> Any:
        parts = [
            weight * (entry[0] * entry[1] if isinstance(entry, tuple) else entry)
            for weight, entry in zip(weights, entries, strict=True)
            if isinstance(entry, np.ndarray | tuple) or entry
        ]
        return sum(parts[1:], start=parts[0]) if parts else 0.0

    n = len(recurrence.read)
    matrices = [matrix for matrix, _ in recurrence.terms]
    kicks = [kick for _, kick in recurrence.terms]
    matrix = [[total([m[a][b] for m in matrices]) for b in range(n)] for a in range(n)]
    kick = [total([k[a] for k in kicks]) for a in range(n)]
    return recurrence._replace(terms=[(matrix, kick)])


def term_weights(
    algorithm: LinearAlgorithm, terms: int, lr: Array, steps: NDArray[np.int64]
) -> Array:
    """Compute and check the weights of all terms at each step, shape (steps, terms).

    Raises
    ------
    InputError
        If their shape is another, or one is not a real number.
    """
    # An algorithm that is linear without inheriting from LinearAlgorithm may lack the method.
    weights_of = getattr(type(algorithm), "weights", LinearAlgorithm.weights)
    name = type(algorithm).__name__
    given = any_array(f"weights of {name}", weights_of(algorithm, lr, steps))
    if given.dtype.kind not in "biuf":
        raise InputError(f"weights of {name} must be real numbers, not {shown(given)}")
    weights = np.ascontiguousarray(given, dtype=np.float64)
    if weights.shape != (lr.size, terms):
        raise InputError(
            f"weights of {name} must have shape (steps, terms), ({lr.size}, {terms}) here, as its "
            f"recurrence has {terms} terms, not {weights.shape}"
        )
    if math.isnan(np.maximum.reduce(weights, axis=None, initial=0.0)):
        raise InputError(f"weights of {name} must be numbers, but contain NaN")
    return weights


class Sizes(NamedTuple):
    """The sizes of a recurrence and its start, whatever the curvatures are."""

    terms: int
    components: int
    start: tuple[float, ...]


def sizes_of(algorithm: LinearAlgorithm) -> Sizes:
    """Return the sizes of a recurrence, for any curvatures; it is checked when first asked for.

    Raises
    ------
    InputError
        As `checked_recurrence`.
    """
    kept = vars(algorithm)
    if SIZES not in kept:
        recurrence = checked_recurrence(algorithm, np.ones(1))
        start = tuple(float(x) for x in recurrence.start)
        kept[SIZES] = Sizes(len(recurrence.terms), len(start), start)
    sizes: Sizes = kept[SIZES]
    return sizes


# -- checks of a recurrence ---------------------------------------------------------------


def checked_recurrence(algorithm: LinearAlgorithm, h: Array) -> Recurrence:
    """Return the algorithm's recurrence at curvatures h, after checking shapes and numbers.

    Raises
    ------
    InputError
        If it has another shape, or a number that is not finite.
    """
    name = f"recurrence of {type(algorithm).__name__}"
    try:
        terms, start, read, gradient = Recurrence(*algorithm.recurrence(h))
        sizes = len(read), len(start), len(terms)
        points = [] if gradient is None else [("gradient", gradient, len(gradient))]
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be a Recurrence(terms, start, read): {error}") from error
    n = sizes[0]
    if not n or sizes[1] != n:
        raise InputError(
            f"{name} must have as many numbers in start as in read, at least one, not "
            f"{sizes[1]} and {n}"
        )
    for part, numbers, size in (("start", start, n), ("read", read, n), *points):
        if size != n:
            raise InputError(
                f"{name} must have as many numbers in {part} as in read, {n}, not {size}"
            )
        for x in numbers:
            if type(x) is float and math.isfinite(x):
                continue
            if not _is_real(x) or not np.isfinite(x):
                raise InputError(f"{part} in the {name} must be finite numbers, not {shown(x)}")
    for number, term in enumerate(terms):
        where = f"term {number} in the {name}"
        try:
            matrix, kick = term
            rows = [len(row) for row in matrix]
            kicks = len(kick)
        except (TypeError, ValueError):
            raise InputError(f"{where} must be a pair (matrix, kick), not {shown(term)}") from None
        if rows != [n] * n or kicks != n:
            raise InputError(
                f"{where} must have {n} rows of {n} entries and a kick of {n}, as many as read "
                f"has numbers, but has rows of {rows} and a kick of {kicks}"
            )
        may_overflow = getattr(algorithm, "may_overflow", False)
        for entry in (*(x for row in matrix for x in row), *kick):
            _check_entry(where, entry, h, may_overflow)
    return Recurrence(terms, start, read, gradient)


def _check_entry(where: str, entry: Any, h: Array, may_overflow: bool) -> None:
    """Check that an entry is a number, an array like h, or a pair of the two."""
    if entry is h or (type(entry) is float and math.isfinite(entry)):
        return  # The curvatures were checked with their problem.
    if isinstance(entry, tuple):
        if len(entry) != 2 or not isinstance(entry[1], np.ndarray) or isinstance(entry[0], tuple):
            raise InputError(f"{where} has {shown(entry)}: a pair must be (number, array like h)")
        _check_entry(where, entry[0], h, may_overflow)
        _check_entry(where, entry[1], h, may_overflow)
    elif isinstance(entry, np.ndarray) and entry.ndim:
        if entry.shape != h.shape:
            raise InputError(_wrong_length(where, entry.shape, h.size))
        if entry.dtype.kind not in "iuf" or not _are_allowed(entry, may_overflow):
            raise InputError(f"{where} has an array that is not of finite numbers: {shown(entry)}")
    elif not _is_real(entry) or not _are_allowed(entry, may_overflow):
        raise InputError(
            f"{where} has the entry {shown(entry)}: allowed are finite numbers, arrays like h, "
            "and pairs (number, array)"
        )


def _are_allowed(numbers: Any, may_overflow: bool) -> bool:
    """Whether all are finite, or at least not NaN if `may_overflow`."""
    return not np.isnan(numbers).any() if may_overflow else bool(np.isfinite(numbers).all())


def _is_real(value: Any) -> bool:
    """Whether a value is a real number, or an array without dimensions that holds one."""
    is_number = isinstance(value, int | float | np.integer | np.floating)
    return is_number or (
        isinstance(value, np.ndarray) and not value.ndim and value.dtype.kind in "iuf"
    )


def _wrong_length(where: str, shape: tuple[int, ...], size: int) -> str:
    """Write the message on an array that does not have the shape of h."""
    return f"{where} has an array of shape {shape}: arrays must have the shape of h, ({size},)"
