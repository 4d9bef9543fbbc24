"""The parameters that fit some runs best: nonlinear least squares from several starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..foundation.validation import Array
from ..output.progress import track
from .model import PreparedRun, Sums, predict
from .parameters import ALL, BEGIN, EXTRA, PROBLEM, STARTS
from .responses import EDGE, Axis
from .units import Units, Values, over_limit, shift

LEAST, MOST = 1e-6, 1e6
"""Predicted losses beyond these, in units of the fit, are far off anyway."""
NOISE = 0.01
"""Error of a log loss against which priors are weighed, until a fit has shown its own."""
LEAST_NOISE = 1e-6
STRICT = 20.0
"""Weight of a run's being on the right side of the limit of stability."""
FIRST_CALLS, LAST_CALLS = 9, 80
"""Calls of each start, and of the best of them."""
KEPT = 2
TOLERANCE = 1e-7


@dataclass(frozen=True)
class Layout:
    """The parameters that are free, and those of them that each group of runs has for itself."""

    free: tuple[str, ...]
    """Names in their order."""
    own: frozenset[str] = frozenset()
    """Names of parameters of which every group has one."""
    groups: tuple[str, ...] = ("",)

    @cached_property
    def columns(self) -> list[tuple[str, str | None]]:
        """Name and group of each number that is sought; None where it is shared."""
        return [
            (name, group)
            for name in self.free
            for group in (self.groups if name in self.own else (None,))
        ]

    def known_values(self, x: Array, group: str) -> dict[str, float]:
        """Return those parameters of a group that are free, by name."""
        columns = zip(self.columns, x.tolist(), strict=True)
        return {name: number for (name, of), number in columns if of in (None, group)}

    def values(self, x: Array, group: str) -> dict[str, float]:
        """Return all parameters of a group by name."""
        return dict.fromkeys(ALL, 0.0) | self.known_values(x, group)

    def array(self, values: Mapping[str | None, Values]) -> Array:
        """Return the numbers that are sought as an array, from parameters by group or shared."""
        shared = values[None]
        return np.array([values.get(group, shared).get(name, 0.0) for name, group in self.columns])


@dataclass(frozen=True)
class Task:
    """The runs that are fitted, and how."""

    runs: Sequence[PreparedRun]
    units: Units
    layout: Layout
    loss: str = "log"
    """"log" or "absolute"."""
    is_stable: bool = False
    """Whether runs are below the limit of stability unless they have diverged."""
    noise: float = NOISE
    """Error of a loss, against which priors are weighed."""

    @cached_property
    def targets(self) -> list[Array]:
        """Losses of each run at its finite records, in units of the fit."""
        return [run.run.losses / self.units.loss for run in self.runs]

    def values(self, x: Array, group: str) -> dict[str, float]:
        """Return all parameters of a group by name."""
        return self.layout.values(x, group)

    @property
    def records(self) -> int:
        """How many finite losses there are."""
        return sum(int(np.isfinite(target).sum()) for target in self.targets)


@dataclass(frozen=True)
class Solution:
    """The best point of a search."""

    x: Array
    cost: float
    residuals: Array
    jacobian: Array


def _run_rows(
    task: Task, k: int, values: Values, known: dict[tuple[int, float, Axis], Sums]
) -> tuple[Array, dict[str, Array]]:
    """Compute the residuals of a run, and their derivatives by name."""
    prepared, target = task.runs[k], task.targets[k]
    finite = np.isfinite(target)
    if not finite.any():
        return np.zeros(0), {name: np.zeros(0) for name in ALL}
    found = predict(values, prepared, task.units, free=task.layout.free, known=known)
    loss = found.loss[finite] / task.units.loss
    inside = (loss < MOST) & (loss > LEAST)
    loss = np.clip(loss, LEAST, MOST)
    weight = np.sqrt(prepared.run.weight)
    is_log = task.loss == "log"
    rows = (np.log(loss / target[finite]) if is_log else loss - target[finite]) * weight
    factor = np.where(inside, weight / (loss if is_log else 1.0), 0.0) / task.units.loss
    return rows, {name: found.slopes[name][finite] * factor for name in task.layout.free}


def _stability_row(task: Task, k: int, values: Values) -> tuple[float, dict[str, float]]:
    """Compute how far a run is on the wrong side of the limit, or off its measured sharpness."""
    run, at = task.runs[k].run, task.runs[k].place(task.units)
    over = over_limit(values, run, at)
    if over is None:
        return 0.0, {}
    slopes = {"scale": 1.0, "lr_power": at.lr, "batch_power": at.batch, "dim_power": at.dim}
    if run.sharpness is not None:
        off = shift(values, at) - np.log(run.sharpness * run.peak_lr)
        return STRICT * task.noise * off, {n: STRICT * task.noise * s for n, s in slopes.items()}
    beyond = over + math.log(2.0 / EDGE)
    is_wrong = beyond < 0.0 if run.has_diverged else beyond > 0.0
    if not task.is_stable or not is_wrong:
        return 0.0, {}
    return STRICT * task.noise * beyond, {n: STRICT * task.noise * s for n, s in slopes.items()}


