"""The backend for NVIDIA's GPUs, where there is one, or the simulator (`test_cuda_simulated`)."""

import sys
import threading

import numpy as np
import pytest
from nqm_fast.kernels import BackendError, load_backend, noise, reference
from nqm_fast.kernels.contract import LEAF, Chunk, Formula, Timeline

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.simulation import chunking, controller, loops
from nqm_fast.simulation.lowering import band_numbers
from nqm_fast.store.file_recorder import FileRecorder

pytest.importorskip("numba_cuda")
cuda_target = pytest.importorskip("nqm_fast.kernels.cuda.jit")
SIMULATED = cuda_target.SIMULATED
try:
    cuda_target.available()
except ValueError as error:
    pytest.skip(str(error), allow_module_level=True)
BACKEND = load_backend("cuda")
cuda_gpu = sys.modules["nqm_fast.kernels.cuda.backend"]

pytestmark = pytest.mark.gpu
on_hardware = pytest.mark.skipif(SIMULATED, reason="needs a GPU")

GROUP = cuda_gpu.GROUP
if SIMULATED:  # where every thread is one of Python's
    sys.setswitchinterval(1e-4)
    GROUP = 2
    for name in ("backend", "reduce"):
        sys.modules[f"nqm_fast.kernels.cuda.{name}"].GROUP = GROUP

LAPLACE, RADEMACHER = noise.LAWS["laplace"].code, noise.LAWS["rademacher"].code
D = LEAF - 3 if SIMULATED else 300 * LEAF + 5
STEPS = 19
RAMP = schedules.Warmup(7, schedules.Constant(0.2))
PIECES = schedules.Piecewise([0.3, 0.1, 0.2], [5, 6, 8])

# name: algorithm, batch size, further arguments
RUNS = {
    "plain": (nqm.SGD(0.3), 8, {}),
    "momentum": (nqm.SGD(0.1, momentum=0.9), 8, {}),
    "ema": (nqm.SGD(0.3, ema=0.7), 8, {}),
    "power": (nqm.SGD(0.3, power=1.0), 8, {}),
    "all": (nqm.SGD(0.05, momentum=0.8, ema=0.9, power=0.5), 8, {}),
    "schedule": (nqm.SGD(RAMP, momentum=0.5), schedules.Piecewise([2.5, 64.0], [8, 11]), {}),
    "bands": (nqm.SGD(0.3, ema=0.5), 8, {"bands": 3}),
    "diverging": (nqm.SGD(1e30), 8, {}),
    "diverging, at the end": (nqm.SGD(1e10, momentum=0.9), 8, {"steps": 17}),
    "leap": (nqm.SGD(0.1, momentum=0.9, ema=0.9), 8, {"sampling": "leap"}),
    "leap in pieces": (nqm.SGD(PIECES), 8, {"sampling": "leap"}),
    "leap that diverges": (nqm.SGD(1e60), 8, {"sampling": "leap"}),
}
for data in noise.LAWS:
    RUNS[data] = (
        nqm.SGD(0.3, momentum=0.5),
        schedules.Piecewise([1, 5, 37 if data == "rademacher" else 7], [8, 8, 3]),
        {"sampling": "per-sample", "data": data},
    )


def irregular(d):
    """A problem with an irregular start."""
    rng = np.random.default_rng(1)
    return nqm.Problem(
        rng.uniform(0.01, 1.0, d), rng.uniform(0.0, 2.0, d), mean0=rng.uniform(-1, 1, d), var0=0.5
    )


def run(name, backend, **changes):
    algorithm, batch, arguments = RUNS[name]
    changes = {
        "problem": irregular(D), "algorithm": algorithm, "batch_size": batch, "steps": STEPS,
        "record": [0, 3, 8, 14], "replicas": [2, 5], "seed": 2**40 + 7, "keep_state": True,
        **arguments, **changes,
    }  # fmt: skip
    return nqm.simulate(backend=backend, **changes)


def assert_same(a, b):
    assert np.array_equal(a.steps, b.steps)
    assert np.array_equal(a.risk, b.risk)
    assert np.array_equal(a.diverged_at, b.diverged_at)
    assert a.status == b.status
    if a.band_risk is not None:
        assert np.array_equal(a.band_risk, b.band_risk)
    if a.state is not None:
        of_settings = zip(a.state, b.state, strict=True)
        assert all(np.array_equal(x, y) for x, y in of_settings)


