"""Batch sizes that grow, as trainers take them: in words, and in whole micro-batches."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...algorithms.base import Algorithm
from ...foundation.arithmetic import in_usual_arithmetic, methods_in_usual_arithmetic
from ...foundation.validation import integer
from ...output.html import facts_table
from ...problem import Problem, as_problem
from ...schedules import Piecewise, Schedule, as_schedule
from ..risk import expected_risk
from .batch_budget import WholeBatches, joined

SUFFIXES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))
"""Letters that stand for powers of ten."""
BISECTIONS = 50
"""Halvings of the interval for the factor of all batch sizes, which then is known to a double."""
ROUNDING = 1e-12
"""By which part more samples may be taken, as sums of doubles are not exact."""


@methods_in_usual_arithmetic
class BatchRamp(NamedTuple):
    """Batch sizes in whole micro-batches, and what that costs.

    Attributes
    ----------
    text : str
        Such as "0:768 250B:1536": from how many samples or tokens on which batch size holds.
    batch_size : Piecewise
        The same as a schedule.
    samples : int
        What the batches of all steps add up to.
    risk : float
        Expected excess risk after the last step.
    samples_price, risk_price : float
        By which part samples and risk are above those of the batch sizes that were given; below 0
        where they are lower.
    """

    text: str
    batch_size: Piecewise
    samples: int
    risk: float
    samples_price: float
    risk_price: float

    def _repr_html_(self) -> str:
        return facts_table("BatchRamp", {"stages": len(self.batch_size.lengths), **self._asdict()})


class _Stage(NamedTuple):
    """Steps with one batch size."""

    steps: int
    samples: float

    @property
    def size(self) -> float:
        return self.samples / self.steps


@in_usual_arithmetic
def batch_ramp(
    problem: Problem,
    algorithm: Algorithm,
    batch_size: ArrayLike | Schedule,
    steps: int,
    *,
    micro_batch: int = 1,
    tokens_per_sample: int | None = None,
    stages: int | None = None,
) -> BatchRamp:
    """A schedule of batch sizes as text for trainers, in whole micro-batches, and its price.

    The steps stay, and with them the schedule of the learning rate. Batch sizes are rounded to the
    nearest multiples, after all were changed by one factor, so that they take no more samples than
    before where that is possible.

    Parameters
    ----------
    problem : Problem
        In which the price is told.
    algorithm : Algorithm
        Whose risk counts, such as ``nqm.optimal_control(...).algorithm``.
    batch_size : schedule, array_like of shape (steps,), or number
        Samples per step, >= 1.
    steps : int
        How many.
    micro_batch : int
        What batch sizes are multiples of: samples of one device at a time, times devices.
    tokens_per_sample : int, optional
        If given, thresholds are tokens; samples if not. Batch sizes are samples.
    stages : int, optional
        At most so many batch sizes: neighbours that are most alike become one.

    Returns
    -------
    BatchRamp
        ``text``, ``batch_size``, ``samples``, ``risk``, and the prices of rounding.

    Raises
    ------
    InputError
        If an argument is outside its limits.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(10_000)
    >>> best = nqm.optimal_control(problem, steps=8192, samples=2**20)
    >>> ramp = nqm.batch_ramp(
    ...     problem, best.algorithm, best.batch_size, best.steps, micro_batch=64, stages=4
    ... )
    >>> ramp.text
    '0:64 355900:128 538400:256 791300:1024'
    """
    as_problem(problem)
    batch = as_schedule("batch_size", batch_size, least=1.0)
    steps = integer("steps", steps, least=1)
    unit = integer("micro_batch", micro_batch, least=1)
    per_sample = 1
    if tokens_per_sample is not None:
        per_sample = integer("tokens_per_sample", tokens_per_sample, least=1)
    table = batch.to_table(steps)
    given = [
        _Stage(end - begin, (end - begin) * size)
        for begin, end, size in zip(*(column.tolist() for column in table.values()), strict=True)
    ]
    most = len(given) if stages is None else integer("stages", stages, least=1)
    rounded = _rounded(_merged(given, most), unit)
    chosen = Piecewise(rounded.sizes, rounded.lengths)
    before = float(expected_risk(problem, algorithm, batch, steps))
    risk = float(expected_risk(problem, algorithm, chosen, steps))
    samples = sum(length * size for length, size in zip(*rounded, strict=True))
    return BatchRamp(
        _text(rounded, per_sample),
        chosen,
        samples,
        risk,
        samples / math.fsum(stage.samples for stage in given) - 1.0,
        0.0 if risk == before else (risk / before - 1.0 if before else math.inf),
    )


def _merged(stages: list[_Stage], most: int) -> list[_Stage]:
    """Join neighbours, those first whose batch sizes are most alike, until there are so few."""
    stages = list(stages)
    while len(stages) > most:
        price = [_price(a, b) for a, b in pairwise(stages)]
        k = int(np.argmin(price))
        a, b = stages[k : k + 2]
        stages[k : k + 2] = [_Stage(a.steps + b.steps, a.samples + b.samples)]
    return stages


def _price(a: _Stage, b: _Stage) -> float:
    """Return how unlike two stages are: samples times the square of the logarithm of sizes."""
    weight = a.samples * b.samples / (a.samples + b.samples)
    return weight * math.log(a.size / b.size) ** 2


def _rounded(stages: list[_Stage], unit: int) -> WholeBatches:
    """Round batch sizes to multiples, and join stages that do not differ any more.

    All are multiplied by one factor before, the largest with which no more samples are taken than
    before: sizes that grew go on growing.
    """

    def sizes(factor: float) -> list[int]:
        return [max(round(factor * stage.size / unit), 1) * unit for stage in stages]

    samples = math.fsum(stage.samples for stage in stages) * (1.0 + ROUNDING)
    low, high = 0.0, 2.0
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        taken = sum(s.steps * size for s, size in zip(stages, sizes(middle), strict=True))
        low, high = (middle, high) if taken <= samples else (low, middle)
    return joined(zip((stage.steps for stage in stages), sizes(low), strict=True))


def _text(stages: WholeBatches, per_sample: int) -> str:
    """Write thresholds and batch sizes; a threshold is as round as the switch of steps allows."""
    words = []
    seen = 0
    before = 0
    for steps, size in zip(*stages, strict=True):
        words.append(f"{_short(_roundest(before, seen))}:{size}")
        seen += steps * size * per_sample
        before = seen - size * per_sample
    return " ".join(words)


def _roundest(before: int, at: int) -> int:
    """Return the number with most zeros that is above `before` and at most `at`."""
    unit: int = 10 ** len(str(at))
    while at - at % unit <= before and unit > 1:
        unit //= 10
    return at - at % unit


def _short(number: int) -> str:
    """Write a whole number with the letter of the largest power of ten that divides it."""
    for unit, letter in SUFFIXES:
        if number and number % unit == 0:
            return f"{number // unit}{letter}"
    return str(number)