def residuals(task: Task, x: Array) -> tuple[Array, Array]:
    """Compute all residuals and their Jacobian: of losses, of stability, and of priors."""
    columns = task.layout.columns
    rows: list[Array] = []
    jacobian: list[Array] = []
    hinges = np.zeros(len(task.runs))
    hinge_slopes = np.zeros((len(task.runs), len(columns)))
    known: dict[str, dict[tuple[int, float, Axis], Sums]] = {}
    for k, prepared in enumerate(task.runs):
        group = prepared.run.group
        values = task.values(x, group)
        row, slopes = _run_rows(task, k, values, known.setdefault(group, {}))
        rows.append(row)
        zero = np.zeros(row.size)
        own = [slopes[name] if of in (None, group) else zero for name, of in columns]
        jacobian.append(np.array(own).T)
        hinges[k], by_name = _stability_row(task, k, values)
        for column, (name, of) in enumerate(columns):
            if of in (None, group):
                hinge_slopes[k, column] = by_name.get(name, 0.0)
    prior = np.array([task.noise / ALL[name].width for name, _ in columns])
    rows += [hinges, prior * x]
    jacobian += [hinge_slopes, np.diag(prior)]
    return np.concatenate(rows), np.concatenate(jacobian)


def limits(task: Task) -> tuple[Array, Array]:
    """Return the lowest and the highest value of each number that is sought."""
    low = np.array([ALL[name].low for name, _ in task.layout.columns])
    high = np.array([ALL[name].high for name, _ in task.layout.columns])
    lowest = min(float(t[np.isfinite(t)].min()) for t in task.targets if np.isfinite(t).any())
    for column, (name, _) in enumerate(task.layout.columns):
        if name == "irreducible":
            high[column] = min(high[column], np.log(0.999 * lowest))
    return low, high


def search(task: Task, start: Array, calls: int, factors: Array | None = None) -> Solution:
    """Search from a start.

    Parameters
    ----------
    task : Task
    start : ndarray
    calls : int
        Evaluations of all residuals, at most.
    factors : ndarray, optional
        By which each residual is multiplied.
    """
    from scipy.optimize import least_squares

    low, high = limits(task)
    margin = 1e-6 * (high - low)
    latest: tuple[bytes, tuple[Array, Array]] | None = None

    def both(x: Array) -> tuple[Array, Array]:
        nonlocal latest
        key = x.tobytes()
        if latest is None or latest[0] != key:
            rows, slopes = residuals(task, x)
            if factors is not None:
                rows, slopes = factors * rows, factors[:, None] * slopes
            latest = key, (rows, slopes)
        return latest[1]

    def rows_of(x: Array) -> Array:
        return both(x)[0]

    def slopes_of(x: Array) -> Array:
        return both(x)[1]

    found: Any = least_squares(
        rows_of,
        np.clip(start, low + margin, high - margin),
        slopes_of,
        bounds=(low, high),
        x_scale=0.3,
        max_nfev=calls,
        ftol=TOLERANCE,
        xtol=TOLERANCE,
        gtol=TOLERANCE,
    )
    return Solution(found.x, float(found.cost), found.fun, found.jac)


def solve(task: Task, starts: Sequence[Array], *, kept: int = KEPT) -> Solution:
    """Search from several starts, and go on from the best; with ``kept=0`` go on at once."""
    if not kept:
        return min((search(task, x, LAST_CALLS) for x in starts), key=lambda found: found.cost)
    begun = [search(task, start, FIRST_CALLS) for start in track(starts, len(starts), "fit")]
    begun.sort(key=lambda found: found.cost)
    done = [search(task, found.x, LAST_CALLS) for found in begun[:kept]]
    return min(done, key=lambda found: found.cost)


def settled(task: Task, begin: Sequence[Array], *, kept: int = KEPT) -> tuple[Task, Solution]:
    """Search, weigh priors against the errors that are left, and search on from there."""
    found = solve(task, begin, kept=kept)
    records = task.records
    left = float(np.sqrt(np.mean(found.residuals[:records] ** 2)))
    task = replace(task, noise=max(left, LEAST_NOISE))
    return task, solve(task, [found.x], kept=0)


def starts(task: Task, given: Values | None = None) -> list[Array]:
    """List where searches begin: around what the losses suggest, or at what is given alone."""
    if given is not None:
        return [task.layout.array({None: BEGIN | dict(given)})]
    finite = np.concatenate([t[np.isfinite(t)] for t in task.targets])
    irreducible = float(np.log(0.75 * finite.min()))
    begin = []
    for start in STARTS:
        # All initial risks together are as high as the highest loss.
        strength = np.log(2.0 * (start["start_exponent"] - 1.0))
        values = BEGIN | start
        values |= {"start": float(strength), "irreducible": irreducible}
        begin.append(task.layout.array({None: values}))
    return begin


def base_layout(groups: Sequence[str], own: frozenset[str], extra: Sequence[str] = ()) -> Layout:
    """Make the layout of the parameters that every fit has and some more."""
    free = (*PROBLEM, *(name for name in EXTRA if name in extra))
    return Layout(free, own, tuple(sorted(set(groups))) if own else ("",))
