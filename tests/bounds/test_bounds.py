"""Closed forms, theorems and lower bounds hold, and the lecture has two errata."""

import math

import numpy as np
import pytest
from helpers import PAPER

import nqm_fast as nqm
from nqm_fast import bounds

STEPS = np.array([0, 1, 2, 3, 7, 8, 9, 50, 400, 5000, 10**6, 10**9])
POWERS = [0.0, 0.5, 1.0]
RNG = np.random.default_rng(4)
GENERAL = nqm.Problem(
    np.geomspace(1.0, 1e-4, 40),
    RNG.uniform(0.0, 2.0, 40),
    mean0=RNG.normal(size=40),
    count=RNG.uniform(0.1, 9.0, 40),
)
NOISELESS = nqm.Problem(GENERAL.h, 0.0, mean0=GENERAL.mean0, count=GENERAL.count)


def steady_state(problem, algorithm, batch_size=4):
    return nqm.expected_risk(problem, algorithm, batch_size, 10**15)


# -- closed forms ------------------------------------------------------------------------


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("lr", [1e-9, 0.01, 0.5, 1.0, 1.999])
def test_the_plain_closed_form_is_an_equality(lr, power):
    got = bounds.plain_risk(GENERAL, lr, 4, STEPS, power=power)
    want = nqm.expected_risk(GENERAL, nqm.SGD(lr, power=power), 4, STEPS)
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("lr", [2.0, 2.5])
def test_the_plain_closed_form_also_where_it_is_not_stable(lr):
    problem = nqm.Problem([1.0, 0.5], [0.7, 1.0])
    got = bounds.plain_risk(problem, lr, 4, STEPS)
    np.testing.assert_allclose(got, nqm.expected_risk(problem, nqm.SGD(lr), 4, STEPS), rtol=1e-10)
    assert got[-1] == (math.inf if lr > 2.0 else pytest.approx(0.5 * 0.7 * 4 / 4 * 1e9, rel=1e-8))


def test_the_plain_closed_form_by_hand():
    # a = 1 - 0.5 * 0.8 = 0.6; two steps
    problem = nqm.Problem([0.8], [3.0], mean0=1.0, var0=1.0)
    want = 0.6**4 * 0.8 + (1 - 0.6**4) * 0.5 * 3.0 / (2 * 2 * (2 - 0.4))
    assert bounds.plain_risk(problem, 0.5, 2, 2) == pytest.approx(want, rel=1e-14)


def assert_alike(got, want, label):
    """Risks are equal, relative to what they were where the mean crosses zero."""
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12 * want[0], err_msg=label)


def momenta(lr):
    """Momenta near critical damping of curvature 1, and far from it."""
    critical = (1.0 - math.sqrt(lr)) ** 2
    yield from (0.0, 0.3, 0.9, 0.999)
    yield from (critical, critical * (1 - 1e-12), critical * (1 + 1e-12), critical + 1e-5)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("lr", [1e-6, 0.01, 0.5, 1.0, 1.9])
def test_the_mean_part_of_theorem_1_is_an_equality(lr, power):
    for momentum in momenta(lr):
        algorithm = nqm.SGD(lr, momentum=momentum, power=power)
        want = nqm.expected_risk(NOISELESS, algorithm, 4, STEPS)
        got = bounds.theorem1(NOISELESS, lr, momentum, 4, STEPS, power=power)
        assert_alike(got, want, str(algorithm))


def emas(lr):
    """Decays near 1 - lr h of curvature 1, and far from it."""
    yield from (0.0, 0.3, 0.9, 0.999)
    yield from (x for x in (1 - lr, 1 - lr - 1e-12, 1 - lr + 1e-12, 1 - lr - 1e-5) if 0 <= x < 1)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("lr", [1e-6, 0.01, 0.5, 1.0, 1.9])
