"""A training that was done, or is to be predicted: its schedules, and the losses on its way."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..foundation.immutable import Immutable, frozen
from ..foundation.validation import (
    Array,
    InputError,
    any_array,
    counted,
    flag,
    integer,
    number,
    shown,
    step_array,
)
from ..problem import MOST_COORDINATES
from ..schedules import Schedule, as_schedule
from ..schedules.timeline import check_lengths, pieces, values_at

LOOKED_AT = 1 << 17
"""Steps at which the highest learning rate of a schedule and its mean batch size are looked for."""


MOST_PIECES = 1 << 10
LEAST_CURVE = 8
"""Records that are left of a curve without its first ones."""


class TrainingRun(Immutable):
    """A training run: its settings, and the losses that it had.

    Parameters
    ----------
    loss : number, array_like of shape (records,), or None
        Loss at `steps`, > 0: a number for a final loss, an array for a curve. Infinite where the
        run had diverged. None for a run that is to be predicted.
    steps : int or array_like of int
        Numbers of steps taken before the loss was measured, >= 0, of the shape of `loss`. The
        order of records does not matter.
    batch_size : number, array_like with a value for each step, or schedule
        Samples per step, >= 1.
    lr : number, array_like with a value for each step, or schedule
        Learning rate, >= 0, and above 0 at some step.
    dim : int, optional
        Number of parameters. Directions beyond it are never learnt. Without it there is no end.
    momentum : float, optional
        Of SGD, >= 0 and < 1; 0 by default. The momentum of Adam is a part of its effective
        learning rate, and is left out.
    ema : float, optional
        Of the average of iterates whose loss is measured, >= 0 and < 1; 0 by default.
    tuned_lr : bool
        Whether the learning rate was tuned for the loss at the last step. Then only the shape of
        `lr` counts, and its height is the best one below the edge of stability.
    weight : float
        Of the squared error of this run's records, > 0, in units of a record's.
    sharpness : float, optional
        Largest curvature of the run, > 0, if it was measured. It is evidence for the fit; with
        `tuned_lr` it limits the height of the rate, to the edge of stability at this curvature.
    name : str
        Used in reports, and by `read_runs` for the runs of a file.
    group : str
        Runs of a group can have parameters of their own, if `fit` is told so by `share`.

    Raises
    ------
    InputError
        If an argument is outside its limits, or a schedule given as an array is too short.

    Examples
    --------
    >>> import nqm_fast as nqm
    >>> lr = nqm.schedules.Warmup(10, then=nqm.schedules.Cosine(1e-3, 990))
    >>> nqm.TrainingRun(3.21, 1000, batch_size=256, lr=lr, dim=10**7)
    <TrainingRun of 1000 steps, loss 3.21>
    """

    loss: Array | None
    steps: NDArray[np.int64]
    batch_size: Schedule
    lr: Schedule
    dim: int | None
    momentum: float
    ema: float
    tuned_lr: bool
    weight: float
    sharpness: float | None
    name: str
    group: str
    last_step: int
    """The last recorded step."""
    peak_lr: float
    """The highest learning rate up to there."""
    mean_batch_size: float
    """Samples per step, in the mean up to there."""

    def __init__(
        self,
        loss: ArrayLike | None,
        steps: ArrayLike,
        *,
        batch_size: ArrayLike | Schedule,
        lr: ArrayLike | Schedule,
        dim: int | None = None,
        momentum: float | None = None,
        ema: float | None = None,
        tuned_lr: bool = False,
        weight: float = 1.0,
        sharpness: float | None = None,
        name: str = "",
        group: str = "",
    ) -> None:
        at = step_array("steps", steps)
        if at.ndim > 1 or not at.size:
            raise InputError(f"steps must be a number or a list of them, not of shape {at.shape}")
        self._settle(
            steps=frozen(at),
            loss=None if loss is None else frozen(_losses(loss, at)),
            batch_size=as_schedule("batch_size", batch_size, least=1.0),
            lr=as_schedule("lr", lr),
            dim=None if dim is None else integer("dim", dim, least=1, most=MOST_COORDINATES),
            momentum=_fraction("momentum", momentum),
            ema=_fraction("ema", ema),
            tuned_lr=flag("tuned_lr", tuned_lr),
            weight=number("weight", weight, above=0.0),
            sharpness=None if sharpness is None else number("sharpness", sharpness, above=0.0),
            name=_text("name", name),
            group=_text("group", group),
        )
        last = int(at.max())
        check_lengths({"lr": self.lr, "batch_size": self.batch_size}, last)
        looked_at = _looked_at(last)
        self._settle(
            last_step=last,
            peak_lr=float(values_at(self.lr, np.append(looked_at, _ends(self.lr, last))).max()),
            mean_batch_size=float(values_at(self.batch_size, looked_at).mean()),
        )
        if self.last_step and not self.peak_lr > 0.0:
            raise InputError("lr must be above 0 at some step, but is 0 up to the last record")

    @property
    def losses(self) -> Array:
        """Losses at all records, of a run that has some, shape (records,)."""
        assert self.loss is not None
        return np.atleast_1d(self.loss)

    @property
    def samples(self) -> float:
        """Samples seen up to the last record."""
        return self.mean_batch_size * self.last_step

    @property
    def work(self) -> float:
        """Samples times parameters, by which runs are large or small; samples without `dim`."""
        return self.samples * float(self.dim or 1)

    @property
    def has_diverged(self) -> bool:
        """Whether the loss is infinite at some record."""
        return self.loss is not None and bool(np.isinf(self.loss).any())

    def after(self, steps: int) -> TrainingRun:
        """Return the run without its records at fewer steps, unless hardly any would be left."""
        kept = self.steps >= steps
        if self.loss is None or not self.steps.ndim or kept.sum() < LEAST_CURVE or kept.all():
            return self
        return TrainingRun(
            self.loss[kept], self.steps[kept], batch_size=self.batch_size, lr=self.lr,
            dim=self.dim, momentum=self.momentum, ema=self.ema, tuned_lr=self.tuned_lr,
            weight=self.weight, sharpness=self.sharpness, name=self.name, group=self.group,
        )  # fmt: skip

    def __repr__(self) -> str:
        what = f"{self.name!r} of " if self.name else "of "
        text = f"<TrainingRun {what}{counted(self.last_step, 'step')}"
        if self.loss is None:
            return f"{text}, to be predicted>"
        if self.loss.ndim:
            return f"{text}, {counted(self.loss.size, 'record')}>"
        return f"{text}, loss {float(self.loss):g}>"


def _looked_at(last: int) -> NDArray[np.int64]:
    """Return the steps at which schedules are looked at: all, or as many as suffice, shape (n,)."""
    if last <= LOOKED_AT:
        return np.arange(max(last, 1))
    return np.unique(np.linspace(0, last - 1, LOOKED_AT).astype(np.int64))


def _ends(schedule: Schedule, last: int) -> NDArray[np.int64]:
    """Return the first steps of a schedule's pieces, where its highest value may be."""
    starts = (begin for begin, _, _ in pieces(schedule, 0, max(last, 1)))
    return np.array(list(islice(starts, MOST_PIECES)), dtype=np.int64)


