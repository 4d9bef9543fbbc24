"""Shards in files, merged to the bits of one run; and files that are no shards of one run."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from helpers import (
    BACKEND,
    TWO_SETTINGS,
    UNEVEN,
    assert_same,
    in_blocks,
    irregular,
    run,
    simulate_to,
    slow_where,
)
from nqm_fast.kernels.contract import TILE

import nqm_fast as nqm
from nqm_fast.store import layout, serialization

SPLITS = {
    "halves": [(0, 512), (512, 581)],
    "sizes": [(0, 256), (256, 320), (320, 384), (384, 512), (512, 576), (576, 581)],
}
FEW = ("plain", "bands", "diverging", "leap in pieces", "student-t")


def shards(folder, name, split, **changes):
    """The files of a run's shards, in an order of chance."""
    paths = []
    for k, ends in enumerate(split):
        paths.append(folder / f"shard{k}.h5")
        run(name, coordinates=ends, out=paths[-1], **changes)
    random.Random(name).shuffle(paths)
    return paths


def configuration(path):
    """What a file says that was run."""
    with h5py.File(path) as file:
        arrays = {name: array[()] for name, array in file["configuration"].items()}
        return json.loads(file.attrs["configuration"]), layout.contents_digest(arrays)


@pytest.mark.parametrize(
    ("name", "split"),
    slow_where(
        lambda name, split: name not in FEW or (split == "halves") == (name == "plain"),
        [(name, split) for name in run.kinds for split in SPLITS],
    ),
)
def test_shards_have_the_bits_of_one_run(usual, name, split, tmp_path):
    paths = shards(tmp_path, name, SPLITS[split])
    merged = nqm.merge(paths, tmp_path / "run.h5")
    assert_same(merged, usual[name])
    assert merged.experiment == usual[name].experiment
    assert merged.stats["shards"] == len(paths)
    run(name, out=tmp_path / "whole.h5")
    assert configuration(tmp_path / "run.h5") == configuration(tmp_path / "whole.h5")
    assert_same(nqm.resume(tmp_path / "run.h5"), usual[name])
    assert len(os.listdir(tmp_path)) == len(paths) + 2


@pytest.mark.parametrize(
    ("exponent", "damping"),
    slow_where(lambda *law: 1.0 in law, [(0.7, 0.1), (1.0, 0.0), (1.0, 0.1)]),
)
def test_shards_of_power_laws(exponent, damping, tmp_path):
    law = nqm.Problem.power_law(581, exponent, damping=damping)
    changes = {"problem": law, "algorithm": TWO_SETTINGS, "observe": "weight_norm"}
    whole = run("plain", **changes)
    merged = nqm.merge(shards(tmp_path, "plain", SPLITS["halves"], **changes), tmp_path / "run.h5")
    assert_same(merged, whole)
    assert merged.experiment == whole.experiment


def test_shards_in_blocks(monkeypatch, tmp_path):
    """A shard that is beyond memory is worked through in blocks, which are its branches."""
    changes = {"problem": irregular(5 * TILE + 70), "keep_state": False}
    whole = run("bands", **changes)
    in_blocks(monkeypatch, TILE)
    paths = shards(tmp_path, "bands", [(0, 4 * TILE), (4 * TILE, 5 * TILE + 70)], **changes)
    assert nqm.open_run(paths[0]).stats["order"] == "blocks"
    assert_same(nqm.merge(paths, tmp_path / "run.h5"), whole)


def test_a_step_of_divergence_is_the_earliest_of_the_shards(tmp_path):
    """Here replicas and settings diverge in one shard, in both at different steps, or in none."""
    h = np.r_[np.full(64, 0.5), np.full(64, 1.0), np.full(30, 1e-3)]
    problem = nqm.Problem(h, var0=np.random.default_rng(0).uniform(0, 1, h.size))
    what = problem, [nqm.SGD(1e3), nqm.SGD(5.0), nqm.SGD(0.1)], 8, 400
    whole = nqm.simulate(*what, replicas=2, keep_state=True, threads=1)
    parts = []
    for k, ends in enumerate([(0, 64), (64, 128), (128, 158)]):
        path = tmp_path / f"shard{k}.h5"
        more = {"replicas": 2, "keep_state": True, "threads": 1}
        parts.append(nqm.simulate(*what, coordinates=ends, out=path, **more))
    steps = np.array([part.diverged_at for part in parts])
    assert (steps[0, 0] > steps[1, 0]).all()  # the second shard diverges first
    assert (steps[0, 1] < 0).all()  # in the first one nothing does
    assert (steps[2] < 0).all()
    merged = nqm.merge(tmp_path.glob("shard*.h5"), tmp_path / "run.h5")
    assert_same(merged, whole)
    assert merged.diverged_at[:2].tolist() == steps[1, :2].tolist()
    assert np.isinf(merged.state[0]).all()


