"""Finished runs are made longer, and get more replicas, to the bits of one that always had them."""

import os

import numpy as np
import pytest
from helpers import (
    TWO_SETTINGS,
    assert_same,
    chunks_of,
    in_blocks,
    run,
    simulate,
    simulate_to,
    stopped_at_the_first_chunk,
)
from nqm_fast.kernels.contract import TILE

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.simulation.experiment import longer
from nqm_fast.simulation.propagation import Propagation


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


SHORT = 40
UNTIL_60 = [*range(0, 60, 4), 60]


@pytest.mark.parametrize("keep_state", [True, False])
@pytest.mark.parametrize("name", ["all", "schedule", "bands", "diverging", "student-t", "leap"])
def test_a_longer_run(path, name, keep_state):
    """The records are those of a run that was so long from the start."""
    run(name, steps=SHORT, record=4, keep_state=keep_state, out=path)
    longer = nqm.resume(path, steps=62, threads=1)
    assert longer.steps.tolist() == [*UNTIL_60, 62]
    assert_same(longer, run(name, steps=62, record=4, keep_state=keep_state))
    assert_same(nqm.open_run(path), longer)
    assert os.listdir(path.parent) == [path.name]


def test_steps_are_not_computed_again_where_the_state_was_kept(path, monkeypatch):
    begun = []
    restore = Propagation.restore

    def noted(self, saved):
        restore(self, saved)
        begun.append(self.done)

    monkeypatch.setattr(Propagation, "restore", noted)
    for keep_state in (True, False):
        simulate_to(path, steps=30, keep_state=keep_state, overwrite=True)
        nqm.resume(path, steps=50)
    assert begun == [30]


@pytest.mark.parametrize(
    ("record", "before", "after"),
    [
        (None, None, None),
        (7, [0, 7, 14, 20], [0, 7, 14, 20, 21, 28, 30]),
        ([3, 20], [3, 20], [3, 20, 30]),
        ([3], [3], [3, 30]),
        ([], [], [30]),
    ],
)
def test_which_steps_are_recorded(path, record, before, after):
    first = simulate_to(path, steps=20, record=record)
    assert before is None or first.steps.tolist() == before
    again = nqm.resume(path, steps=30).steps.tolist()
    assert again == (simulate(steps=30).steps.tolist() if after is None else after)


def test_new_steps_may_be_chosen(path):
    simulate_to(path, steps=20, record=[0, 20])
    assert nqm.resume(path, steps=30, record=[25, 29]).steps.tolist() == [0, 20, 25, 29]
    assert nqm.resume(path, steps=40, record=8).steps.tolist() == [0, 20, 25, 29, 32, 40]
    with pytest.raises(nqm.InputError, match="record must be steps after the 40 that are done"):
        nqm.resume(path, steps=50, record=[10])
    with pytest.raises(nqm.InputError, match="needs steps"):
        nqm.resume(path, record=[10])


def test_a_longer_run_is_interrupted_and_gone_on_with(path, monkeypatch):
    whole = simulate(TWO_SETTINGS, steps=90, record=5, keep_state=True)
    simulate_to(path, steps=60, record=5, keep_state=True)
    chunks_of(monkeypatch, 7)
    stopped_at_the_first_chunk(monkeypatch)
    part = nqm.resume(path, steps=90)
    assert (part.status, part.steps[-1]) == ("interrupted", 65)
    while part.status == "interrupted":
        part = nqm.resume(path)
    assert_same(part, whole)


def test_an_interrupted_run_is_made_longer(path, monkeypatch):
    with monkeypatch.context() as patch:
        chunks_of(patch, 7)
        stopped_at_the_first_chunk(patch)
        assert simulate_to(path, record=5).status == "interrupted"
    assert_same(nqm.resume(path, steps=90), simulate(TWO_SETTINGS, steps=90, record=5))


def test_an_interrupted_run_in_blocks_is_made_longer(path, monkeypatch):
    problem = nqm.Problem(np.random.default_rng(3).uniform(0.01, 1.0, 3 * TILE + 70))
    whole = simulate(steps=50, problem=problem, record=5)
    in_blocks(monkeypatch, TILE)
    with monkeypatch.context() as patch:
        chunks_of(patch, 40)
        stopped_at_the_first_chunk(patch)
        assert simulate(steps=40, problem=problem, record=5, out=path).status == "interrupted"
    assert_same(nqm.resume(path, steps=50), whole)


@pytest.mark.parametrize("replicas", [5, [4, 2, 0, 1, 9]])
@pytest.mark.parametrize("steps", [None, 70])
def test_more_replicas(path, replicas, steps):
    more = {"record": 10, "keep_state": True, "bands": 2}
    simulate_to(path, replicas=[0, 1], **more)
    longer = nqm.resume(path, steps=steps, replicas=replicas)
    assert_same(longer, simulate(TWO_SETTINGS, steps=steps or 60, replicas=replicas, **more))
    assert_same(nqm.open_run(path), longer)
    assert longer.stats["coordinate_steps"] >= 2 * 100 * 60 * 5
    assert os.listdir(path.parent) == [path.name]


