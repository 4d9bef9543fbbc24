"""A run that was broken off is resumed, and ends with the same bits."""

import numpy as np
import pytest
from helpers import assert_same, simulate_to, stopped_at_the_first_chunk
from nqm_fast.kernels import load_backend

import nqm_fast as nqm
from nqm_fast.store import checkpoints, file_recorder
from nqm_fast.store.files import Files


def test_a_run_that_was_broken_off(broken_off, undisturbed):
    stored = nqm.open_run(broken_off)
    assert stored.status == "killed"
    assert "40 of 61 records are there; go on with: nqm-fast resume" in stored.message
    assert_same(nqm.resume(broken_off), undisturbed)


@pytest.mark.parametrize("damaged", ["checkpoint", "both", "cut"])
def test_a_damaged_checkpoint_costs_time_only(broken_off, damaged, undisturbed):
    files = Files(broken_off)
    for name in [files.checkpoint, *([files.previous] if damaged == "both" else [])]:
        content = bytearray(name.read_bytes())
        content[len(content) // 2] ^= 1
        name.write_bytes(content[:50] if damaged == "cut" else content)
    assert_same(nqm.resume(broken_off), undisturbed)


def test_the_last_two_checkpoints_are_kept(broken_off):
    files = Files(broken_off)
    records = [checkpoints.read(name)[0]["records"] for name in (files.checkpoint, files.previous)]
    assert records == [40, 39]


def test_a_checkpoint_of_another_run_is_not_used(broken_off, tmp_path):
    other = tmp_path / "other.h5"
    simulate_to(other, seed=9, record=1)
    foreign = Files(other)
    facts, arrays = checkpoints.read(Files(broken_off).checkpoint)
    checkpoints.save(foreign, facts, arrays)
    assert not list(checkpoints.usable(foreign, "another run", 100))
    assert not list(checkpoints.usable(foreign, facts["run_id"], 39))  # records are missing
    assert list(checkpoints.usable(foreign, facts["run_id"], 40))


def test_numbers_that_do_not_come_out_again_are_an_error(broken_off, monkeypatch):
    """On a machine with another library of mathematics, powers of curvatures may differ."""
    for name in (Files(broken_off).checkpoint, Files(broken_off).previous):
        name.unlink()
    backend = load_backend("numpy")
    usual = backend.start
    monkeypatch.setattr(backend, "start", lambda *a: np.nextafter(usual(*a), 1.0))
    before = broken_off.read_bytes()
    with pytest.raises(nqm.InputError, match="give other numbers here than those it holds"):
        nqm.resume(broken_off, backend="numpy")
    assert broken_off.read_bytes() == before


def test_a_stop_before_the_run_has_caught_up_loses_nothing(broken_off, monkeypatch, undisturbed):
    """Without a checkpoint the run is resumed from its start, and it is interrupted at once."""
    for name in Files(broken_off).leftovers():
        name.unlink()
    before = nqm.open_run(broken_off)
    with monkeypatch.context() as context:
        stopped_at_the_first_chunk(context)
        run = nqm.resume(broken_off)
    assert run.status == "interrupted"
    for seen in (run, nqm.open_run(broken_off)):
        assert np.array_equal(seen.risk, before.risk)
    assert_same(nqm.resume(broken_off), undisturbed)


def test_the_state_is_that_of_the_last_record_or_absent(path, monkeypatch, every_step):
    """The run is interrupted, resumed, and lost before its state is written again."""
    stopped_at_the_first_chunk(monkeypatch)
    simulate_to(path, record=1, keep_state=True)
    assert nqm.open_run(path).state is not None
    monkeypatch.setattr(file_recorder.FileRecorder, "finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        nqm.resume(path)
    stored = nqm.open_run(path)
    assert stored.steps.size == 3
    assert stored.state is None
