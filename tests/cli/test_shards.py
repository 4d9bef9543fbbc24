"""Shards on the command line: run --coordinates, run --workers, merge."""

import os
import signal
import subprocess
import time

import pytest
from helpers import LONG_RUN, SMALL_RUN, assert_same, command

import nqm_fast as nqm
from nqm_fast.machine.executors import ExecutorError
from nqm_fast.runs import distribution
from nqm_fast.runs.distribution import FailedShardsError

SMALLER_RUN = [*SMALL_RUN, "--set", "steps=20"]


@pytest.fixture
def shards(nqm_fast, here):
    """Two shards of a run, by the names of their files."""
    for first, last in (("0", "128"), ("128", "200")):
        arguments = "--coordinates", first, last, "--out", f"shard{first}.h5"
        status, out, _ = nqm_fast("run", *SMALLER_RUN, *arguments)
        assert status == 0
        assert f"shard{first}.h5" in out
        assert f"2 replicas, a shard (coordinates {first} to {int(last) - 1} of 200):" in out
    return ["shard128.h5", "shard0.h5"]


def test_shards_are_merged(nqm_fast, here, shards):
    status, out, err = nqm_fast("merge", *shards, "--out", "run.h5")
    assert (status, err) == (0, "")
    assert "at step 20, of 2 replicas" in out
    assert (here / "run.png").exists()
    assert nqm_fast("run", *SMALLER_RUN, "--out", "whole.h5")[0] == 0
    assert_same(nqm.open_run("run.h5"), nqm.open_run("whole.h5"))
    assert "coordinates 128 to 199 of 200" in nqm_fast("info", "shard128.h5")[1]
    assert "coordinates" not in nqm_fast("info", "run.h5")[1]


def test_what_cannot_be_merged(nqm_fast, here, shards):
    for arguments, said in (
        ([*shards[:1], "--out", "run.h5"], "gap: coordinates 0 to 127 of replica 0 are in none"),
        ([*shards, *shards, "--out", "run.h5"], "paths overlap"),
        (["absent.h5", "--out", "run.h5"], "absent.h5: No such file"),
    ):
        status, out, err = nqm_fast("merge", *arguments)
        assert (status, out) == (2, "")
        assert said in err
        assert err.startswith("nqm-fast merge: ")
        assert err.count("\n") == 1
    assert not (here / "run.h5").exists()
    status, _, err = nqm_fast("run", *SMALLER_RUN, "--coordinates", "0", "100")
    assert status == 2
    assert "nearest are (0, 128) and (0, 64)" in err


def test_workers(nqm_fast, here):
    assert nqm_fast("run", *SMALLER_RUN, "--workers", "2", "--out", "run.h5")[0] == 0
    assert sorted(os.listdir(here)) == ["run.h5", "run.png"]
    assert nqm_fast("run", *SMALLER_RUN, "--out", "whole.h5")[0] == 0
    assert_same(nqm.open_run("run.h5"), nqm.open_run("whole.h5"))
    status, _, err = nqm_fast("run", *SMALLER_RUN, "--workers", "0", "--out", "no.h5")
    assert status == 2
    assert "--workers must be" in err
    status, _, err = nqm_fast("run", "--workers", "1", "--coordinates", "0", "2048")
    assert status == 2
    assert "coordinates must be left out with an executor" in err


@pytest.mark.parametrize(
    ("error", "expected"), [(FailedShardsError("1 shard failed"), 4), (ExecutorError("no more"), 2)]
)
def test_workers_that_fail(nqm_fast, here, monkeypatch, error, expected):
    def fail(*_):
        raise error

    monkeypatch.setattr(distribution, "run_in_shards", fail)
    status, out, err = nqm_fast("run", *SMALLER_RUN, "--workers", "2")
    assert (status, out) == (expected, "")
    assert err.startswith(f"nqm-fast run: {error}")
    assert err.count("\n") == 1


def test_ctrl_c(here, default_ctrl_c):
    """Its line says how to go on, and the shards are there."""
    arguments = "run", *LONG_RUN, "--workers", "2", "--set", "checkpoint_every=0"
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
    while not list(here.rglob("*.checkpoint")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted; go on with: the same command"
    assert os.listdir(here) == ["run.shards"]
