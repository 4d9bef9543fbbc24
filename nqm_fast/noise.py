"""Gradient noise that depends on the iterate, for `Problem.with_noise`.

Without it the noise of a sample has the variance ``c_i`` wherever the iterate is. Here that is its
variance at the optimum. Elsewhere a batch of B samples adds, in coordinate j,

    ( c_j + own_j q_j^2 + shared_j S ) / B,      S = sum_k count_k weight_k q_k^2,

where q is the point at which the gradient is taken. Coordinates meet in the one number S only,
which is twice the risk there, so that the exact engine solves any number of them. A finite data set
has dense matrices instead.
"""

from __future__ import annotations

import json
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .foundation.immutable import Immutable, frozen
from .foundation.validation import Array, InputError, flag, integer, number, real_array, shown

__all__ = ["Coupling", "DataSet", "FinitePopulation", "Gaussian", "LossDependent", "Noise"]


def __dir__() -> list[str]:
    """List the public names, which completion offers."""
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


GAUSSIAN_KURTOSIS = 3.0
"""``E x^4 / (E x^2)^2`` of a normal variable."""


class Coupling(NamedTuple):
    """How the noise depends on the iterate; every field has the shape of the curvatures."""

    own: Array
    """Factor of the coordinate's own square."""
    shared: Array
    """Factor of the sum over all coordinates."""
    weight: Array
    """Weight of a coordinate's square in that sum."""


class Noise(Immutable, ABC):
    """A description of gradient noise, other than that it is the same everywhere."""

    is_coupled: ClassVar[bool] = False
    """Whether the variance depends on the iterate through squares of coordinates."""
    follows_optimum: ClassVar[bool] = False
    """Whether all of it is proportional to that at the optimum."""
    is_data: ClassVar[bool] = False
    """Whether it is that of a finite data set, with dense matrices."""

    def optimum_variance(self, h: Array) -> Array | None:
        """The variance at the optimum, or None where it is the problem's c."""
        return None

    def coupling(self, h: Array, c: Array) -> Coupling:
        """How the variance depends on the iterate, at curvatures and noise of shape (d,)."""
        raise NotImplementedError(f"{type(self).__name__} has no coupling")

    def inverse_batch(self, batch_size: Array) -> Array:
        """The part of a sample's variance that a batch has, of the shape of `batch_size`.

        Raises
        ------
        InputError
            If a batch is larger than it can be.
        """
        return 1.0 / batch_size


@dataclass(frozen=True)
class Gaussian(Noise):
    """Least squares on random features, which are independent in the coordinates of the problem.

    A sample has features ``x_i`` of mean 0 and variance h_i, and the gradient ``x (x . w - e)``
    with a label noise e of its own. Its variance is ``c_j + (kurtosis - 2) h_j^2 w_j^2 + h_j
    sum_k h_k w_k^2``, of which c is that of the labels: ``c = label_noise h``.

    Parameters
    ----------
    kurtosis : float
        ``E x^4 / (E x^2)^2`` of the features, >= 1: 3 for normal ones, 1 for random signs.
    label_noise : float, optional
        Variance of the labels given the features, >= 0; it replaces the problem's c, which is
        the noise at the optimum if this is absent.
    ridge : float
        The part of all curvatures that is an L2 penalty, >= 0: features have variance h - ridge.

    Raises
    ------
    InputError
        If a value is outside its limits.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> features = nqm.noise.Gaussian(label_noise=0.3)
    >>> problem = nqm.Problem([1, 0.5, 0.25], mean0=[1, -1, 2], var0=0).with_noise(features)
    >>> round(nqm.expected_risk(problem, nqm.SGD(0.3), batch_size=1, steps=6), 12)
    0.540301124223
    """

    kurtosis: float = GAUSSIAN_KURTOSIS
    label_noise: float | None = field(default=None, kw_only=True)
    ridge: float = field(default=0.0, kw_only=True)

    is_coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        labels = self.label_noise
        self._settle(
            kurtosis=number("kurtosis", self.kurtosis, least=1.0),
            label_noise=None if labels is None else number("label_noise", labels, least=0.0),
            ridge=number("ridge", self.ridge, least=0.0),
        )

    def _features(self, h: Array) -> Array:
        """Variances of the features."""
        if not self.ridge:
            return h
        # The eigenvalues of a matrix with a penalty are the penalty only to rounding errors.
        return np.asarray(np.maximum(h - self.ridge, 0.0))

    def optimum_variance(self, h: Array) -> Array | None:
        """``label_noise (h - ridge)``."""
        return None if self.label_noise is None else self.label_noise * self._features(h)

    def coupling(self, h: Array, c: Array) -> Coupling:
        """The coupling of least squares."""
        variance = self._features(h)
        return Coupling((self.kurtosis - 2.0) * variance**2, variance, variance)


