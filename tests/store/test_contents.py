"""The file of a run says what was run, when and where, and gives the run again."""

import json
import os

import h5py
import numpy as np
import pytest
import xarray
from helpers import TWO_SETTINGS, assert_same, simulate, simulate_to, stopped_at_the_first_chunk

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.algorithms.base import Algorithm
from nqm_fast.store.layout import seal


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
    run = simulate_to(path, **more)
    stored = nqm.open_run(path)
    assert_same(stored, run)
    assert np.array_equal(stored.wall_time, run.wall_time)
    assert os.listdir(path.parent) == [path.name]
    assert_same(stored, simulate(**{"algorithm": TWO_SETTINGS, "steps": 60, "threads": 1} | more))


def test_xarray_opens_it(path):
    run = simulate_to(path, replicas=3, bands=[0.05, 0.2, 1.0], keep_state=True)
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert data.risk.dims == ("setting", "replica", "step")
        assert data.band_risk.dims == ("setting", "replica", "step", "band")
        assert np.array_equal(data.risk, run.risk)
        assert np.array_equal(data.step, run.steps)
        assert np.array_equal(data.replica, [0, 1, 2])
        assert np.array_equal(data.state_1, run.state[1])
        assert data.risk.mean("replica").sel(step=60, setting=1) == run.risk[1, :, -1].mean()
        assert data.wall_time.dtype == np.float64
        for name in ("label", "lr", "momentum", "ema", "power", "batch_size"):
            assert data.coords[name].dims == ("setting",)
        assert data.lr.values.tolist() == [0.3, 0.1]
        assert data.momentum.values.tolist() == [0.0, 0.9]
        assert data.risk.sel(setting=data.momentum > 0).shape[0] == 1
        assert data.label.values.tolist() == ["lr = 0.3, momentum = 0", "lr = 0.1, momentum = 0.9"]
        for variable in data.variables.values():
            assert variable.attrs["units"]
            assert variable.attrs["description"]


def test_chunks_filters_and_scales(path):
    """Every array is compressed, in chunks of a quarter to one MiB if it is large or can grow."""
    simulate_to(path, [nqm.SGD([0.1] * 100)], 8, 100, nqm.Problem(np.linspace(0.1, 1, 10**5)),
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
        assert arrays.pop("label").shape == (1,)  # A text cannot have a checksum.
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
    simulate_to(path, seed=3)
    with h5py.File(path) as file:
        facts = dict(file.attrs)
    assert facts["schema"] == "nqm_fast run"
    assert facts["schema_version"] == 4
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
    stats = simulate(steps=100_000).stats
    assert stats["compute"] > 0
    assert stats["write"] == 0
    assert stats["compile"] >= 0


class Heavy(nqm.SGD):
    """An algorithm of somebody's own."""


class Nameless(schedules.Constant):
    """A schedule that is no dataclass of its own, so that its parameters are not known."""

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
    run = simulate_to(path, algorithm, batch_size, problem=IRREGULAR)
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
        simulate_to(path, Opaque())
    assert not path.exists()


def test_a_run_that_cannot_be_leaves_the_old_one(path):
    run = simulate_to(path)
    huge = nqm.Problem.power_law(2**31)
    with pytest.raises(nqm.InputError, match="GB are available"):
        simulate_to(path, problem=huge, keep_state=True, replicas=10, overwrite=True)
    with pytest.raises(nqm.InputError, match="cannot be written to a file"):
        simulate_to(path, Heavy(Nameless()), overwrite=True)
    assert_same(nqm.open_run(path), run)
    assert os.listdir(path.parent) == [path.name]


def renamed(path, old, new):
    """Rename a class in the configuration of a run's file."""
    with h5py.File(path, "r+") as file:
        header = json.loads(bytes(file.attrs["sealed"])[64:])
        header["configuration"] = header["configuration"].replace(old, new)
        seal(file, header)


def test_an_algorithm_that_is_not_defined_here_is_shown(path):
    """All but what needs its class is there."""
    run = simulate_to(path, [nqm.SGD(0.3, ema=0.5), nqm.SGD(schedules.Cosine(0.2, 60))])
    renamed(path, '"SGD"', '"my.lab:Fancy"')
    stored = nqm.open_run(path)
    assert_same(stored, run)
    names = [repr(setting.algorithm) for setting in stored.experiment.settings]
    assert names[0] == "my.lab:Fancy(lr=0.3, momentum=0, ema=0.5, power=0)"
    assert names[1].startswith("my.lab:Fancy(lr=Cosine(peak=0.2, steps=60, end=0), momentum=0")
    with pytest.raises(nqm.InputError, match=r"'my.lab:Fancy' \(import my.lab first"):
        nqm.expected_risk(stored.experiment.problem, stored.experiment.settings[0].algorithm, 8, 5)


@pytest.mark.parametrize("what", ["Piecewise", "Cosine"])
def test_a_schedule_that_is_not_defined_here_is_shown(path, monkeypatch, every_step, what):
    batch_size = schedules.Piecewise([1, 8], [5, 5])
    with monkeypatch.context() as context:
        stopped_at_the_first_chunk(context)
        run = simulate_to(path, nqm.SGD(schedules.Cosine(0.2, 60)), batch_size)
    renamed(path, what, "__main__:Mine")
    before = path.read_bytes()
    stored = nqm.open_run(path)
    assert_same(stored, run)
    assert "__main__:Mine(" in repr(stored.experiment.settings)
    with pytest.raises(nqm.InputError, match="go on in that script"):
        nqm.resume(path)
    assert path.read_bytes() == before


def test_a_class_that_has_changed_is_shown(path, monkeypatch):
    run = simulate_to(path, Heavy(0.3))

    def changed(self):
        raise TypeError("it takes no learning rate any more")

    monkeypatch.setattr(Heavy, "__post_init__", changed)
    stored = nqm.open_run(path)
    assert_same(stored, run)
    assert "Heavy(lr=0.3, momentum=0" in repr(stored.experiment.settings[0].algorithm)
    with pytest.raises(nqm.InputError, match="Heavy cannot be made: TypeError: it takes no"):
        nqm.expected_risk(stored.experiment.problem, stored.experiment.settings[0].algorithm, 8, 5)
