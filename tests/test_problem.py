"""Problems have fields, losses and gradients, and come from matrices and data as well."""

import math
import pickle

import numpy as np
import pytest
from helpers import assert_same_problem

import nqm_fast as nqm
from nqm_fast import parts

RNG = np.random.default_rng(12)

# -- fields ------------------------------------------------------------------------------


def test_c_defaults_to_h():
    problem = nqm.Problem([2.0, 0.5])
    np.testing.assert_array_equal(problem.c, [2.0, 0.5])
    np.testing.assert_array_equal(problem.gradient_covariance(), [2.0, 0.5])
    for name, value in {"mean0": 0.0, "var0": 1.0, "count": 1.0}.items():
        np.testing.assert_array_equal(getattr(problem, name), [value, value])


def test_sigma_is_another_name_for_c():
    problem = nqm.Problem([2.0, 0.5], sigma=[3.0, 4.0])
    np.testing.assert_allclose(problem.c, [36.0, 4.0], rtol=1e-15)
    np.testing.assert_allclose(problem.sigma, [3.0, 4.0], rtol=1e-15)
    np.testing.assert_allclose(nqm.Problem([2.0, 0.5], sigma=3.0).c, [36.0, 2.25], rtol=1e-15)
    np.testing.assert_allclose(nqm.Problem([2.0, 0.5], [36.0, 4.0]).sigma, [3.0, 4.0], rtol=1e-15)


@pytest.mark.parametrize("name", ["c", "sigma", "mean0", "var0", "count"])
def test_a_number_stands_for_all_coordinates(name):
    number = nqm.Problem([2.0, 0.5, 0.1], **{name: 0.7})
    assert_same_problem(number, nqm.Problem([2.0, 0.5, 0.1], **{name: [0.7, 0.7, 0.7]}))


def test_a_power_law_is_its_arrays():
    law = nqm.Problem.power_law(200, exponent=1.5)
    h = np.arange(1, 201, dtype=float) ** -1.5
    np.testing.assert_allclose(law.h, h, rtol=1e-15)
    assert_same_problem(law, nqm.Problem(law.h))
    for start, stop in [(0, 1), (17, 90), (199, 200)]:
        block = law.block(start, stop)
        np.testing.assert_array_equal(block.h, law.h[start:stop])
        np.testing.assert_array_equal(block.c, law.h[start:stop])


THREE_LAWS = {
    "exponent": 0.5,
    "noise_exponent": 1.5,
    "start_exponent": -0.25,
    "scale": 2.0,
    "noise": 0.3,
    "start": 7.0,
    "damping": 0.01,
}


def test_curvature_noise_and_start_follow_laws_of_their_own():
    law = nqm.Problem.power_law(300, **THREE_LAWS)
    i = np.arange(1.0, 301.0)
    np.testing.assert_allclose(law.h, 2.0 * i**-0.5 + 0.01, rtol=1e-15)
    np.testing.assert_allclose(law.c, 0.3 * i**-1.5, rtol=1e-15)
    np.testing.assert_allclose(2.0 * i**-0.5 * law.var0, 7.0 * i**0.25, rtol=1e-14)
    np.testing.assert_array_equal(law.mean0, np.zeros(300))
    block = law.block(17, 40)
    for field, name in (("h", "h"), ("c", "c"), ("variance", "var0"), ("second_moment", "var0")):
        np.testing.assert_array_equal(getattr(block, field), getattr(law, name)[17:40])


def test_a_power_law_keeps_its_laws(tmp_path):
    law = nqm.Problem.power_law(300, **THREE_LAWS)
    law.save(tmp_path / "law.npz")
    for other in (nqm.Problem.load(tmp_path / "law.npz"), pickle.loads(pickle.dumps(law))):
        assert other == law
        assert hash(other) == hash(law)
        assert_same_problem(other, law)
    assert eval(repr(law).replace("Problem", "nqm.Problem")) == law
    joined = parts.joined([parts.part(law, 0, 64), parts.part(law, 64, 300)])
    assert joined == law
    np.testing.assert_array_equal(parts.part(law, 64, 300).var0, law.var0[64:])
    assert law != nqm.Problem.power_law(300, **THREE_LAWS | {"start": 8.0})