def test_the_mean_part_of_theorem_2_is_an_equality(lr, power):
    for ema in emas(lr):
        algorithm = nqm.SGD(lr, ema=ema, power=power)
        want = nqm.expected_risk(NOISELESS, algorithm, 4, STEPS)
        got = bounds.theorem2(NOISELESS, lr, ema, 4, STEPS, power=power)
        assert_alike(got, want, str(algorithm))


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("lr", [1e-6, 0.01, 0.5, 1.0, 1.9])
def test_the_noise_of_the_theorems_is_the_steady_state(lr, power):
    late = 10**15
    for momentum in momenta(lr):
        got = bounds.theorem1(GENERAL, lr, momentum, 4, late, power=power)
        want = steady_state(GENERAL, nqm.SGD(lr, momentum=momentum, power=power))
        assert got == pytest.approx(want, rel=1e-9)
    for ema in emas(lr):
        got = bounds.theorem2(GENERAL, lr, ema, 4, late, power=power)
        assert got == pytest.approx(
            steady_state(GENERAL, nqm.SGD(lr, ema=ema, power=power)), rel=1e-9
        )


@pytest.mark.parametrize("power", POWERS)
def test_the_theorems_without_momentum_and_ema_bound_plain_sgd(power):
    plain = bounds.plain_risk(GENERAL, 0.5, 4, STEPS, power=power)
    for bound in (bounds.theorem1, bounds.theorem2):
        got = bound(GENERAL, 0.5, 0.0, 4, STEPS, power=power)
        assert (got >= plain * (1 - 1e-13)).all()
        assert got[-1] == pytest.approx(plain[-1], rel=1e-12)


def test_the_theorems_are_inf_where_there_is_no_steady_state():
    problem = nqm.Problem([1.0, 0.1])
    assert (bounds.theorem1(problem, 4.0, 0.9, 4, STEPS) == math.inf).all()
    assert np.isfinite(bounds.theorem1(problem, 3.7, 0.9, 4, STEPS)).all()
    assert (bounds.theorem2(problem, 2.1, 0.9, 4, STEPS) == math.inf).all()
    assert np.isfinite(bounds.theorem2(problem, 1.9, 0.9, 4, STEPS)).all()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)], ids=str)
def test_closed_forms_have_the_shape_of_steps(shape):
    steps = np.full(shape, 7)
    for risk in (
        bounds.plain_risk(GENERAL, 0.5, 4, steps),
        bounds.theorem1(GENERAL, 0.5, 0.9, 4, steps),
        bounds.theorem2(GENERAL, 0.5, 0.9, 4, steps),
    ):
        assert np.shape(risk) == shape
        assert isinstance(risk, float if shape == () else np.ndarray)


# -- errata ------------------------------------------------------------------------------


def test_momentum_raises_the_steady_state_10_times_not_19():
    problem = nqm.Problem([1.0], [1.0])
    ratio = steady_state(problem, nqm.SGD(1e-6, momentum=0.9)) / steady_state(
        problem, nqm.SGD(1e-6)
    )
    assert ratio == pytest.approx(10.0, rel=1e-5)


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("gap", [1e-6, 0.1, 1.5])
def test_momentum_raises_the_steady_state_by_the_corrected_factor(gap, momentum):
    problem = nqm.Problem([1.0], [1.0])
    ratio = steady_state(problem, nqm.SGD(gap, momentum=momentum)) / steady_state(
        problem, nqm.SGD(gap)
    )
    want = (1 + momentum) * (2 - gap) / ((1 - momentum) * (2 * momentum + 2 - gap))
    assert ratio == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("power", [0.25, 0.5, 0.75])
