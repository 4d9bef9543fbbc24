"""steps_to_target gives the true first passage, which looking at every step gives too."""

import math

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import certified_sums as certified
from nqm_fast.schedules import Cosine, Linear, Piecewise, Step, Warmup, WarmupStableDecay

LAST = 1500


def first_at_or_below(risk, target):
    hits = np.flatnonzero(risk <= target)
    return int(hits[0]) if hits.size else math.inf


def targets_along(risk, rng):
    """Targets that are hit exactly, just hit, just missed; the lowest, and one below all."""
    lowest = np.minimum.accumulate(risk[np.isfinite(risk)])
    for level in rng.choice(lowest, 4):
        yield from (level, level * (1 + 1e-7), level * (1 - 1e-7))
    yield lowest[-1]
    yield 0.999 * lowest[-1]


def assert_first_passages(problem, algorithm, batch_size, rng, last=LAST):
    risk = nqm.expected_risk(problem, algorithm, batch_size, np.arange(last + 1))
    for target in targets_along(risk, rng):
        if target <= 0.0:
            continue
        got = nqm.steps_to_target(problem, algorithm, batch_size, target, max_steps=last)
        want = first_at_or_below(risk, target)
        if 0 < want < math.inf and risk[want - 1] <= target * (1 + 1e-13):
            # the risk has come to rest at the target: rounding decides when, or whether
            assert got >= want
            assert got == math.inf or risk[got] <= target
        else:
            assert got == want, (algorithm, batch_size, target)


def random_problem(rng, dim=12):
    return nqm.Problem(
        np.exp(rng.uniform(-6.0, 0.0, dim)),
        np.exp(rng.uniform(-6.0, 0.0, dim)),
        mean0=rng.normal(size=dim),
        var0=rng.uniform(0.0, 2.0, dim),
        count=rng.uniform(0.5, 5.0, dim),
    )


def cold_start(rng, dim=12):
    """The iterate starts at the minimum, or next to it: the risk rises first."""
    h = np.exp(rng.uniform(-6.0, 0.0, dim))
    return nqm.Problem(h, mean0=0.0, var0=np.where(rng.random(dim) < 0.5, 0.0, 1e-3))


def plain(rng):
    return nqm.SGD(np.exp(rng.uniform(-5.0, 0.65)))


def momentum(rng):
    return nqm.SGD(np.exp(rng.uniform(-5.0, 1.3)), momentum=1 - np.exp(rng.uniform(-7.0, 0.0)))


def ema(rng):
    return nqm.SGD(np.exp(rng.uniform(-3.0, 0.65)), ema=1 - np.exp(rng.uniform(-7.0, 0.0)))


def everything(rng):
    return nqm.SGD(
        np.exp(rng.uniform(-5.0, 1.3)),
        momentum=1 - np.exp(rng.uniform(-7.0, 0.0)),
        ema=1 - np.exp(rng.uniform(-5.0, 0.0)),
        power=rng.choice([0.0, 0.25, 0.75]),
    )


@pytest.mark.parametrize("start", [random_problem, cold_start])
@pytest.mark.parametrize("draw", [plain, momentum, ema, everything])
def test_equals_looking_at_every_step(draw, start):
    rng = np.random.default_rng(48)
    for _ in range(25):
        batch_size = np.exp(rng.uniform(0.0, 14.0))
        assert_first_passages(start(rng), draw(rng), batch_size, rng)


def lr_schedules(rng):
    yield Linear(1.5, 0.01, 900)
    yield Cosine(1.5, 700, end=0.001)
    yield WarmupStableDecay(1.2, 100, 400, 500)
    yield Step(1.6, 0.6, 130)
    yield Warmup(60, Piecewise([1.5, 0.1, 1.0, 0.01], [200, 300, 5, 100]))
    yield Piecewise([0.01, 1.9], [400, 1])
    yield rng.uniform(0.0, 1.5, LAST)


@pytest.mark.parametrize("batch_size", [8, Step(1, 4, 200), Linear(1, 1e4, 1000)], ids=str)
@pytest.mark.parametrize("extras", [{}, {"momentum": 0.9}, {"momentum": 0.8, "ema": 0.9}], ids=str)
def test_equals_looking_at_every_step_under_schedules(extras, batch_size):
    rng = np.random.default_rng(49)
    for lr in lr_schedules(rng):
        algorithm = nqm.SGD(lr, **extras)
        assert_first_passages(random_problem(rng), algorithm, batch_size, rng)
        assert_first_passages(cold_start(rng), algorithm, batch_size, rng)


