"""The critical batch size of every optimiser: the knee of steps against batch size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ..output.columns import Table, rows_where

NEEDED_COLUMNS = {"optimiser", "power", "target", "batch_size", "steps"}


class CriticalBatch(NamedTuple):
    """Where the two asymptotes of steps against batch size meet.

    Attributes
    ----------
    optimiser : str
    power : float
        Exponent of the preconditioner.
    target : float
        Excess risk.
    samples : float
        Batch size times steps at the smallest batch size.
    steps : float
        Steps at the largest batch size.
    batch_size : float
        Samples divided by steps.
    """

    optimiser: str
    power: float
    target: float
    samples: float
    steps: float
    batch_size: float


def critical_batch_sizes(tables: Iterable[Table]) -> list[CriticalBatch]:
    """Find it for each optimiser, power and target, in the order of their first appearance."""
    rows: dict[tuple[str, float, float], CriticalBatch] = {}
    for table in tables:
        if table.keys() >= NEEDED_COLUMNS:
            keys = zip(*(table[n].tolist() for n in ("optimiser", "power", "target")), strict=True)
            for optimiser, power, target in dict.fromkeys(keys):
                part = rows_where(table, optimiser=optimiser, power=power, target=target)
                samples, steps = asymptotes(part)
                key = (optimiser, power, target)
                if key in rows and rows[key].steps <= steps:
                    continue  # An earlier table goes to larger batches.
                rows[key] = CriticalBatch(*key, samples, steps, samples / steps)
    return list(rows.values())


def asymptotes(rows: Table) -> tuple[float, float]:
    """Return the samples used at the smallest batch size, and the steps taken at the largest."""
    small, large = np.argmin(rows["batch_size"]), np.argmax(rows["batch_size"])
    return float(rows["batch_size"][small] * rows["steps"][small]), float(rows["steps"][large])
