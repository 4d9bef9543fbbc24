"""Noise that depends on the iterate: exact answers against matrices, digits, and each other."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from helpers import assert_consistent

import nqm_fast as nqm
from nqm_fast.exact.coupled import panels
from nqm_fast.noise import FinitePopulation, Gaussian, LossDependent
from nqm_fast.schedules import as_schedule

RNG = np.random.default_rng(19)
THREE = nqm.Problem([1, 0.5, 0.25], mean0=[1, -1, 2], var0=0)
ALGORITHMS = {
    "plain": nqm.SGD(0.5),
    "momentum": nqm.SGD(0.1, momentum=0.9),
    "ema": nqm.SGD(0.9, ema=0.99),
    "all": nqm.SGD(0.03, momentum=0.95, ema=0.9, power=0.3),
    "schedule": nqm.SGD(np.linspace(0.8, 0.1, 700), momentum=0.5),
    "pieces": nqm.SGD(nqm.schedules.Piecewise([0.5, 0.9, 0.1], [300, 10, 290])),
}


def entry(value, i):
    """An entry of a recurrence at coordinate i."""
    factor, array = value if isinstance(value, tuple) else (1.0, value)
    return factor * (array[i] if isinstance(array, np.ndarray) and array.ndim else array)


def dense(problem, algorithm, batch_size, steps, number=float):
    """Risk at steps 0 .. steps from the second moments of the joint state, as explicit matrices.

    The features' fourth moments give the covariance of the gradient, d x d.
    """
    h, noise, d = problem.h, problem.noise_model, problem.dim
    recurrence = algorithm.recurrence(h)
    n = len(recurrence.read)
    point = recurrence.gradient or [1.0] + [0.0] * (n - 1)
    _start, _read = (np.kron(x, np.eye(d)) for x in (recurrence.start, recurrence.read))
    gather = np.kron(np.array(point)[None], np.eye(d))
    second = np.outer(problem.mean0, problem.mean0) + np.diag(problem.var0)
    Z = np.kron(np.outer(recurrence.start, recurrence.start), second)
    lr = algorithm.lr.values(np.arange(steps))
    batch = as_schedule("batch_size", batch_size).values(np.arange(steps))
    risk = []
    for t in range(steps + 1):
        R = np.kron(np.array(recurrence.read)[None], np.eye(d))
        risk.append(0.5 * np.trace(np.diag(h) @ R @ Z @ R.T))
        if t == steps:
            break
        weights = algorithm.weights(lr[t : t + 1], np.array([t]))[0]
        A, b = np.eye(n * d), np.zeros((n * d, d))
        for weight, (matrix, kick) in zip(weights, recurrence.terms, strict=True):
            for i in range(d):
                for row in range(n):
                    b[row * d + i, i] += weight * entry(kick[row], i)
                    for column in range(n):
                        A[row * d + i, column * d + i] += weight * entry(matrix[row][column], i)
        Q = gather @ Z @ gather.T
        H, C = np.diag(h), np.diag(problem.c)
        if isinstance(noise, Gaussian):
            # E x x^T Q x x^T = 2 H Q H + H tr(H Q) for normal features, more on the diagonal.
            cov = H @ Q @ H + H * np.trace(H @ Q) + C
            cov += (noise.kurtosis - 3.0) * np.diag(h**2 * np.diag(Q))
        else:
            cov = C * (1.0 + noise.slope * 0.5 * np.trace(H @ Q))
        Z = A @ Z @ A.T + b @ cov @ b.T / batch[t]
    return np.array(risk)


@pytest.mark.parametrize(
    ("kurtosis", "batch_size", "risk"),
    [(3, 1, 0.540301124223), (3, 4, 0.288539501790), (1, 1, 0.391198156332)],
)
def test_reference_values(kurtosis, batch_size, risk):
    problem = THREE.with_noise(Gaussian(kurtosis, label_noise=0.3))
    assert nqm.expected_risk(problem, nqm.SGD(0.3), batch_size, 6) == pytest.approx(risk, abs=6e-13)


@pytest.mark.parametrize("noise", [Gaussian(), Gaussian(1.8, label_noise=0.2), LossDependent(0.7)])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_equals_dense_matrices(name, noise):
    h = np.geomspace(1.0, 0.01, 7)
    given = {"mean0": RNG.normal(size=7), "var0": RNG.uniform(size=7)}
    problem = nqm.Problem(h, RNG.uniform(size=7), **given).with_noise(noise)
    want = dense(problem, ALGORITHMS[name], 24, 600)
    got = nqm.expected_risk(problem, ALGORITHMS[name], 24, np.arange(601))
    np.testing.assert_allclose(got, want, rtol=1e-11)


@pytest.mark.parametrize("lr", [0.5, 1.1, 1.9])
def test_what_diverges_is_right_until_it_overflows(lr):
    problem = nqm.Problem.power_law(12).with_noise(Gaussian())
    want = dense(problem, nqm.SGD(lr), 1, 60)
    got = nqm.expected_risk(problem, nqm.SGD(lr), 1, np.arange(61))
    np.testing.assert_allclose(got, want, rtol=1e-10)
    assert nqm.expected_risk(problem, nqm.SGD(lr), 1, 10**6) == math.inf


def test_varying_batch_sizes_equal_dense_matrices():
    batch = np.linspace(4, 60, 400)
    problem = THREE.with_noise(Gaussian(label_noise=0.3))
    got = nqm.expected_risk(problem, nqm.SGD(0.2, momentum=0.5), batch, np.arange(401))
    want = dense(problem, nqm.SGD(0.2, momentum=0.5), batch, 400)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_fifty_digits_after_many_steps():
    """Powers of one matrix in 50 digits, of plain SGD without label noise, down to 1e-30."""
    h, lr, batch = [1.0, 0.5, 0.25, 1e-3], 0.4, 3
    problem = nqm.Problem(h, 0.0).with_noise(Gaussian())
    steps = [10, 1000, 10**5, 10**5 + 1]
    got = nqm.expected_risk(problem, nqm.SGD(lr), batch, steps)
    with mpmath.workdps(50):
        d = len(h)
        X = mpmath.zeros(d)
        for i in range(d):
            for j in range(d):
                X[i, j] = mpmath.mpf(lr) ** 2 * mpmath.mpf(h[i]) * mpmath.mpf(h[j]) / batch
            X[i, i] += (1 - mpmath.mpf(lr) * h[i]) ** 2 + mpmath.mpf(lr) ** 2 * h[i] ** 2 / batch
        for t, risk in zip(steps, got, strict=True):
            M = X**t * mpmath.ones(d, 1)
            want = sum(mpmath.mpf(x) * m for x, m in zip(h, M, strict=True)) / 2
            assert abs(risk / want - 1) < 1e-11


# -- many coordinates --------------------------------------------------------------------


def every_coordinate(problem, algorithm, batch_size, steps):
    """Risk from all coordinates, stepped one by one in arrays."""
    h, (own, shared, weight) = problem.h, problem.noise_model.coupling(problem.h, problem.c)
    lr, beta = algorithm.lr.value, algorithm.momentum
    ww = problem.mean0**2 + problem.var0
    wv, vv = np.zeros((2, h.size))
    risk = []
    for _ in range(steps + 1):
        risk.append(0.5 * np.sum(problem.count * h * ww))
        total = np.sum(problem.count * weight * ww)
        noise = (problem.c + own * ww + shared * total) / batch_size
        v_v = beta**2 * vv + 2 * beta * h * wv + h**2 * ww + noise
        w_v = beta * wv + h * ww
        ww, wv, vv = ww - 2 * lr * w_v + lr**2 * v_v, w_v - lr * v_v, v_v
    return np.array(risk)


@pytest.mark.parametrize("algorithm", [nqm.SGD(0.4), nqm.SGD(0.05, momentum=0.8)])
@pytest.mark.parametrize("kind", ["power law", "arrays", "loss"])
def test_nodes_stand_for_all_coordinates(algorithm, kind):
    if kind == "power law":
        problem = nqm.Problem.power_law(3000, noise_exponent=1.3).with_noise(Gaussian())
    else:
        h = np.sort(np.exp(-RNG.uniform(0.0, 8.0, 3000)))
        problem = nqm.Problem(h * 0.2, h**1.2 * RNG.uniform(size=3000), var0=RNG.uniform(size=3000))
        problem = problem.with_noise(Gaussian() if kind == "arrays" else LossDependent(0.01))
    want = every_coordinate(problem, algorithm, 512, 300)
    got = nqm.expected_risk(problem, algorithm, 512, np.arange(301))
    np.testing.assert_allclose(got, want, rtol=2e-11 if kind != "power law" else 2e-12)


def test_any_dimension_and_horizon():
    """The limit of many coordinates and steps is approached as it should be."""
    problem = nqm.Problem.power_law(10**12, start_exponent=1.5).with_noise(Gaussian())
    algorithm = nqm.SGD(0.05, momentum=0.9)
    risk = nqm.expected_risk(problem, algorithm, 256, [0, 10**3, 10**6, 10**9])
    assert np.all(np.diff(risk[:2]) < 0)
    assert np.isfinite(risk).all()
    same = nqm.expected_risk(problem, algorithm, 256, 10**9)
    assert same == pytest.approx(risk[-1], rel=1e-12)


# -- first passage and tuning ------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "momentum", "ema", "pieces"])
@pytest.mark.parametrize("share", [0.5, 0.03])
def test_first_passage_is_that_of_the_curve(name, share):
    problem = nqm.Problem.power_law(40).with_noise(Gaussian())
    risk = nqm.expected_risk(problem, ALGORITHMS[name], 500, np.arange(3000))
    target = share * risk[0]
    first = int(np.argmax(risk <= target))
    assert (risk <= target).any()
    assert nqm.steps_to_target(problem, ALGORITHMS[name], 500, target) == first


def test_a_target_below_the_plateau_is_never_reached():
    problem = THREE.with_noise(Gaussian(label_noise=0.3))
    assert nqm.steps_to_target(problem, nqm.SGD(0.3), 4, 1e-3) == math.inf


def test_tuned_rates_reach_the_target_in_the_fewest_steps():
    problem = nqm.Problem.power_law(300).with_noise(Gaussian())
    found = nqm.tune(problem, 32, 0.1)
    for factor in (0.9, 0.97, 1.03, 1.1):
        other = nqm.SGD(factor * found.algorithm.lr.value)
        assert nqm.steps_to_target(problem, other, 32, 0.1) >= found.steps
    assert nqm.steps_to_target(problem, found.algorithm, 32, 0.1) == found.steps
    assert found.steps > nqm.tune(problem.with_noise(None), 32, 0.1).steps


@pytest.mark.parametrize(
    ("over", "target"),
    [(["lr"], 0.1), pytest.param(["lr", "momentum"], 0.5, marks=pytest.mark.slow)],
)
def test_without_dependence_the_best_setting_is_that_of_additive_noise(over, target):
    """The search by first passages finds what that of additive noise does."""
    problem = nqm.Problem.power_law(10_000)
    want = nqm.tune(problem, 256, target, over, effort="fast")
    found = nqm.tune(problem.with_noise(LossDependent(0.0)), 256, target, over)
    assert found.steps == want.steps
    assert found.risk == pytest.approx(want.risk, rel=1e-8 if over == ["lr"] else 1e-3)


def test_tuned_momentum_is_consistent_and_better():
    problem = nqm.Problem.power_law(3000).with_noise(Gaussian())
    plain = nqm.tune(problem, 256, 0.3)
    found = nqm.tune(problem, 256, 0.3, ["lr", "momentum"])
    assert_consistent(problem, 256, 0.3, found)
    assert found.steps < plain.steps
    lr, momentum = found.algorithm.lr.value, found.algorithm.momentum
    for lr_factor in (0.9, 1.0, 1.1):
        for gap in (0.9, 1.0, 1.1):
            other = nqm.SGD(lr_factor * lr, momentum=1.0 - gap * (1.0 - momentum))
            assert nqm.steps_to_target(problem, other, 256, 0.3) >= found.steps


def test_a_target_that_nothing_reaches_has_the_lowest_risk():
    problem = nqm.Problem.power_law(300).with_noise(Gaussian())
    found = nqm.tune(problem, 32, 0.1, max_steps=100)
    assert found.steps == math.inf
    for factor in (0.9, 1.1):
        other = nqm.SGD(factor * found.algorithm.lr.value)
        assert nqm.expected_risk(problem, other, 32, 100) > found.risk


def test_steps_one_by_one_where_the_risk_oscillates(monkeypatch):
    """Panels are too long for what hardly loses momentum."""
    calls = []
    stepped = panels.Chain.stepped
    monkeypatch.setattr(panels.Chain, "stepped", lambda *given: calls.append(1) or stepped(*given))
    problem = nqm.Problem.power_law(40, noise_exponent=1.3)
    for noise in (Gaussian(1.5), LossDependent(0.5)):
        dependent = problem.with_noise(noise)
        algorithm = nqm.SGD(0.01, momentum=0.999)
        got = nqm.expected_risk(dependent, algorithm, 8, np.arange(3001))
        want = every_coordinate(dependent, algorithm, 8, 3000)
        np.testing.assert_allclose(got, want, rtol=1e-11)
    assert len(calls) > 4


@pytest.mark.parametrize("kind", [{}, {"momentum": 0.99}, {"momentum": 0.999, "ema": 0.9}])
def test_without_dependence_it_is_the_model_of_additive_noise(kind):
    problem = nqm.Problem.power_law(10_000)
    steps = np.unique(np.geomspace(1, 10**7, 50).astype(int))
    algorithm = nqm.SGD(0.9 * (1 - kind.get("momentum", 0)), **kind)
    want = nqm.expected_risk(problem, algorithm, 30, steps)
    got = nqm.expected_risk(problem.with_noise(LossDependent(0.0)), algorithm, 30, steps)
    np.testing.assert_allclose(got, want, rtol=1e-12)


# -- stability ---------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("kurtosis", [1.0, 3.0])
def test_largest_stable_lr_of_plain_sgd(batch_size, kurtosis):
    """The condition in closed form, of DESIGN's section on noise that depends on the iterate."""
    h = 1.0 / np.arange(1, 101)
    problem = nqm.Problem(h).with_noise(Gaussian(kurtosis))
    limit = nqm.largest_stable_lr(problem, nqm.SGD(0.1), batch_size)
    own = 1.0 + (kurtosis - 2.0) / batch_size

    def share(lr):
        return (lr / batch_size) * np.sum(h / (2.0 - lr * h * own))

    assert share(limit) == pytest.approx(1.0, rel=1e-9)
    for factor, is_stable in ((0.999, True), (1.001, False)):
        late = nqm.expected_risk(problem, nqm.SGD(factor * limit), batch_size, [10**6, 2 * 10**6])
        assert bool(np.isfinite(late[1]) and late[1] <= late[0] * (1 + 1e-9)) == is_stable


