"""What is saved is whole or not there, and what was there before stays until it is."""

import os
import resource
import stat

import pytest
from helpers import assert_same_problem, command, python

import nqm_fast as nqm
from nqm_fast.output import saving
from nqm_fast.output.saving import written_beside


def no_room():
    """Files may have a kilobyte."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


SAVING = {
    "problem.npz": "nqm.Problem(np.ones(1000)).save({path!r})",
    "table.csv": "columns.write_csv(Path({path!r}), {{'a': np.arange(1000)}})",
    "picture.png": "output.write_png(Path({path!r}), lambda f, t: f.subplots(), {{}})",
    "picture.svg": "output.write_png(Path({path!r}), lambda f, t: f.subplots(), {{}})",
}


@pytest.mark.parametrize("name", SAVING)
def test_a_full_disk_keeps_the_old_file(tmp_path, name):
    path = tmp_path / name
    path.write_text("old")
    code = (
        "import nqm_fast as nqm, numpy as np; from pathlib import Path\n"
        "from nqm_fast.output import columns\n"
        "from nqm_fast.drawing import output\n"
        f"try: {SAVING[name].format(path=str(path))}\n"
        "except OSError as error: print(error.filename, error.strerror)"
    )
    said = python("-c", code, limit=no_room, MPLCONFIGDIR=str(tmp_path / "mpl")).stdout
    assert said == f"{path} File too large\n"
    assert path.read_text() == "old"
    assert {x.name for x in tmp_path.iterdir()} <= {name, "mpl"}


def test_a_full_disk_leaves_no_part_of_an_example(tmp_path):
    done = python(*command("init")[1:], cwd=tmp_path, limit=no_room, status=2)
    assert done.stderr == "nqm-fast init: nqm.toml: File too large\n"
    assert os.listdir(tmp_path) == []


def test_links_and_permissions_stay(tmp_path):
    target, link = tmp_path / "target.npz", tmp_path / "link.npz"
    problem = nqm.Problem([1.0, 0.5])
    problem.save(target)
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    target.chmod(0o640)
    link.symlink_to(target)
    nqm.Problem([2.0]).save(link)
    assert link.is_symlink()
    assert_same_problem(nqm.Problem.load(target), nqm.Problem([2.0]))
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_what_fails_within_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), written_beside("path", tmp_path / "x") as part:  # noqa: PT012
        part.write_text("half")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_devices_are_no_files(tmp_path):
    """Above all, none is replaced by a file."""
    os.mkfifo(tmp_path / "fifo")
    for path, kind in ((tmp_path / "fifo", "a FIFO"), ("/dev/null", "a device")):
        with pytest.raises(nqm.InputError, match=f"path = .* is {kind}: give the name of a file"):
            nqm.Problem([1.0]).save(path)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    for value in (3, None, "", "a\0b", b"x", "\ud800"):
        with pytest.raises(nqm.InputError, match="path must be "):
            nqm.Problem([1.0]).save(value)
        with pytest.raises(nqm.InputError, match="path must be "):
            nqm.Problem.load(value)
        with pytest.raises(nqm.InputError, match="path must be "):
            nqm.read_spectrum(value)
    with pytest.raises(nqm.InputError, match=r"path = .* is a folder: give the name of a file"):
        nqm.Problem([1.0]).save(tmp_path)


def test_folders_have_names():
    for value in (3, b"x", "", "a\0b", "\ud800"):
        for given in ({"out": value}, {"results": value}):
            with pytest.raises(nqm.InputError, match=f"{next(iter(given))} must be "):
                nqm.figures.draw("networks", workers=1, **given)


def test_figures_go_where_they_were_meant_to(tmp_path, monkeypatch):
    """Another thread may change the working directory while they are computed."""
    from nqm_fast import figures

    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (drawn,) = figures.draw(["one_coordinate"], "out", lambda *_: os.chdir(elsewhere), workers=1)
    assert str(drawn.picture) == "out/one_coordinate.png"
    assert (tmp_path / drawn.picture).exists()
    assert (tmp_path / drawn.data).exists()


def test_a_file_that_somebody_reads_is_replaced_a_little_later(tmp_path, monkeypatch):
    """Windows refuses it until then."""
    usual, refusals = os.replace, [1, 2]

    def replace(*names):
        if refusals:
            refusals.pop()
            raise PermissionError(13, "Permission denied")
        usual(*names)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(saving, "TRIES", 3)
    problem = nqm.Problem([1.0])
    problem.save(tmp_path / "a")
    assert_same_problem(nqm.Problem.load(tmp_path / "a"), problem)
    refusals += [1, 2, 3]
    with pytest.raises(PermissionError):
        problem.save(tmp_path / "b")
    assert os.listdir(tmp_path) == ["a"]
