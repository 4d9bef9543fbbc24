"""Speed of the exact model: medians, and ratios to a peer measured in the same run."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import figures, kernels

LARGE = 10**7

PLAIN = nqm.SGD(0.01)
MOMENTUM = nqm.SGD(0.01, momentum=0.9)
ALL = nqm.SGD(0.01, momentum=0.9, ema=0.99, power=0.5)


def median_seconds(function: Callable[[], Any], rounds: int = 7) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return median(times)


@pytest.fixture(scope="module")
def large() -> nqm.Problem:
    h = 1.0 / np.arange(1, LARGE + 1)
    return nqm.Problem(h, h.copy())


@pytest.mark.parametrize(
    "algorithm", [PLAIN, MOMENTUM, ALL], ids=["plain", "momentum", "momentum+ema+power"]
)
@pytest.mark.parametrize("cores", [1, 2])
def test_risk_at_one_step(benchmark, monkeypatch, large, algorithm, cores):
    """10^7 eigenvalues, against one NumPy pass over h and c (which uses one core)."""
    monkeypatch.setenv("NQM_NUM_THREADS", str(cores))
    h, c = large.h, large.c
    benchmark.pedantic(nqm.expected_risk, (large, algorithm, 64, 20_000), rounds=7, warmup_rounds=1)
    if benchmark.enabled:
        one_pass = median_seconds(lambda: (h.sum(), c.sum()))
        benchmark.extra_info["cores"] = cores
        benchmark.extra_info["numpy passes"] = benchmark.stats.stats.median / one_pass


WORK = {
    "risk, plain": lambda p, by: nqm.expected_risk(p, PLAIN, 64, [20_000], backend=by),
    "risk, momentum + EMA": lambda p, by: nqm.expected_risk(p, ALL, 64, [20_000], backend=by),
    "steps to target": lambda p, by: nqm.steps_to_target(p, MOMENTUM, 64, 0.01, backend=by),
    "tune": lambda p, by: nqm.tune(p, 64, 0.01, ("lr",), backend=by),
}


@pytest.mark.long
@pytest.mark.parametrize("backend", ["cython", "numpy"])
@pytest.mark.parametrize("work", WORK)
def test_without_numba(benchmark, alternate, work, backend):
    """Time of the exact model with another backend, in turns with Numba."""
    if backend not in kernels.present_backends():
        pytest.skip(f"{backend} is not installed")

    def by(name: str) -> Callable[[], Any]:
        return lambda: WORK[work](nqm.Problem.power_law(10_000), name)

    other, numba = alternate(by(backend), by("numba"), rounds=5)
    benchmark.extra_info |= {"times Numba's": other / numba, "target": "below 5 for cython"}


@pytest.mark.parametrize("over", [("lr",), ("lr", "momentum"), ("lr", "ema")], ids="+".join)
@pytest.mark.parametrize("batch_size", [64, 2**14])
def test_tune(benchmark, over, batch_size):
    """The paper's problem, made anew each time, so that no nodes are remembered."""
    benchmark.pedantic(
        lambda: nqm.tune(nqm.Problem.power_law(10_000), batch_size, 0.01, over),
        rounds=7,
        warmup_rounds=1,
    )


@pytest.mark.parametrize("over", [("lr",), ("lr", "momentum")], ids="+".join)
def test_frontier(benchmark, over):
    """Twenty batch sizes of the paper's problem, made anew each time."""
    ask = lambda: nqm.frontier(nqm.Problem.power_law(10_000), 0.01, over=over)  # noqa: E731
    benchmark.pedantic(ask, rounds=3, warmup_rounds=1)
    benchmark.extra_info["target"] = "0.5 s" if over == ("lr",) else "4 s"


ANY_DIM = {
    "plain": (nqm.SGD(0.5), {"risk": 1.0, "steps": 3.0}),
    "momentum 0.9": (nqm.SGD(0.5, momentum=0.9), {"risk": 1.0, "steps": 20.0}),
    "momentum 0.9999": (nqm.SGD(0.5, momentum=0.9999), {"risk": 10.0}),
}
"""Algorithms, and the milliseconds that they may take on two cores that are free."""


@pytest.mark.parametrize("kind", ANY_DIM)
@pytest.mark.parametrize("dim", [10**4, 10**8, 10**12])
def test_risk_at_any_dimension(benchmark, kind, dim):
    """Ten steps from 1 to 10^9."""
    problem, (algorithm, limits) = nqm.Problem.power_law(dim), ANY_DIM[kind]
    steps = np.geomspace(1, 10**9, 10).astype(int)
    nqm.expected_risk(problem, algorithm, 64, steps)
    benchmark.pedantic(nqm.expected_risk, (problem, algorithm, 64, steps), rounds=31)
    benchmark.extra_info["target"] = f"{limits['risk']:g} ms"


