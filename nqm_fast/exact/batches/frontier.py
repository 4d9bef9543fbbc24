"""Steps against samples: what a target costs at each batch size, with the best settings there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...algorithms.base import Algorithm
from ...algorithms.sgd import SGD
from ...foundation.arithmetic import methods_in_usual_arithmetic
from ...foundation.validation import (
    Array,
    InputError,
    counted,
    in_range,
    number,
    plain_number,
    real_array,
)
from ...machine.backends import takes_backend
from ...output.html import rows_table
from ...problem import Problem
from ..tuning import Tuned
from .hyperbola import Hyperbola, fitted_hyperbola
from .tuned_sizes import TunedSizes

POINTS = 20
"""Batch sizes of a front, if none are given."""
BEYOND = 64.0
"""They go so far beyond the knee."""
LEAST_RANGE = 16.0
"""They go over such a factor at least."""
WIDER = 4.0
"""Factor between larger batch sizes that are tried for a deadline, or to reach the target."""
HOPELESS = 2.0**40
"""A batch size at which the target should be reached, if it is at any."""
FEW_STEPS, VALLEYS = 500, 2
"""Below so many steps, so many more and fewer of them are tried for the lowest cost."""
SAME_SIZE = 1.001
"""Factor between batch sizes up to which they are not told apart."""


class Choice(NamedTuple):
    """A batch size that was chosen.

    Attributes
    ----------
    batch_size : int or float
    steps : int
        The fewest steps to the target there.
    samples : float
        Those that they take.
    algorithm : Algorithm
        The setting that takes them.
    """

    batch_size: float
    steps: float
    samples: float
    algorithm: Algorithm


@methods_in_usual_arithmetic
@dataclass(frozen=True, eq=False)
class Frontier:
    """Steps and samples to a target, with the best settings, at K batch sizes.

    Attributes
    ----------
    target : float
        Excess risk.
    batch_sizes : ndarray, shape (K,)
        Ascending.
    steps, samples : ndarray, shape (K,)
        The fewest steps to the target, inf if it is not reached, and samples that they take.
    tuned : list of K Tuned
        What reaches it: ``steps``, ``algorithm`` and ``risk``.
    hyperbola : Hyperbola
        ``(S / Smin - 1) (E / Emin - 1) = 1`` fitted to all batch sizes, by least squares of the
        relative difference of steps.
    least_steps : float
        Steps at batches so large that there is no noise.
    """

    target: float
    batch_sizes: Array
    steps: Array
    samples: Array
    tuned: list[Tuned]
    hyperbola: Hyperbola
    least_steps: float
    _sizes: TunedSizes = field(repr=False)

    def cheapest(self, step: float, sample: float) -> Choice:
        """The whole batch size, or one of the front, at which reaching the target costs the least.

        It is searched for between the batch sizes of the front and beyond the largest, each tuned
        anew.

        Parameters
        ----------
        step, sample : float
            Cost of a step and of a sample, >= 0, in the same unit, such as seconds or dollars: the
            sum of ``step * steps + sample * samples`` is to be small.

        Raises
        ------
        InputError
            If a cost is negative, or both are 0.
        """
        step, sample = number("step", step, least=0.0), number("sample", sample, least=0.0)
        if step == sample == 0.0:
            raise InputError("step and sample must not both be 0, as then nothing costs anything")

        if sample == 0.0:
            return self._choice(self._smallest(self.least_steps))
        larger = max(step, sample)

        def cost(size: float) -> tuple[float, float]:
            # Of batch sizes that cost the same the smallest counts, and units do not.
            return (step / larger + sample / larger * size) * self._sizes.steps(size), size

        best, last = _lowest(cost, self.batch_sizes.tolist(), self._sizes.enough), 0.0
        # Steps are whole numbers, so that the cost has a valley at each of them.
        while best != last and self._sizes.steps(best) < FEW_STEPS:
            last, taken = best, int(self._sizes.steps(best))
            nearby = range(max(taken - VALLEYS, int(self.least_steps)), taken + VALLEYS + 1)
            best = min((best, *map(self._smallest, nearby)), key=cost)
        return self._choice(best)

    def within(self, steps: float) -> Choice:
        """The whole batch size, or one of the front, with the fewest samples in a number of steps.

        Parameters
        ----------
        steps : float
            A deadline, as steps, > 0.

        Raises
        ------
        InputError
            If no batch size is enough; the message has the fewest steps.
        """
        steps = number("steps", steps, above=0.0)
        if steps < self.least_steps:
            raise InputError(
                f"steps must be {self.least_steps:g} or more, which the target {self.target:g} "
                f"takes at any batch size, not {steps:g}"
            )
        return self._choice(self._smallest(steps))

    def _smallest(self, steps: float) -> float:
        """Find the smallest whole batch size, or the front's first, that takes so many steps."""
        sizes = self.batch_sizes.tolist()
        known = zip(sizes, self.steps.tolist(), strict=True)
        enough = next((size for size, taken in known if taken <= steps), math.inf)
        too_few = max((size for size in sizes if size < enough), default=0.0)
        if not too_few:
            return float(enough)
        if math.isinf(enough):
            enough = _whole(WIDER * too_few)
            while enough < self._sizes.enough and self._sizes.steps(enough) > steps:
                too_few, enough = enough, _whole(WIDER * enough)
        while enough > SAME_SIZE * too_few:
            middle = _whole(math.sqrt(too_few * enough))
            if not too_few < middle < enough:
                middle = math.floor(too_few) + 1.0
                if middle >= enough:
                    break
            if self._sizes.steps(middle) <= steps:
                enough = middle
            else:
                too_few = middle
        return float(enough)

    def _choice(self, size: float) -> Choice:
        found = self._sizes.at(size)
        taken = plain_number(size * found.steps)
        return Choice(plain_number(size), found.steps, taken, found.algorithm)

    def rows(self) -> list[dict[str, Any]]:
        """The batch sizes, steps, samples and settings as rows of a table."""
        columns = zip(self.batch_sizes, self.steps, self.samples, self.tuned, strict=True)
        return [
            {
                "batch_size": plain_number(size),
                "steps": found.steps,
                "samples": plain_number(samples) if samples < math.inf else samples,
                "algorithm": found.algorithm,
            }
            for size, _, samples, found in columns
        ]

    def __repr__(self) -> str:
        sizes = counted(len(self.tuned), "batch size")
        return f"<Frontier of {sizes} to the target {self.target:g}>"

    def _repr_html_(self) -> str:
        facts = {"target": self.target, "least steps": self.least_steps}
        return rows_table("Frontier", facts, self.rows())


