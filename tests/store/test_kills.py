"""Runs that are killed, watched and resumed give the same bits, and lose nothing."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import assert_same, long_run, python

import nqm_fast as nqm

KILLS = int(os.environ.get("NQM_KILLS", "8"))  # in all, of two orders
ORDERS = ["steps", pytest.param("blocks", marks=pytest.mark.slow)]
RULES = pytest.param("rules", marks=pytest.mark.thorough)
"""The order by steps, of algorithms that are not linear."""
ONE_THREAD = {"NUMBA_NUM_THREADS": "1"}


def completed(action, path, order, **environment):
    """Run in a process of its own to its end; gives what it prints."""
    return python(*long_run(action, path, order), **ONE_THREAD, **environment).stdout


def begun(action, path, order):
    """A process of its own in which a run goes on."""
    command = [sys.executable, *long_run(action, path, order)]
    return subprocess.Popen(command, env=os.environ | ONE_THREAD, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module", params=[*ORDERS, RULES])
def whole(request, tmp_path_factory):
    """A run that nobody disturbed, and its order."""
    path = tmp_path_factory.mktemp("whole") / "run.h5"
    completed("start", path, request.param)
    return nqm.open_run(path), request.param


def assert_begins_like(run, whole):
    n = run.steps.size
    assert np.array_equal(run.steps, whole.steps[:n])
    assert np.array_equal(run.risk, whole.risk[..., :n])
    assert np.array_equal(run.band_risk, whole.band_risk[..., :n, :])


def assert_whole(run, whole):
    assert_same(run, whole)
    assert np.all(np.diff(run.wall_time) >= 0)


def committed(path):
    """What a reader sees, if there is anything yet."""
    try:
        return nqm.open_run(path)
    except FileNotFoundError:
        return None


def finish(path, order, **more):
    """Go on to the end, undisturbed."""
    action = "resume" if path.exists() else "start"
    completed(action, path, order, **more)
    assert [x.name for x in path.parent.iterdir()] == [path.name]  # and nothing is left over
    return nqm.open_run(path)


@pytest.mark.slow
@pytest.mark.kill
def test_kills_at_random_moments(whole, tmp_path):
    """After SIGKILL, again and again, what was committed stays, and the end is the same."""
    whole, order = whole
    path = tmp_path / "run.h5"
    chance = random.Random(f"kills {order}")
    kills = resumed = 0
    while kills < KILLS // 2:
        action = "resume" if path.exists() else "start"
        resumed += action == "resume"
        process = begun(action, path, order)
        time.sleep(chance.uniform(0.5, 2.0))
        before = committed(path)
        process.kill()
        if process.wait() == -signal.SIGKILL:
            kills += 1
        after = committed(path)
        if after is None:
            assert before is None
            continue
        assert_begins_like(after, whole)
        if before is not None:
            assert after.steps.size >= before.steps.size
        if after.status in ("finished", "diverged"):
            assert_whole(after, whole)
            for file in tmp_path.iterdir():
                file.unlink()
        else:
            assert after.status == "killed"
    assert resumed
    assert_whole(finish(path, order), whole)


@pytest.fixture(scope="module", params=ORDERS)
def short(request, tmp_path_factory):
    """A short run that nobody disturbed, its order, and its number of writes."""
    path = tmp_path_factory.mktemp("short") / "run.h5"
    writes = int(completed("start", path, request.param, NQM_KILL_AT="0"))
    return nqm.open_run(path), request.param, writes


def assert_survives(moment, short, folder):
    """A run that kills itself before its n-th write leaves what can be gone on with."""
    whole, order, _ = short
    path = folder / str(moment) / "run.h5"
    path.parent.mkdir()
    completed("start", path, order, status=-signal.SIGKILL, NQM_KILL_AT=str(moment))
    found = committed(path)
    if found is not None:
        assert_begins_like(found, whole)
    assert_whole(finish(path, order, NQM_KILL_AT="0"), whole)


@pytest.mark.thorough
@pytest.mark.kill
def test_kills_within_writes(short, tmp_path):
    """Kills come before a rename, between the parts of a commit, before a file is closed, ..."""
    _, _, writes = short
    assert writes > 50
    moments = {*np.linspace(1, writes, max(KILLS // 4, 5)).astype(int).tolist(), writes - 1}
    for moment in sorted(moments):
        assert_survives(moment, short, tmp_path)


def test_a_kill_within_a_write(short, tmp_path):
    """One kill within a write, in the midst of the run, stands for many."""
    _, _, writes = short
    assert_survives(writes // 2, short, tmp_path)


def test_a_reader_sees_no_torn_record(whole, tmp_path):
    """A reader that polls the file sees the beginning of the run, and no less than before."""
    whole, order = whole
    path = tmp_path / "run.h5"
    process = begun("start", path, order)
    seen, statuses, sizes = 0, set(), set()
    while process.poll() is None:
        run = committed(path)
        if run is not None:
            assert_begins_like(run, whole)
            assert run.steps.size >= seen
            seen = run.steps.size
            statuses.add(run.status)
            sizes.add(seen)
        time.sleep(0.05)
    assert process.returncode == 0
    assert_whole(nqm.open_run(path), whole)
    assert statuses - {"diverged", "finished"} == {"running"}
    if order != "blocks":
        assert len(sizes) > 3