def test_a_long_schedule_of_many_changes():
    # more runs than one part of the timeline holds (2^15)
    rng = np.random.default_rng(50)
    lr = rng.uniform(0.0, 0.02, 40_000)
    problem, algorithm = nqm.Problem([1.0, 0.1, 0.01]), nqm.SGD(lr, momentum=0.5)
    assert_first_passages(problem, algorithm, 100, rng, last=lr.size)


# -- where bisection is wrong ------------------------------------------------------------


def test_an_oscillating_risk_is_where_bisection_is_wrong():
    problem = nqm.Problem.power_law(100)
    algorithm = nqm.SGD(0.05, momentum=0.99)
    assert nqm.steps_to_target(problem, algorithm, 1e4, 0.5) == 48
    risk = nqm.expected_risk(problem, algorithm, 1e4, np.arange(1000))
    assert first_at_or_below(risk, 0.5) == 48
    high, low = 1, 0  # the notebook's search: double, then halve the interval
    while risk[high] > 0.5:
        high, low = 2 * high, high
    while high - low > 1:
        middle = (high + low) // 2
        high, low = (middle, low) if risk[middle] <= 0.5 else (high, middle)
    assert low == 113  # the last step that misses, it reports


def test_a_dip_of_one_step_is_found():
    # at lr h = 1 the noiseless mean passes zero once and comes back
    problem = nqm.Problem([1.0], [0.0])
    algorithm = nqm.SGD(3.0, momentum=0.99)
    risk = nqm.expected_risk(problem, algorithm, 1, np.arange(3000))
    step = int(np.argmin(risk[:1000]))
    assert risk[step - 1] > 100 * risk[step] < risk[step + 1]
    assert nqm.steps_to_target(problem, algorithm, 1, risk[step]) == step


def test_a_risk_below_the_target_only_at_first():
    # a cold start: the risk leaves the target for good, and step 0 is the answer
    problem = nqm.Problem([1.0], mean0=0.1, var0=0.0)
    assert nqm.steps_to_target(problem, nqm.SGD(0.5), 1, 0.01) == 0
    assert nqm.steps_to_target(problem, nqm.SGD(0.5), 1, 0.004, max_steps=10**6) == math.inf


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 9, 100, 12345, 10**6])
@pytest.mark.parametrize("extras", [{}, {"momentum": 0.5}, {"ema": 0.99}], ids=str)
def test_a_target_hit_exactly_counts(steps, extras):
    problem, algorithm = nqm.Problem([1e-6, 0.5, 1.0], mean0=2.0), nqm.SGD(0.01, **extras)
    before, target = nqm.expected_risk(problem, algorithm, 10**6, [steps - 1, steps])
    assert before > target
    assert nqm.steps_to_target(problem, algorithm, 10**6, target) == steps


def test_the_answer_is_an_int():
    answer = nqm.steps_to_target(nqm.Problem([1.0]), nqm.SGD(0.5), 100, 0.1)
    assert type(answer) is int


# -- targets that are not reached --------------------------------------------------------

UNREACHABLE = {
    "plain": (nqm.SGD(0.5), 1),
    "unstable": (nqm.SGD(2.5), 1),
    "on the edge": (nqm.SGD(2.0), 10**6),
    "lr 0": (nqm.SGD(0.0), 1),
    "momentum": (nqm.SGD(0.5, momentum=0.999), 1),
    "ema": (nqm.SGD(1.0, ema=0.999), 1),
    "all": (nqm.SGD(0.5, momentum=0.9, ema=0.9, power=0.5), 1),
    "array": (nqm.SGD(np.full(2000, 0.1)), 1),
    "cosine to 0": (nqm.SGD(Cosine(0.5, 1000)), 1),
    "warm-up": (nqm.SGD(Warmup(500, 0.5), momentum=0.9), 1),
    "step decay": (nqm.SGD(Step(0.5, 0.5, 100)), 1),
    "growing batch": (nqm.SGD(Step(0.5, 0.5, 100)), Step(1, 2, 1000)),
}


