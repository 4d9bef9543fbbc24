"""Runs in files: what they hold, who may write them, what is refused, and what the disk does."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from nqm_fast.kernels import load_backend, present_backends

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.algorithms.base import Algorithm
from nqm_fast.problem import PowerLaw
from nqm_fast.simulation import chunking, controller
from nqm_fast.store import checkpoints, file_recorder, writing
from nqm_fast.store.files import Files, sign
from nqm_fast.store.snapshot import lookup3

HERE = Path(__file__).parent
PROBLEM = nqm.Problem.power_law(100)
SETTINGS = [nqm.SGD(0.3), nqm.SGD(0.1, momentum=0.9)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


def simulate(path, algorithm=SETTINGS, batch_size=8, steps=60, problem=PROBLEM, **more):
    return nqm.simulate(problem, algorithm, batch_size, steps, threads=1, out=path, **more)


def assert_same(a, b):
    assert np.array_equal(a.steps, b.steps)
    assert np.array_equal(a.risk, b.risk)
    assert np.array_equal(a.diverged_at, b.diverged_at)
    assert a.status == b.status
    assert a.message == b.message
    for x, y in ((a.band_risk, b.band_risk), (a.band_edges, b.band_edges)):
        assert (x is None) == (y is None)
        assert x is None or np.array_equal(x, y)
    assert (a.state is None) == (b.state is None)
    if a.state is not None:
        assert all(np.array_equal(x, y) for x, y in zip(a.state, b.state, strict=True))


@pytest.fixture
def every_step(monkeypatch):
    """Kernels return after each step, and all is written then."""
    monkeypatch.setattr(
        chunking.ChunkSizer, "next_stop", lambda sizer, done: min(done + 1, sizer.task.steps)
    )
    monkeypatch.setattr(file_recorder, "GAPS", (0.0, 0.0))
    monkeypatch.setattr(file_recorder, "MOST", 1e9)


@pytest.fixture
def broken_off(monkeypatch, path, every_step):
    """A run whose process was lost at step 40, as it was left."""

    def lost(self, standing):
        if standing.records > 40:
            raise MemoryError
        file_recorder.Recorder.event(self, standing)
        usual(self, standing)

    usual = file_recorder.FileRecorder.event
    with monkeypatch.context() as context:
        context.setattr(file_recorder.FileRecorder, "event", lost)
        with pytest.raises(MemoryError):
            simulate(path, record=1, checkpoint_every=0)
    return path


# -- what is in a file -------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"keep_state": True, "replicas": 3, "bands": 2},
        {"algorithm": nqm.SGD(0.3), "keep_state": True, "replicas": [7, 2]},
        {"record": []},
        {"steps": 0},
        {"algorithm": nqm.SGD(1e9), "keep_state": True, "record": 1},
        {"sampling": "leap"},
        {"sampling": "per-sample", "data": "student-t", "df": 4.5, "seed": 2**64 - 1},
    ],
    ids=str,
)
def test_the_file_gives_the_run_again(path, more):
    run = simulate(path, **more)
    stored = nqm.open_run(path)
    assert_same(stored, run)
    assert np.array_equal(stored.wall_time, run.wall_time)
    assert os.listdir(path.parent) == [path.name]
    more = {"batch_size": 8, "steps": 60, "algorithm": SETTINGS} | more
    assert_same(stored, nqm.simulate(PROBLEM, **more, threads=1))


def test_xarray_opens_it(path):
    run = simulate(path, replicas=3, bands=[0.05, 0.2, 1.0], keep_state=True)
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert data.risk.dims == ("setting", "replica", "step")
        assert data.band_risk.dims == ("setting", "replica", "step", "band")
        assert np.array_equal(data.risk, run.risk)
        assert np.array_equal(data.step, run.steps)
        assert np.array_equal(data.replica, [0, 1, 2])
        assert np.array_equal(data.state_1, run.state[1])
        assert data.risk.mean("replica").sel(step=60, setting=1) == run.risk[1, :, -1].mean()
        assert data.wall_time.dtype == np.float64
        for variable in data.variables.values():
            assert variable.attrs["units"]
            assert variable.attrs["description"]


def test_chunks_filters_and_scales(path):
    """Of every array; chunks of a quarter to one MiB where an array can grow, or is large."""
    simulate(path, [nqm.SGD([0.1] * 100)], 8, 100, nqm.Problem(np.linspace(0.1, 1, 10**5)),
             replicas=40, bands=3, keep_state=True)  # fmt: skip
    arrays, dimensions = {}, set()

    def look(name, item):
        if isinstance(item, h5py.Dataset):
            assert item.attrs["units"]
            assert item.attrs["description"]
            (dimensions.add if item.dtype == ">f4" else lambda n: arrays.update({n: item}))(name)

    with h5py.File(path) as file:
        file.visititems(look)
        assert {"risk", "band_risk", "wall_time", "configuration/problem.h"} <= set(arrays)
        for name, array in arrays.items():
            assert array.shuffle
            assert (array.compression, array.compression_opts) == ("gzip", 1)
            assert array.fletcher32
            if None in array.maxshape or array.nbytes > 2**18:
                size = np.prod(array.chunks) * array.dtype.itemsize
                assert 2**18 <= size <= 2**20, name
            if not array.is_scale:
                assert all(len(dim) == 1 for dim in array.dims), name


def test_the_attributes_say_what_was_run_where_and_when(path):
    simulate(path, seed=3)
    with h5py.File(path) as file:
        facts = dict(file.attrs)
    assert facts["schema"] == "nqm_fast run"
    assert facts["schema_version"] == 2
    assert facts["seed"] == 3
    assert facts["status"] == "finished"
    assert facts["started"] <= facts["ended"]
    assert facts["ended"].endswith("+00:00")
    configuration = json.loads(facts["configuration"])
    assert configuration["problem"] == {"dim": 100, "exponent": 1.0}
    assert configuration["settings"][1]["algorithm"]["momentum"] == 0.9
    assert json.loads(facts["versions"])["numpy"] == np.__version__
    assert json.loads(facts["host"])["cores"] >= 1
    assert {"compile", "compute", "write"} <= set(json.loads(facts["stats"]))


def test_the_timers():
    stats = nqm.simulate(PROBLEM, nqm.SGD(0.1), 8, 100_000).stats
    assert stats["compute"] > 0
    assert stats["write"] == 0
    assert stats["compile"] >= 0


class Heavy(nqm.SGD):
    """An algorithm of somebody's own."""


