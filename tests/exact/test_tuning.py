"""tune and optimal_schedule: the published numbers, and no grid that beats them."""

import itertools
import math

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import bounds
from nqm_fast.schedules import Cosine, Linear, Piecewise

PAPER = nqm.Problem.power_law(10_000)


def assert_consistent(problem, batch_size, target, best):
    """What the result says of itself is true."""
    assert best.steps == nqm.steps_to_target(problem, best.algorithm, batch_size, target)
    assert best.risk <= target
    assert best.risk == nqm.expected_risk(problem, best.algorithm, batch_size, best.steps)
    if best.steps:
        assert nqm.expected_risk(problem, best.algorithm, batch_size, best.steps - 1) > target


def grid(problem, over, power, rates, others):
    """Settings on a grid over all rates that can be stable, and momentum or EMA to 1 - 1e-5."""
    top = 4.0 / (problem.h ** (1.0 - power)).max()
    axes = [
        np.geomspace(1e-6 * top, top, rates) if name == "lr" else 1 - np.logspace(-5, 0, others)
        for name in over
    ]
    for point in itertools.product(*(axis.tolist() for axis in axes)):
        yield dict(zip(over, point, strict=True))


def assert_no_grid_beats(best, problem, batch_size, target, over, rates, others, **fixed):
    limit = int(min(best.steps - 1, 10**6))
    for setting in grid(problem, over, fixed.get("power", 0.0), rates, others):
        algorithm = nqm.SGD(**setting, **fixed)
        steps = nqm.steps_to_target(problem, algorithm, batch_size, target, max_steps=limit)
        assert steps == math.inf, f"{algorithm} takes {steps} steps, {best}"


# -- the paper's problem -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("log2_batch_size", "steps"), [(2, 1507530), (6, 95942), (10, 10354), (14, 7147), (20, 6720)]
)
def test_plain_sgd_on_the_paper_problem(log2_batch_size, steps):
    best = nqm.tune(PAPER, 2**log2_batch_size, 0.01)
    assert best.steps == steps
    assert_consistent(PAPER, 2**log2_batch_size, 0.01, best)
    for factor in (0.999, 1.001):  # a neighbour is not faster, on the whole spectrum
        near = nqm.SGD(best.algorithm.lr.value * factor)
        got = nqm.steps_to_target(PAPER, near, 2**log2_batch_size, 0.01, max_steps=2 * steps)
        assert got >= steps


@pytest.mark.parametrize("over", [("lr", "momentum"), ("lr", "ema")], ids=str)
def test_a_pair_on_the_paper_problem_beats_lr_alone(over):
    for batch_size in (64, 4096):
        alone = nqm.tune(PAPER, batch_size, 0.01)
        pair = nqm.tune(PAPER, batch_size, 0.01, over=over)
        assert_consistent(PAPER, batch_size, 0.01, pair)
        assert pair.steps <= alone.steps
        assert batch_size * pair.steps >= bounds.bayes_samples(PAPER, 0.01)


# -- small problems, against grids -------------------------------------------------------

SMALL = {
    "power law": (nqm.Problem.power_law(60), 64, 0.05),
    "power law, large batch": (nqm.Problem.power_law(60), 1e6, 0.05),
    "power law, small batch": (nqm.Problem.power_law(60), 1, 0.3),
    "steep, large batch": (nqm.Problem.power_law(30, 2.0), 2.0**18, 1e-4),
    "one": (nqm.Problem([1.0]), 16, 0.01),
    "one, large batch": (nqm.Problem([0.3]), 2.0**22, 1e-4),
    "two": (nqm.Problem([1.0, 0.01]), 256, 0.003),
    "two, large batch": (nqm.Problem([0.394, 0.0029]), 2.0**20, 2.9e-5),
    "two, noisy": (nqm.Problem([0.0457, 0.371], [0.0476, 0.1412]), 64, 5e-3),
    "three, large batch": (nqm.Problem([7e-4, 4.8e-3, 9.5e-3], mean0=[0.5, 1, -0.5]), 2**18, 4e-5),
    "ten alike": (nqm.Problem(np.full(10, 0.3)), 4096, 0.0207),
    "counts": (nqm.Problem(np.geomspace(1, 1e-2, 5), count=[0.4, 8, 1, 30, 2]), 1024, 0.02),
}
small = pytest.mark.parametrize(("problem", "batch_size", "target"), SMALL.values(), ids=SMALL)


