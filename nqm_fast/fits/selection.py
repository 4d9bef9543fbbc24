"""The choice of extra parameters of a fit: those that predict larger runs of its rows better.

Runs are left out, the largest ones rather than random ones, as predictions are for larger runs
than any that was fitted. Of few runs each is left out in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..foundation.validation import Array
from .model import PreparedRun, predict
from .parameters import BEGIN
from .solver import Layout, Solution, Task, base_layout, settled, solve, starts
from .units import Values

SHARES = (0.25, 0.5)
"""Shares of the runs, the largest ones, that are left out."""
FEW = 8
"""Fewer runs of a group than these are left out one by one."""
GAIN = 0.95
"""An extra parameter must lower the error of the runs left out at least to this share."""
THINNED = 6
"""Every so many starts are tried for a choice that has a parent's solution."""
SMALL = 2e-4
"""A log error that is not worth a further parameter."""


class Split(NamedTuple):
    """Runs that are fitted, and those that are left out, by their places."""

    fitted: tuple[int, ...]
    left_out: tuple[int, ...]


def splits(task: Task) -> list[Split]:
    """List the ways in which runs are left out; every group keeps a run."""
    runs = [prepared.run for prepared in task.runs]
    usable = [k for k, t in enumerate(task.targets) if np.isfinite(t).any()]
    by_group: dict[str, list[int]] = {}
    for k in sorted(usable, key=lambda k: runs[k].work):
        by_group.setdefault(runs[k].group, []).append(k)
    most = max(map(len, by_group.values()), default=0)
    if most < FEW:
        # Of each group one run is left out at a time.
        parts = [{ks[n] for ks in by_group.values() if n < len(ks) > 2} for n in range(most)]
    else:
        parts = [
            {k for ks in by_group.values() for k in ks[len(ks) - round(share * len(ks)) :]}
            for share in SHARES
        ]
    found = []
    for part in parts:
        kept = {runs[k].group for k in usable if k not in part}
        left_out = tuple(sorted(k for k in part if runs[k].group in kept))
        fitted = tuple(k for k in range(len(runs)) if k not in part)
        if left_out and sum(task.targets[k].size for k in fitted) > len(task.layout.columns):
            found.append(Split(fitted, left_out))
    return found


def part_of(task: Task, places: Sequence[int]) -> Task:
    """Return the task with some of its runs."""
    return replace(task, runs=[task.runs[k] for k in places])


def log_errors(task: Task, x: Array) -> Array:
    """Log of predicted over measured losses of all finite records, run after run."""
    errors = [
        np.log(
            predict(
                task.values(x, prepared.run.group), prepared, task.units, free=task.layout.free
            ).loss
        )
        - np.log(prepared.run.losses)
        for prepared in task.runs
    ]
    all_errors: Array = np.concatenate(errors)
    return all_errors[np.isfinite(all_errors)]


class Candidate(NamedTuple):
    """A choice of extra parameters, fitted to each split."""

    extra: tuple[str, ...]
    error: float
    """Root of the mean square of the log errors of the runs left out."""
    of_splits: tuple[float, ...]
    """The same for each way of leaving runs out."""
    solutions: tuple[Solution, ...]
    noises: tuple[float, ...]
    """Errors that the fits of the splits have left."""
    burn_in: int = 0
    """Records of curves at fewer steps were not fitted."""


