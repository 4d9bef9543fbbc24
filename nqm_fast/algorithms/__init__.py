"""Algorithms: what an engine needs to know of one, and one file for each.

`base` has the classes that all of them inherit from, `sparse` turns the recurrence of a linear one
into the arrays that kernels take, and checks it on the way.
"""

from .base import Algorithm, LinearAlgorithm, Recurrence
from .sgd import SGD

__all__ = ["SGD", "Algorithm", "LinearAlgorithm", "Recurrence"]
