"""Steps to a target and the best hyper-parameters, by simulation, against the exact answers."""

import math

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast.runs.steps import Curves
from nqm_fast.runs.tuning import _pattern, _score

PROBLEM = nqm.Problem.power_law(400)
SGD = nqm.SGD(0.3)


def found(algorithm=SGD, target=0.3, batch_size=16, **changes):
    return nqm.simulated_steps_to_target(PROBLEM, algorithm, batch_size, target, **changes)


def test_a_linear_algorithm_takes_its_exact_steps():
    """The interval holds the exact step, and many replicas make it narrow."""
    exact = nqm.steps_to_target(PROBLEM, SGD, 16, 0.3)
    few, many = found(replicas=4), found(replicas=64)
    for answer in (few, many):
        assert answer.low <= answer.steps <= answer.high
        assert answer.low <= exact <= answer.high
        assert answer.risk <= 0.3
    assert many.high - many.low < few.high - few.low
    assert abs(many.steps / exact - 1) < 0.1


def test_every_step_is_looked_at():
    """The answer is the first step at which the mean of the runs is at the target."""
    run = nqm.simulate(PROBLEM, nqm.Adam(0.02), 16, 300, replicas=5, seed=3, record=1)
    mean = run.risk.mean(axis=0)
    answer = found(nqm.Adam(0.02), 0.5, replicas=5, seed=3)
    assert answer.steps == int(np.flatnonzero(mean <= 0.5)[0])
    assert answer.risk == mean[answer.steps]


def test_what_is_at_the_target_and_what_never_is():
    assert found(target=100.0)[:3] == (0, 0, 0)
    never = found(nqm.SGD(1e-9), max_steps=300)
    assert never[:3] == (math.inf, math.inf, math.inf)
    assert never.risk > 2
    assert found(nqm.SGD(1e3), max_steps=300).steps == math.inf  # it diverges
    assert found(nqm.SGD(np.full(10, 0.3))).steps == math.inf  # its schedule ends


def test_long_runs_are_looked_at_where_they_are_near(monkeypatch):
    exact = found(nqm.SGD(0.05), replicas=8)
    monkeypatch.setattr("nqm_fast.runs.steps.DENSE", 40)
    coarse = found(nqm.SGD(0.05), replicas=8)
    assert exact.steps > 100
    assert 0 <= coarse.steps - exact.steps <= 0.1 * exact.steps


def test_intervals_of_curves():
    curves = Curves(np.arange(4), np.array([4.0, 2.0, 1.0, 0.5]), np.array([0, 1.5, 0.3, 0.1]))
    assert curves.passage(1.0)[:3] == (2, 1, 3)
    assert curves.passage(0.45) == (math.inf, 3, math.inf, 0.5)


# -- tuning ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "over"), [(16, ("lr",)), (1024, ("lr",)), (1024, ("lr", "momentum"))]
)
def test_linear_algorithms_are_tuned_as_by_the_exact_model(batch_size, over):
    exact = nqm.tune(PROBLEM, batch_size, 0.2, over)
    best = nqm.tune(PROBLEM, batch_size, 0.2, over, by="simulation", max_steps=10**4)
    assert 0.9 * exact.steps <= best.high
    assert best.low <= 1.3 * exact.steps
    again = nqm.steps_to_target(PROBLEM, best.algorithm, batch_size, 0.2)
    # Where momentum makes the risk oscillate, the exact search finds narrow troughs.
    assert exact.steps <= again <= (1.1 if len(over) == 1 else 1.3) * exact.steps + 1


def test_the_grid_is_left_where_the_best_is_at_its_edge(monkeypatch):
    usual = nqm.tune(PROBLEM, 64, 0.5, by="simulation")
    monkeypatch.setattr("nqm_fast.runs.tuning.DECADES", 0)
    monkeypatch.setattr("nqm_fast.runs.tuning.Search.largest_lr", lambda _: 1e-3)
    far = nqm.tune(PROBLEM, 64, 0.5, by="simulation")
    assert far.algorithm.lr.value > 0.1
    assert abs(far.steps - usual.steps) <= 0.1 * usual.steps + 1


def test_adam_is_tuned():
    """No other rate of a fine grid is much better, and several batch sizes give as many answers."""
    small, large = nqm.tune(PROBLEM, [8, 512], 0.3, algorithm=nqm.Adam, by="simulation")
    assert large.steps < small.steps
    assert large.algorithm.lr.value > small.algorithm.lr.value
    for lr in np.geomspace(0.2, 5.0, 7) * large.algorithm.lr.value:
        other = found(nqm.Adam(lr), 0.3, 512, max_steps=10 * large.steps)
        assert other.steps >= 0.93 * large.steps - 1


def test_what_is_never_reached():
    never = nqm.tune(PROBLEM, 1, 1e-3, algorithm=nqm.SignSGD, by="simulation", max_steps=100)
    assert never.steps == never.low == never.high == math.inf
    assert 1e-3 < never.risk < 4


def test_scores_are_between_records():
    steps = np.array([0, 10, 20])
    assert _score(steps, np.array([4.0, 2.0, 0.5]), 1.0) == (15.0, 0.5)
    assert _score(steps, np.array([4.0, 2.0, 1.5]), 1.0) == (math.inf, 1.5)
    assert _score(steps, np.array([math.inf, 0.5, 0.5]), 1.0) == (10.0, 0.5)
    assert _score(steps, np.array([1.0, 2.0, 2.0]), 1.0)[0] == 0.0
    assert len(_pattern((0.0, 0.0), 1.0)) == 9
    assert len(_pattern((0.0,) * 4, 1.0)) == 9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"by": "hand"}, "by must be one of"),
        ({"replicas": 4}, "replicas = 4 is for by='simulation'"),
        ({"by": "simulation", "replicas": 1}, "replicas must be a whole number >= 2"),
        ({"by": "simulation", "effort": "fast"}, "effort = 'fast' is for by='exact'"),
        ({"by": "simulation", "over": "beta1"}, "over must be one of"),
        ({"by": "simulation", "beta1": 0.5}, "SGD does not take beta1, but lr"),
    ],
)
def test_wrong_arguments(changes, said):
    with pytest.raises(nqm.InputError, match=said):
        nqm.tune(PROBLEM, 8, 0.3, **changes)


def test_wrong_arguments_of_steps():
    with pytest.raises(nqm.InputError, match="replicas must be a whole number >= 2"):
        found(replicas=1)
    with pytest.raises(nqm.InputError, match="batch_size must be one number or schedule"):
        found(batch_size=[1, 2])
