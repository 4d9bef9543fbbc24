"""One seed, one answer: the same bits however a run is cut into steps, coordinates and calls."""

import hashlib
import os
from itertools import product

import numpy as np
import pytest
from helpers import (
    STEPPED,
    STEPS,
    UNEVEN,
    assert_same,
    chunks_of,
    in_blocks,
    run,
    slow_where,
    stopped_at_the_first_chunk,
)
from nqm_fast.kernels.contract import TILE

import nqm_fast as nqm
from nqm_fast import schedules


@pytest.mark.parametrize("name", STEPPED)
@pytest.mark.parametrize("length", [1, 3, 7, 32])
def test_chunk_lengths(usual, name, length, monkeypatch):
    """Chunks need not fit the noise's blocks of four steps."""
    chunks_of(monkeypatch, length)
    assert_same(run(name), usual[name])


def test_leaps_in_chunks(usual, monkeypatch):
    """A call that leaps ends at a record, here at each of them."""
    ends = chunks_of(monkeypatch, 1)
    assert_same(run("leap in pieces"), usual["leap in pieces"])
    assert ends == usual["leap in pieces"].steps[1:].tolist()


PARTS = {"one by one": [1], "few": [2, 3, 1, 13, 4, 28, 5], "in two": [40]}


IN_MANY_PARTS = ("leap", "all", "schedule", "bands", "diverging")


def in_parts():
    """Every kind in few parts; some in parts of one step, which takes seconds each."""
    rows = product(PARTS, run.kinds)
    rows = [row for row in rows if row[0] != "one by one" or row[1] in IN_MANY_PARTS]
    return slow_where(
        lambda parts, name: parts == "one by one" and name != "leap",
        rows,
        lambda parts, name: parts == "one by one" and name in ("all", "schedule"),
    )


@pytest.mark.parametrize(("parts", "name"), in_parts())
def test_runs_in_parts(usual, name, parts, monkeypatch, tmp_path):
    """Runs are stopped after any number of steps, and resumed from the file."""
    chunks_of(monkeypatch, *PARTS[parts])
    stopped_at_the_first_chunk(monkeypatch)
    path = tmp_path / "run.h5"
    part = run(name, out=path)
    count = 1
    while part.status == "interrupted":
        assert f"go on with: nqm-fast resume {path}" in part.message
        part = nqm.resume(path, threads=1)
        count += 1
    assert count > 1 or name == "diverging"
    assert_same(part, usual[name])
    assert_same(nqm.open_run(path), usual[name])
    assert os.listdir(tmp_path) == [path.name]


def test_blocks_in_parts(monkeypatch, tmp_path):
    """A problem beyond memory is stopped within blocks and between them."""
    problem = nqm.Problem(np.random.default_rng(3).uniform(0.01, 1.0, 5 * TILE + 70))
    changes = {"problem": problem, "keep_state": False, "threads": 2}
    whole = run("bands", **changes)
    in_blocks(monkeypatch, TILE)
    chunks_of(monkeypatch, 40, 40, 7, 75, 3, 80, 21)
    stopped_at_the_first_chunk(monkeypatch)
    path = tmp_path / "run.h5"
    part = run("bands", out=path, **changes)
    assert part.stats["order"] == "blocks"
    while part.status == "interrupted":
        assert "so that no record is complete" in part.message
        assert part.risk.shape[1] == 0
        part = nqm.resume(path)
    assert part.stats["coordinate_steps"] == 3 * problem.dim * STEPS
    assert_same(part, whole)


@pytest.mark.parametrize("name", STEPPED)
@pytest.mark.parametrize("record", [1, 10, [STEPS], [0, 3, 4, 5, 41], []], ids=str)
def test_records(usual, name, record):
    new = run(name, record=record)
    assert np.array_equal(new.state, usual[name].state)
    shared, here, there = np.intersect1d(new.steps, usual[name].steps, return_indices=True)
    assert shared.size or not new.steps.size
    assert np.array_equal(new.risk[:, here], usual[name].risk[:, there])


