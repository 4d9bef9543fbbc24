"""Least squares on a finite data set: exact moments against all possible batches, and epochs."""

from itertools import combinations, product

import numpy as np
import pytest

import nqm_fast as nqm

RNG = np.random.default_rng(3)
X, Y = RNG.normal([0.3, 0.0], size=(5, 2)), RNG.normal(size=5)
RIDGE = 0.2
HESSIAN = X.T @ X / 5 + RIDGE * np.eye(2)
OPTIMUM = np.linalg.solve(HESSIAN, X.T @ Y / 5)


def excess(w):
    return 0.5 * (w - OPTIMUM) @ HESSIAN @ (w - OPTIMUM)


def mean_over_batches(batches, steps, lr, momentum=0.0):
    """The mean excess loss of SGD over all sequences of batches, each as likely."""
    states = [(np.zeros(2), np.zeros(2))]
    for _ in range(steps):
        later = []
        for w, v in states:
            for batch in batches:
                x, y = X[list(batch)], Y[list(batch)]
                moved = momentum * v + x.T @ (x @ w - y) / len(y) + RIDGE * w
                later.append((w - lr * moved, moved))
        states = later
    return np.mean([excess(w) for w, _ in states])


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_data_noise_equals_the_mean_over_all_batches(replace, momentum):
    pairs = list(product(range(5), repeat=2)) if replace else list(combinations(range(5), 2))
    problem = nqm.Problem.from_least_squares(X, Y, ridge=RIDGE, noise="data", replace=replace)
    algorithm = nqm.SGD(0.3, momentum=momentum)
    for steps in (0, 1, 2, 3):
        want = mean_over_batches(pairs, steps, 0.3, momentum)
        got = nqm.expected_risk(problem, algorithm, 2, steps)
        assert got == pytest.approx(want, rel=1e-12)


def test_a_batch_of_all_different_rows_has_no_noise():
    problem = nqm.Problem.from_least_squares(X, Y, ridge=RIDGE, noise="data", replace=False)
    still = nqm.Problem.from_least_squares(X, Y, ridge=RIDGE)
    still = nqm.Problem(still.h, 0.0, mean0=still.mean0, var0=0.0)
    got, want = (nqm.expected_risk(p, nqm.SGD(0.3), 5, [1, 9]) for p in (problem, still))
    np.testing.assert_allclose(got, want, rtol=1e-12)
    with pytest.raises(nqm.InputError, match="batch_size must be at most 5"):
        nqm.expected_risk(problem, nqm.SGD(0.3), 6, 1)


def test_dropped_directions_and_damping_are_left_to_the_rest():
    doubled = np.hstack([X, X[:, :1]])
    problem = nqm.Problem.from_least_squares(doubled, Y, noise="data", negative="drop")
    assert problem.dim == 2
    assert problem.noise_model.rows.shape == (5, 2)
    features = problem.noise_model.rows
    np.testing.assert_allclose(features.T @ features / 5, np.diag(problem.h), atol=1e-14)


def test_first_passage_with_data_noise():
    problem = nqm.Problem.from_least_squares(X, Y, ridge=RIDGE, noise="data")
    risk = nqm.expected_risk(problem, nqm.SGD(0.2), 4, np.arange(60))
    target = 0.5 * (risk[0] + risk[-1])
    assert nqm.steps_to_target(problem, nqm.SGD(0.2), 4, target) == np.argmax(risk <= target)
    assert nqm.steps_to_target(problem, nqm.SGD(0.2), 4, 0.1 * risk.min()) == np.inf


# -- epochs ------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_epochs_of_plain_sgd_have_the_closed_form(batch_size):
    problem = nqm.Problem([1.0, 0.1, 1e-5], [0.5, 2.0, 1.0], mean0=[1, 0, 2], var0=[0, 1, 1])
    n, lr = 64, 0.3
    steps = n // batch_size
    c = problem.c / batch_size * (n - batch_size) / (n - 1)
    a = 1.0 - lr * problem.h
    powers = a ** np.arange(steps)[:, None]
    added = lr**2 * c * (steps * (powers**2).sum(0) - powers.sum(0) ** 2) / (steps - 1)
    moment = problem.mean0**2 + problem.var0
    risk = [0.5 * problem.h @ moment]
    for _ in range(3):
        moment = a ** (2 * steps) * moment + added
        risk.append(0.5 * problem.h @ moment)
    got = nqm.epochs(problem, nqm.SGD(lr), batch_size, n, [0, 1, 2, 3])
    np.testing.assert_allclose(got, risk, rtol=1e-9)


def test_epochs_with_momentum_equal_sampled_orders():
    """Noise of a finite set of numbers, in random order."""
    n, epochs, runs, algorithm = 12, 2, 40_000, nqm.SGD(0.2, momentum=0.7)
    rng = np.random.default_rng(5)
    noise = rng.normal(size=n)
    noise -= noise.mean()
    w, v = np.ones(runs), np.zeros(runs)
    for _ in range(epochs):
        order = rng.permuted(np.tile(noise, (runs, 1)), axis=1).reshape(runs, -1, 3).mean(axis=2)
        for xi in order.T:
            v = 0.7 * v + w + xi
            w = w - 0.2 * v
    problem = nqm.Problem([1.0], float(np.mean(noise**2)), mean0=1.0, var0=0.0)
    want = 0.5 * w**2
    error = want.std() / runs**0.5
    assert abs(nqm.epochs(problem, algorithm, 3, n, epochs) - want.mean()) < 4 * error


def test_epochs_need_whole_batches():
    with pytest.raises(nqm.InputError, match="batch_size must be a divisor of samples"):
        nqm.epochs(nqm.Problem([1.0]), nqm.SGD(0.1), 5, 64, 1)
