"""Files in their world: locks, odd names, other folders, dates, and systems unlike this one."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers import assert_same, simulate_to, stopped_at_the_first_chunk

import nqm_fast as nqm
from nqm_fast.store import file_recorder, header
from nqm_fast.store.files import Files, is_held, locked, resume_command

# -- locks: who holds one, lives ---------------------------------------------------------


@contextmanager
def locked_elsewhere(path):
    """Another process holds the lock of a run."""
    code = (
        "import sys; from nqm_fast.store.files import *\n"
        "with locked(Files(sys.argv[1])): print('mine', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"mine\n"
        yield
        other.kill()


def test_a_run_lives_while_its_lock_is_held(broken_off, monkeypatch):
    """Whoever looks: processes that cannot be seen, other hosts and clocks do not matter."""
    assert nqm.open_run(broken_off).status == "killed"
    monkeypatch.setattr(header, "psutil", None)
    with locked_elsewhere(broken_off):
        assert nqm.open_run(broken_off).status == "running"
    assert nqm.open_run(broken_off).status == "killed"


def test_looking_at_a_lock_disturbs_nobody(path):
    files = Files(path)
    assert not is_held(files.lock)
    assert not files.lock.exists()
    with open(files.lock, "w") as file:  # one who looks
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not is_held(files.lock)
    with locked(files):
        assert is_held(files.lock)
    assert not files.lock.exists()


@pytest.mark.mostly_slow(1)
@pytest.mark.parametrize(
    "number",
    [
        errno.ENOLCK,
        errno.EOPNOTSUPP,
        errno.EIO,
        errno.ENOSYS,
        # Held locks are refused with these, and so are all of them on some file systems.
        errno.EACCES,
        errno.EAGAIN,
    ],
)
def test_a_file_system_without_locks(path, broken_off, monkeypatch, number):
    """One sentence with the name of the file; nothing is begun, and nothing left."""

    def flock(*_):
        raise OSError(number, os.strerror(number))

    before = sorted(os.listdir(path.parent))
    monkeypatch.setattr(fcntl, "flock", flock)
    for action in (nqm.resume, lambda p: simulate_to(p.with_name("new.h5"))):
        with pytest.raises(OSError, match="cannot be locked against other processes") as error:
            action(path)
        assert error.value.errno == number
        assert error.value.filename in (str(path), str(path.with_name("new.h5")))
    assert sorted(os.listdir(path.parent)) == before
    assert nqm.open_run(path).steps.size == 40  # and it can be read


def test_a_lock_that_is_no_file(path, broken_off):
    Files(path).lock.mkdir()
    with pytest.raises(OSError, match="cannot be locked") as error:
        nqm.resume(path)
    assert error.value.filename == str(path)
    assert Files(path).lock.is_dir()


@pytest.mark.parametrize("folder", ["/proc", "/sys"])
def test_a_folder_in_which_no_file_can_be_made(folder):
    if not os.path.isdir(folder):
        pytest.skip("this system has none")
    files = Files(f"{folder}/run.h5")
    with pytest.raises(OSError, match="its folder cannot be written to") as error, locked(files):
        pass
    assert error.value.filename == str(files.given)


def test_a_thread_of_this_process_is_no_other_process(path):
    held, done = threading.Event(), threading.Event()

    def hold():
        with locked(Files(path)):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with pytest.raises(nqm.InputError, match="is being written by another thread of this process"):
        simulate_to(path)
    done.set()
    thread.join()
    assert simulate_to(path).status == "finished"


def test_a_lock_that_cannot_be_released_costs_nothing(path, monkeypatch):
    usual = fcntl.flock

    def flock(handle, operation):
        if operation == fcntl.LOCK_UN:
            raise OSError(errno.EIO, "Input/output error")
        usual(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert simulate_to(path).status == "finished"
    assert os.listdir(path.parent) == [path.name]


def test_a_refusal_says_how_to_go_on(broken_off):
    command = f"exists, a run that is killed: go on with: nqm-fast resume {broken_off}, or choose"
    with pytest.raises(nqm.InputError, match=command):
        simulate_to(broken_off)


# -- deleting what is open ---------------------------------------------------------------


def open_files():
    """The files that this process has open."""
    for handle in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{handle}")
        except OSError:
            continue


def test_nothing_that_is_open_is_deleted_or_replaced(broken_off, undisturbed, monkeypatch):
    """Windows refuses that, and so does everything here; the run is resumed and finished."""
    replace, unlink = os.replace, os.unlink

    def refusing(path):
        if str(path) in open_files():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def replace_closed(source, target):
        refusing(source)
        refusing(target)
        replace(source, target)

    def unlink_closed(path, *arguments, **options):
        refusing(path)
        unlink(path, *arguments, **options)

    monkeypatch.setattr(os, "replace", replace_closed)
    monkeypatch.setattr(os, "unlink", unlink_closed)
    assert_same(nqm.resume(broken_off), undisturbed)
    assert os.listdir(broken_off.parent) == [broken_off.name]
    assert simulate_to(broken_off, overwrite=True).status == "finished"
    assert os.listdir(broken_off.parent) == [broken_off.name]


# -- recognised by device, number and content --------------------------------------------


def at_record(monkeypatch, number, action):
    """Do something when a run has so many records."""
    usual = file_recorder.FileRecorder.event

    def event(self, progress):
        if progress.records == number:
            action()
        usual(self, progress)

    monkeypatch.setattr(file_recorder.FileRecorder, "event", event)


def add_an_attribute(path):
    with h5py.File(path, "r+") as file:
        file.attrs["seen"] = "by me"


@pytest.mark.parametrize("action", [lambda p: os.utime(p, (1e9, 2e9)), add_an_attribute])
def test_dates_and_attributes_do_not_matter(path, monkeypatch, every_step, undisturbed, action):
    """The first file of a run is touched while the run goes on in a continuation."""
    with monkeypatch.context() as context:
        stopped_at_the_first_chunk(context)
        simulate_to(path, record=1)
    at_record(monkeypatch, 30, lambda: action(path))
    assert_same(nqm.resume(path), undisturbed)
    assert_same(nqm.open_run(path), undisturbed)


@pytest.mark.parametrize("resumed", [False, True])
def test_another_content_in_the_same_file_is_another_file(
    path, tmp_path, monkeypatch, every_step, resumed
):
    """Its device and number are those of the run."""
    other = tmp_path / "other" / "run.h5"
    other.parent.mkdir()
    simulate_to(other, seed=4)
    if resumed:
        with monkeypatch.context() as context:
            stopped_at_the_first_chunk(context)
            simulate_to(path, record=1)
    at_record(monkeypatch, 30, lambda: path.write_bytes(other.read_bytes()))
    with pytest.raises(FileNotFoundError, match="another file is in its place: the run has no"):
        nqm.resume(path) if resumed else simulate_to(path, record=1)
    assert path.read_bytes() == other.read_bytes()


# -- what others add to a finished file --------------------------------------------------


def test_what_others_add_is_no_damage(path):
    run = simulate_to(path, bands=2, keep_state=True, problem=nqm.Problem(np.linspace(0.1, 1, 9)))
    for _ in range(2):
        with h5py.File(path, "r+") as file:
            file.attrs["note"] = "seen"
            file["risk"].attrs["colour"] = "red"
            file.require_dataset("mine", (1000,), float)[:] = 1.0
        assert_same(nqm.open_run(path), run)
        assert_same(nqm.resume(path), run)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    "name", ["risk", "step", "state_1", "wall_time", "configuration/problem.h"]
)
def test_what_others_change_is_damage(path, name):
    simulate_to(path, keep_state=True, problem=nqm.Problem(np.linspace(0.1, 1, 9)))
    with h5py.File(path, "r+") as file:
        array = file[name]
        place = (-1,) * array.ndim
        array[place] = np.nextafter(array[place], 9) if array.dtype.kind == "f" else 59
    with pytest.raises(nqm.InputError, match="is damaged: its arrays do not match their digest"):
        nqm.open_run(path)


@pytest.mark.usefixtures("quickly")
def test_bits_that_flip_in_what_is_read_are_damage_also_after_an_addition(path):
    run = simulate_to(path)
    add_an_attribute(path)
    whole = path.read_bytes()
    with h5py.File(path) as file:
        places = [
            range(info.byte_offset, info.byte_offset + info.size)
            for name in ("risk", "step", "wall_time", "diverged_at")
            for chunk in [file[name].id.get_chunk_info(0)]
            for info in [chunk]
        ]
        text = whole.index(json.dumps("run_id").encode())
    for place in [places[0][3], *(chunk[-1] for chunk in places), text + 15]:
        content = bytearray(whole)
        content[place] ^= 4
        path.write_bytes(content)
        with pytest.raises(nqm.InputError, match="is damaged"):
            nqm.open_run(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(nqm.InputError, match="is damaged"):
        nqm.open_run(path)
    path.write_bytes(whole)
    assert_same(nqm.open_run(path), run)


# -- names, folders, and what is no file -------------------------------------------------


def test_a_relative_name_is_absolute_from_the_start(tmp_path, monkeypatch, every_step, undisturbed):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as context:
        at_record(context, 20, lambda: os.chdir(elsewhere))
        run = simulate_to("run.h5", record=1, checkpoint_every=0)
    assert_same(run, undisturbed)
    assert os.listdir(elsewhere) == []
    assert_same(nqm.open_run(tmp_path / "run.h5"), undisturbed)
    with monkeypatch.context() as context:
        stopped_at_the_first_chunk(context)
        message = simulate_to("two.h5", record=1).message
    assert message.endswith("go on with: nqm-fast resume two.h5")
    os.chdir(elsewhere)
    assert nqm.resume("two.h5" if Path("two.h5").exists() else "../two.h5").status == "finished"


@pytest.mark.mostly_slow(1)
@pytest.mark.parametrize(
    "name", [b"r\xff\xe9n.h5", "Länge ∞.h5".encode(), b"a\nb\x1b'.h5", b"-x.h5"]
)
def test_any_name_is_good(tmp_path, monkeypatch, every_step, undisturbed, name):
    path = tmp_path / os.fsdecode(name)
    with monkeypatch.context() as context:
        stopped_at_the_first_chunk(context)
        run = simulate_to(path, record=1)
    assert run.status == "interrupted"
    assert run.message.isprintable()
    command = resume_command(path).removeprefix("nqm-fast resume ")
    said = subprocess.run(["bash", "-c", f"printf %s {command}"], capture_output=True).stdout
    assert said == os.fsencode(path)
    assert_same(nqm.resume(path), undisturbed)
    assert_same(nqm.open_run(path), undisturbed)


@pytest.mark.usefixtures("patience")
def test_what_is_no_file_is_refused(tmp_path):
    """At once: opening a FIFO would wait for somebody to write to it."""
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to(fifo)
    for path, kind in ((fifo, "a FIFO"), (link, "a FIFO"), (Path("/dev/null"), "a device")):
        with pytest.raises(nqm.InputError, match=f"out = .* is {kind}: give the name of a file"):
            simulate_to(path, overwrite=True)
        for read in (nqm.open_run, nqm.resume):
            with pytest.raises(nqm.InputError, match=f"path = .* is {kind}"):
                read(path)
    assert sorted(os.listdir(tmp_path)) == ["fifo", "link"]


@pytest.mark.usefixtures("patience")
def test_a_neighbour_that_is_no_file_is_left_alone(path, broken_off, undisturbed):
    os.mkfifo(path.with_name("run.0002.h5"))
    assert_same(nqm.resume(path), undisturbed)
    assert path.with_name("run.0002.h5").is_fifo()


def test_links_that_lead_round_are_refused(path):
    path.symlink_to(path)
    with pytest.raises(nqm.InputError, match="is a link that leads to itself"):
        simulate_to(path)


def test_a_name_must_leave_room_for_those_beside_it(tmp_path):
    for length, status in ((235, "finished"), (236, None)):
        path = tmp_path / ("x" * length)
        if status is not None:
            assert simulate_to(path).status == status
            continue
        with pytest.raises(nqm.InputError, match="too long a name: at most 235 bytes leave room"):
            simulate_to(path)
    assert len(os.listdir(tmp_path)) == 1
    for action in (simulate_to, nqm.open_run, nqm.Problem([1.0]).save):
        with pytest.raises(nqm.InputError, match="must be a shorter name than 'xxx"):
            action("x" * 300)


def test_files_that_cannot_be_removed_cost_nothing(broken_off, undisturbed, monkeypatch):
    """The run is whole, and the next resumption removes them."""

    def unlink(path, **_):
        if os.path.lexists(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    with monkeypatch.context() as context:
        context.setattr(os, "unlink", unlink)
        assert_same(nqm.resume(broken_off), undisturbed)
    assert len(os.listdir(broken_off.parent)) > 1
    assert_same(nqm.open_run(broken_off), undisturbed)
    assert_same(nqm.resume(broken_off), undisturbed)
    assert os.listdir(broken_off.parent) == [broken_off.name]


# -- what a resumption keeps -------------------------------------------------------------


def test_a_resumption_keeps_the_pause_between_checkpoints(path, monkeypatch, every_step):
    seen = []
    usual = file_recorder.FileRecorder.__init__

    def init(self, files, experiment, interval, *rest):
        seen.append(interval)
        usual(self, files, experiment, interval, *rest)

    monkeypatch.setattr(file_recorder.FileRecorder, "__init__", init)
    stopped_at_the_first_chunk(monkeypatch)
    simulate_to(path, record=1, checkpoint_every=7)
    nqm.resume(path)
    nqm.resume(path, checkpoint_every=3)
    nqm.resume(path)
    assert seen == [7, 7, 3, 7]
