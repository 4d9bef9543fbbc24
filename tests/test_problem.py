"""Problems: losses and gradients, files, and problems from real data."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import nqm_fast as nqm

RNG = np.random.default_rng(12)
ALGORITHMS = [nqm.SGD(0.3), nqm.SGD(0.3, momentum=0.9, ema=0.5, power=0.25)]


def assert_same(problem, other):
    assert problem.dim == other.dim
    for name in ("h", "c", "mean0", "var0", "count"):
        np.testing.assert_array_equal(getattr(problem, name), getattr(other, name))
    for algorithm in ALGORITHMS:
        risks = [nqm.expected_risk(p, algorithm, 4, [0, 1, 10, 1000]) for p in (problem, other)]
        np.testing.assert_array_equal(*risks)


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
    assert_same(number, nqm.Problem([2.0, 0.5, 0.1], **{name: [0.7, 0.7, 0.7]}))


def test_a_power_law_is_its_arrays():
    law = nqm.Problem.power_law(1000, exponent=1.5)
    h = np.arange(1, 1001, dtype=float) ** -1.5
    np.testing.assert_allclose(law.h, h, rtol=1e-15)
    assert_same(law, nqm.Problem(law.h))
    for start, stop in [(0, 1), (17, 400), (999, 1000)]:
        block = law.block(start, stop)
        np.testing.assert_array_equal(block.h, law.h[start:stop])
        np.testing.assert_array_equal(block.c, law.h[start:stop])


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
    assert_same(nqm.Problem((1, 2), var0=[3, 4]), nqm.Problem([1.0, 2.0], var0=(3.0, 4.0)))


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
    """The model's meaning: minibatch SGD on sample_gradient, averaged over runs."""
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


# -- files -------------------------------------------------------------------------------

LEAST_SQUARES = nqm.Problem.from_least_squares(RNG.normal(size=(20, 3)), RNG.normal(size=20))
KINDS = {
    "default c": nqm.Problem([1.0, 0.5]),
    "numbers": nqm.Problem([1.0, 0.5], 0.25, mean0=2.0, var0=0.0, count=3.5),
    "arrays": nqm.Problem([1.0, 0.5], [0.0, 2.0], mean0=[1, 2], var0=[0, 1], count=[1, 0.1]),
    "sigma": nqm.Problem([1.0, 0.5], sigma=[0.1, 0.2]),
    "power law": nqm.Problem.power_law(1000, exponent=0.7),
    "matrices": nqm.Problem.from_matrices(
        [[2.0, 0.5], [0.5, 1.0]], np.eye(2), mean0=[1.0, 0.0], second_moment0=2 * np.eye(2)
    ),
    "least squares": LEAST_SQUARES,
}


@pytest.mark.parametrize("problem", KINDS.values(), ids=KINDS)
def test_a_saved_problem_comes_back(problem, tmp_path):
    path = tmp_path / "problem.npz"
    problem.save(path)
    assert_same(nqm.Problem.load(path), problem)
    problem.save(str(path))
    assert_same(nqm.Problem.load(str(path)), problem)


def test_a_file_holds_plain_arrays_exactly_at_its_path(tmp_path):
    path = tmp_path / "no suffix"
    KINDS["arrays"].save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["no suffix"]
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["h"], [1.0, 0.5])
        assert all(file[name].dtype != object for name in file.files)


def test_a_billion_coordinates_fit_in_a_small_file(tmp_path):
    path = tmp_path / "large.npz"
    nqm.Problem.power_law(10**9).save(path)
    assert path.stat().st_size < 2000
    assert nqm.Problem.load(path).dim == 10**9


def refused(path):
    """Loading fails with one clear error that names the file."""
    with pytest.raises(nqm.InputError, match="path") as caught:
        nqm.Problem.load(path)
    assert path.name in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    whole, part = tmp_path / "whole.npz", tmp_path / "part.npz"
    KINDS["arrays"].save(whole)
    content = whole.read_bytes()
    for length in range(0, len(content), 23):
        part.write_bytes(content[:length])
        refused(part)


@pytest.mark.parametrize("kind", ["arrays", "power law"])
def test_a_damaged_file_is_refused_or_still_whole(kind, tmp_path):
    path = tmp_path / "damaged.npz"
    KINDS[kind].save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(99)
    refusals = 0
    for position in rng.choice(len(content), 400, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            problem = nqm.Problem.load(path)
        except nqm.InputError:
            refusals += 1
        else:
            assert_same(problem, KINDS[kind])  # the flip hit a date, say
    assert refusals > 200


def test_foreign_files_are_refused(tmp_path):
    npz = tmp_path / "foreign.npz"
    np.savez(npz, h=np.ones(3), c=np.ones(3))
    refused(npz)
    npy = tmp_path / "array.npy"
    np.save(npy, np.ones(3))
    refused(npy)
    text = tmp_path / "text.npz"
    text.write_text("h = 1, 2, 3\n")
    refused(text)
    archive = tmp_path / "archive.npz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("h.npy", "not an array")
        file.writestr("readme.txt", "nor is this")
    refused(archive)
    refused(tmp_path)


def save_fields(path, **fields):
    """A file in the format of `save`, with other content."""
    KINDS["arrays"].save(path)
    with np.load(path) as file:
        fields = {name: file[name] for name in file.files} | fields
    np.savez(path, **{name: x for name, x in fields.items() if x is not None})


@pytest.mark.parametrize(
    "fields",
    [
        {"h": [1.0, -1.0]},
        {"h": [1.0, np.nan]},
        {"h": [[1.0, 1.0]]},
        {"h": ["a", "b"]},
        {"h": None},
        {"var0": [-1.0, 1.0]},
        {"c": [1.0, 1.0, 1.0]},
        {"count": 0.0},
        {"other": 1.0},
        {"format": "nqm_fast problem 99"},
        {"exponent": 1.0, "dim": "many"},
        {"exponent": 1.0, "dim": 0},
        {"exponent": 1.0},
        {"exponent": np.ones(2), "dim": 3},
    ],
    ids=str,
)
def test_impossible_content_is_refused(fields, tmp_path):
    path = tmp_path / "impossible.npz"
    save_fields(path, **fields)
    refused(path)


class Intruder:
    """Runs code when unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


def test_nothing_is_unpickled(tmp_path):
    trace = tmp_path / "trace"
    pickled = pickle.dumps(Intruder(trace))
    for name, content in {"plain.npz": pickled, "zipped.npz": None}.items():
        path = tmp_path / name
        if content is None:
            save_fields(path, h=np.array([Intruder(trace)], dtype=object))
        else:
            path.write_bytes(content)
        refused(path)
    assert not trace.exists()
    pickle.loads(pickled)
    assert trace.exists()  # it would have shown


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        nqm.Problem.load(tmp_path / "missing.npz")


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
    """Mostly noise in y: the gradient noise hardly depends on w, as in the model."""
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