class Selection(NamedTuple):
    """The parameters that were chosen, and all that were tried."""

    extra: tuple[str, ...]
    tried: tuple[Candidate, ...]
    burn_in: int = 0

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that was chosen, if runs could be left out."""
        wanted = self.extra, self.burn_in
        return next((one for one in self.tried if (one.extra, one.burn_in) == wanted), None)


def select(
    task: Task,
    candidates: Sequence[str],
    always: Sequence[str] = (),
    usual: Sequence[str] = (),
    start: Values | None = None,
) -> Selection:
    """Admit extra parameters one by one, the best first, as long as each helps enough.

    Parameters
    ----------
    task : Task
        Its layout's extra parameters are not looked at.
    candidates : sequence of str
    always : sequence of str
        Extra parameters that the fit has anyway.
    usual : sequence of str
        Candidates that it has unless runs left out are predicted better without them.
    start : mapping, optional
        Where the first searches start, in the place of many starts.
    """
    ways = splits(task)
    if not ways:
        return Selection(tuple(always), ())
    best = _tried(task, ways, tuple(always), None, start)
    tried = [best]
    if usual and best.error > SMALL:
        tried.append(_tried(task, ways, (*always, *usual), best))
        if not best.error < GAIN * tried[-1].error:
            best = tried[-1]
    while best.error > SMALL:
        known = {one.extra for one in tried}
        more = [
            _tried(task, ways, (*best.extra, name), best)
            for name in candidates
            if name not in best.extra and (*best.extra, name) not in known
        ]
        tried += more
        next_best = min(more, key=lambda found: found.error, default=best)
        if not next_best.error < GAIN * best.error:
            break
        best = next_best
    return Selection(best.extra, tuple(tried))


def with_later_records(task: Task, steps: int, selection: Selection) -> tuple[Task, Selection]:
    """Leave out the first records of curves if runs left out are then predicted better.

    Right after a warm-up the curvature of a network is not what it is later. All records of the
    runs left out are compared.

    Parameters
    ----------
    task : Task
        With the extra parameters of the selection.
    steps : int
        Records at fewer steps may be left out.
    selection : Selection

    Returns
    -------
    task, selection
        Those given, or with one more candidate, and without these records if that is better.
    """
    runs = [prepared.run.after(steps) for prepared in task.runs]
    best = selection.chosen
    is_cut = any(run is not old.run for run, old in zip(runs, task.runs, strict=True))
    if best is None or best.error <= SMALL or not is_cut:
        return task, selection
    cut = replace(task, runs=[PreparedRun(run) for run in runs])
    found = _tried(task, splits(task), selection.extra, best, cut=cut)
    found = found._replace(burn_in=steps)
    selection = selection._replace(tried=(*selection.tried, found))
    if found.error < GAIN * best.error:
        return cut, selection._replace(burn_in=steps)
    return task, selection


def with_extra(task: Task, extra: Sequence[str]) -> Task:
    """Return the task with other extra parameters."""
    layout = task.layout
    return replace(task, layout=base_layout(layout.groups, layout.own, extra))


def _tried(
    task: Task,
    ways: Sequence[Split],
    extra: tuple[str, ...],
    parent: Candidate | None,
    start: Values | None = None,
    cut: Task | None = None,
) -> Candidate:
    """Fit a choice of extra parameters to each split, from its parent's solutions if it has one.

    With `cut` its records are fitted, and those of the task are compared.
    """
    with_these = with_extra(task, extra)
    fitted = with_these if cut is None else with_extra(cut, extra)
    solutions, errors, noises = [], [], []
    for number, way in enumerate(ways):
        part = part_of(fitted, way.fitted)
        if parent is None:
            part, found = settled(part, starts(part, start))
        else:
            old = with_extra(task, parent.extra).layout
            part = replace(part, noise=parent.noises[number])
            begin = moved(parent.solutions[number].x, old, part.layout)
            found = solve(part, [begin, *starts(part)[::THINNED]], kept=1)
        solutions.append(found)
        noises.append(part.noise)
        rest = part_of(with_these, way.left_out)
        errors.append(float(np.sqrt(np.mean(np.minimum(log_errors(rest, found.x) ** 2, 1.0)))))
    error = float(np.sqrt(np.mean(np.square(errors))))
    return Candidate(extra, error, tuple(errors), tuple(solutions), tuple(noises))


def moved(x: Array, old: Layout, new: Layout) -> Array:
    """Return a point of one layout in another one, where parameters that are new are begun."""
    values: dict[str | None, Values] = {g: BEGIN | old.known_values(x, g) for g in new.groups}
    values[None] = BEGIN | old.known_values(x, old.groups[0])
    return new.array(values)
