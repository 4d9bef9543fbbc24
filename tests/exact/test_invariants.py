"""Invariants of the model, for random problems and settings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import stepped_densely

import nqm_fast as nqm
from nqm_fast import bounds
from nqm_fast.algorithms.base import Recurrence

STEPS = [0, 1, 2, 3, 5, 8, 9, 17, 60, 1000, 10**6]

lrs = st.floats(1e-4, 1.9)
units = st.one_of(st.just(0.0), st.floats(0.01, 0.999))
powers = st.sampled_from([0.0, 0.25, 0.5, 1.0])
batch_sizes = st.floats(1.0, 1e4)


@st.composite
def fields(draw):
    """Arrays of a problem with curvatures in (0, 1]."""
    d = draw(st.integers(1, 6))

    def array(low, high):
        return np.array(draw(st.lists(st.floats(low, high), min_size=d, max_size=d)))

    return {
        "h": np.exp(array(-8.0, 0.0)),
        "c": array(0.0, 2.0),
        "mean0": array(-2.0, 2.0),
        "var0": array(0.0, 2.0),
        "count": array(0.1, 20.0),
    }


@st.composite
def algorithms(draw):
    """Stable settings on curvatures in (0, 1]."""
    return nqm.SGD(draw(lrs), momentum=draw(units), ema=draw(units), power=draw(powers))


problems = fields().map(lambda arrays: nqm.Problem(**arrays))


def risk(problem, algorithm, batch_size, steps=STEPS):
    return nqm.expected_risk(problem, algorithm, batch_size, steps)


class WithVelocityAndAverage(nqm.SGD):
    """SGD that keeps v and e in its state although momentum and EMA are 0."""

    def recurrence(self, h):
        k = h**-self.power
        kh = h ** (1.0 - self.power)
        fixed = ([[0.0, 0.0, 0.0], [h, -1.0, 0.0], [1.0, 0.0, -1.0]], [0.0, 1.0, 0.0])
        per_lr = ([[-kh, 0.0, 0.0], [0.0, 0.0, 0.0], [-kh, 0.0, 0.0]], [-k, 0.0, -k])
        return Recurrence([fixed, per_lr], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0])


@given(problems, lrs, powers, batch_sizes)
def test_momentum_0_and_ema_0_are_plain_sgd(problem, lr, power, batch_size):
    plain = risk(problem, nqm.SGD(lr, power=power), batch_size)
    zeros = risk(problem, nqm.SGD(lr, momentum=0.0, ema=0.0, power=power), batch_size)
    np.testing.assert_array_equal(zeros, plain)
    whole_state = risk(problem, WithVelocityAndAverage(lr, power=power), batch_size)
    np.testing.assert_allclose(whole_state, plain, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize("name", ["momentum", "ema"])
@given(problem=problems, lr=lrs, batch_size=batch_sizes)
def test_momentum_and_ema_have_plain_sgd_as_their_limit(name, problem, lr, batch_size):
    plain = risk(problem, nqm.SGD(lr), batch_size)
    almost = risk(problem, nqm.SGD(lr, **{name: 1e-14}), batch_size)
    # Where a step ends the mean, what is left is of the order of the square of the other value.
    np.testing.assert_allclose(almost, plain, rtol=1e-9, atol=1e-27 * plain[0])


@given(fields(), lrs, units, units, batch_sizes)
def test_power_1_with_c_equal_to_h_makes_coordinates_alike(arrays, lr, momentum, ema, batch_size):
    # R_i = count (h moment |signal|^2 + noise): all curvatures share one rate and noise
    h, count = arrays["h"], arrays["count"]
    algorithm = nqm.SGD(lr, momentum=momentum, ema=ema, power=1.0)
    many = nqm.Problem(h, var0=1.0 / h, count=count)
    one = nqm.Problem([1.0], count=count.sum())
    np.testing.assert_allclose(
        risk(many, algorithm, batch_size), risk(one, algorithm, batch_size), rtol=1e-9
    )


@given(fields(), algorithms(), batch_sizes, st.floats(0.01, 0.99))
def test_splitting_a_count_changes_nothing(arrays, algorithm, batch_size, share):
    whole = risk(nqm.Problem(**arrays), algorithm, batch_size)
    twice = {name: np.concatenate([x, x]) for name, x in arrays.items()}
    twice["count"] = np.concatenate([share * arrays["count"], (1.0 - share) * arrays["count"]])
    parts = risk(nqm.Problem(**twice), algorithm, batch_size)
    np.testing.assert_allclose(parts, whole, rtol=1e-12, atol=1e-300)


@given(fields(), algorithms(), st.floats(1e-3, 1e3))
def test_scaling_w0_scales_the_noiseless_risk_by_its_square(arrays, algorithm, scale):
    arrays["c"] = 0.0 * arrays["c"]
    base = risk(nqm.Problem(**arrays), algorithm, 1)
    arrays["mean0"], arrays["var0"] = scale * arrays["mean0"], scale**2 * arrays["var0"]
    scaled = risk(nqm.Problem(**arrays), algorithm, 1)
    np.testing.assert_allclose(scaled, scale**2 * base, rtol=1e-12, atol=1e-300)


@given(fields(), algorithms(), st.floats(1.0, 1e3))
def test_noise_enters_as_c_over_batch_size(arrays, algorithm, factor):
    small = risk(nqm.Problem(**arrays), algorithm, 3.0)
    arrays["c"] = factor * arrays["c"]
    large = risk(nqm.Problem(**arrays), algorithm, 3.0 * factor)
    np.testing.assert_allclose(large, small, rtol=1e-12, atol=1e-300)


@given(fields(), algorithms(), batch_sizes)
def test_only_the_second_moment_of_w0_matters(arrays, algorithm, batch_size):
    with_mean = risk(nqm.Problem(**arrays), algorithm, batch_size)
    arrays["var0"] = arrays["mean0"] ** 2 + arrays["var0"]
    arrays["mean0"] = 0.0 * arrays["mean0"]
    centred = risk(nqm.Problem(**arrays), algorithm, batch_size)
    np.testing.assert_allclose(centred, with_mean, rtol=1e-12, atol=1e-300)


# -- bounds ------------------------------------------------------------------------------


@given(problems, lrs, units, powers, batch_sizes)
def test_theorem_1_holds_at_every_step(problem, lr, momentum, power, batch_size):
    algorithm = nqm.SGD(lr, momentum=momentum, power=power)
    steps = np.arange(200)
    bound = bounds.theorem1(problem, lr, momentum, batch_size, steps, power=power)
    # Where an oscillating mean crosses zero, the last digit of lr moves the risk by 1e-9 of it.
    assert (risk(problem, algorithm, batch_size, steps) <= bound * (1 + 1e-8) + 1e-300).all()


@given(problems, lrs, units, powers, batch_sizes)
def test_theorem_2_holds_at_every_step(problem, lr, ema, power, batch_size):
    algorithm = nqm.SGD(lr, ema=ema, power=power)
    steps = np.arange(200)
    bound = bounds.theorem2(problem, lr, ema, batch_size, steps, power=power)
    assert (risk(problem, algorithm, batch_size, steps) <= bound * (1 + 1e-10) + 1e-300).all()


@given(fields(), algorithms(), st.integers(1, 10**4))
def test_no_algorithm_beats_the_bayes_risk(arrays, algorithm, batch_size):
    # what the bound knows of the start is its variance: the mean is for it to subtract
    problem = nqm.Problem(**arrays | {"mean0": 0.0})
    for steps, value in zip(STEPS, risk(problem, algorithm, batch_size), strict=True):
        assert value >= bounds.bayes_risk(problem, batch_size * steps) * (1 - 1e-10)


def test_the_bayes_risk_is_reached_by_the_kalman_gain():
    # one coordinate: w' = w - lr_t g with lr_t = S_t h / (S_t h^2 + c / B) is the Kalman filter
    h, c, variance, batch_size, steps = 0.3, 2.0, 5.0, 4, 50
    lr = []
    for _ in range(steps):
        lr.append(variance * h / (variance * h**2 + c / batch_size))
        variance *= 1.0 - lr[-1] * h
    problem = nqm.Problem([h], [c], var0=5.0)
    got = risk(problem, nqm.SGD(lr), batch_size, np.arange(steps + 1))
    want = [bounds.bayes_risk(problem, batch_size * t) for t in range(steps + 1)]
    np.testing.assert_allclose(got, want, rtol=1e-12)


# -- dense matrices ----------------------------------------------------------------------


@st.composite
def dense(draw, least=1):
    """H, C, mean0, second_moment0 and P of one size, symmetric but not commuting."""
    d = draw(st.integers(least, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))

    def definite(floor):
        root = rng.normal(size=(d, d))
        return root @ root.T / d + floor * np.eye(d)

    mean = rng.normal(size=d)
    start = definite(0.0) + np.outer(mean, mean)
    return definite(0.2), definite(0.0), mean, start, definite(0.5)


def rotation(d, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


@given(dense(), st.integers(0, 100), units, units, st.booleans())
def test_from_matrices_is_invariant_under_rotation(matrices, seed, momentum, ema, with_p):
    H, C, mean, start, P = matrices
    Q = rotation(H.shape[0], seed)
    algorithm = nqm.SGD(0.1, momentum=momentum, ema=ema)

    def problem(Q):
        return nqm.Problem.from_matrices(
            Q @ H @ Q.T,
            Q @ C @ Q.T,
            mean0=Q @ mean,
            second_moment0=Q @ start @ Q.T,
            P=Q @ P @ Q.T if with_p else None,
        )

    straight, rotated = problem(np.eye(H.shape[0])), problem(Q)
    np.testing.assert_allclose(rotated.h, straight.h, rtol=1e-9)
    np.testing.assert_allclose(
        risk(rotated, algorithm, 4), risk(straight, algorithm, 4), rtol=1e-7, atol=1e-280
    )


@given(dense(least=2), units, units, st.booleans())
def test_from_matrices_equals_dense_moments(matrices, momentum, ema, with_p):
    """The risk is that of stepping w' = w - lr P^-1 v' with dense matrices."""
    H, C, mean, start, P = matrices
    d, lr, batch_size = H.shape[0], 0.1, 3.0
    K = lr * np.linalg.inv(P) if with_p else lr * np.eye(d)
    want = stepped_densely(H, C, start, K, momentum, ema, batch_size, 40)
    problem = nqm.Problem.from_matrices(
        H, C, mean0=mean, second_moment0=start, P=P if with_p else None
    )
    got = risk(problem, nqm.SGD(lr, momentum=momentum, ema=ema), batch_size, np.arange(40))
    np.testing.assert_allclose(got, want, rtol=1e-9)


@given(fields())
def test_from_matrices_of_diagonals_is_the_problem(arrays):
    h, c, mean, variance = (arrays[name] for name in ("h", "c", "mean0", "var0"))
    dense = nqm.Problem.from_matrices(
        np.diag(h), np.diag(c), mean0=mean, second_moment0=np.diag(variance) + np.outer(mean, mean)
    )
    plain = nqm.Problem(h, c, mean0=mean, var0=variance)
    for algorithm in (nqm.SGD(0.5), nqm.SGD(0.5, momentum=0.5, ema=0.5)):
        np.testing.assert_allclose(
            risk(dense, algorithm, 4), risk(plain, algorithm, 4), rtol=1e-10, atol=1e-300
        )


def test_preconditioning_by_a_power_is_the_diagonal_case_of_a_matrix():
    h = np.array([1.0, 0.2, 0.01])
    c = np.array([0.5, 1.0, 2.0])
    matrices = nqm.Problem.from_matrices(
        np.diag(h), np.diag(c), mean0=np.zeros(3), second_moment0=np.eye(3), P=np.diag(h**0.75)
    )
    np.testing.assert_allclose(
        risk(matrices, nqm.SGD(0.3), 4), risk(nqm.Problem(h, c), nqm.SGD(0.3, power=0.75), 4)
    )
