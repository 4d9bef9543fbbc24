"""The noisy quadratic problem: curvature, gradient noise, initial iterate."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .validation import Array, InputError, in_range, integer, number, real_array, shown

FORMAT = "nqm_fast problem 1"


@dataclass(frozen=True)
class PowerLaw:
    """The spectrum ``h_i = i^-exponent``, i = 1 .. dim, computed when asked for."""

    dim: int
    exponent: float

    def block(self, start: int, stop: int) -> Array:
        """Curvatures of the coordinates start .. stop - 1 (counted from 0)."""
        i = np.arange(start + 1, stop + 1, dtype=np.float64)
        h: Array = 1.0 / i if self.exponent == 1.0 else i**-self.exponent
        return h


class Block(NamedTuple):
    """Some coordinates of a problem: fields of one length, or of length 1 if all alike."""

    h: Array
    c: Array
    second_moment: Array
    multiplicity: Array
    variance: Array


class Problem:
    """Independent coordinates with curvature h, gradient noise c and a random start.

    The excess risk of an iterate w is ``1/2 sum_i count_i h_i w_i^2`` (minimum 0 at w = 0);
    a per-sample gradient is ``h_i w_i`` plus noise of variance ``c_i`` (Zhang et al. 2019,
    arXiv 1907.04164, section 3).

    Parameters
    ----------
    h : array_like, shape (d,)
        Curvatures, > 0.
    c : array_like, shape (d,) or a number, optional
        Variance of the per-sample gradient, >= 0. Defaults to `h`.
    sigma : array_like, shape (d,) or a number, optional
        Standard deviation of the data instead of `c`: ``c = h^2 sigma^2``.
    mean0, var0 : array_like, shape (d,) or a number
        Mean and variance (>= 0) of the initial iterate.
    count : array_like, shape (d,) or a number
        How many identical coordinates each entry stands for, > 0, not necessarily whole
        (quadrature weights are welcome).

    Raises
    ------
    InputError
        If an array has the wrong shape, or a value outside the limits above.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem([1.0, 0.1], var0=[1.0, 10.0])
    >>> float(nqm.expected_risk(problem, nqm.SGD(0.5), batch_size=8, steps=0))
    1.0
    """

    def __init__(
        self,
        h: ArrayLike,
        c: ArrayLike | None = None,
        *,
        sigma: ArrayLike | None = None,
        mean0: ArrayLike = 0.0,
        var0: ArrayLike = 1.0,
        count: ArrayLike = 1.0,
    ) -> None:
        curvature = real_array("h", h)
        if curvature.ndim != 1 or not curvature.size:
            raise InputError(
                f"h must be one-dimensional and not empty, but has shape {curvature.shape}"
            )
        in_range("h", curvature, above=0.0)
        if c is not None and sigma is not None:
            raise InputError("c and sigma are two names for the noise: give one, not both")
        self._h: Array | PowerLaw = _frozen(curvature)
        self.dim = curvature.size
        self._mean0 = self._field("mean0", mean0)
        self._var0 = self._field("var0", var0, least=0.0)
        self._count = self._field("count", count, above=0.0)
        self._c: Array | float | None = None
        if sigma is not None:
            with np.errstate(over="ignore"):
                c = np.square(curvature * self._field("sigma", sigma, least=0.0))
            self._c = _frozen(real_array("h^2 sigma^2", c))
        elif c is not None:
            self._c = self._field("c", c, least=0.0)

    def _field(self, name: str, value: ArrayLike, **limits: float) -> Array | float:
        array = real_array(name, value)
        if array.ndim and array.shape != (self.dim,):
            raise InputError(
                f"{name} must be a number or have the shape of h, ({self.dim},), "
                f"but has shape {array.shape}"
            )
        in_range(name, array, **limits)
        return _frozen(array) if array.ndim else float(array)

    @classmethod
    def power_law(cls, dim: int, exponent: float = 1.0) -> Problem:
        """Curvatures ``h_i = i^-exponent``, noise c = h, ``w_0`` of variance 1.

        With ``dim = 10**4`` this is the problem of Zhang et al. 2019, section 3. It stays
        a formula: no array of length `dim` is made until one is asked for, so that
        ``dim = 10**9`` is fine.

        Parameters
        ----------
        dim : int
            Number of coordinates, >= 1.
        exponent : float
            Decay of the spectrum, >= 0.

        Raises
        ------
        InputError
            If `dim` or `exponent` is outside its limits.
        """
        dim = integer("dim", dim, least=1)
        exponent = number("exponent", exponent, least=0.0)
        if float(dim) ** -exponent == 0.0:
            raise InputError(f"exponent {exponent:g} makes the last of {dim} curvatures vanish")
        problem = cls([1.0])
        problem._h = PowerLaw(dim, exponent)
        problem.dim = dim
        return problem

    @classmethod
    def from_matrices(
        cls,
        H: ArrayLike,
        C: ArrayLike,
        *,
        mean0: ArrayLike,
        second_moment0: ArrayLike,
        P: ArrayLike | None = None,
    ) -> Problem:
        """A problem with dense Hessian, gradient covariance and preconditioner.

        The preconditioned update ``w' = w - lr P^-1 g`` is plain SGD for ``u = P^1/2 w`` in
        the problem ``P^-1/2 H P^-1/2``, ``P^-1/2 C P^-1/2``, and the risk needs only the
        diagonals of noise and initial second moment in the eigenbasis of the first, whether
        or not H and C commute. The problem returned is in that basis: use it with
        ``power=0``.

        Parameters
        ----------
        H : array_like, shape (d, d)
            Hessian, symmetric positive definite.
        C : array_like, shape (d, d)
            Covariance of the per-sample gradient, symmetric positive semi-definite.
        mean0 : array_like, shape (d,)
            ``E[w_0]``.
        second_moment0 : array_like, shape (d, d)
            ``E[w_0 w_0^T]``, so that ``second_moment0 - mean0 mean0^T`` is a covariance.
        P : array_like, shape (d, d), optional
            Preconditioner, symmetric positive definite; the identity if absent.

        Raises
        ------
        InputError
            If a matrix is not square, not symmetric, or not (semi-)definite.
        """
        import scipy.linalg

        hessian = _symmetric("H", H)
        d = hessian.shape[0]
        noise = _symmetric("C", C, d)
        moment = _symmetric("second_moment0", second_moment0, d)
        mean = real_array("mean0", mean0)
        if mean.shape != (d,):
            raise InputError(f"mean0 must have shape ({d},), but has shape {mean.shape}")
        _definite("C", noise, strictly=False)
        _definite("second_moment0 - mean0 mean0^T", moment - np.outer(mean, mean), strictly=False)
        root = np.eye(d)
        inverse_root = root
        if P is not None:
            values, vectors = _definite("P", _symmetric("P", P, d), strictly=True)
            root = (vectors * np.sqrt(values)) @ vectors.T
            inverse_root = (vectors / np.sqrt(values)) @ vectors.T
        _definite("H", hessian, strictly=True)
        reduced = inverse_root @ hessian @ inverse_root
        h, basis = scipy.linalg.eigh((reduced + reduced.T) / 2)
        to_noise = inverse_root @ basis
        to_start = root @ basis
        c = np.einsum("ij,ij->j", to_noise, noise @ to_noise)
        second = np.einsum("ij,ij->j", to_start, moment @ to_start)
        start = mean @ to_start
        return cls(h, np.maximum(c, 0.0), mean0=start, var0=np.maximum(second - start**2, 0.0))

    @classmethod
    def from_least_squares(cls, X: ArrayLike, y: ArrayLike, *, ridge: float = 0.0) -> Problem:
        """The quadratic model of linear regression on real data, started at zero weights.

        Sample loss ``1/2 (x . w - y)^2 + ridge/2 |w|^2`` over the rows of X, drawn with
        replacement. The Hessian is ``X^T X / n + ridge``, the noise the covariance of the
        per-sample gradient at the optimum, and the initial error is minus the optimum.
        What the model leaves out is that the noise grows away from the optimum.

        Parameters
        ----------
        X : array_like, shape (n, d)
        y : array_like, shape (n,)
        ridge : float
            L2 penalty, >= 0.

        Raises
        ------
        InputError
            If shapes do not match, or X does not determine all weights and ridge is 0.
        """
        rows = real_array("X", X)
        if rows.ndim != 2 or not rows.size:
            raise InputError(f"X must have shape (n, d), but has shape {rows.shape}")
        n, d = rows.shape
        target = real_array("y", y)
        if target.shape != (n,):
            raise InputError(f"y must have shape ({n},) like the rows of X, not {target.shape}")
        ridge = number("ridge", ridge, least=0.0)
        hessian = rows.T @ rows / n + ridge * np.eye(d)
        smallest, largest = np.linalg.eigvalsh(hessian)[[0, -1]]
        if not smallest > d * np.finfo(float).eps * largest:
            raise InputError(
                f"ridge = {ridge:g} leaves directions of X without curvature "
                "(constant or dependent columns): choose ridge > 0 or drop columns"
            )
        optimum = np.linalg.solve(hessian, rows.T @ target / n)
        gradient = rows * (rows @ optimum - target)[:, None] + ridge * optimum
        return cls.from_matrices(
            hessian,
            gradient.T @ gradient / n,
            mean0=-optimum,
            second_moment0=np.outer(optimum, optimum),
        )

    # -- what the problem consists of ----------------------------------------------------

    @property
    def h(self) -> Array:
        """Curvatures, shape (d,)."""
        return self._h.block(0, self.dim) if isinstance(self._h, PowerLaw) else self._h

    @property
    def c(self) -> Array:
        """Variance of the per-sample gradient, shape (d,)."""
        return self._full(self._c) if self._c is not None else self.h

    @property
    def sigma(self) -> Array:
        """Standard deviation of the data, ``sqrt(c) / h``, shape (d,)."""
        return np.sqrt(self.c) / self.h

    @property
    def mean0(self) -> Array:
        """Mean of the initial iterate, shape (d,)."""
        return self._full(self._mean0)

    @property
    def var0(self) -> Array:
        """Variance of the initial iterate, shape (d,)."""
        return self._full(self._var0)

    @property
    def count(self) -> Array:
        """Number of identical coordinates each entry stands for, shape (d,)."""
        return self._full(self._count)

    @property
    def curvature_range(self) -> tuple[float, float]:
        """Least and largest curvature."""
        if isinstance(self._h, PowerLaw):
            return float(self._h.block(self.dim - 1, self.dim)[0]), 1.0
        return float(self._h.min()), float(self._h.max())

    @property
    def is_harmonic(self) -> bool:
        """Whether both curvature and noise are 1, 1/2, 1/3, ..., which need not be stored."""
        return isinstance(self._h, PowerLaw) and self._h.exponent == 1.0 and self._c is None

    @property
    def has_counts(self) -> bool:
        """Whether an entry stands for more, or less, than one coordinate."""
        return bool(np.any(np.asarray(self._count) != 1.0))

    def _full(self, value: Array | float) -> Array:
        return np.broadcast_to(np.asarray(value, dtype=np.float64), (self.dim,))

    def block(self, start: int, stop: int) -> Block:
        """Coordinates start .. stop - 1, for engines that work through a problem in pieces."""
        part = slice(start, stop)
        h = self._h.block(start, stop) if isinstance(self._h, PowerLaw) else self._h[part]
        mean, variance, count = (
            x[part] if isinstance(x, np.ndarray) else np.array([x])
            for x in (self._mean0, self._var0, self._count)
        )
        c = self._c[part] if isinstance(self._c, np.ndarray) else self._c
        noise = h if c is None else np.atleast_1d(c)
        return Block(h, noise, np.asarray(mean * mean + variance), count, np.asarray(variance))

    def __repr__(self) -> str:
        if isinstance(self._h, PowerLaw):
            return f"Problem.power_law({self.dim}, exponent={self._h.exponent:g})"
        return f"<Problem: {self.dim} curvatures from {self._h.min():g} to {self._h.max():g}>"

    # -- losses and gradients ------------------------------------------------------------

    def _point(self, name: str, value: ArrayLike) -> Array:
        array = real_array(name, value)
        if array.shape[-1:] != (self.dim,):
            raise InputError(
                f"{name} must have {self.dim} as its last dimension, but has shape {array.shape}"
            )
        return array

    def _gap(self, x: ArrayLike, w: ArrayLike) -> Array:
        data, point = self._point("x", x), self._point("w", w)
        try:
            return data - point
        except ValueError:
            raise InputError(
                f"x must have the shape of w or broadcast to it, {point.shape}, not {data.shape}"
            ) from None

    def population_loss(self, w: ArrayLike) -> Any:
        """``L(w) = 1/2 sum count h w^2 + 1/2 sum count h sigma^2``, excess risk plus its minimum.

        Parameters
        ----------
        w : array_like, shape (..., d)

        Returns
        -------
        float or ndarray, shape (...)
        """
        point = self._point("w", w)
        weight = self.count * self.h
        return 0.5 * (point**2 @ weight + weight @ self.sigma**2)

    def sample_loss(self, w: ArrayLike, x: ArrayLike) -> Any:
        """``l(w; x) = 1/2 sum count h (x - w)^2`` of the data point x.

        Parameters
        ----------
        w, x : array_like, shapes (..., d), broadcast against each other

        Returns
        -------
        float or ndarray, shape (...)
        """
        gap = self._gap(x, w)
        return 0.5 * (gap**2 @ (self.count * self.h))

    def sample_gradient(self, w: ArrayLike, x: ArrayLike) -> Array:
        """Gradient of a single coordinate's sample loss, ``g = h (w - x)``.

        Parameters
        ----------
        w, x : array_like, shapes (..., d), broadcast against each other

        Returns
        -------
        ndarray, shape (..., d)
        """
        return -self.h * self._gap(x, w)

    def gradient_covariance(self) -> Array:
        """Diagonal of the per-sample gradient's covariance, ``c = h^2 sigma^2``, shape (d,).

        All else is zero: coordinates are independent.
        """
        return self.c

    # -- files ---------------------------------------------------------------------------

    @property
    def fields(self) -> dict[str, Any]:
        """Numbers and arrays that `from_fields` makes the same problem of."""
        if isinstance(self._h, PowerLaw):
            return {"dim": self.dim, "exponent": self._h.exponent}
        fields = {"h": self._h, "mean0": self._mean0, "var0": self._var0}
        return fields | {"count": self._count, "c": self.c if self._c is None else self._c}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Problem:
        """The problem of these `fields`.

        Raises
        ------
        InputError
            If a value is outside its limits.
        """
        if "exponent" in fields:
            return cls.power_law(fields["dim"], fields["exponent"])
        return cls(**fields)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the problem to an ``.npz`` file of plain arrays, exactly at `path`."""
        with open(path, "wb") as file:
            np.savez(file, format=np.array(FORMAT), **self.fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Problem:
        """Read a problem written by `save`.

        Raises
        ------
        InputError
            If the file is damaged, or is not a problem of this package.
        FileNotFoundError
            If there is no such file.
        """
        try:
            content = io.BytesIO(Path(path).read_bytes())
        except FileNotFoundError:
            raise
        except OSError as error:
            raise InputError(f"path {str(path)!r} cannot be read: {error.strerror}") from None
        try:
            with np.load(content, allow_pickle=False) as file:
                fields = {name: file[name][()] for name in file.files}
        except Exception as error:  # whatever foreign bytes make the readers of zip and npy raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"path {str(path)!r} is not a readable .npz file: {reason}") from None
        if str(fields.pop("format", "")) != FORMAT:
            raise InputError(f"path {str(path)!r} was not written by Problem.save")
        try:
            return cls.from_fields(fields)
        except (KeyError, TypeError, InputError) as error:
            raise InputError(f"path {str(path)!r} holds a damaged problem: {error}") from None


def as_problem(value: object) -> Problem:
    """`value` if it is a problem."""
    if not isinstance(value, Problem):
        raise InputError(
            f"problem must be a Problem such as nqm.Problem.power_law(10000), not {shown(value)}"
        )
    return value


def _frozen(array: Array) -> Array:
    array.setflags(write=False)
    return array


def _symmetric(name: str, value: ArrayLike, d: int | None = None) -> Array:
    matrix = real_array(name, value)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise InputError(f"{name} must be a square matrix, but has shape {matrix.shape}")
    if d is not None and matrix.shape[0] != d:
        raise InputError(f"{name} must have the shape of H, ({d}, {d}), not {matrix.shape}")
    gap = float(np.abs(matrix - matrix.T).max())
    if gap > 1e-8 * float(np.abs(matrix).max()):
        raise InputError(f"{name} must be symmetric, but differs from its transpose by {gap:g}")
    return (matrix + matrix.T) / 2


def _definite(name: str, matrix: Array, *, strictly: bool) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(matrix)
    allowed = -1e-10 * max(float(np.abs(values).max()), 1e-300)
    if values[0] <= 0.0 if strictly else values[0] < allowed:
        kind = "definite" if strictly else "semi-definite"
        raise InputError(f"{name} must be positive {kind}, but has the eigenvalue {values[0]:g}")
    return values, vectors
