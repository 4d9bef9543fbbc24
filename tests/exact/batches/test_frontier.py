"""Steps against samples: the front, its hyperbola, and what is cheapest, against brute force."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nqm_fast as nqm
from nqm_fast.exact.batches.hyperbola import fitted_hyperbola
from nqm_fast.exact.batches.tuned_sizes import TunedSizes

TWO = nqm.Problem([1.0, 0.05])
TARGET = 0.02
LAW = nqm.Problem.power_law(2000)


def fewest_steps_of_two(batch_size, target=TARGET):
    """The fewest steps of plain SGD in two coordinates, over 40,000 learning rates, in NumPy."""
    lr = np.linspace(1e-5, 2.0, 40_000, endpoint=False)
    h = np.array([[1.0], [0.05]])
    decay = (1.0 - lr * h) ** 2
    kick = lr**2 * h / batch_size
    second = np.ones(decay.shape)
    steps = 0
    while (0.5 * h * second).sum(axis=0).min() > target:
        second = decay * second + kick
        steps += 1
    return steps


def searched(sizes, problem, target, over, **fixed):
    """Steps found near those at neighbouring batch sizes, and those that `tune` finds."""
    tuned = TunedSizes(problem, target, over, nqm.SGD, 10**9, "full", fixed)
    found = [x.steps for x in tuned.all_at(sizes)]
    return found, [nqm.tune(problem, size, target, over, **fixed).steps for size in sizes]


# -- the front ---------------------------------------------------------------------------


def test_two_coordinates_have_the_front_of_brute_force():
    sizes = [1, 2, 3, 5, 8, 16, 32, 64, 70, 128]
    assert fewest_steps_of_two(64) == fewest_steps_of_two(70)  # which is worse therefore
    front = nqm.frontier(TWO, TARGET, sizes)
    expected = {size: fewest_steps_of_two(size) for size in sizes}
    points = [(steps, size * steps) for size, steps in expected.items()]
    kept = [
        size
        for size, steps in expected.items()
        if not any(
            a <= steps and b <= size * steps and (a, b) != (steps, size * steps) for a, b in points
        )
    ]
    assert front.batch_sizes.tolist() == kept
    assert front.steps.tolist() == [expected[size] for size in kept]
    assert front.samples.tolist() == [size * expected[size] for size in kept]
    assert front.least_steps == fewest_steps_of_two(1e15)


def test_no_point_is_worse_than_another():
    problem = nqm.Problem.power_law(100)
    front = nqm.frontier(problem, 0.5)
    assert (np.diff(front.batch_sizes) > 0).all()
    assert (np.diff(front.steps) < 0).all()
    assert (np.diff(front.samples) > 0).all()
    for size, steps, tuned in zip(front.batch_sizes, front.steps, front.tuned, strict=True):
        assert nqm.steps_to_target(problem, tuned.algorithm, size, 0.5) == steps


@pytest.mark.parametrize(
    ("over", "fixed"),
    [
        (("lr",), {}),
        (("lr",), {"momentum": 0.9}),
        (("lr", "momentum"), {}),
        pytest.param(("lr", "ema"), {}, marks=pytest.mark.slow),
    ],
)
def test_neighbours_lead_to_what_a_whole_search_finds(over, fixed):
    found, expected = searched([8, 16, 32, 64], LAW, 0.02, over, **fixed)
    assert (np.array(found) <= 1.01 * np.array(expected)).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_neighbours_lead_there_in_problems_at_random(seed):
    rng = np.random.default_rng(seed)
    d = int(10 ** rng.uniform(2, 3.5))
    h = 10 ** rng.uniform(-4, 0, d)
    noise = rng.gamma(1.0, 1.0, d) * h ** rng.uniform(0.5, 1.5)
    problem = nqm.Problem(h, noise, mean0=rng.normal(size=d))
    target = nqm.expected_risk(problem, nqm.SGD(0.0), 1, 0) * 10 ** rng.uniform(-3, -0.5)
    over = [("lr",), ("lr", "momentum"), ("lr", "ema")][seed % 3]
    sizes = (10 ** rng.uniform(0, 1) * rng.uniform(1.5, 2.3) ** np.arange(10)).tolist()
    found, expected = searched(sizes, problem, target, over)
    assert (np.array(found) <= 1.01 * np.array(expected)).all()


def test_small_batches_that_take_more_of_both_are_left_out():
    """An average over a fixed number of steps is too short for small batches."""
    problem = nqm.Problem.power_law(100)
    average, sizes = nqm.EMA(nqm.SGD(0.1), 0.9), [1.0, 4.0, 16.0, 64.0, 256.0]
    steps = np.array([nqm.tune(problem, x, 0.1, algorithm=average).steps for x in sizes])
    samples = steps * sizes
    kept = [
        k
        for k in range(5)
        if not any(steps[j] <= steps[k] and samples[j] <= samples[k] for j in range(5) if j != k)
    ]
    assert 0 not in kept
    front = nqm.frontier(problem, 0.1, sizes, algorithm=average)
    assert front.batch_sizes.tolist() == [sizes[k] for k in kept]


def test_a_smaller_batch_never_beats_a_larger_one():
    """What a smaller batch reaches, a larger one does as soon."""
    tuned = TunedSizes(LAW, 0.02, ("lr", "momentum"), nqm.SGD, 10**9, "fast", {})
    steps = [x.steps for x in tuned.all_at([16.0, 32.0, 64.0, 128.0])]
    assert steps == sorted(steps, reverse=True)


# -- the hyperbola -----------------------------------------------------------------------


@given(
    steps=st.floats(1.0, 1e9),
    samples=st.floats(1.0, 1e12),
    sizes=st.lists(st.floats(1.0, 1e9), min_size=2, unique=True),
)
def test_a_hyperbola_is_found_again(steps, samples, sizes):
    sizes = np.sort(sizes)
    found = fitted_hyperbola(sizes, steps + samples / sizes)
    np.testing.assert_allclose(found.steps(sizes), steps + samples / sizes, rtol=1e-6)
    assert found.worst < 1e-6


def test_its_asymptotes():
    sizes = 2.0 ** np.arange(20)
    found = fitted_hyperbola(sizes, 50.0 + 6400.0 / sizes)
    assert math.isclose(found.least_steps, 50.0, rel_tol=1e-9)
    assert math.isclose(found.least_samples, 6400.0, rel_tol=1e-9)
    assert math.isclose(found.critical_batch_size, 128.0, rel_tol=1e-9)
    steps, samples = found.steps(128.0), 128.0 * found.steps(128.0)
    assert math.isclose((steps / 50.0 - 1.0) * (samples / 6400.0 - 1.0), 1.0, rel_tol=1e-9)


def test_steps_that_are_infinite_are_left_out():
    sizes = np.array([1.0, 2.0, 4.0])
    found = fitted_hyperbola(sizes, np.array([math.inf, 60.0, 35.0]))
    assert math.isclose(found.least_steps, 10.0)
    assert math.isclose(found.least_samples, 100.0)


def test_small_batches_alone_show_no_least_steps():
    found = fitted_hyperbola(np.array([1.0, 2.0]), np.array([100.0, 49.0]))
    assert found.least_steps == 0.0
    assert found.critical_batch_size == math.inf


# -- choices -----------------------------------------------------------------------------


def test_the_cheapest_of_all_whole_batch_sizes():
    front = nqm.frontier(TWO, TARGET, [1, 4, 16, 64, 256])
    costs = {size: (30.0 + size) * fewest_steps_of_two(size) for size in range(1, 80)}
    found = front.cheapest(step=30.0, sample=1.0)
    cost = 30.0 * found.steps + found.samples
    assert cost == costs[found.batch_size] == min(costs.values())


def test_samples_alone_want_small_batches_and_steps_alone_large_ones():
    front = nqm.frontier(LAW, 0.1)
    assert front.cheapest(step=0.0, sample=1.0).batch_size == 1
    fewest = front.cheapest(step=1.0, sample=0.0)
    assert fewest.steps == front.least_steps
    assert nqm.tune(LAW, fewest.batch_size, 0.1).steps == fewest.steps
    assert nqm.tune(LAW, fewest.batch_size / 1.002, 0.1).steps > fewest.steps


def test_units_of_costs_do_not_matter():
    front = nqm.frontier(TWO, TARGET, [1, 4, 16, 64])
    assert front.cheapest(3e307, 1e306) == front.cheapest(30.0, 1.0)
    assert front.cheapest(3e-307, 1e-308) == front.cheapest(30.0, 1.0)


def test_a_deadline_is_met_with_the_fewest_samples():
    front = nqm.frontier(TWO, TARGET, [1, 4, 16, 64])
    for steps in (2, 5, 17, 60, 1000):
        found = front.within(steps)
        assert found.steps <= steps
        assert found.batch_size == 1 or fewest_steps_of_two(found.batch_size - 1) > steps
        assert nqm.steps_to_target(TWO, found.algorithm, found.batch_size, TARGET) == found.steps


def test_a_deadline_beyond_the_batch_sizes_of_the_front():
    front = nqm.frontier(LAW, 0.1, [1, 2, 4])
    found = front.within(1.05 * front.least_steps)
    assert found.batch_size > 100
    assert found.steps <= 1.05 * front.least_steps


# -- limits and mistakes -----------------------------------------------------------------


def test_without_noise_there_is_one_point():
    front = nqm.frontier(nqm.Problem([1.0, 0.5], c=0.0), 0.01, [1, 4, 64])
    assert front.batch_sizes.tolist() == [1.0]
    assert front.hyperbola.least_samples < 1e-12
    assert math.isclose(front.hyperbola.least_steps, front.least_steps, rel_tol=1e-12)
    assert front.least_steps == front.steps[0]


def test_small_batches_that_never_reach_the_target_are_left_out():
    """Within 5000 steps it takes a batch size of 4 or more."""
    front = nqm.frontier(TWO, 1e-3, max_steps=5000)
    assert nqm.tune(TWO, front.batch_sizes[0] / 4, 1e-3, max_steps=5000).steps == math.inf
    assert front.batch_sizes[0] == 4
    assert np.isfinite(front.steps).all()


def test_other_algorithms_and_noise_that_depends_on_the_iterate():
    problem = nqm.Problem.power_law(100).with_noise(nqm.noise.Gaussian())
    front = nqm.frontier(problem, 0.5, [4, 64], algorithm=nqm.Nesterov, momentum=0.5)
    for k, size in enumerate([4, 64]):
        best = nqm.tune(problem, size, 0.5, algorithm=nqm.Nesterov, momentum=0.5)
        assert front.steps[k] == best.steps


@pytest.mark.slow
def test_schedules_of_some_pieces():
    sizes = [16, 256]
    front = nqm.frontier(LAW, 0.1, sizes, pieces=3, power=0.25)
    constant = nqm.frontier(LAW, 0.1, sizes, power=0.25)
    assert (front.steps < constant.steps).all()
    for size, found in zip(sizes, front.tuned, strict=True):
        assert found == nqm.optimal_schedule(LAW, size, 0.1, 3, 0.25)
    half = nqm.critical_batch_size(LAW, 0.1, definition="half", pieces=2)
    taken = [nqm.optimal_schedule(LAW, x * half.value, 0.1, 2).steps for x in (0.99, 1.01)]
    assert taken[1] <= 2 * half.curve.least_steps <= taken[0]


def test_settings_that_follow_schedules_are_searched_as_a_whole():
    ramp = nqm.schedules.Linear(0.5, 0.9, 50)
    law = nqm.Problem.power_law(100)
    found, expected = searched([16, 32, 64], law, 0.5, ("lr",), momentum=ramp)
    assert found == expected


def test_it_is_shown_and_sent_to_other_processes():
    front = nqm.frontier(TWO, TARGET, [1, 64])
    assert repr(front) == "<Frontier of 2 batch sizes to the target 0.02>"
    assert "least steps" in front._repr_html_()
    copy = pickle.loads(pickle.dumps(front))
    assert copy.cheapest(1.0, 1.0) == front.cheapest(1.0, 1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"problem": 3}, "problem must be"),
        ({"target": 0.0}, "target must be > 0, not 0"),
        ({"target": 0.6}, "target must be below the initial risk, 0.525, not 0.6"),
        ({"batch_sizes": [4, 0.5]}, "batch_sizes must be >= 1, but element 1 is 0.5"),
        ({"batch_sizes": []}, r"batch_sizes must be one or more numbers, not of shape \(0,\)"),
        ({"batch_sizes": [[1]]}, "batch_sizes must be one or more numbers, not of shape"),
        ({"over": ("speed",)}, "over must be one of lr, momentum, ema"),
        ({"algorithm": nqm.Adam}, "algorithm must be linear here"),
        (
            {"algorithm": nqm.Accumulate(nqm.SGD(0.1), 4)},
            "algorithm must take one batch a step where batch sizes are compared, not Accumulate",
        ),
        ({"max_steps": 1}, "batch_sizes must be a batch size at which the target 0.02 is reached"),
        ({"pieces": 0}, "pieces must be a whole number >= 1, not 0"),
        ({"pieces": 2, "momentum": 0.5}, "pieces = 2 is for plain SGD, over lr alone"),
        ({"pieces": 2, "over": ("lr", "ema")}, "pieces = 2 is for plain SGD, over lr alone"),
        ({"mass": 1}, "SGD does not take mass"),
        (
            {"problem": TWO.with_noise(nqm.noise.FinitePopulation(99))},
            "problem must have batches with replacement where batch sizes are compared",
        ),
    ],
)
def test_mistakes_are_named(changed, message):
    usual = {"problem": TWO, "target": TARGET}
    with pytest.raises(nqm.InputError, match=message):
        nqm.frontier(**(usual | changed))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda front: front.cheapest(-1, 1), "step must be >= 0, not -1"),
        (lambda front: front.cheapest(0, 0), "step and sample must not both be 0"),
        (lambda front: front.within(0), "steps must be > 0, not 0"),
        (lambda front: front.within(0.5), "steps must be 2 or more, which the target 0.02 takes"),
        (lambda front: front.hyperbola.steps(0), "batch_size must be > 0"),
    ],
)
def test_impossible_choices_are_named(call, message):
    front = nqm.frontier(TWO, TARGET, [1, 64])
    with pytest.raises(nqm.InputError, match=message):
        call(front)
