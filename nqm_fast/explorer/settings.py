"""Sliders that several views have, and the problems and methods that they mean, also as code."""

from __future__ import annotations

from .. import SGD, Problem
from .parameters import Slider, Values, decades, evenly, powers_of_two

MOMENTA = (*evenly(0.0, 0.9, 0.05), *evenly(0.91, 0.99, 0.01), 0.995, 0.999)
"""Stops of momentum and of the EMA, closer together near 1."""

DIM = Slider("dim", "coordinates d", (1, 10, 100, 1000, 10**4, 10**5, 10**6, 10**8, 10**10), 10**4)
EXPONENT = Slider("exponent", "exponent of the spectrum", evenly(0.5, 2.0, 0.05), 1.0)
LR = Slider("lr", "learning rate", decades(1e-4, 10.0), 0.1)
BATCH_SIZE = Slider("batch_size", "batch size", powers_of_two(0, 20), 64)
MOMENTUM = Slider("momentum", "momentum", MOMENTA, 0.0)
EMA = Slider("ema", "average (EMA)", MOMENTA, 0.0)
POWER = Slider("power", "power of the preconditioner", evenly(0.0, 1.0, 0.05), 0.0)
MOMENTUM_OF_METHOD = Slider("momentum", "momentum, if that is the method", MOMENTA, 0.9)
EMA_OF_METHOD = Slider("ema", "average, if that is the method", MOMENTA, 0.99)
POWER_OF_METHOD = Slider("power", "power, if a preconditioner is", evenly(0.0, 1.0, 0.05), 0.5)
TARGET = Slider("target", "target risk", decades(1e-4, 1.0), 0.01)

IMPORTS = "import numpy as np\n\nimport nqm_fast as nqm\n"
"""The first lines of every program that a page offers to copy."""


def power_law(values: Values) -> Problem:
    """Return the power law that the sliders `dim` and `exponent` mean."""
    return Problem.power_law(values["dim"], exponent=values["exponent"])


def power_law_code(values: Values) -> str:
    """Write code that makes the same problem."""
    return f"problem = nqm.Problem.power_law({values['dim']}, exponent={values['exponent']!r})"


def sgd(values: Values) -> SGD:
    """Return the method that the sliders of SGD mean."""
    return SGD(
        values["lr"],
        momentum=values.get("momentum", 0.0),
        ema=values.get("ema", 0.0),
        power=values.get("power", 0.0),
    )


def method_code(algorithm: SGD) -> str:
    """Write code that makes the same method."""
    return f"nqm.{algorithm!r}"
