"""optimal_control gives the learning rates and batch sizes with the lowest risk for a budget."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from helpers import PAPER, PROBLEMS
from hypothesis import given, settings
from hypothesis import strategies as st

import nqm_fast as nqm
from nqm_fast import bounds, schedules
from nqm_fast.exact.control.additive_search import ControlLimits, ControlSearch
from nqm_fast.exact.control.batch_budget import BatchLimits, best_batches, whole_batches
from nqm_fast.exact.control.piece_layout import even_lengths, gathered_lengths, layout
from nqm_fast.exact.control.piece_maps import plain_model

FREE = BatchLimits(1, math.inf, True, True)
WAYS = ((), ("lr",), ("batch_size",), ("lr", "batch_size"))


def whole(problem):
    return problem.block(0, problem.dim)


# -- gradients ---------------------------------------------------------------------------


def precise_log_risk(block, log_rates, lengths, sizes):
    """The log of the risk after pieces in the digits of mpmath, step by step."""
    risk = mpmath.mpf(0)
    for h, c, moment, count in zip(*np.broadcast_arrays(*block[:4]), strict=True):
        w2 = mpmath.mpf(float(moment))
        for x, n, size in zip(log_rates, lengths, sizes, strict=True):
            lr = mpmath.exp(x)
            for _ in range(int(n)):
                w2 = (1 - lr * float(h)) ** 2 * w2 + lr**2 * float(c) / mpmath.mpf(float(size))
        risk += float(count) * float(h) * w2 / 2
    return mpmath.log(risk)


@pytest.mark.parametrize("name", ["general", "sigma"])
def test_the_gradient_is_that_of_finite_differences_in_50_digits(name):
    problem = PROBLEMS[name]
    block = type(whole(problem))(*(x[:3] for x in np.broadcast_arrays(*whole(problem))))
    rng = np.random.default_rng(4)
    log_rates, lengths = np.log(rng.uniform(0.1, 1.9, 5)), np.array([1, 3, 2, 4, 1])
    sizes = rng.uniform(1.0, 9.0, 5)
    risk, slope = plain_model(block, 0.0).sweep(log_rates, lengths).risk_and_slope(1.0 / sizes)
    with mpmath.workdps(50):
        exact = [mpmath.mpf(float(x)) for x in log_rates]
        log_risk = precise_log_risk(block, exact, lengths, sizes)
        assert math.log(risk) == pytest.approx(float(log_risk), rel=1e-13)
        step = mpmath.mpf(10) ** -20
        for k in range(5):
            up, down = (
                precise_log_risk(block, [*exact[:k], exact[k] + d, *exact[k + 1 :]], lengths, sizes)
                for d in (step, -step)
            )
            assert slope[k] / risk == pytest.approx(float((up - down) / (2 * step)), rel=1e-11)


@pytest.mark.parametrize(
    "batches",
    [FREE, BatchLimits(3, 20.0, True, True), BatchLimits(1, 30.0, True, False)],
    ids=["free", "limited", "monotone"],
)
def test_batch_sizes_that_are_the_best_do_not_change_the_gradient(batches):
    """The sizes follow the learning rates; finite differences see that, the gradient need not."""
    problem = PROBLEMS["power law"]
    limits = ControlLimits(True, True, math.inf, 0, batches)
    search = ControlSearch(problem, whole(problem), nqm.SGD(1.0), 6, limits)
    lengths = np.array([5, 4, 3, 3, 2, 1])
    log_rates = np.log([1.9, 0.6, 1.2, 0.5, 0.8, 0.2])
    chosen = search.batches_of(10 * 18)
    slope = search.log_risk(log_rates, lengths, chosen)[1]
    for k in range(6):
        step = 1e-5 * (np.arange(6) == k)
        up, down = (search.log_risk(log_rates + d, lengths, chosen)[0] for d in (step, -step))
        assert slope[k] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("way", [{}, {"is_free": False}, {"may_rise": False}])
@pytest.mark.parametrize("warmup", [0, 3, 100])
def test_a_layout_s_slope_is_the_transpose_of_its_rates(way, warmup):
    pieces = layout(np.array([3, 2, 2]), warmup, **way)
    start = pieces.free_of(np.log([1.5, 1.0, 0.3]), math.log(2.0))
    weight = np.random.default_rng(1).normal(size=len(pieces.lengths))
    slope = pieces.slope_by_free(weight)
    for k in range(len(start)):
        moved = start + (np.arange(len(start)) == k)
        change = weight @ (pieces.log_rates(moved) - pieces.log_rates(start))
        assert slope[k] == pytest.approx(change, abs=1e-12)


# -- budgets -----------------------------------------------------------------------------


def spent(control):
    """Samples of all steps of the batch schedule."""
    return sum(
        n * b for n, b in zip(control.batch_size.lengths, control.batch_size.values_, strict=True)
    )


LIMITS = st.tuples(st.integers(1, 5), st.integers(0, 20) | st.none(), st.booleans(), st.booleans())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 1e6) | st.just(0.0), st.integers(1, 50)), min_size=1),
    LIMITS,
    st.floats(0.0, 1.0),
)
def test_budgets_hold_to_the_last_sample(pieces, limits, share):
    least, more, is_free, may_fall = limits
    most = math.inf if more is None else least + more
    weights, lengths = np.array([w for w, _ in pieces]), np.array([n for _, n in pieces])
    steps = int(lengths.sum())
    samples = steps * least + round(share * steps * (20 if more is None else more))
    limit = BatchLimits(least, most, is_free, may_fall)
    real = best_batches(weights, lengths, samples, limit)
    assert (real * lengths).sum() == pytest.approx(samples, rel=1e-9)
    answer = whole_batches(weights, lengths, samples, limit)
    assert sum(n * b for n, b in zip(*answer, strict=True)) == samples
    assert sum(answer.lengths) == steps
    assert all(least <= b <= most for b in answer.sizes)
    assert min(answer.lengths) >= 1
    if not may_fall:
        assert answer.sizes == sorted(answer.sizes)


@pytest.mark.parametrize("limits", [FREE, BatchLimits(2, 9.0, True, True)])
def test_best_batches_leave_less_noise_than_any_exchange(limits):
    weights, lengths = np.array([5.0, 0.1, 30.0, 2.0]), np.array([3, 5, 2, 4])
    best = best_batches(weights, lengths, 60, limits)
    noise = (weights / best).sum()
    for giver in range(4):
        for taker in range(4):
            moved = best.copy()
            moved[giver] -= 1e-4 / lengths[giver]
            moved[taker] += 1e-4 / lengths[taker]
            if (moved >= limits.least).all() and (moved <= limits.most).all():
                assert (weights / moved).sum() >= noise - 1e-12


def test_single_steps_get_the_whole_batches_of_all_combinations():
    weights, lengths = np.array([1.0, 3.0, 7.0, 0.2]), np.ones(4, dtype=np.int64)
    sizes = whole_batches(weights, lengths, 12, FREE)
    chosen = np.repeat(sizes.sizes, sizes.lengths)
    every = [(a, b, c, 12 - a - b - c) for a in range(1, 10) for b in range(1, 10)
             for c in range(1, 10) if a + b + c < 12]  # fmt: skip
    assert (weights / chosen).sum() == pytest.approx(min((weights / x).sum() for x in every))


@pytest.mark.parametrize("lengths", [even_lengths, gathered_lengths])
@pytest.mark.parametrize("steps", [1, 7, 64, 65, 100, 1000, 12345, 10**9, 2**62])
@pytest.mark.parametrize("pieces", [1, 2, 8, 64, 500])
def test_pieces_have_steps_and_are_all(lengths, steps, pieces):
    cut = lengths(steps, pieces).tolist()
    assert sum(cut) == steps
    assert len(cut) == min(steps, pieces)
    assert min(cut) >= 1


@pytest.mark.parametrize("over", WAYS)
@pytest.mark.parametrize(("steps", "samples"), [(100, 1234), (7, 7), (500, 100_003)])
def test_whole_batches_spend_all_samples(over, steps, samples):
    best = nqm.optimal_control(PROBLEMS["power law"], steps=steps, samples=samples, over=over)
    assert spent(best) == best.samples == samples
    assert sum(best.batch_size.lengths) == sum(best.lr.lengths) == best.steps == steps
    assert all(b == int(b) >= 1 for b in best.batch_size.values_)
    risk = nqm.expected_risk(PROBLEMS["power law"], best.algorithm, best.batch_size, steps)
    assert best.risk == risk
    assert len(set(best.lr.values_)) == 1 or "lr" in over


# -- the lowest risk ---------------------------------------------------------------------

TABLE = {
    (2048, 2**17): (0.291278, 0.194717, 0.195923, 0.177212),
    (8192, 2**20): (0.050956, 0.017204, 0.015953, 0.011568),
    (32768, 2**20): (0.042322, 0.008180, 0.009352, 0.007383),
}
"""Risks with 64 equal pieces and lr <= 1.999, batch sizes not whole, of the ways in `WAYS`."""


@pytest.mark.parametrize("budget", TABLE)
@pytest.mark.parametrize("way", range(4))
def test_the_numbers_of_the_design(budget, way):
    steps, samples = budget
    batches = FREE._replace(is_free="batch_size" in WAYS[way])
    limits = ControlLimits("lr" in WAYS[way], True, 1.999, 0, batches)
    equal = even_lengths(steps, 64)
    block = PAPER.nodes.joined(10)
    search = ControlSearch(PAPER, block, nqm.SGD(1.0), equal, limits)
    real = math.exp(search.lowest(steps, samples).log_risk)
    assert real == pytest.approx(TABLE[budget][way], rel=1e-4)
    named = {"steps": steps, "samples": samples, "over": WAYS[way]}
    equal_whole = nqm.optimal_control(PAPER, **named, pieces=equal, max_lr=1.999)
    assert real * (1 - 1e-9) < equal_whole.risk < real * 1.0005
    assert nqm.optimal_control(PAPER, **named).risk < real * (1.0 + 1e-5)


def test_pieces_placed_better_go_lower():
    for (steps, samples), gain in {(2048, 2**17): 0.016, (8192, 2**20): 0.042}.items():
        placed = nqm.optimal_control(PAPER, steps=steps, samples=samples)
        equal = even_lengths(steps, 64)
        equal = nqm.optimal_control(PAPER, steps=steps, samples=samples, pieces=equal)
        assert placed.risk < (1.0 - gain) * equal.risk


@pytest.mark.parametrize("name", ["two", "three"])
def test_no_grid_beats_the_best_pieces(name):
    lengths = {"two": [6, 6], "three": [6, 4, 2]}[name]
    problem = nqm.Problem(np.geomspace(1.0, 0.05, 6), mean0=1.0)
    steps, samples = sum(lengths), 60
    best = nqm.optimal_control(problem, steps=steps, samples=samples, pieces=lengths)
    rates = np.geomspace(0.02, 1.999, 40 if len(lengths) == 2 else 14)
    sizes = [
        x
        for x in np.ndindex(*[60] * (len(lengths) - 1))
        if min(x) >= 1 and sum(n * b for n, b in zip(lengths, x, strict=False)) < samples
    ]
    lowest = math.inf
    mesh = [x.ravel()[:, None] for x in np.meshgrid(*[rates] * len(lengths))]
    for some in sizes:
        last = (samples - sum(n * b for n, b in zip(lengths, some, strict=False))) / lengths[-1]
        if last < 1.0:
            continue
        moment = 0.5 * problem.h * np.ones((len(mesh[0]), 1)) * 2.0
        for lr, n, size in zip(mesh, lengths, (*some, last), strict=True):
            gap = lr * problem.h
            kept = (1.0 - gap) ** (2 * n)
            moment = kept * moment + 0.5 * problem.c * lr / (size * (2 - gap)) * (1 - kept)
        lowest = min(lowest, moment.sum(axis=1).min())
    assert best.risk <= lowest * (1.0 + 1e-9)
    assert best.risk >= lowest * 0.97  # The grid is not far from it.


@pytest.mark.parametrize("h", [1.0, 0.03])
@pytest.mark.parametrize("steps", [1, 5, 64])
def test_one_coordinate_reaches_the_bayes_bound(h, steps):
    problem = nqm.Problem([h], 0.7, var0=2.0)
    best = nqm.optimal_control(problem, steps=steps, samples=steps)
    # It is the Kalman filter: precision adds up, and 1 / lr grows by h at each step.
    t0 = 0.7 / (2.0 * h**2)
    wanted = [1.0 / (h * (t + 1 + t0)) for t in range(steps)]
    assert best.lr.values_ == pytest.approx(wanted, rel=1e-5)
    bound = bounds.bayes_risk(problem, steps)
    assert best.risk == pytest.approx(bound, rel=1e-9)
    assert best.risk >= bound * (1 - 1e-12)


@pytest.mark.mostly_slow(1, slow=1)
@pytest.mark.parametrize("steps", [300, 2000, pytest.param(10**6, marks=pytest.mark.slow)])
def test_few_pieces_are_near_the_bayes_bound(steps):
    """The best rate falls from the first step on, so that pieces must be short there."""
    problem = nqm.Problem([1.0])
    best = nqm.optimal_control(problem, steps=steps, samples=4 * steps)
    assert 1.0 < best.risk / bounds.bayes_risk(problem, 4 * steps) < 1.001
    even = even_lengths(steps, 64)
    equal = nqm.optimal_control(problem, steps=steps, samples=4 * steps, pieces=even)
    assert best.risk < equal.risk


def test_without_noise_rates_are_the_largest_that_help():
    """One piece without end: both ends of the spectrum shrink alike at 2 / (max + min)."""
    problem = nqm.Problem([1.0, 0.1], 0.0)
    best = nqm.optimal_control(problem, steps=300, samples=300, pieces=1)
    assert best.lr.values_[0] == pytest.approx(2.0 / 1.1, rel=1e-2)
    few = nqm.optimal_control(nqm.Problem([1.0, 1e-3], 0.0), steps=2000, samples=2000, pieces=1)
    assert 1.99 < few.lr.values_[0] < 2.0


def test_samples_without_limit_leave_no_noise():
    problem = PROBLEMS["power law"]
    best = nqm.optimal_control(problem, steps=50, samples=10**15)
    bare = nqm.Problem(problem.h, 0.0)
    alone = nqm.optimal_control(bare, steps=50, samples=50)
    assert best.risk == pytest.approx(alone.risk, rel=1e-4)


NAMED = st.one_of(
    st.builds(lambda peak, n: schedules.Constant(peak), st.floats(1e-3, 1.99), st.just(0)),
    st.builds(schedules.Cosine, st.floats(1e-3, 1.99), st.integers(1, 60), st.floats(0, 0.5)),
    st.builds(schedules.Linear, st.floats(1e-3, 1.99), st.floats(0, 1.99), st.integers(1, 60)),
    st.builds(
        schedules.WarmupStableDecay,
        st.floats(1e-3, 1.99), st.integers(0, 9), st.integers(0, 30), st.integers(0, 30),
    ),
    st.builds(schedules.InverseTime, st.floats(1e-3, 1.99), st.floats(0.5, 50), st.floats(0.2, 2)),
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(NAMED, st.integers(1, 40), st.integers(1, 9), st.sampled_from(["power law", "sigma", "few"]))
def test_no_named_schedule_is_better_where_every_step_is_a_piece(named, steps, size, name):
    problem = PROBLEMS.get(name) or nqm.Problem([1.0, 0.4, 0.1], mean0=[1, 2, -1], var0=0.3)
    best = nqm.optimal_control(problem, steps=steps, samples=steps * size)
    other = nqm.expected_risk(problem, nqm.SGD(named), size, steps)
    assert best.risk <= other * (1.0 + 1e-6)


@pytest.mark.parametrize("steps", [100, 1000])
@pytest.mark.parametrize("size", [1, 32])
def test_tuned_named_schedules_are_not_better(steps, size):
    best = nqm.optimal_control(PAPER, steps=steps, samples=steps * size)
    kinds = {
        "cosine": lambda x: schedules.Cosine(x, steps),
        "linear": lambda x: schedules.Linear(x, 0.0, steps),
        "wsd": lambda x: schedules.WarmupStableDecay(x, 0, steps - steps // 3, steps // 3),
        "power": lambda x: schedules.InverseTime(x, steps / 10),
    }
    for make in kinds.values():
        rates = np.geomspace(0.01, 1.99, 30)
        risks = [nqm.expected_risk(PAPER, nqm.SGD(make(x)), size, steps) for x in rates]
        assert best.risk < min(risks)


@pytest.mark.slow
def test_more_freedom_is_not_worse():
    for steps, samples in ((40, 90), (1000, 64_000)):
        risks = [
            nqm.optimal_control(PAPER, steps=steps, samples=samples, over=over).risk
            for over in WAYS
        ]
        assert risks[3] <= min(risks[1:3]) * (1 + 1e-9)
        assert max(risks[1:3]) <= risks[0] * (1 + 1e-9)


# -- limits ------------------------------------------------------------------------------


def test_limits_hold():
    best = nqm.optimal_control(
        PAPER, steps=2000, samples=60_000, min_batch=10, max_batch=50, max_lr=0.7, warmup=100,
        monotone=True,
    )  # fmt: skip
    sizes, rates = best.batch_size.values_, best.lr.values_
    assert 10 <= min(sizes) <= max(sizes) <= 50
    assert max(rates) <= 0.7 * (1 + 1e-12)
    assert all(a <= b for a, b in pairwise(sizes))
    stairs = best.lr.values(np.arange(101))
    assert (np.diff(stairs[:100]) >= 0).all()
    assert stairs[0] == pytest.approx(stairs[100] / 17)
    after = best.lr.values(np.arange(100, 2000))
    assert (np.diff(after) <= 1e-12).all()


@pytest.mark.slow
def test_a_preconditioner_is_that_of_the_changed_problem():
    problem = PROBLEMS["power law"]
    best = nqm.optimal_control(problem, steps=50, samples=500, algorithm=nqm.SGD(1.0, power=0.5))
    assert best.algorithm.power == 0.5
    changed = nqm.Problem(
        problem.h**0.5, problem.c * problem.h**-0.5, var0=problem.h**0.5, mean0=0.0
    )
    plain = nqm.optimal_control(changed, steps=50, samples=500)
    assert best.risk == pytest.approx(plain.risk, rel=1e-6)


# -- targets -----------------------------------------------------------------------------


@pytest.mark.slow
def test_fewest_samples_and_steps_are_those_at_which_the_target_is_reached():
    problem = nqm.Problem.power_law(100)
    for given_, searched in (("steps", "samples"), ("samples", "steps")):
        amount = {"steps": 300, "samples": 5000}[given_]
        best = nqm.optimal_control(problem, **{given_: amount}, target=0.1)
        assert getattr(best, given_) == amount
        assert best.risk <= 0.1
        fewer = {given_: amount, searched: round(getattr(best, searched) * 0.98)}
        assert nqm.optimal_control(problem, **fewer).risk > 0.1
    alone = nqm.optimal_control(problem, target=0.1, min_batch=4)
    assert alone.risk <= 0.1
    assert alone.steps == alone.samples // 4
    assert alone.samples < 1.05 * nqm.optimal_control(problem, steps=300, target=0.1).samples


@pytest.mark.mostly_slow(1, slow=2)
@pytest.mark.parametrize("over", WAYS)
@pytest.mark.parametrize("problem", [nqm.Problem.power_law(50), PAPER], ids=["50", "10000"])
def test_targets_near_and_far_are_found(over, problem):
    """From one budget to the next no search goes astray to rates at which nothing changes."""
    start = nqm.expected_risk(problem, nqm.SGD(0.0), 1, 0)
    lowest = nqm.optimal_control(problem, steps=200, samples=10**12, over=over).risk
    samples = []
    for part in (0.05, 0.5, 0.95):
        target = lowest**part * start ** (1 - part)
        best = nqm.optimal_control(problem, steps=200, target=target, over=over)
        assert target * 0.95 < best.risk <= target or best.samples == 200
        samples.append(best.samples)
    assert samples == sorted(samples)


def test_samples_alone_are_spent_in_the_smallest_batches():
    problem = nqm.Problem.power_law(100)
    best = nqm.optimal_control(problem, samples=1000, min_batch=3)
    assert (best.steps, best.samples) == (333, 1000)
    assert best.risk == pytest.approx(
        nqm.optimal_control(problem, steps=333, samples=1000).risk, rel=0.2
    )


@pytest.mark.slow
def test_a_target_out_of_reach_says_what_can_be_reached():
    problem = nqm.Problem.power_law(100)
    for named in ({"steps": 20}, {"samples": 500}, {"steps": 20, "max_batch": 8}):
        with pytest.raises(
            nqm.InputError, match=r"target must be at least [0-9.e-]+, the low"
        ) as e:
            nqm.optimal_control(problem, **named, target=1e-3)
        lowest = float(str(e.value).split("at least ")[1].split(",")[0])
        near = nqm.optimal_control(problem, **named, target=lowest * 1.01)
        assert near.risk <= lowest * 1.01


# -- large problems ----------------------------------------------------------------------


def test_any_dimension_and_any_number_of_steps():
    problem = nqm.Problem.power_law(10**12)
    best = nqm.optimal_control(problem, steps=10**6, samples=10**8)
    equal = nqm.optimal_control(problem, steps=10**6, samples=10**8, over=())
    assert best.risk < 0.98 * equal.risk
    assert nqm.optimal_control(problem, steps=2**50, samples=2**60).risk < best.risk


@pytest.mark.slow
def test_nodes_stand_for_an_array():
    rng = np.random.default_rng(2)
    problem = nqm.Problem(rng.uniform(0.001, 1.0, 2000), mean0=1.0)
    best = nqm.optimal_control(problem, steps=200, samples=6400, pieces=8)
    search = ControlSearch(
        problem, whole(problem), nqm.SGD(1.0), 8, ControlLimits(True, True, math.inf, 0, FREE)
    )
    real = math.exp(search.lowest(200, 6400).log_risk)
    assert real * (1 - 1e-6) < best.risk < real * 1.001


# -- mistakes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({}, "samples must be given, or a target, or steps and max_batch"),
        ({"steps": 10}, "samples must be given"),
        ({"steps": 10, "samples": 9}, "samples must be at least 10, batches of min_batch = 1"),
        ({"steps": 10, "samples": 29, "min_batch": 3}, "at least 30, batches of min_batch = 3"),
        ({"steps": 10, "samples": 91, "max_batch": 9}, "at most max_batch . steps = 90, not 91"),
        ({"steps": 10, "samples": 100, "target": 0.1}, "with steps or samples, not with both"),
        ({"samples": 100, "target": 99.0}, "target must be below the risk of the start"),
        ({"samples": 100, "min_batch": 5, "max_batch": 4}, "max_batch must be at least min_batch"),
        ({"samples": 100, "over": "lr"}, "over must be a list of lr and batch_size, not 'lr'"),
        ({"samples": 100, "over": ["momentum"]}, "over must be one of lr, batch_size"),
        ({"samples": 100, "algorithm": nqm.Adam(0.1)}, "algorithm must be linear here"),
        ({"samples": 100, "algorithm": 3}, "algorithm must be an algorithm such as"),
        ({"samples": 100, "algorithm": nqm.EMA}, "as EMA needs "),
        (
            {"samples": 100, "algorithm": nqm.ScheduleFree(1.0)},
            "steps that are all alike but",
        ),
        ({"samples": 100, "algorithm": nqm.Lookahead(nqm.SGD(1.0))}, "steps that are all alike"),
        ({"samples": 100, "algorithm": nqm.DelayedSGD(1.0, 9)}, "a state of at most 4 numbers"),
        ({"samples": 100, "algorithm": nqm.SGD(1.0, momentum=[0.1, 0.2])}, "the momentum of"),
        ({"samples": 100, "warmup": 100}, "samples must be at least 101"),
        ({"steps": 10, "samples": 100, "warmup": 10}, "steps must be more than warmup = 10"),
        ({"steps": 10, "samples": 100, "pieces": [4, 5]}, "add up to steps - warmup = 10, not 9"),
        ({"samples": 100, "pieces": [4, 5]}, "add up to steps - warmup, which needs steps"),
        ({"samples": 100, "pieces": 0}, "pieces must be a whole number"),
        ({"samples": 100, "max_lr": 0.0}, "max_lr must be > 0"),
        ({"samples": 100, "monotone": 1}, "monotone must be True or False"),
        ({"samples": 100.5}, "samples must be a whole number"),
        ({"steps": 2**60, "max_batch": 2**60}, "max_batch . steps must be at most 2.62"),
    ],
)
def test_mistakes_get_one_sentence(named, said):
    with pytest.raises(nqm.InputError, match=said):
        nqm.optimal_control(nqm.Problem.power_law(10), **named)


def test_batches_without_replacement_are_refused():
    problem = nqm.Problem.power_law(10).with_noise(nqm.noise.FinitePopulation(100))
    with pytest.raises(nqm.InputError, match="same everywhere for optimal_control"):
        nqm.optimal_control(problem, samples=100)
