"""What is done is on disk, and not done again: after any kill the same call goes on."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from deadly import Deadly, Watched, entries
from helpers import InProcess

import nqm_fast as nqm
from nqm_fast import InputError
from nqm_fast.machine import executors
from nqm_fast.store.files import Files, locked
from nqm_fast.sweeps import folder, grouping, plan, session
from nqm_fast.sweeps.session import SweepWarning

xarray = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")

RATES = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7]


@pytest.fixture
def alone():
    problem = nqm.Problem.power_law(20)
    return [nqm.expected_risk(problem, nqm.SGD(lr), 8, 30) for lr in RATES]


@pytest.fixture
def tasks_of_one_point(monkeypatch):
    monkeypatch.setattr(grouping, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(grouping, "TASK_SECONDS", 0.0)


def sweep(out, executor=None, **changes):
    common = {"dim": 20, "batch_size": 8, "steps": 30} | changes
    return nqm.sweep("risk", {"lr": RATES}, executor=executor or InProcess(), out=out, **common)


def done(out):
    """Files of tasks that are done."""
    return sorted(path.name for path in folder.folder_of(out).glob("*.rows"))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# -- the file --------------------------------------------------------------------------------


def test_a_file_has_all_and_is_not_made_again(tmp_path, alone):
    out = tmp_path / "sweep.h5"
    found = sweep(out)
    assert os.listdir(tmp_path) == ["sweep.h5"]
    with xarray.open_dataset(out, engine="h5netcdf") as stored:
        assert stored.identical(found)
        assert stored.risk.values.tolist() == alone
        assert stored.attrs["arguments"] == "dim = 20, batch_size = 8, steps = 30"
    before = out.stat()
    assert sweep(out, executor=1).identical(found)
    assert out.stat() == before


def test_a_sweep_is_no_run(tmp_path):
    out = tmp_path / "sweep.h5"
    sweep(out)
    with pytest.raises(InputError, match="is the file of a sweep, and no run"):
        nqm.open_run(out)


def test_words_and_large_seeds_in_a_file(tmp_path):
    grid = {"data": ["normal", "uniform"], "seed": [1, 2**64 - 1], "lr": [0.1]}
    common = {"dim": 5, "batch_size": 8, "steps": 3, "sampling": "per-sample"}
    found = nqm.sweep("simulate", grid, executor=InProcess(), out=tmp_path / "s.h5", **common)
    with xarray.open_dataset(tmp_path / "s.h5", engine="h5netcdf") as stored:
        assert stored.data.values.tolist() == ["normal", "uniform"]
        assert stored.seed.values.tolist() == [1, 2**64 - 1]
        assert np.array_equal(stored.risk, found.risk)


@pytest.mark.parametrize("change", [{"steps": 31}, {"dim": 21}, {"momentum": 0.5}])
def test_a_file_of_another_sweep_is_refused(tmp_path, change):
    out = tmp_path / "sweep.h5"
    sweep(out)
    with pytest.raises(InputError, match=r"sweep.h5' is another sweep, whose grid or arguments"):
        sweep(out, **change)


def test_a_file_that_is_no_sweep_is_refused(tmp_path):
    out = tmp_path / "sweep.h5"
    out.write_text("something else")
    with pytest.raises(InputError, match="cannot be read"):
        sweep(out)
    out.unlink()
    xarray.Dataset({"a": 1}).to_netcdf(out, engine="h5netcdf")
    with pytest.raises(InputError, match="is not the file of a sweep"):
        sweep(out)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder: give the name of a file"):
        sweep(tmp_path)
    with pytest.raises(InputError, match="is in a folder that does not exist"):
        sweep(tmp_path / "none" / "sweep.h5")
    assert os.listdir(tmp_path) == []


def test_a_wrong_executor_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="executor must be a whole number >= 1, not -1"):
        sweep(tmp_path / "sweep.h5", executor=-1)
    assert os.listdir(tmp_path) == []


# -- unfinished sweeps -----------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path, tasks_of_one_point, monkeypatch):
    """The file of a sweep that was interrupted after two tasks."""
    out = tmp_path / "sweep.h5"
    note = session._Session._note
    count = []

    def stop(*arguments):
        note(*arguments)
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session._Session, "_note", stop)
        patch.setattr(executors, "IN_FLIGHT", 2)
        with pytest.raises(KeyboardInterrupt):
            sweep(out)
    assert 2 <= len(done(out)) < len(RATES)
    return out


def test_an_interrupted_sweep_goes_on(begun, alone, monkeypatch):
    before = len(done(begun))
    solved = []
    note = session._Session._note
    monkeypatch.setattr(
        session._Session, "_note", lambda *given: (solved.append(given[1].points), note(*given))
    )
    assert sweep(begun).risk.values.tolist() == alone
    assert len(solved) == len(RATES) - before
    assert not folder.folder_of(begun).exists()


def test_a_folder_of_another_sweep_is_refused(begun):
    with pytest.raises(InputError, match=r"sweep.h5.parts has the files of another sweep"):
        sweep(begun, steps=31)


def test_a_folder_of_another_version_is_refused(begun, monkeypatch):
    monkeypatch.setattr(folder, "package_version", lambda: "0.0.9")
    said = rf"was begun with nqm-fast {nqm.__version__} .* here is 0.0.9: go on"
    with pytest.raises(InputError, match=said):
        sweep(begun)


@pytest.mark.parametrize("damage", [lambda data: b"x" + data[1:], lambda data: data[:-1]])
def test_a_damaged_file_of_a_task_is_refused(begun, damage):
    path = folder.folder_of(begun) / done(begun)[0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="is damaged, or of another sweep: remove it"):
        sweep(begun)
    path.unlink()
    assert np.isfinite(sweep(begun).risk).all()


def test_a_worker_refuses_the_files_of_another_grid(begun):
    parts = folder.folder_of(begun)
    other = plan.as_plan("risk", {"lr": RATES}, {"dim": 20, "batch_size": 8, "steps": 31})
    with pytest.raises(InputError, match="has the files of another sweep"):
        folder.load_plan(parts, other.digest)
    with pytest.raises(InputError, match="must be on a file system that all workers share"):
        folder.load_plan(parts / "elsewhere", other.digest)


def test_only_one_process_at_a_time(begun):
    with locked(Files(begun)), pytest.raises(InputError, match="is being written by"):
        sweep(begun)


# -- kills -----------------------------------------------------------------------------------


def test_the_driver_is_killed(tmp_path, tasks_of_one_point, alone):
    out, diary = tmp_path / "sweep.h5", tmp_path / "diary"
    script = tmp_path / "script.py"
    script.write_text(
        "import nqm_fast as nqm\n"
        "from deadly import Watched\n"
        "from nqm_fast.sweeps import grouping\n"
        "grouping.LEAST_SECONDS = grouping.TASK_SECONDS = 0.0\n"
        f"nqm.sweep('risk', {{'lr': {RATES}}}, executor=1, out={str(out)!r}, algorithm=Watched,\n"
        f"    diary={str(diary)!r}, seconds=0.2, dim=20, batch_size=8, steps=30)\n"
    )
    tests = os.path.dirname(os.path.dirname(__file__))
    driver = subprocess.Popen([sys.executable, script], env=os.environ | {"PYTHONPATH": tests})
    try:
        wait_for(lambda: len(done(out)) >= 2)
    finally:
        driver.kill()
        driver.wait()
    _, worker = entries(diary)[-1]

    def has_ended():
        try:
            with open(f"/proc/{worker}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_for(has_ended)
    kept = done(out)
    assert 2 <= len(kept) < len(RATES)
    before = {lr for lr, _ in entries(diary)[: len(kept)]}
    found = sweep(out, algorithm=Watched, diary=str(diary), seconds=0.2)
    assert found.risk.values.tolist() == alone
    assert not before & {lr for lr, pid in entries(diary) if pid != worker}


def test_a_worker_is_killed(tmp_path, alone):
    """The task is tried again."""
    survived = str(tmp_path / "survived")
    found = sweep(tmp_path / "sweep.h5", executor=2, algorithm=Deadly, survived=survived)
    assert os.path.exists(survived)
    assert found.risk.values.tolist() == alone


@pytest.mark.slow
def test_points_that_always_kill_are_reported_and_the_others_done(tmp_path, alone):
    out = tmp_path / "sweep.h5"
    with pytest.warns(
        SweepWarning, match=r"2 points of 6 failed; lr = 0.6: WorkerError: .*signal 9"
    ):
        found = sweep(out, executor=2, algorithm=Deadly)
    assert found.risk.values[:4].tolist() == alone[:4]
    assert np.isnan(found.risk[4:]).all()
    assert "by signal 9" in str(found.error[5].values)
    with xarray.open_dataset(out, engine="h5netcdf") as stored:
        assert not stored.attrs["complete"]
        assert stored.error[0] == ""
    assert len(done(out)) >= 1  # What is done stays there, to go on with.


# -- parts -----------------------------------------------------------------------------------


def test_parts_by_hand_are_merged(tmp_path, tasks_of_one_point, alone):
    out = tmp_path / "sweep.h5"
    common = {"dim": 20, "batch_size": 8, "steps": 30}
    finite = []
    for part in [(0, 3), (2, 3)]:
        found = nqm.sweep("risk", {"lr": RATES}, executor=InProcess(), out=out, part=part, **common)
        finite.append(int(np.isfinite(found.risk).sum()))
    assert finite == [2, 4]
    assert not out.exists()
    assert len(done(out)) == 4
    assert sweep(out).risk.values.tolist() == alone
    assert os.listdir(tmp_path) == ["sweep.h5"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (1, r"part must be \(k, n\)"),
        ((2, 2), r"part\[0\] must be a whole number from 0 to 1"),
        ((0, 0), r"part\[1\] must be a whole number >= 1"),
    ],
)
def test_parts_that_are_none(tmp_path, part, message):
    with pytest.raises(InputError, match=message):
        nqm.sweep(
            "risk", {"lr": [0.1]}, part=part, out=tmp_path / "s.h5", dim=5, batch_size=8, steps=1
        )


def test_a_part_needs_a_file():
    with pytest.raises(InputError, match="part needs out"):
        nqm.sweep("risk", {"lr": [0.1]}, part=(0, 2), dim=5, batch_size=8, steps=1)
