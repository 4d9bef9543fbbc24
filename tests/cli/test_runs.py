"""The commands of simulations: run, resume, info, plot."""

import json
import os
import re

import h5py
import numpy as np
import pytest
from helpers import SMALL_RUN, command, python

import nqm_fast as nqm
from nqm_fast import kernels
from nqm_fast.cli.outcome import _describe_workers


def test_run_writes_a_file_and_a_figure(nqm_fast, here):
    status, out, _ = nqm_fast("run", *SMALL_RUN)
    assert status == 0
    assert sorted(os.listdir(here)) == ["run.h5", "run.png"]
    assert (here / "run.png").read_bytes()[:4] == b"\x89PNG"
    run = nqm.open_run("run.h5")
    assert run.status == "finished"
    assert run.risk.shape[:2] == (4, 2)
    assert f"{run.risk[3, :, -1].mean():.8g}" in out
    expected = nqm.expected_risk(nqm.Problem.power_law(200), nqm.SGD(0.2, momentum=0.9), 16, 50)
    assert f"{expected:.8g}" in out
    assert "coordinate-steps/s" in out


def test_a_run_of_ones_own(nqm_fast, here):
    nqm.Problem([1.0, 0.5, 0.1]).save(here / "problem.npz")
    (here / "mine.toml").write_text(
        'problem.file = "problem.npz"\nsteps = 1e2\nout = "mine.h5"\nrecord = [0, 10, 100]\n'
        "[[setting]]\nlr = { kind = 'Cosine', peak = 0.5, steps = 100 }\nbatch_size = 4\n"
        "[[setting]]\nlr = 0.1\nbatch_size = { kind = 'Piecewise', values = [1, 8],"
        " lengths = [5, 5] }\n"
    )
    assert nqm_fast("run", "mine.toml")[0] == 0
    run = nqm.open_run("mine.h5")
    schedules = nqm.schedules
    expected = nqm.simulate(
        nqm.Problem([1.0, 0.5, 0.1]),
        [nqm.SGD(schedules.Cosine(0.5, 100)), nqm.SGD(0.1)],
        [4, schedules.Piecewise([1, 8], [5, 5])],
        100,
        replicas=4,
        record=[0, 10, 100],
    )
    assert np.array_equal(run.risk, expected.risk)
    _, out, _ = nqm_fast("info", "mine.h5")
    assert "SGD(Cosine(peak=0.5, steps=100, end=0.0)), batch size 4" in out


def test_out_and_overwrite(nqm_fast, here):
    assert nqm_fast("run", *SMALL_RUN, "--out", "a.h5")[0] == 0
    status, out, err = nqm_fast("run", *SMALL_RUN, "--out", "a.h5")
    assert (status, out) == (2, "")
    assert "exists, a run that is finished: choose another file" in err
    assert err.count("\n") == 1
    assert nqm_fast("run", *SMALL_RUN, "--out", "a.h5", "--overwrite")[0] == 0
    assert sorted(os.listdir(here)) == ["a.h5", "a.png"]


def test_resuming_a_finished_run_says_so(nqm_fast):
    nqm_fast("run", *SMALL_RUN)
    status, out, _ = nqm_fast("resume", "run.h5")
    assert status == 0
    assert out.startswith("run.h5 is finished: there is nothing to go on with\n")


def test_options_of_a_finished_run_are_checked(nqm_fast):
    nqm_fast("run", *SMALL_RUN)
    for option, value in (("--record", "3"), ("--checkpoint-every", "-5"), ("--threads", "0")):
        status, _, err = nqm_fast("resume", "run.h5", option, value)
        assert status == 2
        assert option.removeprefix("--").replace("-", "_") in err


def test_a_list_of_figures_takes_no_problem(nqm_fast):
    status, out, err = nqm_fast("figures", "--list", "--problem", "mine.npz")
    assert (status, out) == (2, "")
    assert "--list draws nothing, so that --problem cannot be given" in err


def test_a_diverging_run_says_so_and_is_drawn(nqm_fast, here):
    status, _, err = nqm_fast("run", *SMALL_RUN, "--set", "setting.0.lr=1e9")
    assert status == 3  # as the README says
    assert "setting 0, SGD(1000000000.0) diverged at step" in err
    assert (here / "run.png").exists()
    status, out, _ = nqm_fast("resume", "run.h5")
    assert (status, out) == (3, "run.h5 is diverged: there is nothing to go on with\n")


def test_info_of_the_machine(nqm_fast):
    status, out, _ = nqm_fast("info")
    assert status == 0
    for word in ("numpy", "numba", "cython", "h5py", "hdf5", "backends", "threads", "devices"):
        assert word in out


def test_info_says_what_auto_is():
    first = kernels.present_backends()[0]
    said = python(*command("info")[1:], NQM_BACKEND="").stdout
    assert f"  auto is {first} " in said
    assert "(NQM_BACKEND changes it)\n" in said
    said = python(*command("info")[1:], NQM_BACKEND="numpy").stdout
    assert "  auto is numpy, as NQM_BACKEND says\n" in said


