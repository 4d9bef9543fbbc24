"""What is wrong with the arguments of simulate is said in one sentence."""

import numpy as np
import pytest
from helpers import simulate

import nqm_fast as nqm
from nqm_fast import schedules

HUGE = nqm.Problem.power_law(2**31)

WRONG = {
    "algorithm must be an algorithm such as": {"algorithm": 0.1},
    "not an empty list": {"algorithm": []},
    "batch_size must be >= 1, not 0": {"batch_size": 0},
    "steps must be a whole number >= 0, not -1": {"steps": -1},
    "steps must be a whole number >= 0, not 1.5": {"steps": 1.5},
    "steps must be at most 4398046511104, where the noise counter ends, not": {"steps": 2**43},
    "at most 1099511627776, where the noise counter ends for leaps": {
        "steps": 2**41,
        "sampling": "leap",
    },
    "replicas must be a whole number >= 1, not 0": {"replicas": 0},
    "replicas must be below 16777216": {"replicas": [2**24]},
    "progress must be True or False, not 'yes'": {"progress": "yes"},
    "replicas must be a count or a sequence": {"replicas": [[1]]},
    "seed must be a whole number >= 0, not -1": {"seed": -1},
    "seed must be below 2^64": {"seed": 2**64},
    "record must be steps from 0 to the last, 20, but contains 21": {"record": [21]},
    "record must be a whole number >= 1, not 0": {"record": 0},
    "record must be whole numbers >= 0, but contains -1": {"record": [-1]},
    "sampling must be one of minibatch, per-sample, leap, collapsed, not 'x'": {"sampling": "x"},
    "data must be one of normal, uniform, rademacher, laplace, student-t": {"data": "cauchy"},
    "data='laplace' needs sampling='per-sample'": {"data": "laplace"},
    "data='uniform' needs sampling='per-sample', as sampling='leap'": {
        "data": "uniform",
        "sampling": "leap",
    },
    "df must be from 2.75 to 1e+12": {"data": "student-t", "sampling": "per-sample", "df": 2},
    "df = 3 is for data='student-t'": {"df": 3},
    "batch_size must be whole numbers for sampling='per-sample', but is 1.5": {
        "batch_size": 1.5,
        "sampling": "per-sample",
    },
    "batch_size must be at most 268435456 for sampling='per-sample'": {
        "batch_size": 2**29,
        "sampling": "per-sample",
    },
    "needs a constant or piecewise constant lr": {
        "algorithm": nqm.SGD(schedules.Cosine(0.1, 10)),
        "sampling": "leap",
    },
    "needs a constant or piecewise constant batch_size": {
        "batch_size": schedules.Linear(1.0, 2.0, 10),
        "sampling": "leap",
    },
    "lr has values for 3 steps, but 20 are asked for": {"algorithm": nqm.SGD([0.1] * 3)},
    "backend must be one of auto, numba, cython, numpy, cuda, not 'gpu'": {"backend": "gpu"},
    "devices must be left out with backend='numpy', but are [0]; they are for backend='cuda'": {
        "backend": "numpy",
        "devices": [0],
    },
    "threads must be a whole number >= 1, not 0": {"threads": 0},
    "bands must be a whole number >= 1, not 0": {"bands": 0},
    "bands must be two or more ascending edges": {"bands": [0.2, 0.1]},
    "bands must be 1 where all curvatures are alike": {
        "bands": 2,
        "problem": nqm.Problem([1.0, 1.0]),
    },
    "count must be 1 for a simulation": {"problem": nqm.Problem([1.0], count=2.5)},
    "problem has 4294967297 coordinates, but the noise counter numbers only 4294967296": {
        "problem": nqm.Problem.power_law(2**32 + 1)
    },
    "problem must be a Problem such as": {"problem": 3},
    "GB are available: use fewer replicas or settings, or keep_state=False": {
        "problem": HUGE,
        "keep_state": True,
        "replicas": 10,
    },
    "GB are available: record fewer steps": {"steps": 10**12, "record": np.arange(10**6),
        "replicas": 10**6},
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_said(message):
    with pytest.raises(nqm.InputError) as error:
        simulate(**WRONG[message])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_backend_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("nqm_fast.kernels.is_installed", lambda name: name == "numpy")
    with pytest.raises(nqm.InputError, match="run 'pip install numba'; or use one of numpy"):
        simulate(backend="numba")
    with pytest.raises(nqm.InputError, match=r"its extension was not built.*install GCC or Clang"):
        simulate(backend="cython")
    monkeypatch.delenv("NQM_BACKEND")
    assert simulate().stats["backend"] == "numpy"
