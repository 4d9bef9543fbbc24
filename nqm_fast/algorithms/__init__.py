"""Algorithms, each in a file of its own.

`base` has the classes that they inherit from. `sparse` checks the recurrence of a linear algorithm
and turns it into the arrays that kernels take.
"""

from .accumulate import Accumulate
from .ademamix import AdEMAMix
from .base import Algorithm, LinearAlgorithm, Recurrence
from .dana import DANA
from .delayed_sgd import DelayedSGD
from .ema import EMA
from .lookahead import Lookahead
from .nesterov import Nesterov
from .qhm import QHM
from .schedule_free import ScheduleFree
from .sgd import SGD
from .tail_average import TailAverage

__all__ = [
    "DANA",
    "EMA",
    "QHM",
    "SGD",
    "Accumulate",
    "AdEMAMix",
    "Algorithm",
    "DelayedSGD",
    "LinearAlgorithm",
    "Lookahead",
    "Nesterov",
    "Recurrence",
    "ScheduleFree",
    "TailAverage",
]
