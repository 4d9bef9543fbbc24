"""Powers of a period's map are its steps, where noise depends on the iterate."""

import math
import tracemalloc

import mpmath as mp
import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.exact.coupled import curve
from nqm_fast.noise import Gaussian, LossDependent

METHODS = {
    "plain": nqm.Lookahead(nqm.SGD(0.1), 5, 0.5),
    "momentum": nqm.Lookahead(nqm.SGD(0.1, momentum=0.5), 4, 0.7),
    "average": nqm.EMA(nqm.Lookahead(nqm.SGD(0.1), 3, 0.5), 0.5),
    "settles": nqm.Lookahead(nqm.SGD(schedules.Piecewise([0.3, 0.2, 0.1], [3, 8, 1])), 5, 0.5),
}
STEPS = [0, 1, 2, 3, 9, 10, 11, 12, 13, 16, 50, 51, 57, 400, 401, 1999, 2000]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("noise", [Gaussian(1.5), LossDependent(2.0)], ids=str)
def test_powers_of_a_period_are_its_steps(name, noise, monkeypatch):
    problem = nqm.Problem.power_law(9).with_noise(noise)

    def risks(with_powers):
        monkeypatch.setattr(curve, "is_worth_powers", lambda *_: with_powers)
        return nqm.expected_risk(problem, METHODS[name], 2, STEPS)

    np.testing.assert_allclose(risks(True), risks(False), rtol=1e-11)


def test_batch_sizes_that_settle_late_are_gone_through_before(monkeypatch):
    problem = nqm.Problem.power_law(9).with_noise(Gaussian())
    batch = schedules.Piecewise([1.0, 4.0, 2.0], [17, 30, 1])

    def risks(with_powers):
        monkeypatch.setattr(curve, "is_worth_powers", lambda *_: with_powers)
        return nqm.expected_risk(problem, METHODS["plain"], batch, STEPS)

    np.testing.assert_allclose(risks(True), risks(False), rtol=1e-11)


def test_any_number_of_periods_is_a_few_powers():
    problem = nqm.Problem.power_law(9).with_noise(Gaussian())
    early, late, last = nqm.expected_risk(problem, METHODS["plain"], 4, [10**6, 10**12, 2**60])
    assert late == pytest.approx(early, rel=1e-9)
    assert last == pytest.approx(early, rel=1e-9)


def test_what_diverges_is_infinite():
    problem = nqm.Problem.power_law(9).with_noise(Gaussian())
    wild = nqm.Lookahead(nqm.SGD(1.9), 5, 0.9)
    assert nqm.expected_risk(problem, wild, 1, 10**6) == math.inf


@pytest.mark.parametrize(
    ("algorithm", "steps"),
    [
        (nqm.SGD(0.98), 260),
        (nqm.Lookahead(nqm.SGD(0.3), 5, 0.5), 20_000),
        (nqm.Lookahead(nqm.SGD(0.99), 3, 0.97), 4000),
    ],
    ids=str,
)
def test_what_decays_keeps_its_digits(algorithm, steps):
    """One coordinate without a floor of noise decays by a factor each period, for ever."""
    problem = nqm.Problem([1.0], c=0.0).with_noise(Gaussian())
    period = getattr(algorithm, "period", 1)
    periods = np.unique(np.geomspace(1, steps // period, 12).astype(np.int64))
    at = np.append(0, period * periods)
    risk = nqm.expected_risk(problem, algorithm, 27, at)
    with mp.workdps(30):
        factor = mp.mpf(nqm.expected_risk(problem, algorithm, 27, period)) / mp.mpf(risk[0])
        wanted = [float(risk[0] * factor ** int(k // period)) for k in at]
    np.testing.assert_allclose(risk, wanted, rtol=1e-9, atol=1e-285)


def test_steps_before_a_period_are_not_held_at_once():
    """The states of 20,000 steps before the period would take 58 MB."""
    problem = nqm.Problem.power_law(40).with_noise(Gaussian())
    rates = schedules.Piecewise([0.2, 0.1], [20_000, 10])
    algorithm = nqm.EMA(nqm.Lookahead(nqm.SGD(rates), 50, 0.5), 0.5)
    tracemalloc.start()
    nqm.expected_risk(problem, algorithm, 4, 60_000)
    assert tracemalloc.get_traced_memory()[1] < 3e7
    tracemalloc.stop()
