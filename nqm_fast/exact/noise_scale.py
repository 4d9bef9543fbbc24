"""The gradient noise scale over training: how large the noise of a sample is beside the gradient.

Gradients are those that the algorithm takes, at the point where it takes them. Sums of their
squares are risks whose coordinates count more the more curved they are, so that the engine of the
expected risk computes them on few nodes, certified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..algorithms.base import Algorithm, LinearAlgorithm, Recurrence, as_algorithm
from ..certified_sums import coordinate_sums
from ..coordinates.blocks import Block
from ..foundation.arithmetic import methods_in_usual_arithmetic
from ..foundation.validation import Array, counted, step_array
from ..machine.backends import takes_backend
from ..noise import FinitePopulation
from ..output.html import facts_table
from ..problem import Problem, as_additive_problem, as_problem
from ..schedules import Schedule, as_schedule
from ..schedules.timeline import ordered_records
from .data.population import population_batch
from .risk import RiskSums

LABEL = "noise scale"


@methods_in_usual_arithmetic
@dataclass(frozen=True, eq=False)
class NoiseScale:
    """The noise scale at some steps: the batch size at which noise and gradient weigh the same.

    G is the gradient of the risk where the algorithm takes it, H the Hessian, and C the covariance
    of the gradient of one sample. Expectations are over the start and all noise so far. Values are
    floats, or arrays of the shape of `steps`; the last two are always floats.

    Attributes
    ----------
    steps : ndarray of int
        The steps, of the shape that was asked for.
    weighted : float or ndarray
        ``tr(H C) / E[G^T H G]``, in samples: what McCandlish et al. 2018 call B_noise. A step along
        G with the best learning rate for a batch of B gains ``1 / (1 + B_noise / B)`` of what it
        gains without noise. 0 without noise; inf where the gradient is 0.
    simple : float or ndarray
        ``tr(C) / E|G|^2``, in samples: their B_simple, which can be measured without the Hessian.
    square_gradient, curved_gradient : float or ndarray
        ``E|G|^2`` and ``E[G^T H G]``.
    noise, curved_noise : float
        ``tr(C)`` and ``tr(H C)``.
    """

    steps: NDArray[np.int64]
    weighted: Any
    simple: Any
    square_gradient: Any
    curved_gradient: Any
    noise: float
    curved_noise: float

    def __repr__(self) -> str:
        return f"<NoiseScale at {counted(self.steps.size, 'step')}>"

    def _repr_html_(self) -> str:
        facts = {"steps": self.steps.size, "tr(C)": self.noise, "tr(H C)": self.curved_noise}
        return facts_table("NoiseScale", facts)


@takes_backend
def noise_scale(
    problem: Problem,
    algorithm: Algorithm,
    batch_size: ArrayLike | Schedule,
    steps: ArrayLike,
    *,
    backend: str = "auto",
) -> NoiseScale:
    """Noise scale ``tr(H C) / E[G^T H G]``, and the simple ``tr(C) / E|G|^2``, after given steps.

    Exact, at any dimension, for the cost of two expected risks. G is the gradient of the risk at
    the point where the algorithm takes it, which an average of the iterates does not change.

    Parameters
    ----------
    problem : Problem
        With d coordinates, and noise that does not depend on the iterate.
    algorithm : Algorithm
        Such as ``nqm.SGD(0.1, momentum=0.9)``.
    batch_size : number, array_like of shape (steps,), or schedule
        Samples per step, >= 1, of the training; on its way the noise scale depends on it little.
    steps : array_like of int
        Any shape, any order, >= 0.
    backend : {"auto", "numba", "cython", "numpy"}
        As in `expected_risk`.

    Returns
    -------
    NoiseScale
        With ``weighted``, the first, and ``simple``, the second, both in samples: floats, or
        arrays of the shape of `steps`; and with what they are quotients of.

    Raises
    ------
    InputError
        If an argument is outside its limits, or a schedule given as an array is shorter than the
        largest step.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem([2.0, 1.0], c=[1.0, 1.0], mean0=1.0, var0=0.0)
    >>> found = nqm.noise_scale(problem, nqm.SGD(0.1), batch_size=4, steps=0)
    >>> found.weighted, found.simple  # (2 + 1) / (2 * 2^2 + 1 * 1^2), (1 + 1) / (2^2 + 1^2)
    (0.3333333333333333, 0.4)
    """
    as_problem(problem)
    algorithm = as_algorithm("algorithm", algorithm)
    batch = as_schedule("batch_size", batch_size, least=1.0)
    if isinstance(problem.noise_model, FinitePopulation):
        batch, problem = population_batch(problem, batch), problem.with_noise(None)
    as_additive_problem(problem, "noise_scale")
    asked = step_array("steps", steps)
    largest = problem.curvature_range[1]
    noise, curved_noise = coordinate_sums(problem, _NoiseSums(largest), LABEL)
    squares = np.zeros((2, 0))
    position = np.zeros(0, dtype=np.intp)
    if asked.size:
        ordered, position = ordered_records(asked, algorithm.schedules | {"batch_size": batch})
        point: Any = _AtGradient(algorithm)
        squares = np.stack(
            [
                coordinate_sums(problem, _CurvedSums(point, batch, ordered, power, largest), LABEL)
                for power in (1, 2)
            ]
        )
    # All sums are those with curvatures over the largest, so that no power of it overflows.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        doubled = 2.0 * squares
        scales = [
            np.where(x == 0.0, 0.0, x / (y * largest))
            for x, y in zip((noise, curved_noise), doubled, strict=True)
        ]
        values = [scales[1], scales[0], doubled[0] * largest, doubled[1] * largest * largest]
        curved_noise = float(curved_noise * largest)
    shaped = [x[position].reshape(asked.shape) for x in values]
    weighted, simple, square, curved = shaped if asked.ndim else map(float, shaped)
    return NoiseScale(asked, weighted, simple, square, curved, float(noise), curved_noise)


class _NoiseSums:
    """The sums of c, and of c times the curvature over the largest, as `coordinate_sums` asks."""

    rows = 2

    def __init__(self, largest: float) -> None:
        self.largest = largest

    def __call__(self, blocks: Sequence[Block], rows: NDArray[np.intp]) -> Array:
        """Compute the sums over each block in some of the two rows, shape (rows, blocks)."""
        sums = np.empty((2, len(blocks)))
        with np.errstate(over="ignore", under="ignore"):
            for k, block in enumerate(blocks):
                noise = block.c * block.multiplicity
                relative = block.h / self.largest
                full = np.broadcast_arrays(noise, noise * relative, block.h)
                sums[:, k] = full[0].sum(), full[1].sum()
        return np.asarray(sums[rows])


class _CurvedSums(RiskSums):
    """The risk with coordinates weighted by a power of the curvature over the largest."""

    def __init__(
        self,
        algorithm: LinearAlgorithm,
        batch_size: Schedule,
        steps: NDArray[np.int64],
        power: int,
        largest: float,
    ) -> None:
        super().__init__(algorithm, batch_size, steps)
        self.power, self.largest = power, largest

    def __call__(self, blocks: Sequence[Block], rows: NDArray[np.intp]) -> Array:
        """Compute the weighted risk of each block at some steps, shape (rows, blocks)."""
        return super().__call__([self._weighted(block) for block in blocks], rows)

    def _weighted(self, block: Block) -> Block:
        with np.errstate(under="ignore"):
            weight = (block.h / self.largest) ** self.power
            return block._replace(multiplicity=np.asarray(block.multiplicity * weight))


class _AtGradient:
    """An algorithm whose evaluated iterate is the point at which it takes its gradients."""

    def __init__(self, inner: LinearAlgorithm) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def recurrence(self, h: Array) -> Recurrence:
        """Return the recurrence of the algorithm, with another combination that is read."""
        found = Recurrence(*self._inner.recurrence(h))
        first = [1.0, *[0.0] * (len(found.read) - 1)]
        return found._replace(read=first if found.gradient is None else found.gradient)

    def weights(self, lr: Array, step: NDArray[np.int64]) -> Array:
        """Return the weights of the algorithm's terms."""
        weights_of = getattr(type(self._inner), "weights", LinearAlgorithm.weights)
        return np.asarray(weights_of(self._inner, lr, step))
