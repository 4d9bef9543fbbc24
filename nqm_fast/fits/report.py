"""A fit as text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..foundation.validation import counted
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
        meaning = ALL[label.partition("[")[0]].meaning
        for prefix in ("log of 1 + ", "log of "):
            meaning = meaning.removeprefix(prefix)
        badly = "" if found.is_identified else " (not identified)"
        lines.append(f"{label:28}{found.value:12.5g}{found.error:10.2g}  {meaning}{badly}")
    lines.append("(the error is that of the logarithm for all but exponents and powers)")
    if fitted.tried:
        lines += ["", "errors of runs left out, by extra parameters:"]
        for one in fitted.tried:
            names = ", ".join(one["extra"]) or "none"
            if one.get("burn_in"):
                names += f" (without records before step {one['burn_in']})"
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
        rows = np.flatnonzero(table["run"] == run)
        last = int(rows[np.argmax(table["steps"][rows])])
        name = table["name"][last] or f"run {int(run)}"
        dim = table["dim"][last]
        lr = table["lr"][last]
        rate = "tuned" if math.isnan(lr) else f"{lr:g}"
        size = "" if math.isnan(dim) else f", {dim:g} parameters"
        lines.append(
            f"  {100.0 * squares[run]:6.2f} %  {name}: {table['steps'][last]:g} steps, batch size "
            f"{table['batch_size'][last]:g}, lr {rate}{size}"
        )
    return lines