@pytest.mark.parametrize(("algorithm", "batch_size"), UNREACHABLE.values(), ids=UNREACHABLE)
def test_unreachable_is_inf_without_a_billion_steps(algorithm, batch_size, patience):
    problem = nqm.Problem.power_law(300)
    assert nqm.steps_to_target(problem, algorithm, batch_size, 1e-9) == math.inf


def test_just_below_the_steady_state_is_unreachable():
    problem, algorithm = nqm.Problem.power_law(300), nqm.SGD(0.5)
    floor = nqm.expected_risk(problem, algorithm, 16, 10**15)
    assert nqm.steps_to_target(problem, algorithm, 16, floor * (1 - 1e-6)) == math.inf
    first = nqm.steps_to_target(problem, algorithm, 16, floor * (1 + 1e-6))
    above, below = nqm.expected_risk(problem, algorithm, 16, [first - 1, first])
    assert above > floor * (1 + 1e-6) >= below


def test_a_low_start_takes_no_steps():
    problem = nqm.Problem.power_law(300)
    start = nqm.expected_risk(problem, nqm.SGD(0.5), 1, 0)
    assert nqm.steps_to_target(problem, nqm.SGD(0.5), 1, start) == 0
    assert nqm.steps_to_target(problem, nqm.SGD(2.5, momentum=0.9), 1, start, max_steps=0) == 0
    assert nqm.steps_to_target(problem, nqm.SGD(0.5), 100, start * (1 - 1e-12)) == 1


@pytest.mark.parametrize("extras", [{}, {"momentum": 0.9}], ids=str)
def test_max_steps_is_the_last_step_looked_at(extras):
    problem, algorithm = nqm.Problem.power_law(300), nqm.SGD(0.3, **extras)
    first = nqm.steps_to_target(problem, algorithm, 1000, 0.3)
    assert first > 5
    for max_steps, want in [(first - 1, math.inf), (first, first), (first + 1, first)]:
        got = nqm.steps_to_target(problem, algorithm, 1000, 0.3, max_steps=max_steps)
        assert got == want


def test_an_array_is_looked_at_to_its_end():
    problem = nqm.Problem([1.0])
    risk = nqm.expected_risk(problem, nqm.SGD(0.1), 100, np.arange(21))
    for lr, batch_size in [(np.full(20, 0.1), 100), (0.1, np.full(20, 100.0))]:
        assert nqm.steps_to_target(problem, nqm.SGD(lr), batch_size, risk[20]) == 20
        assert nqm.steps_to_target(problem, nqm.SGD(lr), batch_size, 0.9999 * risk[20]) == math.inf


# -- large dimensions, searched on nodes -------------------------------------------------


def listed(problem):
    """The same problem as arrays, so short that all coordinates are summed."""
    assert problem.dim <= certified.WORTH_A_PASS
    return nqm.Problem(problem.h, problem.c, var0=problem.var0)


@pytest.mark.parametrize(
    ("algorithm", "batch_size", "target"),
    [
        (nqm.SGD(1.9), 2**20, 0.1),
        (nqm.SGD(0.5), 1000, 0.05),
        (nqm.SGD(0.1, momentum=0.9), 1000, 0.1),
        (nqm.SGD(1.0, ema=0.999), 64, 0.1),
        (nqm.SGD(0.3, momentum=0.8, ema=0.99, power=0.5), 1000, 0.2),
        (nqm.SGD(Cosine(1.5, 3000, end=0.01)), 1000, 0.1),
    ],
    ids=str,
)
def test_a_large_problem_equals_the_direct_search(algorithm, batch_size, target):
    large = nqm.Problem.power_law(10_000)
    direct = nqm.steps_to_target(listed(large), algorithm, batch_size, target)
    assert direct < math.inf
    assert nqm.steps_to_target(large, algorithm, batch_size, target) == direct


@pytest.mark.parametrize("exponent", [0.3, 1.0])
@pytest.mark.parametrize(
    "algorithm",
    [
        nqm.SGD(0.05, momentum=0.99),
        nqm.SGD(3.2, momentum=0.9),
        nqm.SGD(0.45, momentum=0.97),
        nqm.SGD(0.5, momentum=0.999, ema=0.9),
    ],
    ids=str,
)
def test_a_large_problem_that_oscillates(algorithm, exponent):
    # nodes made for smooth functions of curvature are not enough here
    problem = nqm.Problem.power_law(20_000, exponent)
    assert_first_passages(problem, algorithm, 1e5, np.random.default_rng(51), last=400)