@dataclass(frozen=True)
class LossDependent(Noise):
    """Noise whose variance grows in proportion to the excess risk: ``c_j (1 + slope R(q))``.

    R is the risk at the point q of the gradient: of all runs in the mean where answers are exact,
    of the run itself where it is simulated. The mean risk is the same.

    Parameters
    ----------
    slope : float
        Relative growth of the variance for each unit of excess risk, >= 0.

    Raises
    ------
    InputError
        If it is negative.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem([1.0]).with_noise(nqm.noise.LossDependent(2.0))
    >>> nqm.expected_risk(problem, nqm.SGD(0.5), batch_size=1, steps=1)
    0.375
    """

    slope: float

    is_coupled: ClassVar[bool] = True
    follows_optimum: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._settle(slope=number("slope", self.slope, least=0.0))

    def coupling(self, h: Array, c: Array) -> Coupling:
        """The coupling through the excess risk, half of the sum with the curvatures as weights."""
        shape = np.broadcast_to(c, h.shape)
        return Coupling(np.zeros(h.shape), 0.5 * self.slope * shape, h)


@dataclass(frozen=True)
class FinitePopulation(Noise):
    """Noise that is the same everywhere, of batches without replacement from a finite data set.

    A batch of B of n samples that are all different has the variance ``c / B (n - B) / (n - 1)``,
    and none where it is all of them. Batches are independent of each other: for passes through the
    data see `nqm_fast.epochs`.

    Parameters
    ----------
    samples : int
        How many samples n there are, >= 2.

    Raises
    ------
    InputError
        If it is not a whole number >= 2.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem([1.0]).with_noise(nqm.noise.FinitePopulation(101))
    >>> nqm.expected_risk(problem, nqm.SGD(1.0), batch_size=51, steps=1) * 51 * 2
    0.5
    """

    samples: int

    def __post_init__(self) -> None:
        self._settle(samples=integer("samples", self.samples, least=2))

    def inverse_batch(self, batch_size: Array) -> Array:
        """``1 / B (n - B) / (n - 1)``."""
        return without_replacement(batch_size, self.samples)


@dataclass(frozen=True, repr=False)
class DataSet(Noise):
    """Least squares on a finite data set, exactly; `Problem.from_least_squares` makes it.

    A sample has the gradient ``x (x . w + e) + ridge (w + optimum)`` at a distance w from the
    optimum, of one of n rows.

    Parameters
    ----------
    rows : array_like, shape (n, d)
        Features x in the coordinates of the problem.
    errors : array_like, shape (n,)
        Prediction minus label e at the optimum.
    pull : array_like, shape (d,)
        ``ridge * optimum``, the gradient of the penalty at the optimum.
    replace : bool
        Whether a batch is drawn with replacement; otherwise its samples are all different.

    Raises
    ------
    InputError
        If shapes do not match.
    """

    rows: Any
    errors: Any
    pull: Any
    replace: bool = True

    is_data: ClassVar[bool] = True

    def __post_init__(self) -> None:
        rows, errors, pull = (
            real_array(name, getattr(self, name)) for name in ("rows", "errors", "pull")
        )
        if rows.ndim != 2 or not rows.size:
            raise InputError(f"rows must have shape (n, d), but has shape {rows.shape}")
        for name, array, size in (("errors", errors, len(rows)), ("pull", pull, rows.shape[1])):
            if array.shape != (size,):
                raise InputError(f"{name} must have shape ({size},), but has shape {array.shape}")
        self._settle(
            rows=frozen(rows.copy()),
            errors=frozen(errors.copy()),
            pull=frozen(pull.copy()),
            replace=flag("replace", self.replace),
        )

    def __repr__(self) -> str:
        n, d = self.rows.shape
        return f"DataSet({n} rows of {d} features, replace={self.replace})"

    def inverse_batch(self, batch_size: Array) -> Array:
        """``1 / B``, and less where the samples of a batch are all different."""
        return 1.0 / batch_size if self.replace else without_replacement(batch_size, len(self.rows))


