"""Runs of collapsed sampling in files: whole, broken off, gone on with, with more replicas."""

import os

import numpy as np
import pytest
from helpers import break_off, interrupted

import nqm_fast as nqm
from nqm_fast.simulation import collapsed

PROBLEM = nqm.Problem([1.0, 0.5, 0.1, 0.01], mean0=[1, 0, 2, 0], count=[2, 10, 40.5, 1e9])
SETTINGS = [nqm.SGD(0.1, momentum=0.5), nqm.SGD(0.3)]
RECORD = [0, 1, 5, 40]


def simulated(replicas=60, *, algorithm=SETTINGS, threads=2, **given):
    return nqm.simulate(
        PROBLEM,
        algorithm,
        4,
        40,
        replicas=replicas,
        seed=3,
        record=RECORD,
        sampling="collapsed",
        bands=[0.005, 0.3, 1.0],
        observe="weight_norm",
        threads=threads,
        **given,
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


@pytest.fixture
def small_parts(monkeypatch):
    """Few replicas at a time, so that there are many events."""
    monkeypatch.setattr(collapsed, "CHUNK_NUMBERS", 64)


def assert_same(one, other):
    assert one.steps.tolist() == other.steps.tolist()
    assert one.observed.keys() == other.observed.keys()
    for name, values in one.observed.items():
        assert np.array_equal(values, other.observed[name]), name
    assert one.status == other.status
    assert np.array_equal(one.diverged_at, other.diverged_at)


def test_a_file_holds_the_run(path):
    run = simulated(out=path)
    assert_same(run, simulated())
    assert_same(nqm.open_run(path), run)
    assert run.experiment.sampling == nqm.open_run(path).experiment.sampling == "collapsed"
    assert os.listdir(path.parent) == [path.name]
    assert run.stats["order"] == "replicas"
    assert run.wall_time.shape == (4,)
    assert_same(nqm.resume(path), run)


def test_one_setting_has_no_axis(path):
    run = simulated(algorithm=SETTINGS[0], out=path)
    assert run.risk.shape == (60, 4)
    assert np.array_equal(nqm.open_run(path).risk, simulated().risk[0])


@pytest.mark.usefixtures("default_ctrl_c", "small_parts")
@pytest.mark.parametrize("after", [2, 12])
def test_an_interrupted_run_is_gone_on_with(path, monkeypatch, after):
    with monkeypatch.context() as patch:
        parts = break_off(patch, after, interrupted)
        run = simulated(out=path, threads=1)
    assert run.status == "interrupted"
    assert run.risk.shape == (2, 60, 0)
    assert f"after {parts[-1]} of 120 replicas of all settings, so that no" in run.message
    assert len(parts) == after
    assert nqm.open_run(path).status == "interrupted"
    begun = break_off(monkeypatch, -1, interrupted)
    whole = nqm.resume(path, threads=2)
    assert begun[0] > parts[-1]
    assert_same(whole, simulated())
    assert_same(nqm.open_run(path), whole)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.usefixtures("small_parts")
def test_a_run_whose_process_died_is_gone_on_with(path, monkeypatch):
    class DiedError(Exception):
        pass

    def die():
        raise DiedError

    with monkeypatch.context() as patch:
        break_off(patch, 9, die)
        with pytest.raises(DiedError):
            simulated(out=path, checkpoint_every=0.0)
    assert nqm.open_run(path).status == "killed"
    begun = break_off(monkeypatch, -1, die)
    whole = nqm.resume(path)
    assert begun[0] > 1  # The first part was in a checkpoint.
    assert_same(whole, simulated())


@pytest.mark.usefixtures("default_ctrl_c", "small_parts")
def test_ctrl_c_without_a_file_has_no_complete_record(monkeypatch):
    break_off(monkeypatch, 3, interrupted)
    run = simulated()
    assert run.status == "interrupted"
    assert run.steps.size == 0


def test_replicas_are_added(path):
    simulated(5, out=path)
    assert_same(nqm.resume(path, replicas=12), simulated(12))
    assert_same(nqm.open_run(path), simulated(12))


def test_divergence_is_in_the_file(path):
    given = {"replicas": 3, "record": [1, 10**5, 10**6], "sampling": "collapsed"}
    run = nqm.simulate(PROBLEM, nqm.SGD(3.0), 4, 10**6, out=path, **given)
    assert run.status == nqm.open_run(path).status == "diverged"
    assert nqm.open_run(path).diverged_at.tolist() == [10**5] * 3


def test_a_power_law_of_any_length_has_a_file(path):
    problem = nqm.Problem.power_law(10**12, start_exponent=1.2)
    given = {"replicas": 3, "record": [10, 10**9], "sampling": "collapsed"}
    run = nqm.simulate(problem, nqm.SGD(0.5), 4, 10**9, out=path, **given)
    again = nqm.simulate(problem, nqm.SGD(0.5), 4, 10**9, **given)
    assert np.array_equal(nqm.open_run(path).risk, again.risk)
    assert np.array_equal(run.risk, again.risk)


def test_steps_cannot_be_added(path):
    run = simulated(4, out=path)
    with pytest.raises(nqm.InputError, match="steps of a run with sampling='collapsed' cannot"):
        nqm.resume(path, steps=50)
    assert_same(nqm.open_run(path), run)
    assert_same(nqm.resume(path, steps=40), run)


@pytest.mark.usefixtures("default_ctrl_c")
def test_another_machine_is_refused(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(collapsed, "CHUNK_NUMBERS", 64)
        break_off(patch, 3, interrupted)
        simulated(out=path)
    usual = collapsed.normals
    monkeypatch.setattr(collapsed, "normals", lambda *given: usual(*given) * (1.0 + 1e-15))
    with pytest.raises(nqm.InputError, match="cannot be gone on with here"):
        nqm.resume(path)


def test_other_backends_are_refused_when_it_goes_on(path):
    simulated(4, out=path)
    with pytest.raises(nqm.InputError, match="backend must be 'numpy' or 'auto'"):
        nqm.resume(path, replicas=9, backend="numba")


@pytest.mark.parametrize("count", [1, 50], ids=["ones", "many"])
def test_all_coordinates_may_be_of_one_sort(path, count):
    """Few of each kind, or many; with arrays in the recurrence beside the curvatures."""
    problem = nqm.Problem([1.0, 0.5, 0.1], count=count)
    algorithm = nqm.SGD(0.1, momentum=0.5, power=0.5)
    given = {"replicas": 3, "record": [5, 9], "sampling": "collapsed"}
    run = nqm.simulate(problem, algorithm, 4, 9, out=path, **given)
    assert np.array_equal(run.risk, nqm.simulate(problem, algorithm, 4, 9, **given).risk)
    assert np.array_equal(nqm.open_run(path).risk, run.risk)
