"""The arguments of `tune`, checked."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from ..algorithms.base import Algorithm, LinearAlgorithm, as_algorithm
from ..foundation.validation import InputError, any_array, choice, number, real_array, shown
from ..noise import FinitePopulation
from ..problem import Problem
from ..schedules import Constant, Schedule, as_schedule
from ..schedules.timeline import shortest_length
from .data.population import population_batch
from .search.box import Kind, example_values, made
from .search.evolution import EFFORTS


class Task(NamedTuple):
    """The arguments of a search, which those over fewer hyper-parameters share."""

    problem: Problem
    kind: Kind
    fixed: dict[str, Any]
    batch: Schedule
    target: float
    limit: int
    effort: str
    names: list[str]
    """Hyper-parameters that are searched, all or some at a time."""


def checked_task(
    problem: Problem,
    batch: Schedule,
    target: float,
    over: Sequence[str],
    algorithm: type[Algorithm] | Algorithm,
    max_steps: int,
    effort: str,
    fixed: dict[str, Any],
) -> Task:
    """Check the arguments of `tune` beyond numbers, and return them as a task."""
    if problem.noise_model is not None and problem.noise_model.is_data:
        raise InputError(
            "problem must have no noise of a data set for tune, whose risk takes too long at many "
            "settings: noise='gaussian' is near, and steps_to_target takes one setting"
        )
    if isinstance(problem.noise_model, FinitePopulation):
        batch, problem = population_batch(problem, batch), problem.with_noise(None)
    choice("effort", effort, EFFORTS)
    names, any_kind = checked_search(over, algorithm, fixed)
    example = as_algorithm("algorithm", any_kind)
    kind: Kind = cast(Kind, algorithm)
    _check_curvatures(problem, example)
    limit = int(min(max_steps, batch.length, shortest_length(example.schedules)))
    return Task(problem, kind, fixed, batch, target, limit, effort, names)


def several_batch_sizes(batch_size: Any) -> list[Schedule] | None:
    """Return the batch sizes in a list or an array, or None if there is only one."""
    if isinstance(batch_size, Schedule):
        return None
    if not isinstance(batch_size, list | tuple):
        array = any_array("batch_size", batch_size)
        if not array.ndim:
            return None
        batch_size = real_array("batch_size", array).tolist()
    if not batch_size or any(isinstance(size, list | tuple) for size in batch_size):
        raise InputError(
            "batch_size must be a number, a schedule, or a list of those for as many answers, not "
            f"{shown(batch_size)}"
        )
    sizes = [
        size if isinstance(size, Schedule) else Constant(number("batch_size", size, least=1.0))
        for size in batch_size
    ]
    return [as_schedule("batch_size", size, least=1.0) for size in sizes]


def checked_search(
    over: Sequence[str], kind: Any, fixed: dict[str, Any]
) -> tuple[list[str], Algorithm]:
    """Check and return the names of the hyper-parameters to search, and an example algorithm."""
    is_class = isinstance(kind, type) and issubclass(kind, Algorithm)
    if not (is_class or isinstance(kind, Algorithm)):
        raise InputError(
            f"algorithm must be a kind of algorithm such as nqm.SGD, not {shown(kind)}"
        )
    if isinstance(kind.tunable, property):
        raise InputError(
            f"algorithm must be one with its inner algorithm, such as {kind.__name__}(nqm.SGD(0.1),"
            f" ...), where it is {kind.__name__}"
        )
    names = [over] if isinstance(over, str) else list(over) if np.iterable(over) else [over]
    several = tuple(re.split(r"[,; ]+", over)) if isinstance(over, str) else ()
    if len(several) > 1 and set(several) <= set(kind.tunable):
        raise InputError(f"over must list several names, as in {several}, not {over!r}")
    for name in names:
        choice("over", name, list(kind.tunable))
    if not names:
        known = ", ".join(kind.tunable)
        raise InputError(f"over must name one or more of the hyper-parameters {known}, not ()")
    if len(set(names)) < len(names):
        raise InputError(f"over must name different hyper-parameters, not {shown(over)}")
    for name in names:
        if name in fixed:
            raise InputError(f"{name} is searched (over) and given ({shown(fixed[name])}): choose")
    if is_class and "lr" not in names and "lr" not in fixed:
        raise InputError("lr must be given, as it is not searched: lr=... or over=('lr', ...)")
    own = kind if is_class else type(kind)
    if inspect.isabstract(own):
        raise InputError(
            f"algorithm must be a kind of algorithm such as nqm.SGD, not {own.__name__}, which is "
            "what such kinds are made of"
        )
    takes = inspect.signature(own).parameters
    takes_all = any(x.kind is inspect.Parameter.VAR_KEYWORD for x in takes.values())
    unknown = [name for name in fixed if name not in takes and not takes_all]
    if unknown and is_class:
        raise InputError(f"{own.__name__} does not take {unknown[0]}, but {', '.join(takes)}")
    try:
        example = made(kind, example_values(names) | fixed)
    except TypeError:
        given = {*names, *fixed}
        missing = [x.name for x in takes.values() if x.default is x.empty and x.name not in given]
        raise InputError(
            f"{own.__name__} needs {missing[0]}, which must be given as {missing[0]}=..."
            if missing and not takes_all
            else f"{own.__name__} does not take all of {', '.join(fixed)}"
        ) from None
    return names, example


def _check_curvatures(problem: Problem, example: LinearAlgorithm) -> None:
    """Make sure that there are learning rates to search, of curvatures within a double's range."""
    largest = example.largest_lr(np.array(problem.curvature_range))
    if not 0.0 < largest < math.inf:
        raise InputError(
            f"algorithm {shown(example)} takes these curvatures beyond the range of a double, so "
            f"that its largest learning rate is {largest:g}"
        )
