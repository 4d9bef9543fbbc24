"""Two coordinates: paths of four methods on one noise stream, and their exact laws."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import SGD, Problem, moments, simulate
from ..foundation.validation import Array

START = 8.0, 2.5
"""The initial iterate of all methods: flat coordinate, and steep coordinate of curvature 1."""
COORDINATES = "flat", "steep"
MOST_FRAMES = 40
"""Paths are seen at so many steps at most, evenly spaced, beside their start."""
DEVIATIONS, INSIDE = 2.0, 86
"""Half axes of ellipses in standard deviations, and the percentage of runs inside of them."""


class Plane(NamedTuple):
    """The setting of the picture."""

    condition: float
    """The larger curvature, which is 1, over the smaller one."""
    sigma: float
    """Standard deviation of each coordinate of a data point."""
    lr: float
    momentum: float
    ema: float
    power: float
    batch_size: float
    steps: int
    replicas: int
    seed: int

    @property
    def problem(self) -> Problem:
        """The two coordinates, the flat one first."""
        return Problem(
            [1 / self.condition, 1.0], sigma=[self.sigma] * 2, mean0=list(START), var0=0.0
        )

    @property
    def methods(self) -> dict[str, SGD]:
        """The methods by name."""
        return {
            "SGD": SGD(self.lr),
            "momentum": SGD(self.lr, momentum=self.momentum),
            "EMA": SGD(self.lr, ema=self.ema),
            "preconditioner": SGD(self.lr, power=self.power),
        }

    @property
    def every(self) -> int:
        """Steps from frame to frame."""
        return -(-self.steps // MOST_FRAMES)

    @property
    def frames(self) -> NDArray[np.int64]:
        """The steps that are frames."""
        return np.arange(0, self.steps + 1, self.every, dtype=np.int64)


class Walks(NamedTuple):
    """Paths and laws of four methods at the frames.

    Attributes
    ----------
    steps : ndarray of int, shape (F,)
        The frames.
    paths : ndarray, shape (4, replicas, F, 2)
        Evaluated iterates of each method, flat and steep coordinate; all saw the same noise.
    mean, deviation : ndarray, shape (4, F, 2)
        Exact mean and standard deviation of them.
    convergence, steady_state : ndarray, shape (4, F, 2)
        The two terms of each coordinate's expected risk.
    """

    steps: NDArray[np.int64]
    paths: Array
    mean: Array
    deviation: Array
    convergence: Array
    steady_state: Array


def walks(plane: Plane) -> Walks:
    """Simulate the paths, and compute their laws."""
    problem, methods, frames = plane.problem, list(plane.methods.values()), plane.frames
    run = simulate(
        problem, methods, plane.batch_size, plane.steps, record=frames, seed=plane.seed,
        replicas=plane.replicas, trajectory=[0, 1], progress=False,
        threads=1,  # there is so little to do that another thread would come too late
    )  # fmt: skip
    assert run.trajectory is not None
    laws = [moments(problem, method, plane.batch_size, frames) for method in methods]
    return Walks(
        frames,
        run.trajectory.evaluated,
        np.stack([law.evaluated_mean for law in laws]),
        np.sqrt([law.evaluated_variance for law in laws]),
        np.stack([law.convergence for law in laws]),
        np.stack([law.steady_state for law in laws]),
    )


def ellipse(center: Array, radii: Array, points: int = 60) -> tuple[Array, Array]:
    """Return the corners of an ellipse along the axes."""
    angle = np.linspace(0.0, 2.0 * np.pi, points)
    return center[0] + radii[0] * np.cos(angle), center[1] + radii[1] * np.sin(angle)


def limits(found: Walks) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return limits of both axes, in which all paths, ellipses and the minimum are."""
    both = []
    for axis in range(2):
        mean, spread = found.mean[..., axis], DEVIATIONS * found.deviation[..., axis]
        parts = [found.paths[..., axis], mean - spread, mean + spread, np.zeros(1)]
        values = np.concatenate([part.ravel() for part in parts])
        values = values[np.isfinite(values) & (np.abs(values) < MOST * max(START))]
        low, high = float(values.min()), float(values.max())
        margin = 0.06 * (high - low or 1.0)
        both.append((low - margin, high + margin))
    return both[0], both[1]


MOST = 4.0
"""Paths that go so many times farther than the start are left out of the picture."""


def rings(problem: Problem, corner: tuple[float, float]) -> Array:
    """Return half axes of ellipses of equal risk about the minimum, up to a corner, (rings, 2)."""
    highest = float(np.sum(problem.h * np.square(corner)))
    levels = highest * np.linspace(0.1, 1.0, 10) ** 2
    found: Array = np.sqrt(levels[:, None] / problem.h)
    return found


def contours(problem: Problem, corner: tuple[float, float]) -> tuple[Array, Array]:
    """Return the same ellipses as a line with gaps."""
    lines = [ellipse(np.zeros(2), radii, 90) for radii in rings(problem, corner)]
    x, y = (np.concatenate([np.append(line[axis], np.nan) for line in lines]) for axis in range(2))
    return x, y
