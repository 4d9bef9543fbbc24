"""Sweeps on the command line: configurations in TOML, tables, parts, figures."""

import re
import signal
import subprocess
import time

import numpy as np
import pytest
from helpers import InProcess, command

import nqm_fast as nqm
from nqm_fast.cli import sweep_config
from nqm_fast.cli.commands.sweep import table_rows
from nqm_fast.drawing import sweep as _sweep

xarray = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")

TEXT = """
what = "simulate"
out = "out.h5"
steps = 20
batch_size = 8
replicas = 3
[problem]
exponent = 1.0
[setting]
momentum = 0.5
[grid]
dim = [10, 20]
lr = { start = 0.1, stop = 1.0, num = 3, log = true }
"""


@pytest.fixture
def file(here):
    path = here / "sweep.toml"
    path.write_text(TEXT)
    return path


def test_a_sweep_and_its_figure(nqm_fast, file, here):
    status, out, err = nqm_fast("sweep", str(file), "--workers", "1")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[-1] == ["out.h5"]
    with xarray.open_dataset(here / "out.h5", engine="h5netcdf") as found:
        assert found.risk.dims == ("dim", "lr", "replica", "step")
        last = found.risk.sel(dim=20, lr=0.1).isel(step=-1).mean().item()
    assert ["20", "0.1", f"{last:.8g}", "0"] in lines
    assert nqm_fast("sweep", str(file), "--workers", "1")[1] == out
    pytest.importorskip("matplotlib")
    assert nqm_fast("plot", "out.h5")[1] == "out.png\n"
    assert (here / "out.png").stat().st_size > 1000
    status, _, err = nqm_fast("plot", "out.h5", "--bands")
    assert status == 2
    assert "--bands is for a run: a sweep is drawn along an axis" in err


def test_info_says_what_a_sweep_holds(nqm_fast, file):
    assert nqm_fast("sweep", str(file), "--workers", "1", "--set", "grid.lr=[0.1,1.0]")[0] == 0
    status, out, _ = nqm_fast("info", "out.h5")
    assert status == 0
    for words in ("sweep       simulate", "complete", "2 dim x 2 lr", "batch_size = 8", "risk"):
        assert words in out


def test_what_is_wrong_is_named_before_anything_is_written(nqm_fast, file, here):
    for options, message in (
        (["--set", "grd.lr=[.1]"], "--set grd.lr=[.1]: grd is not a table .*did you mean grid"),
        (["--set", "foo.bar=3"], "foo is not a table of a sweep: its tables are problem"),
        (["--set", "grid={}"], "grid must have one or more points"),
        (["--workers", "0"], "--workers must be a whole number >= 1, not 0"),
    ):
        status, _, err = nqm_fast("sweep", str(file), *options)
        assert status == 2
        assert re.search(message.replace("[.1]", r"\[.1\]"), err), err
    assert [path.name for path in here.iterdir()] == ["sweep.toml"]


def test_a_figure_says_which_points_it_lacks():
    grid = {"lr": [0.1, 0.5, 9.0]}
    found = nqm.sweep("risk", grid, executor=InProcess(), dim=10, batch_size=8, steps=[5000])
    drawn = _sweep.chart(found)
    assert (drawn.missing, drawn.title) == (1, "dim = 10, batch_size = 8, steps = 5000")
    figure_module = pytest.importorskip("matplotlib.figure")
    figure = figure_module.Figure()
    _sweep.plot(figure, drawn)
    assert figure.get_supxlabel().startswith("1 point not drawn")
    assert figure.axes[0].get_title() == drawn.title


def test_parts(nqm_fast, file, here):
    more = ["--workers", "1", "--set", "grid.seed=[1,2,3]"]
    for part in ("0/2", "1/2"):
        status, out, _ = nqm_fast("sweep", str(file), "--part", part, *more)
        assert (status, out) == (0, f"part {part} is done\n")
    assert not (here / "out.h5").exists()
    assert nqm_fast("sweep", str(file), *more)[0] == 0
    assert sorted(path.name for path in here.iterdir()) == ["out.h5", "sweep.toml"]


