"""What several test modules share: the oracle, and a guard against endless searches."""

import signal

import numpy as np
import pytest
from hypothesis import settings
from nqm_fast.kernels.reference import stepped_risk

from nqm_fast.schedules import as_schedule

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=60, database=None)
settings.load_profile("fixed")


@pytest.fixture(scope="session")
def stepped():
    """Risk at steps 0 .. last, from stepping the covariance with the in-tree oracle."""

    def risk(problem, algorithm, batch_size, last):
        steps = np.arange(last)
        return stepped_risk(
            problem.h,
            problem.c,
            problem.mean0**2 + problem.var0,
            problem.count,
            algorithm.lr.values(steps),
            as_schedule("batch_size", batch_size).values(steps),
            algorithm.momentum,
            algorithm.ema,
            algorithm.power,
        )

    return risk


@pytest.fixture
def patience():
    """Fail instead of hanging, where a search that visits 1e9 steps would take hours."""

    def give_up(*_):
        raise AssertionError("still searching after 20 seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
