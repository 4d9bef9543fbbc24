"""One seed, one answer: the same bits however a run is computed."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from nqm_fast.kernels import load_backend, present_backends
from nqm_fast.kernels.contract import LEAF, TILE

import nqm_fast as nqm
from nqm_fast import kernels, schedules
from nqm_fast.simulation import chunking, controller, loops

STEPS = 75
RAMP = schedules.Warmup(13, schedules.Constant(0.2))
PIECES = schedules.Piecewise([0.3, 0.1, 0.2], [10, 31, 34])

# name: algorithm, batch size, further arguments
RUNS = {
    "plain": (nqm.SGD(0.3), 8, {}),
    "momentum": (nqm.SGD(0.1, momentum=0.9), 8, {}),
    "ema": (nqm.SGD(0.3, ema=0.7), 8, {}),
    "power": (nqm.SGD(0.3, power=1.0), 8, {}),
    "all": (nqm.SGD(0.05, momentum=0.8, ema=0.9, power=0.5), 8, {}),
    "schedule": (nqm.SGD(RAMP, momentum=0.5), schedules.Piecewise([2.5, 64.0], [30, 45]), {}),
    "bands": (nqm.SGD(0.3, ema=0.5), 8, {"bands": 4}),
    "diverging": (nqm.SGD(1e9), 8, {}),
    "leap": (nqm.SGD(0.1, momentum=0.9, ema=0.9), 8, {"sampling": "leap"}),
    "leap in pieces": (nqm.SGD(PIECES), 8, {"sampling": "leap"}),
}
for data in ("normal", "uniform", "rademacher", "laplace", "student-t"):
    RUNS[data] = (
        nqm.SGD(0.3, momentum=0.5),
        schedules.Piecewise([1, 5, 70], [20, 30, 25]),
        {"sampling": "per-sample", "data": data},
    )


def irregular(d):
    """A problem with an irregular start."""
    rng = np.random.default_rng(1)
    return nqm.Problem(
        rng.uniform(0.01, 1.0, d), rng.uniform(0.0, 2.0, d), mean0=rng.uniform(-1, 1, d), var0=0.5
    )


@pytest.fixture(scope="module")
def problem():
    """Not a whole number of leaves."""
    return irregular(9 * LEAF + 5)


@pytest.fixture(scope="module")
def whole_tiles():
    """Of many leaves each, the last one not full."""
    return irregular(2 * TILE - 3)


def run(problem, name, **changes):
    algorithm, batch, arguments = RUNS[name]
    arguments = {
        "steps": STEPS,
        "replicas": 3,
        "seed": 2**40 + 7,
        "keep_state": True,
        "threads": 1,
        **arguments,
        **changes,
    }
    return nqm.simulate(problem, algorithm, batch, **arguments)


@pytest.fixture(scope="module")
def usual(problem):
    """Runs as anyone would make them."""
    return {name: run(problem, name) for name in RUNS}


@pytest.fixture(scope="module")
def usual_tiles(whole_tiles):
    return {name: run(whole_tiles, name) for name in RUNS}


def assert_same(a, b):
    assert np.array_equal(a.steps, b.steps)
    assert np.array_equal(a.risk, b.risk)
    assert np.array_equal(a.state, b.state)
    assert np.array_equal(a.diverged_at, b.diverged_at)
    assert a.status == b.status
    if a.band_risk is not None:
        assert np.array_equal(a.band_risk, b.band_risk)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_backends_and_threads(problem, usual, machine, name, threads):
    if machine == "numpy" and threads > 1:
        pytest.skip("NumPy has one thread")
    assert_same(run(problem, name, backend=machine, threads=threads), usual[name])


@pytest.mark.parametrize("name", RUNS)
def test_backends_on_large_tiles(whole_tiles, usual_tiles, machine, name):
    assert_same(run(whole_tiles, name, backend=machine, threads=2), usual_tiles[name])


def test_three_threads_that_are_really_there(problem, tmp_path):
    """Numba has as many as it was started with, usually one a core."""
    pytest.importorskip("numba")
    code = (
        "import numpy as np, numba, nqm_fast as nqm\n"
        "problem = nqm.Problem.power_law(5000)\n"
        "def run(threads):\n"
        "    return nqm.simulate(problem, nqm.SGD(0.3), 8, 40, threads=threads, keep_state=True)\n"
        "one, three = run(1), run(3)\n"
        "assert numba.config.NUMBA_NUM_THREADS == 3\n"
        "assert np.array_equal(one.risk, three.risk) and np.array_equal(one.state, three.state)\n"
    )
    environment = os.environ | {"NUMBA_NUM_THREADS": "3"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=tmp_path)


@pytest.mark.parametrize("name", ["plain", "bands", "leap in pieces", "student-t", "diverging"])
@pytest.mark.parametrize("leaves", [3])
def test_tile_sizes(problem, usual, name, leaves, monkeypatch):
    """Of any number of leaves; the problem has nine and a bit, the rest is padding."""
    pytest.importorskip("numba")  # the extension has two sizes
    whole = -(-problem.dim // (leaves * LEAF)) * leaves * LEAF
    monkeypatch.setattr("nqm_fast.kernels.tiled.tile_leaves", lambda _: leaves)
    monkeypatch.setattr("nqm_fast.simulation.lowering.padded", lambda _: whole)
    assert_same(run(problem, name, backend="numba"), usual[name])


@pytest.mark.parametrize("name", [name for name in RUNS if "leap" not in name])
@pytest.mark.parametrize("length", [1, 3, 7, 32])
def test_chunk_lengths(problem, usual, name, length, monkeypatch):
    """A timeline in pieces that need not fit the noise's blocks of four steps."""
    monkeypatch.setattr(
        chunking.ChunkSizer, "next_stop", lambda sizer, done: min(done + length, sizer.task.steps)
    )
    assert_same(run(problem, name), usual[name])