@pytest.mark.parametrize("kind", ["plain", "momentum 0.9"])
@pytest.mark.parametrize("dim", [10**4, 10**8, 10**12])
def test_steps_to_target_at_any_dimension(benchmark, kind, dim):
    """A fifth of the initial risk."""
    problem, (algorithm, limits) = nqm.Problem.power_law(dim), ANY_DIM[kind]
    target = 0.2 * nqm.expected_risk(problem, algorithm, 2**20, 0)
    ask = lambda: nqm.steps_to_target(problem, algorithm, 2**20, target, max_steps=10**15)  # noqa: E731
    assert ask() < np.inf
    benchmark.pedantic(ask, rounds=15)
    benchmark.extra_info["target"] = f"{limits['steps']:g} ms, the same for all within 2"


@pytest.mark.parametrize("over", [("lr",), ("lr", "momentum")], ids="+".join)
@pytest.mark.parametrize("dim", [10**4, 10**12])
def test_tune_at_any_dimension(benchmark, over, dim):
    """A fifth of the initial risk."""
    problem = nqm.Problem.power_law(dim)
    target = 0.2 * nqm.expected_risk(problem, PLAIN, 64, 0)
    ask = lambda: nqm.tune(problem, 64, target, over, max_steps=10**15)  # noqa: E731
    benchmark.pedantic(ask, rounds=5, warmup_rounds=1)
    benchmark.extra_info["target"] = "30 ms" if over == ("lr",) else "1 s"


@pytest.mark.parametrize("asked", ["first", "again"])
def test_steps_to_target_of_random_curvatures(benchmark, asked):
    """Curvatures and noise of 10^7 coordinates at random, against one NumPy pass over both."""
    rng = np.random.default_rng(0)
    h, c = rng.random(LARGE), rng.random(LARGE)
    known = nqm.Problem(h, c)
    target = 0.2 * nqm.expected_risk(known, PLAIN, 2**24, 0)

    def ask(problem: nqm.Problem) -> None:
        assert nqm.steps_to_target(problem, PLAIN, 2**24, target) < np.inf

    def setup() -> Any:
        return (nqm.Problem(h, c) if asked == "first" else known,), {}

    benchmark.pedantic(ask, setup=setup, rounds=3, warmup_rounds=1)
    if benchmark.enabled:
        one_pass = median_seconds(lambda: (h.sum(), c.sum()))
        benchmark.extra_info["numpy passes"] = benchmark.stats.stats.median / one_pass
    benchmark.extra_info["target"] = "10 passes" if asked == "first" else "20 ms"


@pytest.mark.parametrize("algorithm", [nqm.SGD(0.2), MOMENTUM, ALL], ids=repr)
def test_steps_to_target(benchmark, algorithm):
    problem = nqm.Problem.power_law(10_000)
    benchmark.pedantic(
        nqm.steps_to_target, (problem, algorithm, 64, 0.02), rounds=7, warmup_rounds=1
    )


def test_schedule(benchmark):
    """One pass over 10^4 steps of a varying learning rate, 200 records."""
    problem = nqm.Problem.power_law(10_000)
    algorithm = nqm.SGD(nqm.schedules.Cosine(1.0, 10_000))
    steps = np.unique(np.geomspace(1, 10_000, 200).astype(int))
    benchmark.pedantic(
        nqm.expected_risk, (problem, algorithm, 64, steps), rounds=5, warmup_rounds=1
    )


def test_all_figures(benchmark, tmp_path):
    benchmark.pedantic(figures.draw, ((), tmp_path), rounds=1, warmup_rounds=1)


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_first_call(benchmark, tmp_path, cache):
    """A new process, from import to the first answer of tune over lr and momentum."""
    code = (
        "import nqm_fast as nqm;"
        "nqm.tune(nqm.Problem.power_law(10_000), 64, 0.01, ('lr', 'momentum'))"
    )
    folders = iter(range(100))

    def run() -> None:
        folder = tmp_path / (str(next(folders)) if cache == "cold" else "kept")
        environment = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    warm = cache == "warm"
    benchmark.pedantic(run, rounds=5 if warm else 1, warmup_rounds=int(warm))
