"""Throughput where people really run, each against the yardstick that takes turns with it.

The yardstick is one long run of plain SGD with a constant learning rate. Time is per coordinate,
step and replica, of one thread.
"""

import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
from measuring import BATCH, LR, PLAIN, note, simulate

import nqm_fast as nqm
from nqm_fast import schedules

YARDSTICK = "constant learning rate, d = 65,536"


class Work(NamedTuple):
    """A run, of which the yardstick takes about as long."""

    dim: int
    steps: int
    replicas: int = 1
    options: dict[str, Any] = {}  # noqa: RUF012
    """Arguments of `simulate`, or functions of the number of steps that make them."""
    target: str = ""

    def run(self, share: float) -> int:
        """Run a share of the steps; returns the coordinate-steps."""
        steps = max(round(share * self.steps), 2)
        options = {k: v(steps) if callable(v) else v for k, v in self.options.items()}
        algorithm = options.pop("algorithm", PLAIN)
        options = {"record": [steps], "threads": 1, "replicas": self.replicas} | options
        problem = nqm.Problem.power_law(self.dim)
        nqm.simulate(problem, algorithm, BATCH, steps, **options)
        return self.dim * steps * self.replicas


WORKS = {
    "cosine schedule": Work(
        65_536, 4096, options={"algorithm": lambda n: nqm.SGD(schedules.Cosine(LR, n))},
        target="above 0.87 (1 / 1.15)",
    ),
    "every step recorded": Work(
        65_536, 4096, options={"record": lambda n: np.arange(1, n + 1)},
        target="above 0.77 (1 / 1.3)",
    ),
    "d = 16, 1000 replicas": Work(16, 16_384, 1000, target="above 0.77 (1 / 1.3)"),
    "d = 10, one replica, 40,000 steps": Work(10, 40_000, target="2.5 ns"),
    "d = 10^7, 16 steps": Work(
        10**7, 16, options={"keep_state": False}, target="above 0.71 (1 / 1.4)"
    ),
    "d = 10^6, 64 steps": Work(
        10**6, 64, options={"keep_state": False}, target="above 0.83 (1 / 1.2)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WORKS)
def test_against_the_yardstick(benchmark, alternate, sizes, name):
    """One kind of work against a long run with a constant learning rate."""
    work = WORKS[name]
    share = 1.0 if sizes.measured else 1e-3
    counts: list[int] = []
    seconds, yardstick = alternate(
        lambda: counts.append(work.run(share)), lambda: simulate(sizes.dim, PLAIN, sizes.steps)
    )
    ours = 1e9 * seconds / counts[-1]
    each = 1e9 * yardstick / (sizes.steps * sizes.dim)
    note(benchmark, f"plain SGD, {name}", ours, (YARDSTICK, each), target=work.target)


@pytest.mark.parametrize("law", ["student-t", "laplace", "uniform"])
def test_laws_per_sample(benchmark, alternate, sizes, law):
    """Every sample of a law drawn, against every sample of the normal law."""
    steps = max(sizes.steps // 64, 1)

    def run(data: str) -> None:
        simulate(sizes.dim, PLAIN, steps, sampling="per-sample", data=data)

    ours, normal = (
        1e9 * seconds / (steps * sizes.dim * BATCH)
        for seconds in alternate(lambda: run(law), lambda: run("normal"))
    )
    benchmark.extra_info |= {
        "work": f"plain SGD, {law} samples, each sample",
        "ns per sample": ours,
        "peer": "normal samples",
        "peer ns": normal,
        "ratio": normal / ours,
        "threads": 1,
        "dtype": "float64",
        "target": "above 0.5 (1 / 2)",
    }


AVX2 = """
import json, sys, time
import numpy as np
import nqm_fast as nqm
problem = nqm.Problem.power_law(int(sys.argv[1]))
steps, seconds = int(sys.argv[2]), []
for _ in range(6):
    start = time.perf_counter()
    nqm.simulate(problem, nqm.SGD(0.1), 64, steps, record=[steps], threads=1, backend=sys.argv[3])
    seconds.append(time.perf_counter() - start)
print(json.dumps(1e9 * float(np.median(seconds[1:])) / (problem.dim * steps)))
"""
AVX2_ONLY = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+lzcnt,+movbe",
    "NQM_CPU_LEVEL": "x86-64-v3",
}


@pytest.mark.long
def test_compiled_ahead_without_avx512(benchmark, sizes, tmp_path):
    """The extension's level for processors with AVX2 alone, against Numba for those."""
    extension = pytest.importorskip("nqm_fast.kernels.cython_cpu")
    if "x86-64-v3" not in extension.levels():
        pytest.skip("the extension has no level x86-64-v3 here")
    environment = os.environ | AVX2_ONLY | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def measured(backend: str) -> float:
        command = [sys.executable, "-c", AVX2, str(sizes.dim), str(sizes.steps), backend]
        answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        return float(json.loads(answer.stdout))

    cython, numba = benchmark.pedantic(lambda: (measured("cython"), measured("numba")), rounds=1)
    work = 'plain SGD, backend="cython" with AVX2 alone'
    target = {"target": "above 0.63 (1 / 1.6)"}
    note(benchmark, work, cython, ('backend="numba" with AVX2 alone', numba), **target)
