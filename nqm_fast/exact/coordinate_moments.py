"""Exact means and covariances, coordinate by coordinate, and the risk in its two terms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ..algorithms.sparse import checked_recurrence, sizes_of
from ..coordinates.blocks import Block
from ..foundation.arithmetic import methods_in_usual_arithmetic
from ..foundation.validation import Array, InputError, any_array, counted, shown, step_array
from ..machine.backends import takes_backend
from ..machine.free_memory import available_bytes
from ..machine.parallel import in_threads
from ..output.html import facts_table
from ..problem import Problem, as_problem
from ..schedules import Schedule, as_schedule
from ..schedules.timeline import ordered_records
from .states import States, first_weights, passages
from .units import alike, is_moderate

BLOCK = 1 << 13
"""Coordinates that a thread takes through all steps at a time."""


@methods_in_usual_arithmetic
@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of the iterates of K coordinates at some steps, and their risk.

    Coordinates are independent of each other, so that there is no covariance between them. Shapes
    begin with that of `steps`, for which there are dots here. Where a value exceeds the range of
    a double, it is inf; a mean that is a difference of such values is NaN.

    Attributes
    ----------
    steps : ndarray of int
        The steps, of the shape that was asked for.
    coordinates : ndarray of int, shape (K,)
        Numbers of the coordinates, counted from 0.
    mean, variance : ndarray, shape (..., K)
        Of the first component of the state, which is the iterate w for SGD.
    evaluated_mean, evaluated_variance : ndarray, shape (..., K)
        Of the evaluated iterate: the average for SGD with an EMA, else w.
    state_mean : ndarray, shape (..., K, n)
        Of all components of the algorithm's recurrence (for SGD w, then v, then e, as far as they
        play a part).
    state_covariance : ndarray, shape (..., K, n, n)
        Of these components with each other.
    convergence, steady_state : ndarray, shape (..., K)
        The two terms of each coordinate's expected risk, with its count: what is left of the
        initial risk, and the risk of the gradient noise so far, which grows to the steady state.
        For plain SGD they are ``(1 - lr h)^(2t) R_0`` and
        ``(1 - (1 - lr h)^(2t)) lr c / (2 B (2 - lr h))``.
    """

    steps: NDArray[np.int64]
    coordinates: NDArray[np.int64]
    mean: Array
    variance: Array
    evaluated_mean: Array
    evaluated_variance: Array
    state_mean: Array
    state_covariance: Array
    convergence: Array
    steady_state: Array

    @property
    def risk(self) -> Array:
        """Expected risk of each coordinate, the sum of both terms, shape (..., K)."""
        return self.convergence + self.steady_state

    def __repr__(self) -> str:
        sizes = (
            f"{counted(self.steps.size, 'step')}, {counted(self.coordinates.size, 'coordinate')}"
        )
        return f"<Moments of {sizes}>"

    def _repr_html_(self) -> str:
        facts = {"steps": self.steps.size, "coordinates": self.coordinates.size}
        return facts_table("Moments", facts | {"components": self.state_mean.shape[-1]})


