"""The noisy quadratic problem: curvature, gradient noise, initial iterate."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import astuple, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .coordinates import problem_files
from .coordinates.array_nodes import ArrayNodes
from .coordinates.arrays import ArrayCoordinates, checked_coordinates
from .coordinates.blocks import Block
from .coordinates.losses import SampleLosses
from .coordinates.power_law_nodes import PowerLawNodes
from .coordinates.spectrum import NEGATIVE, Dropped, PowerLaw, checked_law
from .foundation.immutable import Unchangeable, frozen
from .foundation.validation import (
    Array,
    InputError,
    choice,
    counted,
    integer,
    number,
    real_array,
    shown,
)
from .noise import DataSet, Gaussian, Noise, as_noise, noise_fields, noise_of_fields
from .output.html import facts_table

MOST_COORDINATES = 1 << 53
"""Coordinates of a power law, whose numbers i are doubles: above, some would be alike."""
MOST_WITHOUT_NODES = 1 << 8
"""Up to so many coordinates have no nodes that stand for them, which would hardly be fewer."""
MOST_NODES = 128
"""Nodes of a span that may be asked for."""


class Problem(SampleLosses, Unchangeable):
    """Independent coordinates with curvature h, gradient noise c and a random start.

    The excess risk of an iterate w is ``1/2 sum_i count_i h_i w_i^2`` (minimum 0 at w = 0);
    a per-sample gradient is ``h_i w_i`` plus noise of variance ``c_i`` (Zhang et al. 2019,
    arXiv 1907.04164, section 3).

    Parameters
    ----------
    h : array_like, shape (d,)
        Curvatures, > 0, unless `negative` says what becomes of others.
    c : array_like, shape (d,) or a number, optional
        Variance of the per-sample gradient, >= 0. Defaults to `h`.
    sigma : array_like, shape (d,) or a number, optional
        Standard deviation of the data instead of `c`: ``c = h^2 sigma^2``.
    mean0, var0 : array_like, shape (d,) or a number
        Mean and variance (>= 0) of the initial iterate.
    count : array_like, shape (d,) or a number
        How many identical coordinates each entry stands for, > 0, not necessarily whole
        (quadrature weights are welcome).
    negative : {"error", "drop", "abs"}
        What becomes of curvatures that are negative or zero: an error; they are left out, with
        their noise and start; or their absolute values are taken, and zeros are left out.
        Leaving out a zero is exact, as it contributes no risk. `dropped` says how much it was.
    damping : float
        Added to all curvatures first, >= 0: the problem is that of ``H + damping I``, and what
        is then still <= 0 is `negative`'s. So ``Problem(h, damping=x)`` is ``Problem(h + x)``: `c`
        is the noise as it is given, as a penalty adds none; where it is absent or given as
        `sigma`, it follows from the damped curvature. The minimum stays at w = 0.

    Raises
    ------
    InputError
        If an array has the wrong shape, or a value outside the limits above, or no curvature is
        left.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem([1.0, 0.1], var0=[1.0, 10.0])
    >>> float(nqm.expected_risk(problem, nqm.SGD(0.5), batch_size=8, steps=0))
    1.0
    """

    _coordinates: ArrayCoordinates | PowerLaw
    noise_model: Noise | None = None
    """How the noise depends on the iterate, or None where it is the same everywhere."""
    dropped: Dropped = Dropped()
    """Coordinates that `negative` has dropped or made positive: count, share of the trace.

    It is saved with the problem, but problems are equal whatever was dropped on the way."""

    def __init__(
        self,
        h: ArrayLike,
        c: ArrayLike | None = None,
        *,
        sigma: ArrayLike | None = None,
        mean0: ArrayLike = 0.0,
        var0: ArrayLike = 1.0,
        count: ArrayLike = 1.0,
        negative: str = "error",
        damping: float = 0.0,
    ) -> None:
        given = {"mean0": mean0, "var0": var0, "count": count, "c": c, "sigma": sigma}
        coordinates, dropped = checked_coordinates(h, given, negative, damping)
        self._settle(_coordinates=coordinates, dropped=dropped)

    @classmethod
    def power_law(
        cls,
        dim: int,
        exponent: float = 1.0,
        *,
        noise_exponent: float | None = None,
        start_exponent: float | None = None,
        scale: float = 1.0,
        noise: float | None = None,
        start: float | None = None,
        damping: float = 0.0,
    ) -> Problem:
        """Curvature, noise and start as power laws of the number i of a coordinate.

        ``h_i = scale i^-exponent``, ``c_i = noise i^-noise_exponent`` and ``h_i E[w_0i^2] = start
        i^-start_exponent``, i = 1 .. dim. By default the noise is h and ``w_0`` has variance 1:
        with ``dim = 10**4`` this is the problem of Zhang et al. 2019, section 3. It stays a
        formula: no array of length `dim` is made until one is asked for, and exact answers
        cost about the same for any `dim`.

        Parameters
        ----------
        dim : int
            Number of coordinates, from 1 to 2^53.
        exponent : float
            Decay of the spectrum, >= 0.
        noise_exponent, start_exponent : float, optional
            Decay of the noise, and of the initial risk; `exponent` if absent. Any sign is fine, as
            sums are finite.
        scale : float
            Largest curvature, > 0.
        noise, start : float, optional
            Noise of the first coordinate, and twice its initial risk, >= 0; `scale` if absent.
        damping : float
            Added to all curvatures, >= 0. Noise that is not given follows the damped curvature;
            ``E[w_0^2]`` is that of the curvature without damping.

        Raises
        ------
        InputError
            If an argument is outside its limits, or takes a coordinate beyond the range of a
            double.

        Examples
        --------
        >>> import nqm_fast as nqm
        >>> problem = nqm.Problem.power_law(10**12, noise_exponent=1.2, start_exponent=1.1)
        >>> round(nqm.expected_risk(problem, nqm.SGD(0.5), batch_size=8, steps=0), 6)
        4.976746
        """
        law = checked_law(
            PowerLaw(
                integer("dim", dim, least=1, most=MOST_COORDINATES),
                number("exponent", exponent, least=0.0),
                number("damping", damping, least=0.0),
                0,
                number("scale", scale, above=0.0),
                noise,
                noise_exponent,
                start,
                start_exponent,
            )
        )
        return cls._of_law(law)

    @classmethod
    def _of_law(cls, law: PowerLaw) -> Problem:
        """Make the problem of a power law that is checked."""
        problem = object.__new__(cls)
        problem._settle(_coordinates=law)
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
        negative: str = "error",
        damping: float = 0.0,
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
            Hessian, symmetric, and positive definite unless `negative` says what becomes of
            its other directions.
        C : array_like, shape (d, d)
            Covariance of the per-sample gradient, symmetric positive semi-definite.
        mean0 : array_like, shape (d,)
            ``E[w_0]``.
        second_moment0 : array_like, shape (d, d)
            ``E[w_0 w_0^T]``, so that ``second_moment0 - mean0 mean0^T`` is a covariance.
        P : array_like, shape (d, d), optional
            Preconditioner, symmetric positive definite; the identity if absent.
        negative : {"error", "drop", "abs"}
            What becomes of eigenvalues of ``P^-1/2 (H + damping I) P^-1/2`` that are negative,
            or zero but for rounding errors; see `Problem`.
        damping : float
            Added to the diagonal of H first, >= 0.

        Raises
        ------
        InputError
            If a matrix is not square, not symmetric, or not (semi-)definite.
        """
        from .coordinates.reductions import diagonalise

        reduced = diagonalise(H, C, mean0, second_moment0, P, negative, damping)
        return cls(reduced.h, reduced.c, mean0=reduced.mean0, var0=reduced.var0, negative=negative)

    @classmethod
    def from_least_squares(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        *,
        ridge: float = 0.0,
        negative: str = "error",
        damping: float = 0.0,
        noise: str = "optimum",
        replace: bool = True,
    ) -> Problem:
        """The quadratic model of linear regression on real data, started at zero weights.

        Sample loss ``1/2 (x . w - y)^2 + ridge/2 |w|^2`` over the rows of X. The Hessian is ``X^T
        X / n + ridge``, c the variance of the per-sample gradient at the optimum, and the initial
        error is minus the optimum. That the noise grows away from the optimum is left out, unless
        `noise` is "gaussian" or "data".

        Parameters
        ----------
        X : array_like, shape (n, d)
        y : array_like, shape (n,)
        ridge : float
            L2 penalty, >= 0, which is part of the loss and moves its minimum.
        negative : {"error", "drop", "abs"}
            With "drop" or "abs", X need not determine all weights: directions without
            curvature are left out, in which neither the weights nor the loss ever change.
        damping : float
            Added to all curvatures, >= 0; the minimum and the noise stay those of the data.
        noise : {"optimum", "gaussian", "data"}
            The noise is that at the optimum everywhere; or that of features with the curvatures of
            X which are normal, see `noise.Gaussian`; or exactly that of this data set, see
            `noise.DataSet`, whose steps take ``d^2 n`` operations each.
        replace : bool
            Whether the rows of a batch are drawn with replacement, or are all different.

        Raises
        ------
        InputError
            If shapes do not match, or X does not determine all weights and all of `ridge`,
            `negative` and `damping` are as they are by default.
        """
        from .coordinates.reductions import least_squares

        reduced, model = least_squares(X, y, ridge, negative, damping, noise, replace)
        h, c, mean0, var0, _ = reduced
        return cls(h, c, mean0=mean0, var0=var0, negative=negative).with_noise(model)

    def with_noise(self, noise: Noise | None) -> Problem:
        """The same problem with noise that depends on the iterate, or as it is without.

        Parameters
        ----------
        noise : Noise or None
            Such as ``nqm.noise.Gaussian()``, least squares on normal features, of which `c` is
            the noise at the optimum; with None the noise is `c` everywhere again.

        Raises
        ------
        InputError
            If it is no description of noise, or is one of another problem.

        Examples
        --------
        >>> import nqm_fast as nqm
        >>> problem = nqm.Problem.power_law(10_000).with_noise(nqm.noise.Gaussian())
        >>> nqm.steps_to_target(problem, nqm.SGD(1.0), 64, 0.05)
        20274
        """
        if noise is not None:
            as_noise("noise", noise)
        if isinstance(noise, DataSet) and noise.rows.shape[1] != self.dim:
            raise InputError(
                f"noise must be that of {counted(self.dim, 'feature')}, as many as the problem has "
                f"coordinates, not of {noise.rows.shape[1]}"
            )
        coordinates = self._coordinates
        if isinstance(noise, Gaussian) and noise.label_noise is not None:
            coordinates = _with_label_noise(coordinates, noise, noise.label_noise)
        changed = object.__new__(type(self))
        changed.__dict__.update(self.__getstate__())
        changed._settle(_coordinates=coordinates, noise_model=noise)
        return changed

    # -- arrays of the problem -----------------------------------------------------------

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return self._coordinates.dim

    @property
    def h(self) -> Array:
        """Curvatures, shape (d,)."""
        return self._coordinates.column("h")

    @property
    def c(self) -> Array:
        """Variance of the per-sample gradient, shape (d,)."""
        return self._coordinates.column("c")

    @property
    def sigma(self) -> Array:
        """Standard deviation of the data, ``sqrt(c) / h``, shape (d,)."""
        with np.errstate(over="ignore"):
            return frozen(np.sqrt(self.c) / self.h)

    @property
    def mean0(self) -> Array:
        """Mean of the initial iterate, shape (d,)."""
        return self._coordinates.column("mean0")

    @property
    def var0(self) -> Array:
        """Variance of the initial iterate, shape (d,)."""
        return self._coordinates.column("var0")

    @property
    def count(self) -> Array:
        """Number of identical coordinates each entry stands for, shape (d,)."""
        return self._coordinates.column("count")

    @cached_property
    def curvature_range(self) -> tuple[float, float]:
        """Least and largest curvature."""
        return self._coordinates.curvature_range

    @property
    def nodes(self) -> PowerLawNodes | ArrayNodes | None:
        """Nodes that stand for many coordinates in exact sums; None if there are too few for that.

        They are made once, in one pass over arrays, and remembered.
        """
        if self.dim <= MOST_WITHOUT_NODES:
            return None
        kept = self.__dict__
        with kept.setdefault("_nodes_lock", threading.Lock()):
            if "_nodes" not in kept:
                kept["_nodes"] = _new_nodes(self._coordinates)
            nodes: PowerLawNodes | ArrayNodes = kept["_nodes"]
        return nodes

    def compressed(self, nodes: int = 20) -> Problem:
        """Few coordinates with counts that stand for all of this problem's.

        Expected risks are nearly the same: to rounding errors where they do not oscillate from one
        coordinate to the next, as under strong momentum they do. The exact functions use more
        nodes where they need them, by themselves, so that this is for other computations.

        Parameters
        ----------
        nodes : int
            Nodes of the Gauss rule of each octave, from 1 to 128: of the coordinates' numbers for
            power laws, else of curvatures. Arrays have at most 32, and then all their cells.

        Returns
        -------
        Problem
            With `h`, `c`, `var0` and `count`; this problem itself if it has 256 coordinates or
            fewer. Where noise or start are arrays, some nodes have the noise, others the start.

        Raises
        ------
        InputError
            If `nodes` is outside its limits.

        Examples
        --------
        >>> import nqm_fast as nqm
        >>> small = nqm.Problem.power_law(10**12).compressed()
        >>> small.dim, round(float(small.count.sum()))
        (744, 1000000000000)
        """
        count = integer("nodes", nodes, least=1, most=MOST_NODES)
        own = self.nodes
        if own is None:
            return self
        block = own.joined(count)
        if self.noise_model is not None and not own.is_pointwise:
            raise InputError(
                "problem has noise that depends on the iterate, and its noise or start are arrays: "
                "compressed nodes would have the one or the other only"
            )
        few = Problem(
            block.h, block.c, var0=_as_field(block.second_moment), count=block.multiplicity
        )
        return few.with_noise(self.noise_model)

    @property
    def is_power_law(self) -> bool:
        """Whether coordinates follow a formula."""
        return isinstance(self._coordinates, PowerLaw)

    @property
    def is_harmonic(self) -> bool:
        """Whether curvature and noise are a part of 1, 1/2, 1/3, ..., which need not be stored."""
        law = self._coordinates
        return isinstance(law, PowerLaw) and law == PowerLaw(law.dim, 1.0, first=law.first)

    @property
    def key(self) -> Any:
        """The power law, or a number that no other problem has while this one is there."""
        return self._coordinates if self.is_power_law else id(self)

    @property
    def has_counts(self) -> bool:
        """Whether an entry stands for more, or less, than one coordinate."""
        return self._coordinates.has_counts

    def block(self, start: int, stop: int) -> Block:
        """Return the coordinates start .. stop - 1, so that engines need not hold all of them."""
        return self._coordinates.block(start, stop)

    def start_block(self, start: int, stop: int) -> tuple[Array, Array]:
        """Return mean and variance of the initial iterates of coordinates start .. stop - 1.

        One that is the same for all coordinates has shape (1,).
        """
        return self._coordinates.start_block(start, stop)

    def __repr__(self) -> str:
        noise = "" if self.noise_model is None else f"{self.noise_model!r}"
        law = self._coordinates
        if isinstance(law, PowerLaw) and not law.first:
            return f"Problem.power_law({law}){noise and f'.with_noise({noise})'}"
        low, high = self.curvature_range
        more = f"{noise and f', {noise}'}{f', {self.dropped}' if self.dropped else ''}"
        return f"<Problem: {counted(self.dim, 'curvature')} from {low:g} to {high:g}{more}>"

    def _values(self) -> object:
        """Return the arrays, by which problems are equal, however they were given."""
        if isinstance(self._coordinates, PowerLaw):
            return self._coordinates, self.noise_model
        return [self.h, self.mean0, self.var0, self.count, self.c, self.noise_model]

    def __getstate__(self) -> dict[str, Any]:
        """Give what a copy or a pickle keeps, without what others remember of this problem."""
        kept = ("_coordinates", "noise_model", "dropped")
        return {name: getattr(self, name) for name in kept}

    def _repr_html_(self) -> str:
        facts: dict[str, Any] = {"coordinates": self.dim} | self._coordinates.facts
        if self.noise_model is not None:
            facts["noise off the optimum"] = repr(self.noise_model)
        if self.dropped:
            facts["negative or zero"] = self.dropped
        return facts_table("Problem", facts)

    # -- files ---------------------------------------------------------------------------

    @property
    def fields(self) -> dict[str, Any]:
        """The numbers and arrays from which `from_fields` rebuilds the problem."""
        fields = dict(self._coordinates.fields) | noise_fields(self.noise_model)
        return fields | ({"dropped": np.array(astuple(self.dropped))} if self.dropped else {})

    @classmethod
    def from_fields(
        cls, fields: Mapping[str, Any], *, negative: str = "error", damping: float = 0.0
    ) -> Problem:
        """Rebuild a problem from its `fields`, and maybe damp it further.

        Raises
        ------
        InputError
            If a value is outside its limits.
        """
        noise, fields = noise_of_fields(fields)
        if noise is not None:
            if noise.is_data and (damping or negative != "error"):
                raise InputError(
                    "damping and negative must be left out for a problem with the noise of a data "
                    "set: give them to Problem.from_least_squares"
                )
            plain = cls.from_fields(fields, negative=negative, damping=damping)
            return plain.with_noise(noise)
        if "exponent" in fields:
            damping = number("damping", damping, least=0.0)
            law = {name: x for name, x in fields.items() if name != "first"}
            law["damping"] = number("damping", law.get("damping", 0.0), least=0.0) + damping
            first = integer("first", fields.get("first", 0), least=0)
            law["dim"] = first + integer("dim", fields["dim"], least=1)
            whole = cls.power_law(**law)._coordinates
            assert isinstance(whole, PowerLaw)
            return cls._of_law(replace(whole, dim=whole.dim - first, first=first))
        arrays = {name: value for name, value in fields.items() if name != "dropped"}
        problem = cls(**arrays, negative=negative, damping=damping)
        if "dropped" in fields and not problem.dropped:
            problem._settle(dropped=Dropped.of_array(fields["dropped"]))
        return problem

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the problem to an ``.npz`` file of plain arrays, exactly at `path`.

        If that fails, the file that was there stays as it was.

        Raises
        ------
        InputError
            If `path` is no name of a file, or leads to a FIFO or a device.
        OSError
            If it cannot be written.
        """
        problem_files.write(path, self.fields)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, negative: str = "error", damping: float = 0.0
    ) -> Problem:
        """Read a problem written by `save`; for spectra in other files there is `read_spectrum`.

        Parameters
        ----------
        path : str or path
        negative, damping : str, float
            As of `Problem`, for the curvatures in the file.

        Raises
        ------
        InputError
            If the file is damaged, or is not a problem of this package.
        FileNotFoundError
            If there is no such file.
        """
        negative = choice("negative", negative, NEGATIVE)
        damping = number("damping", damping, least=0.0)
        fields = problem_files.read(path)
        try:
            return cls.from_fields(fields, negative=negative, damping=damping)
        except (KeyError, TypeError, InputError) as error:
            raise InputError(f"path {str(path)!r} holds a damaged problem: {error}") from None


def as_problem(value: object) -> Problem:
    """Return `value` if it is a problem, and raise an InputError otherwise."""
    if not isinstance(value, Problem):
        raise InputError(
            f"problem must be a Problem such as nqm.Problem.power_law(10000), not {shown(value)}"
        )
    return value


def as_additive_problem(value: object, function: str) -> Problem:
    """Return `value` if it is a problem whose noise is the same everywhere.

    Raises
    ------
    InputError
        If it is not, with the name of the function that needs that.
    """
    problem = as_problem(value)
    if problem.noise_model is not None:
        raise InputError(
            f"problem must have noise that is the same everywhere for {function}, not "
            f"{problem.noise_model!r}: problem.with_noise(None) has c everywhere"
        )
    return problem


def _as_field(column: Array) -> Array | float:
    """Return a column of a block as a problem takes it."""
    return float(column[0]) if column.size == 1 else column


def _new_nodes(coordinates: ArrayCoordinates | PowerLaw) -> PowerLawNodes | ArrayNodes:
    """Make the nodes that stand for all coordinates."""
    if isinstance(coordinates, PowerLaw):
        return PowerLawNodes(coordinates)
    return coordinates.new_nodes()


def _with_label_noise(
    coordinates: ArrayCoordinates | PowerLaw, noise: Gaussian, labels: float
) -> ArrayCoordinates | PowerLaw:
    """Return the same coordinates whose c is the noise of labels.

    Raises
    ------
    InputError
        If that is no power law where the curvatures are one.
    """
    if isinstance(coordinates, ArrayCoordinates):
        optimum = frozen(real_array("c", noise.optimum_variance(coordinates.h)))
        return replace(coordinates, noise=optimum)
    if coordinates.damping or noise.ridge:
        raise InputError(
            "label_noise must be left out for a power law with damping or ridge, whose noise "
            "is then no power law: give it as noise and noise_exponent of the problem"
        )
    changed = replace(
        coordinates, noise=labels * coordinates.scale, noise_exponent=coordinates.exponent
    )
    return checked_law(changed)
