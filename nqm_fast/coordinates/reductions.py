"""Quadratic problems given as dense matrices or data, reduced to independent coordinates.

The functions return plain arrays. `Problem.from_matrices` and `Problem.from_least_squares` import
this module when they are called, so that describing any other problem does not load SciPy.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from ..foundation.validation import Array, InputError, choice, flag, number, precision, real_array
from ..noise import DataSet, FinitePopulation, Gaussian, Noise
from .spectrum import NEGATIVE, advice, vanishing

LEAST_SQUARES_NOISE = ("optimum", "gaussian", "data")
"""Kinds of noise of linear regression."""

SYMMETRY, DEFINITENESS = 1e-8, 1e-10
"""Relative errors that symmetric and semi-definite matrices of doubles may have."""
ROUNDINGS = 16
"""Rounding errors of the type of a matrix, as of float32, that its elements may have, if more."""


class Diagonalised(NamedTuple):
    """A quadratic problem in the eigenbasis of its Hessian; every field has shape (d,)."""

    h: Array
    """Curvatures: eigenvalues of the preconditioned Hessian, ascending."""
    c: Array
    """Variance of the per-sample gradient along each eigenvector."""
    mean0: Array
    """Mean of the initial iterate."""
    var0: Array
    """Variance of the initial iterate."""
    basis: Array
    """Iterates times this matrix of shape (d, d) are in the coordinates of the problem."""


class DenseQuadratic(NamedTuple):
    """A quadratic problem as dense matrices."""

    hessian: Array
    """Shape (d, d)."""
    gradient_covariance: Array
    """Covariance of the per-sample gradient, shape (d, d)."""
    mean0: Array
    """``E[w_0]``, shape (d,)."""
    second_moment0: Array
    """``E[w_0 w_0^T]``, shape (d, d)."""
    rows: Array
    """The data, shape (n, d)."""
    errors: Array
    """Predictions minus labels at the optimum, shape (n,)."""


def diagonalise(
    H: ArrayLike,
    C: ArrayLike,
    mean0: ArrayLike,
    second_moment0: ArrayLike,
    P: ArrayLike | None,
    negative: str = "error",
    damping: float = 0.0,
) -> Diagonalised:
    """Reduce a preconditioned dense problem to the eigenbasis of ``P^-1/2 (H + damping I) P^-1/2``.

    The arguments are those of `Problem.from_matrices`, which says why diagonals suffice. Curvatures
    may be negative or zero, exactly where they are but rounding errors, unless that is an error.

    Raises
    ------
    InputError
        If a matrix is not square, not symmetric, or not (semi-)definite.
    """
    negative = choice("negative", negative, NEGATIVE)
    damping = number("damping", damping, least=0.0)
    hessian = _symmetric("H", H)
    d = hessian.shape[0]
    if damping:
        hessian = _finite("H + damping", hessian + damping * np.eye(d))
    noise = _symmetric("C", C, d)
    moment = _symmetric("second_moment0", second_moment0, d)
    mean = real_array("mean0", mean0)
    if mean.shape != (d,):
        raise InputError(f"mean0 must have shape ({d},), but has shape {mean.shape}")
    _eigen_of_definite("C", noise, precision("C", C))
    with np.errstate(over="ignore"):
        covariance = _finite("second_moment0 - mean0 mean0^T", moment - np.outer(mean, mean))
    rounding = max(precision("second_moment0", second_moment0), precision("mean0", mean0))
    # Its rounding errors are those of the moment, from which much may have been taken away.
    largest = float(np.abs(moment).max())
    _eigen_of_definite("second_moment0 - mean0 mean0^T", covariance, rounding, largest)
    root = np.eye(d)
    inverse_root = root
    if P is not None:
        values, vectors = _eigen_of_definite("P", _symmetric("P", P, d))
        root = (vectors * np.sqrt(values)) @ vectors.T
        inverse_root = (vectors / np.sqrt(values)) @ vectors.T
    if negative == "error":
        values = _eigen("H", hessian)[0]
        if values[0] <= 0.0:
            raise InputError(
                f"{'H + damping' if damping else 'H'} must be positive definite, but has the "
                f"eigenvalue {values[0]:g}, {advice(values, damping)}"
            )
    with np.errstate(over="ignore", invalid="ignore"):
        preconditioned = _finite("P^-1/2 H P^-1/2", inverse_root @ hessian @ inverse_root)
        h, basis = _eigen(
            "P^-1/2 H P^-1/2", (preconditioned + preconditioned.T) / 2, scipy.linalg.eigh
        )
        if negative != "error":
            h = np.where(np.abs(h) <= vanishing(h, d), 0.0, h)
        gradient_basis = inverse_root @ basis  # Gradients are covectors, so they take the inverse.
        iterate_basis = root @ basis
        c = _finite("C", np.einsum("ij,ij->j", gradient_basis, noise @ gradient_basis))
        second = np.einsum("ij,ij->j", iterate_basis, moment @ iterate_basis)
        start = mean @ iterate_basis
        variance = _finite("second_moment0", second - start**2)
    start_variance = np.maximum(variance, 0.0)
    return Diagonalised(h, np.maximum(c, 0.0), start, start_variance, iterate_basis)


def quadratic_of_least_squares(
    X: ArrayLike, y: ArrayLike, ridge: float, may_be_singular: bool = False
) -> DenseQuadratic:
    """Model linear regression, started at zero weights, as a quadratic around its optimum.

    The arguments are those of `Problem.from_least_squares`. Of several optima it is the one of
    least norm, which is where a start at zero leads.

    Raises
    ------
    InputError
        If shapes do not match, or X does not determine all weights, ridge is 0, and the problem
        must not be singular.
    """
    rows = real_array("X", X)
    if rows.ndim != 2 or not rows.size:
        raise InputError(f"X must have shape (n, d), but has shape {rows.shape}")
    n, d = rows.shape
    target = real_array("y", y)
    if target.shape != (n,):
        raise InputError(f"y must have shape ({n},) like the rows of X, not {target.shape}")
    ridge = number("ridge", ridge, least=0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        hessian = _finite("X^T X / n + ridge", rows.T @ rows / n + ridge * np.eye(d))
        eigenvalues, vectors = _eigen("X^T X / n + ridge", hessian)
        is_singular = not eigenvalues[0] > vanishing(eigenvalues, d)
        if is_singular and not may_be_singular:
            raise InputError(
                f"ridge = {ridge:g} leaves directions of X without curvature "
                "(constant or dependent columns): choose ridge > 0, drop columns, or pass "
                "negative='drop' to leave these directions out"
            )
        right = _finite("X^T y / n", rows.T @ target / n)
        if is_singular:
            curved = eigenvalues > vanishing(eigenvalues, d)
            basis = vectors[:, curved]
            optimum = basis @ ((right @ basis) / eigenvalues[curved])
        else:
            optimum = np.asarray(np.linalg.solve(hessian, right), dtype=np.float64)
        errors = rows @ optimum - target
        gradient = rows * errors[:, None] + ridge * optimum
        noise = _finite("the covariance of gradients of X and y", gradient.T @ gradient / n)
        start: Array = np.outer(optimum, optimum)
        _finite("the square of the optimum for X and y", start)
    return DenseQuadratic(hessian, noise, -optimum, start, rows, errors)


def least_squares(
    X: ArrayLike,
    y: ArrayLike,
    ridge: float,
    negative: str,
    damping: float,
    noise: str,
    replace: bool,
) -> tuple[Diagonalised, Noise | None]:
    """Reduce linear regression to independent coordinates, and describe its noise.

    The arguments are those of `Problem.from_least_squares`.

    Raises
    ------
    InputError
        If shapes do not match, X does not determine all weights as it must, or the noise is none
        that there is.
    """
    noise = choice("noise", noise, LEAST_SQUARES_NOISE)
    if not flag("replace", replace) and noise == "gaussian":
        raise InputError(
            "replace = False must have noise 'optimum' or 'data': Gaussian features are no data "
            "set, and so never repeat"
        )
    may_be_singular = damping > 0.0 or negative != "error"
    dense = quadratic_of_least_squares(X, y, ridge, may_be_singular)
    reduced = diagonalise(
        dense.hessian,
        dense.gradient_covariance,
        dense.mean0,
        dense.second_moment0,
        None,
        negative,
        damping,
    )
    if noise == "gaussian":
        return reduced, Gaussian(ridge=ridge + damping)
    if noise == "data":
        kept = reduced.h > 0.0 if negative == "drop" else reduced.h != 0.0
        rows = dense.rows @ reduced.basis[:, kept]
        pull = -ridge * reduced.mean0[kept]
        return reduced, DataSet(rows, dense.errors, pull, replace)
    samples = len(dense.rows)
    return reduced, None if replace else FinitePopulation(max(samples, 2))


def _symmetric(name: str, value: ArrayLike, d: int | None = None) -> Array:
    """Check that a matrix is symmetric (and of shape (d, d)), and remove its rounding errors."""
    matrix = real_array(name, value)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise InputError(f"{name} must be a square matrix, but has shape {matrix.shape}")
    if d is not None and matrix.shape[0] != d:
        raise InputError(f"{name} must have the shape of H, ({d}, {d}), not {matrix.shape}")
    with np.errstate(over="ignore"):
        gap = float(np.abs(matrix - matrix.T).max())
    allowed = max(SYMMETRY, ROUNDINGS * precision(name, value))
    if gap > allowed * float(np.abs(matrix).max()):
        raise InputError(f"{name} must be symmetric, but differs from its transpose by {gap:g}")
    return matrix / 2 + matrix.T / 2


def _finite(name: str, array: Array) -> Array:
    """Return a computed array, unless it has left the range of a double."""
    if not np.isfinite(array).all():
        raise InputError(f"{name} is beyond the range of a double: scale the data")
    return array


def _eigen(name: str, matrix: Array, eigh: Any = np.linalg.eigh) -> tuple[Array, Array]:
    """Return eigenvalues, ascending, and eigenvectors of a symmetric matrix."""
    try:
        values, vectors = eigh(matrix)
    except np.linalg.LinAlgError as error:
        raise InputError(f"{name} has no eigenvalues that can be computed: {error}") from None
    return _finite(f"eigenvalues of {name}", values), vectors


def _eigen_of_definite(
    name: str, matrix: Array, rounding: float | None = None, scale: float = 0.0
) -> tuple[Array, Array]:
    """Return eigenvalues and eigenvectors of a matrix that must be positive definite.

    With a `rounding` error of its elements, relative to the largest eigenvalue or to `scale`, it
    need only be semi-definite.
    """
    values, vectors = _eigen(name, matrix)
    strictly = rounding is None
    part = max(DEFINITENESS, ROUNDINGS * (rounding or 0.0) * math.sqrt(values.size))
    allowed = -part * max(float(np.abs(values).max()), scale, 1e-300)
    if values[0] <= 0.0 if strictly else values[0] < allowed:
        kind = "definite" if strictly else "semi-definite"
        raise InputError(f"{name} must be positive {kind}, but has the eigenvalue {values[0]:g}")
    return values, vectors