def _losses(loss: ArrayLike, steps: NDArray[np.int64]) -> Array:
    """Check losses: positive, of the shape of their steps, infinite where a run had diverged."""
    raw = any_array("loss", loss)
    if raw.dtype.kind not in "iuf":
        raise InputError(f"loss must be numbers, not {shown(loss)}")
    values = raw.astype(np.float64)
    if values.shape != steps.shape:
        raise InputError(
            f"loss must have the shape of steps, {steps.shape}, but has shape {values.shape}"
        )
    if np.isnan(values).any():
        raise InputError(
            "loss must not be NaN: write inf where a run has diverged, and leave out a loss that "
            "is unknown"
        )
    if not (values > 0.0).all():
        raise InputError(f"loss must be > 0, but contains {values[~(values > 0.0)].flat[0]:g}")
    return values


def _fraction(name: str, value: float | None) -> float:
    """Check a weight of the past, which is 0 if it is not given."""
    return 0.0 if value is None else number(name, value, least=0.0, below=1.0)


def _text(name: str, value: Any) -> str:
    """Check a name."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, not {shown(value)}")
    return value


def as_runs(runs: Any) -> list[TrainingRun]:
    """Return a list of runs, of which one alone may be given.

    Raises
    ------
    InputError
        If there is none, or something else among them.
    """
    if isinstance(runs, TrainingRun):
        return [runs]
    try:
        found = list(runs)
    except TypeError:
        raise InputError(f"runs must be a list of TrainingRun, not {shown(runs)}") from None
    other = next((run for run in found if not isinstance(run, TrainingRun)), None)
    if other is not None or not found:
        what = "an empty list" if not found else f"a list with {shown(other)}"
        raise InputError(f"runs must be a list of TrainingRun, not {what}")
    return found
