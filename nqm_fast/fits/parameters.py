"""The parameters of a fit: those of the problem, and those that say what the optimiser makes of it.

All of them are sought in units in which runs of any scale look alike: learning rates relative to
their typical size, batch sizes and dimensions to theirs, and losses to the highest.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Parameter(NamedTuple):
    """A number that is fitted."""

    low: float
    high: float
    width: float
    """Width of the Gaussian prior around 0, which restrains what runs hardly tell; inf without."""
    meaning: str


INF = math.inf

PROBLEM: dict[str, Parameter] = {
    "scale": Parameter(-20.0, 14.0, INF, "log of the largest curvature"),
    "exponent": Parameter(0.05, 6.0, INF, "decay of curvatures"),
    "start": Parameter(-12.0, 10.0, INF, "log of twice the first direction's initial risk"),
    "start_exponent": Parameter(1.0005, 5.0, INF, "decay of initial risks"),
    "noise": Parameter(-40.0, 30.0, INF, "log of the first direction's noise over curvature"),
    "noise_exponent": Parameter(-3.0, 3.0, 1.0, "decay of noise, beyond that of curvatures"),
    "irreducible": Parameter(-12.0, -0.002, INF, "log of the loss that remains"),
}
"""Parameters that every fit has, as logarithms where they say so."""

EXTRA: dict[str, Parameter] = {
    "lr_power": Parameter(-0.59, 0.59, 0.3, "effective rates go with lr to the power 1 + this"),
    "noise_floor": Parameter(
        0.0, 12.0, 3.0, "log of 1 + share of a sample's noise that no batch averages out"
    ),
    "batch_power": Parameter(-2.0, 2.0, 0.3, "effective rates go with batch size ^ this"),
    "dim_power": Parameter(-2.0, 2.0, 0.3, "effective rates go with dim ^ this"),
}
"""Parameters that are admitted where they help; at 0 the model is plain SGD on the problem."""

ALL = PROBLEM | EXTRA

STARTS: tuple[dict[str, float], ...] = tuple(
    {"scale": scale, "exponent": q, "start_exponent": p, "noise": noise}
    for scale in (-2.5, 0.0, 2.0)
    for q, p in ((0.7, 1.1), (1.2, 1.3), (2.0, 1.4))
    for noise in (-3.0, -9.0)
)
"""Where searches begin, in those units."""

BEGIN = {"noise_floor": 1.0}
"""Where searches begin for extra parameters that would not move from 0."""
