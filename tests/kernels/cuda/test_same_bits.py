"""The backend for NVIDIA's GPUs has the bits of the NumPy reference."""

import numpy as np
import pytest
from family import METHODS, PERIODIC, VARYING
from gpu import BACKEND, RATES, SIMULATED, D, module, run
from helpers import arbitrary_job, assert_same, chunks_of, irregular
from nqm_fast.kernels import noise, reference
from nqm_fast.kernels.contract import LEAF, Chunk, Formula

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.simulation.models import band_numbers

pytestmark = pytest.mark.gpu

LAPLACE, RADEMACHER = noise.LAWS["laplace"].code, noise.LAWS["rademacher"].code
# Of the simulator's slow ones there are fewer, and CI leaves out what is like others.
LIKE_OTHERS = [pytest.mark.thorough] * SIMULATED
JOBS = [(n, law) for n in (1, 2, 3, 4, 5, 7) for law in (-1, LAPLACE, "leap")]
if SIMULATED:
    JOBS = [(n, law) for n, law in JOBS if law == -1 or n in ((1, 3) if law == LAPLACE else (2, 7))]
JOBS = [
    pytest.param(n, law, marks=LIKE_OTHERS if (n, law) in ((4, -1), (5, -1), (7, "leap")) else ())
    for n, law in JOBS
]
OWN_BATCHES = [3, 2, schedules.Piecewise([1, 3], [7, 12]), 1]
STREAMS = [("minibatch", OWN_BATCHES), ("leap", OWN_BATCHES), ("per-sample", 2)]
STREAMS += [pytest.param("per-sample", OWN_BATCHES, marks=LIKE_OTHERS)]
PIECES = schedules.Piecewise([0.3, 0.1, 0.2], RATES)


@pytest.mark.parametrize("name", run.kinds)
def test_runs(name):
    found = run(name, backend="cuda")
    assert_same(found, run(name, backend="numpy"))
    assert (found.status == "diverged") == ("diverg" in name)


@pytest.mark.parametrize("name", ["momentum", "rademacher", "leap", "diverging"])
def test_paths_of_coordinates(name, monkeypatch):
    """The CPU computes them beside the GPU, and they end where the GPU's state does."""
    how = {"trajectory": [0, D - 1], "record": [0, 3, 8, 14, 19]}
    chunks_of(monkeypatch, 7)
    found = run(name, backend="cuda", **how)
    assert_same(found, run(name, backend="numpy", **how))
    assert np.array_equal(found.trajectory.w[:, -1], found.state[:, 0, [0, D - 1]])


@pytest.mark.parametrize("name", ["momentum", "schedule", "rademacher"])
def test_chunks(name, monkeypatch):
    """Chunks need not fit the noise's blocks of four steps."""
    whole = run(name, backend="numpy")
    chunks_of(monkeypatch, 7)
    assert_same(run(name, backend="cuda"), whole)


@pytest.mark.parametrize(("sampling", "batches"), STREAMS)
def test_settings_on_one_noise_stream(sampling, batches, monkeypatch):
    """Settings have equal batch sizes or their own; one of them diverges."""
    algorithms = [nqm.SGD(0.3), nqm.SGD(0.2, momentum=0.9), nqm.SGD(1e30), nqm.SGD(PIECES)]
    changes = {"algorithm": algorithms, "batch_size": batches, "sampling": sampling}
    whole = run("plain", backend="numpy", **changes)
    if sampling != "leap":
        chunks_of(monkeypatch, 14)
    assert_same(run("plain", backend="cuda", **changes), whole)


FAMILY = [(name, "minibatch") for name in METHODS]
FAMILY += [(name, "leap") for name in METHODS if name not in VARYING]
FAMILY += [(name, "per-sample") for name in ("AdEMAMix", "delay", "accumulated")]
if SIMULATED:  # It takes a second for each, and longer leaps.
    kept = (*PERIODIC, "delay")
    FAMILY = [(name, how) for name, how in FAMILY if how != "leap" or name in kept]


@pytest.mark.mostly_slow(6, slow=0)
@pytest.mark.parametrize(("name", "sampling"), FAMILY)
def test_linear_methods(name, sampling):
    how = {"algorithm": METHODS[name], "batch_size": 3, "sampling": sampling}
    if "long" in name:
        with pytest.raises(nqm.InputError, match="at most 8 components for this backend, not 13"):
            run("plain", backend="cuda", **how)
        return
    assert_same(run("plain", backend="cuda", **how), run("plain", backend="numpy", **how))


