"""Paths of chosen coordinates: they have the bits of the run, and are stored and read like it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import xarray
from helpers import (
    InProcess,
    assert_same,
    chunks_of,
    in_blocks,
    irregular,
    run,
    slow_where,
    stopped_at_the_first_chunk,
)
from nqm_fast.kernels.contract import LEAF, TILE

import nqm_fast as nqm
from nqm_fast.cli import main
from nqm_fast.simulation import memory, tracing
from nqm_fast.simulation.task import traced_ranges

PROBLEM = irregular(3 * TILE + 70)
LAST = PROBLEM.dim - 1
CHOSEN = [0, 1, LEAF, 5 * LEAF + 3, TILE, 2 * TILE + 9, LAST]
ALGORITHMS = [nqm.SGD(0.3), nqm.SGD(0.1, momentum=0.9, ema=0.5), nqm.SGD(0.2, power=0.5)]
READ = (0, 2, 0)
"""The component of the state that is the evaluated iterate."""
STEPS = 30


def simulate(**changes):
    arguments = {"replicas": [4, 1], "record": [0, 7, 16, 30], "seed": 4, "trajectory": CHOSEN}
    arguments |= changes
    problem, steps = arguments.pop("problem", PROBLEM), arguments.pop("steps", STEPS)
    return nqm.simulate(problem, arguments.pop("algorithm", ALGORITHMS), 8, steps, **arguments)


@pytest.fixture(scope="module")
def usual():
    return simulate(keep_state=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


def assert_ends_at_the_state(run, chosen=CHOSEN):
    """The paths end where the state of the whole run does, to the last bit."""
    for g, state in enumerate(run.state):
        assert np.array_equal(run.trajectory.w[g][:, -1], state[:, 0][:, chosen])
        assert np.array_equal(run.trajectory.evaluated[g][:, -1], state[:, READ[g]][:, chosen])


# -- their numbers -----------------------------------------------------------------------


SMALL = irregular(2 * LEAF + 9)
FEW = [0, 1, LEAF, SMALL.dim - 1]


@pytest.mark.parametrize("sampling", ["minibatch", "per-sample", "leap"])
def test_every_backend_has_the_bits_of_the_state(machine, sampling):
    """At every record: a run that ends there has its state there."""
    how = {"problem": SMALL, "sampling": sampling, "keep_state": True}
    whole = simulate(backend=machine, trajectory=FEW, **how)
    assert whole.trajectory.coordinates.tolist() == FEW
    assert whole.trajectory.w.shape == whole.trajectory.evaluated.shape == (3, 2, 4, len(FEW))
    assert_ends_at_the_state(whole, FEW)
    assert_same(simulate(trajectory=FEW, **how), whole)
    for k, step in enumerate([0, 7, 16]):
        part = simulate(steps=step, record=[0, 7, 16][: k + 1], trajectory=None, **how)
        for g, state in enumerate(part.state):
            assert np.array_equal(whole.trajectory.w[g][:, k], state[:, 0][:, FEW])
            assert np.array_equal(whole.trajectory.evaluated[g][:, k], state[:, READ[g]][:, FEW])


@pytest.mark.parametrize("copies", [1, 4, 32])
@pytest.mark.parametrize("sampling", ["minibatch", "per-sample"])
def test_how_many_records_a_kernel_is_called_for_does_not_matter(copies, sampling, monkeypatch):
    usual = simulate(record=1, sampling=sampling)
    monkeypatch.setattr(tracing, "MOST_COPIES", copies)
    monkeypatch.setattr(tracing, "SECONDS_PER_CALL", 1e9)
    assert_same(simulate(record=1, sampling=sampling), usual)


@pytest.mark.parametrize("name", slow_where(lambda name: name in ("ema", "uniform"), run.kinds))
def test_every_kind_of_run(name):
    """A run with schedules, laws of data or divergence has its risk and its state as without."""
    chosen = [2, 9 * LEAF + 4]
    with_paths = run(name, record=4, trajectory=chosen)
    without = run(name, record=4)
    assert np.array_equal(with_paths.risk, without.risk)
    assert np.array_equal(with_paths.state, without.state)
    assert np.array_equal(with_paths.trajectory.w[:, -1], without.state[:, 0, chosen])
    assert without.trajectory is None
    assert list(without.observed) == list(with_paths.observed)[:-2]


def test_without_noise_it_is_a_power():
    problem = nqm.Problem([1.0, 0.25], c=0.0, mean0=[2.0, -1.0], var0=0.0)
    paths = nqm.simulate(problem, nqm.SGD(0.5), 4, 5, record=1, trajectory=[0, 1]).trajectory
    t = np.arange(6)[:, None]
    assert paths.w[0] == pytest.approx((1 - 0.5 * problem.h) ** t * problem.mean0, rel=1e-14)
    assert np.array_equal(paths.evaluated, paths.w)


def test_they_make_up_the_risk():
    """All coordinates of a problem together."""
    problem = irregular(70)
    run = nqm.simulate(problem, ALGORITHMS[1], 8, STEPS, trajectory=range(70))
    risk = 0.5 * (problem.h * run.trajectory.evaluated**2).sum(axis=-1)
    assert risk == pytest.approx(run.risk, rel=1e-13)


@pytest.mark.parametrize("length", [1, 3, 13])
def test_chunks_do_not_matter(usual, length, monkeypatch):
    chunks_of(monkeypatch, length)
    assert_same(simulate(keep_state=True), usual)


def test_blocks_do_not_matter(usual, monkeypatch):
    in_blocks(monkeypatch, TILE)
    found = simulate(threads=1)
    assert found.stats["order"] == "blocks"
    for name, array in usual.observed.items():
        assert np.array_equal(found.observed[name], array)


@pytest.mark.parametrize("more", [{}, {"exponent": 1.3, "start_exponent": 1.7, "damping": 1e-4}])
def test_a_power_law_is_no_arrays(more):
    problem = nqm.Problem.power_law(3000, **more)
    found = simulate(problem=problem, trajectory=[2999, 5], keep_state=True)
    assert found.trajectory.coordinates.tolist() == [5, 2999]
    assert_ends_at_the_state(found, [5, 2999])


@pytest.mark.parametrize("sampling", ["minibatch", "leap"])
@pytest.mark.parametrize("traced", [0, 1])
def test_after_divergence_they_are_as_the_risk(sampling, traced):
    """Also those of a coordinate that is stable itself."""
    problem = nqm.Problem(np.array([1.0, *[1e-9] * 70]), mean0=1.0)
    algorithms = [nqm.SGD(1e30), nqm.SGD(0.1), nqm.SGD(1e20, momentum=0.5)]
    run = nqm.simulate(
        problem, algorithms, 8, 40, record=1, sampling=sampling, trajectory=[traced, 70]
    )
    assert run.status == "diverged"
    late = ~np.isfinite(run.risk)
    assert late.any(axis=-1).tolist() == [[True], [False], [True]]
    for paths in (run.trajectory.w, run.trajectory.evaluated):
        assert (paths[late] == np.inf).all()
        assert np.isfinite(paths[~late]).all()


def test_neighbouring_leaves_are_computed_together():
    numbers = np.array([3, 63, 64, 200, 511, 1000, 1001])
    assert traced_ranges(numbers, 0, 1002) == [(0, 128), (192, 256), (448, 512), (960, 1002)]
    assert traced_ranges(numbers, 512, 960) == []
    assert traced_ranges(numbers, 512, 1002) == [(960, 1002)]


# -- files -------------------------------------------------------------------------------


def test_they_are_in_the_file(usual, path):
    simulate(out=path)
    read = nqm.open_run(path)
    for name, array in usual.observed.items():
        assert np.array_equal(read.observed[name], array)
    assert np.array_equal(read.trajectory.coordinates, CHOSEN)
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert data["w"].dims == data["evaluated"].dims == ("setting", "replica", "step", "traced")
        assert data["traced"].values.tolist() == CHOSEN
        assert np.array_equal(data["w"].sel(traced=TILE), usual.trajectory.w[..., 4])


def test_tables_have_them(usual):
    data = usual.to_xarray()
    assert np.array_equal(data["evaluated"].sel(traced=LAST), usual.trajectory.evaluated[..., -1])
    table = usual.to_pandas()
    assert np.array_equal(table[f"w_{LAST}"], usual.trajectory.w[..., -1].ravel())


def test_one_setting_has_no_axis_of_settings():
    run = simulate(algorithm=ALGORITHMS[0], trajectory=3)
    assert run.trajectory.w.shape == (2, 4, 1)


@pytest.mark.parametrize("sampling", ["minibatch", "per-sample", "leap"])
@pytest.mark.parametrize("lengths", [(10,), (7, 3)])
def test_they_are_resumed(path, sampling, lengths, monkeypatch):
    whole = simulate(sampling=sampling, keep_state=True)
    with monkeypatch.context() as patch:
        chunks_of(patch, *lengths)
        stopped_at_the_first_chunk(patch)
        part = simulate(sampling=sampling, keep_state=True, out=path)
        assert part.status == "interrupted"
        n = part.steps.size
        assert np.array_equal(part.trajectory.w, whole.trajectory.w[:, :, :n])
        while part.status == "interrupted":
            part = nqm.resume(path)
    assert_same(part, whole)
    assert_same(nqm.open_run(path), whole)


def test_they_are_resumed_in_blocks(usual, path, monkeypatch):
    in_blocks(monkeypatch, TILE)
    chunks_of(monkeypatch, 11)
    stopped_at_the_first_chunk(monkeypatch)
    part = simulate(threads=1, out=path)
    turns = 1
    while part.status == "interrupted":
        part = nqm.resume(path, threads=1)
        turns += 1
    assert turns > 8
    assert np.array_equal(part.trajectory.evaluated, usual.trajectory.evaluated)


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[2])
from test_trajectory import simulate, chunks_of
from types import SimpleNamespace
from nqm_fast.store.file_recorder import FileRecorder
chunks_of(SimpleNamespace(setattr=setattr), 4)
event, count = FileRecorder.event, [0]
def counted(recorder, progress):
    event(recorder, progress)
    count[0] += 1
    if count[0] == 5:
        os._exit(9)
FileRecorder.event = counted
simulate(out=sys.argv[1], checkpoint_every=0)
"""


