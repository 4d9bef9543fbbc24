"""Every linear method against its paper's loop, its reference value, and itself in other words."""

import copy
import math
import pickle
from functools import partial

import methods
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import constant

import nqm_fast as nqm
from nqm_fast.schedules import InverseTime, Linear, Piecewise, Warmup

STEPS = 24
PROBLEM = nqm.Problem(
    [1.0, 0.3, 1e-2], [0.7, 1.0, 2e-3], mean0=[1.0, -0.5, 2.0], var0=0.3, count=[1, 2, 5]
)
ONE = nqm.Problem([1.0], [1.0], mean0=0.0, var0=0.0)
RATES = st.sampled_from([0.05, 0.19, 0.5, 1.0]) | st.floats(1e-3, 0.6)
UNITS = st.sampled_from([0.0, 0.5, 0.81]) | st.floats(0.0, 0.99)


def critical(lr):
    """Momenta at which the matrix of some method is defective at curvature 1."""
    root = math.sqrt(lr)
    return [(1.0 - root) ** 2, (1.0 - root) / (1.0 + root), 1.0 - lr]


@st.composite
def rates_and_momenta(draw):
    lr = draw(RATES)
    return lr, draw(UNITS | st.sampled_from([m for m in critical(lr) if 0.0 <= m < 1.0]))


def check(algorithm, method, problem=PROBLEM, batch_size=3.0, steps=STEPS):
    expected = methods.risks(method, problem, batch_size, steps)
    found = nqm.expected_risk(problem, algorithm, batch_size, np.arange(steps + 1))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13 * expected[0])


drawn = settings(max_examples=12, deadline=None, derandomize=True)


@drawn
@given(rates_and_momenta(), st.sampled_from([0.0, 0.5]))
def test_nesterov(values, power):
    lr, momentum = values
    hyper = {"lr": constant(lr), "momentum": constant(momentum), "power": power}
    check(nqm.Nesterov(lr, momentum, power=power), partial(methods.nesterov_pytorch, **hyper))
    original = nqm.Nesterov(lr, momentum, form="original", power=power)
    check(original, partial(methods.nesterov_original, **hyper))


@drawn
@given(rates_and_momenta(), UNITS)
def test_qhm(values, nu):
    lr, momentum = values
    method = partial(
        methods.qhm, lr=constant(lr), momentum=constant(momentum), nu=constant(nu), power=0.25
    )
    check(nqm.QHM(lr, momentum, nu, power=0.25), method)


@drawn
@given(rates_and_momenta(), UNITS, st.floats(0.0, 3.0))
def test_ademamix(values, slow, alpha):
    lr, momentum = values
    hyper = {"momentum": momentum, "slow": slow, "alpha": alpha}
    functions = {name: constant(x) for name, x in {"lr": 0.2 * lr, **hyper}.items()}
    check(nqm.AdEMAMix(0.2 * lr, **hyper), partial(methods.ademamix, **functions))


@drawn
@given(rates_and_momenta(), st.floats(0.0, 1.0))
def test_dana(values, weight):
    lr, momentum = values
    hyper = {"lr": constant(0.5 * lr), "weight": constant(weight), "delta": constant(1 - momentum)}
    check(nqm.DANA(0.5 * lr, weight, 1 - momentum), partial(methods.dana, **hyper))


@drawn
@given(rates_and_momenta(), st.sampled_from([0, 1, 3, 7]))
def test_delay(values, delay):
    lr, momentum = 0.1 * values[0], values[1]
    hyper = {"lr": constant(lr), "delay": delay, "momentum": constant(momentum)}
    check(nqm.DelayedSGD(lr, delay, momentum=momentum), partial(methods.delayed, **hyper))


@drawn
@given(RATES, UNITS, st.sampled_from([0.0, 0.5]))
def test_schedule_free(lr, beta, power):
    method = partial(methods.schedule_free, lr=constant(lr), beta=beta, power=power)
    check(nqm.ScheduleFree(lr, beta, power=power), method)


@drawn
@given(rates_and_momenta(), UNITS, st.integers(0, STEPS))
def test_averages(values, decay, start):
    lr, momentum = values
    inner = partial(methods.nesterov_pytorch, lr=constant(lr), momentum=constant(momentum))
    algorithm = nqm.Nesterov(lr, momentum)
    check(nqm.EMA(algorithm, decay), methods.ema(inner, constant(decay)))
    check(nqm.TailAverage(algorithm, start), methods.tail_average(inner, start))


