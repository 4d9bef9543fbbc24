"""Collapsed sampling: its law, against the exact law and against sampled coordinates; its bits."""

import math

import numpy as np
import pytest
from scipy import stats

import nqm_fast as nqm
from nqm_fast import schedules

ALGORITHMS = {
    "plain": nqm.SGD(0.2),
    "momentum": nqm.SGD(0.1, momentum=0.8),
    "ema": nqm.SGD(0.3, ema=0.9),
    "momentum+ema": nqm.SGD(0.1, momentum=0.8, ema=0.7),
}
COUNTED = nqm.Problem(
    [1.0, 0.5, 0.1], mean0=[1.0, 0.0, 2.0], var0=[0.2, 1.0, 0.5], count=[2, 10, 40.5]
)
RISKS = {"record": [0, 1, 5, 40], "sampling": "collapsed"}


def listed(problem):
    """The same problem with every coordinate by itself."""
    count = problem.count.astype(int)
    fields = (np.repeat(x, count) for x in (problem.h, problem.c, problem.mean0, problem.var0))
    h, c, mean0, var0 = fields
    return nqm.Problem(h, c, mean0=mean0, var0=var0)


def assert_follows(risk, law, tests, number=0):
    """Whether risks follow the law of a step, by Kolmogorov's and Smirnov's test of several."""
    found = stats.ks_1samp(np.sort(risk)[:: max(risk.size // 500, 1)], law.cdf)
    assert found.pvalue > 1e-3 / tests, number


# -- laws --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_law_at_every_record_is_the_exact_one(name):
    algorithm = ALGORITHMS[name]
    run = nqm.simulate(COUNTED, algorithm, 4, 40, replicas=1000, seed=1, **RISKS)
    for k, step in enumerate(run.steps):
        law = nqm.risk_distribution(COUNTED, algorithm, 4, int(step))
        assert_follows(run.risk[:, k], law, 16, step)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_paths_are_those_of_sampled_coordinates(name):
    # 2000 coordinates, of which 50 are alike each; all tests together are exceeded once in 1000.
    h = np.repeat(np.geomspace(1.0, 1e-3, 40), 50)
    problem = nqm.Problem(h, 0.3 * h, mean0=0.5, var0=np.repeat(np.linspace(0.0, 2.0, 40), 50))
    given = {"replicas": 250, "record": [5, 60], "seed": 7}
    one = nqm.simulate(problem, ALGORITHMS[name], 2, 60, sampling="minibatch", **given)
    other = nqm.simulate(problem, ALGORITHMS[name], 2, 60, sampling="collapsed", **given)
    least = 1e-3 / (4 * len(ALGORITHMS))
    for k in range(2):
        assert stats.ks_2samp(one.risk[:, k], other.risk[:, k]).pvalue > least
    # The joint law of both times: their correlation, and a difference that it decides.
    difference = [np.diff(run.risk / one.risk.std(axis=0), axis=1)[:, 0] for run in (one, other)]
    assert stats.ks_2samp(*difference).pvalue > least
    correlations = [np.corrcoef(run.risk.T)[0, 1] for run in (one, other)]
    z = (np.arctanh(correlations[0]) - np.arctanh(correlations[1])) / math.sqrt(2.0 / (250 - 3))
    assert 2.0 * stats.norm.sf(abs(z)) > least


def test_two_times_are_correlated_as_they_should():
    # One step without noise from a risk of two kinds: the second risk follows from the first.
    problem = nqm.Problem([1.0, 0.5], 0.0, count=[30.0, 12.5])
    run = nqm.simulate(
        problem, nqm.SGD(0.5), 1, 3, replicas=4000, record=[0, 3], sampling="collapsed"
    )
    a, b = (0.5 * 30 * 1.0**2, 0.5 * 12.5 * 0.5**2), (0.5**6, 0.75**6)
    covariance = a[0] * b[0] + a[1] * b[1]
    assert np.cov(run.risk.T)[0, 1] == pytest.approx(covariance, rel=0.1)


def test_schedules_are_leapt_over():
    algorithm = nqm.SGD(schedules.Cosine(0.5, 100), momentum=0.5)
    batch = schedules.Linear(1, 9, 50)
    run = nqm.simulate(
        COUNTED, algorithm, batch, 10**6, replicas=1000, record=[7, 60, 10**6], sampling="collapsed"
    )
    for k, step in enumerate(run.steps):
        law = nqm.risk_distribution(COUNTED, algorithm, batch, int(step))
        assert_follows(run.risk[:, k], law, 3, step)


def test_many_coordinates_cost_as_few():
    problem = nqm.Problem([1.0, 1e-6], count=[3.0, 1e12])
    run = nqm.simulate(
        problem, nqm.SGD(0.1), 8, 10**9, replicas=400, sampling="collapsed", record=[10**9]
    )
    law = nqm.risk_distribution(problem, nqm.SGD(0.1), 8, 10**9)
    assert_follows(run.risk[:, 0], law, 1)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_nodes_stand_for_the_coordinates_of_a_power_law(name):
    problem, steps = nqm.Problem.power_law(10**12), [1, 10**4, 10**9]
    given = {"replicas": 400, "seed": 2, "sampling": "collapsed"}
    run = nqm.simulate(problem, ALGORITHMS[name], 64, 10**9, record=steps, **given)
    for k, step in enumerate(steps):
        law = nqm.risk_distribution(problem, ALGORITHMS[name], 64, step)
        assert_follows(run.risk[:, k], law, 12, step)


# -- bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_bits_do_not_depend_on_threads_or_other_replicas(name):
    problem = nqm.Problem(np.geomspace(1, 1e-4, 700), count=np.geomspace(1, 100, 700).round())
    given = {"seed": 2**64 - 1, "sampling": "collapsed", "record": [0, 3, 50]}
    algorithm = ALGORITHMS[name]
    whole = nqm.simulate(problem, algorithm, 4, 50, replicas=60, threads=2, **given)
    single = nqm.simulate(problem, algorithm, 4, 50, replicas=60, threads=1, **given)
    some = nqm.simulate(problem, algorithm, 4, 50, replicas=[59, 3], **given)
    assert np.array_equal(whole.risk, single.risk)
    assert np.array_equal(whole.risk[[59, 3]], some.risk)
    assert np.unique(whole.risk[:, 0]).size == 60


def test_counts_have_the_bits_of_coordinates_that_are_alike():
    problem = nqm.Problem([0.1, 1.0, 0.5], mean0=0.5, count=[40, 2, 10])
    runs = [
        nqm.simulate(p, nqm.SGD(0.1), 4, 40, replicas=9, **RISKS)
        for p in (problem, listed(problem))
    ]
    assert np.array_equal(runs[0].risk, runs[1].risk)


def test_settings_of_a_list_have_the_noise_of_each():
    both = [nqm.SGD(0.1, momentum=0.5), nqm.SGD(0.3)]
    run = nqm.simulate(COUNTED, both, 4, 40, replicas=5, **RISKS)
    assert run.risk.shape == (2, 5, 4)
    for k in range(2):
        alone = nqm.simulate(COUNTED, both[k], 4, 40, replicas=5, **RISKS)
        assert np.array_equal(run.risk[k], alone.risk)


# -- what is recorded ----------------------------------------------------------------------------


def test_bands_and_norm_are_recorded():
    run = nqm.simulate(
        COUNTED,
        nqm.SGD(0.1),
        4,
        40,
        replicas=3,
        bands=[0.05, 0.3, 1.0],
        observe="weight_norm",
        **RISKS,
    )
    assert run.band_risk.shape == (3, 4, 2)
    assert run.band_risk.sum(axis=-1) == pytest.approx(run.risk, rel=1e-13)
    assert (run.weight_norm > 2.0 * run.risk).all()
    assert run.to_xarray().sizes["replica"] == 3
    assert run.experiment.sampling == "collapsed"
    assert run.stats["backend"] == "numpy"


def test_no_record_at_all_is_fine():
    run = nqm.simulate(COUNTED, nqm.SGD(0.1), 4, 40, sampling="collapsed", record=[])
    assert run.risk.shape == (1, 0)


def test_a_setting_that_diverges_is_infinite_from_then_on():
    run = nqm.simulate(
        COUNTED, nqm.SGD(3.0), 4, 10**6, replicas=3, **(RISKS | {"record": [1, 10**5, 10**6]})
    )
    assert run.status == "diverged"
    assert run.diverged_at.tolist() == [10**5] * 3
    assert np.isfinite(run.risk).tolist() == [[True, False, False]] * 3


# -- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keep_state": True}, "keep_state must be False for sampling='collapsed'"),
        ({"coordinates": (0, 64)}, "coordinates must be left out for sampling='collapsed'"),
        ({"data": "laplace"}, "data='laplace' needs sampling='per-sample'"),
        ({"backend": "numba"}, "backend must be 'numpy' or 'auto' for sampling='collapsed'"),
        ({"executor": 2}, "executor must be left out for sampling='collapsed'"),
    ],
)
def test_what_it_does_not_have_is_refused(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problem = nqm.Problem(np.ones(200))
    with pytest.raises(nqm.InputError, match=said):
        nqm.simulate(problem, nqm.SGD(0.1), 4, 10, sampling="collapsed", **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("count", "momentum"), [(0.5, 0.0), (2.5, 0.5)])
def test_a_count_too_low_for_a_wishart_matrix_is_refused(count, momentum):
    problem = nqm.Problem([1.0, 0.5], count=[count, 10.0])
    with pytest.raises(nqm.InputError, match=f"count must be whole, or at least .* {count}"):
        nqm.simulate(problem, nqm.SGD(0.1, momentum=momentum), 4, 10, sampling="collapsed")


def test_too_many_different_coordinates_are_refused():
    problem = nqm.Problem.power_law(10**9)
    with pytest.raises(nqm.InputError, match="problem has 1000000000 coordinates"):
        nqm.simulate(problem, nqm.SGD(0.1), 4, 10, sampling="collapsed", bands=3)
