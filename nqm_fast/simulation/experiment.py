"""An experiment: everything that the numbers of a simulation depend on, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..foundation.immutable import Immutable, frozen
from ..foundation.validation import (
    Array,
    InputError,
    any_array,
    choice,
    flag,
    integer,
    number,
    shown,
    step_array,
)
from ..kernels import noise
from ..parts import part
from ..problem import Problem, as_problem
from ..schedules.timeline import check_lengths
from .coordinates import Coordinates, as_coordinates
from .observables import RISK, RecordLayout, band_edges, observed_names
from .settings import (
    Setting,
    as_settings,
    check_linear,
    check_piecewise_constant,
    check_range_of_kicks,
    check_whole_batches,
)
from .trajectory import as_trajectory

SAMPLING = ("minibatch", "per-sample", "leap", "collapsed")
DEFAULT_DF = 5.0
DEFAULT_RECORDS = 200
MOST_RECORDS = 1 << 28
"""Records that a stride may stand for; their steps alone take 2 GB."""


@dataclass(frozen=True)
class Experiment(Immutable):
    """A simulation, whatever machine carries it out: the same experiment gives the same bits.

    The configuration in the file of a run has the names of these fields.
    """

    problem: Problem
    settings: tuple[Setting, ...]
    listed: bool  # whether several settings were asked for, so that results have an axis of them
    steps: int
    replicas: NDArray[np.int64]  # numbers of the replicas
    seed: int
    records: NDArray[np.int64]  # steps to record, ascending
    sampling: str
    data: str
    df: float
    bands: Array | None  # curvatures that bound the bands, (bands + 1,)
    keep_state: bool
    observe: tuple[str, ...] = (RISK,)
    coordinates: Coordinates | None = None  # of a shard, whose problem is these alone
    trajectory: NDArray[np.int64] | None = None
    """Numbers of the coordinates to trace, ascending, among those of the run that a shard is of."""

    def __post_init__(self) -> None:
        for name in ("replicas", "records", "bands", "trajectory"):
            array = getattr(self, name)
            self._settle(**{name: None if array is None else frozen(np.array(array))})

    @property
    def layout(self) -> RecordLayout:
        """The numbers of a record."""
        edges = None if self.bands is None else self.bands.copy()
        return RecordLayout(self.observe, edges, self.traced.size)

    @property
    def traced(self) -> NDArray[np.int64]:
        """Numbers of the traced coordinates that this experiment has, in the whole run's count."""
        numbers = np.zeros(0, np.int64) if self.trajectory is None else self.trajectory
        if self.coordinates is None:
            return numbers
        first, last, _ = self.coordinates
        return numbers[(first <= numbers) & (numbers < last)]


def as_experiment(
    problem: Any,
    algorithm: Any,
    batch_size: Any,
    steps: Any,
    *,
    replicas: Any,
    seed: Any,
    record: Any,
    sampling: Any,
    data: Any,
    df: Any,
    bands: Any,
    keep_state: Any,
    observe: Any,
    coordinates: Any = None,
    trajectory: Any = None,
) -> Experiment:
    """The experiment that the arguments of `simulate` describe."""
    as_problem(problem)
    steps = integer("steps", steps, least=0)
    settings = as_settings(algorithm, batch_size, steps)
    choice("sampling", sampling, SAMPLING)
    choice("data", data, tuple(noise.LAWS))
    replica_numbers = _replica_numbers(replicas)
    seed = integer("seed", seed, least=0, most=None)
    edges = band_edges(bands, problem)
    df = _degrees_of_freedom(df, data)
    _check_limits(problem, settings, steps, seed, sampling, data)
    own = as_coordinates(coordinates, problem.dim)
    traced = as_trajectory(trajectory, problem.dim)
    if sampling == "collapsed":
        _check_collapsed(flag("keep_state", keep_state), own, traced)
    whole = Experiment(
        problem,
        settings,
        isinstance(algorithm, list | tuple),
        steps,
        replica_numbers,
        seed,
        _recorded_steps(record, steps),
        sampling,
        data,
        df,
        edges,
        flag("keep_state", keep_state),
        observed_names(observe, edges),
        trajectory=traced,
    )
    return whole if own is None else shard_of(whole, own)


