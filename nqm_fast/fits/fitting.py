"""The fit of the model to training runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..foundation.arithmetic import in_usual_arithmetic
from ..foundation.validation import Array, InputError, choice, integer, shown
from ..output.columns import Table
from .bootstrap import bootstrap as resampled
from .checks import check_runs
from .fitted import Fitted
from .model import PreparedRun, predict
from .parameters import ALL, BEGIN, EXTRA, PROBLEM
from .selection import Selection, select, with_extra, with_later_records
from .solver import Solution, Task, base_layout, settled, starts
from .training_run import TrainingRun, as_runs
from .units import Units, highest_lr

COLUMNS = ("run", "name", "group", "steps", "batch_size", "lr", "dim", "loss", "predicted")
FEWEST_COMPARED = 3
"""Runs of which one can be left out to compare what the fits of the others should have: of two with
schedules of different shapes one says nothing of what the other needs."""
MODELS = ("power-law",)
LOSSES = ("log", "absolute")
SHAPE, DIFFERENT = 64, 0.1
"""Places at which shapes of schedules are compared, and by how much they differ in the mean."""
BURN_IN = 8
"""The share of the most steps before which records may be left out is one over this."""
JITTER = 0.1
"""Standard deviation by which a seed moves the starts."""


@in_usual_arithmetic
def fit(
    runs: TrainingRun | Sequence[TrainingRun],
    *,
    model: str = "power-law",
    loss: str = "log",
    share: str | Iterable[str] = "all",
    extra: str | Iterable[str] = "auto",
    stability: str = "auto",
    burn_in: int | str = "auto",
    start: Mapping[str, float] | None = None,
    bootstrap: int = 0,
    seed: int = 0,
) -> Fitted:
    """Fit the noisy quadratic model to training runs.

    The expected loss of a run is that of `expected_risk` on a power law of its dimension under the
    schedules of the run, with the initial risk of directions beyond its dimension and an
    irreducible loss. See docs/fitting.md.

    Parameters
    ----------
    runs : list of TrainingRun
        Final losses, curves, or both. Their order does not matter.
    model : {"power-law"}
        ``h_i = scale i^-exponent``, ``c_i = noise i^-noise_exponent``, ``h_i E[w_0i^2] = start
        i^-start_exponent``.
    loss : {"log", "absolute"}
        Whether squares of differences of log losses are minimised, or of losses.
    share : "all" or list of str
        Names of parameters that all runs share; each group of runs has its own of the others.
    extra : "auto", or list of str
        Parameters of the optimiser: ``lr_power`` (effective rates go with lr to a power, as those
        of Adam), ``batch_power`` and ``dim_power`` (and with powers of these), ``noise_floor``
        (noise that no batch size averages out). "auto" admits those that lower the error of the
        largest runs when these are left out, or of each run if they are few; and `lr_power` unless
        runs left out are predicted 5 % better without it, if schedules have different shapes (of
        two runs none is left out).
    stability : {"auto", "edge", "limit"}
        "edge": the steepest directions are held at the edge of stability, as networks hold
        them; "limit": runs beyond the limit diverge, and all runs with finite losses are
        below it. "auto" is "limit" if a run has diverged, or its sharpness was measured.
    burn_in : "auto" or int
        Records of curves at fewer steps are not fitted, as right after a warm-up the curvature of a
        network is not what it is later; a curve that would have fewer than 8 records left is fitted
        whole. "auto" is an eighth of the most steps if schedules have different shapes and runs
        left out are predicted 5 % better by it, and 0 otherwise.
    start : mapping, optional
        Parameters at which the one search starts, as ``fitted.start`` has them.
    bootstrap : int
        So many fits with random weights of runs (of parts of curves where runs are few), from
        which intervals are taken; 100 are enough for 90 %. Without them intervals are those of
        linear error propagation.
    seed : int
        Moves the starts of searches; 0 moves none. It also draws the weights of `bootstrap`.

    Returns
    -------
    Fitted

    Raises
    ------
    InputError
        If an argument is outside its limits, or nothing can follow from the runs.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> problem = nqm.Problem.power_law(1000, 1.2, start_exponent=1.3, noise=0.5)
    >>> runs = [
    ...     nqm.TrainingRun(
    ...         1 + nqm.expected_risk(problem, nqm.SGD(lr), b, t), t, batch_size=b, lr=lr
    ...     )
    ...     for lr in (0.1, 0.5) for b in (4, 64) for t in (50, 200, 1000)
    ... ]
    >>> fitted = nqm.fit(runs, extra=())
    >>> new = nqm.TrainingRun(None, 500, batch_size=16, lr=0.3)
    >>> risk = nqm.expected_risk(problem, nqm.SGD(0.3), 16, 500)
    >>> bool(abs(fitted.predict(new) / (1 + risk) - 1) < 0.01)
    True
    """
    choice("model", model, MODELS)
    choice("loss", loss, LOSSES)
    choice("stability", stability, ("auto", "edge", "limit"))
    given = sorted(as_runs(runs), key=_order)
    is_cut = burn_in != "auto"
    if is_cut:
        first = _whole_burn_in(burn_in)
        given = [run.after(first) for run in given]
    check_runs(given)
    own = _own(share)
    units = Units.of(given)
    groups = [run.group for run in given]
    is_stable = stability == "limit" or (
        stability == "auto" and any(run.has_diverged or run.sharpness for run in given)
    )
    chosen = None if extra == "auto" else _names("extra", extra, EXTRA)
    usual, can_compare = _usual(given), len(given) >= FEWEST_COMPARED
    if chosen is None and usual and not can_compare:
        chosen = usual
    layout = base_layout(groups, own, chosen or ())
    task = Task([PreparedRun(run) for run in given], units, layout, loss, is_stable)
    begin_at = None if start is None else _start(start)
    if chosen is None:
        selection = select(task, _candidates(given), (), usual, begin_at)
        task = with_extra(task, selection.extra)
    else:
        selection = select(task, (), chosen, start=begin_at)
    if is_cut:
        tried = tuple(one._replace(burn_in=first) for one in selection.tried)
        selection = selection._replace(tried=tried, burn_in=first)
    elif usual and can_compare:
        steps = max(run.last_step for run in given) // BURN_IN
        task, selection = with_later_records(task, steps, selection)
    begin = starts(task, begin_at)
    moves = np.random.default_rng(integer("seed", seed, least=0))
    if seed:
        begin = [x + JITTER * moves.standard_normal(x.size) for x in begin]
    task, found = settled(task, begin)
    repeated = resampled(task, found, integer("bootstrap", bootstrap, least=0), seed)
    return _fitted(task, found, selection, repeated)


def _whole_burn_in(burn_in: Any) -> int:
    """Check a number of steps without records, which may be "auto" as well."""
    if isinstance(burn_in, str):
        raise InputError(f"burn_in must be 'auto' or a whole number of steps, not {burn_in!r}")
    return integer("burn_in", burn_in, least=0)


def _order(run: TrainingRun) -> tuple[Any, ...]:
    """Order runs by what they are, so that their order in a list does not matter."""
    losses = run.losses.tolist() if run.loss is not None else []
    return (
        run.group,
        run.dim or 0,
        run.mean_batch_size,
        run.last_step,
        run.peak_lr,
        run.momentum,
        run.ema,
        run.steps.reshape(-1).tolist(),
        losses,
        run.name,
    )


def _own(share: str | Iterable[str]) -> frozenset[str]:
    """Return the parameters of which every group has its own."""
    if isinstance(share, str) and share == "all":
        return frozenset()
    return frozenset(ALL) - frozenset(_names("share", share, ALL))


def _names(argument: str, value: Any, allowed: Mapping[str, Any]) -> tuple[str, ...]:
    """Check a list of names of parameters."""
    names = (value,) if isinstance(value, str) else tuple(value)
    for name in names:
        if name not in allowed:
            raise InputError(f"{argument} may have {', '.join(allowed)}, not {shown(name)}")
    return names


def _start(start: Mapping[str, float]) -> dict[str, float]:
    """Check where a search starts."""
    names = _names("start", start, ALL)
    missing = [name for name in PROBLEM if name not in names]
    if missing:
        raise InputError(f"start must have {', '.join(PROBLEM)}, but lacks {', '.join(missing)}")
    return BEGIN | {name: float(start[name]) for name in names}


def _candidates(runs: Sequence[TrainingRun]) -> list[str]:
    """List the extra parameters of which the runs can say something."""
    batches = {run.mean_batch_size for run in runs}
    dims = {run.dim for run in runs}
    constant = all(np.ptp(run.lr.values(np.arange(run.last_step or 1))) == 0.0 for run in runs)
    peaks = {lr for lr in map(highest_lr, runs) if not math.isnan(lr)}
    found = ["lr_power"] if len(peaks) > 1 or not constant else []
    found += ["noise_floor", "batch_power"] if len(batches) > 1 else []
    return found + (["dim_power"] if len(dims) > 1 else [])


def _usual(runs: Sequence[TrainingRun]) -> tuple[str, ...]:
    """List the extra parameters that fits to such runs have unless they do harm.

    Schedules of different shapes are compared by published runs of language models, in which a
    power of the rate lowers the error of schedules left out by a third.
    """
    shares = (np.arange(SHAPE) + 0.5) / SHAPE
    shapes = [run.lr.values((shares * run.last_step).astype(int)) / run.peak_lr for run in runs]
    return ("lr_power",) if np.ptp(shapes, axis=0).mean() > DIFFERENT else ()


def _fitted(task: Task, found: Solution, selection: Selection, repeated: Array) -> Fitted:
    """Describe a solution."""
    records = sum(int(np.isfinite(target).sum()) for target in task.targets)
    measured = _measured(task, found.x)
    finite = np.isfinite(measured["loss"])
    errors = np.log(measured["loss"][finite] / measured["predicted"][finite])
    freedom = max(records - found.x.size, 1)
    best = selection.chosen
    return Fitted(
        task.layout,
        task.units,
        found.x,
        _covariance(task, found),
        task.is_stable,
        measured,
        float(np.sqrt(np.sum(errors**2) / freedom)),
        math.nan if best is None else best.error,
        [
            {"extra": list(one.extra), "burn_in": one.burn_in, "error": one.error}
            for one in selection.tried
        ],
        repeated,
    )


def _covariance(task: Task, found: Solution) -> Array:
    """Estimate the covariance of the parameters: a sandwich over runs, with priors as they are."""
    jacobian, residuals = found.jacobian, found.residuals
    inverse = np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-10, hermitian=True)
    row = 0
    scores = []
    for target in task.targets:
        size = int(np.isfinite(target).sum())
        rows = slice(row, row + size)
        scores.append(jacobian[rows].T @ residuals[rows])
        row += size
    parameters = found.x.size
    whole = len(scores)
    if whole > 2 * parameters:
        middle = np.array(scores).T @ np.array(scores) * (whole / (whole - parameters))
    else:  # Too few runs for a sandwich: records are taken to err by themselves.
        variance = float(np.sum(residuals[:row] ** 2)) / max(row - parameters, 1)
        middle = jacobian[:row].T @ jacobian[:row] * variance
    prior = np.array([task.noise / ALL[name].width for name, _ in task.layout.columns])
    middle = middle + np.diag(prior**2) * task.noise**2
    covariance: Array = inverse @ middle @ inverse
    return covariance


def _measured(task: Task, x: Array) -> Table:
    """Make the table of records."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for number, prepared in enumerate(task.runs):
        run = prepared.run
        loss = predict(task.values(x, run.group), prepared, task.units, free=task.layout.free).loss
        steps = run.steps.reshape(-1)
        same = {
            "run": number,
            "name": run.name,
            "group": run.group,
            "batch_size": run.mean_batch_size,
            "lr": highest_lr(run),
            "dim": math.nan if run.dim is None else float(run.dim),
        }
        for name, value in same.items():
            columns[name] += [value] * steps.size
        columns["steps"] += steps.tolist()
        columns["loss"] += run.losses.tolist()
        columns["predicted"] += loss.tolist()
    return {name: np.array(values) for name, values in columns.items()}