@takes_backend
def moments(
    problem: Problem,
    algorithm: Algorithm,
    batch_size: ArrayLike | Schedule,
    steps: ArrayLike,
    *,
    coordinates: ArrayLike | None = None,
    backend: str = "auto",
) -> Moments:
    """Exact mean and covariance of each coordinate's iterates after the given numbers of steps.

    As `expected_risk` has them, but apart: constant settings cost log2(t), varying ones are
    stepped once for all records. Nothing is assumed of laws but their means and variances.

    Parameters
    ----------
    problem : Problem
        With d coordinates.
    algorithm : Algorithm
        Such as ``nqm.SGD(0.1, momentum=0.9)``.
    batch_size : number, array_like of shape (steps,), or schedule
        Samples per step, >= 1.
    steps : array_like of int
        Any shape, any order, >= 0.
    coordinates : int or array_like of int, optional
        Numbers of the coordinates, counted from 0, in the order of the answer; all by default.
        Only these are computed, whatever d is.
    backend : {"auto", "numba", "cython", "numpy"}
        As in `expected_risk`.

    Returns
    -------
    Moments
        With `mean`, `variance`, `evaluated_mean`, `evaluated_variance`, `state_mean`,
        `state_covariance`, and the two terms of the risk, `convergence` and `steady_state`.

    Raises
    ------
    InputError
        If an argument is outside its limits; if a schedule given as an array is shorter than the
        largest step; if the answer needs more memory than there is.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem([1.0, 0.5], mean0=[2.0, 2.0], var0=0.0)
    >>> found = nqm.moments(problem, nqm.SGD(0.5), batch_size=1, steps=[0, 1])
    >>> found.mean.tolist()
    [[2.0, 2.0], [1.0, 1.5]]
    >>> found.variance[1].tolist()
    [0.25, 0.125]
    """
    as_problem(problem)
    algorithm = as_algorithm("algorithm", algorithm)
    batch = as_schedule("batch_size", batch_size, least=1.0)
    asked = step_array("steps", steps)
    components = len(checked_recurrence(algorithm, np.ones(1)).read)
    count = problem.dim if coordinates is None else any_array("coordinates", coordinates).size
    _check_memory(count, problem.dim, asked.size, components)
    chosen = _numbers(coordinates, problem.dim)
    ordered, position = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    if asked.size:
        ordered, position = ordered_records(asked, algorithm.schedules | {"batch_size": batch})
    blocks = range(-(-chosen.size // BLOCK))

    def of_block(k: int) -> list[Array]:
        """Compute all arrays for a block of the coordinates."""
        numbers = chosen[k * BLOCK : (k + 1) * BLOCK]
        with np.errstate(over="ignore", invalid="ignore"):
            return _moments(problem, numbers, algorithm, batch, ordered)

    parts = in_threads(of_block, blocks, "moments")
    arrays = []
    for same in zip(*parts, strict=True):
        array = np.concatenate(same, axis=1)[position.ravel()]
        arrays.append(array.reshape(asked.shape + array.shape[1:]))
    return Moments(asked, chosen, *arrays)


def _check_memory(count: int, dim: int, steps: int, components: int) -> None:
    """Make sure that the moments of so many coordinates fit into memory.

    Raises
    ------
    InputError
        If they do not.
    """
    numbers = 6 + components + components**2
    # The arrays of all blocks stand beside those that they are joined to.
    needed, available = 16.0 * count * (max(steps, 1) * numbers + 8), available_bytes()
    if needed > available:
        choose = "choose some with coordinates=..." if count == dim else "choose fewer"
        raise InputError(
            f"coordinates would be {count} of the problem's {dim}, whose moments at "
            f"{counted(steps, 'step')} need about {needed / 1e9:.3g} GB of memory, but "
            f"{available / 1e9:.1f} GB are available: {choose}"
        )


def _numbers(coordinates: Any, dim: int) -> NDArray[np.int64]:
    """Check the numbers of coordinates; None stands for all of them."""
    if coordinates is None:
        return np.arange(dim)
    numbers = np.atleast_1d(step_array("coordinates", coordinates))
    if numbers.ndim != 1 or not numbers.size:
        raise InputError(
            f"coordinates must be one or more numbers of coordinates, not {shown(coordinates)}"
        )
    if numbers.max() >= dim:
        raise InputError(
            f"coordinates must be from 0 to {dim - 1}, but contain {int(numbers.max())}"
        )
    return numbers


def _moments(
    problem: Problem,
    numbers: NDArray[np.int64],
    algorithm: LinearAlgorithm,
    batch_size: Schedule,
    records: NDArray[np.int64],
) -> list[Array]:
    """Compute the arrays of `Moments` for some coordinates, with records along the first axis."""
    block, mean0 = chosen_block(problem, numbers), problem.mean0[numbers]
    n, k = sizes_of(algorithm).components, numbers.size
    shapes = [(k,)] * 4 + [(k, n), (k, n, n)] + [(k,)] * 2
    arrays = [np.empty((records.size, *shape)) for shape in shapes]
    for part in [np.arange(k)] if is_moderate(block) else alike(block):
        own = Block(*(np.ascontiguousarray(field[part]) for field in block))
        found = _moments_of_alike(own, mean0[part], algorithm, batch_size, records)
        row = 0
        for several in found:
            rows = slice(row, row := row + len(several[0]))
            for array, values in zip(arrays, several, strict=True):
                array[rows, part] = values
    return arrays


def _moments_of_alike(
    block: Block,
    mean0: Array,
    algorithm: LinearAlgorithm,
    batch_size: Schedule,
    records: NDArray[np.int64],
) -> Iterator[tuple[Array, ...]]:
    """Yield what `Moments` have at the next records, of coordinates that can share units."""
    if not records.size:
        return
    states = States(block, algorithm, first_weights(algorithm, batch_size, records))
    mean0 = np.ldexp(mean0, -states.units.of_start)
    carried, waiting = None, []
    together = max(BLOCK // block.h.size, 1)
    for passage in passages(algorithm, batch_size, records):
        carried = states.moved(passage, carried)
        if passage.ends_at_record:
            waiting.append(carried)
        if len(waiting) == together:
            yield _read_states(states, mean0, np.stack(waiting, axis=1))
            waiting.clear()
    if waiting:
        yield _read_states(states, mean0, np.stack(waiting, axis=1))


def _read_states(states: States, mean0: Array, carried: Array) -> tuple[Array, ...]:
    """Return what `Moments` have of states, (2, records, rows, d), each with records first."""
    block, units = states.block, states.units
    weight, var0 = 0.5 * block.h * block.multiplicity, block.variance
    unit, own_units = units.iterate, units.iterate - units.components
    response, noise = states.response(carried), states.covariance(carried)
    spread = _times(response[..., :, None] * response[..., None, :], var0[:, None, None])
    covariance = spread + noise
    diagonal = np.arange(states.components)
    covariance[..., diagonal, diagonal] = _at_least_zero(covariance[..., diagonal, diagonal])
    read_response, read_noise = _read(states.read, response, noise)
    square = _at_least_zero(read_response**2)
    mean = np.ldexp(_times(response, mean0[:, None]), own_units)
    covariance = np.ldexp(covariance, own_units[:, None] + own_units)
    return (
        mean[..., 0],
        covariance[..., 0, 0],
        np.ldexp(_times(read_response, mean0), unit),
        np.ldexp(_times(square, var0) + read_noise, 2 * unit),
        mean,
        covariance,
        _times(square, weight * block.second_moment),
        weight * read_noise,
    )


def chosen_block(problem: Problem, numbers: NDArray[np.int64]) -> Block:
    """Return some coordinates of a problem as arrays, in the order of their numbers."""
    ascending, place = np.unique(numbers, return_inverse=True)
    cuts = [0, *(np.flatnonzero(np.diff(ascending) > 1) + 1).tolist(), ascending.size]
    parts = [problem.block(int(ascending[a]), int(ascending[b - 1]) + 1) for a, b in pairwise(cuts)]
    columns = []
    for name in Block._fields:
        fields = [np.broadcast_to(getattr(part, name), part.h.shape) for part in parts]
        columns.append(np.ascontiguousarray(np.concatenate(fields)[place.ravel()]))
    return Block(*columns)


def _read(read: tuple[float, ...], response: Array, noise: Array) -> tuple[Array, Array]:
    """The response and the variance of the noise of the evaluated iterate, (records, d) each.

    Components that are not read do not count, also where they are infinite.
    """
    used = np.flatnonzero(read)
    factors = np.array(read)[used]
    of_noise = np.einsum("a,rdab,b->rd", factors, noise[..., used[:, None], used], factors)
    return response[..., used] @ factors, _at_least_zero(of_noise)


def _times(value: Array, factor: Array) -> Array:
    """The product, which is zero where the factor is, also where the value is infinite."""
    return np.where(factor == 0.0, 0.0, value * factor)


def _at_least_zero(variance: Array) -> Array:
    """A variance without rounding errors below zero; inf where it is a difference of infinities."""
    return np.where(np.isnan(variance), np.inf, np.maximum(variance, 0.0))