@pytest.mark.parametrize("kind", [{"momentum": 0.8}, {"ema": 0.9}, {"momentum": 0.5, "power": 0.5}])
def test_largest_stable_lr_separates_what_diverges(kind):
    problem = nqm.Problem(np.geomspace(1, 0.05, 9), 0.1).with_noise(Gaussian())
    limit = nqm.largest_stable_lr(problem, nqm.SGD(0.1, **kind), 3)
    below, above = (
        nqm.expected_risk(problem, nqm.SGD(x * limit, **kind), 3, [10**5, 10**6])
        for x in (0.995, 1.005)
    )
    assert below[1] == pytest.approx(below[0], rel=1e-6)
    assert above[1] == math.inf


PERIODIC = {
    "plain": nqm.Lookahead(nqm.SGD(0.1), 5, 0.5),
    "momentum": nqm.Lookahead(nqm.SGD(0.1, momentum=0.5), 4, 0.7),
    "average": nqm.EMA(nqm.Lookahead(nqm.SGD(0.1), 3, 0.5), 0.5),
}


@pytest.mark.mostly_slow(2)
@pytest.mark.parametrize(("name", "batch_size"), [*itertools.product(PERIODIC, [1, 4])])
def test_largest_stable_lr_of_a_period_separates_what_diverges(name, batch_size):
    problem = nqm.Problem(np.geomspace(1, 0.05, 9), 0.1).with_noise(Gaussian())
    limit = nqm.largest_stable_lr(problem, PERIODIC[name], batch_size)
    below, above = (
        nqm.expected_risk(
            problem, PERIODIC[name].with_hyper_parameters(lr=x * limit), batch_size, [1500, 3000]
        )
        for x in (0.98, 1.02)
    )
    assert below[1] == pytest.approx(below[0], rel=1e-2)
    assert above[1] > 1e3 * above[0]


