"""Algorithms, each in a file of its own.

`base` has the classes that they inherit from. `sparse` checks the recurrence of a linear algorithm
and turns it into the arrays that kernels take.
"""

from .accumulate import Accumulate
from .adam import Adam, AdamW
from .ademamix import AdEMAMix
from .base import Algorithm, LinearAlgorithm, Recurrence
from .dana import DANA
from .delayed_sgd import DelayedSGD
from .ema import EMA
from .lookahead import Lookahead
from .nesterov import Nesterov
from .qhm import QHM
from .rmsprop import RMSProp
from .schedule_free import ScheduleFree
from .sgd import SGD
from .sign import SignSGD, Signum
from .tail_average import TailAverage

__all__ = [
    "DANA",
    "EMA",
    "QHM",
    "SGD",
    "Accumulate",
    "AdEMAMix",
    "Adam",
    "AdamW",
    "Algorithm",
    "DelayedSGD",
    "LinearAlgorithm",
    "Lookahead",
    "Nesterov",
    "RMSProp",
    "Recurrence",
    "ScheduleFree",
    "SignSGD",
    "Signum",
    "TailAverage",
]