class Nameless(schedules.Constant):
    """No dataclass of its own, so that its parameters are not known."""

    value = object()

    def __init__(self):
        pass

    least = 0.0

    def values(self, steps):
        return np.full(steps.shape, 0.1)


IRREGULAR = nqm.Problem(
    np.array([1.0, 0.3]), sigma=[0.5, 2.0], mean0=[1.0, -1.0], var0=np.array([0.1, 0.0])
)


@pytest.mark.parametrize(
    ("algorithm", "batch_size"),
    [
        (nqm.SGD(schedules.Warmup(5, schedules.Cosine(0.3, 40)), ema=0.5), 8),
        (nqm.SGD(np.linspace(0.1, 0.2, 60)), schedules.Piecewise([1, 64], [10, 10])),
        (nqm.SGD(schedules.WarmupStableDecay(0.1, 5, 10, 20)), np.arange(1, 61)),
        (Heavy(schedules.Step(0.3, 0.5, 20)), schedules.Linear(1, 64, 60)),
    ],
)
def test_what_was_run_is_kept_to_the_last_bit(path, algorithm, batch_size):
    run = simulate(path, algorithm, batch_size, problem=IRREGULAR)
    experiment = nqm.open_run(path).experiment
    again, size = experiment.settings[0]
    assert type(again) is type(algorithm)
    assert repr(again) == repr(algorithm)
    assert_same(nqm.simulate(experiment.problem, again, size, 60), run)


def test_what_cannot_be_kept_is_said(path):
    class Opaque(Algorithm):
        lr = schedules.Constant(0.1)

        def recurrence(self, h):
            return nqm.SGD(0.1).recurrence(h)

        def largest_lr(self, h):
            return 1.0

    with pytest.raises(nqm.InputError, match=r"settings\.0\.algorithm cannot be written to a fi"):
        simulate(path, Opaque())
    assert not path.exists()