@takes_backend
def frontier(
    problem: Problem,
    target: float,
    batch_sizes: ArrayLike | None = None,
    *,
    over: Sequence[str] = ("lr",),
    algorithm: type[Algorithm] | Algorithm = SGD,
    max_steps: int = 10**9,
    effort: str = "full",
    pieces: int | None = None,
    backend: str = "auto",
    **fixed: Any,
) -> Frontier:
    """The Pareto front of steps against samples to a target, tuned at each batch size.

    Larger batches take fewer steps and more samples. Neighbouring batch sizes start from each
    other's best settings where these are known to change smoothly, so that 20 of them take a
    quarter of a second over the learning rate.

    Parameters
    ----------
    problem : Problem
    target : float
        Excess risk, > 0.
    batch_sizes : array_like, optional
        Numbers >= 1, in any order; by default 20 whole ones from 1, or from the least power of 4 at
        which the target is reached, to 64 times the quotient of the samples there and the steps
        without noise.
    over, algorithm, max_steps, effort, backend, **fixed
        What is searched, and how, as in `tune` by the exact model.
    pieces : int, optional
        Instead of a constant learning rate of plain SGD, the best one of so many pieces, as
        `optimal_schedule` has it.

    Returns
    -------
    Frontier
        ``batch_sizes``, ``steps``, ``samples`` and ``tuned`` of the batch sizes on the front:
        those for which no other takes both fewer samples and as few steps. ``hyperbola`` is fitted
        to all. ``cheapest(step=, sample=)`` and ``within(steps=)`` choose a batch size.

    Raises
    ------
    InputError
        If an argument is outside its limits, or the target is not reached in `max_steps` at the
        smallest batch size.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> front = nqm.frontier(nqm.Problem.power_law(10_000), 0.01)
    >>> choice = front.cheapest(step=1000.0, sample=1.0)
    >>> choice.batch_size
    821
    >>> front.within(steps=8000).steps
    8000
    """
    tuned = TunedSizes(problem, target, over, algorithm, max_steps, effort, fixed, pieces)
    given = None if batch_sizes is None else checked_sizes(batch_sizes)
    first = smallest_reaching(tuned) if given is None else given[0]
    tuned.must_reach("batch_sizes", first)
    sizes = usual_sizes(tuned, first, POINTS) if given is None else given
    every = curve(tuned, sizes)
    kept = _undominated(every.steps, every.samples)
    return replace(
        every,
        batch_sizes=every.batch_sizes[kept],
        steps=every.steps[kept],
        samples=every.samples[kept],
        tuned=[every.tuned[k] for k in kept],
    )


