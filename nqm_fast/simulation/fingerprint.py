"""A fingerprint that tells whether another machine computes the same numbers.

Kernels spell out every operation, but not those that lead to their arguments: powers of curvatures,
cosines of schedules and the like come from a library of mathematics, and libraries differ in the
last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels import noise
from .experiment import Experiment
from .lowering import group_settings, timeline
from .models import initial_factors, model
from .observables import RISK, RecordLayout

COORDINATES = 4096  # that are hashed, at either end of the problem
STEPS = 4096  # that are hashed, at the beginning of the run


def fingerprint(experiment: Experiment) -> str:
    """SHA-256 of the arguments of kernels, for some of the coordinates and of the steps."""
    import hashlib

    digest = hashlib.sha256()
    problem = experiment.problem
    size = min(problem.dim, COORDINATES)
    no_records = np.zeros(0, dtype=np.int64)
    leaps, per_sample = (experiment.sampling == name for name in ("leap", "per-sample"))
    scale = noise.LAWS[experiment.data].scale(experiment.df) if per_sample else None
    for group in group_settings(experiment.settings, experiment.steps, leaps):
        for begin in (0, problem.dim - size):
            end = begin + size
            described = model(group, problem, begin, end, RecordLayout((RISK,), None))
            parts: list[NDArray[Any]] = [
                described.values,
                described.factors,
                described.sigma,
                described.weight,
            ]
            deviation, mean = np.sqrt(problem.var0[begin:end]), problem.mean0[begin:end]
            for array in (*parts, deviation, mean, initial_factors(group)):
                digest.update(np.ascontiguousarray(array).tobytes())
        steps = timeline(group, 0, min(experiment.steps, STEPS), no_records, scale)
        for array in (steps.weights, steps.amplitude):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