def test_replicas_are_merged_as_well(tmp_path):
    """Some shards have all replicas, some have few, and some files are of all coordinates."""
    whole = run("bands", replicas=5)
    pieces = [
        ((0, 512), [4, 0, 1]),
        ((512, 581), [1, 0]),
        ((512, 581), [4]),
        (None, [3, 2]),
    ]
    for k, (ends, replicas) in enumerate(pieces):
        run("bands", coordinates=ends, replicas=replicas, out=tmp_path / f"{k}.h5")
    merged = nqm.merge(tmp_path.glob("*.h5"), tmp_path / "run.h5")
    assert_same(merged, whole)
    assert merged.experiment == whole.experiment


def test_a_shard_and_a_merged_run_become_longer(tmp_path):
    shared = {"problem": UNEVEN, "record": 20}
    long = simulate_to(tmp_path / "long.h5", steps=100, replicas=2, **shared)
    for k, ends in enumerate(SPLITS["halves"]):
        simulate_to(tmp_path / f"shard{k}.h5", coordinates=ends, **shared)
    nqm.merge(tmp_path.glob("shard*.h5"), tmp_path / "early.h5")
    assert_same(nqm.resume(tmp_path / "early.h5", steps=100, replicas=2), long)
    for k in range(2):
        nqm.resume(tmp_path / f"shard{k}.h5", steps=100, replicas=2)
    assert_same(nqm.merge(tmp_path.glob("shard*.h5"), tmp_path / "late.h5"), long)


LONG = """
import sys, nqm_fast as nqm
from nqm_fast.simulation import chunking
chunking.SECONDS = 0.01
nqm.simulate(nqm.Problem.power_law(1000), nqm.SGD(0.1), 8, 100_000, record=1000, seed=2, threads=1,
             backend=sys.argv[1], coordinates=(512, 1000), out=sys.argv[2], checkpoint_every=0)
"""


def test_a_shard_is_killed_and_gone_on_with(tmp_path):
    path = tmp_path / "shard1.h5"
    process = subprocess.Popen([sys.executable, "-c", LONG, BACKEND, str(path)])
    while not (tmp_path / "shard1.h5.checkpoint").exists():
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    what = nqm.Problem.power_law(1000), nqm.SGD(0.1), 8, 100_000
    more = {"record": 1000, "seed": 2, "threads": 1}
    nqm.simulate(*what, coordinates=(0, 512), out=tmp_path / "shard0.h5", **more)
    with pytest.raises(nqm.InputError, match=r"shard1.h5' has not ended.*nqm-fast resume"):
        nqm.merge(tmp_path.glob("shard?.h5"), tmp_path / "run.h5")
    assert nqm.resume(path).status == "finished"
    merged = nqm.merge(tmp_path.glob("shard?.h5"), tmp_path / "run.h5")
    assert_same(merged, nqm.simulate(*what, **more))


# -- what is refused ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """The file of the first shard of a run, whose second one may be what it likes."""
    path = tmp_path_factory.mktemp("left") / "left.h5"
    simulate_to(path, problem=UNEVEN, coordinates=(0, 512))
    return path


