"""The lowest risk within a number of steps: brute force, closed forms, and `tune` turned around."""

import math

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

import nqm_fast as nqm
from nqm_fast import schedules

LAW = nqm.Problem.power_law(300)


@pytest.mark.parametrize("steps", [1, 10, 1000])
def test_the_lowest_of_all_learning_rates(steps):
    """The risk of plain SGD as written down by the paper, minimised by SciPy."""
    h = 1.0 / np.arange(1, 301)

    def risk(lr):
        decay = (1.0 - lr * h) ** (2 * steps)
        return 0.5 * (decay * h + (1.0 - decay) * lr * h / (16 * (2.0 - lr * h))).sum()

    expected = scipy.optimize.minimize_scalar(risk, bounds=(0.0, 2.0), method="bounded")
    grid = min(risk(lr) for lr in np.linspace(1e-4, 1.999, 2000))
    best = nqm.best_risk(LAW, 16, steps)
    assert best.steps == steps
    assert math.isclose(best.risk, expected.fun, rel_tol=1e-6)
    assert best.risk <= grid
    assert best.risk == nqm.expected_risk(LAW, best.algorithm, 16, steps)


def test_one_step_of_one_coordinate():
    """``(1 - lr)^2 / 2 + lr^2 c / (2 B)`` is lowest at ``lr = 1 / (1 + c / B)``."""
    best = nqm.best_risk(nqm.Problem([1.0], [3.0]), 2, 1)
    assert math.isclose(best.algorithm.lr.value, 1.0 / 2.5, rel_tol=1e-5)
    assert math.isclose(best.risk, 0.5 * (1.0 - 1.0 / 2.5), rel_tol=1e-9)


@pytest.mark.parametrize("steps", [10**9, 10**13, 10**18])
def test_so_many_steps_want_learning_rates_below_those_of_the_grid(steps):
    """One coordinate has the risk ``((1 - lr)^(2 S) + lr / (B (2 - lr))) / 2`` in the end."""
    lr = np.geomspace(1.0, 1e3, 100_000) / steps
    risks = 0.5 * (np.exp(2.0 * steps * np.log1p(-lr)) + lr / (2.0 - lr) / 16)
    best = nqm.best_risk(nqm.Problem([1.0]), 16, steps)
    assert math.isclose(best.risk, risks.min(), rel_tol=1e-6)


def test_it_is_tune_turned_around():
    target = 0.05
    best = nqm.tune(LAW, 64, target, over=("lr", "momentum"))
    at, before = (
        nqm.best_risk(LAW, 64, steps, over=("lr", "momentum")).risk
        for steps in (best.steps, best.steps - 1)
    )
    assert at <= target < before


def test_more_hyper_parameters_are_never_worse():
    one, two, three = (
        nqm.best_risk(LAW, 16, 200, over=names).risk
        for names in (("lr",), ("lr", "ema"), ("lr", "momentum", "ema"))
    )
    assert three <= two < one


@settings(max_examples=25)
@given(
    lr=st.floats(1e-3, 2.0),
    batch_size=st.floats(1.0, 1e6),
    steps=st.integers(1, 10**6),
    exponent=st.floats(0.3, 2.0),
)
def test_no_setting_is_better(lr, batch_size, steps, exponent):
    problem = nqm.Problem.power_law(100, exponent)
    best = nqm.best_risk(problem, batch_size, steps)
    assert best.risk <= nqm.expected_risk(problem, nqm.SGD(lr), batch_size, steps) * (1 + 1e-9)


def test_without_noise_one_coordinate_is_solved_in_a_step():
    best = nqm.best_risk(nqm.Problem([0.5], c=0.0), 1, 7)
    assert best.steps == 7
    assert best.risk < 1e-12


def test_other_algorithms_noise_and_batch_sizes():
    problem = nqm.Problem.power_law(60).with_noise(nqm.noise.Gaussian())
    small, large = nqm.best_risk(problem, [2, 32], 100, algorithm=nqm.Nesterov, momentum=0.5)
    assert small.risk > large.risk
    other = large.algorithm.with_hyper_parameters(lr=0.9 * large.algorithm.lr.value)
    assert large.risk < nqm.expected_risk(problem, other, 32, 100)
    ramp = schedules.Piecewise([4.0, 64.0], [50, 50])
    assert nqm.best_risk(LAW, ramp, 100).risk < nqm.best_risk(LAW, 4, 100).risk


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"problem": 3}, "problem must be"),
        ({"steps": 0}, "steps must be a whole number >= 1, not 0"),
        ({"steps": 2.5}, "steps must be a whole number >= 1, not 2.5"),
        ({"batch_size": 0.5}, "batch_size must be >= 1"),
        (
            {"batch_size": schedules.PerStep(np.ones(10)), "steps": 11},
            "steps must be at most 10, for which the schedules have values, not 11",
        ),
        ({"over": ()}, "over must name one or more"),
        ({"effort": "some"}, "effort must be one of"),
        ({"algorithm": nqm.Adam}, "algorithm must be linear here"),
        ({"algorithm": nqm.DelayedSGD}, "DelayedSGD needs delay, which must be given as delay="),
    ],
)
def test_mistakes_are_named(changed, message):
    usual = {"problem": LAW, "batch_size": 4, "steps": 3}
    with pytest.raises(nqm.InputError, match=message):
        nqm.best_risk(**(usual | changed))