def test_the_finished_replicas_are_safe_while_others_are_added(path, monkeypatch):
    first = simulate_to(path, record=5, replicas=2)
    with monkeypatch.context() as patch:
        chunks_of(patch, 7)
        stopped_at_the_first_chunk(patch)
        part = nqm.resume(path, replicas=4)
    assert part.status == "interrupted"
    assert part.message.startswith("while replicas were added, after 7 of 60 steps; go on with: ")
    assert part.message.endswith(f"nqm-fast resume {path} --replicas 4")
    assert_same(nqm.open_run(path), first)
    with pytest.raises(nqm.InputError, match=r"run\.replicas\.h5.* where there is another run"):
        nqm.resume(path, replicas=3)
    assert_same(
        nqm.resume(path, replicas=4), simulate(TWO_SETTINGS, steps=60, record=5, replicas=4)
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 10}, "steps must be at least 20, which the run has already"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"steps": 2**60}, "noise counter ends"),
        ({"steps": 30}, "lr has values for 25 steps, but 30 are asked for"),
        ({"replicas": 1}, "replicas must be at least 2, as the run has number 1 already, not 1"),
        ({"replicas": [1, 5]}, r"replicas must contain all .* has, \[0, 1\], but 0 is not in"),
        ({"replicas": []}, "replicas must be a count"),
    ],
)
def test_what_cannot_be_leaves_the_run_as_it_is(path, changes, said):
    first = simulate_to(path, nqm.SGD(np.full(25, 0.1)), steps=20, replicas=2)
    if changes == {"steps": 2**60}:
        first = simulate_to(path, steps=20, replicas=2, overwrite=True)
    content = path.read_bytes()
    with pytest.raises(nqm.InputError, match=said):
        nqm.resume(path, **changes)
    assert path.read_bytes() == content
    assert_same(nqm.resume(path, steps=20, replicas=2), first)
    assert path.read_bytes() == content


def test_a_schedule_goes_on(path):
    rates = nqm.SGD(schedules.Cosine(0.3, 100), ema=0.5)
    simulate_to(path, rates, schedules.Piecewise([2, 8], [30, 30]), steps=50, keep_state=True)
    whole = simulate(rates, schedules.Piecewise([2, 8], [30, 30]), steps=120, keep_state=True)
    longer = nqm.resume(path, steps=120)
    common, mine, theirs = np.intersect1d(longer.steps, whole.steps, return_indices=True)
    assert common.size > 50
    assert np.array_equal(longer.risk[:, mine], whole.risk[:, theirs])
    assert np.array_equal(longer.state, whole.state)


@pytest.mark.parametrize("keep_state", [True, False])
def test_a_break_before_the_longer_run_is_begun_leaves_the_finished_one(
    path, monkeypatch, keep_state
):
    first = simulate_to(path, record=5, keep_state=keep_state)

    def broken(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nqm_fast.store.extension.write_whole", broken)
        with pytest.raises(KeyboardInterrupt):
            nqm.resume(path, steps=90)
    assert_same(nqm.open_run(path), first)
    assert_same(nqm.resume(path), first)
    assert os.listdir(path.parent) == [path.name]
    whole = simulate(TWO_SETTINGS, steps=90, record=5, keep_state=keep_state)
    assert_same(nqm.resume(path, steps=90), whole)


def test_a_break_in_a_longer_run_leaves_all_records(path, monkeypatch):
    """The old records are there, and the run goes on, if a process ends without saving."""
    first = simulate_to(path, record=5)

    def broken(*_):
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr("nqm_fast.simulation.controller.Controller._collect", broken)
        with pytest.raises(RuntimeError):
            nqm.resume(path, steps=90)
    part = nqm.open_run(path)
    assert part.status == "killed"
    assert np.array_equal(part.risk, first.risk)
    assert_same(nqm.resume(path), simulate(TWO_SETTINGS, steps=90, record=5))
    assert os.listdir(path.parent) == [path.name]


def test_a_leap_does_not_begin_where_none_ended(path):
    """The jumps of a leap are those between records, and the last step was none."""
    more = {"sampling": "leap", "keep_state": True, "threads": 1}
    simulate_to(path, steps=40, record=[10, 20], sampling="leap", keep_state=True)
    whole = simulate(TWO_SETTINGS, steps=60, record=[10, 20, 60], **more)
    assert_same(nqm.resume(path, steps=60), whole)


def test_leaps_go_on_where_schedules_change_later(path):
    """The settings share kernel calls in the short run, and not in the long one."""
    problem = nqm.Problem.power_law(70)
    settings = [nqm.SGD(0.1), nqm.SGD(nqm.schedules.Piecewise([0.1, 0.05], [500, 1]))]
    how = {"sampling": "leap", "keep_state": True, "progress": False}
    nqm.simulate(problem, settings, 8, 300, record=[100, 300], out=path, **how)
    longer = nqm.resume(path, steps=1000, record=[700, 1000], progress=False)
    whole = nqm.simulate(problem, settings, 8, 1000, record=[100, 300, 700, 1000], **how)
    assert np.array_equal(longer.risk, whole.risk)


def recorded(steps, record):
    """The experiment of a run of one coordinate with these records."""
    return nqm.simulate(nqm.Problem([1.0]), nqm.SGD(0.1), 8, steps, record=record).experiment


@pytest.mark.parametrize(
    ("record", "first", "second"), [(None, 2002, 4008), (4, 22, 48), (7, 1000, 3000)]
)
def test_records_go_on_as_they_began_again_and_again(record, first, second):
    given = recorded(10 if record == 4 else 900, record)
    twice = longer(longer(given, first), second)
    wanted = recorded(second, record).records
    assert np.isin(wanted[wanted > first], twice.records).all()


def test_two_records_are_no_stride():
    records = longer(recorded(10, [0, 10]), 22).records
    assert records.tolist() == [0, 10, 22]