def test_laws_are_as_curvature_by_default():
    paper = nqm.Problem.power_law(100)
    assert nqm.Problem.power_law(100, 1.0, noise_exponent=1.0, start=1.0) == paper
    scaled = nqm.Problem.power_law(100, scale=3.0)
    assert_same_problem(scaled, nqm.Problem(3.0 * (1.0 / np.arange(1.0, 101.0))))
    np.testing.assert_array_equal(nqm.Problem.power_law(9, noise_exponent=0.5).c[0], 1.0)
    # Damping is added to the curvature, not to noise that is given.
    damped = nqm.Problem.power_law(9, noise=1.0, damping=0.5)
    np.testing.assert_array_equal(damped.c, 1.0 / np.arange(1.0, 10.0))
    np.testing.assert_array_equal(nqm.Problem.power_law(9, damping=0.5).c, damped.h)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scale": 0.0}, "scale must be > 0"),
        ({"noise": -1.0}, "noise must be >= 0"),
        ({"start": -1.0}, "start must be >= 0"),
        ({"noise_exponent": math.inf}, "noise_exponent must be"),
        ({"start_exponent": "steep"}, "start_exponent must be"),
        (
            {"noise_exponent": -400.0},
            "noise = 1 and noise_exponent = -400 take a coordinate of .* beyond the range",
        ),
        (
            {"start_exponent": -400.0},
            "start = 1 and start_exponent = -400 take a coordinate of .* beyond the range",
        ),
        ({"exponent": 400.0}, "exponent 400 makes the last of 100 curvatures vanish"),
    ],
)
def test_laws_beyond_doubles_are_refused(wrong, message):
    with pytest.raises(nqm.InputError, match=message):
        nqm.Problem.power_law(100, **wrong)


def test_a_problem_does_not_change_with_the_arrays_it_came_from():
    h, c = np.array([1.0, 0.5]), np.array([1.0, 2.0])
    problem = nqm.Problem(h, c, mean0=c)
    h[:] = c[:] = 9.0
    np.testing.assert_array_equal(problem.h, [1.0, 0.5])
    np.testing.assert_array_equal(problem.c, [1.0, 2.0])
    np.testing.assert_array_equal(problem.mean0, [1.0, 2.0])
    for field in (problem.h, problem.c, problem.mean0, problem.var0):
        with pytest.raises(ValueError, match="read-only"):
            field[0] = 1.0


def test_integers_lists_and_tuples_are_numbers():
    assert_same_problem(nqm.Problem((1, 2), var0=[3, 4]), nqm.Problem([1.0, 2.0], var0=(3.0, 4.0)))


def test_repr_says_what_it_is():
    assert repr(nqm.Problem.power_law(10**9)) == "Problem.power_law(1000000000, exponent=1)"
    assert repr(nqm.Problem([1.0, 0.25])) == "<Problem: 2 curvatures from 0.25 to 1>"


# -- losses and gradients ----------------------------------------------------------------

SMALL = nqm.Problem([2.0, 0.5, 0.1], sigma=[0.5, 1.0, 3.0])
SIGNS = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T  # all points of {-1, 1}^3
DATA = SIGNS * SMALL.sigma  # a population with exactly the moments of the model


def test_sample_loss_by_hand():
    problem = nqm.Problem([2.0, 0.5], count=[1.0, 3.0])
    assert problem.sample_loss([1.0, 2.0], [4.0, 0.0]) == 0.5 * (2.0 * 9.0 + 3.0 * 0.5 * 4.0)


def test_population_loss_is_the_mean_sample_loss():
    w = RNG.normal(size=3)
    want = np.mean(SMALL.sample_loss(w, DATA))
    assert SMALL.population_loss(w) == pytest.approx(want, rel=1e-14)