def test_largest_stable_lr_in_other_words():
    problem = nqm.Problem.power_law(30).with_noise(Gaussian())
    limit = nqm.largest_stable_lr(problem, nqm.SGD(0.1, momentum=0.5), 4)
    same = nqm.Lookahead(nqm.SGD(0.1, momentum=0.5), 2, 1.0)
    assert nqm.largest_stable_lr(problem, same, 4) == pytest.approx(limit, rel=1e-9)
    accumulated = nqm.Accumulate(nqm.SGD(0.1, momentum=0.5), 4)
    assert nqm.largest_stable_lr(problem, accumulated, 1) == pytest.approx(limit, rel=1e-12)


def test_largest_stable_lr_of_additive_noise():
    problem = nqm.Problem.power_law(10_000, scale=2.0)
    assert nqm.largest_stable_lr(problem, nqm.SGD(0.1), 1) == pytest.approx(1.0)
    momentum = nqm.largest_stable_lr(problem, nqm.SGD(0.1, momentum=0.9), 1)
    assert momentum == pytest.approx(2 * 1.9 / 2.0)


# -- the parts ---------------------------------------------------------------------------


def test_panels_hold_polynomials_exactly():
    x = np.linspace(0, 1, 7)
    values = (panels.POINTS / 64) ** 16
    np.testing.assert_allclose(panels.interpolation(x) @ values, x**16, atol=1e-14)


