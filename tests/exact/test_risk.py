"""expected_risk agrees with stepping and with 60-digit arithmetic, for numbers and schedules."""

import numpy as np
import pytest
from helpers import KINDS, PROBLEMS
from nqm_fast.kernels.reference import stepped_risk
from oracles import risk_to_60_digits, stepped, stepped_coordinate

import nqm_fast as nqm
from nqm_fast import certified_sums as certified
from nqm_fast import kernels
from nqm_fast.schedules import (
    Constant,
    Cosine,
    Linear,
    PerStep,
    Piecewise,
    Step,
    Warmup,
    WarmupStableDecay,
)

RNG = np.random.default_rng(1908)


# -- against stepping --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_every_step_equals_stepping(problem, kind):
    algorithm = nqm.SGD(0.3, **KINDS[kind])
    got = nqm.expected_risk(problem, algorithm, 4, np.arange(1001))
    np.testing.assert_allclose(got, stepped(problem, algorithm, 4, 1000), rtol=1e-12)


GAPS = [1e-12, 1e-9, 1e-6, 1e-3, 0.1, 0.75, 1.0, 1.5, 1.999]


def special_settings(gap):
    """General settings at lr h = gap, and those where eigenvalues coincide."""
    critical = (1.0 - np.sqrt(gap)) ** 2
    yield {}
    for momentum in (0.5, 0.9, 0.9999):
        yield {"momentum": momentum}
    yield {"ema": 0.9}
    yield {"ema": 0.9999}
    yield {"momentum": 0.9, "ema": 0.99}
    yield {"momentum": 0.99, "ema": 0.9}
    if 0.0 < critical < 1.0:
        yield {"momentum": critical}
        yield {"momentum": critical, "ema": np.sqrt(critical)}
        yield {"momentum": critical * (1.0 - 1e-12)}
    for ema in (1.0 - gap, 1.0 - gap - 1e-12, 1.0 - gap + 1e-12):
        if 0.0 <= ema < 1.0:
            yield {"ema": ema}
            yield {"ema": ema, "momentum": ema}


def one_coordinate(gap, power, c=1.0):
    """A coordinate and a learning rate with lr h^(1 - power) = gap."""
    h = 1.0 if power == 0.0 else 0.37
    problem = nqm.Problem([h], [c * h], mean0=0.6, var0=0.64, count=2.5)
    return problem, gap / h ** (1.0 - power)


@pytest.mark.parametrize("power", [0.0, 0.75])
@pytest.mark.parametrize("gap", GAPS)
def test_a_million_steps_equal_stepping(gap, power):
    pytest.importorskip("numba")
    problem, lr = one_coordinate(gap, power)
    records = np.array([0, 1, 2, 7, 8, 9, 100, 12345, 10**6])
    for settings in ({}, {"momentum": 0.9}, {"ema": 0.99}, {"momentum": 0.9, "ema": 0.99}):
        algorithm = nqm.SGD(lr, power=power, **settings)
        got = nqm.expected_risk(problem, algorithm, 3, records)
        want = stepped_coordinate(problem, algorithm, 3, records)
        np.testing.assert_allclose(got, want, rtol=1e-9, err_msg=str(algorithm))


@pytest.mark.parametrize("gap", GAPS)
def test_coinciding_eigenvalues_equal_stepping(gap):
    problem, lr = one_coordinate(gap, 0.0)
    records = np.array([1, 3, 10, 50, 1000, 20000])
    for settings in special_settings(gap):
        algorithm = nqm.SGD(lr, **settings)
        got = nqm.expected_risk(problem, algorithm, 3, records)
        want = stepped_coordinate(problem, algorithm, 3, records)
        np.testing.assert_allclose(got, want, rtol=1e-9, err_msg=str(algorithm))


# -- against 60 digits -------------------------------------------------------------------


@pytest.mark.parametrize("gap", GAPS)
def test_a_billion_steps_equal_60_digits(gap):
    problem, lr = one_coordinate(gap, 0.0)
    steps = [1, 10, 10**3, 10**6, 10**9]
    for settings in special_settings(gap):
        algorithm = nqm.SGD(lr, **settings)
        got = nqm.expected_risk(problem, algorithm, 3, steps)
        want = risk_to_60_digits(problem, algorithm, 3, steps)
        np.testing.assert_allclose(got, want, rtol=1e-11, err_msg=str(algorithm))


