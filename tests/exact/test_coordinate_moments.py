"""Exact moments of each coordinate: those of stepping, of the risk, and of simulated paths."""

import numpy as np
import pytest
from helpers import PROBLEMS, irregular

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.exact import coordinate_moments

SMALL = irregular(7)
STEPS = [0, 1, 2, 5, 17, 40]
KINDS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "ema": {"ema": 0.95},
    "all": {"momentum": 0.8, "ema": 0.9, "power": 0.5},
}
SETTINGS = {name: (nqm.SGD(0.3, **more), 4) for name, more in KINDS.items()} | {
    "schedules": (
        nqm.SGD(schedules.Warmup(5, schedules.Constant(0.2)), momentum=0.5, ema=0.7),
        schedules.Piecewise([2.5, 64.0], [20, 20]),
    ),
    "critical": (nqm.SGD(0.25, momentum=0.25), 3),
    "per step": (nqm.SGD(np.linspace(0.5, 0.1, 40)), np.arange(1, 41)),
}


def stepped(problem, algorithm, batch_size, last):
    """Mean and covariance of (w, v, e) of each coordinate at steps 0 .. last, as SGD is written.

    v and e are left out where they play no part, as in the states of simulations.
    """
    t = np.arange(max(last, 1))
    rates = algorithm.lr.values(t)
    sizes = schedules.as_schedule("batch_size", batch_size).values(t)
    beta, gamma = algorithm.momentum, algorithm.ema
    kept = [0, *[1] * bool(beta), *[2] * bool(gamma)]
    means, covariances = [], []
    for h, c, mean0, var0 in zip(problem.h, problem.c, problem.mean0, problem.var0, strict=True):
        start = np.array([1.0, 0.0, 1.0])
        mean, covariance = mean0 * start, var0 * np.outer(start, start)
        path = [(mean, covariance)]
        for lr, size in zip(rates[:last], sizes[:last], strict=True):
            rate = lr * h**-algorithm.power
            velocity = np.array([h, beta, 0.0])
            iterate = np.array([1.0, 0.0, 0.0]) - rate * velocity
            average = (1 - gamma) * iterate + gamma * np.array([0.0, 0.0, 1.0])
            A = np.stack([iterate, velocity, average])
            kick = np.array([-rate, 1.0, -(1 - gamma) * rate])
            mean, covariance = A @ mean, A @ covariance @ A.T + c / size * np.outer(kick, kick)
            path.append((mean, covariance))
        means.append([mean[kept] for mean, _ in path])
        covariances.append([covariance[np.ix_(kept, kept)] for _, covariance in path])
    return np.moveaxis(means, 1, 0), np.moveaxis(covariances, 1, 0)


@pytest.mark.parametrize("name", SETTINGS)
def test_they_are_those_of_stepping(name):
    algorithm, batch_size = SETTINGS[name]
    found = nqm.moments(SMALL, algorithm, batch_size, STEPS)
    means, covariances = (x[STEPS] for x in stepped(SMALL, algorithm, batch_size, STEPS[-1]))
    assert found.state_mean.shape == means.shape
    assert found.state_mean == pytest.approx(means, rel=1e-11, abs=1e-13)
    assert found.state_covariance == pytest.approx(covariances, rel=1e-10, abs=1e-13)
    read = -1 if algorithm.ema else 0
    for name, component in (("", 0), ("evaluated_", read)):
        mean, variance = getattr(found, f"{name}mean"), getattr(found, f"{name}variance")
        assert mean == pytest.approx(means[..., component], rel=1e-11, abs=1e-13)
        expected = covariances[..., component, component]
        assert variance == pytest.approx(expected, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", SETTINGS)
def test_they_add_up_to_the_expected_risk(problem, name):
    """With counts as well, and of a power law."""
    problem = PROBLEMS[problem]
    found = nqm.moments(problem, *SETTINGS[name], STEPS)
    expected = nqm.expected_risk(problem, *SETTINGS[name], STEPS)
    assert found.risk.sum(axis=-1) == pytest.approx(expected, rel=1e-12)
    square = found.evaluated_mean**2 + found.evaluated_variance
    assert 0.5 * problem.count * problem.h * square == pytest.approx(found.risk, rel=1e-12)


def test_the_terms_of_plain_sgd_are_the_lectures_formula():
    lr, batch_size, t = 0.3, 4, np.array([0, 1, 10, 1000, 10**9])
    found = nqm.moments(SMALL, nqm.SGD(lr), batch_size, t)
    h, c = SMALL.h, SMALL.c
    left = (1 - lr * h) ** (2 * t[:, None])
    initial = 0.5 * h * (SMALL.mean0**2 + SMALL.var0)
    assert found.convergence == pytest.approx(left * initial, rel=1e-10, abs=1e-300)
    steady = lr * c / (2 * batch_size * (2 - lr * h))
    assert found.steady_state == pytest.approx((1 - left) * steady, rel=1e-11)


def test_the_steady_state_of_momentum_is_that_of_its_closed_form():
    lr, beta, batch_size = 0.3, 0.9, 4
    found = nqm.moments(SMALL, nqm.SGD(lr, momentum=beta), batch_size, 10**6)
    h, c = SMALL.h, SMALL.c
    steady = (1 + beta) * lr * c / (2 * batch_size * (2 * beta + 2 - lr * h) * (1 - beta))
    assert found.steady_state == pytest.approx(steady, rel=1e-11)


@pytest.mark.parametrize("name", ["momentum", "all", "schedules"])
def test_simulated_paths_have_them(name):
    algorithm, batch_size = SETTINGS[name]
    steps = [3, 40]
    found = nqm.moments(SMALL, algorithm, batch_size, steps)
    n = 4000
    paths = nqm.simulate(
        SMALL, algorithm, batch_size, 40, replicas=n, record=steps, trajectory=range(7), seed=3
    ).trajectory
    for drawn, mean, variance in (
        (paths.w, found.mean, found.variance),
        (paths.evaluated, found.evaluated_mean, found.evaluated_variance),
    ):
        assert (np.abs(drawn.mean(axis=0) - mean) < 5 * np.sqrt(variance / n)).all()
        assert drawn.var(axis=0) == pytest.approx(variance, rel=6 * np.sqrt(2 / n))


# -- shapes and choices ------------------------------------------------------------------


@pytest.mark.parametrize("steps", [3, [3], [[5, 0], [2, 3]], np.array([], dtype=int)])
def test_steps_have_any_shape_and_order(steps):
    algorithm, batch_size = SETTINGS["all"]
    found = nqm.moments(SMALL, algorithm, batch_size, steps)
    shape = np.shape(steps)
    assert found.steps.shape == shape
    assert found.mean.shape == found.convergence.shape == (*shape, 7)
    assert found.state_covariance.shape == (*shape, 7, 3, 3)
    for index in np.ndindex(shape):
        alone = nqm.moments(SMALL, algorithm, batch_size, int(np.asarray(steps)[index]))
        assert alone.state_covariance == pytest.approx(found.state_covariance[index], rel=1e-12)


def test_coordinates_are_chosen_in_any_order():
    algorithm, batch_size = SETTINGS["all"]
    whole = nqm.moments(SMALL, algorithm, batch_size, STEPS)
    found = nqm.moments(SMALL, algorithm, batch_size, STEPS, coordinates=[5, 0, 1, 5])
    assert found.coordinates.tolist() == [5, 0, 1, 5]
    for name in ("mean", "evaluated_variance", "convergence", "steady_state"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name)[:, [5, 0, 1, 5]])
    assert nqm.moments(SMALL, algorithm, 4, 3, coordinates=2).mean.shape == (1,)