@drawn
@given(rates_and_momenta(), st.integers(1, 7), st.floats(0.05, 1.0))
def test_lookahead(values, period, alpha):
    lr, momentum = values
    hyper = {"period": period, "alpha": alpha}
    method = partial(
        methods.lookahead_momentum, lr=constant(lr), momentum=constant(momentum), **hyper
    )
    check(nqm.Lookahead(nqm.SGD(lr, momentum=momentum), **hyper), method)
    method = partial(methods.lookahead_nesterov, lr=lr, momentum=momentum, **hyper)
    check(nqm.Lookahead(nqm.Nesterov(lr, momentum, form="original"), **hyper), method)


# -- where the matrix of a method is defective at curvature 1 ------------------------------


def check_defective(algorithm, method, order=2):
    """Check a method at which so many eigenvalues coincide, and that they do."""
    recurrence = algorithm.recurrence(np.ones(1))
    weights = algorithm.weights(np.array([algorithm.lr.value]), np.zeros(1, dtype=np.int64))[0]
    matrix = np.eye(len(recurrence.read))
    for weight, (change, _) in zip(weights, recurrence.terms, strict=True):
        numbers = [
            [np.ravel(x[0] * x[1] if isinstance(x, tuple) else x)[0] for x in r] for r in change
        ]
        matrix += weight * np.array(numbers)
    roots = np.linalg.eigvals(matrix)
    distance = np.sort(np.abs(roots[:, None] - roots), axis=1)[:, order - 1]
    assert distance.min() < 1e-16 ** (1 / order) * 100
    check(algorithm, method)


@drawn
@given(st.floats(0.02, 0.9), st.floats(0.3, 0.95))
def test_qhm_and_dana_where_eigenvalues_coincide(lr, momentum):
    nu = (math.sqrt(lr) - math.sqrt(1 - momentum)) ** 2 / (lr * momentum)
    if nu >= 1.0:
        return
    hyper = {"momentum": momentum, "nu": nu}
    functions = {name: constant(x) for name, x in {"lr": lr, **hyper}.items()}
    check_defective(nqm.QHM(lr, **hyper), partial(methods.qhm, **functions))
    # The same with other names.
    plain, weight = lr * (1 - nu), nu * (1 - momentum) / (1 - nu)
    names = {"lr": plain, "weight": weight, "delta": 1 - momentum}
    functions = {name: constant(x) for name, x in names.items()}
    check_defective(nqm.DANA(**names), partial(methods.dana, **functions))


@drawn
@given(st.floats(0.1, 0.9), st.sampled_from([0.0, 0.99]))
def test_ademamix_where_eigenvalues_coincide(momentum, slow):
    lr = (1 - math.sqrt(momentum)) / (1 + math.sqrt(momentum))
    hyper = {"lr": lr, "momentum": momentum, "slow": slow, "alpha": 0.0}
    functions = {name: constant(x) for name, x in hyper.items()}
    check_defective(nqm.AdEMAMix(**hyper), partial(methods.ademamix, **functions))
    alike = hyper | {"slow": momentum, "alpha": 1.5, "lr": lr / 2.5}  # Two means that are the same.
    functions = {name: constant(x) for name, x in alike.items()}
    check_defective(nqm.AdEMAMix(**alike), partial(methods.ademamix, **functions))


@pytest.mark.parametrize("delay", [1, 2, 3, 6])
def test_delays_where_eigenvalues_coincide(delay):
    lr = delay**delay / (delay + 1) ** (delay + 1)
    method = partial(methods.delayed, lr=constant(lr), delay=delay, momentum=constant(0.0))
    check_defective(nqm.DelayedSGD(lr, delay), method)


