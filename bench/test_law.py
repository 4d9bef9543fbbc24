"""Speed of the law of the risk: medians, at any dimension.

Paths are compared with the random numbers that they need at least, drawn by NumPy in the same run.
"""

import time

import numpy as np
import pytest

import nqm_fast as nqm

HUGE = nqm.Problem.power_law(10**12)
PLAIN, MOMENTUM = nqm.SGD(0.5), nqm.SGD(0.1, momentum=0.9)
ALGORITHMS = pytest.mark.parametrize("algorithm", [PLAIN, MOMENTUM], ids=["plain", "momentum"])
LAST = 10**9
REPLICAS = 1000


@ALGORITHMS
def test_quantiles_at_a_hundred_steps(benchmark, algorithm):
    """The whole answer, from the problem to a quantile at each of 100 steps; 0.2 s at most."""
    steps = np.geomspace(1, LAST, 100).astype(np.int64)

    def quantiles():
        return nqm.risk_distribution(HUGE, algorithm, 64, steps).quantile(0.95)

    benchmark.pedantic(quantiles, rounds=7, warmup_rounds=1)


@pytest.mark.long
@ALGORITHMS
def test_collapsed_paths(benchmark, algorithm):
    """1000 replicas of some 190 records; ten times as many in 30 s, with momentum in 120 s."""

    def paths():
        return nqm.simulate(
            HUGE, algorithm, 64, LAST, replicas=REPLICAS, sampling="collapsed", progress=False
        )

    benchmark.pedantic(paths, rounds=3, warmup_rounds=1)
    if benchmark.enabled:
        leaps = REPLICAS * (paths().steps.size - 1)
        generator = np.random.Generator(np.random.SFC64(0))
        begin = time.perf_counter()
        generator.standard_normal(10**6)
        generator.standard_gamma(np.full(10**6, 7.5))
        drawn = time.perf_counter() - begin
        benchmark.extra_info["ms per record of 1000 replicas"] = (
            1e3 * benchmark.stats.stats.median / leaps * REPLICAS
        )
        benchmark.extra_info["normals and gammas per leap of a replica"] = (
            benchmark.stats.stats.median / leaps / (drawn / 10**6)
        )


def test_collapsed_paths_in_a_file(benchmark, alternate, tmp_path):
    """Time of a run that is written to a file, in turns with the same run in memory."""

    def paths(**given):
        return nqm.simulate(
            HUGE, PLAIN, 64, LAST, replicas=200, sampling="collapsed", progress=False, **given
        )

    there, here = alternate(lambda: paths(out=tmp_path / "run.h5", overwrite=True), paths, rounds=3)
    benchmark.extra_info["times the run in memory"] = there / here


def test_first_passage_of_single_runs(benchmark):
    risk = nqm.expected_risk(HUGE, PLAIN, 64, 10**6)

    def passage():
        return nqm.first_passage_distribution(
            HUGE, PLAIN, 64, risk, replicas=REPLICAS, progress=False
        )

    benchmark.pedantic(passage, rounds=3, warmup_rounds=0)
