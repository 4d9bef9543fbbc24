"""Whole runs on GPUs: blocks of coordinates, several devices, files, and a full memory."""

import threading

import numpy as np
import pytest
from gpu import BACKEND, GROUP, SIMULATED, D, jit, module, run
from helpers import assert_same, chunks_of, in_blocks, irregular, stopped_at_the_first_chunk
from nqm_fast.kernels import BackendError
from nqm_fast.kernels.contract import LEAF

import nqm_fast as nqm
from nqm_fast.store.file_recorder import FileRecorder

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    "name", ["leap", "diverging", pytest.param("bands", marks=[pytest.mark.thorough] * SIMULATED)]
)
def test_several_devices(name):
    """Whole groups of leaves are spread over the devices; here the two are the same one."""
    changes = {"problem": irregular(3 * GROUP * LEAF - 3), "steps": 14, "record": [0, 14]}
    several = run(name, backend="cuda", devices=[0, 0], **changes)
    assert several.stats["devices"] == [0, 0]
    assert_same(several, run(name, backend="numpy", **changes))


def test_blocks_of_coordinates(monkeypatch):
    """Problems that are larger than memory are worked through in blocks."""
    problem = nqm.Problem.power_law(9 * LEAF)
    changes = {"problem": problem, "keep_state": False, "steps": 6, "record": [2, 6]}
    whole = run("bands", backend="numpy", **changes)
    in_blocks(monkeypatch, 8 * LEAF)
    blocks = run("bands", backend="cuda", **changes)
    assert blocks.stats["order"] == "blocks"
    assert_same(blocks, whole)


def test_begun_on_one_backend_and_gone_on_with_on_another(monkeypatch, tmp_path):
    whole = run("all", backend="numpy", record=1)
    chunks_of(monkeypatch, 5)
    with monkeypatch.context() as context:
        stopped_at_the_first_chunk(context)
        part = run("all", backend="cuda", record=1, out=tmp_path / "run.h5")
        assert part.status == "interrupted"
        assert part.steps[-1] == 5
        part = nqm.resume(tmp_path / "run.h5", backend="numpy")
        assert part.steps[-1] == 10
        part = nqm.resume(tmp_path / "run.h5", backend="cuda", devices=0)
    assert_same(nqm.resume(tmp_path / "run.h5", backend="cuda"), whole)


def test_writing_does_not_stop_the_device(monkeypatch, tmp_path):
    """While records are written, further steps are launched; a checkpoint keeps its state."""
    launches, writes, third = [], [], threading.Event()
    launch, event = module.GpuState.launch, FileRecorder.event

    def launched(held, timeline, *rest):
        launches.append(timeline.end)
        if len(launches) == 3:
            third.set()
        launch(held, timeline, *rest)

    def written(recorder, standing):
        assert third.wait(60)
        if not writes:  # the first is a checkpoint
            saved, at = standing.state(), standing.records - 1
            assert saved["done"] == at == 4
            alone = run("all", backend="numpy", steps=at, record=1)
            assert np.array_equal(saved["state_0"][..., :D], alone.state)
        writes.append(standing.records)
        event(recorder, standing)

    monkeypatch.setattr(module.GpuState, "launch", launched)
    monkeypatch.setattr(FileRecorder, "event", written)
    chunks_of(monkeypatch, 4)
    found = run("all", backend="cuda", record=1, out=tmp_path / "run.h5", checkpoint_every=0)
    assert launches == [4, 8, 12, 16, 19]
    assert writes
    assert_same(found, run("all", backend="numpy", record=1))
    assert_same(nqm.open_run(tmp_path / "run.h5"), found)


def test_what_goes_wrong_in_writing_ends_the_run(monkeypatch, tmp_path):
    def full(recorder, standing):
        raise OSError(28, "No space left on device", "run.h5")

    monkeypatch.setattr(FileRecorder, "event", full)
    chunks_of(monkeypatch, 4)
    with pytest.raises(OSError, match="No space left"):
        run("plain", backend="cuda", record=1, out=tmp_path / "run.h5")
    assert not [x for x in threading.enumerate() if x.name.startswith("nqm_fast")]


def test_a_full_memory_loses_nothing(monkeypatch, tmp_path):
    """What was computed before is in the file, and the run can be resumed."""
    whole = run("momentum", backend="numpy")
    chunks_of(monkeypatch, 6)
    usual, calls = module.tasks.steps, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise RuntimeError("[CUresult.CUDA_ERROR_OUT_OF_MEMORY] Call to cuMemAlloc failed")
        return usual(*arguments)

    with monkeypatch.context() as context:
        context.setattr(module.tasks, "steps", full)
        with pytest.raises(MemoryError, match="GPU's memory is full: use fewer") as error:
            run("momentum", backend="cuda", out=tmp_path / "run.h5")
    assert "\n" not in str(error.value)
    part = nqm.open_run(tmp_path / "run.h5")
    assert part.steps.tolist() == [0, 3, 8]
    assert_same(nqm.resume(tmp_path / "run.h5", backend="cuda"), whole)


def test_a_run_that_does_not_fit(monkeypatch):
    monkeypatch.setattr("nqm_fast.simulation.memory.SMALL", 0)  # which this run is
    monkeypatch.setattr(type(BACKEND), "free_memory", lambda self, workers: 1e3)
    with pytest.raises(nqm.InputError, match=r"of the GPU's memory, of which 0\.0 GB are free"):
        run("plain", backend="cuda")


@pytest.mark.parametrize("devices", [[], 7, "0", [0, 99], 0.5])
def test_devices_that_are_not_there(devices):
    with pytest.raises(nqm.InputError, match=r"devices must be numbers of GPUs that are here \(0"):
        run("plain", backend="cuda", devices=devices)


def test_other_errors_are_not_explained_away():
    with pytest.raises(RuntimeError, match=r"^something else$"), jit.explained():
        raise RuntimeError("something else")
    assert issubclass(BackendError, ValueError)
