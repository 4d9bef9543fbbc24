"""Every kind of schedule has its values, its pieces and its least value."""

import math

import numpy as np
import pytest
from schedule_kinds import KINDS

import nqm_fast as nqm
from nqm_fast.schedules import (
    Constant,
    Cosine,
    Linear,
    PerStep,
    Piecewise,
    Step,
    Warmup,
    WarmupStableDecay,
    as_schedule,
)
from nqm_fast.schedules.timeline import segments

kinds = pytest.mark.parametrize("schedule", KINDS.values(), ids=KINDS)


def values(schedule, *steps):
    return schedule.values(np.array(steps)).tolist()


# -- values ------------------------------------------------------------------------------


def test_constant():
    assert values(Constant(0.4), 0, 1, 10**12) == [0.4, 0.4, 0.4]


def test_one_value_per_step():
    schedule = PerStep([0.5, 0.1, 0.9])
    assert values(schedule, 2, 0, 1) == [0.9, 0.5, 0.1]
    assert schedule.length == 3


def test_the_repr_of_values_per_step_has_them_or_how_many():
    assert repr(nqm.SGD([0.1, 0.2])) == "SGD(PerStep([0.1, 0.2]))"
    assert repr(PerStep(np.arange(1000))) == "PerStep([0.0, 1.0, ..., 999.0] of 1000 values)"


def test_linear():
    want = [1.0, 0.8, 0.6, 0.2, 0.2, 0.2]
    np.testing.assert_allclose(values(Linear(1.0, 0.2, 4), 0, 1, 2, 4, 5, 10**12), want)


def test_cosine():
    schedule = Cosine(1.0, 4, end=0.2)
    want = [0.2 + 0.4 * (1 + math.cos(math.pi * t / 4)) for t in range(5)]
    np.testing.assert_allclose(values(schedule, 0, 1, 2, 3, 4), want, rtol=1e-14)
    assert values(schedule, 0, 4, 5, 10**12) == [1.0, 0.2, 0.2, 0.2]


def test_warm_up_stable_decay():
    schedule = WarmupStableDecay(1.0, 4, 3, 5, end=0.5)
    want = [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5]
    np.testing.assert_allclose(values(schedule, *range(14)), want)
    assert values(WarmupStableDecay(1.0, 0, 2, 0, end=0.5), 0, 1, 2, 3) == [1.0, 1.0, 0.5, 0.5]


def test_piecewise():
    schedule = Piecewise([1.0, 0.5, 0.7], [3, 2, 4])
    assert values(schedule, 0, 2, 3, 4, 5, 8, 9, 10**12) == [1, 1, 0.5, 0.5, 0.7, 0.7, 0.7, 0.7]


def test_step():
    assert values(Step(1.0, 0.5, 4), 0, 3, 4, 8, 40) == [1.0, 1.0, 0.5, 0.25, 2.0**-10]


def test_warm_up():
    assert values(Warmup(4, 1.0), 0, 1, 2, 3, 4, 5) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert values(Warmup(4, 1.0, start=0.5), 0, 1, 2, 4) == [0.5, 0.625, 0.75, 1.0]
    # what follows starts where the ramp ends
    moved = Warmup(4, Cosine(1.0, 8, end=0.1))
    later = np.arange(20)
    np.testing.assert_array_equal(moved.values(later + 4), moved.then.values(later))
    assert Warmup(2, [0.5, 0.25]).length == 4


def test_values_have_the_shape_of_steps():
    for schedule in KINDS.values():
        assert schedule.values(np.array([[0, 1], [2, 3]])).shape == (2, 2)
        assert schedule.values(np.array([], dtype=int)).shape == (0,)


# -- pieces ------------------------------------------------------------------------------


def horizon(schedule):
    return int(min(schedule.length, 30))


@kinds
def test_pieces_are_constant_where_they_say_so(schedule):
    step, last = 0, horizon(schedule)
    while step < last:
        end, constant = schedule.piece(step)
        assert end > step
        if constant:
            inside = schedule.values(np.arange(step, int(min(end, last))))
            assert len(set(inside.tolist())) == 1
        # a piece looks the same from every step within it
        for within in range(step, int(min(end, last))):
            assert schedule.piece(within) == (end, constant)
        step = end
    assert schedule.length == math.inf or step == schedule.length


@kinds
def test_the_least_value_is_not_above_any(schedule):
    assert schedule.least <= schedule.values(np.arange(horizon(schedule))).min()