def test_excess_risk_is_population_loss_above_its_minimum():
    w = np.array([1.0, -2.0, 3.0])
    start = nqm.Problem(SMALL.h, SMALL.c, mean0=w, var0=0.0)
    excess = SMALL.population_loss(w) - SMALL.population_loss(np.zeros(3))
    assert nqm.expected_risk(start, nqm.SGD(0.1), 1, 0) == pytest.approx(excess, rel=1e-14)


def test_sample_gradient_is_the_derivative_of_sample_loss():
    w, x, tiny = RNG.normal(size=3), RNG.normal(size=3), 1e-6
    for i, slope in enumerate(SMALL.sample_gradient(w, x)):
        move = tiny * np.eye(3)[i]
        rise = SMALL.sample_loss(w + move, x) - SMALL.sample_loss(w - move, x)
        assert slope == pytest.approx(rise / (2 * tiny), rel=1e-8)


def test_gradient_covariance_is_that_of_the_sample_gradient():
    gradients = SMALL.sample_gradient([1.0, 2.0, 3.0], DATA)
    covariance = np.cov(gradients.T, bias=True)
    np.testing.assert_allclose(covariance, np.diag(SMALL.gradient_covariance()), atol=1e-14)
    np.testing.assert_allclose(gradients.mean(axis=0), SMALL.h * [1.0, 2.0, 3.0], rtol=1e-14)


def test_losses_take_many_points_at_once():
    w, x = RNG.normal(size=(4, 1, 3)), RNG.normal(size=(5, 3))
    assert SMALL.population_loss(w).shape == (4, 1)
    assert SMALL.sample_gradient(w, x).shape == (4, 5, 3)
    losses = SMALL.sample_loss(w, x)
    assert losses.shape == (4, 5)
    assert losses[2, 3] == pytest.approx(SMALL.sample_loss(w[2, 0], x[3]), rel=1e-15)


def test_expected_risk_is_that_of_sgd_on_sample_gradients():
    """The expected risk is that of minibatch SGD on sample_gradient, averaged over runs."""
    rng = np.random.default_rng(5)
    problem = nqm.Problem(SMALL.h, SMALL.c, mean0=[1.0, 0.0, -1.0], var0=[0.5, 1.0, 0.0])
    runs, batch_size, lr, momentum = 20_000, 3, 0.3, 0.5
    w = problem.mean0 + np.sqrt(problem.var0) * rng.normal(size=(runs, 3))
    v = np.zeros_like(w)
    for _ in range(12):
        data = problem.sigma * rng.normal(size=(batch_size, runs, 3))
        v = momentum * v + problem.sample_gradient(w, data).mean(axis=0)
        w = w - lr * v
    risks = problem.population_loss(w) - problem.population_loss(np.zeros(3))
    want = nqm.expected_risk(problem, nqm.SGD(lr, momentum=momentum), batch_size, 12)
    error = risks.std() / np.sqrt(runs)
    assert error < 0.01 * want
    assert abs(risks.mean() - want) < 4 * error


# -- least squares -----------------------------------------------------------------------


def regression(seed, rows=60, columns=4, noise=1.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, columns)) @ np.diag(np.geomspace(1.0, 0.2, columns))
    return X, X @ rng.normal(size=columns) + noise * rng.normal(size=rows)