def shard_of(
    whole: Experiment, coordinates: Coordinates, replicas: NDArray[np.int64] | None = None
) -> Experiment:
    """The same experiment with some of its coordinates and replicas, by default all replicas."""
    numbers = whole.replicas if replicas is None else replicas
    if coordinates.is_everything:
        return replace(whole, replicas=numbers)
    own = part(whole.problem, coordinates.first, coordinates.last)
    return replace(whole, problem=own, replicas=numbers, coordinates=coordinates)


def longer(experiment: Experiment, steps: Any, record: Any = None) -> Experiment:
    """The same experiment with more steps; its records begin with those of the given one.

    Steps beyond the given last one are recorded as `record` says, in the way of `simulate`. Without
    it they go on as they began: log-spaced if they were so by default, with the stride if there was
    one, and otherwise only the new last step is recorded.

    Raises
    ------
    InputError
        If there are fewer steps than before, or a schedule or the noise has fewer.
    """
    done = experiment.steps
    steps = integer("steps", steps, least=0)
    if steps < done:
        raise InputError(
            f"steps must be at least {done}, which the run has already (they count from its "
            f"start), not {steps}"
        )
    if experiment.sampling == "collapsed" and steps > done:
        raise InputError(
            "steps of a run with sampling='collapsed' cannot become more, as what it draws depends "
            "on all of its records: begin another run"
        )
    if experiment.problem.noise_model is not None and steps > done:
        raise InputError(
            "steps of a run with noise that depends on the iterate cannot become more: begin "
            "another run"
        )
    for setting in experiment.settings:
        check_lengths(setting.schedules, steps)
    _check_limits(
        experiment.problem,
        experiment.settings,
        steps,
        experiment.seed,
        experiment.sampling,
        experiment.data,
    )
    old = experiment.records
    if record is not None:
        later = _recorded_steps(record, steps)
        early = np.setdiff1d(later[later <= done], old)
        if any_array("record", record).ndim and early.size:
            raise InputError(
                f"record must be steps after the {done} that are done, but contains {early[0]}"
            )
    else:
        later = _records_in_the_same_spirit(old, done, steps)
    return replace(experiment, steps=steps, records=np.append(old, later[later > done]))


def _records_in_the_same_spirit(old: NDArray[np.int64], done: int, steps: int) -> NDArray[np.int64]:
    """The steps to record of a longer run, as far as the records of the given one show a rule.

    A run that became longer before has last steps of that time among its records, off the rule.
    """
    default = _recorded_steps(None, done)
    if np.array_equal(old, default):
        return _recorded_steps(None, steps)
    stride = int(old[1] - old[0]) if old.size > 2 else 0
    if stride and np.isin(_recorded_steps(stride, done), old).all():
        return _recorded_steps(stride, steps)
    if default.size > LATEST and np.isin(default[-LATEST:], old).all():
        return _recorded_steps(None, steps)
    return np.array([steps])


LATEST = 5
"""Latest records of the default that show that they are the default's, in a run made longer."""


def with_replicas(experiment: Experiment, replicas: Any) -> Experiment:
    """The same experiment with more replicas, by how many there are or by their numbers.

    Raises
    ------
    InputError
        If one of the given experiment's replicas is not among them.
    """
    numbers = _replica_numbers(replicas)
    missing = np.setdiff1d(experiment.replicas, numbers)
    if missing.size:
        if not any_array("replicas", replicas).ndim:
            most = int(experiment.replicas.max()) + 1
            raise InputError(
                f"replicas must be at least {most}, as the run has number {most - 1} already, not "
                f"{shown(replicas)}"
            )
        raise InputError(
            f"replicas must contain all that the run has, {experiment.replicas.tolist()}, but "
            f"{missing[0]} is not in {shown(replicas)}"
        )
    return replace(experiment, replicas=numbers)


def _replica_numbers(replicas: Any) -> NDArray[np.int64]:
    """The numbers of the replicas, from how many there are or from the numbers themselves."""
    if any_array("replicas", replicas).ndim:
        numbers = step_array("replicas", replicas)
        if numbers.ndim != 1 or not numbers.size:
            raise InputError(
                f"replicas must be a count or a sequence of numbers, not {shown(replicas)}"
            )
        highest = int(numbers.max())
    else:
        highest = integer("replicas", replicas, least=1, most=None) - 1
    if highest >= noise.REPLICAS:
        raise InputError(
            f"replicas must be below {noise.REPLICAS}, where their numbers would overflow "
            f"the noise counter, not {shown(highest)}"
        )
    return numbers if any_array("replicas", replicas).ndim else np.arange(highest + 1)


