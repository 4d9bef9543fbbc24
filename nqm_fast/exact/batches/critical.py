"""The critical batch size, by each of its definitions: how far larger batches still pay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...algorithms.base import Algorithm
from ...algorithms.sgd import SGD
from ...foundation.arithmetic import methods_in_usual_arithmetic
from ...foundation.validation import InputError, choice, integer, number, shown
from ...machine.backends import takes_backend
from ...output.html import rows_table
from ...problem import Problem, as_additive_problem
from ..noise_scale import NoiseScale, noise_scale
from ..tuning import Tuned
from .frontier import FEW_STEPS, WIDER, Frontier, curve, usual_sizes
from .tuned_sizes import TunedSizes

DEFINITIONS = ("knee", "overhead", "noise-scale", "half")
CURVE_POINTS = 12
"""Batch sizes of the curve, enough for neighbours to start from each other."""
TOLERANCE = 1e-4
"""Error of the log of a batch size; steps are whole numbers, which it cannot be finer than."""


@methods_in_usual_arithmetic
@dataclass(frozen=True, eq=False)
class CriticalBatchSize:
    """A critical batch size, and the curve that it belongs to.

    Attributes
    ----------
    value : float
        In samples a step.
    definition : str
        "knee", "overhead", "noise-scale" or "half".
    target : float
        Excess risk.
    reference : Tuned
        The best setting at the batch size `reference`, with its ``steps``.
    curve : Frontier
        ``batch_sizes``, ``steps``, ``samples``, and ``tuned``, the best setting at each; and
        ``least_steps``, those without noise.
    noise_scale : NoiseScale or None
        With the definition "noise-scale", whose ``weighted`` is the value, beside the ``simple``.
    """

    value: float
    definition: str
    target: float
    reference: Tuned
    curve: Frontier
    noise_scale: NoiseScale | None

    def __repr__(self) -> str:
        return (
            f"<CriticalBatchSize {self.value:.6g} by {self.definition}, to the target "
            f"{self.target:g}>"
        )

    def _repr_html_(self) -> str:
        facts = {"value": self.value, "definition": self.definition, "target": self.target}
        return rows_table("CriticalBatchSize", facts, self.curve.rows())


@takes_backend
def critical_batch_size(
    problem: Problem,
    target: float,
    *,
    definition: str = "knee",
    overhead: float = 0.2,
    reference: float = 1.0,
    step: int | None = None,
    over: Sequence[str] = ("lr",),
    algorithm: type[Algorithm] | Algorithm = SGD,
    max_steps: int = 10**9,
    effort: str = "full",
    pieces: int | None = None,
    backend: str = "auto",
    **fixed: Any,
) -> CriticalBatchSize:
    """The critical batch size to a target, with the best settings at every batch size.

    At small batches the steps fall in proportion as the batch grows, and the samples stay the same
    (linear scaling); at large ones the steps stay the same. Definitions say where one ends and the
    other begins, and differ: the knee is where both asymptotes meet, "half" counts steps alone,
    "overhead" samples alone, and the noise scale knows one step and no hyper-parameters, so that it
    misses what momentum makes of large batches.

    Parameters
    ----------
    problem : Problem
    target : float
        Excess risk, > 0.
    definition : {"knee", "overhead", "noise-scale", "half"}
        "knee": the samples at the batch size `reference`, over the steps without noise.
        "overhead": the batch size at which the samples are ``1 + overhead`` times those at
        `reference`. "noise-scale": ``tr(H C) / E[G^T H G]`` in the best training at `reference`,
        after `step` steps. "half": the batch size at which the steps are twice those without noise,
        or `reference` where they are fewer already.
    overhead : float
        Samples more than by linear scaling, as a share, > 0.
    reference : float
        A small batch size, >= 1, from which linear scaling starts.
    step : int, optional
        For "noise-scale": a step of that training, by default its last.
    over, algorithm, max_steps, effort, backend, **fixed
        What is searched, and how, as in `tune` by the exact model.
    pieces : int, optional
        As in `frontier`: the learning rate has so many pieces, all tuned.

    Returns
    -------
    CriticalBatchSize
        ``value``, ``curve`` (batch sizes from `reference` to 64 times the knee, steps, samples, and
        what was tuned at each) and, by noise scale, ``noise_scale``.

    Raises
    ------
    InputError
        If an argument is outside its limits; if the target is not reached at `reference`, or the
        problem's noise depends on the iterate, for "noise-scale".

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(10_000)
    >>> round(nqm.critical_batch_size(problem, 0.01).value)
    903
    >>> round(nqm.critical_batch_size(problem, 0.01, definition="noise-scale").value)
    804
    """
    choice("definition", definition, DEFINITIONS)
    if step is not None and definition != "noise-scale":
        raise InputError(f"step = {shown(step)} is for definition='noise-scale'")
    if definition == "noise-scale":
        as_additive_problem(problem, "definition='noise-scale'")
    overhead = number("overhead", overhead, above=0.0)
    reference = number("reference", reference, least=1.0)
    sizes = TunedSizes(problem, target, over, algorithm, max_steps, effort, fixed, pieces)
    return by_definition(curve_from(sizes, reference), sizes, definition, overhead, step)


def curve_from(sizes: TunedSizes, reference: float) -> Frontier:
    """Tune at batch sizes from a small one to those far beyond the knee."""
    sizes.must_reach("reference", reference)
    return curve(sizes, usual_sizes(sizes, reference, CURVE_POINTS))


def by_definition(
    along: Frontier, sizes: TunedSizes, definition: str, overhead: float, step: int | None = None
) -> CriticalBatchSize:
    """Find the critical batch size by a definition; the curve begins at the reference."""
    reference = float(along.batch_sizes[0])
    first, samples, least = along.tuned[0], float(along.samples[0]), along.least_steps
    scale = None
    if definition == "knee":
        value = samples / least
    elif definition == "overhead":
        most = (1.0 + overhead) * samples
        largest = max(sizes.enough, float(along.batch_sizes[-1]))
        if most / least >= largest:
            raise InputError(
                f"overhead must be less than {largest * least / samples:.3g} here, from which on "
                f"batches are larger than any with noise, not {shown(overhead)}"
            )
        crossing = _crossing(lambda size: math.log(sizes.samples(size) / most), along, largest)
        value = _last_within(most, crossing, sizes)
    elif definition == "half":
        # Half a step more than the limit, as at whole steps the first batch size would not be told
        # from others that take as many.
        most = 2.0 * least + 0.5
        value = _crossing(lambda size: math.log(most / sizes.steps(size)), along, sizes.enough)
    else:
        last = int(first.steps)
        at = last if step is None else integer("step", step, least=0, most=last)
        scale = noise_scale(sizes.problem, first.algorithm, reference, at)
        value = scale.weighted
    return CriticalBatchSize(value, definition, along.target, first, along, scale)


def by_every_definition(
    sizes: TunedSizes, reference: float = 1.0, overhead: float = 0.2, step: int | None = None
) -> dict[str, CriticalBatchSize]:
    """Find the critical batch size by each definition that the problem's noise allows, by name."""
    along = curve_from(sizes, reference)
    has_scale = sizes.problem.noise_model is None
    return {
        name: by_definition(along, sizes, name, overhead, step)
        for name in DEFINITIONS
        if name != "noise-scale" or has_scale
    }