def test_the_ill_conditioned_limit_has_c_in_front(power):
    """At lr = 2 / h_1^(1-p) a coordinate i > 1 settles at the corrected expression.

    The lecture has h_i^(2-p) sigma_i^2 in place of c_i = h_i^2 sigma_i^2.
    """
    h1, h, sigma, batch_size = 0.8, 1e-3, 30.0, 16
    one = nqm.Problem([h], sigma=sigma)
    got = steady_state(one, nqm.SGD(2.0 / h1 ** (1 - power), power=power), batch_size)
    ratio = h / h1
    shared = ratio**-power / (2 * batch_size * h1 * (1 - ratio ** (1 - power)))
    assert got == pytest.approx(h**2 * sigma**2 * shared, rel=1e-10)
    assert got != pytest.approx(h ** (2 - power) * sigma**2 * shared, rel=0.5)


# -- lower bounds on samples -------------------------------------------------------------


def test_cramer_rao_of_the_paper():
    assert bounds.cramer_rao_samples(PAPER, 0.01) == pytest.approx(5e5, rel=1e-12)


def test_cramer_rao_of_a_general_problem():
    problem = nqm.Problem([1.0, 0.5], [3.0, 1.0], count=[2.0, 10.0])
    assert bounds.cramer_rao_samples(problem, 0.1) == pytest.approx((2 * 3 + 10 * 2) / 0.2)


@pytest.mark.parametrize(
    ("target", "samples"),
    [(0.1, 45166), (0.03, 161716), (0.01, 495016), (0.003, 1661671), (0.001, 4995001)],
)
def test_bayes_samples_of_the_paper(target, samples):
    got = bounds.bayes_samples(PAPER, target)
    assert math.ceil(got) in (samples, samples + 1)
    assert got == pytest.approx(samples, abs=1.0)
    assert bounds.bayes_risk(PAPER, got) == pytest.approx(target, rel=1e-12)


def test_bayes_risk_by_hand():
    problem = nqm.Problem(
        [2.0, 0.5], [3.0, 1.0], var0=[0.25, 4.0], count=[1.0, 6.0], mean0=[9.0, 0.0]
    )
    want = 0.5 * (2.0 / (4 + 10 * 4 / 3) + 6.0 * 0.5 / (0.25 + 10 * 0.25))
    assert bounds.bayes_risk(problem, 10) == pytest.approx(want, rel=1e-14)
    assert bounds.bayes_risk(problem, 0) == pytest.approx(0.5 * (2 * 0.25 + 6 * 0.5 * 4))


def test_bayes_knows_what_is_certain():
    certain = nqm.Problem([1.0, 0.5], [1.0, 0.0], var0=[0.0, 2.0])
    assert bounds.bayes_risk(certain, 0) == 0.5
    assert bounds.bayes_risk(certain, 1) == 0.0  # one noiseless gradient tells it all
    assert bounds.bayes_samples(certain, 0.5) == 0.0


def test_bayes_needs_fewer_samples_than_cramer_rao():
    for target in (1.0, 0.1, 0.01, 0.001):
        assert bounds.bayes_samples(PAPER, target) < bounds.cramer_rao_samples(PAPER, target)


@pytest.mark.parametrize("momentum", [5e-324, 1e-300, 1e-17, 1e-16, 2e-16, 1e-12])
@pytest.mark.parametrize("lr", [0.1, 0.5, 1.0, 1.0000001, 1.5, 1.99])
def test_theorem1_at_hardly_any_momentum(lr, momentum):
    """The smaller root is beta over the larger; a difference of both lost it."""
    problem, steps = nqm.Problem([1.0, 0.5]), [0, 1, 5, 30]
    bound = nqm.bounds.theorem1(problem, lr, momentum, 4, steps)
    assert bound == pytest.approx(nqm.bounds.theorem1(problem, lr, 0.0, 4, steps), rel=1e-9)


@pytest.mark.parametrize(
    ("fields", "risk"),
    [({"c": 0.0, "var0": 0.0}, [0.0, 0.0]), ({"c": 0.0}, [512.0, np.inf]),
     ({"var0": 0.0}, [511.5 * 3.0, np.inf])],
)  # fmt: skip
def test_an_unstable_plain_risk_without_noise_or_start(fields, risk):
    """At lr h = 3 a is -2, so that the risk is 4^t / 2 and 3 (4^t - 1) / 2 after t steps."""
    assert nqm.bounds.plain_risk(nqm.Problem([1.0], **fields), 3.0, 1, [5, 5000]).tolist() == risk


