"""Throughput of the simulation: medians, and ratios to peers that take turns in the same run.

One thread is used, and only the last step recorded, because peers record nothing. A test that
differs says so.
"""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from measuring import BATCH, HUGE, LR, PLAIN, Sizes, note, simulate
from peers import PEERS, NumPy, NumPyMomentum

import nqm_fast as nqm

SETTINGS = 64

TARGETS = {
    "NumPy": "14 times",
    "randompack + Numba": "2.5 times",
    "mkl_random + Numba": "4 times",
    "JAX float32": "6 times",
    "torch float32": "5 times",
}


def make_peer(kind: type, dim: int) -> Any:
    h = 1.0 / np.arange(1, dim + 1)
    return kind(h, h, BATCH, LR)


def stepper(kind: type, sizes: Sizes) -> Any:
    """Make a function that runs a peer, to take turns with."""
    peer = make_peer(kind, sizes.dim)
    return lambda: peer.step(sizes.peer_steps)


@pytest.mark.parametrize("name", [*PEERS, "momentum + EMA"])
def test_peers_simulate_the_model(name):
    """This is no benchmark: peers do the same work, as their risk shows."""
    kind = PEERS.get(name, NumPyMomentum)
    algorithm = PLAIN
    if kind is NumPyMomentum:
        algorithm = nqm.SGD(LR, momentum=kind.MOMENTUM, ema=kind.EMA)
    problem = nqm.Problem(np.ones(4096))
    for count in (3, 600):  # The start decays at first; later only noise is left.
        peer = kind(problem.h, problem.c, BATCH, LR)
        peer.step(count)
        x = (1.0 - kind.EMA) * peer.e if kind is NumPyMomentum else np.asarray(peer.w, float)
        expected = nqm.expected_risk(problem, algorithm, BATCH, count)
        assert 0.5 * (x @ x) == pytest.approx(expected, rel=0.12)  # 5 standard deviations


@pytest.mark.parametrize("name", PEERS)
def test_peer(benchmark, alternate, sizes, name):
    """Plain SGD with minibatch sampling, against each peer."""
    others = [stepper(PEERS[name], sizes)]
    if name != "NumPy":
        others.append(stepper(NumPy, sizes))
    ours, peer, *numpy = (
        1e9 * seconds / (steps * sizes.dim)
        for seconds, steps in zip(
            alternate(lambda: simulate(sizes.dim, PLAIN, sizes.steps), *others),
            [sizes.steps, sizes.peer_steps, sizes.peer_steps],
            strict=False,
        )
    )
    more = {"ratio to NumPy": (numpy or [peer])[0] / ours, "target": TARGETS.get(name, "")}
    note(benchmark, "plain SGD", ours, (name, peer), **more)


def test_momentum_and_ema(benchmark, alternate, sizes):
    """Momentum and EMA, against a loop in NumPy."""
    algorithm = nqm.SGD(LR, momentum=NumPyMomentum.MOMENTUM, ema=NumPyMomentum.EMA)
    seconds, others = alternate(
        lambda: simulate(sizes.dim, algorithm, sizes.steps), stepper(NumPyMomentum, sizes)
    )
    ours = 1e9 * seconds / (sizes.steps * sizes.dim)
    peer = 1e9 * others / (sizes.peer_steps * sizes.dim)
    more = {"ratio to NumPy": peer / ours, "target": "12 times"}
    note(benchmark, "momentum + EMA", ours, ("NumPy", peer), **more)


