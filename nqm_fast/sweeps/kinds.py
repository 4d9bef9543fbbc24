"""The kinds of work that a sweep does: one entry of the table below for each.

The fields, the file and the tasks of a sweep follow from the entry, so that a new kind of work
needs nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import kernels
from ..algorithms.sgd import SGD
from ..exact.control.piecewise_schedule import MOST_PIECES, optimal_schedule
from ..exact.first_passage import steps_to_target
from ..exact.risk import expected_risk
from ..exact.search.evolution import EFFORTS
from ..exact.tuning_task import checked_search
from ..foundation.validation import InputError, choice, integer, number, shown, step_array
from ..problem import Problem
from ..runs.api import simulate
from ..runs.running import IN_MEMORY
from ..schedules import Constant, as_schedule
from ..schedules.base import as_single_schedule
from ..simulation.execution import SECONDS_PER_LEAP, SECONDS_PER_STEP, plan_execution
from ..simulation.experiment import Experiment, as_experiment
from ..simulation.observables import RISK, TRACED, recorded
from ..simulation.resources import as_resources
from ..tuning import tune
from .arguments import Arguments

OVERHEAD = 1e-3
"""Seconds that a point takes at least, roughly."""
SECONDS_PER_KIND = 2e-8
"""Time of a leap of alike coordinates in collapsed sampling, times the square of components."""
NODES_PER_OCTAVE = 20
"""Nodes of a power law, for each factor of 2 in its coordinates, that are sampled at most."""


class Dimension(NamedTuple):
    """A dimension of results, with the values of its coordinate."""

    name: str
    values: NDArray[Any]
    can_grow: bool = False
    """Whether points may have different numbers of values; results are filled up with NaN."""


class Field(NamedTuple):
    """A quantity that each point has, with its dimensions."""

    dims: tuple[Dimension, ...]
    description: str
    dtype: str = "<f8"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its values at one point."""
        return tuple(dim.values.size for dim in self.dims)


class Load(NamedTuple):
    """The cost of a point, roughly: seconds on one core, and bytes of memory."""

    seconds: float
    memory: float


Result = dict[str, Any]
"""The values of all fields at a point."""


class Kind(NamedTuple):
    """A kind of work.

    Attributes
    ----------
    function : callable
        The public function, whose arguments are those of the sweep.
    solve : callable
        Gives the results of points, which may differ only in their settings if `shares`.
    fields : callable
        What a point with such arguments gives, by name; it checks the arguments.
    load : callable
        What a point costs.
    refused : dict of str to str
        Arguments of the function that a sweep does not take, and why.
    shares : bool
        Whether points that differ only in algorithm and batch size are solved together.
    """

    function: Callable[..., Any]
    solve: Callable[[Sequence[Arguments]], list[Result]]
    fields: Callable[[Arguments], dict[str, Field]]
    load: Callable[[Arguments], Load]
    refused: Mapping[str, str] = {}
    shares: bool = False


def _exact_memory(arguments: Arguments) -> float:
    """Bytes that the exact model takes, beside the problem itself."""
    problem = arguments.problem
    fields = sum(np.asarray(value).nbytes for value in problem.fields.values())
    return 2.0 * fields + 8.0 * 64 * min(problem.dim, 1 << 20)


# -- simulate ------------------------------------------------------------------------------


def _experiment(arguments: Arguments) -> Experiment:
    """Return the experiment of a point, alone."""
    given = dict(arguments.call)
    usual = {"replicas": 1, "seed": 0, "sampling": "minibatch", "data": "normal"}
    usual |= {"record": None, "df": None, "bands": None, "observe": ("risk",)}
    given.pop("backend", None)
    for name in ("batch_size", "steps"):
        if name not in given:
            raise InputError(f"{name} must be given, as an axis or for all points")
    return as_experiment(
        arguments.problem, [arguments.setting], [given.pop("batch_size")], given.pop("steps"),
        **(usual | given), keep_state=False,
    )  # fmt: skip


def _solve_simulations(points: Sequence[Arguments]) -> list[Result]:
    """Simulate points of one noise stream at once."""
    common = {name: x for name, x in points[0].call.items() if name != "batch_size"}
    run = simulate(
        points[0].problem,
        [point.setting for point in points],
        [point.call["batch_size"] for point in points],
        **common,
        progress=False,
    )
    if run.status == "interrupted":
        raise RuntimeError(f"the simulation was {run.status} {run.message}")
    return [
        {name: values[g] for name, values in run.observed.items()}
        | {"diverged_at": run.diverged_at[g]}
        for g in range(len(points))
    ]


