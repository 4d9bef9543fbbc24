"""Settings up to the limit of stability, where squared maps have large entries that cancel."""

import mpmath
import numpy as np
import pytest
from nqm_fast.kernels import reference
from oracles import risk_to_60_digits

import nqm_fast as nqm

EPS = np.finfo(float).eps
LARGEST_MOMENTUM = 1.0 - EPS / 2


def random_case(seed):
    """A problem, an algorithm within 1e-10 to 0.8 of its limit, and some steps."""
    rng = np.random.default_rng(seed)
    h = np.exp(rng.normal(size=rng.integers(1, 4)))
    momentum = float(1.0 - 10.0 ** rng.uniform(-8.0, -0.3))
    power = float(rng.choice([0.0, 0.0, 0.5, 1.0]))
    ema = float(rng.choice([0.0, 0.0, 0.9, 1.0 - 10.0 ** rng.uniform(-6.0, -1.0)]))
    limit = 2.0 * (1.0 + momentum) / (h ** (1.0 - power)).max()
    lr = float(limit * (1.0 - 10.0 ** rng.uniform(-10.0, -0.1)))
    problem = nqm.Problem(h, h * 10.0 ** rng.uniform(-3.0, 3.0), mean0=rng.normal(size=h.size))
    steps = np.unique(np.geomspace(1.0, 10.0 ** rng.uniform(2.0, 9.0), 6).astype(int))
    return problem, nqm.SGD(lr, momentum=momentum, ema=ema, power=power), steps


def changed(algorithm, lr, momentum):
    """The algorithm with hyper-parameters moved by so many units of the last place."""
    return nqm.SGD(
        algorithm.lr.value * (1.0 + lr * EPS),
        momentum=min(algorithm.momentum * (1.0 + momentum * EPS), LARGEST_MOMENTUM),
        ema=algorithm.ema,
        power=algorithm.power,
    )


def conditioning(problem, algorithm, steps, exact):
    """The relative change of the risk when the last digit of a hyper-parameter changes."""
    moved = np.full(len(steps), 4.0 * EPS)
    for lr, momentum in ((1, 0), (-1, 0), (0, 1)):
        other = risk_to_60_digits(problem, changed(algorithm, lr, momentum), 16, steps)
        relative = [float(abs(x / y - 1)) for x, y in zip(other, exact, strict=True)]
        moved = np.maximum(moved, relative)
    return moved


@pytest.mark.mostly_slow(30, slow=40)
@pytest.mark.parametrize("seed", range(200))
def test_the_risk_is_as_right_as_its_input(seed):
    """Errors are at most 10 times those that the last digit of the input makes."""
    problem, algorithm, steps = random_case(seed)
    steps = [int(t) for t in steps]
    risk = nqm.expected_risk(problem, algorithm, 16, steps)
    exact = risk_to_60_digits(problem, algorithm, 16, steps)
    error = np.array([float(abs(mpmath.mpf(x) / y - 1)) for x, y in zip(risk, exact, strict=True)])
    assert (error <= 10.0 * conditioning(problem, algorithm, steps, exact)).all()


def test_a_setting_that_once_seemed_to_diverge():
    """The values are from the covariance recursion in 60 digits."""
    problem = nqm.Problem(np.linspace(0.5, 1.0, 10_000))
    risk = nqm.expected_risk(problem, nqm.SGD(3.99, momentum=0.9999), 1e4, [10**5, 10**6, 10**7])
    few = nqm.Problem(problem.h[-3:], count=[1.0, 2.0, 3.0])
    of_few = nqm.expected_risk(few, nqm.SGD(3.99, momentum=0.9999), 1e4, [10**5, 10**7])
    exact = risk_to_60_digits(few, nqm.SGD(3.99, momentum=0.9999), 1e4, [10**5, 10**7])
    assert of_few == pytest.approx([float(x) for x in exact], rel=1e-10)
    assert risk == pytest.approx([96866.68671, 96869.97204, 96869.97204], rel=1e-9)


@pytest.mark.mostly_slow(15, slow=10)
@pytest.mark.parametrize("seed", range(60))
def test_first_passage_near_the_limit(seed):
    """It is the first step at which the expected risk is low enough, looked at one by one."""
    rng = np.random.default_rng(seed)
    h = np.exp(rng.normal(size=rng.integers(1, 6)))
    momentum = float(1.0 - 10.0 ** rng.uniform(-5.0, -0.3))
    lr = float(2.0 * (1.0 + momentum) / h.max() * (1.0 - 10.0 ** rng.uniform(-7.0, -0.3)))
    algorithm = nqm.SGD(lr, momentum=momentum, ema=float(rng.choice([0.0, 0.9, 0.99])))
    problem = nqm.Problem(h, h * 10.0 ** rng.uniform(-6.0, 1.0), mean0=rng.normal(size=h.size))
    risk = nqm.expected_risk(problem, algorithm, 64, np.arange(20_001))
    low, high = np.log([risk.min(), risk[0]])
    target = max(float(np.exp(rng.uniform(low, high))), risk.min())
    if seed % 3 == 0:
        target = float(risk.min())  # The plateau itself, to the last bit.
    first = np.flatnonzero(risk <= target)[0]
    assert nqm.steps_to_target(problem, algorithm, 64, target, max_steps=20_000) == first


