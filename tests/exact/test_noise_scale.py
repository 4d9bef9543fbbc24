"""The noise scale over training, against second moments stepped with dense matrices in NumPy."""

import math

import numpy as np
import pytest
from family import METHODS
from helpers import PROBLEMS
from hypothesis import given
from hypothesis import strategies as st

import nqm_fast as nqm
from nqm_fast import schedules

STEPS = [0, 1, 7, 40]
SETTINGS = {
    "plain": (nqm.SGD(0.3), 4),
    "momentum": (nqm.SGD(0.05, momentum=0.9), 4),
    "average": (nqm.SGD(0.3, momentum=0.5, ema=0.95, power=0.3), 2),
    "ramps": (nqm.SGD(schedules.Linear(0.3, 0.0, 40)), schedules.Piecewise([2.5, 64.0], [20, 20])),
} | {name: (method, 4) for name, method in METHODS.items()}


def dense(recurrence, weights, d):
    """A and b of one step, (d, n, n) and (d, n), of a recurrence's terms."""
    n = len(recurrence.read)
    matrix, kick = np.tile(np.eye(n), (d, 1, 1)), np.zeros((d, n))
    for weight, (rows, kicks) in zip(weights, recurrence.terms, strict=True):
        for a in range(n):
            for b, entry in enumerate([*rows[a], kicks[a]]):
                value = entry[0] * entry[1] if isinstance(entry, tuple) else entry
                if b < n:
                    matrix[:, a, b] += weight * value
                else:
                    kick[:, a] += weight * value
    return matrix, kick


def stepped(problem, algorithm, batch_size, last):
    """E|G|^2 and E[G^T H G] at steps 0 .. last, shape (last + 1, 2)."""
    h, c, count = problem.h, problem.c, np.broadcast_to(problem.count, problem.h.shape)
    recurrence = algorithm.recurrence(h)
    n = len(recurrence.read)
    point = np.array(recurrence.gradient or [1.0] + [0.0] * (n - 1))
    start = np.array(recurrence.start)
    second = (problem.mean0**2 + problem.var0)[:, None, None] * np.outer(start, start)
    sizes = schedules.as_schedule("batch_size", batch_size)
    found = []
    for t in range(last + 1):
        at = np.array([t])
        square = np.einsum("a,iab,b->i", point, second, point)
        found.append([(count * h**2 * square).sum(), (count * h**3 * square).sum()])
        weights = algorithm.weights(algorithm.lr.values(at), at)[0]
        matrix, kick = dense(recurrence, weights, h.size)
        size = algorithm.batches_per_step * sizes.values(at)[0]
        noise = (c / size)[:, None, None] * kick[:, :, None] * kick[:, None, :]
        second = matrix @ second @ matrix.transpose(0, 2, 1) + noise
    return np.array(found)


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_that_of_stepping(name):
    algorithm, batch_size = SETTINGS[name]
    problem = PROBLEMS["general" if name in ("plain", "Nesterov", "ramps") else "power law"]
    squares = stepped(problem, algorithm, batch_size, max(STEPS))[STEPS]
    noise = (problem.count * problem.c).sum()
    curved = (problem.count * problem.c * problem.h).sum()
    found = nqm.noise_scale(problem, algorithm, batch_size, STEPS)
    np.testing.assert_allclose(found.square_gradient, squares[:, 0], rtol=1e-10)
    np.testing.assert_allclose(found.curved_gradient, squares[:, 1], rtol=1e-10)
    np.testing.assert_allclose(found.simple, noise / squares[:, 0], rtol=1e-10)
    np.testing.assert_allclose(found.weighted, curved / squares[:, 1], rtol=1e-10)
    assert math.isclose(found.noise, noise, rel_tol=1e-12)
    assert math.isclose(found.curved_noise, curved, rel_tol=1e-12)


def test_few_nodes_stand_for_all_coordinates():
    """A law of 60,000 coordinates is summed over nodes, and so are its arrays."""
    law = nqm.Problem.power_law(60_000, 1.3, noise_exponent=1.1, start_exponent=1.2)
    arrays = nqm.Problem(law.h, law.c, mean0=law.mean0, var0=law.var0)
    algorithm, steps = nqm.SGD(0.9), np.array([0, 3, 1000, 10**6])
    decay = (1 - 0.9 * law.h) ** (2.0 * steps[:, None])
    settled = 0.9 * law.c / (8 * law.h * (2 - 0.9 * law.h))
    square = decay * (law.mean0**2 + law.var0) + (1 - decay) * settled
    expected = (law.h * law.c).sum() / (law.h**3 * square).sum(axis=1)
    simple = law.c.sum() / (law.h**2 * square).sum(axis=1)
    for problem in (law, arrays):
        found = nqm.noise_scale(problem, algorithm, 8, steps)
        np.testing.assert_allclose(found.weighted, expected, rtol=1e-10)
        np.testing.assert_allclose(found.simple, simple, rtol=1e-10)