@pytest.mark.parametrize("power", [0.25, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_preconditioned_billion_steps_equal_60_digits(kind, power):
    steps = [1, 10, 10**3, 10**6, 10**9]
    for gap in GAPS:
        problem, lr = one_coordinate(gap, power)
        algorithm = nqm.SGD(lr, **KINDS[kind] | {"power": power})
        got = nqm.expected_risk(problem, algorithm, 3, steps)
        want = risk_to_60_digits(problem, algorithm, 3, steps)
        np.testing.assert_allclose(got, want, rtol=1e-11, err_msg=str(algorithm))


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.999}, {"ema": 0.999}], ids=str)
def test_noiseless_decay_keeps_its_digits(settings):
    problem, lr = one_coordinate(1e-6, 0.0, c=0.0)
    algorithm = nqm.SGD(lr, **settings)
    steps = [10**5, 10**6, 10**7, 10**8]
    got = nqm.expected_risk(problem, algorithm, 1, steps)
    want = risk_to_60_digits(problem, algorithm, 1, steps)
    assert want[-1] < 1e-80
    np.testing.assert_allclose(got, want, rtol=1e-10)


def test_cost_does_not_grow_with_the_steps(patience):
    problem = nqm.Problem([1.0, 1e-3])
    for settings in KINDS.values():
        algorithm = nqm.SGD(0.5, **settings)
        far = nqm.expected_risk(problem, algorithm, 4, [10**9, 4 * 10**18])
        assert far[1] == pytest.approx(far[0], rel=1e-12)


# -- settings without a steady state -----------------------------------------------------

UNSTABLE = {
    "plain": nqm.SGD(2.5),
    "momentum": nqm.SGD(4.5, momentum=0.9),
    "ema": nqm.SGD(2.5, ema=0.99),
    "momentum+ema": nqm.SGD(4.5, momentum=0.9, ema=0.99),
    "power": nqm.SGD(2.5, power=0.5),
}


@pytest.mark.parametrize("algorithm", UNSTABLE.values(), ids=UNSTABLE)
def test_unstable_risk_grows_to_inf(algorithm):
    problem = nqm.Problem([1.0, 0.1, 1e-3], mean0=0.1)
    got = nqm.expected_risk(problem, algorithm, 4, np.arange(301))
    np.testing.assert_allclose(got, stepped(problem, algorithm, 4, 300), rtol=1e-11)
    late = nqm.expected_risk(problem, algorithm, 4, [300, 10**4, 10**6, 10**9, 10**18])
    assert np.isfinite(late[0])
    assert late[0] > 1e20 * got[0]
    assert (late[1:] == np.inf).all()


@pytest.mark.parametrize("algorithm", UNSTABLE.values(), ids=UNSTABLE)
def test_unstable_with_a_schedule_is_inf_not_nan(algorithm):
    lr = Piecewise([algorithm.lr.value, 0.1], [10**5, 10**5])
    moving = nqm.SGD(lr, momentum=algorithm.momentum, ema=algorithm.ema, power=algorithm.power)
    risk = nqm.expected_risk(nqm.Problem([1.0, 0.1]), moving, 4, [10, 10**5, 10**5 + 50])
    assert np.isfinite(risk[0])
    assert (risk[1:] == np.inf).all()


@pytest.mark.parametrize("algorithm", UNSTABLE.values(), ids=UNSTABLE)
def test_nothing_grows_from_nothing(algorithm):
    still = nqm.Problem([1.0, 0.1], c=0.0, var0=0.0)
    risk = nqm.expected_risk(still, algorithm, 4, [0, 1, 100, 10**9])
    np.testing.assert_array_equal(risk, 0.0)


def test_at_the_edge_of_stability_noise_adds_up():
    steps = np.array([0, 1, 1000, 10**6])
    risk = nqm.expected_risk(nqm.Problem([1.0]), nqm.SGD(2.0), 8, steps)
    np.testing.assert_allclose(risk, 0.5 * (1.0 + steps * 2.0**2 / 8), rtol=1e-12)


# -- schedules ---------------------------------------------------------------------------

LRS = {
    "constant": Constant(0.4),
    "array": RNG.uniform(0.0, 1.5, 700),
    "per step": PerStep(RNG.uniform(0.0, 1.5, 700)),
    "linear": Linear(1.2, 0.1, 300),
    "cosine": Cosine(1.2, 500, end=0.01),
    "warm-up-stable-decay": WarmupStableDecay(1.2, 50, 300, 200, end=0.05),
    "piecewise": Piecewise([1.5, 0.5, 0.5, 0.02], [3, 200, 50, 100]),
    "step": Step(1.5, 0.5, 70),
    "warm-up, constant": Warmup(40, 1.2),
    "warm-up, cosine": Warmup(40, Cosine(1.2, 300), start=0.2),
    "warm-up, step": Warmup(13, Step(1.5, 0.5, 70)),
    "warm-up, array": Warmup(100, RNG.uniform(0.0, 1.5, 600)),
    "warm-up of a warm-up": Warmup(20, Warmup(30, Piecewise([1.0, 0.1], [100, 100]))),
}
BATCHES = {
    "constant": 4,
    "array": RNG.uniform(1.0, 64.0, 700),
    "linear": Linear(1, 64, 400),
    "step": Step(1, 2, 111),
    "warm-up, piecewise": Warmup(33, Piecewise([8, 64, 16], [50, 100, 1]), start=1),
}