def test_settings(benchmark, alternate, sizes):
    """Many learning rates that share one stream of noise; time per setting."""
    algorithms = [nqm.SGD(lr) for lr in np.geomspace(0.001, 1.0, SETTINGS)]
    steps = max(sizes.steps // 4, 1)
    seconds, others = alternate(
        lambda: simulate(sizes.dim, algorithms, steps), stepper(NumPy, sizes)
    )
    ours = 1e9 * seconds / (steps * sizes.dim * SETTINGS)
    peer = 1e9 * others / (sizes.peer_steps * sizes.dim)
    more = {"ratio to NumPy": peer / ours, "target": "80 times"}
    work = f"plain SGD, {SETTINGS} settings on one stream, each"
    note(benchmark, work, ours, ("NumPy", peer), **more)


@pytest.mark.long
@pytest.mark.parametrize("work", ["plain SGD", "momentum + EMA"])
def test_compiled_ahead(benchmark, alternate, sizes, work):
    """The compiled extension against Numba, with the widest vectors of this processor."""
    pytest.importorskip("nqm_fast.kernels.cython_cpu")
    algorithm = nqm.SGD(LR, momentum=0.9, ema=0.9) if "EMA" in work else PLAIN
    cython, numba = (
        1e9 * seconds / (sizes.steps * sizes.dim)
        for seconds in alternate(
            lambda: simulate(sizes.dim, algorithm, sizes.steps, backend="cython"),
            lambda: simulate(sizes.dim, algorithm, sizes.steps, backend="numba"),
        )
    )
    target = {"target": "above 0.87 (1 / 1.15)"}
    note(benchmark, f'{work}, backend="cython"', cython, ('backend="numba"', numba), **target)


def test_two_threads(benchmark, alternate, sizes):
    """Two threads against one."""
    two, one = (
        1e9 * seconds / (sizes.steps * sizes.dim)
        for seconds in alternate(
            lambda: simulate(sizes.dim, PLAIN, sizes.steps, threads=2),
            lambda: simulate(sizes.dim, PLAIN, sizes.steps),
        )
    )
    more = {"threads": 2, "target": "1.85 times"}
    note(benchmark, "plain SGD, two threads", two, ("one thread", one), **more)


def test_per_sample(benchmark, alternate, sizes):
    """Sampling that draws every sample: signs, which are one bit each."""
    steps = max(sizes.steps // 4, 1)
    seconds, others = alternate(
        lambda: simulate(sizes.dim, PLAIN, steps, sampling="per-sample", data="rademacher"),
        stepper(NumPy, sizes),
    )
    ours = 1e9 * seconds / (steps * sizes.dim)
    peer = 1e9 * others / (sizes.peer_steps * sizes.dim)
    benchmark.extra_info |= {
        "work": f"plain SGD, each of {BATCH} Rademacher samples, per sample",
        "ns per coordinate-step": ours,
        "ns per sample": ours / BATCH,
        "ratio to NumPy": peer / ours,
        "threads": 1,
        "dtype": "float64",
        "target": "0.02 ns",
    }


def test_flat_in_dimension(benchmark, alternate, sizes):
    """Time from 10^3 to 10^8 coordinates, for equal coordinate-steps but at least 256 steps."""
    powers = range(8, 2, -1) if sizes.measured else (4, 3)
    dims = [10**k for k in powers]
    work = 64 * HUGE if sizes.measured else 1
    steps = [max(256 if sizes.measured else 4, work // dim) for dim in dims]
    seconds = alternate(
        *(
            lambda dim=dim, count=count: simulate(dim, PLAIN, count)
            for dim, count in zip(dims, steps, strict=True)
        ),
        rounds=3,
    )
    each = [1e9 * s / (dim * n) for s, dim, n in zip(seconds, dims, steps, strict=True)]
    work = f"plain SGD, d = 10^{powers[-1]} to 10^{powers[0]}, slowest"
    note(benchmark, work, max(each), ("fastest of these", min(each)), target="within 1.35")
    benchmark.extra_info |= {
        "ns by dimension": dict(zip(map(str, dims), each, strict=True)),
        "ratio": max(each) / min(each),  # The peer is the faster one here.
    }


MEMORY = """
import contextlib, json, sys

def resident(field):
    for line in open("/proc/self/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6

def forget_peak():
    with contextlib.suppress(OSError):  # Where it fails, earlier peaks count as well.
        open("/proc/self/clear_refs", "w").write("5")

forget_peak()
bare = resident("VmRSS")

import nqm_fast as nqm

def run(dim):
    nqm.simulate(nqm.Problem.power_law(dim), nqm.SGD(0.1), 64, 16, keep_state=False)

run(2000)
first, before = resident("VmHWM"), resident("VmRSS")
forget_peak()
run(int(sys.argv[1]))
peak = resident("VmHWM")
print(json.dumps([peak - before, max(peak, first) - bare]))
"""


def test_memory(benchmark, sizes):
    """Peak growth of a new process, on all cores and with the default records."""
    if not os.path.exists("/proc/self/clear_refs"):
        pytest.skip("peak memory is read from Linux's /proc")

    def run(dim: int) -> list[float]:
        command = [sys.executable, "-c", MEMORY, str(dim)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        return json.loads(answer.stdout)

    run(4000)  # The first run compiles.
    more, in_all = benchmark.pedantic(run, (sizes.huge,), rounds=1)
    benchmark.extra_info |= {
        "work": f"memory of a run of d = {sizes.huge:,}, keep_state=False",
        "MB": more,
        "MB with import and first call": in_all,
        "target": "below 100 MB",
    }


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None  # Importing it fails, as if it were not installed.
import nqm_fast as nqm
nqm.simulate(nqm.Problem.power_law(1000), nqm.SGD(0.1), 64, 100)
"""


def test_first_run_without_numba(benchmark):
    """A new process, from import to the end of a short simulation, where there is no Numba."""
    pytest.importorskip("nqm_fast.kernels.cython_cpu")
    command = [sys.executable, "-c", WITHOUT_NUMBA]
    benchmark.pedantic(lambda: subprocess.run(command, check=True), rounds=9, warmup_rounds=1)
    benchmark.extra_info |= {
        "work": "first run in a new process, without Numba",
        "target": "below 0.25 s",
    }
    if benchmark.enabled:
        benchmark.extra_info["seconds"] = benchmark.stats.stats.median


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_first_run(benchmark, tmp_path, sizes, cache):
    """A new process, from import to the end of a short simulation."""
    code = (
        "import nqm_fast as nqm; nqm.simulate(nqm.Problem.power_law(65_536), nqm.SGD(0.1), 64, 10)"
    )
    folders = iter(range(100))

    def run() -> None:
        environment = dict(os.environ)
        if sizes.measured:
            folder = tmp_path / (str(next(folders)) if cache == "cold" else "kept")
            environment["NUMBA_CACHE_DIR"] = str(folder)
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    warm = cache == "warm"
    benchmark.pedantic(run, rounds=5 if warm else 1, warmup_rounds=int(warm))
    benchmark.extra_info["work"] = "first run in a new process, " + (
        "from the cache" if warm else "compiling"
    )
    if benchmark.enabled:
        benchmark.extra_info["seconds"] = benchmark.stats.stats.median
