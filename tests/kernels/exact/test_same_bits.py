"""The exact model has the same bits from all compiled kernels, and 13 digits from NumPy."""

from itertools import product

import numpy as np
import pytest
from helpers import MACHINES, slow_to_compile, slow_where

import nqm_fast as nqm
from nqm_fast import schedules

PROBLEM = nqm.Problem.power_law(3000)
STEPS = np.unique(np.geomspace(1, 10**6, 50).astype(int))
ALGORITHMS = [
    nqm.SGD(0.1),
    nqm.SGD(0.1, momentum=0.9),
    nqm.SGD(0.1, ema=0.9, power=0.5),
    nqm.SGD(0.05, momentum=0.9, ema=0.9),
    nqm.SGD(schedules.Warmup(13, schedules.Constant(0.2)), momentum=0.5),
    nqm.SGD(5.0, momentum=0.9),
]


def answers(algorithm, **chosen):
    """Risks, and the steps to two targets."""
    risk = nqm.expected_risk(PROBLEM, algorithm, 64, STEPS, **chosen)
    limit = {"max_steps": 10**5} | chosen
    first = [nqm.steps_to_target(PROBLEM, algorithm, 64, x, **limit) for x in (1.0, 0.1)]
    return risk, first


@pytest.fixture(scope="module")
def expected():
    return [answers(algorithm) for algorithm in ALGORITHMS]


LIKE_1 = "numba", 2  # two components, too


@pytest.mark.parametrize(
    ("machine", "which"),
    slow_where(
        slow_to_compile,
        [row for row in product(MACHINES, range(len(ALGORITHMS))) if row != LIKE_1],
        lambda machine, which: machine == "numba" and which != 1,
    ),
    indirect=["machine"],
)
def test_the_exact_model_has_the_same_bits(expected, machine, which):
    """The extension does what Numba does; NumPy does it with larger tiles."""
    risk, first = answers(ALGORITHMS[which], backend=machine)
    wanted, wanted_first = expected[which]
    assert first == wanted_first
    if machine == "numpy":
        finite = np.isfinite(wanted)
        assert np.array_equal(finite, np.isfinite(risk))
        assert np.allclose(risk[finite], wanted[finite], rtol=1e-13, atol=0.0)
    else:
        assert np.array_equal(risk, wanted)