@pytest.fixture
def in_chunks(monkeypatch):
    """Calls of kernels go so many steps."""

    def go(length):
        def end(sizer, done):
            return min(done + length, sizer.task.steps)

        monkeypatch.setattr(chunking.ChunkSizer, "next_stop", end)

    return go


# -- the same bits -----------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_runs(name):
    found = run(name, "cuda")
    assert_same(found, run(name, "numpy"))
    assert (found.status == "diverged") == ("diverg" in name)


@pytest.mark.parametrize("name", ["momentum", "schedule", "rademacher"])
def test_chunks(name, in_chunks):
    """That need not fit the noise's blocks of four steps."""
    whole = run(name, "numpy")
    in_chunks(7)
    assert_same(run(name, "cuda"), whole)


@pytest.mark.parametrize("sampling", ["minibatch", "per-sample", "leap"])
@pytest.mark.parametrize("batches", [2, [3, 2, schedules.Piecewise([1, 3], [7, 12]), 1]])
def test_settings_on_one_noise_stream(sampling, batches, in_chunks):
    """With equal batch sizes, and with their own; one of them diverges."""
    algorithms = [nqm.SGD(0.3), nqm.SGD(0.2, momentum=0.9), nqm.SGD(1e30), nqm.SGD(PIECES)]
    changes = {"algorithm": algorithms, "batch_size": batches, "sampling": sampling}
    whole = run("plain", "numpy", **changes)
    if sampling != "leap":
        in_chunks(14)
    assert_same(run("plain", "cuda", **changes), whole)