def test_a_run_that_was_killed_is_resumed(usual, path):
    code = [sys.executable, "-c", KILLED, str(path), os.path.dirname(__file__)]
    paths = os.pathsep.join(x for x in sys.path if x)
    assert subprocess.run(code, env=os.environ | {"PYTHONPATH": paths}).returncode == 9
    killed = nqm.open_run(path)
    assert killed.status == "killed"
    n = killed.steps.size
    assert 0 < n < usual.steps.size
    assert np.array_equal(killed.trajectory.w, usual.trajectory.w[:, :, :n])
    whole = nqm.resume(path)
    assert np.array_equal(whole.trajectory.w, usual.trajectory.w)
    assert np.array_equal(nqm.open_run(path).trajectory.evaluated, usual.trajectory.evaluated)


@pytest.mark.parametrize("keep_state", [True, False])
@pytest.mark.parametrize("sampling", ["minibatch", "leap"])
def test_a_longer_run_has_them(usual, path, sampling, keep_state):
    whole = simulate(sampling=sampling, keep_state=keep_state)
    simulate(steps=16, record=[0, 7, 16], sampling=sampling, keep_state=keep_state, out=path)
    assert_same(nqm.resume(path, steps=30), whole)
    assert_same(nqm.open_run(path), whole)


def test_more_replicas_have_them(path):
    whole = simulate(replicas=[2, 4, 1], keep_state=True)
    simulate(keep_state=True, out=path)
    assert_same(nqm.resume(path, replicas=[2, 4, 1]), whole)