def test_leaps_near_the_limit():
    """Some coordinates of a leaf need twice as many digits, and the others do not."""
    algorithms = [nqm.SGD(3.99, momentum=0.9999), nqm.SGD(3.5, momentum=0.99, ema=0.9)]
    problem = nqm.Problem(np.linspace(0.01, 1.0, 100))
    how = {"problem": problem, "algorithm": algorithms, "sampling": "leap", "record": [7, 19]}
    assert_same(run("plain", backend="cuda", **how), run("plain", backend="numpy", **how))


@pytest.mark.parametrize(("components", "law"), JOBS)
def test_any_recurrence(components, law):
    """A state may have more components than SGD's; one setting of a replica has diverged."""
    *arguments, state = arbitrary_job(components, 2, 1, -1 if law == "leap" else law)
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


def test_more_samples_than_an_int32_holds():
    """The number of signs of a step may be larger than 2^31; it reaches the kernel whole."""
    _, model, timeline, _ = arbitrary_job(1, 1, 1, RADEMACHER)
    many = timeline._replace(samples=timeline.samples + 2**31)
    steps = module.tasks.steps(model, many, RADEMACHER)
    assert steps.samples.max() == 2**31 + timeline.samples.max()


def test_more_components_than_fit(monkeypatch):
    """A block's memory holds a matrix of eight rows; more are refused before anything is begun."""
    with monkeypatch.context() as context:
        context.setattr(type(BACKEND), "most_components", 2)
        with pytest.raises(nqm.InputError, match="at most 2 components for this backend, not 3"):
            run("all", backend="cuda")
    assert BACKEND.most_components == 8


def rows(seed, count, width):
    """Random words, with every power of two and its neighbour among them."""
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


def test_curvature_from_a_formula():
    """The device's arrays are those that the problem has; coordinates beyond the last are zero."""
    problem, first, size = nqm.Problem.power_law(10**9), 10**6, LEAF + 9
    h = problem.block(first, first + size).h
    edges = np.array([h[-1], h[50], h[20], h[3]])
    stream, model, _, state = arbitrary_job(1, 1, 2, -1)
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


@pytest.mark.parametrize(
    "name", ["bands", *(pytest.param(name, marks=LIKE_OTHERS) for name in ("plain", "momentum"))]
)
def test_power_laws(name):
    """A power law of exponent 1 is computed from its formula, others come as arrays."""
    for exponent in (1.0, 0.7):
        problem = nqm.Problem.power_law(D, exponent)
        assert_same(
            run(name, backend="cuda", problem=problem), run(name, backend="numpy", problem=problem)
        )


@pytest.mark.parametrize("exponent", [1.0, 0.7])
def test_shards(exponent, tmp_path):
    """A shard has the coordinates' own curvatures and noise, also those of a formula."""
    first = max(1 << (D - 1).bit_length(), LEAF)
    problem = nqm.Problem.power_law(first + D, exponent)
    paths = [tmp_path / "low.h5", tmp_path / "high.h5"]
    places = [(0, first), (first, problem.dim)]
    for path, backend, place in zip(paths, ("numpy", "cuda"), places, strict=True):
        run("bands", backend=backend, problem=problem, coordinates=place, out=path)
    merged = nqm.merge(paths, tmp_path / "run.h5")
    assert merged.stats["backend"] == "cuda, numpy"
    assert_same(merged, run("bands", backend="numpy", problem=problem))


RULES = {
    "adam": [nqm.Adam(PIECES, eps=0.1), nqm.SGD(0.3), nqm.AdamW(0.02, decay=0.3)],
    "adam, averaged": [nqm.Adam(0.05, ema=0.9)],
    "rmsprop": [nqm.RMSProp(0.02), nqm.RMSProp(0.02, momentum=0.9)],
    "sign": [nqm.SignSGD(PIECES), nqm.SignSGD(1e170), nqm.Signum(0.03)],
}


@pytest.mark.parametrize("name", RULES)
def test_algorithms_that_are_not_linear(name, monkeypatch):
    given = {"algorithm": RULES[name], "batch_size": 3, "problem": nqm.Problem.power_law(D)}
    if name == "rmsprop":
        given |= {"problem": irregular(D), "sampling": "per-sample", "data": "laplace"}
    whole = run("plain", backend="numpy", **given)
    assert (whole.status == "diverged") == (name == "sign")
    assert_same(run("plain", backend="cuda", **given), whole)
    if name == "adam":
        chunks_of(monkeypatch, 7)
        assert_same(run("plain", backend="cuda", **given), whole)
