"""Fits to the same runs with other weights, which say how far a fit may be off."""

from __future__ import annotations

import math

import numpy as np

from ..foundation.validation import Array
from ..output.progress import track
from .solver import Solution, Task, search

CALLS = 12
"""Evaluations of each repetition, which starts from the fit."""
SEED = 22


def blocks(task: Task) -> list[slice]:
    """List the rows of residuals that err together.

    They are whole runs, or parts of curves where runs are few: of a curve of n records the square
    root of n neighbouring ones.
    """
    sizes = [int(np.isfinite(target).sum()) for target in task.targets]
    has_many = len(sizes) > 2 * len(task.layout.columns)
    found, row = [], 0
    for size in sizes:
        length = max(size if has_many else round(math.sqrt(size)), 1)
        begins = range(row, row + size, length)
        found += [slice(begin, min(begin + length, row + size)) for begin in begins]
        row += size
    return found


def bootstrap(task: Task, found: Solution, repetitions: int, seed: int) -> Array:
    """Fit again with random weights of blocks, shape (repetitions, columns).

    Weights are exponential variates (the Bayesian bootstrap), so that no repetition is without too
    many of the runs to be fitted at all.
    """
    parts = blocks(task)
    draws = np.random.default_rng((SEED, seed))
    fits = []
    for _ in track(range(repetitions), repetitions, "bootstrap"):
        weights = draws.standard_exponential(len(parts))
        factors = np.ones(found.residuals.size)
        for part, weight in zip(parts, weights * (len(parts) / weights.sum()), strict=True):
            factors[part] = math.sqrt(weight)
        fits.append(search(task, found.x, CALLS, factors).x)
    return np.array(fits).reshape(repetitions, found.x.size)
