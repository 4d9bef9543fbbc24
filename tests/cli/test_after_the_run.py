"""Once a run is complete, nothing that follows loses it, or its exit status."""

import os
import resource
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from helpers import BACKEND, SMALL_RUN, chunks_of, command, stopped_at_the_first_chunk

import nqm_fast as nqm
from nqm_fast.cli import outcome
from nqm_fast.drawing import output as _output
from nqm_fast.output import progress
from nqm_fast.store import header

SLOW = pytest.mark.slow  # a process that draws takes two seconds
RUN = ["run", *SMALL_RUN, "--set", f"backend={BACKEND}"]


def carried_out(folder, *arguments, limit=None, stdout=subprocess.PIPE, **environment):
    """Carry out a run in a process of its own: status, output, errors."""
    done = subprocess.run(
        command(*RUN, *arguments),
        cwd=folder,
        env=os.environ | environment,
        preexec_fn=limit,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
    return done.returncode, done.stdout, done.stderr.decode(errors="surrogateescape")


@pytest.mark.parametrize(
    "backend", ["nonsense", pytest.param("module://missing.backend", marks=SLOW)]
)
def test_the_backend_of_a_notebook_does_not_matter(tmp_path, backend):
    status, _, err = carried_out(tmp_path, MPLBACKEND=backend)
    assert (status, err) == (0, "")
    assert (tmp_path / "run.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_a_matplotlibrc_does_not_matter(tmp_path):
    """Neither LaTeX that is not there, nor another size or kind, changes the picture."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "matplotlibrc").write_text(
        "text.usetex: True\nfigure.dpi: 20\nsavefig.format: pdf\nsavefig.dpi: 10\n"
        "font.size: 3\naxes.facecolor: black\nbackend: tkagg\nnonsense: 4\n"
    )
    for folder in ("a", "b"):
        assert carried_out(tmp_path / folder)[0] == 0
    pictures = [(tmp_path / folder / "run.png").read_bytes() for folder in ("a", "b")]
    assert pictures[0] == pictures[1]


@pytest.mark.slow
def test_a_matplotlibrc_that_is_no_text(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe\x00\xff")
    status, out, err = carried_out(tmp_path)
    assert status == 0
    assert "run.h5 is complete; its figure could not be drawn: Matplotlib cannot be loaded" in err
    assert b"run.h5  51 records" in out
    assert nqm.open_run(tmp_path / "run.h5").status == "finished"


def test_the_users_matplotlib_keeps_its_settings(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"font.size": 3.0, "lines.linewidth": 7.0}):
        before = dict(matplotlib.rcParams)
        seen = {}

        def plot(figure, _):
            seen.update(matplotlib.rcParams)
            figure.subplots()

        _output.write_png(tmp_path / "a.png", plot, {})
        assert dict(matplotlib.rcParams) == before
    assert seen["lines.linewidth"] == 1.5
    assert seen["backend"] == before["backend"]


def test_a_full_disk_costs_the_picture_only(tmp_path):
    """The run takes 18 kB and its picture more."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    (tmp_path / "run.png").write_text("old")
    status, out, err = carried_out(tmp_path, limit=limit)
    assert status == 0
    last = err.splitlines()[-1]
    assert last == "run.h5 is complete; its figure could not be drawn: File too large"
    assert b"run.h5  51 records" in out
    assert (tmp_path / "run.png").read_text() == "old"


def test_output_that_cannot_be_written_costs_the_summary_only(tmp_path):
    with open("/dev/full", "w") as full:
        status, _, err = carried_out(tmp_path, stdout=full)
    said = "run.h5 is complete; its summary could not be printed: No space left on device\n"
    assert (status, err) == (0, said)
    assert (tmp_path / "run.png").exists()


def test_an_error_stream_that_is_full_costs_nothing(monkeypatch):
    """Neither what is said of progress nor what is said of the end stops anything."""
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        monkeypatch.setattr(progress, "INTERVAL", 0.0)
        with progress.shown_on_terminal(), progress.rated("simulation", 200, "steps") as report:
            report(50)
            time.sleep(0.01)
            report(100)
        outcome.say("interrupted")
        monkeypatch.undo()
        with suppress(OSError):
            full.close()


@pytest.mark.slow
def test_a_reader_that_has_ended_costs_the_summary_only(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    status, _, err = carried_out(tmp_path, stdout=writing)
    os.close(writing)
    assert (status, err) == (
        0,
        "run.h5 is complete; its summary could not be printed: Broken pipe\n",
    )


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("Länge ∞.h5".encode(), "ascii"), pytest.param(b"r\xff\xe9n.h5", "utf-8", marks=SLOW)],
)
def test_a_terminal_that_cannot_print_a_name(tmp_path, name, encoding):
    path = tmp_path / os.fsdecode(name)
    status, out, err = carried_out(tmp_path, "--out", path.name, PYTHONIOENCODING=encoding)
    assert (status, err) == (0, "")
    assert b"51 records" in out
    assert nqm.open_run(path).status == "finished"
    assert path.with_suffix(".png").exists()


def test_an_interrupted_run_says_how_to_go_on(nqm_fast, monkeypatch):
    with monkeypatch.context() as context:
        chunks_of(context, 1)
        stopped_at_the_first_chunk(context)
        assert nqm_fast(*RUN)[0] == 130
    status, _, err = nqm_fast(*RUN)
    assert status == 2
    said = "a run that is interrupted: go on with: nqm-fast resume run.h5, or choose another file"
    assert said in err
    assert err.count("\n") == 1


def test_info_has_the_times_of_the_last_part(nqm_fast, monkeypatch):
    times = iter(f"2030-01-01T00:00:0{k}+00:00" for k in range(9))
    monkeypatch.setattr(header, "timestamp", lambda: next(times))
    monkeypatch.setattr("nqm_fast.store.file_recorder.timestamp", lambda: "2031")
    with monkeypatch.context() as context:
        chunks_of(context, 1)
        stopped_at_the_first_chunk(context)
        nqm_fast(*RUN)
    assert facts(nqm_fast) == {
        "started": "2030-01-01T00:00:00+00:00",
        "ended": "2030-01-01T00:00:01+00:00",
    }
    nqm_fast("resume", "run.h5", "--backend", BACKEND)
    assert facts(nqm_fast) == {
        "started": "2030-01-01T00:00:00+00:00",
        "resumed": "2031",
        "ended": "2030-01-01T00:00:02+00:00",
    }


def facts(nqm_fast):
    """The times that `info` shows."""
    lines = [line.split() for line in nqm_fast("info", "run.h5")[1].splitlines()]
    return {x[0]: x[1] for x in lines if x[0] in ("started", "resumed", "ended")}


LAB = """
from dataclasses import dataclass
import nqm_fast as nqm

@dataclass(frozen=True)
class Heavy(nqm.SGD):
    pass
"""
MINE = "steps = 50\nproblem.dim = 100\nout = 'own.h5'\n[[setting]]\nkind = 'lab:Heavy'\nlr = .5\n"


@pytest.mark.parametrize(
    ("named", "first"), [("lab", False), pytest.param("{here}/lab.py", True, marks=SLOW)]
)
def test_classes_of_ones_own(here, named, first):
    """They are imported by the command line, and without them all is read but the expectation."""
    (here / "lab.py").write_text(LAB)
    (here / "mine.toml").write_text(MINE.replace(".5", "0.5"))
    given = ["--import", named.format(here=here)]
    own = command(*given, "run", "mine.toml") if first else command("run", "mine.toml", *given)
    assert subprocess.run(own, cwd=here).returncode == 0
    if named != "lab" or first:
        return
    for arguments, status, said in [
        (["run", "mine.toml", "--out", "b.h5"], 2, "on the command line, --import lab)"),
        (["info", "own.h5"], 0, "lab:Heavy(lr=0.5, momentum=0, ema=0, power=0), batch size 16"),
        (["info", "own.h5", "--import", "lab"], 0, "setting 0    Heavy("),
        (["plot", "own.h5", "--out", "own2.png"], 0, "own2.png"),
        (
            ["info", "own.h5", "--import", "nolab"],
            2,
            "--import nolab is impossible: ModuleNotFound",
        ),
    ]:
        done = subprocess.run(command(*arguments), cwd=here, capture_output=True, text=True)
        assert done.returncode == status
        assert said in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