def test_without_replacement_a_batch_of_all_has_no_noise():
    problem = nqm.Problem([1.0, 0.1]).with_noise(FinitePopulation(100))
    algorithm = nqm.SGD(0.5)
    still = nqm.expected_risk(nqm.Problem([1.0, 0.1], 0.0), algorithm, 1, 30)
    assert nqm.expected_risk(problem, algorithm, 100, 30) == pytest.approx(still, rel=1e-13)
    alike = nqm.expected_risk(problem.with_noise(None), algorithm, 25 * 99 / 75, 30)
    assert nqm.expected_risk(problem, algorithm, 25, 30) == pytest.approx(alike, rel=1e-13)
    with pytest.raises(nqm.InputError, match="batch_size must be at most 100"):
        nqm.expected_risk(problem, algorithm, 101, 30)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda p: nqm.risk_distribution(p, nqm.SGD(0.1), 4, 10), "risk_distribution"),
        (lambda p: nqm.optimal_schedule(p, 4, 0.1, 2), "optimal_schedule"),
        (lambda p: nqm.bounds.plain_risk(p, 0.1, 4, 10), "bounds"),
        (lambda p: nqm.epochs(p, nqm.SGD(0.1), 4, 16, 1), "epochs"),
    ],
)
def test_what_needs_the_same_noise_everywhere_says_so(call, name):
    with pytest.raises(nqm.InputError, match=f"everywhere for .*{name}"):
        call(THREE.with_noise(Gaussian()))
