"""Many settings in step, where noise depends on the iterate, are as each by itself."""

import math

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast.exact.coupled.settings import is_worth_steps
from nqm_fast.exact.search.nodes import first_nodes
from nqm_fast.exact.search.space import SearchSpace
from nqm_fast.noise import Gaussian, LossDependent
from nqm_fast.schedules import Constant

WAYS = {
    "plain": (nqm.SGD, ["lr"], {}),
    "power": (nqm.SGD, ["lr"], {"power": 0.5}),
    "momentum": (nqm.SGD, ["lr", "momentum"], {}),
    "average": (nqm.SGD, ["lr", "ema"], {}),
    "Nesterov": (nqm.Nesterov, ["lr", "momentum"], {}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("noise", [Gaussian(1.5), LossDependent(2.0)], ids=str)
def test_settings_in_step_are_as_each_by_itself(way, noise):
    kind, over, fixed = WAYS[way]
    problem = nqm.Problem.power_law(7).with_noise(noise)
    space = SearchSpace(kind, over, fixed, Constant(3.0), problem, first_nodes(problem))
    points = np.log(np.random.default_rng(2).uniform(0.01, 0.3, (50, len(over))))
    steps = np.array([0, 1, 2, 9])
    assert space._are_in_step(len(points), steps)
    found = space.log_risks(points, steps)
    for point, risks in zip(points, np.exp(found), strict=True):
        wanted = nqm.expected_risk(problem, space.algorithm(point), 3, steps)
        assert risks == pytest.approx(wanted, rel=1e-11)


def test_what_diverges_is_infinite():
    problem = nqm.Problem.power_law(3).with_noise(Gaussian())
    space = SearchSpace(nqm.SGD, ["lr"], {}, Constant(1.0), problem, first_nodes(problem))
    logs = space.log_risks(np.array([[300.0], [math.log(0.1)]]), np.array([3, 20]))
    assert logs[0, 1] == math.inf
    assert np.isfinite(logs[1]).all()


def test_many_steps_take_curves():
    problem = nqm.Problem.power_law(7).with_noise(Gaussian())
    space = SearchSpace(nqm.SGD, ["lr"], {}, Constant(1.0), problem, first_nodes(problem))
    assert is_worth_steps(space.coupled_rows, 1000, 100)
    assert not is_worth_steps(space.coupled_rows, 1000, 10**6)
