"""The space of hyper-parameters that tuning searches, and the risk of many points at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..algorithms.base import LinearAlgorithm
from ..algorithms.sparse import checked_recurrence, folded, sparse_recurrence, term_weights
from ..parallel import in_threads
from ..problem import Block, Problem
from ..schedules import Constant, Schedule
from ..validation import Array
from .risk import block_risk, constant_partials
from .timeline import weighted_segments, with_records

LOG_GAP = math.log(1e-7)  # momentum and EMA are searched up to 1 - 1e-7
DECADES = 9  # of the effective learning rate, below the largest
NOTHING = 1e-15  # stands for momentum 0, so that all settings have the same components
STACK = 1 << 16  # coordinates worked on at a time


class SearchSpace:
    """Hyper-parameters of one kind of algorithm, as points of a box, on a (small) spectrum.

    A point holds, for each hyper-parameter that is searched, the log of the effective
    learning rate ``lr * gain`` or the log of 1 minus the value. With constant settings
    many points are computed at once, each on its own copy of the spectrum.
    """

    def __init__(
        self,
        kind: type[LinearAlgorithm],
        over: Sequence[str],
        fixed: dict[str, Any],
        batch_size: Schedule,
        spectrum: Problem,
    ) -> None:
        self.kind, self.over, self.fixed, self.batch_size = kind, list(over), fixed, batch_size
        self.template = kind(**{"lr": 1.0} | {n: 0.5 for n in over if n != "lr"} | fixed)
        self.is_rate = np.array([kind.tunable[name] == "positive" for name in over])
        block = spectrum.block(0, spectrum.dim)
        self.largest_lr = self.template.largest_lr(block.h)
        recurrence = checked_recurrence(self.template, block.h)
        self.terms = len(recurrence.terms)
        backend = kernels.fastest_backend()
        tile = (backend.closed_form if len(recurrence.read) == 1 else backend.moments).TILE
        self.block = _padded(block, tile)
        self.dim = spectrum.dim
        self.stackable = not kind.depends_on_step and all(
            isinstance(schedule, Constant) for schedule in (self.template.lr, batch_size)
        )

    def hyper(self, points: Array) -> dict[str, Any]:
        """Hyper-parameters at points of shape (G, searched): arrays of shape (G,)."""
        columns = dict(zip(self.over, points.T, strict=True))
        found: dict[str, Any] = {
            name: -np.expm1(np.minimum(x, -NOTHING))
            for name, x in columns.items()
            if self.kind.tunable[name] == "unit"
        }
        if "lr" in columns:
            found["lr"] = np.exp(columns["lr"]) / self.kind.gain(self.fixed | found)
        return found

    def algorithm(self, point: Sequence[float]) -> LinearAlgorithm:
        """The setting at one point."""
        hyper = self.hyper(np.array([point]))
        chosen = {name: 0.0 if x[0] <= NOTHING else float(x[0]) for name, x in hyper.items()}
        return self.kind(**chosen, **self.fixed)

    def log_risks(self, points: Array, steps: NDArray[np.int64]) -> Array:
        """Log of the risk at points of shape (G, searched) and ascending steps: (G, steps)."""
        with np.errstate(over="ignore", divide="ignore"):
            if not self.stackable:
                risks = np.array([self._risk(point, steps) for point in points])
            else:
                part = max(STACK // self.block.h.size, 1)
                parts = in_threads(
                    lambda i: self._stacked(points[i : i + part], steps),
                    range(0, len(points), part),
                    "settings",
                )
                risks = np.concatenate(parts)
            logs: Array = np.log(risks)
        return logs

    def _risk(self, point: Array, steps: NDArray[np.int64]) -> Array:
        algorithm = self.algorithm(point.tolist())
        timeline = weighted_segments(algorithm, self.batch_size, max(int(steps[-1]), 1))
        return block_risk(self.block, algorithm, with_records(timeline, steps))

    def _stacked(self, points: Array, steps: NDArray[np.int64]) -> Array:
        count, size = len(points), self.block.h.size
        hyper = self.hyper(points)
        lr = hyper.pop("lr", np.full(count, self.template.lr.least))
        weights = term_weights(self.template, self.terms, lr, np.zeros(count, dtype=np.int64))
        if count == 1:
            one = self.template.with_values(**{name: float(x[0]) for name, x in hyper.items()})
            block, recurrence = self.block, one.recurrence(self.block.h)
        else:
            repeated = {name: np.repeat(x, size) for name, x in hyper.items()}
            block = Block(*(np.tile(x, count) for x in self.block))
            whole = self.template.with_values(**repeated).recurrence(block.h)
            recurrence = folded(whole, np.repeat(weights, size, axis=0).T)
            weights = np.ones((1, 1))
        sparse = sparse_recurrence(recurrence, block.h.size)
        inverse_batch = 1.0 / self.batch_size.least
        partial = constant_partials(block, sparse, weights[0], inverse_batch, steps)
        risks: Array = partial.reshape(steps.size, count, -1).sum(axis=2).T
        return risks

    def bounds(self) -> Array:
        """Limits of the box, shape (searched, 2)."""
        highest = math.log(self.largest_lr)
        most = highest - LOG_GAP  # where the gain is as large as it can be
        return np.array(
            [(highest - 100.0, most) if is_rate else (LOG_GAP, 0.0) for is_rate in self.is_rate]
        )

    def grid(self) -> Array:
        """A coarse grid over all that can be of use, shape (points, searched)."""
        few = len(self.over) < 3
        gaps = np.linspace(0.0, LOG_GAP, 16 if few else 9)
        highest = math.log(self.largest_lr)
        spacing = math.log(2.0) * (1.0 if few else 1.5)
        rates = np.arange(highest - DECADES * math.log(10.0), highest - LOG_GAP, spacing)
        axes = [rates if is_rate else gaps for is_rate in self.is_rate]
        points = np.array(list(itertools.product(*axes)))
        if "lr" in self.over:
            points = points[self.hyper(points)["lr"] < self.largest_lr]
        return points


def _padded(block: Block, tile: int) -> Block:
    """Fill the last tile with coordinates that have no part in the risk."""
    size = block.h.size
    missing = -size % tile
    without_weight = {1, 2}

    def pad(k: int, field: Array) -> Array:
        full = np.broadcast_to(field, (size,))
        return np.append(full, np.full(missing, 0.0 if k in without_weight else field[-1]))

    return Block(*(pad(k, field) for k, field in enumerate(block)))