def test_info_and_plot_of_a_file(nqm_fast, here):
    nqm_fast("run", *SMALL_RUN)
    _, out, _ = nqm_fast("info", "run.h5")
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines())
    assert facts["status"] == "finished"
    assert facts["setting 1"] == "SGD(0.2, momentum=0.9), batch size 16"
    assert facts["problem"] == "Problem.power_law(200, exponent=1)"
    assert facts["records"] == "51 of 51"
    assert nqm_fast("plot", "run.h5", "--out", "other.png")[:2] == (0, "other.png\n")
    assert (here / "other.png").exists()


def test_there_may_be_nothing_to_draw(nqm_fast):
    assert nqm_fast("run", *SMALL_RUN, "--set", "record=[0]")[0] == 0
    status, _, err = nqm_fast("plot", "run.h5")
    assert status == 2
    assert "has no record after step 0 to draw" in err
    assert nqm_fast("run", *SMALL_RUN, "--set", "steps=0", "--overwrite")[0] == 0


def test_a_picture_never_replaces_the_run(nqm_fast, here):
    assert nqm_fast("run", *SMALL_RUN, "--out", "run.png")[0] == 0
    assert sorted(os.listdir(here)) == ["run.png", "run.png.png"]
    status, _, err = nqm_fast("plot", "run.png", "--out", "run.png")
    assert (status, nqm.open_run("run.png").status) == (2, "finished")
    assert "--out run.png is the run itself" in err
    status, _, err = nqm_fast("plot", "run.png", "--out", "x.xyz")
    assert status == 2
    assert "--out must end with one of" in err


def test_without_matplotlib_the_run_is_complete(nqm_fast, monkeypatch):
    monkeypatch.setattr("nqm_fast.cli.outcome.find_spec", lambda _: None)
    status, out, _ = nqm_fast("run", *SMALL_RUN)
    assert status == 0
    assert "pip install 'nqm-fast[figures]'" in out


def test_json_of_the_configuration_is_complete(nqm_fast):
    nqm_fast("run", *SMALL_RUN)
    with h5py.File("run.h5") as file:
        configuration = json.loads(file.attrs["configuration"])
    assert configuration["steps"] == 50
    assert len(configuration["settings"]) == 4


def test_a_finished_run_gets_more_steps_and_replicas(nqm_fast):
    nqm_fast("run", *SMALL_RUN)
    status, out, err = nqm_fast("resume", "run.h5", "--steps", "80", "--replicas", "3")
    assert status == 0
    assert err == (
        "steps 1 to 50 are computed once more, as their last state was not kept "
        "(keep_state = true)\n"
    )
    assert "at step 80, of 3 replicas" in out
    run = nqm.open_run("run.h5")
    problem = nqm.Problem.power_law(200)
    algorithms = [setting.algorithm for setting in run.experiment.settings]
    whole = nqm.simulate(problem, algorithms, 16, 80, replicas=3, record=run.steps)
    assert np.array_equal(run.risk, whole.risk)


def test_fewer_steps_than_a_run_has_are_refused_and_nothing_else_is_said(nqm_fast):
    nqm_fast("run", *SMALL_RUN)
    status, _, err = nqm_fast("resume", "run.h5", "--steps", "20")
    assert status == 2
    assert "computed once more" not in err


@pytest.mark.skipif(os.name != "posix", reason="there are no FIFOs")
def test_a_fifo_is_not_drawn(nqm_fast, here):
    os.mkfifo(here / "run.h5")
    for name in ("plot", "info"):
        status, _, err = nqm_fast(name, "run.h5")
        assert status == 2
        assert "is a FIFO" in err


def test_one_thread_is_no_threads():
    assert _describe_workers({"threads": 1}) == "1 thread"
    assert _describe_workers({"threads": 2}) == "2 threads"


def test_resources_are_chosen_on_the_command_line(nqm_fast):
    chosen = ["--threads", "1", "--backend", "numpy"]
    assert nqm_fast("run", *SMALL_RUN, "--set", "threads=2", *chosen)[0] == 0
    stats = nqm.open_run("run.h5").stats
    assert (stats["backend"], stats["threads"]) == ("numpy", 1)
    assert nqm_fast("resume", "run.h5", "--steps", "60", *chosen)[0] == 0
    assert nqm.open_run("run.h5").stats["backend"] == "numpy"


def test_bands_are_drawn(nqm_fast, here):
    nqm_fast("run", *SMALL_RUN, "--set", "bands=3")
    status, _, _ = nqm_fast("plot", "run.h5", "--bands", "--out", "bands.png")
    assert status == 0
    assert (here / "bands.png").exists()
    nqm_fast("run", *SMALL_RUN, "--overwrite")
    status, _, err = nqm_fast("plot", "run.h5", "--bands")
    assert status == 2
    assert "the run has no bands to draw" in err
