"""What several test modules share: two oracles, and a guard against endless searches."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import settings
from nqm_fast.kernels.contract import LEAF, Model, Noise, Timeline
from nqm_fast.kernels.reference import stepped_risk

from nqm_fast import kernels
from nqm_fast.schedules import as_schedule

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=60, database=None)
settings.load_profile("fixed")


# -- the simulator of GPUs, which is slow and a process of its own: begun first, asked last ---

ASKING = "test_the_same_bits_in_the_simulator"
SIMULATOR = pytest.StashKey[tuple[subprocess.Popen, Path]]()


@pytest.hookimpl(trylast=True)  # after others have deselected items
def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: item.name == ASKING)
    asked = items and items[-1].name == ASKING and find_spec("numba_cuda")
    if asked and not config.option.collectonly:
        said = Path(tempfile.mkdtemp(), "output")
        with said.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_cuda.py"],
                cwd=Path(__file__).parent,
                env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        config.stash[SIMULATOR] = process, said


def pytest_unconfigure(config):
    if SIMULATOR in config.stash:
        process, said = config.stash[SIMULATOR]
        process.kill()
        process.wait()
        shutil.rmtree(said.parent)


@pytest.fixture
def simulator(request):
    """Waits for the tests there; gives their status and what they said."""

    def wait():
        process, said = request.config.stash[SIMULATOR]
        return process.wait(), said.read_text()

    return wait


LEVELS = ("baseline", "x86-64-v3", "x86-64-v4")
MACHINES = ("numba", *(f"cython, {level}" for level in LEVELS), "numpy")


@contextmanager
def machine_in_use(name):
    """The backend that a name like "cython, x86-64-v3" stands for; skips where it is not there."""
    backend, _, level = name.partition(", ")
    if backend not in kernels.present_backends():
        pytest.skip(f"{backend} is not installed")
    if not level:
        yield backend
        return
    module = kernels.load_backend(backend)
    if level not in module.levels():
        pytest.skip(f"{level} is not built, or not a part of this processor")
    before = module.level()
    module.use_level(level)
    yield backend
    module.use_level(before)


@pytest.fixture(params=MACHINES)
def machine(request):
    """Every backend, and every level of processors that there is code for."""
    with machine_in_use(request.param) as backend:
        yield backend


@pytest.fixture(scope="session")
def stepped():
    """Risk at steps 0 .. last, from stepping the covariance with the in-tree oracle."""

    def risk(problem, algorithm, batch_size, last):
        steps = np.arange(last)
        return stepped_risk(
            problem.h,
            problem.c,
            problem.mean0**2 + problem.var0,
            problem.count,
            algorithm.lr.values(steps),
            as_schedule("batch_size", batch_size).values(steps),
            algorithm.momentum,
            algorithm.ema,
            algorithm.power,
        )

    return risk


def times(a, b):
    n = range(3)
    return [[sum(a[i][k] * b[k][j] for k in n) for j in n] for i in n]


def congruent(m, v):
    return times(times(m, v), list(zip(*m, strict=True)))


def plus(a, b):
    return [[x + y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def coordinate_risk(h, c, moment, algorithm, batch_size, steps):
    """The covariance recursion as an affine map, composed by repeated squaring."""
    lr, beta, gamma, power = (
        mpmath.mpf(float(x))
        for x in (algorithm.lr.value, algorithm.momentum, algorithm.ema, algorithm.power)
    )
    k = lr * h**-power
    one, zero = mpmath.mpf(1), mpmath.mpf(0)
    w = [one - k * h, -k * beta, zero]
    A = [w, [h, beta, zero], [(1 - gamma) * w[0], (1 - gamma) * w[1], gamma]]
    kick = [-k, one, -(1 - gamma) * k]
    V = [[c / batch_size * x * y for y in kick] for x in kick]
    S = [[moment, zero, moment], [zero] * 3, [moment, zero, moment]]
    states = dict.fromkeys(steps, S)
    for bit in range(max(steps).bit_length()):
        for t in steps:
            if t >> bit & 1:
                states[t] = plus(congruent(A, states[t]), V)
        A, V = times(A, A), plus(V, congruent(A, V))
    return [h / 2 * states[t][2][2] for t in steps]


@pytest.fixture(scope="session")
def risk_to_60_digits():
    """Risk at a few steps, from the covariance recursion in 60 digits."""

    def risk(problem, algorithm, batch_size, steps):
        with mpmath.workdps(60):
            total = [mpmath.mpf(0)] * len(steps)
            fields = (problem.h, problem.c, problem.mean0, problem.var0, problem.count)
            for coordinate in zip(*fields, strict=True):
                h, c, mean, variance, count = (mpmath.mpf(float(x)) for x in coordinate)
                part = coordinate_risk(h, c, mean**2 + variance, algorithm, batch_size, steps)
                total = [x + count * y for x, y in zip(total, part, strict=True)]
            return [float(x) for x in total]

    return risk


@pytest.fixture
def patience():
    """Fail instead of hanging, where a search that visits 1e9 steps would take hours."""

    def give_up(*_):
        raise AssertionError("still searching after 20 seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def arbitrary_job(components, settings, leaves, law):
    """With every kind of entry, and two segments of different settings."""
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


@pytest.fixture(scope="session")
def arbitrary():
    """Arguments of a backend's functions that no algorithm here would give."""
    return arbitrary_job
