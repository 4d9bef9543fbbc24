"""The arguments of `optimal_control`, checked."""

from __future__ import annotations

import inspect
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ...foundation.validation import (
    MOST_STEPS,
    InputError,
    any_array,
    choice,
    flag,
    integer,
    number,
    shown,
    step_array,
)
from ...problem import Problem, as_problem
from .additive_search import ControlLimits
from .batch_budget import BatchLimits
from .piece_models import check_has_model

OVER: tuple[str, ...] = ("lr", "batch_size")
MOST_PIECES = 1 << 12
"""A limit that bounds the memory."""


class ControlTask(NamedTuple):
    """The checked arguments."""

    problem: Problem
    steps: int | None
    samples: int | None
    target: float | None
    pieces: int | NDArray[np.int64]
    algorithm: LinearAlgorithm
    limits: ControlLimits

    @property
    def most(self) -> int:
        """How much there may be of what is searched, or of samples if they follow from limits."""
        batches = self.limits.batches
        if self.samples is not None:
            return self.samples // batches.least
        is_limited = self.steps is not None and batches.most != math.inf
        return (self.steps or 0) * int(batches.most) if is_limited else MOST_STEPS

    @property
    def least(self) -> int:
        """How much there must be of what is searched."""
        batches, shortest = self.limits.batches, self.limits.warmup + 1
        if self.samples is None:
            return batches.least * (self.steps or shortest)
        fewest = 1 if batches.most == math.inf else -(-self.samples // int(batches.most))
        return max(shortest, fewest)

    def budget(self, amount: int) -> tuple[int, int]:
        """Return steps and samples, of which the amount is what is not given."""
        if self.samples is None:
            return self.steps or amount // self.limits.batches.least, amount
        return self.steps or amount, self.samples


def checked_task(
    problem: Problem,
    steps: Any,
    samples: Any,
    target: Any,
    pieces: Any,
    algorithm: Any,
    limits: ControlLimits,
) -> ControlTask:
    """Check what is asked for within limits that are checked."""
    budget = _checked_budget(steps, samples, target, limits)
    lengths = _checked_pieces(pieces, budget[0], limits)
    example = _example_of(algorithm)
    return ControlTask(problem, *budget, lengths, example, limits)


def check_noise(problem: Any, function: str) -> None:
    """Make sure that noise is the same everywhere, or couples coordinates in one sum.

    Raises
    ------
    InputError
        If it does neither, with the name of the function that needs that.
    """
    noise = as_problem(problem).noise_model
    if noise is not None and not noise.is_coupled:
        raise InputError(
            f"problem must have noise that is the same everywhere for {function}, or that of "
            f"noise.Gaussian or noise.LossDependent, not {noise!r}"
        )


def checked_limits(
    over: Any, monotone: Any, min_batch: Any, max_batch: Any, max_lr: Any, warmup: Any
) -> ControlLimits:
    """Check what may be chosen."""
    if not isinstance(over, list | tuple):
        raise InputError(f"over must be a list of {' and '.join(OVER)}, not {shown(over)}")
    for name in over:
        choice("over", name, OVER)
    falls = flag("monotone", monotone)
    least = integer("min_batch", min_batch, least=1)
    most: float = math.inf
    if max_batch is not None:
        most = integer("max_batch", max_batch, least=1)
        if most < least:
            raise InputError(f"max_batch must be at least min_batch = {least}, not {most}")
    largest = math.inf if max_lr is None else number("max_lr", max_lr, above=0.0)
    first = 0 if warmup is None else integer("warmup", warmup, least=0, most=MOST_STEPS - 1)
    batches = BatchLimits(least, most, "batch_size" in over, not falls)
    return ControlLimits("lr" in over, not falls, largest, first, batches)


def _checked_budget(
    steps: Any, samples: Any, target: Any, limits: ControlLimits
) -> tuple[int | None, int | None, float | None]:
    """Check a budget against the limits of the batch size."""
    batches = limits.batches
    if steps is not None:
        steps = integer("steps", steps, least=1)
        if steps <= limits.warmup:
            raise InputError(f"steps must be more than warmup = {limits.warmup}, not {steps}")
    if samples is not None:
        samples = integer("samples", samples, least=1)
        fewest = batches.least * (steps or limits.warmup + 1)
        if samples < fewest:
            what = f"steps = {steps}" if steps else f"{limits.warmup + 1} steps"
            raise InputError(
                f"samples must be at least {fewest}, batches of min_batch = {batches.least} in "
                f"{what}, not {samples}"
            )
    if steps and samples and samples > batches.most * steps:
        raise InputError(
            f"samples must be at most max_batch * steps = {int(batches.most) * steps}, "
            f"not {samples}"
        )
    if target is not None:
        target = number("target", target, above=0.0)
        if steps and samples:
            raise InputError(
                "target must be given with steps or samples, not with both, as either is searched"
            )
    elif samples is None and (steps is None or batches.most == math.inf):
        raise InputError(
            "samples must be given, or a target, or steps and max_batch: nothing limits the samples"
        )
    elif samples is None and batches.most * steps > MOST_STEPS:
        raise InputError(f"max_batch * steps must be at most 2^62, not {batches.most * steps:g}")
    return steps, samples, target


def _checked_pieces(
    pieces: Any, steps: int | None, limits: ControlLimits
) -> int | NDArray[np.int64]:
    """Check a number of pieces, or their lengths."""
    if np.ndim(any_array("pieces", pieces)) == 0:
        return integer("pieces", pieces, least=1, most=MOST_PIECES)
    lengths = step_array("pieces", pieces)
    if lengths.ndim != 1 or not 1 <= lengths.size <= MOST_PIECES or lengths.min() < 1:
        raise InputError(
            f"pieces must be a number, or from 1 to {MOST_PIECES} lengths >= 1, not {shown(pieces)}"
        )
    total = sum(lengths.tolist())
    if steps is None or total != steps - limits.warmup:
        wanted = "steps - warmup" if steps is None else f"steps - warmup = {steps - limits.warmup}"
        reason = ", which needs steps" if steps is None else f", not {total}"
        raise InputError(f"lengths of pieces must add up to {wanted}{reason}")
    return lengths


def _example_of(algorithm: Any) -> LinearAlgorithm:
    """Return an algorithm of the class that is given, or the algorithm itself, if it has a model.

    Raises
    ------
    InputError
        If it has none, or if a class needs more than a learning rate.
    """
    if isinstance(algorithm, type) and issubclass(algorithm, Algorithm):
        parameters = inspect.signature(algorithm).parameters.values()
        needed = [p.name for p in parameters if p.default is p.empty and p.name != "lr"]
        if needed:
            raise InputError(
                f"algorithm must be an example such as nqm.{algorithm.__name__}(...) for "
                f"optimal_control, as {algorithm.__name__} needs {', '.join(needed)}"
            )
        algorithm = algorithm(lr=1.0)  # type: ignore[call-arg]
    example = as_algorithm("algorithm", algorithm)
    check_has_model(example)
    return example
