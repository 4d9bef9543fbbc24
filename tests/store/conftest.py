"""Fixtures of the tests of runs in files."""

import pytest
from helpers import TWO_SETTINGS, chunks_of, simulate, simulate_to

from nqm_fast.store import file_recorder


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


@pytest.fixture
def every_step(monkeypatch):
    """Kernels return after each step, and all is written then."""
    chunks_of(monkeypatch, 1)
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
            simulate_to(path, record=1, checkpoint_every=0)
    return path


@pytest.fixture(scope="session")
def undisturbed():
    """The same run, from its beginning to its end."""
    return simulate(TWO_SETTINGS, steps=60, record=1)


@pytest.fixture
def quickly(monkeypatch):
    """Reading is tried once."""
    monkeypatch.setattr("nqm_fast.store.reading.TRIES", 1)