def _simulated_fields(arguments: Arguments) -> dict[str, Field]:
    experiment = _experiment(arguments)
    replica = Dimension("replica", experiment.replicas)
    step = Dimension("step", experiment.records)
    layout = experiment.layout
    others = {
        "band": Dimension("band", np.arange(layout.bands)),
        TRACED: Dimension(TRACED, experiment.traced),
    }
    fields = {
        name: Field((replica, step, *(others[dim] for dim in found.dims)), found.description)
        for name in layout.recorded_names
        for found in [recorded(name)]
    }
    text = "first step at which a coordinate's risk exceeded 1e290, -1 for none"
    return fields | {"diverged_at": Field((replica,), text, "<i8")}


def _sampled_kinds(experiment: Experiment) -> int:
    """Return how many kinds of coordinates collapsed sampling has, at most, roughly."""
    problem = experiment.problem
    if problem.is_power_law and experiment.observe == (RISK,):
        return min(problem.dim, NODES_PER_OCTAVE * problem.dim.bit_length())
    return problem.dim


def _simulation_load(arguments: Arguments) -> Load:
    experiment = _experiment(arguments)
    dim, replicas = experiment.problem.dim, experiment.replicas.size
    per_sample = experiment.sampling == "per-sample"
    samples = experiment.settings[0].batch_size.least if per_sample else 1.0
    seconds = SECONDS_PER_STEP * samples * experiment.steps
    if experiment.sampling == "leap":
        seconds = SECONDS_PER_LEAP * experiment.records.size
    if experiment.sampling == "collapsed":
        components = len(experiment.settings[0].linear.recurrence(np.ones(1)).read)
        dim = _sampled_kinds(experiment)
        seconds = SECONDS_PER_KIND * components**2 * experiment.records.size
    state = min(8.0 * dim * (8 * replicas + 16), IN_MEMORY)
    memory = state + 32.0 * replicas * experiment.records.size * experiment.layout.size
    return Load(OVERHEAD + seconds * dim * replicas, memory)


# -- the exact model -----------------------------------------------------------------------


def _needed(arguments: Arguments, *names: str) -> list[Any]:
    """Return arguments that must be there."""
    for name in names:
        if name not in arguments.call:
            raise InputError(f"{name} must be given, as an axis or for all points")
    return [arguments.call[name] for name in names]


def _solve_alone(solve: Callable[[Arguments], Result]) -> Callable[..., list[Result]]:
    """Solve points one after the other."""
    return lambda points: [solve(point) for point in points]


def _risk(point: Arguments) -> Result:
    return {"risk": expected_risk(point.problem, point.setting, **point.call)}


def _risk_fields(arguments: Arguments) -> dict[str, Field]:
    batch_size, steps = _needed(arguments, "batch_size", "steps")
    as_schedule("batch_size", batch_size, least=1.0)
    arguments.setting  # noqa: B018 (it is checked)
    asked = step_array("steps", steps)
    if asked.ndim > 1:
        raise InputError("steps must be a number, or one list of numbers, for a sweep")
    dims = (Dimension("step", asked),) if asked.ndim else ()
    return {"risk": Field(dims, "expected excess risk, 1/2 sum h E[w^2]")}


def _risk_load(arguments: Arguments) -> Load:
    batch_size, steps = _needed(arguments, "batch_size", "steps")
    asked = np.atleast_1d(step_array("steps", steps))
    constant = isinstance(as_schedule("batch_size", batch_size, least=1.0), Constant)
    constant = constant and isinstance(arguments.setting.lr, Constant)
    work = 1e-8 * asked.size if constant or not asked.size else 2e-9 * float(asked.max())
    return Load(OVERHEAD + work * arguments.problem.dim, _exact_memory(arguments))


STEPS = Field((), "first step at which the expected risk reaches the target, inf if it never does")


def _steps(point: Arguments) -> Result:
    return {"steps": steps_to_target(point.problem, point.setting, **point.call)}


def _steps_fields(arguments: Arguments) -> dict[str, Field]:
    batch_size, target = _needed(arguments, "batch_size", "target")
    as_single_schedule("batch_size", batch_size, least=1.0)
    number("target", target, above=0.0)
    arguments.setting  # noqa: B018 (it is checked)
    return {"steps": STEPS}


def _steps_load(arguments: Arguments) -> Load:
    return Load(OVERHEAD + 2e-6 * arguments.problem.dim, _exact_memory(arguments))


OVER = ("lr",)
"""Hyper-parameters that `tune` searches if none are given."""


def _tune(point: Arguments) -> Result:
    best = tune(point.problem, algorithm=point.algorithm, **point.call, **point.hyper)
    found = {"steps": best.steps, "risk": best.risk}
    for name in point.algorithm.tunable:
        value = best.algorithm.hyper_parameter(name)
        value = value.value if isinstance(value, Constant) else value
        found[f"best_{name}"] = value if isinstance(value, int | float) else math.nan
    return found