def without_replacement(batch_size: Array, samples: int) -> Array:
    """Return the part of a sample's variance that a batch of so many different samples has.

    Raises
    ------
    InputError
        If a batch is larger than all samples.
    """
    largest = float(np.max(batch_size, initial=1.0))
    if largest > samples:
        raise InputError(
            f"batch_size must be at most {samples}, the number of samples, as a batch has each of "
            f"them at most once, not {largest:g}"
        )
    return np.asarray((samples - batch_size) / (batch_size * max(samples - 1, 1)))


KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Gaussian, LossDependent, FinitePopulation, DataSet)
}
"""All kinds of noise by name."""


def as_noise(name: str, value: object) -> Noise:
    """Return `value` if it is a description of noise."""
    if not isinstance(value, Noise):
        raise InputError(
            f"{name} must be a description of noise such as nqm.noise.Gaussian(), not "
            f"{shown(value)}"
        )
    return value


def described_noise(table: Mapping[str, Any]) -> Noise:
    """Return the noise that a table describes: its kind, and its parameters by name.

    Raises
    ------
    InputError
        If the kind or a parameter is unknown, or a value is outside its limits.
    """
    known = [name for name, kind in KINDS.items() if not kind.is_data]
    kind = table.get("kind")
    if kind not in known:
        raise InputError(
            f"noise_model must have a kind, one of {', '.join(known)}, not {shown(kind)}"
        )
    values = {name: value for name, value in table.items() if name != "kind"}
    names = [f.name for f in fields(KINDS[kind])]
    for name in values:
        if name not in names:
            raise InputError(f"{name} is not a parameter of {kind}, which has {', '.join(names)}")
    try:
        noise: Noise = KINDS[kind](**values)
    except TypeError:
        raise InputError(f"noise_model = {kind!r} needs {', '.join(names)}") from None
    return noise


# -- files -------------------------------------------------------------------------------


def noise_fields(noise: Noise | None) -> dict[str, Any]:
    """Return the fields of a problem's file that hold its noise: JSON, and arrays beside it."""
    if noise is None:
        return {}
    own: Any = noise
    values = {f.name: getattr(noise, f.name) for f in fields(own)}
    arrays = {f"noise_{name}": x for name, x in values.items() if isinstance(x, np.ndarray)}
    plain = {name: x for name, x in values.items() if not isinstance(x, np.ndarray)}
    return {"noise_model": json.dumps({"kind": type(noise).__name__} | plain)} | arrays


def noise_of_fields(given: Mapping[str, Any]) -> tuple[Noise | None, dict[str, Any]]:
    """Return the noise that the fields of a problem hold, and its other fields.

    Raises
    ------
    InputError
        If the kind of noise is unknown, or a value is outside its limits.
    """
    others = dict(given)
    if "noise_model" not in others:
        return None, others
    try:
        values = json.loads(str(others.pop("noise_model")))
        kind = KINDS[values.pop("kind")]
        names = {f.name for f in fields(kind)}
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"noise_model is none that this version knows: {error}") from None
    arrays = {name: others.pop(f"noise_{name}") for name in names if f"noise_{name}" in others}
    return kind(**values, **arrays), others
