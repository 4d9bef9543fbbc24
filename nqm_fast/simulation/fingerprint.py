"""What tells whether another machine computes the same numbers.

Kernels spell out every operation. What they start from is not theirs: powers of curvatures, cosines
of schedules and the like come from a library of mathematics, and those differ in the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lowering import model, starts, timeline
from .observables import RISK, RecordLayout
from .task import Task

COORDINATES = 4096  # looked at, at either end
STEPS = 4096


def fingerprint(task: Task) -> str:
    """SHA-256 of what kernels start from: of some coordinates, and of some of the first steps."""
    import hashlib

    digest = hashlib.sha256()
    problem = task.problem
    size = min(problem.dim, COORDINATES)
    none = np.zeros(0, dtype=np.int64)
    for group in task.groups:
        for begin in (0, problem.dim - size):
            end = begin + size
            described = model(group, problem, begin, end, RecordLayout((RISK,), None))
            parts: list[NDArray[Any]] = [
                described.values,
                described.factors,
                described.sigma,
                described.weight,
            ]
            parts += [np.sqrt(problem.var0[begin:end]), problem.mean0[begin:end], starts(group)]
            for array in parts:
                digest.update(np.ascontiguousarray(array).tobytes())
        steps = timeline(group, 0, min(task.steps, STEPS), none, task.drawn)
        for array in (steps.weights, steps.amplitude):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