@drawn
@given(st.floats(0.01, 0.8))
def test_averages_where_eigenvalues_coincide(lr):
    """Momentum is critical, and the decay of the average is the double eigenvalue."""
    momentum = (1 - math.sqrt(lr)) ** 2
    inner = partial(methods.sgd, lr=constant(lr), momentum=constant(momentum))
    decay = 1 - math.sqrt(lr)
    algorithm = nqm.EMA(nqm.SGD(lr, momentum=momentum), decay)
    check_defective(algorithm, methods.ema(inner, constant(decay)), order=3)
    momentum = (1 - math.sqrt(lr)) / (1 + math.sqrt(lr))
    decay = 1 - math.sqrt(lr)
    for form in ("pytorch", "original"):
        loop = getattr(methods, f"nesterov_{form}")
        inner = partial(loop, lr=constant(lr), momentum=constant(momentum))
        algorithm = nqm.EMA(nqm.Nesterov(lr, momentum, form=form), decay)
        check_defective(algorithm, methods.ema(inner, constant(decay)), order=3)


@drawn
@given(st.floats(0.01, 0.8), st.integers(1, 6))
def test_lookahead_where_eigenvalues_coincide(lr, period):
    """Momentum is critical between the steps at which slow and fast weights meet."""
    momentum = (1 - math.sqrt(lr)) ** 2
    hyper = {"period": period, "alpha": 0.5}
    method = partial(
        methods.lookahead_momentum, lr=constant(lr), momentum=constant(momentum), **hyper
    )
    check(nqm.Lookahead(nqm.SGD(lr, momentum=momentum), **hyper), method)


# -- schedules ---------------------------------------------------------------------------


def values_of(schedule):
    return lambda step: float(schedule.values(np.array([step]))[0])


FALLING, RISING = Linear(0.6, 0.1, 15), Linear(0.2, 0.9, 9)
PIECES, WARM = Piecewise([0.5, 0.8, 0.3], [5, 6, 4]), Warmup(6, Piecewise([0.4, 0.1], [9, 1]))


def test_every_hyper_parameter_may_follow_a_schedule():
    lr, momentum, slow = values_of(WARM), values_of(RISING), values_of(PIECES)
    check(
        nqm.SGD(WARM, momentum=RISING, ema=PIECES),
        methods.ema(partial(methods.sgd, lr=lr, momentum=momentum), slow),
    )
    for form in ("pytorch", "original"):
        loop = getattr(methods, f"nesterov_{form}")
        check(nqm.Nesterov(WARM, RISING, form=form), partial(loop, lr=lr, momentum=momentum))
    check(nqm.QHM(WARM, RISING, PIECES), partial(methods.qhm, lr=lr, momentum=momentum, nu=slow))
    check(
        nqm.AdEMAMix(WARM, RISING, PIECES, FALLING),
        partial(methods.ademamix, lr=lr, momentum=momentum, slow=slow, alpha=values_of(FALLING)),
    )
    delta = InverseTime(0.9, 3.0, 1.0)
    check(
        nqm.DANA(WARM, FALLING, delta),
        partial(methods.dana, lr=lr, weight=values_of(FALLING), delta=values_of(delta)),
    )
    check(
        nqm.DelayedSGD(WARM, 2, momentum=RISING),
        partial(methods.delayed, lr=lr, delay=2, momentum=momentum),
    )
    check(nqm.ScheduleFree(WARM, 0.8), partial(methods.schedule_free, lr=lr, beta=0.8))
    inner = partial(methods.sgd, lr=lr, momentum=momentum)
    check(nqm.EMA(nqm.SGD(WARM, momentum=RISING), PIECES), methods.ema(inner, slow))
    check(nqm.TailAverage(nqm.SGD(WARM, momentum=RISING), 7), methods.tail_average(inner, 7))
    check(
        nqm.Lookahead(nqm.SGD(WARM, momentum=RISING), 5, 0.3),
        partial(methods.lookahead_momentum, lr=lr, momentum=momentum, period=5, alpha=0.3),
    )


def test_a_schedule_of_one_value_is_the_constant():
    array = np.full(STEPS, 0.9)
    varying = nqm.SGD(0.1, momentum=array, ema=np.full(STEPS, 0.8))
    steps = np.arange(STEPS + 1)
    np.testing.assert_allclose(
        nqm.expected_risk(PROBLEM, varying, 4, steps),
        nqm.expected_risk(PROBLEM, nqm.SGD(0.1, momentum=0.9, ema=0.8), 4, steps),
        rtol=1e-13,
    )
    assert nqm.SGD(0.1, momentum=nqm.schedules.Constant(0.9)) == nqm.SGD(0.1, momentum=0.9)