def _degrees_of_freedom(df: Any, data: str) -> float:
    """Check the degrees of freedom, which only some laws of the data have."""
    if df is None:
        return DEFAULT_DF
    allowed = noise.LAWS[data].df_range
    if allowed is None:
        with_df = " or ".join(repr(name) for name, law in noise.LAWS.items() if law.df_range)
        raise InputError(f"df = {shown(df)} is for data={with_df}, not {data!r}")
    least, most = allowed
    value = number("df", df)
    if not least <= value <= most:
        raise InputError(
            f"df must be from {least:g} to {most:g}, where what is drawn follows the law to 0.1 %, "
            f"not {value:g}"
        )
    return value


def _check_limits(
    problem: Problem,
    settings: Sequence[Setting],
    steps: int,
    seed: int,
    sampling: str,
    data: str,
) -> None:
    """Make sure that the noise counter and the kind of sampling allow the experiment."""
    is_collapsed = sampling == "collapsed"
    if problem.has_counts and not is_collapsed:
        raise InputError(
            "count must be 1 for a simulation: identical coordinates see different noise, "
            "so that one cannot stand for several (list each, or use sampling='collapsed')"
        )
    if seed >= 1 << 64:
        raise InputError(f"seed must be below 2^64, not {shown(seed)}")
    if problem.dim > noise.COORDINATES and not is_collapsed:
        raise InputError(
            f"problem has {problem.dim} coordinates, but the noise counter numbers only "
            f"{noise.COORDINATES} of them"
        )
    most = noise.STEPS // 4 if sampling == "leap" else noise.STEPS
    if steps > most and not is_collapsed:
        raise InputError(
            f"steps must be at most {most}, where the noise counter ends"
            f"{' for leaps' * (sampling == 'leap')}, not {steps}"
        )
    if data != "normal" and sampling != "per-sample":
        raise InputError(
            f"data={data!r} needs sampling='per-sample', as sampling={sampling!r} draws means "
            "of normal data only"
        )
    if sampling == "per-sample":
        check_whole_batches(settings, steps, noise.LAWS[data].most_samples)
    if sampling in ("leap", "collapsed"):
        check_linear(settings, sampling)
    if sampling == "leap":
        check_piecewise_constant(settings, steps)
        check_range_of_kicks(settings, steps)


def _check_collapsed(
    keep_state: bool, coordinates: Coordinates | None, traced: NDArray[np.int64] | None
) -> None:
    """Make sure that nothing is asked for that collapsed sampling does not have."""
    if keep_state:
        raise InputError(
            "keep_state must be False for sampling='collapsed', which draws no coordinate's state"
        )
    if coordinates is not None:
        raise InputError(
            "coordinates must be left out for sampling='collapsed', which takes coordinates that "
            "are alike together"
        )
    if traced is not None:
        raise InputError(
            f"trajectory = {shown(traced.tolist())} cannot be recorded with sampling='collapsed', "
            "which draws the risk without the coordinates: use another sampling"
        )


def _recorded_steps(record: Any, steps: int) -> NDArray[np.int64]:
    """The steps to record, ascending, from a stride or from the steps themselves."""
    if record is None:
        spaced = np.geomspace(1.0, max(steps, 1), DEFAULT_RECORDS).round().astype(np.int64)
        return np.unique([0, steps, *spaced[spaced <= steps]])
    if not any_array("record", record).ndim:
        stride = integer("record", record, least=1)
        if steps // stride >= MOST_RECORDS:
            raise InputError(
                f"record = {stride} would be {steps // stride + 1} records, but allowed are "
                f"{MOST_RECORDS}: record fewer steps"
            )
        return np.append(np.arange(0, steps, stride), steps)
    recorded = step_array("record", record)
    if recorded.size > 1 or recorded.ndim != 1:
        recorded = np.unique(recorded)
    if recorded.size and recorded[-1] > steps:
        raise InputError(
            f"record must be steps from 0 to the last, {steps}, but contains {recorded[-1]}"
        )
    return recorded