def test_leaps_in_chunks(problem, usual, monkeypatch):
    """Calls end at records only, here at each of them."""
    ends = []

    def next_record(sizer, done):
        ends.append(int(sizer.task.records[np.searchsorted(sizer.task.records, done, "right")]))
        return ends[-1]

    monkeypatch.setattr(chunking.ChunkSizer, "next_stop", next_record)
    assert_same(run(problem, "leap in pieces"), usual["leap in pieces"])
    assert ends == usual["leap in pieces"].steps[1:].tolist()


PARTS = {"one by one": [1], "few": [2, 3, 1, 13, 4, 28, 5], "in two": [40]}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("parts", PARTS)
def test_runs_in_parts(problem, usual, name, parts, monkeypatch, tmp_path):
    """Stopped after any number of steps, and gone on with from the file."""
    lengths = iter(PARTS[parts] * STEPS)

    def end(sizer, done):
        to = done + next(lengths)
        if sizer.task.leaps:
            to = sizer.task.records[np.searchsorted(sizer.task.records[:-1], to)]
        return min(int(to), sizer.task.steps)

    monkeypatch.setattr(chunking.ChunkSizer, "next_stop", end)
    monkeypatch.setattr(
        controller.Controller, "stopped", property(lambda self: self.signals.waiting)
    )
    path = tmp_path / "run.h5"
    part = run(problem, name, out=path)
    count = 1
    while part.status == "interrupted":
        assert f"go on with: nqm-fast resume {path}" in part.message
        part = nqm.resume(path, threads=1)
        count += 1
    assert count > 1 or name == "diverging"
    assert_same(part, usual[name])
    assert_same(nqm.open_run(path), usual[name])
    assert os.listdir(tmp_path) == [path.name]


def test_blocks_in_parts(monkeypatch, tmp_path):
    """The order for problems beyond memory, stopped within blocks and between them."""
    problem = nqm.Problem(np.random.default_rng(3).uniform(0.01, 1.0, 5 * TILE + 70))
    whole = run(problem, "bands", keep_state=False)
    monkeypatch.setattr(sys.modules["nqm_fast.simulation.api"], "STREAMED", 0)
    monkeypatch.setattr(loops, "block_size", lambda _: TILE)
    lengths = iter([40, 40, 7, 75, 3, 80, 21] * 10)
    monkeypatch.setattr(
        chunking.ChunkSizer,
        "next_stop",
        lambda sizer, done: min(done + next(lengths), sizer.task.steps),
    )
    monkeypatch.setattr(
        controller.Controller, "stopped", property(lambda self: self.signals.waiting)
    )
    path = tmp_path / "run.h5"
    part = run(problem, "bands", keep_state=False, out=path)
    assert part.stats["order"] == "blocks"
    while part.status == "interrupted":
        assert "so that no record is complete" in part.message
        assert part.risk.shape[1] == 0
        part = nqm.resume(path)
    assert part.stats["coordinate_steps"] == 3 * problem.dim * STEPS
    assert_same(part, whole)


