"""What several test modules need: runs of every kind, comparisons, chunks, other processes."""

import itertools
import os
import signal
import subprocess
import sys
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
from nqm_fast.kernels import present_backends
from nqm_fast.kernels.contract import LEAF, Model, Noise, Timeline
from nqm_fast.kernels.excursions import extremes
from nqm_fast.kernels.noise import LAWS

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.runs import running
from nqm_fast.simulation import chunking, controller, loops, paths

HERE = Path(__file__).parent
DATA = HERE / "data"

# -- problems and settings ---------------------------------------------------------------

KINDS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "ema": {"ema": 0.95},
    "momentum+ema": {"momentum": 0.9, "ema": 0.95},
    "power": {"power": 0.5},
    "all": {"momentum": 0.8, "ema": 0.9, "power": 0.75},
}
_RNG = np.random.default_rng(1907)
PROBLEMS = {
    "power law": nqm.Problem.power_law(200),
    "binned": nqm.Problem(np.geomspace(1, 1e-4, 30), count=_RNG.uniform(0.2, 50.0, 30)),
    "general": nqm.Problem(
        _RNG.uniform(1e-3, 1.0, 150),
        _RNG.uniform(0.0, 2.0, 150),
        mean0=_RNG.normal(size=150),
        var0=_RNG.uniform(0.0, 1.0, 150),
        count=_RNG.uniform(0.2, 50.0, 150),
    ),
    "sigma": nqm.Problem([1.0, 0.25, 1e-3], sigma=[0.5, 2.0, 30.0], mean0=[3.0, -1.0, 0.2], var0=0),
}

PAPER = nqm.Problem.power_law(10_000)

SEARCHES = {  # small problem, batch size, target
    "power law": (nqm.Problem.power_law(60), 64, 0.05),
    "power law, large batch": (nqm.Problem.power_law(60), 1e6, 0.05),
    "power law, small batch": (nqm.Problem.power_law(60), 1, 0.3),
    "steep, large batch": (nqm.Problem.power_law(30, 2.0), 2.0**18, 1e-4),
    "one": (nqm.Problem([1.0]), 16, 0.01),
    "one, large batch": (nqm.Problem([0.3]), 2.0**22, 1e-4),
    "two": (nqm.Problem([1.0, 0.01]), 256, 0.003),
    "two, large batch": (nqm.Problem([0.394, 0.0029]), 2.0**20, 2.9e-5),
    "two, noisy": (nqm.Problem([0.0457, 0.371], [0.0476, 0.1412]), 64, 5e-3),
    "three, large batch": (nqm.Problem([7e-4, 4.8e-3, 9.5e-3], mean0=[0.5, 1, -0.5]), 2**18, 4e-5),
    "ten alike": (nqm.Problem(np.full(10, 0.3)), 4096, 0.0207),
    "counts": (nqm.Problem(np.geomspace(1, 1e-2, 5), count=[0.4, 8, 1, 30, 2]), 1024, 0.02),
}


def irregular(d):
    """A problem of `d` coordinates that all differ, also in where they start."""
    rng = np.random.default_rng(1)
    return nqm.Problem(
        rng.uniform(0.01, 1.0, d), rng.uniform(0.0, 2.0, d), mean0=rng.uniform(-1, 1, d), var0=0.5
    )


# -- backends ----------------------------------------------------------------------------

LEVELS = ("baseline", "x86-64-v3", "x86-64-v4")
MACHINES = ("numba", *(f"cython, {level}" for level in LEVELS), "numpy")  # for the fixture machine

COMPILED = present_backends()[-2:][0]  # the extension, if it is there
BACKEND = os.environ.setdefault("NQM_BACKEND", COMPILED)
"""The backend that tests take where they name none, here and in other processes.

Numba takes minutes for all that tests would have it compile, and a gigabyte. Its bits are those of
the extension, see `kernels/`; a job of CI has the tests take it.
"""


# -- runs of every kind ------------------------------------------------------------------