def _tune_fields(arguments: Arguments) -> dict[str, Field]:
    batch_size, target = _needed(arguments, "batch_size", "target")
    as_schedule("batch_size", batch_size, least=1.0)
    number("target", target, above=0.0)
    if isinstance(batch_size, list | tuple | np.ndarray):
        raise InputError(
            f"batch_size must be one number or schedule at each point, not {shown(batch_size)}: "
            "several are an axis"
        )
    kind: Any = arguments.algorithm
    if isinstance(kind.tunable, property):
        raise InputError(
            "algorithm must be one with its inner algorithm for 'tune', such as "
            f"{kind.__name__}(nqm.SGD(0.1)), not a class"
        )
    checked_search(arguments.call.get("over", OVER), kind, arguments.hyper)
    choice("effort", arguments.call.get("effort", "full"), EFFORTS)
    best = {f"best_{name}": Field((), f"{name} of the best setting") for name in kind.tunable}
    risk = Field((), "expected excess risk after these steps, or the lowest if it is never reached")
    return {"steps": STEPS, "risk": risk} | best


def _tune_load(arguments: Arguments) -> Load:
    over = arguments.call.get("over", OVER)
    names = 1 if isinstance(over, str) else len(over)
    seconds = 0.4 * 3.0 ** (names - 1)
    if arguments.call.get("by") == "simulation":
        seconds *= 10.0
    return Load(seconds, _exact_memory(arguments))


def _schedule(point: Arguments) -> Result:
    best = optimal_schedule(point.problem, **point.call)
    lr: Any = best.algorithm.lr
    values = [lr.value] if isinstance(lr, Constant) else list(lr.values_)
    lengths = [best.steps] if isinstance(lr, Constant) else list(lr.lengths)
    found = {"steps": best.steps, "risk": best.risk}
    return found | {"piece_lr": np.array(values), "piece_steps": np.array(lengths, dtype=float)}


def _schedule_fields(arguments: Arguments) -> dict[str, Field]:
    batch_size, target, pieces = _needed(arguments, "batch_size", "target", "pieces")
    number("batch_size", batch_size, least=1.0)
    number("target", target, above=0.0)
    if arguments.hyper or arguments.algorithm is not SGD:
        wrong = min(arguments.hyper, default="algorithm")
        raise InputError(f"{wrong} is not an argument of optimal_schedule, which is for plain SGD")
    count = integer("pieces", pieces, least=1, most=MOST_PIECES)
    piece = Dimension("piece", np.arange(count), can_grow=True)
    risk = Field((), "expected excess risk after these steps")
    lr = Field((piece,), "learning rate of each piece")
    lengths = Field((piece,), "steps of each piece")
    return {"steps": STEPS, "risk": risk, "piece_lr": lr, "piece_steps": lengths}


def _schedule_load(arguments: Arguments) -> Load:
    return Load(0.4 + 0.02 * float(arguments.call["pieces"]), _exact_memory(arguments))


# -- the table -----------------------------------------------------------------------------

OF_THE_SWEEP = {
    "threads": "it is threads_per_task there",
    "out": "it has one file for all points",
    "overwrite": "remove its file and its folder instead",
    "progress": "it shows the progress of all points",
    "checkpoint_every": "points are its checkpoints",
    "devices": "a worker uses its first GPU",
    "keep_state": "states are too large; simulate one point alone",
}

KINDS = {
    "simulate": Kind(
        simulate, _solve_simulations, _simulated_fields, _simulation_load, OF_THE_SWEEP, True
    ),
    "tune": Kind(tune, _solve_alone(_tune), _tune_fields, _tune_load),
    "risk": Kind(expected_risk, _solve_alone(_risk), _risk_fields, _risk_load),
    "steps": Kind(steps_to_target, _solve_alone(_steps), _steps_fields, _steps_load),
    "schedule": Kind(optimal_schedule, _solve_alone(_schedule), _schedule_fields, _schedule_load),
}
"""All kinds of work by name; there is no other list."""


SMALL = Problem.power_law(64)


def warm(kind: Kind, arguments: Arguments) -> None:
    """Compile what a point needs, where that is left to the first call, and keep it on disk."""
    backend = arguments.call.get("backend", "auto")
    if kind.function is not simulate or arguments.call.get("sampling") == "collapsed":
        moving = SGD(0.1, momentum=0.5)
        expected_risk(SMALL, moving, 8, [1, 4], backend=backend)
        steps_to_target(SMALL, moving, 8, 2.0, max_steps=4, backend=backend)
        return
    experiment = _experiment(arguments)
    plan = plan_execution(experiment, as_resources(backend, None, None), IN_MEMORY)
    if not kernels.REGISTRY[plan.resources.name].compiled_code:
        return
    left_out = ("steps", "record", "backend", "replicas", "bands", "trajectory")
    call = {name: x for name, x in arguments.call.items() if name not in left_out}
    steps = min(experiment.steps, 2)
    backend = plan.resources.name
    simulate(SMALL, arguments.setting, steps=steps, backend=backend, progress=False, **call)
