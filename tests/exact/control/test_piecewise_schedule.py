"""optimal_schedule gives the best piecewise constant learning rate."""

import math

import numpy as np
import pytest
from helpers import PAPER, SEARCHES, assert_consistent

import nqm_fast as nqm
from nqm_fast import bounds
from nqm_fast.schedules import Piecewise


@pytest.mark.mostly_slow(6, slow=8)
@pytest.mark.parametrize(("problem", "batch_size", "target"), SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("power", [0.0, 0.5])
def test_the_best_schedule_is_not_worse_than_the_best_constant(problem, batch_size, target, power):
    constant = nqm.tune(problem, batch_size, target, power=power)
    for pieces in (1, 4, 10):
        best = nqm.optimal_schedule(problem, batch_size, target, pieces, power)
        assert_consistent(problem, batch_size, target, best)
        assert best.steps <= constant.steps
        assert batch_size * best.steps >= bounds.bayes_samples(problem, target) * (1 - 1e-9)


def test_the_best_schedule_of_the_paper_problem():
    best = nqm.optimal_schedule(PAPER, 64, 0.01, 10)
    assert_consistent(PAPER, 64, 0.01, best)
    assert best.steps < 0.5 * nqm.tune(PAPER, 64, 0.01).steps
    schedule = best.algorithm.lr
    assert isinstance(schedule, Piecewise)
    assert len(schedule.lengths) == 10
    assert sum(schedule.lengths) == best.steps
    assert max(schedule.lengths) - min(schedule.lengths) <= 1
    assert (np.diff(schedule.values_) <= 0).all()  # noise is left behind, so the rate falls
    assert 0.0 < min(schedule.values_) <= max(schedule.values_) < 2.0


def test_more_pieces_are_not_slower():
    problem = nqm.Problem.power_law(60)
    steps = [nqm.optimal_schedule(problem, 16, 0.02, pieces).steps for pieces in (1, 2, 4, 8, 16)]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < 0.8 * steps[0]


@pytest.mark.parametrize("batch_size", [4, 64])
def test_no_grid_of_two_rates_beats_two_pieces(batch_size):
    problem, target = nqm.Problem.power_law(20), 0.05
    best = nqm.optimal_schedule(problem, batch_size, target, 2)
    steps = int(best.steps) - 1  # nothing reaches the target a step earlier
    half = steps // 2
    h = problem.h[:, None, None]
    first = np.geomspace(1e-3, 2.0 / (1.0 + 0.05), 300)[:, None]
    second = first.T
    moment = 0.5 * h
    for lr, length in ((first, half), (second, steps - half)):
        kept = (1.0 - lr * h) ** (2 * length)
        moment = kept * moment + (1.0 - kept) * 0.5 * h * lr / (batch_size * (2.0 - lr * h))
    assert moment.sum(axis=0).min() > target


def test_rates_go_up_to_the_limit_of_stability():
    """A piece at 2 / (max + min) or below leaves too much here; a grid up to 2 / max says how much.

    With two distinct curvatures and no noise, two pieces of one step each are enough: they end
    both coordinates where each rate is the inverse of a curvature, and 1 / 0.52 is above 2 / 1.52.
    """
    problem = nqm.Problem([1.0, 0.52], 0.0)
    best = nqm.optimal_schedule(problem, 1, 1e-9, 2)
    assert best.steps == 2
    assert sorted(best.algorithm.lr.values_) == pytest.approx([1.0, 1.0 / 0.52], rel=1e-3)


def test_a_wide_bracket_is_not_walked_through_step_by_step(patience):
    """Here the bound on samples says nothing, and the answer has eight digits."""
    problem = nqm.Problem([6e-6, 2.6e-5])
    target = 1e-5 * nqm.expected_risk(problem, nqm.SGD(0.0), 1, 0)
    best = nqm.optimal_schedule(problem, 2**16, target, 2)
    assert_consistent(problem, 2**16, target, best)


def test_more_pieces_than_steps():
    problem = nqm.Problem.power_law(30)
    best = nqm.optimal_schedule(problem, 64, 0.05, 1000)
    assert_consistent(problem, 64, 0.05, best)
    assert best.algorithm.lr.lengths == (1,) * best.steps


def test_an_unreachable_schedule_is_inf(patience):
    best = nqm.optimal_schedule(nqm.Problem.power_law(60), 4, 1e-4, 10, max_steps=100)
    assert best.steps == math.inf
    assert best.risk > 1e-4
