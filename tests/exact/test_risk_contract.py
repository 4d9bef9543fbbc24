"""expected_risk takes any steps, and its answer depends on neither blocks nor threads."""

import sys
import tracemalloc

import numpy as np
import pytest
from helpers import KINDS, PROBLEMS

import nqm_fast as nqm
from nqm_fast import certified_sums as certified
from nqm_fast.schedules import Piecewise

# -- the contract of `steps` -------------------------------------------------------------

PIECES = Piecewise([0.3, 0.1, 0.2], [5, 20, 100])


def test_step_0_is_the_initial_risk():
    problem = nqm.Problem([2.0, 0.5], mean0=[3.0, 1.0], var0=[0.25, 4.0], count=[1.0, 1.5])
    want = 0.5 * (2.0 * 9.25 + 1.5 * 0.5 * 5.0)
    for kind in KINDS.values():
        assert nqm.expected_risk(problem, nqm.SGD(0.3, **kind), 4, 0) == pytest.approx(want)


@pytest.mark.parametrize("shape", [(), (1,), (6,), (2, 3), (3, 1, 2), (0,), (2, 0)], ids=str)
def test_the_answer_has_the_shape_of_steps(shape):
    steps = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    risk = nqm.expected_risk(PROBLEMS["sigma"], nqm.SGD(0.3), 4, steps)
    assert np.shape(risk) == shape
    assert isinstance(risk, float if shape == () else np.ndarray)


def test_steps_come_in_any_order_and_type():
    problem, algorithm = PROBLEMS["general"], nqm.SGD(0.3, momentum=0.5)
    ordered = nqm.expected_risk(problem, algorithm, 4, [0, 1, 5, 90, 2000])
    mixed = nqm.expected_risk(problem, algorithm, 4, [[90, 5, 5], [2000, 0, 1]])
    np.testing.assert_array_equal(mixed, ordered[[[3, 2, 2], [4, 0, 1]]])
    for same in (90.0, np.int32(90), np.uint64(90), np.float32(90)):
        assert nqm.expected_risk(problem, algorithm, 4, same) == ordered[3]


@pytest.mark.parametrize("lr", [0.3, PIECES, np.full(1000, 0.3)], ids=["number", "pieces", "array"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_value_does_not_depend_on_the_other_steps(kind, lr):
    algorithm = nqm.SGD(lr, **KINDS[kind])
    steps = [*range(40), 100, 1000]
    together = nqm.expected_risk(PROBLEMS["general"], algorithm, 4, steps)
    alone = [nqm.expected_risk(PROBLEMS["general"], algorithm, 4, t) for t in steps]
    np.testing.assert_array_equal(together, alone)


def test_a_value_does_not_depend_on_the_threads(monkeypatch):
    problem, algorithm = nqm.Problem.power_law(200_000), nqm.SGD(0.3, momentum=0.5)
    risks = []
    for threads in ("1", "2", "7"):
        monkeypatch.setenv("NQM_NUM_THREADS", threads)
        risks.append(nqm.expected_risk(problem, algorithm, 4, [10, 1000]).tolist())
    assert risks[0] == risks[1] == risks[2]


# -- blocks


@pytest.mark.parametrize("kind", ["plain", "all"])
def test_blocks_add_up(kind, monkeypatch):
    algorithm, steps = nqm.SGD(0.3, **KINDS[kind]), [0, 10, 1000]
    whole = nqm.expected_risk(PROBLEMS["general"], algorithm, 4, steps)
    monkeypatch.setattr(certified, "BLOCK", 7)
    in_blocks = nqm.expected_risk(PROBLEMS["general"], algorithm, 4, steps)
    np.testing.assert_allclose(in_blocks, whole, rtol=1e-13)


# -- a billion coordinates ---------------------------------------------------------------


def test_a_power_law_stays_a_formula():
    tracemalloc.start()
    problem = nqm.Problem.power_law(10**9, exponent=0.5)
    last = problem.block(10**9 - 3, 10**9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    assert sys.getsizeof(problem) < 1000
    assert problem.dim == 10**9
    np.testing.assert_array_equal(last.h, np.arange(10**9 - 2, 10**9 + 1, dtype=float) ** -0.5)
    np.testing.assert_array_equal(last.c, last.h)
    assert last.second_moment == last.variance == 1.0


def test_a_large_power_law_in_little_memory():
    problem = nqm.Problem.power_law(3_000_000)
    nqm.expected_risk(problem, nqm.SGD(0.5), 4, 10)
    tracemalloc.start()
    risk = nqm.expected_risk(problem, nqm.SGD(0.5), 4, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < problem.dim * 8
    h = np.arange(1, problem.dim + 1) ** -1.0
    a = (1.0 - 0.5 * h) ** 20
    want = 0.5 * h @ (a + (1.0 - a) * 0.5 / (4 * (2.0 - 0.5 * h)))
    assert risk == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("function", [nqm.expected_risk, nqm.moments, nqm.risk_distribution])
def test_more_varying_steps_than_can_be_gone_through_are_refused(function):
    problem, steps = nqm.Problem([1.0, 0.5]), 2**61
    for schedule in (nqm.schedules.Linear(0.1, 0.0, steps), nqm.schedules.InverseTime(0.1)):
        with pytest.raises(nqm.InputError, match=r"steps must be at most .* computed one by one"):
            function(problem, nqm.SGD(schedule), 4, steps)
    # Constant pieces of any length are no trouble.
    function(problem, nqm.SGD(nqm.schedules.Step(0.1, 0.5, 2**55)), 4, steps)