@small
@pytest.mark.parametrize("power", [0.0, 0.5])
def test_no_grid_beats_lr(problem, batch_size, target, power):
    best = nqm.tune(problem, batch_size, target, power=power)
    assert_consistent(problem, batch_size, target, best)
    assert_no_grid_beats(best, problem, batch_size, target, ["lr"], 2000, 1, power=power)


@small
@pytest.mark.parametrize("name", ["momentum", "ema"])
def test_no_400_by_40_grid_beats_a_pair(problem, batch_size, target, name):
    best = nqm.tune(problem, batch_size, target, over=("lr", name))
    assert_consistent(problem, batch_size, target, best)
    assert_no_grid_beats(best, problem, batch_size, target, ["lr", name], 400, 40)


@pytest.mark.parametrize("lr", [0.02, 0.3, 1.0, 1.6])
@pytest.mark.parametrize("over", [("momentum",), ("ema",), ("momentum", "ema")], ids=str)
@small
def test_no_grid_beats_momentum_and_ema_at_a_given_lr(problem, batch_size, target, over, lr):
    lr /= problem.h.max()
    best = nqm.tune(problem, batch_size, target, over=over, lr=lr, max_steps=10**5)
    others = 400 if len(over) == 1 else 20
    assert_no_grid_beats(best, problem, batch_size, target, over, 1, others, lr=lr)
    if best.steps < math.inf:
        assert_consistent(problem, batch_size, target, best)


@small
def test_no_grid_beats_all_three(problem, batch_size, target):
    over = ("lr", "momentum", "ema")
    best = nqm.tune(problem, batch_size, target, over=over)
    assert_consistent(problem, batch_size, target, best)
    assert_no_grid_beats(best, problem, batch_size, target, over, 40, 10)
    for fewer in (("lr",), ("lr", "momentum"), ("lr", "ema")):
        assert best.steps <= nqm.tune(problem, batch_size, target, over=fewer).steps


@pytest.mark.parametrize("seed", range(8))
def test_no_random_search_beats_a_pair(seed):
    rng = np.random.default_rng(seed)
    d = int(rng.choice([1, 2, 3, 5, 10]))
    h = np.exp(rng.uniform(-8.0, 0.0, d))
    problem = nqm.Problem(h, mean0=rng.normal(size=d), count=np.exp(rng.uniform(-2.0, 2.0, d)))
    batch_size = 4.0 ** rng.integers(3, 12)
    target = float(nqm.expected_risk(problem, nqm.SGD(0.0), 1, 0) * np.exp(rng.uniform(-6.0, -1.0)))
    power = float(rng.choice([0.0, 0.25, 0.75]))
    for name in ("momentum", "ema"):
        best = nqm.tune(problem, batch_size, target, over=("lr", name), power=power)
        assert_consistent(problem, batch_size, target, best)
        for _ in range(1000):
            lr = np.exp(rng.uniform(-6.0, 1.3)) / (h ** (1.0 - power)).max()
            setting = {"lr": lr, name: 1.0 - np.exp(rng.uniform(-8.0, 0.0)), "power": power}
            steps = nqm.steps_to_target(
                problem, nqm.SGD(**setting), batch_size, target, max_steps=best.steps - 1
            )
            assert steps == math.inf, (setting, steps, best)


# -- what else is searched, and what is not found ----------------------------------------


def test_over_takes_one_name():
    problem = nqm.Problem.power_law(60)
    assert nqm.tune(problem, 64, 0.05, over="lr") == nqm.tune(problem, 64, 0.05, over=("lr",))


def test_fixed_values_are_kept():
    best = nqm.tune(nqm.Problem.power_law(60), 64, 0.05, momentum=0.5, ema=0.25, power=0.75)
    assert (best.algorithm.momentum, best.algorithm.ema, best.algorithm.power) == (0.5, 0.25, 0.75)
    assert_consistent(nqm.Problem.power_law(60), 64, 0.05, best)