ENDS = [(0, TILE), (TILE, 2 * TILE), (2 * TILE, 3 * TILE), (3 * TILE, PROBLEM.dim)]


@pytest.mark.parametrize("chosen", [CHOSEN, [3, LAST], [TILE + 1]])
def test_shards_are_merged(path, chosen):
    """A shard has the paths of its own coordinates, which may be none."""
    whole = simulate(replicas=[1, 4], trajectory=chosen)
    parts = []
    for k, (first, last) in enumerate(ENDS):
        for replica in (4, 1):
            parts.append(path.with_name(f"{k}-{replica}.h5"))
            shard = simulate(
                replicas=[replica], trajectory=chosen, coordinates=(first, last), out=parts[-1]
            )
            own = [i for i in chosen if first <= i < last]
            found = shard.trajectory
            assert (found is None) if not own else (found.coordinates.tolist() == own)
    merged = nqm.merge(parts[::-1], path)
    assert merged.trajectory.coordinates.tolist() == chosen
    for name, array in whole.observed.items():
        assert np.array_equal(merged.observed[name], array)


def test_shards_with_other_paths_are_refused(path):
    parts = [path.with_name(f"{k}.h5") for k in range(2)]
    for part, ends, chosen in zip(parts, [(0, TILE), (TILE, 2 * TILE)], [[3], [4]], strict=True):
        simulate(problem=irregular(2 * TILE), coordinates=ends, trajectory=chosen, out=part)
    with pytest.raises(nqm.InputError, match="trajectory is"):
        nqm.merge(parts, path)


