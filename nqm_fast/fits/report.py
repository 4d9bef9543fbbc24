"""A fit as text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..validation import counted
from .parameters import ALL

WORST = 5
"""Runs that are shown as fitting worst."""


def report(fitted: Any) -> str:
    """Write what was fitted, how well, and what is identified."""
    table = fitted.residuals()
    finite = np.isfinite(table["residual"])
    runs = len(set(table["run"].tolist()))
    lines = [
        f"{counted(runs, 'run')}, {counted(int(finite.sum()), 'record')}",
        f"error of the fit: {100.0 * fitted.error:.3g} % (root mean square of log losses)",
    ]
    if not math.isnan(fitted.left_out_error):
        lines.append(f"error of the largest runs, left out: {100.0 * fitted.left_out_error:.3g} %")
    lines += ["", f"{'parameter':28}{'value':>12}{'error':>10}  meaning"]
    for label, found in fitted.parameters.items():
        meaning = ALL[label.partition("[")[0]].meaning.removeprefix("log of ")
        badly = "" if found.is_identified else " (not identified)"
        lines.append(f"{label:28}{found.value:12.5g}{found.error:10.2g}  {meaning}{badly}")
    if fitted.tried:
        lines += ["", "errors of runs left out, by extra parameters:"]
        for one in fitted.tried:
            names = ", ".join(one["extra"]) or "none"
            lines.append(f"  {100.0 * one['error']:8.3f} %  {names}")
    lines += ["", "runs that fit worst:"]
    lines += _worst(fitted)
    return "\n".join(lines)


def _worst(fitted: Any) -> list[str]:
    """Describe the runs with the largest errors."""
    table = fitted.residuals()
    finite = np.isfinite(table["residual"])
    squares = {}
    for run in dict.fromkeys(table["run"][finite].tolist()):
        here = finite & (table["run"] == run)
        squares[run] = math.sqrt(float(np.mean(table["residual"][here] ** 2)))
    worst = sorted(squares, key=lambda run: -squares[run])[:WORST]
    lines = []
    for run in worst:
        first = int(np.flatnonzero(table["run"] == run)[0])
        name = table["name"][first] or f"run {int(run)}"
        lines.append(
            f"  {100.0 * squares[run]:6.2f} %  {name}: batch size "
            f"{table['batch_size'][first]:g}, lr {table['lr'][first]:g}"
        )
    return lines
