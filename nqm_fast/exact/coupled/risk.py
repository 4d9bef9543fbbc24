"""Expected risk and first passage, where the noise of each coordinate depends on all others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ...algorithms.base import LinearAlgorithm
from ...certified_sums import AGREEMENT, COARSE, FINE, Sums
from ...foundation.validation import Array
from ...problem import Problem
from ...schedules import Schedule
from .curve import Curve
from .maps import CoupledBlock
from .nodes import CoupledNodes
from .panels import POINTS, Panel

AdditiveSums = Callable[[NDArray[np.int64]], Sums]
CHECKED_STEPS = 48
"""Steps, evenly spread in their logarithm, at which nodes are certified beside those asked for."""
DIP = 0.2
"""How far a polynomial may go below its values at 65 points, relative to their range, and more."""


def coupled_risk(
    problem: Problem,
    algorithm: LinearAlgorithm,
    batch_size: Schedule,
    steps: NDArray[np.int64],
    sums: AdditiveSums,
) -> Array:
    """Compute the risk at ascending steps, certified by sums over fewer nodes.

    `sums` makes the risk at some steps under noise that is the same everywhere, by which nodes are
    chosen where few are not enough.
    """

    def curve(block: CoupledBlock) -> Array:
        assert problem.noise_model is not None
        return Curve(block, algorithm, batch_size, problem.noise_model).at(steps)

    return _certified(problem, steps, sums, curve)[1]


def certified_block(
    problem: Problem,
    algorithm: LinearAlgorithm,
    batch_size: Schedule,
    steps: int,
    sums: AdditiveSums,
) -> CoupledBlock:
    """Return nodes that stand for all coordinates at steps up to a number."""
    checked = _checked(steps)

    def curve(block: CoupledBlock) -> Array:
        assert problem.noise_model is not None
        return Curve(block, algorithm, batch_size, problem.noise_model).at(checked)

    return _certified(problem, checked, sums, curve)[0]


def _checked(steps: int) -> NDArray[np.int64]:
    """Return steps up to a number, evenly spread in their logarithm."""
    spread = np.geomspace(1.0, max(steps, 1), CHECKED_STEPS).astype(np.int64)
    return np.unique(np.minimum(spread, max(steps, 0)))


def _certified(
    problem: Problem,
    steps: NDArray[np.int64],
    sums: AdditiveSums,
    curve: Callable[[CoupledBlock], Array],
) -> tuple[CoupledBlock, Array]:
    """Return nodes on which a curve is the same as on half as many, and the curve."""
    nodes = CoupledNodes(problem)
    if nodes.parts:
        block = nodes.joined(FINE)
        if block.h.size >= problem.dim:
            block = nodes.every()
            return block, curve(block)
        fine = curve(block)
        if _agree(fine, curve(nodes.joined(COARSE, rough=True))):
            return block, fine
        chosen = nodes.refined(sums(np.union1d(steps, _checked(int(steps[-1])))))
        if chosen:
            block = nodes.block(chosen)
            fine = curve(block)
            if _agree(fine, curve(nodes.block(chosen, rough=True))):
                return block, fine
    block = nodes.every()
    return block, curve(block)


def _agree(fine: Array, coarse: Array) -> bool:
    """Whether curves are the same, or beyond the range of a double."""
    with np.errstate(invalid="ignore"):
        is_close = np.abs(fine - coarse) <= AGREEMENT * np.abs(fine) + 1e-290
    return bool(np.all(is_close | ~(np.isfinite(fine) | np.isfinite(coarse))))


# -- first passage -----------------------------------------------------------------------


def coupled_passage(
    problem: Problem,
    algorithm: LinearAlgorithm,
    batch_size: Schedule,
    target: float,
    limit: int,
    sums: AdditiveSums,
) -> int | float:
    """Find the first step up to `limit` at which the risk is at most a target, inf if none is."""
    noise = problem.noise_model
    assert noise is not None
    nodes = CoupledNodes(problem)
    block = nodes.joined(FINE) if nodes.parts else nodes.every()
    while True:
        curve = Curve(block, algorithm, batch_size, noise)
        found = first_passage(curve.panels(limit), target, limit)
        if block.h.size >= problem.dim or not nodes.parts:
            return found
        last = limit if found == math.inf else int(found)
        if math.isinf(found):
            # Steps after which the risk does not change are not looked at.
            last = min(limit, _settled(curve.panels(limit), limit))
        finer = certified_block(problem, algorithm, batch_size, last, sums)
        if finer.h.size <= block.h.size:
            return found
        block = finer


def _settled(panels: Iterator[Panel], limit: int) -> int:
    """Return a step from which on the risk stays as it is."""
    for panel in panels:
        if panel.level > 0 and np.ptp(panel.risk) <= 1e-12 * abs(panel.risk[0]):
            return panel.last
    return limit


def first_passage(panels: Iterator[Panel], target: float, limit: int) -> int | float:
    """Find the first step of panels at which the risk is at most a target, inf if none is."""
    for panel in panels:
        found = _passage_in(panel, target)
        if found is not None:
            return found if found <= limit else math.inf
    return math.inf


def continuous_passage(
    curve: Curve, log_target: float, limit: int, hopeless: float
) -> tuple[float, float]:
    """Find the first passage of a curve as a continuous function of what the curve depends on.

    Returns steps and 0, or the limit and the log of risk / target there if it is not reached, inf
    where the risk exceeds that of the start by a hopeless factor.
    """
    target, most = math.exp(log_target), hopeless * curve.start
    last = math.inf
    for panel in curve.panels(limit):
        found = _passage_in(panel, target)
        if found is not None and found <= limit:
            if found == panel.first:
                return float(found), 0.0
            with np.errstate(divide="ignore"):
                before, after = np.log(panel.at(np.array([found - 1, found]))) - log_target
            share = float(before / (before - after)) if before > after else 1.0
            return found - 1.0 + share, 0.0
        if not panel.risk[-1] <= most:
            return float(limit), math.inf
        last = float(panel.at(np.array([min(limit, panel.last)]))[0])
    return float(limit), math.log(last) - log_target if last > 0.0 else -math.inf


def _passage_in(panel: Panel, target: float) -> int | None:
    """Find the first step of a panel at which the risk is at most a target."""
    risk = panel.risk
    if panel.level == 0:
        reached = np.flatnonzero(risk <= target)
        return panel.first + int(reached[0]) if reached.size else None
    if not np.isfinite(risk).all() or risk.min() - DIP * np.ptp(risk) > target:
        return None
    # The polynomial crosses the target near its roots, and between two of them it does not.
    series = np.polynomial.Chebyshev.fit(
        POINTS.astype(float), risk[POINTS] / target - 1.0, POINTS.size - 1, domain=[0.0, 64.0]
    )
    roots = series.roots()
    real = roots.real[(np.abs(roots.imag) < 1e-6 * 64.0) & (roots.real > -1) & (roots.real < 65)]
    near = panel.first + real * (1 << panel.level)
    whole = chain(*((math.floor(x) + k for k in (-2, -1, 0, 1, 2, 3)) for x in near.tolist()))
    steps = np.array(sorted({panel.first, *whole, panel.last}), dtype=np.int64)
    steps = steps[(steps >= panel.first) & (steps <= panel.last)]
    reached = np.flatnonzero(panel.at(steps) <= target)
    return int(steps[reached[0]]) if reached.size else None