def test_an_algorithm_that_is_not_defined_here(path):
    simulate(path)
    with h5py.File(path, "r+") as file:
        header = json.loads(bytes(file.attrs["sealed"])[64:])
        header["configuration"] = header["configuration"].replace("SGD", "my.lab:Fancy")
        from nqm_fast.store.layout import seal

        seal(file, header)
    sign(path)
    with pytest.raises(nqm.InputError, match=r"'my.lab:Fancy' \(import my.lab first"):
        nqm.open_run(path)


# -- who may write -----------------------------------------------------------------------


def test_a_second_run_is_refused_and_the_first_is_kept(path):
    run = simulate(path)
    with pytest.raises(nqm.InputError, match="exists, a run that is finished: choose another"):
        simulate(path, steps=10)
    assert_same(nqm.open_run(path), run)
    assert simulate(path, steps=10, overwrite=True).steps[-1] == 10
    assert nqm.open_run(path).steps[-1] == 10


def test_a_run_that_others_write_is_refused(path, broken_off):
    """The lock is the operating system's: it goes with the process that holds it."""
    code = (
        "import sys; from pathlib import Path; from nqm_fast.store.files import *\n"
        "with locked(Files(sys.argv[1])): print('mine', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"mine\n"
        for action in (nqm.resume, lambda p: simulate(p, overwrite=True)):
            with pytest.raises(nqm.InputError, match="is being written by another process"):
                action(path)
        other.kill()
    assert nqm.resume(path).status == "finished"


def test_a_finished_run_is_given_back(path):
    run = simulate(path)
    assert_same(nqm.resume(path), run)


def test_reading_in_the_process_that_writes(path, every_step):
    found = []

    def look():
        while not found or found[-1].status == "running":
            try:
                found.append(nqm.open_run(path))
            except FileNotFoundError:
                continue

    reader = threading.Thread(target=look)
    reader.start()
    run = simulate(path, record=1, steps=200)
    reader.join()
    assert len(found) > 2
    for seen in found:
        assert np.array_equal(seen.risk, run.risk[..., : seen.steps.size])


def test_a_file_that_is_open_elsewhere_in_the_process(path):
    run = simulate(path)
    with h5py.File(path), xarray.open_dataset(path, engine="h5netcdf"):
        assert_same(nqm.open_run(path), run)
        assert simulate(path, steps=5, overwrite=True).status == "finished"


# -- what is lost and found --------------------------------------------------------------


def test_a_run_that_was_broken_off(broken_off):
    stored = nqm.open_run(broken_off)
    assert stored.status == "killed"
    assert "40 of 61 records are there; go on with: nqm-fast resume" in stored.message
    assert_same(nqm.resume(broken_off), nqm.simulate(PROBLEM, SETTINGS, 8, 60, record=1))


@pytest.mark.parametrize("damaged", ["checkpoint", "both", "cut"])
def test_a_damaged_checkpoint_costs_time_only(broken_off, damaged):
    files = Files(broken_off)
    for name in [files.checkpoint, *([files.previous] if damaged == "both" else [])]:
        content = bytearray(name.read_bytes())
        content[len(content) // 2] ^= 1
        name.write_bytes(content[:50] if damaged == "cut" else content)
    assert_same(nqm.resume(broken_off), nqm.simulate(PROBLEM, SETTINGS, 8, 60, record=1))


def test_the_last_two_checkpoints_are_kept(broken_off):
    files = Files(broken_off)
    records = [checkpoints.read(name)[0]["records"] for name in (files.checkpoint, files.previous)]
    assert records == [40, 39]


def test_a_checkpoint_of_another_run_is_not_used(broken_off, tmp_path):
    other = tmp_path / "other.h5"
    simulate(other, seed=9, record=1)
    foreign = Files(other)
    facts, arrays = checkpoints.read(Files(broken_off).checkpoint)
    checkpoints.save(foreign, facts, arrays)
    assert not list(checkpoints.usable(foreign, "another run", 100))
    assert not list(checkpoints.usable(foreign, facts["run_id"], 39))  # records are missing
    assert list(checkpoints.usable(foreign, facts["run_id"], 40))


def test_numbers_that_do_not_come_out_again_are_an_error(broken_off, monkeypatch):
    """As on a machine with another libm, were a power of the curvature in the problem."""
    for name in (Files(broken_off).checkpoint, Files(broken_off).previous):
        name.unlink()
    backend = load_backend(present_backends()[0])
    usual = backend.start
    monkeypatch.setattr(backend, "start", lambda *a: np.nextafter(usual(*a), 1.0))
    before = broken_off.read_bytes()
    with pytest.raises(nqm.InputError, match="give other numbers here than those it holds"):
        nqm.resume(broken_off)
    assert broken_off.read_bytes() == before


def test_a_stop_before_the_run_has_caught_up_loses_nothing(broken_off, monkeypatch):
    """Resumed from its start, as there is no checkpoint, and interrupted at once."""
    for name in Files(broken_off).leftovers():
        name.unlink()
    before = nqm.open_run(broken_off)
    with monkeypatch.context() as context:
        context.setattr(
            controller.Controller, "stopped", property(lambda self: self.signals.waiting)
        )
        run = nqm.resume(broken_off)
    assert run.status == "interrupted"
    for seen in (run, nqm.open_run(broken_off)):
        assert np.array_equal(seen.risk, before.risk)
    assert_same(nqm.resume(broken_off), nqm.simulate(PROBLEM, SETTINGS, 8, 60, record=1))


def test_the_state_is_that_of_the_last_record_or_absent(path, monkeypatch, every_step):
    """Interrupted, resumed, and lost."""
    monkeypatch.setattr(
        controller.Controller, "stopped", property(lambda self: self.signals.waiting)
    )
    simulate(path, record=1, keep_state=True)
    assert nqm.open_run(path).state is not None
    monkeypatch.setattr(file_recorder.FileRecorder, "finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        nqm.resume(path)
    stored = nqm.open_run(path)
    assert stored.steps.size == 3
    assert stored.state is None


@pytest.mark.parametrize("which", range(1, 40, 3))
def test_a_second_signal_while_a_file_is_written(path, monkeypatch, which, every_step):
    """It waits for the end of the writing, wherever in it."""
    usual = writing.Output.write
    count = [0]

    def write(self, content):
        count[0] += 1
        if count[0] == which:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return usual(self, content)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(writing.Output, "write", write)
    try:
        simulate(path, record=1)
    except KeyboardInterrupt:
        assert count[0] >= which
    finally:
        signal.signal(signal.SIGINT, before)
        monkeypatch.setattr(writing.Output, "write", usual)
    assert nqm.open_run(path).status in ("killed", "interrupted", "finished")
    assert_same(nqm.resume(path), nqm.simulate(PROBLEM, SETTINGS, 8, 60, record=1))


# -- neighbours --------------------------------------------------------------------------


def test_files_with_names_like_segments_are_left_alone(broken_off):
    copy, notes = broken_off.with_name("run.2024.h5"), broken_off.with_name("run.0002.h5")
    copy.write_bytes(broken_off.read_bytes())
    notes.write_text("my notes")
    other = broken_off.with_name("run.9999.h5")
    simulate(other, steps=3)
    kept = {file: file.read_bytes() for file in (copy, notes, other)}
    assert nqm.open_run(broken_off).steps.size == 40
    run = nqm.resume(broken_off)
    assert_same(run, nqm.simulate(PROBLEM, SETTINGS, 8, 60, record=1))
    assert {file: file.read_bytes() for file in kept} == kept
    assert_same(nqm.open_run(broken_off), run)


def test_a_file_that_takes_the_place_of_the_run_is_kept(broken_off, monkeypatch):
    usual = file_recorder.FileRecorder.finish

    def finish(self, run):
        broken_off.unlink()
        broken_off.write_text("mine")
        return usual(self, run)

    monkeypatch.setattr(file_recorder.FileRecorder, "finish", finish)
    with pytest.raises(FileNotFoundError, match="another file is in its place: the run has no"):
        nqm.resume(broken_off)
    assert broken_off.read_text() == "mine"


def test_a_link_leads_to_the_file(tmp_path):
    (tmp_path / "scratch").mkdir()
    link, target = tmp_path / "run.h5", tmp_path / "scratch" / "big.h5"
    link.symlink_to(target)
    run = simulate(link)
    assert link.is_symlink()
    assert_same(nqm.open_run(target), run)


def test_a_run_that_cannot_be_leaves_the_old_one(path):
    run = simulate(path)
    huge = nqm.Problem.power_law(2**31)
    with pytest.raises(nqm.InputError, match="GB are available"):
        simulate(path, problem=huge, keep_state=True, replicas=10, overwrite=True)
    with pytest.raises(nqm.InputError, match="cannot be written to a file"):
        simulate(path, Heavy(Nameless()), overwrite=True)
    assert_same(nqm.open_run(path), run)
    assert os.listdir(path.parent) == [path.name]


def test_another_library_of_mathematics_is_noticed(path, monkeypatch, every_step):
    problem = nqm.Problem.power_law(50, 0.7)
    with monkeypatch.context() as context:
        context.setattr(
            controller.Controller, "stopped", property(lambda self: self.signals.waiting)
        )
        simulate(path, problem=problem)
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    usual = PowerLaw.block
    with monkeypatch.context() as context:
        context.setattr(PowerLaw, "block", lambda *a: np.nextafter(usual(*a), 2.0))
        with pytest.raises(nqm.InputError, match="with other last bits than where it was begun"):
            nqm.resume(path)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    assert_same(nqm.resume(path), nqm.simulate(problem, SETTINGS, 8, 60))


# -- what is refused ---------------------------------------------------------------------


def refused(path):
    """The one sentence with which reading, resuming and overwriting are refused."""
    before = path.read_bytes()
    with pytest.raises(nqm.InputError) as error:
        nqm.open_run(path)
    said = str(error.value)
    assert "\n" not in said
    assert path.name in said
    for action in (nqm.resume, simulate, lambda p: simulate(p, overwrite=True)):
        with pytest.raises(nqm.InputError):
            action(path)
    assert path.read_bytes() == before
    assert [x.name for x in path.parent.iterdir()] == [path.name]
    return said


@pytest.fixture
def quickly(monkeypatch):
    """Reading is tried once."""
    monkeypatch.setattr("nqm_fast.store.reading.TRIES", 1)


@pytest.mark.usefixtures("quickly")
def test_foreign_files_are_refused(path):
    path.touch()
    assert "is empty" in refused(path)
    path.write_text("step,risk\n0,1\n")
    assert "is not an HDF5 file" in refused(path)
    with h5py.File(path, "w") as file:
        file["risk"] = np.ones(3)
    assert "was not written by nqm_fast" in refused(path)
    with h5py.File(path, "w", libver="v110") as file:
        file.attrs["sealed"] = np.bytes_(b"x" * 100)
    assert "do not match their digest" in refused(path)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("VERSION", 3, "has schema version 3, and this version of nqm_fast reads up to 2"),
        ("STREAM", 7, "made with version 7 of the noise, and this version of nqm_fast has"),
    ],
)
def test_files_of_other_versions_are_refused(path, monkeypatch, name, version, said):
    with monkeypatch.context() as context:
        context.setattr(f"nqm_fast.store.header.{name}", version)
        simulate(path)
    assert said in refused(path)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("what", ["cut", "flipped"])
def test_damaged_files_are_refused(path, what):
    """Cut off anywhere, or with one bit flipped anywhere."""
    simulate(path, problem=nqm.Problem(np.linspace(0.1, 1.0, 50)), bands=2, keep_state=True)
    whole = path.read_bytes()
    chance = random.Random(what)
    for _ in range(60):
        place = chance.randrange(len(whole))
        content = bytearray(whole)
        if what == "cut":
            del content[place:]
        else:
            content[place] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        refused(path)


@pytest.mark.usefixtures("quickly")
def test_damaged_live_files_are_refused_or_do_not_matter(tmp_path):
    """A file that was left by a killed process has no digest of all its bytes."""
    path = tmp_path / "run.h5"
    more = os.environ | {"NQM_KILL_AT": "120"}
    command = [sys.executable, str(HERE / "long_run.py"), "start", str(path), "steps"]
    subprocess.run(command, env=more, stdout=subprocess.DEVNULL)
    for name in Files(path).leftovers():
        name.unlink()
    good = nqm.open_run(path)
    assert good.status == "killed"
    whole = path.read_bytes()
    assert whole[11] != 0  # marked as being written
    chance = random.Random(0)
    errors = 0
    for _ in range(150):
        place = chance.randrange(len(whole))
        content = bytearray(whole)
        content[place] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        try:
            run = nqm.open_run(path)
        except nqm.InputError:
            errors += 1
        else:
            assert np.array_equal(run.risk, good.risk)
            assert np.array_equal(run.band_risk, good.band_risk)
            assert repr(run.experiment.settings) == repr(good.experiment.settings)
    assert errors > 50


@pytest.mark.parametrize(
    ("data", "hash_"), [(b"Four score and seven years ago", 0x17770551), (b"", 0xDEADBEEF)]
)
def test_the_checksum_of_metadata(data, hash_):
    """Known answers of Jenkins' lookup3.c."""
    if data:
        assert lookup3(data) == hash_


def test_paths_that_cannot_be(tmp_path):
    with pytest.raises(nqm.InputError, match="is in a folder that does not exist"):
        simulate(tmp_path / "no" / "run.h5")
    with pytest.raises(nqm.InputError, match="is a folder"):
        simulate(tmp_path)
    for read in (nqm.open_run, nqm.resume):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "no.h5")
        with pytest.raises(nqm.InputError, match="is a folder, not a run"):
            read(tmp_path)
    for name in ("", ".", 3, b"run.h5", "a\0b"):
        with pytest.raises(nqm.InputError, match="out must be the name of a file, not"):
            simulate(name)
        with pytest.raises(nqm.InputError, match="path must be the name of a file, not"):
            nqm.open_run(name)
    with pytest.raises(nqm.InputError, match="checkpoint_every must be >= 0, not -1"):
        simulate(tmp_path / "run.h5", checkpoint_every=-1)


