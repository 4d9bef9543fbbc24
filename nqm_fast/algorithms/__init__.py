"""Algorithms, each in a file of its own.

`base` has the classes that they inherit from. `sparse` checks the recurrence of a linear algorithm
and turns it into the arrays that kernels take.
"""

from .base import Algorithm, LinearAlgorithm, Recurrence
from .sgd import SGD

__all__ = ["SGD", "Algorithm", "LinearAlgorithm", "Recurrence"]
