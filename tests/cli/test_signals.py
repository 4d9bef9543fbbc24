"""Ctrl-C and SIGTERM save a run in a file, and it can be gone on with."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import BACKEND, LONG_RUN, command

import nqm_fast as nqm


def ctrl_c_is_answered():
    """Answer Ctrl-C also where pytest was started in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def started(*arguments):
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=ctrl_c_is_answered,
    )


SOON = 300.0
"""Seconds in which a process ends on any machine, however busy; its whole run takes longer."""


def wait_for_records(path, process):
    limit = time.monotonic() + 60
    while time.monotonic() < limit and process.poll() is None:
        if path.exists() and nqm.open_run(path).steps.size > 1:
            return
        time.sleep(0.05)
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_the_run(nqm_fast, here, number, status):
    process = started("run", *LONG_RUN)
    wait_for_records(here / "run.h5", process)
    process.send_signal(number)
    _, err = process.communicate(timeout=SOON)
    assert process.returncode == status
    said = r"^interrupted after \d+ of 10000000 steps; go on with: nqm-fast resume run\.h5$"
    assert re.search(said, err, re.MULTILINE)
    run = nqm.open_run("run.h5")
    assert run.status == "interrupted"
    assert (here / "run.h5.checkpoint").exists()
    _, out, _ = nqm_fast("info", "run.h5")
    assert "go on with: nqm-fast resume run.h5" in out
    assert re.search(r"^checkpoint +at 0\.\d %", out, re.MULTILINE)
    again = started("resume", "run.h5", "--backend", BACKEND)
    wait_until = time.monotonic() + 60
    while nqm.open_run("run.h5").steps.size <= run.steps.size and time.monotonic() < wait_until:
        time.sleep(0.05)
    assert nqm.open_run("run.h5").status == "running"
    assert (here / "run.0002.h5").exists()
    status, _, err = nqm_fast("resume", "run.h5")
    assert status == 2
    assert "is being written by another process" in err
    again.send_signal(signal.SIGINT)
    again.communicate()
    assert again.returncode == 130
    later = nqm.open_run("run.h5")
    assert np.array_equal(later.risk[..., : run.steps.size], run.risk)
    assert not (here / "run.0002.h5").exists()


def test_ctrl_c_while_kernels_are_compiled(here, monkeypatch):
    """There is nothing to save yet, so the process ends at once."""
    pytest.importorskip("numba")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(here / "cache"))
    process = started("run", *LONG_RUN, "--set", "backend=numba")
    while "compiling" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SOON)
    assert process.returncode == 130
    assert "interrupted; go on with: nqm-fast resume run.h5" in err
    assert "Traceback" not in err
    assert nqm.open_run(here / "run.h5").status == "killed"


def test_sigterm_ends_a_script_after_saving(here):
    code = (
        "import nqm_fast as nqm\n"
        "nqm.simulate(nqm.Problem.power_law(5000), nqm.SGD(0.1), 8, 10**8, out='run.h5',\n"
        f"             record=1000, threads=1, backend={BACKEND!r})\n"
        "print('not reached')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    wait_for_records(here / "run.h5", process)
    process.terminate()
    assert process.communicate()[0] == ""
    assert process.returncode == 143
    assert nqm.open_run("run.h5").status == "interrupted"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_study_of_networks(nqm_fast, monkeypatch, number, status):
    def study(*arguments, **options):
        os.kill(os.getpid(), number)
        time.sleep(60)

    monkeypatch.setattr(nqm.networks, "study", study, raising=False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code, _, err = nqm_fast("networks", "digits", "--out", "found")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == status
    assert err == "found has what is done: the same command goes on\ninterrupted\n"


def test_sigterm_before_the_first_event(here, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(here / "cache"))
    code = (
        "import nqm_fast as nqm\n"
        "nqm.simulate(nqm.Problem.power_law(5000), nqm.SGD(0.1), 8, 10**8, out='run.h5',\n"
        "             backend='numba')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert "compiling" in process.stderr.readline()
    process.terminate()
    assert process.communicate()[1] == ""
    assert process.returncode == 143
    assert nqm.open_run("run.h5").status == "killed"
