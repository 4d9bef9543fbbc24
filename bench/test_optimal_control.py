"""The best learning rates and batch sizes of 64 pieces, at d = 10^12."""

import pytest

import nqm_fast as nqm

PROBLEM = nqm.Problem.power_law(10**12)
CASES = {
    "plain": (PROBLEM, nqm.SGD(1.0)),
    "momentum 0.9": (PROBLEM, nqm.SGD(1.0, momentum=0.9)),
    "plain, least squares": (PROBLEM.with_noise(nqm.noise.Gaussian()), nqm.SGD(1.0)),
}


@pytest.mark.parametrize("case", CASES)
def test_64_pieces(benchmark, case):
    """8192 steps with 2^20 samples."""
    problem, algorithm = CASES[case]
    given = {"steps": 8192, "samples": 2**20, "algorithm": algorithm}
    benchmark.pedantic(nqm.optimal_control, (problem,), given, rounds=3, warmup_rounds=1)
    benchmark.extra_info["target"] = "1 s"
