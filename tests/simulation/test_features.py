"""Simulated least squares on drawn features: the mean is the exact one, and bits are the same."""

import numpy as np
import pytest
from family import METHODS
from helpers import assert_same
from nqm_fast.kernels import present_backends
from nqm_fast.kernels.feature_laws import KURTOSIS as LAWS

import nqm_fast as nqm
from nqm_fast.noise import FinitePopulation, Gaussian

BACKENDS = [name for name in ("numpy", "numba", "cython") if name in present_backends()]
PROBLEM = nqm.Problem(1.0 / np.arange(1, 131), mean0=0.5, var0=0.2)


def noisy(kurtosis=3.0):
    return PROBLEM.with_noise(Gaussian(kurtosis, label_noise=0.3))


@pytest.mark.parametrize("law", LAWS)
def test_the_mean_risk_is_the_exact_one(law):
    problem, steps = noisy(LAWS[law]), [0, 1, 5, 20]
    algorithm = nqm.SGD(0.15, momentum=0.5)
    options = {"replicas": 1500, "record": steps, "seed": 3, "data": law}
    run = nqm.simulate(
        problem, algorithm, 6, 20, sampling="per-sample", backend=BACKENDS[-1], **options
    )
    want = nqm.expected_risk(problem, algorithm, 6, steps)
    error = run.risk.std(axis=0, ddof=1) / run.risk.shape[0] ** 0.5
    assert (np.abs(run.risk.mean(axis=0) - want) < 4.0 * error).all()
    additive = nqm.expected_risk(problem.with_noise(None), algorithm, 6, 20)
    assert abs(run.risk.mean(axis=0)[-1] - additive) > 8.0 * error[-1]


@pytest.mark.skipif(len(BACKENDS) < 2, reason="there is only NumPy")
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    "algorithm",
    [nqm.SGD(0.2), nqm.SGD(0.1, momentum=0.8), nqm.SGD(0.1, momentum=0.8, ema=0.9, power=0.5)],
)
def test_all_backends_have_the_same_bits(algorithm, law):
    runs = [
        nqm.simulate(
            noisy(LAWS[law]), algorithm, 5, 9,
            replicas=[2, 7], record=[0, 2, 9], seed=11, data=law, sampling="per-sample",
            keep_state=True, observe=["risk", "weight_norm"], bands=3, backend=name,
        )
        for name in BACKENDS
    ]  # fmt: skip
    for run in runs[1:]:
        assert {"risk", "weight_norm"} <= run.observed.keys()
        assert_same(run, runs[0])


@pytest.mark.parametrize("name", METHODS)
def test_backends_have_the_same_bits_for_all_methods(name):
    rest = {"replicas": 2, "record": 5, "keep_state": True}
    one, *others = (
        nqm.simulate(noisy(), METHODS[name], 2, 21, backend=backend, **rest) for backend in BACKENDS
    )
    for other in others:
        assert_same(one, other)


@pytest.mark.parametrize("name", ["QHM", "Schedule-Free", "Lookahead"])
def test_the_mean_risk_of_other_methods_is_the_exact_one(name):
    steps = [0, 1, 5, 20]
    how = {"replicas": 1000, "record": steps, "seed": 3, "backend": BACKENDS[-1]}
    run = nqm.simulate(noisy(), METHODS[name], 8, 20, **how)
    want = nqm.expected_risk(noisy(), METHODS[name], 8, steps)
    error = run.risk.std(axis=0, ddof=1) / run.risk.shape[0] ** 0.5
    assert (np.abs(run.risk.mean(axis=0) - want) < 4.0 * error).all()


def test_bits_do_not_depend_on_records_threads_or_other_replicas():
    few = nqm.simulate(noisy(), nqm.SGD(0.2), 3, 12, replicas=[4], record=[12], threads=1)
    many = nqm.simulate(noisy(), nqm.SGD(0.2), 3, 12, replicas=6, record=1, threads=2)
    assert few.risk[0, -1] == many.risk[4, -1]


def test_schedules_and_several_settings():
    algorithms = [nqm.SGD(0.1), nqm.SGD(np.linspace(0.2, 0.0, 10))]
    both = nqm.simulate(noisy(), algorithms, [4, 9], 10, replicas=2, record=[5, 10])
    alone = nqm.simulate(noisy(), algorithms[1], 9, 10, replicas=2, record=[5, 10])
    np.testing.assert_array_equal(both.risk[1], alone.risk)


def test_divergence_is_an_answer():
    run = nqm.simulate(noisy(), nqm.SGD(1.9), 1, 2000, replicas=1, record=100)
    assert run.status == "diverged"
    assert "stable up to" in run.message


@pytest.mark.parametrize(
    ("problem", "options", "message"),
    [
        (noisy(), {"sampling": "leap"}, "sampling must be 'minibatch' or 'per-sample'"),
        (noisy(), {"sampling": "collapsed"}, "sampling must be 'minibatch' or 'per-sample'"),
        (noisy(1.0), {}, "data = 'normal' must be features of the kurtosis 1"),
        (noisy(), {"executor": 2}, "executor must be left out"),
        (noisy(), {"coordinates": (0, 64)}, "coordinates must be left out"),
        (noisy(), {"batch_size": 2.5}, "batch_size must be whole numbers"),
        (noisy(), {"algorithm": nqm.Adam(0.1)}, "algorithm must be linear for noise that depends"),
        (PROBLEM.with_noise(FinitePopulation(99)), {}, "problem must have no description of noise"),
    ],
)
def test_what_cannot_be_simulated_says_so(problem, options, message):
    arguments = {"algorithm": nqm.SGD(0.1), "batch_size": 2, "replicas": 1} | options
    with pytest.raises(nqm.InputError, match=message):
        nqm.simulate(problem, steps=3, **arguments)
