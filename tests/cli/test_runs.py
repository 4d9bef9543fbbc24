"""The commands of simulations: run, resume, info, plot, init, and what they say."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import cli, progress
from nqm_fast.cli import config

SMALL = ["--set", "problem.dim=200", "--set", "steps=50", "--set", "replicas=2"]
LONG = ["--set", "problem.dim=20000", "--set", "steps=10000000", "--set", "record=2000"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def nqm_fast(capsys, here):
    """Run a command in a folder of its own: status, output, errors."""

    def run(*arguments):
        status = cli.main(list(arguments))
        out, err = capsys.readouterr()
        return status, out, err

    return run


# -- run, plot, info, init ---------------------------------------------------------------


def test_run_writes_a_file_and_a_figure(nqm_fast, here):
    status, out, _ = nqm_fast("run", *SMALL)
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


def test_the_default_experiment_is_the_example(nqm_fast, here):
    assert nqm_fast("init")[0] == 0
    content = tomllib.loads((here / "nqm.toml").read_text())
    assert content["problem"] == {"dim": 10**6, "exponent": 1.0}
    kinds = [set(table) - {"lr"} for table in content["setting"]]
    assert kinds == [set(), {"momentum"}, {"ema"}, {"power"}]
    wanted, given = config.load(None), config.load(Path("nqm.toml"))
    assert str(wanted.arguments) == str(given.arguments)
    assert wanted.out == given.out == "run.h5"
    status, _, err = nqm_fast("init")
    assert status == 2
    assert "nqm.toml exists: give another name" in err


def test_keys_that_are_left_out_have_the_values_of_the_example():
    usual = tomllib.loads(config.default_text())
    fields = config.RunTable.model_fields
    assert {k: fields[k].default for k in usual.keys() - {"problem", "setting"}} == {
        k: v for k, v in usual.items() if k not in ("problem", "setting")
    }
    assert config.ProblemTable().model_dump(exclude={"file"}) == usual["problem"]


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
    assert nqm_fast("run", *SMALL, "--out", "a.h5")[0] == 0
    status, out, err = nqm_fast("run", *SMALL, "--out", "a.h5")
    assert (status, out) == (2, "")
    assert "exists, a run that is finished: choose another file" in err
    assert err.count("\n") == 1
    assert nqm_fast("run", *SMALL, "--out", "a.h5", "--overwrite")[0] == 0
    assert sorted(os.listdir(here)) == ["a.h5", "a.png"]


def test_resuming_a_finished_run_says_so(nqm_fast):
    nqm_fast("run", *SMALL)
    status, out, _ = nqm_fast("resume", "run.h5")
    assert status == 0
    assert out == "run.h5 is finished: there is nothing to go on with\n"


def test_a_diverging_run_says_so_and_is_drawn(nqm_fast, here):
    status, _, err = nqm_fast("run", *SMALL, "--set", "setting.0.lr=1e9")
    assert status == 0
    assert "setting 0, SGD(1000000000.0) diverged at step" in err
    assert (here / "run.png").exists()


def test_info_of_the_machine(nqm_fast):
    status, out, _ = nqm_fast("info")
    assert status == 0
    for word in ("numpy", "numba", "cython", "h5py", "hdf5", "backends", "threads", "devices"):
        assert word in out


def test_info_and_plot_of_a_file(nqm_fast, here):
    nqm_fast("run", *SMALL)
    _, out, _ = nqm_fast("info", "run.h5")
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines())
    assert facts["status"] == "finished"
    assert facts["setting 1"] == "SGD(0.2, momentum=0.9), batch size 16"
    assert facts["problem"] == "Problem.power_law(200, exponent=1)"
    assert facts["records"] == "51 of 51"
    assert nqm_fast("plot", "run.h5", "--out", "other.png")[:2] == (0, "other.png\n")
    assert (here / "other.png").exists()


def test_there_may_be_nothing_to_draw(nqm_fast):
    assert nqm_fast("run", *SMALL, "--set", "record=[0]")[0] == 0
    status, _, err = nqm_fast("plot", "run.h5")
    assert status == 2
    assert "has no record after step 0 to draw" in err
    assert nqm_fast("run", *SMALL, "--set", "steps=0", "--overwrite")[0] == 0


def test_a_picture_never_replaces_the_run(nqm_fast, here):
    assert nqm_fast("run", *SMALL, "--out", "run.png")[0] == 0
    assert sorted(os.listdir(here)) == ["run.png", "run.png.png"]
    status, _, err = nqm_fast("plot", "run.png", "--out", "run.png")
    assert (status, nqm.open_run("run.png").status) == (2, "finished")
    assert "--out run.png is the run itself" in err
    status, _, err = nqm_fast("plot", "run.png", "--out", "x.xyz")
    assert status == 2
    assert "--out must end with one of" in err


def test_without_matplotlib_the_run_is_complete(nqm_fast, monkeypatch):
    monkeypatch.setattr("nqm_fast.cli.runs.find_spec", lambda _: None)
    status, out, _ = nqm_fast("run", *SMALL)
    assert status == 0
    assert "pip install 'nqm-fast[figures]'" in out


# -- what is wrong -----------------------------------------------------------------------

WRONG = {
    "stepz = 5": "line 1: stepz is not a key (did you mean steps?): allowed are out, steps",
    "# a comment\n\nsteps = 'many'": "line 3: steps must be a valid integer, not 'many'",
    "steps = 1.5": "line 1: steps must be a valid integer, not 1.5",
    "record = [\n1,\n2]\nseed = -1": "line 4: seed must be greater than or equal to 0, not -1",
    "sampling = 'mini'": "line 1: sampling must be 'minibatch', 'per-sample' or 'leap'",
    "keep_state = 1": "line 1: keep_state must be a valid boolean, not 1",
    "problem.dim = 0": "line 1: problem.dim must be greater than or equal to 1, not 0",
    "problem.dims = 1": "line 1: problem.dims is not a key (did you mean dim?): allowed are dim",
    "problem.exponent = 900": "line 1: exponent 900 makes the last of 1000000 curvatures vanish",
    "problem.file = 'no.npz'": "line 1: file = 'no.npz' does not exist",
    "batch_size = 0": "line 1: batch_size must be >= 1, not 0",
    "replicas = 0": "line 1: replicas must be a whole number >= 1, not 0",
    "record = 'all'": "line 1: record must be a whole number >= 1, not 'all'",
    "bands = [2, 1]": "line 1: bands must be two or more ascending edges, not [2, 1]",
    "df = 3.0": "line 1: df = 3.0 is for data='student-t'",
    "backend = 'gpu'": "line 1: backend must be one of auto, numba, cython, numpy, cuda, not 'gpu'",
    "steps = 10\nsteps = 10": "not valid TOML: Cannot overwrite a value (at line 2",
    "steps = ": "not valid TOML: Invalid value (at line 1",
}
WRONG_SETTING = {
    "lr = -1": "line 2: lr must be >= 0, not -1",
    "\nlr = 1\nmomentum = 1.5": "line 4: momentum must be >= 0 and < 1, not 1.5",
    "lr = 1\nspeed = 3": "line 3: speed is not a parameter of SGD, which has lr, momentum, ema, p",
    "momentum = 0.5": "line 1: kind = 'SGD' needs lr",
    "kind = 'Adam'": "line 2: kind must be one of SGD",
    "lr = { kind = 'Cosinus', peak = 1 }": "line 2: kind must be one of Constant, PerStep, Linear",
    "lr = { kind = 'Cosine', peak = 1 }": "line 2: kind = 'Cosine' needs steps",
    "lr = { kind = 'Cosine', top = 1 }": "line 2: top is not a parameter of Cosine, which has pea",
    "lr = 1\nbatch_size = 0.5": "line 3: batch_size must be >= 1, not 0.5",
}


@pytest.mark.parametrize("text", [*WRONG, *WRONG_SETTING])
def test_what_is_wrong_is_named_with_its_line(nqm_fast, here, text):
    forms = ["{}\n[[setting]]\nlr = 1\n", "[[setting]]\n{}\n"]
    (here / "my.toml").write_text(forms[text in WRONG_SETTING].format(text))
    status, out, err = nqm_fast("run", "my.toml")
    assert (status, out) == (2, "")
    assert err.startswith("nqm-fast run: my.toml")
    assert (WRONG | WRONG_SETTING)[text] in err
    assert err.count("\n") == 1
    assert os.listdir(here) == ["my.toml"]


def test_all_that_is_wrong_is_named_at_once(nqm_fast, here):
    (here / "my.toml").write_text("stepz = 1\nseed = -1\n")
    _, _, err = nqm_fast("run", "my.toml")
    assert len(err.splitlines()) == 3
    assert "setting must be one or more tables [[setting]]" in err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("steps", "--set must be key=value, such as steps=100, not 'steps'"),
        ("steps=many", "--set steps=many: steps must be a valid integer, not 'many'"),
        ("setting.7.lr=1", "--set setting.7.lr=1: 7 must be a number from 0 to 3"),
        ("setting.0.lr=-1", "--set setting.0.lr=-1: lr must be >= 0, not -1"),
        ("setting.0.batch_size=0", "--set setting.0.batch_size=0: batch_size must be >= 1, not 0"),
        ("steps.x=1", "--set steps.x=1: steps has no x"),
        ("setting=[]", "--set setting=[]: setting must be one or more tables [[setting]]"),
    ],
)
def test_what_is_wrong_with_set_is_named(nqm_fast, change, said):
    status, _, err = nqm_fast("run", "--set", change)
    assert status == 2
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "no.toml"], "no.toml: No such file"),
        (["resume", "no.h5"], "no.h5: No such file"),
        (["info", "no.h5"], "no.h5: No such file"),
        (["plot", "bad.h5"], "'bad.h5' is not an HDF5 file"),
        (["resume", "bad.h5"], "'bad.h5' is not an HDF5 file"),
        (["run", "bad.h5"], "bad.h5: not a text file, and so not TOML"),
        (["run", "--out", "no/run.h5"], "is in a folder that does not exist"),
    ],
)
def test_files_that_cannot_be_used(nqm_fast, here, arguments, said):
    (here / "bad.h5").write_bytes(b"\xff\xfe nothing")
    status, out, err = nqm_fast(*arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


# -- signals -----------------------------------------------------------------------------


def started(*arguments, **options):
    """A process of the command."""
    code = "import sys; from nqm_fast.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,
    )


def wait_for_records(path, process):
    limit = time.monotonic() + 60
    while time.monotonic() < limit and process.poll() is None:
        if path.exists() and nqm.open_run(path).steps.size > 1:
            return
        time.sleep(0.05)
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_the_run(nqm_fast, here, number, status):
    process = started("run", *LONG)
    wait_for_records(here / "run.h5", process)
    begin = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate()
    assert time.monotonic() - begin < 10  # a second, on a machine that is not busy
    assert process.returncode == status
    said = r"^interrupted after \d+ of 10000000 steps; go on with: nqm-fast resume run\.h5$"
    assert re.search(said, err, re.MULTILINE)
    run = nqm.open_run("run.h5")
    assert run.status == "interrupted"
    assert (here / "run.h5.checkpoint").exists()
    _, out, _ = nqm_fast("info", "run.h5")
    assert "go on with: nqm-fast resume run.h5" in out
    assert re.search(r"^checkpoint +at 0\.\d %", out, re.MULTILINE)
    again = started("resume", "run.h5")
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
    """There is nothing to wait for yet."""
    pytest.importorskip("numba")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(here / "cache"))
    process = started("run", *LONG)
    while "compiling" not in process.stderr.readline():
        assert process.poll() is None
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert time.monotonic() - begin < 5
    assert process.returncode == 130
    assert "interrupted; go on with: nqm-fast resume run.h5" in err
    assert "Traceback" not in err
    assert nqm.open_run(here / "run.h5").status == "killed"


def test_sigterm_ends_a_script_after_saving(here):
    code = (
        "import nqm_fast as nqm\n"
        "nqm.simulate(nqm.Problem.power_law(5000), nqm.SGD(0.1), 8, 10**8, out='run.h5',\n"
        "             record=1000, threads=1)\n"
        "print('not reached')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    wait_for_records(here / "run.h5", process)
    process.terminate()
    assert process.communicate()[0] == ""
    assert process.returncode == 143
    assert nqm.open_run("run.h5").status == "interrupted"


def test_sigterm_before_the_first_event(here, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(here / "cache"))
    code = (
        "import nqm_fast as nqm\n"
        "nqm.simulate(nqm.Problem.power_law(5000), nqm.SGD(0.1), 8, 10**8, out='run.h5')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert "compiling" in process.stderr.readline()
    process.terminate()
    assert process.communicate()[1] == ""
    assert process.returncode == 143
    assert nqm.open_run("run.h5").status == "killed"


# -- progress ----------------------------------------------------------------------------


def test_in_a_pipe_progress_is_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    with progress.shown_on_terminal(), progress.rated("simulation", 200, "steps") as report:
        for done in (50, 100, 150):
            time.sleep(0.01)
            report(done)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for line, percent in zip(lines, (50, 75), strict=True):
        assert re.fullmatch(rf"simulation: {percent} %, [\d.]+ k? ?steps/s, 0:00:00 left", line)


def test_nobody_is_told_without_a_terminal(capsys):
    nqm.simulate(nqm.Problem.power_law(100), nqm.SGD(0.1), 8, 10)
    assert capsys.readouterr() == ("", "")


def screen(content):
    """What is on a terminal of 80 columns after this output: its lines."""
    lines = [""]
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", content):
        if part == "\n":
            lines.append("")
        elif part == "\r" or part.startswith("\x1b["):
            lines[-1] = "" if part in ("\r", "\x1b[2K") else lines[-1]
        else:
            lines[-1] += part
    return lines


def test_the_bar_fits_a_terminal_of_80_columns(here):
    parent, child = pty.openpty()
    environment = os.environ | {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    code = "import sys; from nqm_fast.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", *LONG],
        stdout=child, stderr=child, stdin=child, env=environment,
    )  # fmt: skip
    os.close(child)
    content, limit = "", time.monotonic() + 60
    while content.count("coordinate-steps/s") < 8 and time.monotonic() < limit:
        if select.select([parent], [], [], 1.0)[0]:
            content += os.read(parent, 4096).decode()
    process.kill()
    process.wait()
    os.close(parent)
    shown = [line for line in screen(content) if "coordinate-steps/s" in line]
    assert shown
    assert all(len(line) <= 80 for line in shown)
    assert re.search(
        r"simulation \S+ +\d+% [\d.]+ [kMG]? ?coordinate-steps/s (\d+:\d\d:\d\d|-:--:--)", shown[-1]
    )


def test_json_of_the_configuration_is_complete(nqm_fast):
    nqm_fast("run", *SMALL)
    import h5py

    with h5py.File("run.h5") as file:
        configuration = json.loads(file.attrs["configuration"])
    assert configuration["steps"] == 50
    assert len(configuration["settings"]) == 4