@pytest.mark.parametrize("name", [name for name in RUNS if "leap" not in name])
@pytest.mark.parametrize("record", [1, 10, [STEPS], [0, 3, 4, 5, 41], []], ids=str)
def test_records(problem, usual, name, record):
    new = run(problem, name, record=record)
    assert np.array_equal(new.state, usual[name].state)
    shared, here, there = np.intersect1d(new.steps, usual[name].steps, return_indices=True)
    assert shared.size or not new.steps.size
    assert np.array_equal(new.risk[:, here], usual[name].risk[:, there])


@pytest.mark.parametrize("name", RUNS)
def test_replicas_one_by_one(problem, usual, name):
    for replica in range(3):
        alone = run(problem, name, replicas=[replica])
        assert np.array_equal(alone.risk[0], usual[name].risk[replica])
        assert np.array_equal(alone.state[0], usual[name].state[replica])


@pytest.mark.parametrize("sampling", ["minibatch", "per-sample", "leap"])
def test_settings_one_by_one(problem, sampling):
    """Settings of one to three components, with their own and with equal batch sizes."""
    algorithms = [
        nqm.SGD(0.3),
        nqm.SGD(PIECES, momentum=0.9),
        nqm.SGD(0.1, ema=0.9, power=0.5),
        nqm.SGD(0.2),
        nqm.SGD(1e9),
        nqm.SGD(0.1, momentum=0.7, ema=0.8),
    ]
    batches = [8, 2, schedules.Piecewise([1, 3], [20, 55]), 5, 1, 8]
    arguments = {"replicas": 2, "sampling": sampling, "keep_state": True, "seed": 3}
    for sizes in (batches, 4):
        together = nqm.simulate(problem, algorithms, sizes, STEPS, **arguments)
        assert together.risk.shape == (6, 2, together.steps.size)
        for g, algorithm in enumerate(algorithms):
            batch = batches[g] if sizes is batches else sizes
            alone = nqm.simulate(problem, algorithm, batch, STEPS, **arguments)
            assert np.array_equal(together.risk[g], alone.risk)
            assert np.array_equal(together.state[g], alone.state)
            assert np.array_equal(together.diverged_at[g], alone.diverged_at)


@pytest.mark.parametrize(
    "name", ["plain", "all", "schedule", "bands", "diverging", "leap in pieces", "rademacher"]
)
def test_both_orders_of_the_loops(name, monkeypatch):
    """Blocks of coordinates through all steps, or all coordinates through blocks of steps."""
    rng = np.random.default_rng(2)
    d = 11 * TILE + 100
    problem = nqm.Problem(rng.uniform(0.01, 1.0, d), mean0=rng.normal(size=d))
    by_steps = run(problem, name, keep_state=False)
    assert by_steps.stats["order"] == "steps"
    monkeypatch.setattr(sys.modules["nqm_fast.simulation.api"], "IN_MEMORY", 0)
    monkeypatch.setattr(loops, "block_size", lambda _: 2 * TILE)
    by_blocks = run(problem, name, keep_state=False)
    assert by_blocks.stats["order"] == "blocks"
    assert_same(by_blocks, by_steps)


def test_seeds_and_replicas_are_different_streams(problem, usual):
    risk = usual["plain"].risk
    assert len(np.unique(risk[:, -1])) == 3
    assert not np.any(run(problem, "plain", seed=2**40 + 8).risk == risk)
    assert not np.any(run(problem, "plain", seed=7).risk == risk)  # the high half counts


def digest(run):
    content = hashlib.sha256()
    for array in (run.steps, run.risk, run.state):
        content.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return content.hexdigest()[:16]


# A change of these is a change of the noise stream: it needs an entry in the changelog.
# Left out is what a library's pow or zeta decides: powers of h, the scale of Student's t.
NOT_EVERYWHERE = ("all", "student-t")
STREAM = {
    "plain": "af65d85f0129eb73",
    "momentum": "309837ad4cade4e6",
    "ema": "21cc4ee41a107c20",
    "power": "0b2b1695cf6438e2",
    "schedule": "85736f77f3450fc2",
    "bands": "acacab08941b13c6",
    "diverging": "f05eb56575c5c9db",
    "leap": "19bfcaf4f2461786",
    "leap in pieces": "6fdfdc03cbc1f609",
    "normal": "e782114a8f21712c",
    "uniform": "953a37373c612564",
    "rademacher": "7e765366ac5e9613",
    "laplace": "b431e9c5f8b15782",
}