def kinds_of_runs(ramp, rates, batches, samples, *, diverging, most, most_signs):
    """A table of runs by name: algorithm, batch size, further arguments of `simulate`.

    The first four arguments are numbers of steps: of a warm-up, and of the pieces of a learning
    rate (three), of a batch size (two) and of a number of samples (three). `diverging` is a
    learning rate that diverges, `most` the number of samples in the last piece, and `most_signs`
    the same where the data are signs.
    """
    warm_up = schedules.Warmup(ramp, schedules.Constant(0.2))
    growing = schedules.Piecewise([2.5, 64.0], batches)
    pieces = schedules.Piecewise([0.3, 0.1, 0.2], rates)
    kinds = {
        "plain": (nqm.SGD(0.3), 8, {}),
        "momentum": (nqm.SGD(0.1, momentum=0.9), 8, {}),
        "ema": (nqm.SGD(0.3, ema=0.7), 8, {}),
        "power": (nqm.SGD(0.3, power=1.0), 8, {}),
        "all": (nqm.SGD(0.05, momentum=0.8, ema=0.9, power=0.5), 8, {}),
        "schedule": (nqm.SGD(warm_up, momentum=0.5), growing, {}),
        "bands": (nqm.SGD(0.3, ema=0.5), 8, {"bands": 4}),
        "diverging": (nqm.SGD(diverging), 8, {}),
        "leap": (nqm.SGD(0.1, momentum=0.9, ema=0.9), 8, {"sampling": "leap"}),
        "leap in pieces": (nqm.SGD(pieces), 8, {"sampling": "leap"}),
    }
    for law in LAWS:
        drawn = schedules.Piecewise([1, 5, most_signs if law == "rademacher" else most], samples)
        more = {"sampling": "per-sample", "data": law}
        kinds[law] = (nqm.SGD(0.3, momentum=0.5), drawn, more)
    return kinds


class Runs:
    """Runs of a table, by name. They share some arguments, unless a run has its own."""

    def __init__(self, kinds, **shared):
        self.kinds = kinds
        self.shared = {"seed": 2**40 + 7, "keep_state": True, **shared}

    def __call__(self, name, **changes):
        algorithm, batch_size, own = self.kinds[name]
        arguments = {"algorithm": algorithm, "batch_size": batch_size}
        return nqm.simulate(**arguments | self.shared | own | changes)


STEPS = 75
UNEVEN = irregular(9 * LEAF + 5)  # not a whole number of leaves
run = Runs(
    kinds_of_runs(
        13, [10, 31, 34], [30, 45], [20, 30, 25], diverging=1e9, most=70, most_signs=70
    ),
    problem=UNEVEN,
    steps=STEPS,
    replicas=3,
    threads=1,
)  # fmt: skip
STEPPED = [name for name in run.kinds if "leap" not in name]


SMALL = nqm.Problem.power_law(100)
PLAIN = nqm.SGD(0.3)
TWO_SETTINGS = [PLAIN, nqm.SGD(0.1, momentum=0.9)]


def simulate(algorithm=PLAIN, batch_size=8, steps=20, problem=SMALL, **arguments):
    return nqm.simulate(problem, algorithm, batch_size, steps, **arguments)


def simulate_to(path, algorithm=TWO_SETTINGS, batch_size=8, steps=60, problem=SMALL, **arguments):
    """A run in a file."""
    return simulate(algorithm, batch_size, steps, problem, threads=1, out=path, **arguments)


def random_words(seed, *shape):
    return np.random.default_rng(seed).integers(0, 2**32, shape, dtype=np.uint32)


def arbitrary_job(components, settings, leaves, law):
    """Arguments of a backend's functions that no algorithm here would give.

    The model has entries of every kind, the timeline two segments of different settings.
    """
    rng = np.random.default_rng(components)
    d = leaves * LEAF
    places = [
        (int(rng.integers(3)), a, b, int(rng.integers(-1, 2)))
        for a in range(components)
        for b in range(components + 1)
        for _ in range(rng.integers(1, 3))
    ]
    entries, offsets = np.array(places * settings), np.arange(settings + 1) * len(places)
    factors = rng.normal(size=len(entries)) / (4 * components)
    values, sigma, weight = rng.random((2, d)), rng.random(d), rng.random(d)
    read = rng.normal(size=(settings, components))
    model = Model(
        entries, offsets, factors, values, sigma, weight[None],
        np.array([[0, 0]]), np.zeros(0, dtype=np.int64), read,
        extremes(values, sigma, weight[None]),
    )  # fmt: skip
    segments = np.array([6, 10])
    shape = 2, settings
    timeline = Timeline(
        1, 10, segments, rng.normal(size=(*shape, 3)), rng.random(shape),
        rng.integers(1, 5, shape), np.array([1, 4, 6, 9, 10]),
    )  # fmt: skip
    stream = Noise(
        np.array([5, 6], dtype=np.uint64), np.array([3, 1]), 2**31, max(law, 0), law >= 0,
        np.float32(0.4),
    )  # fmt: skip
    return stream, model, timeline, rng.normal(size=(settings, 2, components, d))


def slow_where(slow, rows, thorough=lambda *_: False):
    """Parameters of a test: rows for which `slow(*row)` holds are left to the slow tests.

    Those for which `thorough` holds are left out by CI as well.
    """
    import pytest

    def marks(row):
        return [pytest.mark.slow] * slow(*row) + [pytest.mark.thorough] * thorough(*row)

    rows = [row if isinstance(row, tuple) else (row,) for row in rows]
    return [pytest.param(*row, marks=marks(row)) for row in rows]


def slow_to_compile(machine, *_):
    """Whether kernels must be compiled first; the few that fast tests need are in `kernels/`."""
    return machine == "numba"


# -- comparisons -------------------------------------------------------------------------