def refused(*paths, out):
    """The one sentence with which files are refused; nothing is written."""
    with pytest.raises(nqm.InputError) as error:
        nqm.merge(paths, out)
    assert not out.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "seed is 1, not 0"),
        ({"steps": 61}, "steps is 61, not 60"),
        ({"batch_size": 9}, "settings is"),
        ({"algorithm": nqm.SGD(0.3)}, "settings is"),
        ({"algorithm": TWO_SETTINGS[::-1]}, "settings is"),
        ({"record": [1, 60]}, "records is"),
        ({"sampling": "leap"}, "sampling is 'leap', not 'minibatch'"),
        ({"bands": 2}, "bands is"),
        ({"observe": "weight_norm"}, "observe is"),
        ({"keep_state": True}, "keep_state is True, not False"),
        ({"problem": nqm.Problem.power_law(581)}, "it is of another problem"),
        ({"problem": irregular(582), "coordinates": (512, 582)}, "has 582 coordinates, not 581"),
        ({"coordinates": (512, 576)}, "gap: coordinates 576 to 580 of replica 0 are in none"),
        ({"coordinates": (256, 512)}, "overlap: coordinates 256 to 511 of replica 0 are in .*left"),
        ({"coordinates": None}, "overlap: coordinates 0 to 511 of replica 0"),
        ({"replicas": [1]}, "gap: coordinates 512 to 580 of replica 0 are in none"),
        ({"replicas": 2}, "gap: coordinates 0 to 511 of replica 1 are in none"),
    ],
    ids=str,
)
def test_what_is_no_shard_of_the_run(left, changes, said, tmp_path):
    path = tmp_path / "right.h5"
    simulate_to(path, **{"problem": UNEVEN, "coordinates": (512, 581)} | changes)
    for order in ((left, path), (path, left)):
        assert re.search(said, refused(*order, out=tmp_path / "run.h5"))


def test_other_coordinates_of_another_problem(left, tmp_path):
    """Problems of arrays are compared where two files have the same coordinates."""
    simulate_to(tmp_path / "right.h5", problem=UNEVEN, coordinates=(512, 581))
    other = nqm.Problem(UNEVEN.h[::-1].copy(), UNEVEN.c, mean0=UNEVEN.mean0, var0=0.5)
    simulate_to(tmp_path / "other.h5", problem=other, replicas=[1])
    paths = left, tmp_path / "right.h5", tmp_path / "other.h5"
    assert "it is of another problem" in refused(*paths, out=tmp_path / "run.h5")


def test_no_files_and_one_twice(left, tmp_path):
    out = tmp_path / "run.h5"
    assert "there are none" in refused(out=out)
    assert "overlap" in refused(left, left, out=out)
    assert "gap" in refused(left, out=out)
    for wrong in (str(left), 5, {left: 1}):
        with pytest.raises(nqm.InputError, match="paths must be a list"):
            nqm.merge(wrong, out)
    with pytest.raises(FileNotFoundError):
        nqm.merge([tmp_path / "absent.h5"], out)
    with pytest.raises(nqm.InputError, match="is one of the shards"):
        nqm.merge([left], left, overwrite=True)


def test_a_run_that_is_there_is_kept(left, tmp_path):
    right, out = tmp_path / "right.h5", tmp_path / "run.h5"
    simulate_to(right, problem=UNEVEN, coordinates=(512, 581))
    nqm.merge([left, right], out)
    before = out.read_bytes()
    with pytest.raises(nqm.InputError, match="exists, a run that is finished"):
        nqm.merge([left, right], out)
    assert out.read_bytes() == before
    assert nqm.merge([right, left], out, overwrite=True).status == "finished"
    assert sorted(os.listdir(tmp_path)) == ["right.h5", "run.h5"]


def test_other_noise_and_other_last_bits(left, monkeypatch, tmp_path):
    out = tmp_path / "run.h5"
    with monkeypatch.context() as patched:
        patched.setattr("nqm_fast.store.reading.STREAM", 2)
        assert "was made with version 1 of the noise" in refused(left, out=out)
    right = tmp_path / "right.h5"
    simulate_to(right, problem=UNEVEN, coordinates=(512, 581))
    monkeypatch.setattr("nqm_fast.store.merging.fingerprint", lambda _: "of another library")
    assert "was computed with other last bits" in refused(left, right, out=out)


@pytest.mark.parametrize("name", ["coordinates", "trajectory"])
def test_files_before_schema_versions_3_and_4(tmp_path, name):
    """They have no entry for coordinates, or for those that are traced."""
    simulate_to(tmp_path / "run.h5", problem=UNEVEN)
    experiment = nqm.open_run(tmp_path / "run.h5").experiment
    text, arrays = serialization.encode(experiment)
    assert text.pop(name) is None
    assert serialization.decode(text, arrays) == experiment
