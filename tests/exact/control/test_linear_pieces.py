"""Pieces of any linear algorithm: their risk, its gradient, and the best of them."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from helpers import PROBLEMS

import nqm_fast as nqm
from nqm_fast.exact.control.linear_pieces import LinearModel
from nqm_fast.exact.control.piece_maps import plain_model
from nqm_fast.schedules import Piecewise

ALGORITHMS = {
    "plain": nqm.SGD(1.0, power=0.3),
    "momentum": nqm.SGD(1.0, momentum=0.9),
    "ema": nqm.SGD(1.0, ema=0.8),
    "both": nqm.SGD(1.0, momentum=0.7, ema=0.9, power=0.2),
    "nesterov": nqm.Nesterov(1.0, momentum=0.9),
    "pytorch": nqm.Nesterov(1.0, momentum=0.8, form="pytorch"),
    "qhm": nqm.QHM(1.0, momentum=0.95, nu=0.7),
    "ema of nesterov": nqm.EMA(nqm.Nesterov(1.0, momentum=0.5), 0.9),
    "delayed": nqm.DelayedSGD(1.0, 2),
}
every = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)


def pieces(count, longest):
    rng = np.random.default_rng(7)
    log_rates = np.log(rng.uniform(0.02, 0.3, count))
    return log_rates, rng.integers(1, longest, count), 1.0 / rng.uniform(1.0, 20.0, count)


def at_rates(algorithm, log_rates, lengths):
    return algorithm.with_hyper_parameters(lr=Piecewise(np.exp(log_rates), lengths))


@every
@pytest.mark.parametrize("name", ["general", "sigma"])
def test_the_risk_is_the_expected_risk(algorithm, name):
    problem = PROBLEMS[name]
    log_rates, lengths, inverse = pieces(7, 60)
    sweep = LinearModel(problem.block(0, problem.dim), algorithm).sweep(log_rates, lengths)
    risk, _ = sweep.risk_and_slope(inverse)
    exact = nqm.expected_risk(
        problem, at_rates(algorithm, log_rates, lengths), Piecewise(1.0 / inverse, lengths),
        int(lengths.sum()),
    )  # fmt: skip
    assert risk == pytest.approx(exact, rel=1e-11)
    # Without its noise a piece leaves less, by its weight.
    for k in range(7):
        less = sweep.risk_and_slope(inverse * (np.arange(7) != k))[0]
        assert risk - less == pytest.approx(
            inverse[k] * sweep.weights[k], rel=1e-9, abs=1e-12 * risk
        )


def test_plain_sgd_is_that_of_the_closed_form():
    problem = PROBLEMS["general"]
    block = problem.block(0, problem.dim)
    log_rates, lengths, inverse = pieces(6, 100)
    one = LinearModel(block, nqm.SGD(1.0, power=0.3)).sweep(log_rates, lengths)
    other = plain_model(block, 0.3).sweep(log_rates, lengths)
    assert one.weights == pytest.approx(other.weights, rel=1e-11)
    for a, b in zip(one.risk_and_slope(inverse), other.risk_and_slope(inverse), strict=True):
        assert a == pytest.approx(b, rel=1e-9)


def precise_risk(algorithm, h, c, moment, log_rates, lengths, inverse):
    """The risk of one coordinate in the digits of mpmath, step by step."""
    terms, start, read, _ = algorithm.recurrence(np.array([h]))

    def number(entry):
        value = entry[0] * entry[1] if isinstance(entry, tuple) else entry
        return mpmath.mpf(float(np.asarray(value).ravel()[0]))

    n = len(read)
    kept = mpmath.matrix(n, n)
    start = mpmath.matrix([mpmath.mpf(x) for x in start])
    kept = moment * start * start.T
    for x, length, inv in zip(log_rates, lengths, inverse, strict=True):
        weights = [mpmath.mpf(1), mpmath.exp(x)]
        matrix = mpmath.eye(n)
        kick = mpmath.matrix(n, 1)
        for weight, (change, kicks) in zip(weights, terms, strict=True):
            for a in range(n):
                kick[a] += weight * number(kicks[a])
                for b in range(n):
                    matrix[a, b] += weight * number(change[a][b])
        for _ in range(int(length)):
            kept = matrix * kept * matrix.T + kick * kick.T * c * mpmath.mpf(float(inv))
    read = mpmath.matrix([mpmath.mpf(x) for x in read])
    return mpmath.mpf(h) / 2 * (read.T * kept * read)[0]


@pytest.mark.parametrize("name", ["momentum", "ema", "nesterov", "qhm", "delayed"])
def test_the_gradient_is_that_of_finite_differences_in_50_digits(name):
    algorithm = ALGORITHMS[name]
    problem = nqm.Problem([0.7], 1.3, mean0=2.0, var0=0.0)
    log_rates, lengths, inverse = pieces(3, 9)
    sweep = LinearModel(problem.block(0, 1), algorithm).sweep(log_rates, lengths)
    _, slope = sweep.risk_and_slope(inverse)
    with mpmath.workdps(50):
        exact = [mpmath.mpf(float(x)) for x in log_rates]
        step = mpmath.mpf(10) ** -18
        for k in range(3):
            up, down = (
                precise_risk(
                    algorithm, 0.7, mpmath.mpf(1.3), mpmath.mpf(4),
                    [*exact[:k], exact[k] + d, *exact[k + 1 :]], lengths, inverse,
                )
                for d in (step, -step)
            )  # fmt: skip
            assert slope[k] == pytest.approx(float((up - down) / (2 * step)), rel=1e-10)


# -- the best pieces ---------------------------------------------------------------------


@pytest.mark.mostly_slow(1)
@pytest.mark.parametrize("name", ["momentum", "nesterov", "ema"])
def test_no_grid_beats_the_best_pieces(name):
    algorithm = ALGORITHMS[name]
    problem = nqm.Problem(np.geomspace(1.0, 0.05, 4), mean0=1.0)
    lengths, samples = [7, 5], 60
    best = nqm.optimal_control(
        problem, steps=12, samples=samples, pieces=lengths, algorithm=algorithm
    )
    lowest = math.inf
    rates = np.geomspace(0.03, nqm.largest_stable_lr(problem, algorithm, 1) * 0.999, 25)
    block = problem.block(0, 4)
    for pair in itertools.product(rates, rates):
        sweep = LinearModel(block, algorithm).sweep(np.log(pair), np.array(lengths))
        for size in range(1, 8):
            last = (samples - 7 * size) / 5
            if last >= 1:
                lowest = min(lowest, sweep.risk_and_slope(np.array([1 / size, 1 / last]))[0])
    assert best.risk <= lowest * (1.0 + 1e-9)
    assert best.risk >= 0.95 * lowest


@pytest.mark.slow
def test_momentum_goes_lower_than_plain_sgd_and_constants():
    problem = nqm.Problem.power_law(1000)
    budget = {"steps": 500, "samples": 2**14, "pieces": 16}
    plain = nqm.optimal_control(problem, **budget)
    momentum = nqm.SGD(1.0, momentum=0.9)
    best = nqm.optimal_control(problem, **budget, algorithm=momentum)
    assert best.algorithm.momentum == 0.9
    assert best.risk < plain.risk
    constant = nqm.optimal_control(problem, **budget, algorithm=momentum, over=())
    assert best.risk < constant.risk
    lr = constant.lr.values_[0]
    near = [
        nqm.expected_risk(problem, nqm.SGD(x, momentum=0.9), constant.batch_size, 500)
        for x in (lr * 0.95, lr, lr * 1.05)
    ]
    assert near[1] == pytest.approx(constant.risk) == min(near)