def test_a_million_million_coordinates():
    found = nqm.noise_scale(nqm.Problem.power_law(10**12, 2.0), nqm.SGD(1.0), 64, [0, 10**9])
    zeta4, zeta6 = math.pi**4 / 90, math.pi**6 / 945
    assert math.isclose(found.weighted[0], zeta4 / zeta6, rel_tol=1e-12)
    assert found.weighted[1] > 64  # The noise has the last word.


@given(
    h=st.floats(1e-3, 1.0),
    c=st.floats(1e-3, 1e3),
    start=st.floats(0.1, 10.0),
    lr=st.floats(0.01, 1.0),
    steps=st.integers(0, 1000),
)
def test_one_coordinate_has_one_noise_scale(h, c, start, lr, steps):
    """Weights of curvature cancel: both are c / (h^2 E[w^2])."""
    problem = nqm.Problem([h], [c], mean0=start, var0=0.0)
    found = nqm.noise_scale(problem, nqm.SGD(lr), 16, steps)
    risk = nqm.expected_risk(problem, nqm.SGD(lr), 16, steps)
    assert math.isclose(found.simple, found.weighted, rel_tol=1e-12)
    assert math.isclose(found.simple, c / (2 * h * risk), rel_tol=1e-12)


def test_averages_do_not_change_it():
    """Gradients are taken at the iterate itself."""
    problem = PROBLEMS["general"]
    plain = nqm.noise_scale(problem, nqm.SGD(0.3), 4, STEPS)
    for average in (nqm.SGD(0.3, ema=0.9), nqm.EMA(nqm.SGD(0.3), 0.9)):
        found = nqm.noise_scale(problem, average, 4, STEPS)
        np.testing.assert_allclose(found.weighted, plain.weighted, rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-250, 1e-130, 1e130])
def test_units_do_not_matter(unit):
    """Curvatures in another unit, and learning rates in its inverse, have the same noise scale."""
    h, c = np.array([1.0, 0.5, 0.1]), np.array([2.0, 1.0, 3.0])
    usual = nqm.noise_scale(nqm.Problem(h, c), nqm.SGD(0.3), 4, STEPS)
    other = nqm.Problem(unit * h, c * unit, var0=1.0 / unit)
    found = nqm.noise_scale(other, nqm.SGD(0.3 / unit), 4, STEPS)
    np.testing.assert_allclose(found.weighted, usual.weighted, rtol=1e-10)
    np.testing.assert_allclose(found.simple, usual.simple, rtol=1e-10)


def test_without_noise_and_without_gradient():
    assert nqm.noise_scale(nqm.Problem([1.0], c=0.0), nqm.SGD(0.1), 1, 3).weighted == 0.0
    still = nqm.Problem([1.0], c=1.0, var0=0.0)
    assert nqm.noise_scale(still, nqm.SGD(0.1), 1, 0).simple == math.inf


def test_batches_without_replacement_are_quieter():
    """The noise of a sample is the same; the gradients are those of the training."""
    problem = nqm.Problem([1.0, 0.5])
    finite = problem.with_noise(nqm.noise.FinitePopulation(64))
    first = nqm.noise_scale(problem, nqm.SGD(0.5), 32, [0, 100])
    second = nqm.noise_scale(finite, nqm.SGD(0.5), 32, [0, 100])
    assert second.weighted[0] == first.weighted[0]
    assert second.weighted[1] > 1.5 * first.weighted[1]


def test_shapes():
    problem = nqm.Problem([1.0, 0.5])
    assert isinstance(nqm.noise_scale(problem, nqm.SGD(0.1), 1, 3).weighted, float)
    found = nqm.noise_scale(problem, nqm.SGD(0.1), 1, [[3, 0], [1, 1]])
    assert found.weighted.shape == found.simple.shape == found.steps.shape == (2, 2)
    assert found.weighted[1, 0] == found.weighted[1, 1] != found.weighted[0, 0]
    assert nqm.noise_scale(problem, nqm.SGD(0.1), 1, []).simple.shape == (0,)
    assert repr(found) == "<NoiseScale at 4 steps>"
    assert "tr(H C)" in found._repr_html_()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"problem": 3}, "problem must be"),
        ({"algorithm": nqm.Adam(0.1)}, "algorithm must be linear here"),
        ({"batch_size": 0.5}, "batch_size must be >= 1"),
        ({"steps": -1}, "steps must be whole numbers >= 0, but contains -1"),
        ({"steps": 11, "batch_size": np.ones(10)}, "batch_size has values for 10 steps"),
        (
            {"problem": nqm.Problem([1.0]).with_noise(nqm.noise.Gaussian())},
            "noise that is the same everywhere for noise_scale, not Gaussian",
        ),
    ],
)
def test_mistakes_are_named(changed, message):
    usual = {
        "problem": nqm.Problem([1.0]), "algorithm": nqm.SGD(0.1), "batch_size": 4, "steps": 3
    }  # fmt: skip
    with pytest.raises(nqm.InputError, match=message):
        nqm.noise_scale(**(usual | changed))