# -- what the disk does ------------------------------------------------------------------


def limited(path, size, action="start"):
    """Run with files that may have so many bytes; what the process says of it."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    command = [sys.executable, str(HERE / "long_run.py"), action, str(path), "steps"]
    return subprocess.run(
        command,
        env=os.environ | {"NQM_KILL_AT": "0"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )


def test_no_room(tmp_path):
    """Wherever it ends: a clear error, no crash, and the run can be gone on with."""
    whole = tmp_path / "whole.h5"
    assert limited(whole, 10**9).returncode == 0
    expected = nqm.open_run(whole)
    begun = 0
    for k, size in enumerate((2_000, 20_000, 40_000, 60_000, 90_000, 120_000)):
        path = tmp_path / str(k) / "run.h5"
        path.parent.mkdir()
        done = limited(path, size)
        assert done.returncode == 1, done.stderr  # a traceback, as of any exception in a script
        last = done.stderr.splitlines()[-1]
        assert last.startswith("OSError: [Errno 27] File too large: ")
        assert ("out must be a file that can be written" in last) != path.exists()
        if path.exists():
            begun += 1
            assert "the run was stopped; mend that, then go on with: nqm-fast resume" in last
            assert limited(path, 10**9, "resume").returncode == 0
            assert_same(nqm.open_run(path), expected)
    assert 0 < begun < 6


def test_a_file_that_vanishes(path, monkeypatch, every_step):
    usual = file_recorder.FileRecorder.event

    def event(self, standing):
        if standing.records == 30:
            path.unlink()
        usual(self, standing)

    monkeypatch.setattr(file_recorder.FileRecorder, "event", event)
    with pytest.raises(FileNotFoundError, match="the run has no file to go on with") as error:
        simulate(path, record=1, checkpoint_every=0)
    assert error.value.filename == str(path)
    assert checkpoints.read(Files(path).checkpoint)[0]["records"] == 29


def test_a_folder_that_becomes_read_only(path, monkeypatch, every_step):
    """Nothing can be renamed any more: the checkpoint before is what counts."""
    usual = os.replace

    def replace(source, target):
        if str(target).endswith(".checkpoint") and allowed.pop() == "no more":
            raise PermissionError(13, "Permission denied", str(target))
        usual(source, target)

    allowed = ["no more"] + ["yes"] * 20
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(PermissionError, match="Permission denied: the run was stopped"):
        simulate(path, record=1, checkpoint_every=0)
    monkeypatch.setattr(os, "replace", usual)
    assert_same(nqm.resume(path), nqm.simulate(PROBLEM, SETTINGS, 8, 60, record=1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(path):
    path.parent.chmod(0o500)
    with pytest.raises(nqm.InputError, match="is in a folder that cannot be written to"):
        simulate(path)
