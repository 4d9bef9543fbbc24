"""Kernels go on while records are written, as on a GPU, for which NumPy stands here."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from helpers import chunks_of, in_blocks, stopped_at_the_first_chunk
from nqm_fast.kernels import contract, reference

import nqm_fast as nqm
from nqm_fast.simulation import controller
from nqm_fast.store.file_recorder import FileRecorder
from nqm_fast.store.files import Files

PROBLEM = nqm.Problem.power_law(200)
ALGORITHM = nqm.SGD(0.2, momentum=0.5)
STEPS = 60


class StateElsewhere(contract.BackendState):
    """A state that can be seen only in copies, as one on a device."""

    def read(self):
        return super().read().copy()


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch):
    backend = type(reference.BACKEND)
    monkeypatch.setattr(backend, "asynchronous", True)
    monkeypatch.setattr(backend, "new_state", lambda self, *given: StateElsewhere(self, *given[:4]))
    chunks_of(monkeypatch, 4)


@pytest.fixture
def usual():
    return nqm.simulate(PROBLEM, ALGORITHM, 8, STEPS, record=1, replicas=2)


def run(path, **changes):
    arguments = {"record": 1, "replicas": 2, "backend": "numpy", "checkpoint_every": 0} | changes
    return nqm.simulate(PROBLEM, ALGORITHM, 8, STEPS, out=path, **arguments)


def slowed(monkeypatch, seconds=0.05):
    """Make writing take longer than computing; gives what is set when it has begun."""
    usual, began = FileRecorder.event, threading.Event()

    def event(recorder, standing):
        began.set()
        time.sleep(seconds)
        usual(recorder, standing)

    monkeypatch.setattr(FileRecorder, "event", event)
    return began


def test_the_same_numbers(monkeypatch, tmp_path, usual):
    slowed(monkeypatch)
    found = run(tmp_path / "run.h5")
    assert np.array_equal(found.risk, usual.risk)
    assert np.array_equal(nqm.open_run(tmp_path / "run.h5").risk, usual.risk)


def test_no_event_is_lost_in_the_end(monkeypatch, tmp_path):
    """An event that is passed over while the recorder is busy is recorded when it is done."""
    slowed(monkeypatch)
    noted, finish = [], FileRecorder.finish

    def finished(recorder, whole):
        noted.append(recorder.noted)
        return finish(recorder, whole)

    monkeypatch.setattr(FileRecorder, "finish", finished)
    run(tmp_path / "run.h5")
    assert noted == [STEPS + 1]


def test_stopped_and_gone_on_with(monkeypatch, tmp_path, usual):
    with monkeypatch.context() as context:
        slowed(context)
        stops = iter([False] * 14 + [True] * 9)
        context.setattr(controller.Controller, "stopped", property(lambda self: next(stops)))
        part = run(tmp_path / "run.h5")
    assert part.status == "interrupted"
    assert 0 < part.steps.size < STEPS
    assert np.array_equal(nqm.resume(tmp_path / "run.h5", backend="numpy").risk, usual.risk)


def test_a_full_disk_is_told_also_after_another_error(monkeypatch, tmp_path, usual):
    """The error of the disk is raised, as HDF5 would go on with a file that is not written."""
    with monkeypatch.context() as context:
        began, broken = threading.Event(), threading.Event()

        def full(recorder, standing):
            began.set()
            assert broken.wait(30)
            raise OSError(28, "No space left on device", "run.h5")

        def collect(held):
            if began.is_set():
                broken.set()
                raise RuntimeError("the device is lost")
            return contract.BackendState.collect(held)

        context.setattr(FileRecorder, "event", full)
        context.setattr(StateElsewhere, "collect", collect)
        with pytest.raises(OSError, match="No space left") as error:
            run(tmp_path / "run.h5")
        assert isinstance(error.value.__context__, RuntimeError)
    assert not [x for x in threading.enumerate() if x.name.startswith("nqm_fast")]
    assert np.array_equal(nqm.resume(tmp_path / "run.h5", backend="numpy").risk, usual.risk)


def four_steps(problem, **arguments):
    """A run that may be in blocks, as its state is not kept."""
    arguments |= {"record": [0, 4], "backend": "numpy", "keep_state": False}
    return nqm.simulate(problem, ALGORITHM, 8, 4, **arguments)


@pytest.mark.usefixtures("default_ctrl_c")
def test_ctrl_c_in_blocks_while_a_block_is_written(monkeypatch, tmp_path):
    """The signal comes when a block has nothing left to compute; what was computed is saved."""
    problem = nqm.Problem.power_law(3 * contract.TILE)
    whole = four_steps(problem)
    in_blocks(monkeypatch, contract.TILE)
    with monkeypatch.context() as context:
        usual = FileRecorder.event

        def event(recorder, standing):
            if threading.current_thread() is not threading.main_thread():
                time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
            usual(recorder, standing)

        context.setattr(FileRecorder, "event", event)
        part = four_steps(problem, out=tmp_path / "run.h5")
    assert part.status == "interrupted"
    assert part.stats["coordinate_steps"] == 4 * contract.TILE
    assert Files(tmp_path / "run.h5").checkpoint.exists()
    again = nqm.resume(tmp_path / "run.h5", backend="numpy")
    assert np.array_equal(again.risk, whole.risk)
    assert again.stats["coordinate_steps"] == 4 * problem.dim


def test_blocks_of_another_size(monkeypatch, tmp_path):
    """A run that is resumed where blocks are larger keeps its own size, and so its sums."""
    problem = nqm.Problem.power_law(5 * contract.TILE)
    whole = four_steps(problem)
    in_blocks(monkeypatch, contract.TILE)
    with monkeypatch.context() as context:
        stopped_at_the_first_chunk(context)
        part = four_steps(problem, out=tmp_path / "run.h5")
    assert part.status == "interrupted"
    in_blocks(monkeypatch, 4 * contract.TILE)
    assert np.array_equal(nqm.resume(tmp_path / "run.h5", backend="numpy").risk, whole.risk)


def test_traced_coordinates_are_computed_beside_it(tmp_path, usual):
    found = run(tmp_path / "run.h5", trajectory=[3, 199])
    alone = nqm.simulate(PROBLEM, ALGORITHM, 8, STEPS, record=1, replicas=2, trajectory=[3, 199])
    assert np.array_equal(found.risk, usual.risk)
    for name, array in alone.observed.items():
        assert np.array_equal(found.observed[name], array)