def test_a_plain_risk_is_a_number_or_inf():
    assert nqm.bounds.plain_risk(nqm.Problem([1e-300, 1e300]), 4.6e16, 4, 5) == np.inf


# -- beyond the range of a double on the way -----------------------------------------------


@pytest.mark.parametrize(
    ("h", "c", "var0", "samples", "want"),
    [
        (1e-200, 1e-200, 1e200, 10, 0.5 / 11.0),
        (1e-300, 1e-300, 1e300, 1e6, 0.5 / (1.0 + 1e6)),
        (1e-160, 1e-160, 1e160, 3, 0.125),
        (1e-200, 1e200, 1e300, 1e300, 2.5e99),
        (1e200, 1e200, 1e-200, 10, 0.5 / 11.0),
    ],
)
def test_the_best_estimate_has_a_square_of_the_curvature_that_underflows(h, c, var0, samples, want):
    problem = nqm.Problem([h], [c], var0=[var0])
    assert bounds.bayes_risk(problem, samples) == pytest.approx(want, rel=1e-12)


def test_no_sample_leaves_the_prior_however_little_noise_there_is():
    assert bounds.bayes_risk(nqm.Problem([1.0], [1e-210]), 0.0) == 0.5


@pytest.mark.parametrize("target", [1e-320, 1e-323])
def test_samples_beyond_a_double_are_infinite(target):
    assert bounds.bayes_samples(nqm.Problem([1.0, 0.5]), target) == math.inf
    noisy = nqm.Problem([1.0, 0.5], [1e300, 1e300])
    assert bounds.bayes_samples(noisy, 1e-10) == bounds.cramer_rao_samples(noisy, 1e-10) == math.inf
    assert 0.0 < bounds.bayes_samples(nqm.Problem([1.0, 0.5], 0.0), target) < 1.0


def test_almost_as_many_samples_as_a_double_holds():
    assert bounds.bayes_samples(nqm.Problem([1.0, 0.5]), 1e-300) == pytest.approx(1e300, rel=1e-12)


@pytest.mark.parametrize("c", [0.0, 1e-30])
@pytest.mark.parametrize(("lr", "steps"), [(1.0 - 1e-9, 1), (1.0 + 1e-12, 2), (1.0 - 1e-12, 2)])
def test_a_plain_risk_keeps_its_digits_where_a_step_almost_ends_the_mean(c, lr, steps):
    problem = nqm.Problem([1.0], [c])
    left = 0.5 * (1.0 - lr) ** (2 * steps)
    want = left + c * lr / (2.0 * (2.0 - lr))
    assert bounds.plain_risk(problem, lr, 1, steps) == pytest.approx(want, rel=1e-11, abs=0.0)


def test_a_plain_risk_is_finite_where_its_growth_alone_is_not():
    assert bounds.plain_risk(nqm.Problem([1.0], 0.0, var0=1e-300), 1e160, 1, [1, 2]) == (
        pytest.approx([5e19, math.inf], rel=1e-12)
    )
    assert bounds.plain_risk(nqm.Problem([1.0], [1e-300], var0=0.0), 1e160, 1, [1, 2]) == (
        pytest.approx([5e19, math.inf], rel=1e-12)
    )


@pytest.mark.parametrize("steps", [10**18, 2**62])
def test_theorem_1_has_conjugate_roots_of_equal_size(steps):
    got = bounds.theorem1(nqm.Problem([1.0]), 1.0, 1.0 - 1e-8, 1, steps)
    assert got == pytest.approx(33333333.221396916, rel=1e-9)
    assert bounds.theorem1(nqm.Problem([1.0], 0.0), 1.0, 1.0 - 1e-8, 1, steps) == 0.0