def test_a_setting_that_diverged_and_points_that_failed(nqm_fast, file):
    changes = ["--set", "grid.lr=[1e9]", "--set", "steps=200"]
    assert nqm_fast("sweep", str(file), "--workers", "1", "--out", "a.h5", *changes)[0] == 3
    text = 'what = "steps"\nproblem.dim = 5\nlr = 0.1\nbatch_size = 8\ntarget = 0.5\n'
    file.write_text(text + "grid.max_steps = [0.5, 1000]\n")
    status, out, err = nqm_fast("sweep", str(file), "--workers", "1", "--out", "b.h5")
    assert status == 4
    assert err.startswith("nqm-fast sweep: 1 point of 2 failed; max_steps = 0.5: max_steps must be")
    assert "max_steps must be" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps=-1", "--set steps=-1: steps must be a whole number >= 0, not -1"),
        ("grid.lr=0.1", "--set grid.lr=0.1: lr must be a list"),
        ("stepz=1", "--set stepz=1: stepz is not an argument of simulate, nor of SGD"),
        ("what=training", "--set what=training: what must be one of simulate"),
        ("problem.dimm=3", "--set problem.dimm=3: problem.dimm is not a key (did you mean dim?)"),
        ("setting=3", "--set setting=3: setting must be a table"),
        ("setting.kind=SDG", "kind must be one of Accumulate, "),
        ("out=3", "--set out=3: out must be a file's name, not 3"),
    ],
)
def test_a_mistake_is_named_with_its_place(nqm_fast, file, change, message):
    status, _, err = nqm_fast("sweep", str(file), "--set", change)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("what = 'steps'", "must have one table [grid] of axes, or tables [[point]]"),
        ("grid.lr = [1]\n[[point]]\nlr = 1", "must have one table [grid]"),
        ("grid.lr = [1]", 'what must be given, such as what = "simulate"'),
        ("what = 'steps'\ngrid.lr = [1]", "--out FILE is needed"),
    ],
)
def test_what_a_file_needs(nqm_fast, file, text, message):
    file.write_text(text)
    status, _, err = nqm_fast("sweep", str(file))
    assert status == 2
    assert message in err


def test_other_mistakes(nqm_fast, file):
    assert "--part must be K/N" in nqm_fast("sweep", str(file), "--part", "x")[2]
    assert "from 0 to 1" in nqm_fast("sweep", str(file), "--part", "2/2")[2]


def test_points_algorithms_and_listed_problems(file):
    file.write_text(
        "what = 'steps'\ntarget = 0.1\n"
        "batch_size = { kind = 'Constant', value = 8 }\n"
        "[problem]\nh = [1.0, 0.5]\n[setting]\nkind = 'SGD'\nema = 0.5\n"
        "[[point]]\nlr = 0.1\n[[point]]\nlr = { kind = 'Cosine', peak = 1.0, steps = 50 }\n"
    )
    wanted = sweep_config.load(file, [])
    assert wanted.common["problem"].dim == 2
    assert wanted.common["algorithm"] is nqm.SGD
    found = nqm.sweep(wanted.what, wanted.grid, executor=1, **wanted.common)
    alone = [
        nqm.steps_to_target(nqm.Problem([1.0, 0.5]), nqm.SGD(lr, ema=0.5), 8, 0.1)
        for lr in (0.1, nqm.schedules.Cosine(1.0, 50))
    ]
    assert found.steps.values.tolist() == alone


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_keep_what_is_done(nqm_fast, file, here, number, status):
    file.write_text(
        "what = 'simulate'\nout = 'out.h5'\nsteps = 4000\nbatch_size = 8\nrecord = [4000]\n"
        "lr = 0.1\nproblem.dim = 10000\ngrid.seed = { start = 0, stop = 199, num = 200 }\n"
    )
    process = subprocess.Popen(
        command("sweep", str(file), "--workers", "1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    end = time.monotonic() + 60
    while not list(here.glob("out.h5.parts/*.rows")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert not list(here.glob("*.lock"))
    assert "out.h5.parts has what is done: the same command goes on" in err
    assert not (here / "out.h5").exists()
    assert len(list(here.glob("out.h5.parts/*.rows"))) >= 1


# -- tables and figures ----------------------------------------------------------------------


def data(**coords):
    shape = [len(x) for x in coords.values()]
    values = np.arange(np.prod(shape), dtype=float).reshape(shape) + 1.0
    return xarray.Dataset({"steps": (tuple(coords), values)}, coords)


def test_a_table_has_a_row_for_each_point():
    found = data(lr=[0.1, 0.2], name=["a", "b"])
    found.steps[1, 1], found.steps[0, 1] = np.inf, np.nan
    assert table_rows(found) == [
        {"lr": 0.1, "name": "a", "steps": 1.0},
        {"lr": 0.1, "name": "b", "steps": ""},
        {"lr": 0.2, "name": "a", "steps": 3.0},
        {"lr": 0.2, "name": "b", "steps": None},
    ]


def test_the_axis_that_varies_most_is_drawn():
    chart = _sweep.chart(data(ema=[0.5, 0.7], lr=[0.3, 0.1, 0.2], kind=["a"]))
    assert chart.x == "lr"
    assert [curve.name for curve in chart.curves] == ["ema = 0.5", "ema = 0.7"]
    assert chart.curves[0].x.tolist() == [0.1, 0.2, 0.3]
    assert chart.curves[0].y.tolist() == [2.0, 3.0, 1.0]


def test_seeds_are_drawn_as_their_mean():
    chart = _sweep.chart(data(lr=[0.1, 0.2], seed=[1, 2, 3]))
    (curve,) = chart.curves
    assert curve.y.tolist() == [2.0, 5.0]
    assert curve.spread.tolist() == [1.0, 1.0]
    (curve,) = _sweep.chart(data(seed=[1, 2, 3])).curves
    assert curve.y.tolist() == [1.0, 2.0, 3.0]


def test_a_sweep_without_numbers_cannot_be_drawn():
    with pytest.raises(nqm.InputError, match="no axis along which numbers vary"):
        _sweep.chart(data(kind=["a", "b"]))