def _crossing(excess: Callable[[float], float], along: Frontier, largest: float) -> float:
    """Find from where on a function that grows with the batch size is not negative.

    Where that is from the beginning, it is the smallest batch size.
    """
    import scipy.optimize

    known = along.batch_sizes.tolist()
    low = max((size for size in known if excess(size) < 0.0), default=0.0)
    if not low:
        return float(known[0])
    high = min((size for size in known if size > low), default=math.inf)
    while math.isinf(high):
        if WIDER * low >= largest or excess(WIDER * low) >= 0.0:
            high = WIDER * low
        else:
            low *= WIDER
    root: Any = scipy.optimize.brentq
    found = root(lambda x: excess(math.exp(x)), math.log(low), math.log(high), xtol=TOLERANCE)
    return math.exp(found)


def _last_within(most: float, crossing: float, sizes: TunedSizes) -> float:
    """Find the last batch size that takes so many samples at most, beyond one that takes as many.

    Steps are whole numbers, so that samples fall wherever steps do, and cross a limit more than
    once. Where steps are many, that is but a small part of the batch size.
    """
    enough = round(sizes.steps(crossing))
    if enough >= FEW_STEPS:
        return crossing
    too_few = 0
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if sizes.steps(most / middle) <= middle:
            enough = middle
        else:
            too_few = middle
    return max(most / enough, crossing)
