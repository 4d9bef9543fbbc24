"""Few segments stand for many steps whose settings change slowly."""

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.exact.risk import block_risk
from nqm_fast.exact.search.space import ROUGH_CHANGE
from nqm_fast.exact.timeline import rough_segments, with_records
from nqm_fast.schedules import Constant

METHODS = {
    "Schedule-Free": nqm.ScheduleFree(1.0, 0.9),
    "tail average": nqm.TailAverage(nqm.SGD(0.5), 300),
    "inverse time": nqm.SGD(schedules.InverseTime(1.0, 50.0), momentum=0.5),
    "pieces": nqm.SGD(schedules.Piecewise([1.0, 0.5, 0.1], [3, 1000, 1])),
    "cosine": nqm.SGD(schedules.Cosine(1.0, 3000), ema=0.9),
    "per step": nqm.SGD(schedules.PerStep(np.random.default_rng(1).uniform(0.1, 1.0, 4000))),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("stop", [1, 7, 4000])
def test_the_risk_is_nearly_that_of_all_steps(name, stop):
    problem = nqm.Problem.power_law(50)
    few = rough_segments(METHODS[name], Constant(8.0), stop, ROUGH_CHANGE)
    assert few.length.sum() == stop
    assert few.length.min() >= 1
    assert (few.start == np.cumsum(few.length) - few.length).all()
    steps = np.array([stop])
    timeline = with_records(iter([few]), steps)
    found = block_risk(problem.block(0, problem.dim), METHODS[name], timeline)[0]
    exact = nqm.expected_risk(problem, METHODS[name], 8, stop)
    assert found == pytest.approx(exact, rel=1e-9 if stop < 10 else 2e-3)


@pytest.mark.parametrize("name", ["Schedule-Free", "tail average", "inverse time", "pieces"])
def test_segments_grow_with_the_log_of_the_steps(name):
    few, more = (
        rough_segments(METHODS[name], Constant(8.0), stop, ROUGH_CHANGE).length.size
        for stop in (10**5, 10**8)
    )
    assert more < 2.5 * few < 3000