def test_schedules_end_and_have_limits():
    short = nqm.SGD(0.1, momentum=np.full(5, 0.9))
    with pytest.raises(nqm.InputError, match="momentum has values for 5 steps, but 6 are asked"):
        nqm.expected_risk(PROBLEM, short, 4, 6)
    with pytest.raises(nqm.InputError, match="momentum has values for 5 steps"):
        nqm.simulate(PROBLEM, short, 4, 6)
    assert nqm.steps_to_target(PROBLEM, short, 4, 1e-9) == math.inf
    with pytest.raises(nqm.InputError, match="ema must be < 1 at every step, but goes up to 1"):
        nqm.expected_risk(PROBLEM, nqm.SGD(0.1, ema=Linear(0.5, 1.0, 9)), 4, 20)
    with pytest.raises(nqm.InputError, match="delta must be at most 1 at every step"):
        nqm.expected_risk(PROBLEM, nqm.DANA(0.1, 0.1, InverseTime(8.0)), 4, 20)
    with pytest.raises(nqm.InputError, match="constant or piecewise constant momentum"):
        nqm.simulate(SPREAD, nqm.SGD(0.1, momentum=RISING), 4, 20, sampling="leap")


# -- reference values --------------------------------------------------------------------

# Stationary mean square of the evaluated iterate at curvature 1, noise 1 and batch size 1. Those of
# AdEMAMix and DANA were solved in rational numbers from their Lyapunov equations.
REFERENCES = {
    "heavy ball": (nqm.SGD(0.1, momentum=0.9), 0.513513513514),
    "Nesterov, PyTorch": (nqm.Nesterov(0.1, 0.9), 0.321770334928),
    "Nesterov, original": (nqm.Nesterov(0.1, 0.9, form="original"), 0.270633971292),
    "QHM": (nqm.QHM(1.0, 0.9, 0.7), 0.310297639412),
    "AdEMAMix": (nqm.AdEMAMix(0.1, 0.9, 0.99, 2.0), 0.077708700247548743),
    "DANA": (nqm.DANA(0.1, 0.05, 0.1), 0.067231184758011534),
    "delay": (nqm.DelayedSGD(0.1, 3), 0.071579074108),
    "Lookahead": (nqm.Lookahead(nqm.SGD(0.5), 5, 0.5), 0.113402061856),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_values(name):
    algorithm, reference = REFERENCES[name]
    assert 2 * nqm.expected_risk(ONE, algorithm, 1, 10**7) == pytest.approx(reference, abs=6e-13)


def test_reference_values_of_averages():
    one = nqm.Problem([1.0], [1.0], mean0=1.0, var0=0.0)
    found = 2 * nqm.expected_risk(one, nqm.ScheduleFree(0.5, 0.9), 1, 20)
    assert found == pytest.approx(0.125232673165, abs=6e-13)
    found = 2 * nqm.expected_risk(one, nqm.TailAverage(nqm.SGD(0.5), 10), 1, 20)
    assert found == pytest.approx(0.086679693845, abs=6e-13)


@pytest.mark.parametrize("delay", [1, 3, 6])
def test_delays_are_stable_up_to_their_limit(delay):
    limit = nqm.DelayedSGD(0.1, delay).largest_lr(np.ones(1))
    assert limit == pytest.approx(2 * math.sin(math.pi / (2 * (2 * delay + 1))))
    still = nqm.expected_risk(ONE, nqm.DelayedSGD(0.995 * limit, delay), 1, [10**6, 10**7])
    assert still[0] == pytest.approx(still[1])
    assert nqm.expected_risk(ONE, nqm.DelayedSGD(1.005 * limit, delay), 1, 10**7) > 1e9


# -- the same in other words -------------------------------------------------------------

MOMENTUM = nqm.SGD(0.2, momentum=0.7)
SAME = {
    "EMA": (nqm.EMA(MOMENTUM, 0.9), nqm.SGD(0.2, momentum=0.7, ema=0.9)),
    "QHM": (nqm.QHM(0.2 / 0.3, 0.7, 1 - 1e-16), MOMENTUM),
    "no delay": (nqm.DelayedSGD(0.2, 0, momentum=0.7), MOMENTUM),
    "no slow mean": (nqm.AdEMAMix(0.2 / 0.3, 0.7, 0.5, 0.0), MOMENTUM),
    "no sum": (nqm.DANA(0.2, 0.0), nqm.SGD(0.2)),
    "all of the way": (nqm.Lookahead(MOMENTUM, 1, 1.0), MOMENTUM),
    "late average": (nqm.TailAverage(MOMENTUM, 10**4), MOMENTUM),
    "no momentum": (nqm.Nesterov(0.2, 0.0, form="original"), nqm.SGD(0.2)),
}


@pytest.mark.parametrize("name", SAME)
def test_special_cases(name):
    one, other = SAME[name]
    steps = [0, 1, 2, 7, 100, 999]
    np.testing.assert_allclose(
        nqm.expected_risk(PROBLEM, one, 8, steps),
        nqm.expected_risk(PROBLEM, other, 8, steps),
        rtol=1e-11,
    )


def test_accumulated_batches_are_a_larger_batch():
    accumulated = nqm.EMA(nqm.Accumulate(nqm.Accumulate(MOMENTUM, 2), 3), 0.5)
    alone = nqm.EMA(MOMENTUM, 0.5)
    steps = [0, 5, 50]
    expected = nqm.expected_risk(PROBLEM, alone, 48, steps)
    np.testing.assert_array_equal(nqm.expected_risk(PROBLEM, accumulated, 8, steps), expected)
    assert nqm.steps_to_target(PROBLEM, accumulated, 8, 0.2) == nqm.steps_to_target(
        PROBLEM, alone, 48, 0.2
    )
    small = nqm.Problem([1.0, 0.5])
    for more in ({}, {"sampling": "per-sample"}, {"sampling": "leap"}):
        one = nqm.simulate(small, accumulated, 8, 20, **more)
        other = nqm.simulate(small, alone, 48, 20, **more)
        np.testing.assert_array_equal(one.risk, other.risk)
    tuned = nqm.tune(small, 8, 0.05, algorithm=nqm.Accumulate(nqm.SGD(0.1), 4))
    assert tuned.steps == nqm.tune(small, 32, 0.05).steps


# -- where segments repeat for ever ------------------------------------------------------


class Stepped(nqm.Algorithm):
    """Another algorithm, every step of which is taken by itself."""

    depends_on_step = True

    def __init__(self, other):
        self.__dict__.update(other=other, lr=other.lr)

    def recurrence(self, h):
        return self.other.recurrence(h)

    def weights(self, lr, step):
        return self.other.weights(lr, step)

    def largest_lr(self, h):
        return self.other.largest_lr(h)


PERIODIC = {
    "plain": nqm.Lookahead(nqm.SGD(0.5), 5, 0.5),
    "momentum": nqm.Lookahead(nqm.SGD(0.2, momentum=0.8, power=0.3), 7, 0.3),
    "average": nqm.EMA(nqm.Lookahead(nqm.Nesterov(0.1, 0.9, form="original"), 6, 0.5), 0.8),
    "of averages": nqm.Lookahead(nqm.SGD(0.2, momentum=0.5, ema=0.7), 3, 0.8),
    "twice": nqm.Lookahead(nqm.Lookahead(nqm.SGD(0.4), 2, 0.7), 3, 0.6),
    "after a warm-up": nqm.Lookahead(nqm.SGD(Linear(0.05, 0.5, 33), momentum=0.6), 7, 0.4),
}
SPREAD = nqm.Problem.power_law(40)


@pytest.mark.parametrize("name", PERIODIC)
def test_periods_are_their_steps(name):
    algorithm = PERIODIC[name]
    stepped = Stepped(algorithm)
    steps = [0, 1, 4, 33, 34, 35, 36, 77, 78, 200, 2001]
    expected = nqm.expected_risk(SPREAD, stepped, 16, steps)
    np.testing.assert_allclose(
        nqm.expected_risk(SPREAD, algorithm, 16, steps), expected, rtol=1e-11
    )
    law = nqm.risk_distribution(SPREAD, algorithm, 16, steps)
    np.testing.assert_allclose(law.mean, expected, rtol=1e-10)
    for target in (1.5, 0.7, 0.3, 0.1, 0.05):
        found = nqm.steps_to_target(SPREAD, algorithm, 16, target, max_steps=3000)
        assert found == nqm.steps_to_target(SPREAD, stepped, 16, target, max_steps=3000)


def test_periods_take_no_longer_for_many_steps():
    risk = nqm.expected_risk(SPREAD, PERIODIC["momentum"], 16, [10**15, 10**15 + 3])
    assert risk[0] == pytest.approx(risk[1])
    many = nqm.Problem.power_law(10**12)
    small = nqm.Lookahead(nqm.SGD(0.3, momentum=0.8), 7, 0.4)
    # Directions that have hardly moved keep their digits: two forms of one method agree.
    same = nqm.Lookahead(nqm.DelayedSGD(0.3, 0, momentum=0.8), 7, 0.4)
    one, other = (nqm.expected_risk(many, x, 8, 10**12 + 3) for x in (small, same))
    assert one == pytest.approx(other, rel=1e-11)


def test_steps_before_an_average_are_not_taken_one_by_one():
    late = nqm.TailAverage(nqm.SGD(0.1), 10**12)
    risk = nqm.expected_risk(SPREAD, late, 16, [10**11, 10**12 + 1, 10**12 + 5000])
    assert risk[1] == pytest.approx(risk[0], rel=1e-9)
    assert risk[2] < 0.5 * risk[1]


# -- arguments ---------------------------------------------------------------------------

REFUSED = {
    "momentum must be": lambda: nqm.Nesterov(0.1, 1.0),
    "form must be one of pytorch, original": lambda: nqm.Nesterov(0.1, 0.9, form="keras"),
    "nu must be": lambda: nqm.QHM(0.1, 0.9, -0.1),
    "alpha must be": lambda: nqm.AdEMAMix(0.1, alpha=-1.0),
    "slow must be": lambda: nqm.AdEMAMix(0.1, slow=1.0),
    "delta must be > 0 and at most 1, not 0": lambda: nqm.DANA(0.1, 0.1, 0.0),
    "weight must be": lambda: nqm.DANA(0.1, "much"),
    "delay must be": lambda: nqm.DelayedSGD(0.1, 2.5),
    "beta must be": lambda: nqm.ScheduleFree(0.1, 1.0),
    "decay must be": lambda: nqm.EMA(nqm.SGD(0.1), 1.0),
    "inner must be an algorithm": lambda: nqm.EMA(0.1, 0.9),
    "start must be": lambda: nqm.TailAverage(nqm.SGD(0.1), -1),
    "period must be": lambda: nqm.Lookahead(nqm.SGD(0.1), 0),
    "alpha must be > 0 and at most 1, not 2": lambda: nqm.Lookahead(nqm.SGD(0.1), 5, 2.0),
    "batches must be": lambda: nqm.Accumulate(nqm.SGD(0.1), 0),
}


@pytest.mark.parametrize("message", REFUSED)
def test_wrong_arguments_are_refused(message):
    with pytest.raises(nqm.InputError, match=f"^{message}"):
        REFUSED[message]()


def test_they_are_shown_as_they_are_made():
    made = [
        nqm.Nesterov(0.1, 0.9),
        nqm.Nesterov(0.1, Linear(0.5, 0.9, 10), form="original", power=0.5),
        nqm.Lookahead(nqm.EMA(nqm.SGD(0.1, momentum=0.9), 0.5), 5, 0.3),
        nqm.DelayedSGD(0.1, 3, momentum=0.5),
    ]
    assert repr(made[0]) == "Nesterov(0.1, 0.9)"
    names = {**vars(nqm), "Linear": Linear}
    for algorithm in made:
        assert eval(repr(algorithm), names) == algorithm


@pytest.mark.parametrize("algorithm", [nqm.SGD(0.1, momentum=0.9), nqm.EMA(nqm.SGD(0.1), 0.5)])
def test_an_algorithm_that_was_used_equals_one_that_was_not(algorithm):
    fresh = copy.deepcopy(algorithm)
    before = hash(algorithm)
    nqm.steps_to_target(nqm.Problem([1.0]), algorithm, 8, 0.1)
    assert algorithm == fresh == pickle.loads(pickle.dumps(algorithm))
    assert hash(algorithm) == before == hash(fresh)