@pytest.mark.parametrize("name", run.kinds)
def test_replicas_one_by_one(usual, name):
    for replica in range(3):
        alone = run(name, replicas=[replica])
        assert np.array_equal(alone.risk[0], usual[name].risk[replica])
        assert np.array_equal(alone.state[0], usual[name].state[replica])


@pytest.mark.parametrize("sampling", ["minibatch", "per-sample", "leap"])
def test_settings_one_by_one(sampling):
    """Settings have one to three components, and their own batch sizes or the same."""
    pieces = schedules.Piecewise([0.3, 0.1, 0.2], [10, 31, 34])
    algorithms = [
        nqm.SGD(0.3),
        nqm.SGD(pieces, momentum=0.9),
        nqm.SGD(0.1, ema=0.9, power=0.5),
        nqm.SGD(0.2),
        nqm.SGD(1e9),
        nqm.SGD(0.1, momentum=0.7, ema=0.8),
    ]
    batches = [8, 2, schedules.Piecewise([1, 3], [20, 55]), 5, 1, 8]
    arguments = {"replicas": 2, "sampling": sampling, "keep_state": True, "seed": 3}
    for sizes in (batches, 4):
        together = nqm.simulate(UNEVEN, algorithms, sizes, STEPS, **arguments)
        assert together.risk.shape == (6, 2, together.steps.size)
        for g, algorithm in enumerate(algorithms):
            batch = batches[g] if sizes is batches else sizes
            alone = nqm.simulate(UNEVEN, algorithm, batch, STEPS, **arguments)
            assert np.array_equal(together.risk[g], alone.risk)
            assert np.array_equal(together.state[g], alone.state)
            assert np.array_equal(together.diverged_at[g], alone.diverged_at)


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        pytest.param("all", marks=pytest.mark.slow),
        "schedule",
        "bands",
        "diverging",
        "leap in pieces",
        "rademacher",
    ],
)
def test_both_orders_of_the_loops(name, monkeypatch):
    """Blocks of coordinates go through all steps, or all coordinates through chunks of steps."""
    rng = np.random.default_rng(2)
    d = 11 * TILE + 100
    problem = nqm.Problem(rng.uniform(0.01, 1.0, d), mean0=rng.normal(size=d))
    changes = {"problem": problem, "keep_state": False, "threads": 2}
    by_steps = run(name, **changes)
    assert by_steps.stats["order"] == "steps"
    in_blocks(monkeypatch, 2 * TILE)
    by_blocks = run(name, **changes)
    assert by_blocks.stats["order"] == "blocks"
    assert_same(by_blocks, by_steps)


def test_seeds_and_replicas_are_different_streams(usual):
    risk = usual["plain"].risk
    assert len(np.unique(risk[:, -1])) == 3
    assert not np.any(run("plain", seed=2**40 + 8).risk == risk)
    assert not np.any(run("plain", seed=7).risk == risk)  # the high half counts


def digest(run):
    content = hashlib.sha256()
    for array in (run.steps, run.risk, run.state):
        content.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return content.hexdigest()[:16]


# A change of these is a change of the noise stream: it needs an entry in the changelog.
# Left out is what a library's pow or zeta decides: powers of h, the scale of Student's t.
NOT_EVERYWHERE = ("all", "student-t")
STREAM = {
    "plain": "af65d85f0129eb73",
    "momentum": "309837ad4cade4e6",
    "ema": "21cc4ee41a107c20",
    "power": "0b2b1695cf6438e2",
    "schedule": "85736f77f3450fc2",
    "bands": "acacab08941b13c6",
    "diverging": "f05eb56575c5c9db",
    "leap": "c802544cf40478b9",
    "leap in pieces": "ff93796917e54288",
    "normal": "e782114a8f21712c",
    "uniform": "953a37373c612564",
    "rademacher": "7e765366ac5e9613",
    "laplace": "b431e9c5f8b15782",
}


@pytest.mark.parametrize("name", [name for name in run.kinds if name not in NOT_EVERYWHERE])
def test_the_stream_has_not_changed(usual, name):
    assert digest(usual[name]) == STREAM[name]