def test_blocks_do_not_matter(monkeypatch):
    whole = nqm.moments(irregular(300), *SETTINGS["momentum"], STEPS)
    monkeypatch.setattr(coordinate_moments, "BLOCK", 64)
    found = nqm.moments(irregular(300), *SETTINGS["momentum"], STEPS)
    assert found.state_covariance == pytest.approx(whole.state_covariance, rel=1e-13)
    assert np.array_equal(found.coordinates, whole.coordinates)


def test_a_power_law_of_any_size_is_computed_where_it_is_asked_for(patience):
    chosen = [0, 999, 10**12 - 1]
    found = nqm.moments(
        nqm.Problem.power_law(10**12), nqm.SGD(0.5, momentum=0.9), 64, [10, 10**9],
        coordinates=chosen,
    )  # fmt: skip
    alone = nqm.Problem(1.0 / (np.array(chosen) + 1.0))
    expected = nqm.moments(alone, nqm.SGD(0.5, momentum=0.9), 64, [10, 10**9])
    assert found.risk == pytest.approx(expected.risk, rel=1e-12)


def test_every_backend_has_them(machine):
    """What each has in all digits, the others have up to rounding."""
    algorithm, batch_size = SETTINGS["schedules"]
    found = nqm.moments(SMALL, algorithm, batch_size, STEPS, backend=machine)
    usual = nqm.moments(SMALL, algorithm, batch_size, STEPS)
    assert found.state_covariance == pytest.approx(usual.state_covariance, rel=1e-11, abs=1e-15)


def test_where_it_diverges_moments_are_infinite():
    problem = nqm.Problem([1.0, 1e-3], mean0=[0.0, 1.0], var0=[1.0, 0.0])
    found = nqm.moments(problem, nqm.SGD(50.0, momentum=0.5, ema=0.5), 4, [10**4])
    assert found.risk[0, 0] == found.variance[0, 0] == found.evaluated_variance[0, 0] == np.inf
    assert found.mean[0, 0] == found.evaluated_mean[0, 0] == 0.0
    assert np.isfinite(found.risk[0, 1])
    assert not np.isnan(found.state_mean[0, 1]).any()


def test_they_are_shown():
    found = nqm.moments(SMALL, nqm.SGD(0.3), 4, STEPS)
    assert repr(found) == "<Moments of 6 steps, 7 coordinates>"
    assert "coordinates" in found._repr_html_()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": 3}, "problem must be"),
        ({"algorithm": 3}, "algorithm must be"),
        ({"batch_size": 0.5}, "batch_size must be"),
        ({"steps": -1}, "steps must be"),
        ({"coordinates": [7]}, "coordinates must be from 0 to 6, but contain 7"),
        ({"coordinates": []}, "coordinates must be one or more numbers"),
        ({"coordinates": [[1, 2]]}, "coordinates must be one or more numbers"),
        ({"coordinates": [0.5]}, "coordinates must be whole numbers"),
    ],
)
def test_what_is_refused(changes, message):
    usual = {"problem": SMALL, "algorithm": nqm.SGD(0.3), "batch_size": 4, "steps": 3}
    with pytest.raises(nqm.InputError, match=message):
        nqm.moments(**(usual | changes))


def test_too_many_coordinates_are_refused():
    with pytest.raises(nqm.InputError, match=r"need about .* GB .* choose some with coordinates="):
        nqm.moments(nqm.Problem.power_law(10**12), nqm.SGD(0.3), 4, [1, 2])