@pytest.mark.parametrize("batch_size", [Linear(1, 256, 100), np.full(500, 64.0)], ids=str)
def test_the_batch_size_may_be_a_schedule(batch_size):
    problem = nqm.Problem.power_law(60)
    best = nqm.tune(problem, batch_size, 0.05)
    assert_consistent(problem, batch_size, 0.05, best)
    limit = best.steps - 1
    for lr in np.geomspace(1e-3, 4.0, 500):
        steps = nqm.steps_to_target(problem, nqm.SGD(lr), batch_size, 0.05, max_steps=limit)
        assert steps == math.inf


def test_lr_may_be_a_schedule_while_momentum_is_searched():
    problem, lr = nqm.Problem.power_law(60), Cosine(1.0, 500)
    best = nqm.tune(problem, 1024, 0.05, over=("momentum",), lr=lr)
    assert best.algorithm.lr == lr
    assert_consistent(problem, 1024, 0.05, best)


@pytest.mark.parametrize("target", [0.05, 1e-6])
def test_an_array_of_lr_ends_the_search(target, patience):
    problem, lr = nqm.Problem.power_law(60), np.full(300, 0.3)
    best = nqm.tune(problem, 1024, target, over=("momentum",), lr=lr)
    assert (best.steps < math.inf) == (target == 0.05)
    assert best.steps == nqm.steps_to_target(problem, best.algorithm, 1024, target)


@pytest.mark.parametrize(
    ("over", "fixed"),
    [
        (("lr",), {}),
        (("lr", "momentum"), {}),
        (("lr", "ema"), {}),
        (("lr", "momentum", "ema"), {}),
        (("momentum",), {"lr": 0.5}),
        (("ema",), {"lr": 0.5}),
    ],
    ids=str,
)
def test_unreachable_is_inf_with_the_lowest_risk(over, fixed, patience):
    problem = nqm.Problem.power_law(60)
    best = nqm.tune(problem, 4, 1e-4, over=over, max_steps=300, **fixed)
    assert best.steps == math.inf
    assert best.risk > 1e-4
    assert best.risk == nqm.expected_risk(problem, best.algorithm, 4, 300)
    for setting in grid(problem, over, 0.0, 60, 12):
        risk = nqm.expected_risk(problem, nqm.SGD(**setting, **fixed), 4, 300)
        assert risk >= best.risk * (1 - 1e-9), setting


def test_max_steps_is_the_last_step_looked_at():
    problem = nqm.Problem.power_law(60)
    steps = nqm.tune(problem, 64, 0.05).steps
    assert nqm.tune(problem, 64, 0.05, max_steps=steps).steps == steps
    assert nqm.tune(problem, 64, 0.05, max_steps=steps - 1).steps == math.inf


@pytest.mark.parametrize("over", [("lr",), ("lr", "momentum", "ema")], ids=str)
def test_a_low_start_takes_no_steps(over):
    problem = nqm.Problem.power_law(60)
    start = nqm.expected_risk(problem, nqm.SGD(0.0), 1, 0)
    best = nqm.tune(problem, 64, start, over=over)
    assert (best.steps, best.risk) == (0, start)
    assert nqm.tune(problem, 2**20, 0.99 * start, over=over).steps == 1


# -- schedules ---------------------------------------------------------------------------


@small
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
    assert 0.0 < min(schedule.values_) <= max(schedule.values_) <= 2.0 / (1.0 + 1e-4)


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


def test_more_pieces_than_steps():
    problem = nqm.Problem.power_law(30)
    best = nqm.optimal_schedule(problem, 64, 0.05, 1000)
    assert_consistent(problem, 64, 0.05, best)
    assert best.algorithm.lr.lengths == (1,) * best.steps


def test_an_unreachable_schedule_is_inf(patience):
    best = nqm.optimal_schedule(nqm.Problem.power_law(60), 4, 1e-4, 10, max_steps=100)
    assert best.steps == math.inf
    assert best.risk > 1e-4
