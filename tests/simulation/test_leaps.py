"""The state at a record has the same law, whether it was reached by a leap or by steps."""

from itertools import combinations, product

import numpy as np
import pytest
from nqm_fast.kernels.exact import vectorized
from scipy import stats
from statistical_cases import ALGORITHMS, BATCHES, CHANCE, JUMPED, example, limit_for, sgd

import nqm_fast as nqm

CURVATURES = np.geomspace(3e-3, 1.0, 8)
ALIKE = 71  # coordinates of each curvature, which stand for more replicas
STOPS = {"one": (1,), "two": (2,), "three": (3,), "forty": (3, 10, 40), "two thousand": (2000,)}
LEAPS = list(product(ALGORITHMS, JUMPED, STOPS))


def states(name, rate, stops, sampling, seed, **arguments):
    """States after the last stop, (components, curvatures, samples)."""
    h = np.repeat(CURVATURES, ALIKE)
    problem = nqm.Problem(h, 0.3 / h, mean0=1.0 / np.sqrt(h), var0=0.0)
    batch = BATCHES["grows"] if rate == "pieces" else 2
    how = {"replicas": 50, "record": stops, "sampling": sampling, "seed": seed, **arguments}
    run = nqm.simulate(problem, sgd(name, rate), batch, stops[-1], keep_state=True, **how)
    by_curvature = run.state.reshape(*run.state.shape[:2], CURVATURES.size, ALIKE)
    return np.concatenate(list(by_curvature), axis=-1)


def p_values_of_two(a, b):
    """P-values of Kolmogorov-Smirnov tests, and of the means of products of two components."""
    p = list(stats.ks_2samp(a, b, axis=-1, method="asymp").pvalue.ravel())
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (a, b))
    for i, j in combinations(range(len(a)), 2):
        x, y = a[i] * a[j], b[i] * b[j]
        error = np.sqrt(x.var(axis=-1) / x.shape[-1] + y.var(axis=-1) / y.shape[-1])
        z = (x.mean(axis=-1) - y.mean(axis=-1)) / error
        p += list(2 * stats.norm.sf(np.abs(z)))
    return np.array(p)


P_LIMIT = CHANCE / (len(LEAPS) * CURVATURES.size * 3)  # components and pairs: 3 on average


@pytest.mark.mostly_slow(10)
@pytest.mark.parametrize(("name", "rate", "stops"), LEAPS)
def test_leaps_end_where_steps_do(name, rate, stops):
    seed = 2 * LEAPS.index((name, rate, stops))
    leapt = states(name, rate, STOPS[stops], "leap", seed)
    walked = states(name, rate, STOPS[stops], "minibatch", seed + 1)
    assert p_values_of_two(leapt, walked).min() > P_LIMIT


def test_components_that_are_functions_of_others():
    """One step has one source of noise, two have two, although a leap draws three normals."""
    lr, beta, gamma, power = 0.1, 0.7, 0.8, 0.5
    assert sgd("all", "constant") == nqm.SGD(lr, momentum=beta, ema=gamma, power=power)
    scale = 1.0 / np.sqrt(CURVATURES[:, None])  # of w and e, begin with w = scale
    k = lr * scale
    w, v, e = states("all", "constant", (1,), "leap", 3)
    assert np.abs((w + k * v) / scale - 1.0).max() < 1e-6
    assert np.abs((e - (1 - gamma) * w) / scale - gamma).max() < 1e-6
    w, v, e = states("all", "constant", (2,), "leap", 3)
    middle = gamma * scale + (1 - gamma) * (w + k * v)
    assert np.abs((e - gamma * middle - (1 - gamma) * w) / scale).max() < 1e-6


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_leap_of_a_billion_steps(name):
    problem, algorithm = example(4, False, 0), sgd(name, "constant")
    how = {"sampling": "leap", "record": [10**9], "replicas": 20_000}
    risk = nqm.simulate(problem, algorithm, 4, 10**9, **how).risk[:, 0]
    z = (risk.mean() - nqm.expected_risk(problem, algorithm, 4, 10**9)) / stats.sem(risk)
    assert abs(z) < limit_for(len(ALGORITHMS))