@pytest.mark.parametrize("seed", range(5))
def test_schedules_near_the_limit(seed):
    """A rate that is given for each step goes through other code than a constant one."""
    problem, algorithm, _ = random_case(seed)
    rates = nqm.schedules.PerStep(np.full(2000, algorithm.lr.value))
    stepped = nqm.SGD(
        nqm.schedules.Piecewise([algorithm.lr.value] * 2, [3, 1]),
        momentum=algorithm.momentum,
        ema=algorithm.ema,
        power=algorithm.power,
    )
    each = nqm.SGD(rates, momentum=stepped.momentum, ema=stepped.ema, power=stepped.power)
    steps = [1, 10, 500, 2000]
    exact = risk_to_60_digits(problem, algorithm, 16, steps)
    allowed = 20.0 * conditioning(problem, algorithm, steps, exact)
    for other in (stepped, each):
        risk = nqm.expected_risk(problem, other, 16, steps)
        assert (np.abs(risk / np.array([float(x) for x in exact]) - 1.0) <= allowed).all()


@pytest.mark.parametrize("scale", [1e-200, 1e-165, 1e165, 1e200])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_scale_does_not_matter(scale, momentum):
    """The kick's square is beyond a double, or its product with the noise below."""
    problem, usual = (nqm.Problem([x, x / 2.0], var0=0.0) for x in (scale, 1.0))
    steps = [1, 2, 10, 1000]
    risk = nqm.expected_risk(problem, nqm.SGD(1.0 / scale, momentum=momentum), 4, steps)
    wanted = nqm.expected_risk(usual, nqm.SGD(1.0, momentum=momentum), 4, steps)
    assert risk == pytest.approx(wanted, rel=1e-12)
    first = nqm.steps_to_target(problem, nqm.SGD(1.0 / scale, momentum=momentum), 4, 1e-9)
    assert first == 0


def test_nothing_is_the_risk_of_nothing():
    """Without noise and start the risk is 0, also where the response is beyond a double."""
    problem = nqm.Problem([1.0], 0.0, var0=0.0)
    for algorithm in (nqm.SGD(3.0), nqm.SGD(5.0, momentum=0.5)):
        assert nqm.expected_risk(problem, algorithm, 1, [1, 5000]).tolist() == [0.0, 0.0]


# -- leaps, whose maps are powers as well --------------------------------------------------


def leapt_risk(problem, algorithm, steps, backend="numpy"):
    """The risk after one leap in which no normal is drawn but each is one in turn, and after none.

    Together these are the expected risk.
    """
    how = {"sampling": "leap", "record": [steps], "backend": backend}
    silent = nqm.Problem(problem.h, 0.0, mean0=problem.mean0, var0=0.0)
    risk = nqm.simulate(silent, algorithm, 16, steps, **how).risk[0, 0]
    at_rest = nqm.Problem(problem.h, problem.c, mean0=0.0, var0=0.0)
    for number in range(3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reference, "normals", lambda words, k=number: words * 0.0 + np.eye(4)[k])
            risk += nqm.simulate(at_rest, algorithm, 16, steps, **how).risk[0, 0]
    return risk


@pytest.mark.mostly_slow(8, slow=20)
@pytest.mark.parametrize("seed", range(100))
def test_a_leap_is_as_right_as_its_input(seed):
    problem, algorithm, steps = random_case(seed)
    problem = nqm.Problem(problem.h, problem.c, mean0=problem.mean0, var0=0.0)
    steps = [int(steps[2]), int(steps[-1])]
    exact = risk_to_60_digits(problem, algorithm, 16, steps)
    allowed = 10.0 * conditioning(problem, algorithm, steps, exact)
    for t, risk, limit in zip(steps, exact, allowed, strict=True):
        assert abs(leapt_risk(problem, algorithm, t) / float(risk) - 1.0) <= limit


def test_a_leap_without_noise_decays_for_ever(machine):
    """The iterate is (1 - lr h)^t, however far below the last digit of 1, or close to 1."""
    problem = nqm.Problem([1.0, 1e-9], 0.0, mean0=1.0, var0=0.0)
    how = {"sampling": "leap", "record": [1000], "backend": machine, "keep_state": True}
    state = nqm.simulate(problem, nqm.SGD(0.1), 1, 1000, **how).state.ravel()
    assert state == pytest.approx([0.9**1000, (1.0 - 1e-10) ** 1000], rel=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_leaps_do_not_depend_on_the_scale(scale, machine):
    """Kicks, whose squares are beyond a double or below, have finite noise."""
    how = {"sampling": "leap", "record": [100], "backend": machine}
    found = [
        nqm.simulate(nqm.Problem([x, x / 2.0], var0=0.0), nqm.SGD(1.0 / x), 4, 100, **how).risk
        for x in (scale, 1.0)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