@pytest.mark.parametrize("in_file", [True, False])
def test_workers_compute_them(usual, path, in_file):
    found = simulate(executor=InProcess(), keep_state=True, out=path if in_file else None)
    assert found.stats["shards"] > 1
    assert_same(found, usual)


# -- arguments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trajectory", "message"),
    [
        ([0, PROBLEM.dim], f"from 0 to {LAST}, but contains {PROBLEM.dim}"),
        ([-1], "whole numbers >= 0, but contains -1"),
        ([0.5], "whole numbers >= 0"),
        ([], "one or more numbers"),
        ([[0], [1]], "one or more numbers"),
        ("w", "whole numbers"),
    ],
)
def test_what_are_no_coordinates(trajectory, message):
    with pytest.raises(nqm.InputError, match=f"trajectory must be .*{message}"):
        simulate(trajectory=trajectory)


def test_collapsed_sampling_has_no_paths():
    with pytest.raises(
        nqm.InputError, match=r"trajectory = \[3\] cannot be recorded .*'collapsed'"
    ):
        simulate(sampling="collapsed", trajectory=3)


def test_too_many_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**7)
    simulate(trajectory=[0, 1])
    with pytest.raises(nqm.InputError, match=r"GB of memory.* or fewer coordinates in trajectory"):
        simulate(trajectory=range(PROBLEM.dim), record=1, replicas=10)


def test_the_command_line_has_them(path, capsys):
    small = ["--set", "problem.dim=200", "--set", "steps=50", "--set", "replicas=2"]
    assert main(["run", *small, "--set", "trajectory=[0, 199]", "--out", str(path)]) == 0
    assert nqm.open_run(path).trajectory.coordinates.tolist() == [0, 199]
    capsys.readouterr()
    assert main(["info", str(path)]) == 0
    assert "coordinates 0, 199" in capsys.readouterr().out
    wrong = ["run", *small, "--set", "trajectory=[200]", "--out", str(path), "--overwrite"]
    assert main(wrong) == 2
    assert "--set trajectory=[200]: trajectory must be" in capsys.readouterr().err


def test_a_sweep_has_them():
    data = nqm.sweep(
        "simulate", {"lr": [0.1, 0.2]}, executor=InProcess(),
        dim=100, batch_size=8, steps=20, trajectory=[2, 70],
    )  # fmt: skip
    alone = nqm.simulate(nqm.Problem.power_law(100), nqm.SGD(0.2), 8, 20, trajectory=[2, 70])
    assert np.array_equal(data["w"].sel(lr=0.2), alone.trajectory.w)
    assert data["traced"].values.tolist() == [2, 70]
