"""Files that are foreign, damaged or of other versions are refused, and left as they are."""

import random
import signal

import h5py
import numpy as np
import pytest
from helpers import long_run, python, simulate_to

import nqm_fast as nqm
from nqm_fast.store.files import Files
from nqm_fast.store.snapshot import lookup3


def refused(path):
    """The one sentence with which reading, resuming and overwriting are refused."""
    before = path.read_bytes()
    with pytest.raises(nqm.InputError) as error:
        nqm.open_run(path)
    said = str(error.value)
    assert "\n" not in said
    assert path.name in said
    for action in (nqm.resume, simulate_to, lambda p: simulate_to(p, overwrite=True)):
        with pytest.raises(nqm.InputError):
            action(path)
    assert path.read_bytes() == before
    assert [x.name for x in path.parent.iterdir()] == [path.name]
    return said


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
        ("VERSION", 5, "has schema version 5, and this version of nqm_fast reads up to 4"),
        ("STREAM", 7, "made with version 7 of the noise, and this version of nqm_fast has"),
    ],
)
def test_files_of_other_versions_are_refused(path, monkeypatch, name, version, said):
    with monkeypatch.context() as context:
        context.setattr(f"nqm_fast.store.header.{name}", version)
        simulate_to(path)
    assert said in refused(path)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("what", ["cut", "flipped"])
def test_damaged_files_are_refused(path, what):
    """Files are cut off anywhere, or one bit is flipped anywhere."""
    simulate_to(path, problem=nqm.Problem(np.linspace(0.1, 1.0, 50)), bands=2, keep_state=True)
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
    python(*long_run("start", path), status=-signal.SIGKILL, NQM_KILL_AT="120")
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


def test_the_checksum_of_metadata():
    """The known answer of Jenkins' lookup3.c."""
    assert lookup3(b"Four score and seven years ago") == 0x17770551


def test_paths_that_cannot_be(tmp_path):
    with pytest.raises(nqm.InputError, match="is in a folder that does not exist"):
        simulate_to(tmp_path / "no" / "run.h5")
    with pytest.raises(nqm.InputError, match="is a folder"):
        simulate_to(tmp_path)
    for read in (nqm.open_run, nqm.resume):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "no.h5")
        with pytest.raises(nqm.InputError, match="is a folder, not a run"):
            read(tmp_path)
    for name in ("", ".", 3, b"run.h5", "a\0b"):
        with pytest.raises(nqm.InputError, match="out must be the name of a file, not"):
            simulate_to(name)
        with pytest.raises(nqm.InputError, match="path must be the name of a file, not"):
            nqm.open_run(name)
    with pytest.raises(nqm.InputError, match="checkpoint_every must be >= 0, not -1"):
        simulate_to(tmp_path / "run.h5", checkpoint_every=-1)
