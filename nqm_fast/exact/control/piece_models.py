"""The model of pieces that an algorithm has, and the learning rate up to which it is stable."""

from __future__ import annotations

import math

import numpy as np

from ...algorithms.base import LinearAlgorithm
from ...algorithms.sgd import SGD
from ...algorithms.sparse import sizes_of
from ...coordinates.blocks import Block
from ...foundation.validation import InputError, shown
from ...schedules import Constant, as_schedule
from ..coupled.maps import CoupledBlock
from ..periodic import find_period
from ..stability import additive_limit
from .coupled_pieces import CoupledModel
from .linear_pieces import MOST_COMPONENTS, LinearModel, linear_weights
from .piece_maps import PieceModel, plain_model


def is_plain(algorithm: LinearAlgorithm) -> bool:
    """Whether an algorithm is SGD without momentum and average, which has a closed form."""
    if type(algorithm) is not SGD:
        return False
    others = (as_schedule(name, getattr(algorithm, name)) for name in ("momentum", "ema"))
    return all(isinstance(x, Constant) and x.value == 0.0 for x in others)


def piece_model(
    block: Block | CoupledBlock,
    algorithm: LinearAlgorithm,
    curvature_range: tuple[float, float],
) -> tuple[PieceModel, float]:
    """Return nodes as an algorithm sees them, and its largest stable learning rate.

    Raises
    ------
    InputError
        If its numbers are beyond the range of a double.
    """
    if is_plain(algorithm):
        power = algorithm.hyper_parameter("power")
        stable = _largest_plain_lr(power, curvature_range)
    else:
        stable = additive_limit(algorithm, curvature_range)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if isinstance(block, CoupledBlock):
            coupled = CoupledModel(block, algorithm, stable)
            if not coupled.is_finite:
                raise InputError(
                    f"problem must have curvatures and noise that {shown(algorithm)} does not take "
                    "beyond the range of a double"
                )
            return coupled, stable
        if not is_plain(algorithm):
            return LinearModel(block, algorithm), stable
        model = plain_model(block, power)
    _check_power(power, all(np.isfinite(x).all() for x in model))
    return model, stable


def _largest_plain_lr(power: float, curvature_range: tuple[float, float]) -> float:
    """Return the largest stable learning rate of plain SGD."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        largest = float(np.power(curvature_range, 1.0 - power).max())
    _check_power(power, 0.0 < largest < math.inf)
    return 2.0 / largest


def _check_power(power: float, is_in_range: bool) -> None:
    """Raise an InputError if a preconditioner leads beyond the range of a double."""
    if not is_in_range:
        raise InputError(
            f"power must be nearer to 0: with {power:g}, preconditioned curvature or noise is "
            "beyond the range of a double"
        )


def check_has_model(algorithm: LinearAlgorithm) -> None:
    """Raise an InputError if there is no model for an algorithm."""
    name = type(algorithm).__name__
    periodic = find_period(algorithm, Constant(1.0)) is not None
    if algorithm.depends_on_step or periodic or algorithm.batches_per_step != 1:
        raise InputError(
            f"algorithm must have steps that are all alike for optimal_control, which {name} has "
            "not"
        )
    varying = [
        other
        for other, schedule in algorithm.schedules.items()
        if other != "lr" and not isinstance(schedule, Constant)
    ]
    if varying:
        raise InputError(
            f"algorithm must have steps that are all alike but for lr for optimal_control, but the "
            f"{varying[0]} of {shown(algorithm)} changes"
        )
    sizes = sizes_of(algorithm)
    if sizes.components > MOST_COMPONENTS:
        raise InputError(
            f"algorithm must have a state of at most {MOST_COMPONENTS} numbers for "
            f"optimal_control, not of {sizes.components} as {shown(algorithm)}"
        )
    linear_weights(algorithm, sizes.terms, np.array([0.1]))
