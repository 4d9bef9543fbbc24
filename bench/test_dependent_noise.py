"""Exact risk under noise that depends on the iterate, or on a data set."""

import numpy as np
import pytest

import nqm_fast as nqm

RNG = np.random.default_rng(0)
ALGORITHMS = {"plain": nqm.SGD(0.5), "momentum": nqm.SGD(0.05, momentum=0.9)}


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_a_thousand_records_of_a_million_steps(benchmark, kind):
    problem = nqm.Problem.power_law(10_000).with_noise(nqm.noise.Gaussian())
    steps = np.unique(np.geomspace(1, 10**6, 1000).astype(int))
    benchmark(nqm.expected_risk, problem, ALGORITHMS[kind], 64, steps)


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_a_billion_steps_of_all_dimensions(benchmark, kind):
    problem = nqm.Problem.power_law(10**12).with_noise(nqm.noise.Gaussian())
    benchmark(nqm.expected_risk, problem, ALGORITHMS[kind], 256, 10**9)


@pytest.mark.parametrize("noise", [nqm.noise.Gaussian(), nqm.noise.LossDependent(1.0)], ids=str)
def test_simulated_steps(benchmark, noise):
    """400 steps of 10,000 coordinates that go in step; a step of a batch of 1 draws one sample."""
    problem = nqm.Problem.power_law(10_000).with_noise(noise)
    how = {"batch_size": 1, "steps": 400, "record": [400], "threads": 1}
    benchmark(nqm.simulate, problem, nqm.SGD(0.1), **how)


@pytest.mark.long
def test_a_data_set(benchmark):
    """2000 steps of a data set with as many rows and features as the images of digits have."""
    X = RNG.normal(size=(1797, 64)) / np.sqrt(np.arange(1, 65))
    problem = nqm.Problem.from_least_squares(X, RNG.normal(size=1797), noise="data")
    benchmark.pedantic(nqm.expected_risk, (problem, nqm.SGD(0.1), 4, 2000), rounds=3)