def assert_equal_or_absent(a, b):
    """Two arrays have the same numbers, to the last bit, or neither is there."""
    assert (a is None) == (b is None)
    assert a is None or np.array_equal(a, b)


def assert_same(a, b):
    """Two runs have the same numbers, to the last bit, and say the same of themselves."""
    assert a.observed.keys() == b.observed.keys()
    for name in ("steps", "diverged_at", "band_edges"):
        assert_equal_or_absent(getattr(a, name), getattr(b, name))
    for name, array in a.observed.items():
        assert np.array_equal(array, b.observed[name])
    assert (a.state is None) == (b.state is None)
    if a.state is not None:  # an array, or one for each setting
        for of_a, of_b in zip(a.state, b.state, strict=True):
            assert np.array_equal(of_a, of_b)
    assert (a.status, a.message) == (b.status, b.message)


def assert_same_problem(problem, other):
    """Two problems have the same fields, to the last bit, and the same risks."""
    assert problem.dim == other.dim
    for name in ("h", "c", "mean0", "var0", "count"):
        np.testing.assert_array_equal(getattr(problem, name), getattr(other, name))
    for algorithm in (nqm.SGD(0.3), nqm.SGD(0.3, momentum=0.9, ema=0.5, power=0.25)):
        risks = [nqm.expected_risk(p, algorithm, 4, [0, 1, 10, 1000]) for p in (problem, other)]
        np.testing.assert_array_equal(*risks)


def assert_consistent(problem, batch_size, target, best):
    """What the result of a search says of itself is true."""
    assert best.steps == nqm.steps_to_target(problem, best.algorithm, batch_size, target)
    assert best.risk <= target
    assert best.risk == nqm.expected_risk(problem, best.algorithm, batch_size, best.steps)
    if best.steps:
        assert nqm.expected_risk(problem, best.algorithm, batch_size, best.steps - 1) > target


# -- chunks, blocks, interruptions -------------------------------------------------------


def chunks_of(monkeypatch, *lengths):
    """Kernels are called for so many steps: the lengths in turn, then the first one again.

    A leap ends at a record, as always, here at the first one that is not before its length.
    Gives the list of the steps at which chunks have ended so far.
    """
    turns, ends = itertools.cycle(lengths), []

    def next_stop(sizer, done):
        end = done + next(turns)
        if sizer.task.leaps:
            records = sizer.task.records
            end = int(records[np.searchsorted(records[:-1], end)])
        ends.append(min(end, sizer.task.steps))
        return ends[-1]

    monkeypatch.setattr(chunking.ChunkSizer, "next_stop", next_stop)
    return ends


def stopped_at_the_first_chunk(monkeypatch):
    """A run is interrupted as soon as its first chunk is computed."""
    stopped = property(lambda controller: controller.signals.waiting)
    monkeypatch.setattr(controller.Controller, "stopped", stopped)


def in_blocks(monkeypatch, size):
    """Problems of any size are worked through in blocks of so many coordinates."""
    for limit in ("IN_MEMORY", "STREAMED"):
        monkeypatch.setattr(running, limit, 0)
    monkeypatch.setattr(loops, "block_size", lambda _: size)


# -- executors ----------------------------------------------------------------------------


class InProcess(Executor):
    """Computes in this process, at once; it counts tasks."""

    def __init__(self):
        self.tasks = []

    def submit(self, function, /, task):
        future = Future()
        self.tasks.append(task)
        try:
            future.set_result(function(task))
        except Exception as error:
            future.set_exception(error)
        return future


# -- other processes ---------------------------------------------------------------------


def python(*arguments, status=0, cwd=None, limit=None, **environment):
    """Run Python in a process of its own, to its end; `limit` is called in it first."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout[-5000:] + done.stderr
    return done


def long_run(action, path, order="steps"):
    """Arguments of Python for the run to kill and to watch that `long_run.py` describes."""
    return [str(HERE / "long_run.py"), action, str(path), order]


def command(*arguments):
    """The command line `nqm-fast`, in a process of its own."""
    code = "import sys; from nqm_fast.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, *arguments]


SMALL_RUN = ["--set", "problem.dim=200", "--set", "steps=50", "--set", "replicas=2"]
LONG_RUN = ["--set", "problem.dim=20000", "--set", "steps=10000000", "--set", "record=2000"]
LONG_RUN += ["--set", f"backend={BACKEND}"]


# -- runs that are broken off -------------------------------------------------------------


def break_off(monkeypatch, after, how):
    """Do something after so many parts of a run of whole paths; gives how many paths were done."""
    add, done = paths.Paths.add, []

    def added(self, part):
        add(self, part)
        done.append(self.done)
        if len(done) == after:
            how()

    monkeypatch.setattr(paths.Paths, "add", added)
    return done


def interrupted():
    """Send this process what Ctrl-C sends."""
    os.kill(os.getpid(), signal.SIGINT)
