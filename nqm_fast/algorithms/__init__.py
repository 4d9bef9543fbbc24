"""Algorithms, each in a file of its own.

`base` has the classes that they inherit from. `sparse` checks the recurrence of a linear algorithm
and turns it into the arrays that kernels take.
"""

from .adam import Adam, AdamW
from .base import Algorithm, LinearAlgorithm, Recurrence
from .rmsprop import RMSProp
from .sgd import SGD
from .sign import SignSGD, Signum

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Algorithm",
    "LinearAlgorithm",
    "RMSProp",
    "Recurrence",
    "SignSGD",
    "Signum",
]
