"""One process at a time writes a run, and files that are not its own are left alone."""

import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest
import xarray
from helpers import TWO_SETTINGS, assert_same, simulate, simulate_to, stopped_at_the_first_chunk

import nqm_fast as nqm
from nqm_fast.problem import PowerLaw
from nqm_fast.store import file_recorder

# -- who may write -----------------------------------------------------------------------


def test_a_second_run_is_refused_and_the_first_is_kept(path):
    run = simulate_to(path)
    with pytest.raises(nqm.InputError, match="exists, a run that is finished: choose another"):
        simulate_to(path, steps=10)
    assert_same(nqm.open_run(path), run)
    assert simulate_to(path, steps=10, overwrite=True).steps[-1] == 10
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
        for action in (nqm.resume, lambda p: simulate_to(p, overwrite=True)):
            with pytest.raises(nqm.InputError, match="is being written by another process"):
                action(path)
        other.kill()
    assert nqm.resume(path).status == "finished"


def test_a_finished_run_is_given_back(path):
    run = simulate_to(path)
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
    run = simulate_to(path, record=1, steps=200)
    reader.join()
    assert len(found) > 2
    for seen in found:
        assert np.array_equal(seen.risk, run.risk[..., : seen.steps.size])


def test_a_file_that_is_open_elsewhere_in_the_process(path):
    run = simulate_to(path)
    with h5py.File(path), xarray.open_dataset(path, engine="h5netcdf"):
        assert_same(nqm.open_run(path), run)
        assert simulate_to(path, steps=5, overwrite=True).status == "finished"


# -- neighbours --------------------------------------------------------------------------


def test_files_with_names_like_segments_are_left_alone(broken_off, undisturbed):
    copy, notes = broken_off.with_name("run.2024.h5"), broken_off.with_name("run.0002.h5")
    copy.write_bytes(broken_off.read_bytes())
    notes.write_text("my notes")
    other = broken_off.with_name("run.9999.h5")
    simulate_to(other, steps=3)
    kept = {file: file.read_bytes() for file in (copy, notes, other)}
    assert nqm.open_run(broken_off).steps.size == 40
    run = nqm.resume(broken_off)
    assert_same(run, undisturbed)
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
    run = simulate_to(link)
    assert link.is_symlink()
    assert_same(nqm.open_run(target), run)


def test_another_library_of_mathematics_is_noticed(path, monkeypatch, every_step):
    problem = nqm.Problem.power_law(50, 0.7)
    with monkeypatch.context() as context:
        stopped_at_the_first_chunk(context)
        simulate_to(path, problem=problem)
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    usual = PowerLaw.block

    def of_another_library(*arguments):
        block = usual(*arguments)
        return block._replace(h=np.nextafter(block.h, 2.0))

    with monkeypatch.context() as context:
        context.setattr(PowerLaw, "block", of_another_library)
        with pytest.raises(nqm.InputError, match="with other last bits than where it was begun"):
            nqm.resume(path)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    assert_same(nqm.resume(path), simulate(TWO_SETTINGS, steps=60, problem=problem))