@pytest.mark.parametrize("components", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("law", [-1, LAPLACE, "leap"])
def test_any_recurrence(arbitrary, components, law):
    """Of more components than the algorithms here have; one setting of a replica has diverged."""
    *arguments, state = arbitrary(components, 2, 1, -1 if law == "leap" else law)
    alive = np.array([[True, False], [True, True]])
    answers = []
    for backend, workers in ((reference.BACKEND, 1), (BACKEND, [0])):
        own = state.copy()
        move = backend.leap if law == "leap" else backend.advance
        answers.append((*move(Chunk(*arguments, own, alive, workers)), own))
    for found, wanted in zip(*answers, strict=True):
        assert np.isfinite(found).all()
        assert np.array_equal(found, wanted)
    assert np.array_equal(answers[0][2][0, 1], state[0, 1])


def test_more_samples_than_an_int32_holds(arbitrary):
    """Signs can be drawn by the thousand million; here it is seen that their number survives."""
    _, model, timeline, _ = arbitrary(1, 1, 1, RADEMACHER)
    many = timeline._replace(samples=timeline.samples + 2**31)
    steps = cuda_gpu.tasks.steps(model, many, RADEMACHER)
    assert steps.samples.max() == 2**31 + timeline.samples.max()


def test_more_components_than_fit(monkeypatch):
    """A block's memory holds a matrix of eight rows; more are refused before anything is begun."""
    with monkeypatch.context() as context:
        context.setattr(type(BACKEND), "most_components", 2)
        with pytest.raises(nqm.InputError, match="at most 2 components for this backend, not 3"):
            run("all", "cuda")
    assert BACKEND.most_components == 8


def rows(seed, count, width):
    """Words with every edge among them."""
    edges = np.unique([w for k in range(32) for w in (2**k - 1, 2**k)] + [2**32 - 1])
    words = np.random.default_rng(seed).integers(0, 2**32, (count, width))
    words.ravel()[: edges.size] = edges
    return words.astype(np.uint32)


def test_words_and_normals():
    count = 200 if SIMULATED else 100_000
    counters, keys = rows(1, count, 4), rows(2, count, 2)
    words = BACKEND.philox4x32(counters, keys)
    assert np.array_equal(words, reference.BACKEND.philox4x32(counters, keys))
    z = BACKEND.normals(rows(3, count, 4))
    assert np.array_equal(z.view(np.uint32), reference.normals(rows(3, count, 4)).view(np.uint32))


def test_curvature_from_a_formula(arbitrary):
    """The device's arrays are those that the problem has; coordinates beyond the last are zero."""
    problem, first, size = nqm.Problem.power_law(10**9), 10**6, LEAF + 9
    h = problem.block(first, first + size).h
    edges = np.array([h[-1], h[50], h[20], h[3]])
    stream, model, _, state = arbitrary(1, 1, 2, -1)
    none = np.zeros(0)
    empty = model._replace(
        values=none.reshape(1, 0), sigma=none, weight=none.reshape(1, 0),
        group=none.astype(np.int64),
    )  # fmt: skip
    held = BACKEND.new_state(stream, empty, state, [0], Formula(first, size, edges))
    found = held.shards[0].coefficients
    wanted = [(found.values, h), (found.sigma, np.sqrt(h)), (found.weight, 0.5 * h)]
    for array, values in [*wanted, (found.group, band_numbers(edges, h))]:
        there = array.copy_to_host()
        assert np.array_equal(there[:size], values)
        assert not there[size:].any()


@pytest.mark.parametrize("name", ["plain", "bands", "momentum"])
def test_power_laws(name):
    """Of exponent 1 from the formula, others from arrays."""
    for exponent in (1.0, 0.7):
        problem = nqm.Problem.power_law(D, exponent)
        assert_same(run(name, "cuda", problem=problem), run(name, "numpy", problem=problem))


# -- blocks, devices, files --------------------------------------------------------------


@pytest.mark.parametrize("name", ["bands", "leap", "diverging"])
def test_several_devices(name):
    """Whole groups of leaves are spread over them; here two devices are the same."""
    changes = {"problem": irregular(3 * GROUP * LEAF - 3), "steps": 14, "record": [0, 14]}
    several = run(name, "cuda", devices=[0, 0], **changes)
    assert several.stats["devices"] == [0, 0]
    assert_same(several, run(name, "numpy", **changes))


def test_blocks_of_coordinates(monkeypatch):
    """The order for problems that are larger than memory."""
    problem = nqm.Problem.power_law(9 * LEAF)
    changes = {"problem": problem, "keep_state": False, "steps": 6, "record": [2, 6]}
    whole = run("bands", "numpy", **changes)
    monkeypatch.setattr(sys.modules["nqm_fast.simulation.api"], "IN_MEMORY", 0)
    monkeypatch.setattr(loops, "block_size", lambda _: 8 * LEAF)
    blocks = run("bands", "cuda", **changes)
    assert blocks.stats["order"] == "blocks"
    assert_same(blocks, whole)


def test_begun_on_one_backend_and_gone_on_with_on_another(monkeypatch, in_chunks, tmp_path):
    whole = run("all", "numpy", record=1)
    in_chunks(5)
    with monkeypatch.context() as context:
        context.setattr(
            controller.Controller, "stopped", property(lambda self: self.signals.waiting)
        )
        part = run("all", "cuda", record=1, out=tmp_path / "run.h5")
        assert part.status == "interrupted"
        assert part.steps[-1] == 5
        part = nqm.resume(tmp_path / "run.h5", backend="numpy")
        assert part.steps[-1] == 10
        part = nqm.resume(tmp_path / "run.h5", backend="cuda", devices=0)
    assert_same(nqm.resume(tmp_path / "run.h5", backend="cuda"), whole)


def test_writing_does_not_stop_the_device(monkeypatch, in_chunks, tmp_path):
    """While records are written, further steps are launched; a checkpoint keeps its state."""
    launches, writes, third = [], [], threading.Event()
    launch, event = cuda_gpu.GpuState.launch, FileRecorder.event

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
            alone = run("all", "numpy", steps=at, record=1)
            assert np.array_equal(saved["state_0"][0][..., :D], alone.state)
        writes.append(standing.records)
        event(recorder, standing)

    monkeypatch.setattr(cuda_gpu.GpuState, "launch", launched)
    monkeypatch.setattr(FileRecorder, "event", written)
    in_chunks(4)
    found = run("all", "cuda", record=1, out=tmp_path / "run.h5", checkpoint_every=0)
    assert launches == [4, 8, 12, 16, 19]
    assert writes
    assert_same(found, run("all", "numpy", record=1))
    assert_same(nqm.open_run(tmp_path / "run.h5"), found)


def test_what_goes_wrong_in_writing_ends_the_run(monkeypatch, in_chunks, tmp_path):
    def full(recorder, standing):
        raise OSError(28, "No space left on device", "run.h5")

    monkeypatch.setattr(FileRecorder, "event", full)
    in_chunks(4)
    with pytest.raises(OSError, match="No space left"):
        run("plain", "cuda", record=1, out=tmp_path / "run.h5")
    assert not [x for x in threading.enumerate() if x.name.startswith("nqm_fast")]


def test_a_full_memory_loses_nothing(monkeypatch, in_chunks, tmp_path):
    """What was computed before is in the file, and the run can be gone on with."""
    whole = run("momentum", "numpy")
    in_chunks(6)
    usual, calls = cuda_gpu.cuda_plan.steps, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise RuntimeError("[CUresult.CUDA_ERROR_OUT_OF_MEMORY] Call to cuMemAlloc failed")
        return usual(*arguments)

    with monkeypatch.context() as context:
        context.setattr(cuda_gpu.tasks, "steps", full)
        with pytest.raises(MemoryError, match="GPU's memory is full: use fewer") as error:
            run("momentum", "cuda", out=tmp_path / "run.h5")
    assert "\n" not in str(error.value)
    part = nqm.open_run(tmp_path / "run.h5")
    assert part.steps.tolist() == [0, 3, 8]
    assert_same(nqm.resume(tmp_path / "run.h5", backend="cuda"), whole)


def test_a_run_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(type(BACKEND), "free_memory", lambda self, workers: 1e3)
    with pytest.raises(nqm.InputError, match=r"of the GPU's memory, of which 0\.0 GB are free"):
        run("plain", "cuda")


@pytest.mark.parametrize("devices", [[], 7, "0", [0, 99], 0.5])
def test_devices_that_are_not_there(devices):
    with pytest.raises(nqm.InputError, match=r"devices must be numbers of GPUs that are here \(0"):
        run("plain", "cuda", devices=devices)


def test_other_errors_are_not_explained_away():
    with pytest.raises(RuntimeError, match=r"^something else$"), cuda_target.explained():
        raise RuntimeError("something else")
    assert issubclass(BackendError, ValueError)


# -- on a GPU only -----------------------------------------------------------------------


@on_hardware
@pytest.mark.parametrize("size", [1, 10**3, 10**6, 10**7, 10**8])
def test_sizes(size):
    problem = nqm.Problem.power_law(size)
    found, wanted = (
        nqm.simulate(problem, nqm.SGD(0.3, momentum=0.5), 8, 16, seed=3, record=[0, 7, 16], **how)
        for how in ({"backend": "cuda"}, {})
    )
    assert np.array_equal(found.risk, wanted.risk)


@on_hardware
@pytest.mark.parametrize("name", ["plain", "all", "leap", *noise.LAWS])
def test_long_runs(name):
    batch = 8 if name in ("plain", "all", "leap") else schedules.Piecewise([1, 70], [500, 500])
    changes = {"batch_size": batch, "steps": 1000, "record": 50}
    assert_same(run(name, "cuda", **changes), run(name, "auto", **changes))


@on_hardware
def test_records_come_back_while_the_next_steps_are_computed(arbitrary):
    """Two streams: the sums of one stretch are here before the next is through."""
    stream, model, timeline, state = arbitrary(2, 1, 4096, -1)
    held = BACKEND.new_state(stream, model, state, [0])
    alive = np.ones((1, 2), dtype=bool)
    one = np.ones((1, 1))
    far = Timeline(
        10, 200_010, np.array([200_010]), timeline.weights[:1], one, one.astype(int),
        timeline.records[:0],
    )  # fmt: skip
    held.launch(timeline, alive, False)
    held.collect()
    held.launch(far, alive, False)
    running = held.shards[0].running
    before = held.read()
    assert not running.computed.query()
    assert np.isfinite(before).all()
    held.collect()


@on_hardware
def test_a_memory_that_is_really_full(arbitrary):
    cuda = cuda_target.cuda
    free = int(BACKEND.free_memory([0]))
    taken = cuda.device_array(free - (1 << 28), dtype=np.uint8)
    *arguments, state = arbitrary(2, 1, 1 << 17, -1)
    with pytest.raises(MemoryError, match="GPU's memory is full"):
        BACKEND.advance(Chunk(*arguments, state, np.ones((1, 2), dtype=bool), [0]))
    del taken
    assert_same(run("plain", "cuda"), run("plain", "numpy"))