@pytest.mark.parametrize("name", [name for name in RUNS if name not in NOT_EVERYWHERE])
def test_the_stream_has_not_changed(usual, name):
    assert digest(usual[name]) == STREAM[name]


@pytest.mark.parametrize("name", ["plain", "all", "leap", "normal", "diverging"])
def test_settings_together_and_in_chunks_on_every_backend(problem, machine, name, monkeypatch):
    """What else the contract has: several settings, replicas by number, timelines in pieces."""
    algorithm, batch, arguments = RUNS[name]
    settings = [algorithm, nqm.SGD(0.2, momentum=0.3), algorithm]
    changes = {"replicas": [2, 5], "keep_state": True, "seed": 9, "record": 25, **arguments}
    whole = nqm.simulate(problem, settings, batch, STEPS, **changes)
    if name != "leap":
        monkeypatch.setattr(
            chunking.ChunkSizer, "next_stop", lambda sizer, done: min(done + 22, sizer.task.steps)
        )
    run = nqm.simulate(problem, settings, batch, STEPS, backend=machine, **changes)
    assert np.array_equal(run.risk, whole.risk)
    assert np.array_equal(run.diverged_at, whole.diverged_at)
    assert all(np.array_equal(a, b) for a, b in zip(run.state, whole.state, strict=True))


EXACT = [
    nqm.SGD(0.1),
    nqm.SGD(0.1, momentum=0.9),
    nqm.SGD(0.1, ema=0.9, power=0.5),
    nqm.SGD(0.05, momentum=0.9, ema=0.9),
    nqm.SGD(RAMP, momentum=0.5),
    nqm.SGD(5.0, momentum=0.9),
]


@pytest.mark.parametrize("algorithm", EXACT, ids=repr)
def test_the_exact_model_has_the_same_bits(machine, algorithm, monkeypatch):
    """One source: the extension does what Numba does, NumPy does it with larger tiles."""
    steps = np.unique(np.geomspace(1, 10**6, 50).astype(int))
    answers = []
    for name in (present_backends()[0], machine):
        kernels.fastest_backend.cache_clear()
        monkeypatch.setattr(kernels, "present_backends", lambda name=name: [name])
        problem = nqm.Problem.power_law(3000)
        found = nqm.expected_risk(problem, algorithm, 64, steps)
        first = [
            nqm.steps_to_target(problem, algorithm, 64, x, max_steps=10**5) for x in (1.0, 0.1)
        ]
        answers.append((found, first))
    kernels.fastest_backend.cache_clear()
    (usual, first), (found, again) = answers
    assert first == again
    if machine == "numpy":
        finite = np.isfinite(usual)
        assert np.array_equal(finite, np.isfinite(found))
        assert np.allclose(found[finite], usual[finite], rtol=1e-13, atol=0.0)
    else:
        assert np.array_equal(found, usual)


def test_a_level_of_processors_is_chosen_by_the_environment(problem, usual, tmp_path):
    """In a process of its own; a level that is not there is refused with a sentence."""
    pytest.importorskip("nqm_fast.kernels.cython_cpu")
    code = (
        "import nqm_fast as nqm\n"
        "from nqm_fast.kernels import load_backend\n"
        "run = nqm.simulate(nqm.Problem.power_law(700), nqm.SGD(0.3), 8, 20, backend='cython')\n"
        "print(load_backend('cython').level(), run.risk.tobytes().hex())"
    )
    answers = {}
    for level in load_backend("cython").levels():
        environment = os.environ | {"NQM_CPU_LEVEL": level}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True, text=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        chosen, answers[level] = done.stdout.split()
        assert chosen == level
    assert len(set(answers.values())) == 1
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"NQM_CPU_LEVEL": "avx"}, cwd=tmp_path,
        text=True, capture_output=True,
    )  # fmt: skip
    assert "InputError: backend 'cython' cannot be used: NQM_CPU_LEVEL='avx'" in done.stderr
    assert "must be one of baseline, " in done.stderr