@pytest.mark.parametrize("kind", ["plain", "all"])
@pytest.mark.parametrize("batch_size", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("lr", LRS.values(), ids=LRS)
def test_schedules_equal_stepping(lr, batch_size, kind):
    problem = nqm.Problem(
        [1.0, 0.3, 0.01], [1.0, 0.5, 2.0], mean0=[0.0, 1.0, -1.0], count=[1, 2, 9]
    )
    algorithm = nqm.SGD(lr, **KINDS[kind])
    got = nqm.expected_risk(problem, algorithm, batch_size, np.arange(701))
    np.testing.assert_allclose(got, stepped(problem, algorithm, batch_size, 700), rtol=1e-12)


def test_a_schedule_of_many_changes_over_many_blocks(monkeypatch):
    # longer than one part of the timeline (2^15 runs), and more than one block
    monkeypatch.setattr(certified, "BLOCK", 2)
    lr = np.random.default_rng(3).uniform(0.0, 1.5, 40_000)
    problem = nqm.Problem([1.0, 0.3, 0.01], mean0=1.0)
    algorithm = nqm.SGD(lr, momentum=0.5)
    want = stepped(problem, algorithm, 4, lr.size)
    got = nqm.expected_risk(problem, algorithm, 4, np.arange(lr.size + 1))
    np.testing.assert_allclose(got, want, rtol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_schedule_is_a_constant(kind):
    problem, steps = PROBLEMS["general"], [0, 3, 50, 5000]
    number = nqm.expected_risk(problem, nqm.SGD(0.3, **KINDS[kind]), 4, steps)
    for lr in (Constant(0.3), np.full(5000, 0.3), Piecewise([0.3, 0.3], [7, 7])):
        moving = nqm.expected_risk(problem, nqm.SGD(lr, **KINDS[kind]), 4, steps)
        np.testing.assert_allclose(moving, number, rtol=1e-12)


def test_the_oracle_itself_on_one_step_by_hand():
    # w1 = (1 - 0.5 * 0.8) w0 - 0.5 xi, e1 = 0.25 w0 + 0.75 w1, xi of variance 3 / 2
    one = np.array([1.0])
    risk = stepped_risk(0.8 * one, 3.0 * one, 2.0 * one, one, 0.5 * one, 2.0 * one, 0.9, 0.25, 0.0)
    second_moment = (0.25 + 0.75 * 0.6) ** 2 * 2.0 + (0.75 * 0.5) ** 2 * 1.5
    np.testing.assert_allclose(risk, [0.8, 0.4 * second_moment], rtol=1e-14)


# -- beyond the range of a double on the way -----------------------------------------------


@pytest.mark.parametrize(
    "backend", ["numpy", "cython", pytest.param("numba", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("h", "c", "var0", "lr", "want"),
    [
        (1e-200, 1.0, 1e200, 1e190, [0.5, 5e179]),
        (1.0, 1e-300, 0.0, 1e160, [0.0, 5e19, np.inf, np.inf]),
        (1.0, 0.0, 1e-300, 1e160, [5e-301, 5e19, np.inf]),
        (1e-310, 1.0, 1.0, 1e300, [5e-311, 5e289]),
        (1e200, 1e200, 1e-200, 1e-200, [0.5, 0.5]),
    ],
)
def test_plain_risk_is_finite_where_squares_overflow(h, c, var0, lr, want, backend):
    if not kernels.is_installed(backend):
        pytest.skip(f"{backend} is not installed")
    problem = nqm.Problem([h], [c], var0=var0)
    got = nqm.expected_risk(problem, nqm.SGD(lr), 1, np.arange(len(want)), backend=backend)
    np.testing.assert_allclose(got, want, rtol=1e-11)


def test_the_first_passage_is_found_where_squares_overflow():
    problem = nqm.Problem([1e-200], [1.0], var0=1e200)
    assert nqm.steps_to_target(problem, nqm.SGD(1e190), 1, 0.6, max_steps=5) == 0
