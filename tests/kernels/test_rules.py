"""Every backend takes the steps of algorithms that are not linear with the same bits."""

from itertools import product

import numpy as np
import pytest
from helpers import COMPILED, MACHINES, UNEVEN, assert_same, chunks_of, irregular, slow_where
from nqm_fast.kernels import rules
from nqm_fast.kernels.contract import TILE

import nqm_fast as nqm
from nqm_fast import schedules

RAMP = schedules.Warmup(13, schedules.Constant(0.05))
GROWING = schedules.Piecewise([3, 64], [30, 45])
KINDS = {
    "adam": [nqm.Adam(RAMP), nqm.AdamW(0.02, beta1=0.5, decay=0.3)],
    "adam, averaged": [nqm.Adam(0.05, eps=0.1, ema=0.9)],
    "rmsprop": [nqm.RMSProp(0.02)],
    "rmsprop with momentum": [nqm.RMSProp(RAMP, momentum=0.9, ema=0.5)],
    "sign": [nqm.SignSGD(RAMP), nqm.SignSGD(1e170)],
    "signum": [nqm.Signum(0.03), nqm.SGD(0.3, momentum=0.5)],
}


def run(name, problem=UNEVEN, **changes):
    usual = {"replicas": [2, 5], "seed": 2**40 + 7, "keep_state": True, "threads": 1, "bands": 2}
    return nqm.simulate(problem, KINDS[name], changes.pop("batch_size", 8), 75, **usual | changes)


PER_SAMPLE = {"batch_size": GROWING, "sampling": "per-sample", "data": "laplace"}


def test_there_is_a_run_of_every_rule():
    used = {algorithm.rule for kind in KINDS.values() for algorithm in kind[:1]}
    assert used == set(rules.RULES)
    assert len({rule.code for rule in rules.RULES.values()}) == len(rules.RULES)


@pytest.fixture(scope="module")
def usual():
    return {name: run(name, backend="numpy") for name in KINDS}


def slow(machine, name):
    """Whether a case is slow: all on Numba, and most on the middle level of processors."""
    return machine == "numba" or (machine == "cython, x86-64-v3" and name not in ("adam", "sign"))


@pytest.mark.parametrize(
    ("machine", "name"), slow_where(slow, product(MACHINES[:-1], KINDS)), indirect=["machine"]
)
def test_backends(usual, machine, name, monkeypatch):
    assert_same(run(name, backend=machine), usual[name])
    assert (usual[name].status == "diverged") == (name == "sign")
    chunks_of(monkeypatch, 22)
    assert_same(run(name, backend=machine), usual[name])


@pytest.mark.parametrize(
    "machine",
    [pytest.param(MACHINES[0], marks=pytest.mark.thorough), MACHINES[-2]],
    indirect=True,
)
def test_large_tiles_samples_and_threads(machine):
    """Tiles of several leaves, the last not full, under noise of every sample."""
    problem = irregular(2 * TILE - 3)
    given = {"problem": problem, **PER_SAMPLE}
    usual = run("adam", backend="numpy", **given)
    assert_same(run("adam", backend=machine, **given), usual)
    assert_same(run("adam", backend=machine, threads=2, **given), usual)


def test_linear_settings_have_the_bits_they_have_alone():
    together = run("signum", backend=COMPILED)
    linear = nqm.simulate(
        UNEVEN, KINDS["signum"][1], 8, 75, replicas=[2, 5], seed=2**40 + 7, threads=1, bands=2
    )
    assert np.array_equal(together.risk[1], linear.risk)