def sample_gradients(X, y, ridge, w):
    return X * (X @ w - y)[:, None] + ridge * w


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_least_squares_has_the_moments_of_the_data(ridge):
    X, y = regression(1)
    problem = nqm.Problem.from_least_squares(X, y, ridge=ridge)
    H = X.T @ X / 60 + ridge * np.eye(4)
    h, basis = np.linalg.eigh(H)
    optimum = np.linalg.solve(H, X.T @ y / 60)
    gradients = sample_gradients(X, y, ridge, optimum) @ basis
    np.testing.assert_allclose(gradients.mean(axis=0), 0.0, atol=1e-13)
    np.testing.assert_allclose(problem.h, h, rtol=1e-12)
    np.testing.assert_allclose(problem.c, (gradients**2).mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(np.abs(problem.mean0), np.abs(optimum @ basis), rtol=1e-10)
    np.testing.assert_allclose(problem.var0, 0.0, atol=1e-14)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_least_squares_starts_at_zero_weights(ridge):
    X, y = regression(2)

    def loss(w):
        return 0.5 * np.mean((X @ w - y) ** 2) + 0.5 * ridge * w @ w

    optimum = np.linalg.solve(X.T @ X / 60 + ridge * np.eye(4), X.T @ y / 60)
    excess = loss(np.zeros(4)) - loss(optimum)
    problem = nqm.Problem.from_least_squares(X, y, ridge=ridge)
    assert nqm.expected_risk(problem, nqm.SGD(0.1), 1, 0) == pytest.approx(excess, rel=1e-10)


def test_full_gradient_descent_on_least_squares():
    # without noise the model is exact: gradient descent on all rows
    X, y = regression(3)
    problem = nqm.Problem.from_least_squares(X, y)
    optimum = np.linalg.lstsq(X, y)[0]
    w = np.zeros(4)
    for _ in range(25):
        w -= 0.2 * sample_gradients(X, y, 0.0, w).mean(axis=0)
    excess = 0.5 * np.mean((X @ (w - optimum)) ** 2)
    assert nqm.expected_risk(problem, nqm.SGD(0.2), 1e15, 25) == pytest.approx(excess, rel=1e-8)


@pytest.mark.parametrize(("batch_size", "extras"), [(4, {}), (16, {"momentum": 0.8})], ids=str)
def test_real_sgd_on_the_rows(batch_size, extras):
    """With mostly noise in y, the gradient noise hardly depends on w, as in the model."""
    X, y = regression(4, rows=200, noise=5.0)
    rng = np.random.default_rng(6)
    runs, lr, momentum = 4000, 0.05, extras.get("momentum", 0.0)
    w, v = np.zeros((2, runs, 4))
    for _ in range(60):
        rows = rng.integers(0, 200, size=(runs, batch_size))
        residual = np.einsum("rbi,ri->rb", X[rows], w) - y[rows]
        v = momentum * v + np.einsum("rb,rbi->ri", residual, X[rows]) / batch_size
        w = w - lr * v
    optimum = np.linalg.lstsq(X, y)[0]
    risks = 0.5 * np.mean(((w - optimum) @ X.T) ** 2, axis=1)
    problem = nqm.Problem.from_least_squares(X, y)
    want = nqm.expected_risk(problem, nqm.SGD(lr, **extras), batch_size, 60)
    assert risks.mean() == pytest.approx(want, rel=0.06)
    assert risks.std() / np.sqrt(runs) < 0.02 * want


# -- matrices of low precision, and numbers at the ends of a double's range ----------------------


def low_precision(dtype):
    """Matrices of fewer samples than coordinates, as they come out in a type of numbers."""
    rng = np.random.default_rng(3)
    gradients = rng.normal(size=(20, 40)).astype(dtype)
    noise = (gradients.T @ gradients / dtype(20)).astype(dtype)
    mean = (10.0 * rng.normal(size=40)).astype(dtype)
    moment = np.outer(mean, mean).astype(dtype) * (dtype(1) + np.finfo(dtype).eps)
    return np.eye(40, dtype=dtype), noise, mean, moment


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_matrices_have_the_rounding_errors_of_their_type(dtype):
    H, C, mean, moment = low_precision(dtype)
    C[0, 1] *= dtype(1) + dtype(4) * np.finfo(dtype).eps  # Not symmetric, by rounding errors.
    problem = nqm.Problem.from_matrices(H, C, mean0=mean, second_moment0=moment)
    np.testing.assert_allclose(problem.c.sum(), np.trace(C.astype(float)), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_no_rounding_error_is_refused_in_any_type(dtype):
    H, C, mean, moment = low_precision(dtype)
    for name, wrong in {"C": C - 0.01 * np.eye(40, dtype=dtype), "H": -H}.items():
        given = {"H": H, "C": C} | {name: wrong}
        with pytest.raises(nqm.InputError, match=f"{name} must be positive"):
            nqm.Problem.from_matrices(**given, mean0=mean, second_moment0=moment)
    C[0, 1] += 0.01
    with pytest.raises(nqm.InputError, match="C must be symmetric"):
        nqm.Problem.from_matrices(H, C, mean0=mean, second_moment0=moment)


def test_rounding_errors_of_floats_are_too_large_for_doubles():
    H, C, mean, moment = low_precision(np.float32)
    with pytest.raises(nqm.InputError, match="C must be positive semi-definite"):
        nqm.Problem.from_matrices(H, C.astype(float), mean0=mean, second_moment0=moment)


@pytest.mark.parametrize(
    ("scale", "of_y", "said"),
    [(1e160, 1.0, r"X\^T X / n"), (1e-160, 1.0, "optimum"), (1.0, 1e160, "X and y")],
)
def test_data_beyond_the_range_of_a_double_are_refused(scale, of_y, said):
    X, y = regression(1)
    with pytest.raises(nqm.InputError, match=f"{said}.*beyond the range of a double: scale"):
        nqm.Problem.from_least_squares(scale * X, of_y * y)
    assert nqm.Problem.from_least_squares(1e60 * X, y).dim == 4


def test_a_power_that_leaves_the_range_of_a_double_gets_an_answer_or_a_sentence():
    problem = nqm.Problem.from_least_squares(np.diag([0.9, 1.9]), [1.0, 1.0])
    for power in (400, -400, 2000, -2000):
        run = nqm.simulate(problem, nqm.SGD(0.1, power=power), 4, 5)
        assert run.status == "diverged"
        assert "lower the learning rate" in run.message
        assert nqm.expected_risk(problem, nqm.SGD(0.1, power=power), 4, 5) == np.inf
    for power in (2000, -2000):
        with pytest.raises(nqm.InputError, match="beyond the range of a double"):
            nqm.tune(problem, 4, 0.01, power=power)
        with pytest.raises(nqm.InputError, match="beyond the range of a double"):
            nqm.bounds.plain_risk(problem, 0.1, 4, 5, power=power)


def test_losses_that_overflow_on_the_way_are_right():
    """Products that overflow on the way to a finite loss, and those that overflow for good."""
    tiny = nqm.Problem([1e-300], c=1e-300, count=1e-20)
    assert tiny.sample_loss([1e170], [0.0]) == pytest.approx(0.5e20, rel=1e-12)
    assert tiny.population_loss([0.0]) == pytest.approx(0.5e-20, rel=1e-12)
    assert nqm.Problem([1.0]).sample_loss([1e200], [0.0]) == np.inf
    assert nqm.Problem([1e160]).sample_gradient([1e160], [0.0]).tolist() == [np.inf]
    far = nqm.Problem([1e160], c=1e160, var0=1e-150)
    assert nqm.bounds.bayes_risk(far, 4.0) == pytest.approx(0.125, rel=1e-9)


def test_a_start_whose_square_is_lost_is_refused_where_it_counts():
    with pytest.raises(nqm.InputError, match=r"mean0\^2 \+ var0 of at least 2.2e-308 beside"):
        nqm.Problem([1e300], mean0=1e-180, var0=0.0)
    assert nqm.Problem([1.0, 1e-9], mean0=[1.0, 1e-180], var0=0.0).dim == 2


def test_notebooks_show_the_powers_of_noise_and_start():
    """Noise of its own power is not said to be as h, nor a start to have variance 1."""
    html = nqm.Problem.power_law(
        10**6, 1.1, noise=3.0, noise_exponent=-0.2, start_exponent=0.7
    )._repr_html_()
    for words in ("i^-1.1", "3 i^0.2", "i^-0.7"):
        assert words in html
    assert "as h" not in html
    assert "as h" in nqm.Problem.power_law(10**6)._repr_html_()
