"""Errors of the disk, and signals while files are written, lose nothing."""

import os
import resource
import signal

import pytest
from helpers import assert_same, long_run, python, simulate_to, slow_where

import nqm_fast as nqm
from nqm_fast.store import checkpoints, file_recorder, writing
from nqm_fast.store.files import Files


def limited(path, size, action="start", **expected):
    """Run where files may have so many bytes; gives what the process says of it."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return python(*long_run(action, path), limit=limit, NQM_KILL_AT="0", **expected).stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same run where there is room."""
    path = tmp_path_factory.mktemp("whole") / "run.h5"
    limited(path, 10**9)
    return nqm.open_run(path)


SIZES = [2_000, 20_000, 40_000, 60_000, 90_000, 120_000]


@pytest.mark.parametrize(
    "size",
    slow_where(
        lambda size: size not in (20_000, 60_000), SIZES, lambda size: size in (40_000, 90_000)
    ),
)
def test_no_room(whole, path, size):
    """Wherever the disk ends, there is a clear error, no crash, and the run can be resumed."""
    said = limited(path, size, status=1)  # a traceback, as of any exception in a script
    last = said.splitlines()[-1]
    assert last.startswith("OSError: [Errno 27] File too large: ")
    begun = size > 20_000
    assert path.exists() == begun
    assert ("out must be a file that can be written" in last) != begun
    if begun:
        assert "the run was stopped; mend that, then go on with: nqm-fast resume" in last
        limited(path, 10**9, "resume")
        assert_same(nqm.open_run(path), whole)


def test_a_file_that_vanishes(path, monkeypatch, every_step):
    usual = file_recorder.FileRecorder.event

    def event(self, standing):
        if standing.records == 30:
            path.unlink()
        usual(self, standing)

    monkeypatch.setattr(file_recorder.FileRecorder, "event", event)
    with pytest.raises(FileNotFoundError, match="the run has no file to go on with") as error:
        simulate_to(path, record=1, checkpoint_every=0)
    assert error.value.filename == str(path)
    assert checkpoints.read(Files(path).checkpoint)[0]["records"] == 29


def test_a_folder_that_becomes_read_only(path, monkeypatch, every_step, undisturbed):
    """When nothing can be renamed any more, the run is resumed from the checkpoint before."""
    usual = os.replace

    def replace(source, target):
        if str(target).endswith(".checkpoint") and allowed.pop() == "no more":
            raise PermissionError(13, "Permission denied", str(target))
        usual(source, target)

    allowed = ["no more"] + ["yes"] * 20
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(PermissionError, match="Permission denied: the run was stopped"):
        simulate_to(path, record=1, checkpoint_every=0)
    monkeypatch.setattr(os, "replace", usual)
    assert_same(nqm.resume(path), undisturbed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(path):
    path.parent.chmod(0o500)
    with pytest.raises(nqm.InputError, match="is in a folder that cannot be written to"):
        simulate_to(path)


@pytest.mark.parametrize("which", range(1, 40, 3))
@pytest.mark.usefixtures("every_step", "default_ctrl_c")
def test_a_second_signal_while_a_file_is_written(path, monkeypatch, which, undisturbed):
    """The second signal waits for the end of the writing, wherever it comes."""
    usual = writing.Output.write
    count = [0]

    def write(self, content):
        count[0] += 1
        if count[0] == which:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return usual(self, content)

    monkeypatch.setattr(writing.Output, "write", write)
    try:
        simulate_to(path, record=1)
    except KeyboardInterrupt:
        assert count[0] >= which
    finally:
        monkeypatch.setattr(writing.Output, "write", usual)
    assert nqm.open_run(path).status in ("killed", "interrupted", "finished")
    assert_same(nqm.resume(path), undisturbed)


LONGER = "import nqm_fast as nqm, sys; nqm.resume(sys.argv[1], steps=400)"
MORE_REPLICAS = "import nqm_fast as nqm, sys; nqm.resume(sys.argv[1], replicas=5)"
MERGED = "import nqm_fast as nqm, sys; nqm.merge(sys.argv[2:], sys.argv[1])"


def said_without_room(code, paths, size):
    """The last line of a program whose files may have so many bytes."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return python("-c", code, *paths, limit=limit, status=1).stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "was"),
    [(LONGER, "the run is as it was"), (MORE_REPLICAS, "no replicas were added")],
    ids=["longer", "more replicas"],
)
def test_no_room_to_extend(code, was, path):
    """The run stays as it was where there is no room for a longer one, and what to do is said."""
    run = simulate_to(path, steps=300, record=1, replicas=4)
    before = path.read_bytes()
    said = said_without_room(code, [path], len(before))
    assert said.startswith("OSError: [Errno 27] File too large: ")
    assert f"{was}; mend that, then ask again: '{path}'" in said
    assert path.read_bytes() == before
    assert not Files(path).part.exists()
    assert_same(nqm.open_run(path), run)


def test_no_room_to_merge(tmp_path):
    """The shards stay as they were, and nothing is left of the file that they were to become."""
    problem, out = nqm.Problem.power_law(200), tmp_path / "run.h5"
    paths = [tmp_path / "low.h5", tmp_path / "high.h5"]
    for shard, ends in zip(paths, [(0, 128), (128, 200)], strict=True):
        nqm.simulate(
            problem, nqm.SGD(0.1), 8, 300, coordinates=ends, record=1, out=shard, progress=False
        )
    size = paths[0].stat().st_size
    said = said_without_room(MERGED, [out, *paths], size // 2)
    assert said.startswith("OSError: [Errno 27] File too large: the shards are as they were; mend")
    assert sorted(tmp_path.iterdir()) == sorted(paths)