def smallest_reaching(tuned: TunedSizes) -> float:
    """Find the least power of 4 at which the target is reached, or else the last one tried."""
    size = 1.0
    while math.isinf(tuned.steps(size)) and size < HOPELESS:
        size *= WIDER
    return size


def _undominated(steps: Array, samples: Array) -> list[int]:
    """List the points than which no other has as few steps and samples, and fewer of one."""
    no_more = (steps <= steps[:, None]) & (samples <= samples[:, None])
    fewer = (steps < steps[:, None]) | (samples < samples[:, None])
    kept: list[int] = np.flatnonzero(~(no_more & fewer).any(axis=1)).tolist()
    return kept


def curve(tuned: TunedSizes, sizes: Sequence[float]) -> Frontier:
    """Tune at ascending batch sizes, also those that no front has, and fit the hyperbola."""
    found = tuned.all_at(sizes)
    batch_sizes = np.array(sizes, dtype=np.float64)
    steps = np.array([x.steps for x in found], dtype=np.float64)
    fitted = fitted_hyperbola(batch_sizes, steps)
    least = tuned.least_steps()
    return Frontier(
        tuned.target, batch_sizes, steps, batch_sizes * steps, found, fitted, least, tuned
    )


def checked_sizes(batch_sizes: ArrayLike) -> list[float]:
    """Check batch sizes, and return the different ones in ascending order."""
    array = np.atleast_1d(real_array("batch_sizes", batch_sizes))
    if array.ndim != 1 or not array.size:
        raise InputError(f"batch_sizes must be one or more numbers, not of shape {array.shape}")
    in_range("batch_sizes", array, least=1.0)
    sizes: list[float] = np.unique(array).tolist()
    return sizes


def usual_sizes(tuned: TunedSizes, reference: float, points: int) -> list[float]:
    """Return batch sizes from a small one, at which the target is reached, to large ones.

    All but the first are whole numbers.
    """
    knee = tuned.samples(reference) / tuned.least_steps()
    last = max(BEYOND * knee, LEAST_RANGE * reference)
    spaced = np.geomspace(reference, last, points)[1:]
    return [reference, *(x for x in np.unique(spaced.round()).tolist() if x > reference)]


def _lowest(cost: Any, sizes: Sequence[float], largest: float) -> float:
    """Return the whole batch size of the lowest cost, near the best of some or beyond them."""
    import scipy.optimize

    best = min(range(len(sizes)), key=lambda k: cost(sizes[k]))
    low = sizes[max(best - 1, 0)]
    high = sizes[best + 1] if best + 1 < len(sizes) else WIDER * sizes[best]
    while best + 1 >= len(sizes) and cost(_whole(high)) < cost(_whole(high / WIDER)):
        high *= WIDER
        if high > largest:
            break
    scalar: Any = scipy.optimize.minimize_scalar
    answer = scalar(
        lambda x: cost(_whole(math.exp(x)))[0],
        bounds=(math.log(low), math.log(high)),
        method="bounded",
        options={"xatol": math.log(SAME_SIZE)},
    )
    return min((_whole(math.exp(answer.x)), sizes[best]), key=cost)


def _whole(size: float) -> float:
    """Return the whole batch size that is nearest."""
    return max(float(round(size)), 1.0)