# -- these tests can fail: deliberate errors ---------------------------------------------


def without_covariances(zeros, leaves, whole, scale, L):
    """Take the roots of the variances, which are behind the map and its diagonal."""
    n, d = len(zeros), scale.size
    L[:] = 0.0
    for a in range(n):
        variance = whole.reshape(-1, d)[n * n + n + a * (a + 1) // 2 + a]
        L.reshape(n, n, d)[a, a] = np.sqrt(variance) * scale


@pytest.mark.mostly_slow(1)
@pytest.mark.parametrize("name", ["momentum", "ema", "all"])
def test_a_leap_with_independent_components_is_seen(name, monkeypatch):
    walked = states(name, "constant", (3,), "minibatch", 1)
    leapt = states(name, "constant", (3,), "leap", 0, backend="numpy")
    assert p_values_of_two(leapt, walked).min() > P_LIMIT
    monkeypatch.setattr(vectorized.load()["leap_map"], "_factorize", without_covariances)
    leapt = states(name, "constant", (3,), "leap", 0, backend="numpy")
    assert p_values_of_two(leapt, walked).min() < P_LIMIT


@pytest.mark.mostly_slow(1)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_leap_that_is_short_of_a_step_is_seen(name):
    walked = states(name, "constant", (3,), "minibatch", 1)
    assert p_values_of_two(states(name, "constant", (2,), "leap", 0), walked).min() < P_LIMIT


def test_leaps_of_a_setting_do_not_depend_on_the_others():
    """A leap ends where the setting's own schedules change, not where those of others do."""
    changing = nqm.schedules.Piecewise([0.2, 0.1, 0.05], [13, 20, 7])
    settings = [nqm.SGD(0.1), nqm.SGD(changing), nqm.SGD(0.3, momentum=0.5), nqm.SGD(0.2)]
    sizes = [8, 16, nqm.schedules.Piecewise([4, 8], [31, 1]), 32]
    problem = nqm.Problem.power_law(130)
    arguments = {"steps": 60, "sampling": "leap", "record": [10, 40, 60], "replicas": 2}
    together = nqm.simulate(problem, settings, sizes, **arguments)
    for g, (setting, size) in enumerate(zip(settings, sizes, strict=True)):
        alone = nqm.simulate(problem, setting, size, **arguments)
        assert np.array_equal(together.risk[g], alone.risk)


@pytest.mark.parametrize("exponent", [-480, -300, 300, 480])
def test_leaps_do_not_depend_on_the_unit_of_curvature(exponent):
    """They have the same risk to the last bit, in units that differ by a power of two."""

    def risk(unit):
        problem = nqm.Problem([unit], [unit], var0=[1.0 / unit])
        given = {"sampling": "leap", "replicas": 3, "record": [0, 10, 1000]}
        return nqm.simulate(problem, nqm.SGD(0.1 / unit, momentum=0.9), 4, 1000, **given).risk

    assert np.array_equal(risk(2.0**exponent), risk(1.0))


def test_noise_of_components_that_do_not_fit_together():
    """The velocity of a curvature of 1e170 has noise of 1e170, and the iterate of 1: no risk."""
    unit = 2.0**560
    problem = nqm.Problem([unit], [unit], var0=[1.0 / unit])
    with pytest.raises(nqm.InputError, match=r"holds the noise .* by a factor of 4e\+169"):
        nqm.simulate(problem, nqm.SGD(0.1 / unit, momentum=0.9), 4, 9, sampling="leap")
    nqm.simulate(problem, nqm.SGD(0.1 / unit), 4, 9, sampling="leap")
    # A rate that falls that far has begun with noise beside which its own is nothing.
    falling = nqm.schedules.Piecewise([0.1, 1e-170], [5, 5])
    nqm.simulate(nqm.Problem([1.0]), nqm.SGD(falling, momentum=0.9), 4, 9, sampling="leap")