def test_the_least_value_is_taken():
    for schedule in (KINDS["linear"], KINDS["rising"], KINDS["cosine"], KINDS["piecewise"]):
        assert schedule.least == pytest.approx(schedule.values(np.arange(30)).min())
    assert Step(1.0, 0.5, 4).least == 0.0  # in the limit
    assert KINDS["warm-up from"].least == 0.0
    assert Warmup(4, 1.0, start=0.5).least == 0.5


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("batch", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("lr", KINDS.values(), ids=KINDS)
def test_runs_are_the_schedules(lr, batch, merge):
    stop = min(horizon(lr), horizon(batch))
    parts = list(segments([lr, batch], stop, merge=merge))
    start, length = (np.concatenate(x) for x in list(zip(*parts, strict=True))[:2])
    rate, size = np.concatenate([part.values for part in parts], axis=1)
    np.testing.assert_array_equal(start, np.cumsum(length) - length)
    # the last runs are as long as they are, not cut where nobody asks any more
    assert length.sum() >= stop
    steps = np.arange(stop)
    np.testing.assert_array_equal(np.repeat(rate, length)[:stop], lr.values(steps))
    np.testing.assert_array_equal(np.repeat(size, length)[:stop], batch.values(steps))
    if not merge:
        assert (length == 1).all()


def test_runs_jump_over_constant_pieces():
    lr = Piecewise([1.0, 0.5], [10**9, 1])
    (part,) = segments([lr, Constant(4.0)], 10**10)
    assert part.length.tolist() == [10**9, 9 * 10**9]
    (ramp,) = segments([Warmup(100, Constant(0.5)), Constant(4.0)], 10**12)
    assert ramp.length.size == 101


def test_long_timelines_come_in_parts():
    rate = np.random.default_rng(0).uniform(size=100_000)
    parts = list(segments([PerStep(rate), Constant(1.0)], rate.size))
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate([part.values[0] for part in parts]), rate)


# -- what is taken for a schedule --------------------------------------------------------


def test_numbers_arrays_and_schedules():
    assert as_schedule("lr", 0.5) == Constant(0.5)
    assert as_schedule("lr", np.float32(0.5)) == Constant(0.5)
    assert as_schedule("lr", [0.5, 0.25]).values(np.arange(2)).tolist() == [0.5, 0.25]
    same = Cosine(1.0, 8)
    assert as_schedule("lr", same) is same
    assert nqm.SGD(same).lr is same


def test_an_array_is_not_changed_from_outside():
    rate = np.array([0.5, 0.5])
    algorithm = nqm.SGD(rate)
    rate[:] = 9.0
    assert algorithm.lr.values(np.arange(2)).tolist() == [0.5, 0.5]


def test_an_array_gives_what_the_schedule_gives():
    problem, steps = nqm.Problem.power_law(30), np.arange(30)
    for schedule in KINDS.values():
        if schedule.length == math.inf:
            by_array = nqm.expected_risk(problem, nqm.SGD(schedule.values(steps)), 4, 30)
            got = nqm.expected_risk(problem, nqm.SGD(schedule), 4, 30)
            assert got == pytest.approx(by_array, rel=1e-13)


class Own(nqm.schedules.Schedule):
    """A schedule that a user wrote, with a piece and values of any kind."""

    least = 0.1

    def __init__(self, piece, values):
        self.of_piece, self.of_values = piece, values

    def piece(self, step):
        return self.of_piece(step)

    def values(self, steps):
        return self.of_values(steps)


@pytest.mark.parametrize(
    ("piece", "values", "message"),
    [
        (lambda t: (t, True), lambda t: 0.1 + 0.0 * t, r"Own\.piece\(0\) must be a pair"),
        (lambda t: (0, True), lambda t: 0.1 + 0.0 * t, r"Own\.piece\(0\) must be a pair"),
        (lambda t: (t + 1.5, True), lambda t: 0.1 + 0.0 * t, r"Own\.piece\(0\) must be a pair"),
        (lambda t: None, lambda t: 0.1 + 0.0 * t, r"Own\.piece\(0\) must be a pair .* not None"),
        (lambda t: (t + 5, True), lambda t: 0.1, r"Own\.values must return a number for each step"),
        (lambda t: (t + 5, False), lambda t: [0.1, 0.2], r"Own\.values must return a number"),
        (lambda t: (t + 5, False), lambda t: np.nan * t, r"Own\.values must return a number"),
        (lambda t: (math.inf, True), lambda t: "abc", r"Own\.values must return a number"),
    ],
)
def test_a_schedule_of_ones_own_is_checked(piece, values, message):
    problem, algorithm = nqm.Problem([1.0]), nqm.SGD(Own(piece, values))
    for ask in (
        lambda: nqm.expected_risk(problem, algorithm, 4, 7),
        lambda: nqm.steps_to_target(problem, algorithm, 4, 1e-9, max_steps=7),
        lambda: nqm.simulate(problem, algorithm, 4, 7, backend="numpy"),
    ):
        with pytest.raises(nqm.InputError, match=message):
            ask()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("least", None),
        ("least", "low"),
        ("least", math.nan),
        ("length", None),
        ("length", "long"),
        ("length", math.nan),
        ("length", -1),
    ],
)
def test_the_extent_of_a_schedule_of_ones_own_is_checked(name, value):
    kind = type("Odd", (Own,), {name: value})
    with pytest.raises(nqm.InputError, match=rf"^Odd\.{name} must be "):
        nqm.SGD(kind(lambda t: (math.inf, True), lambda t: 0.1 + 0.0 * t))
