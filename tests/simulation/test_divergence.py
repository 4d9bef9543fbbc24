"""The first step of divergence is found always: whatever comes later, and wherever calls end."""

import numpy as np
import pytest
from helpers import arbitrary_job, assert_same, chunks_of, slow_to_compile, slow_where
from nqm_fast.kernels import excursions, load_backend, present_backends, reference, remembering
from nqm_fast.kernels.contract import LEAF, LIMIT, Chunk, Timeline
from nqm_fast.kernels.noise import LAWS

import nqm_fast as nqm


def first_divergence(h, w, rates, momentum=0.0):
    """The first step at which the risk is beyond the limit, in a loop without noise, or -1."""
    w, v = np.full(len(h), w), np.zeros(len(h))
    with np.errstate(over="ignore", invalid="ignore"):
        for step, lr in enumerate([*rates, 0.0]):
            if not (0.5 * h * w * w <= LIMIT).all():
                return step
            v = momentum * v + h * w
            w = w - lr * v
    return -1


def excursion(after):
    rates = np.ones(3000)
    rates[1270], rates[1271:] = 1e146, after
    return rates


@pytest.mark.parametrize("after", [0.0, 1.0])
@pytest.mark.parametrize("lengths", [(3000,), (7,), (22, 300), (1271,), (1270, 3)])
def test_an_excursion_that_one_step_begins(machine, after, lengths, monkeypatch):
    """With rates of 1 after it, the iterate is back at once."""
    chunks_of(monkeypatch, *lengths)
    run = nqm.simulate(
        nqm.Problem([1.0]), nqm.SGD(excursion(after)), 1, 3000, record=[1270, 1271, 1272, 3000],
        backend=machine,
    )  # fmt: skip
    assert run.diverged_at.tolist() == [1271]
    assert run.status == "diverged"
    assert np.isinf(run.risk[0]).tolist() == [False, True, True, True]


def there_and_back(momentum):
    """Rates that grow an iterate of 1 beyond the limit and then bring it back to nothing.

    The velocity stays large for long, while the read-out is small.
    """
    rates, w, v = [], 1.0, 0.0
    for step in range(500):
        lr = 0.01
        if step in (101, 102, 105, 106):
            lr = 1e37
        v = momentum * v + w
        if step > 106:
            lr = w / v if step < 125 else 0.0
        rates.append(lr)
        w = w - lr * v
    return np.array(rates)


def test_an_excursion_within_a_burst_with_momentum(machine):
    rates = there_and_back(0.1)
    wanted = first_divergence(np.ones(1), 1.0, rates, 0.1)
    assert wanted == 107
    problem = nqm.Problem([1.0], c=0.0, mean0=1.0, var0=0.0)
    run = nqm.simulate(problem, nqm.SGD(rates, momentum=0.1), 1, 500, backend=machine)
    assert run.diverged_at.tolist() == [wanted]


def test_one_replica_by_noise_alone(machine):
    """A coordinate at 0 is sent far by one step's noise, and is back at the next.

    Its rate is just at the limit, so that the size of a normal decides.
    """
    rates = np.zeros(100)
    rates[41], rates[42] = 3.2e145, 1.0
    problem = nqm.Problem([1.0], mean0=0.0, var0=0.0)
    run = nqm.simulate(
        problem, nqm.SGD(rates), 1, 100, replicas=20, record=[100], backend=machine, keep_state=True
    )
    short = nqm.simulate(
        problem, nqm.SGD(np.append(rates[:41], 1.0)), 1, 42, replicas=20, backend=machine,
        keep_state=True,
    )  # fmt: skip
    noise = np.abs(short.state[:, 0, 0])  # of the step at rate 1
    beyond = 0.5 * (3.2 * noise) ** 2 > 1.0
    assert 0 < beyond.sum() < 20
    assert run.diverged_at.tolist() == np.where(beyond, 42, -1).tolist()


@pytest.mark.parametrize("seed", range(12))
def test_the_step_of_a_loop_in_numpy(seed, machine):
    """Schedules change at random steps, some by many orders of magnitude."""
    rng = np.random.default_rng(seed)
    d, steps = int(rng.integers(1, 80)), 400
    h = np.full(d, 1.0) if seed % 2 else rng.uniform(0.1, 1.0, d)
    momentum = float(rng.choice([0.0, 0.5, 0.9]))
    rates = np.repeat(rng.uniform(0.1, 1.9, 20), steps // 20)
    far = rng.integers(0, steps - 1, 4)
    rates[far] = 10.0 ** rng.uniform(0, 160 if seed % 3 else 40, 4)
    rates[far + 1] = 1.0
    wanted = first_divergence(h, 1.0, rates, momentum)
    problem = nqm.Problem(h, c=0.0, mean0=1.0, var0=0.0)
    run = nqm.simulate(problem, nqm.SGD(rates, momentum=momentum), 1, steps, backend=machine)
    assert run.diverged_at.tolist() == [wanted]


def test_resumed_merged_and_longer_runs_agree(tmp_path, monkeypatch):
    changes = {"replicas": 3, "record": [0, 1271, 1400, 3000]}
    arguments = nqm.Problem([1.0, 1.0]), nqm.SGD(excursion(1.0)), 1
    whole = nqm.simulate(*arguments, 3000, **changes)
    path = tmp_path / "run.h5"
    nqm.simulate(*arguments, 1280, replicas=2, record=[0, 1271], out=path)
    longer = nqm.resume(path, steps=3000, replicas=3)
    assert (whole.diverged_at == longer.diverged_at).all()
    assert (whole.diverged_at == 1271).all()
    chunks_of(monkeypatch, 2)
    assert_same(nqm.simulate(*arguments, 3000, **changes), whole)


def test_a_leap_diverges_at_the_first_stop(machine):
    """Stops are the recorded steps and changes of the schedule; what comes later does not help."""
    rates = np.ones(40)
    rates[20], rates[21:] = 1e146, 1.0
    run = nqm.simulate(
        nqm.Problem([1.0]), nqm.SGD(rates), 1, 40, sampling="leap", record=[5, 40], backend=machine
    )
    assert run.diverged_at.tolist() == [21]


# -- any recurrence ----------------------------------------------------------------------

NEVER = 10**9
DENSE = [name for name in present_backends() if name != "numpy"]


def job(seed, law):
    """Recurrences of any kind, on states and with rates and noise of any size."""
    rng = np.random.default_rng(seed)
    settings = 3
    noise, model, _, state = arbitrary_job(int(rng.integers(1, 5)), settings, 1, law)
    ends = np.unique(np.append(rng.integers(8, 108, 20), 108))
    shape = ends.size, settings
    most = rng.choice([0, 1, 4])
    weights = rng.normal(size=(*shape, 3)) * 10.0 ** rng.uniform(-2, most, (*shape, 1))
    far = rng.random(ends.size) < rng.choice([0.0, 0.1])
    weights[far] *= 10.0 ** rng.uniform(0, 150)
    amplitude = 10.0 ** rng.uniform(-3, rng.choice([0, 30, 146]), shape)
    timeline = Timeline(
        7, 108, ends, weights, amplitude, rng.integers(1, 5, shape), np.array([20, 108])
    )
    return noise, model, timeline, state * 10.0 ** rng.uniform(-5, rng.choice([0, 30, 146]))


def like_others(backend, law, _):
    return backend == "numba" and law >= 0


@pytest.mark.parametrize(
    ("backend", "law", "seeds"),
    slow_where(
        slow_to_compile,
        [(name, *row) for name in DENSE for row in ((-1, 12), (LAWS["student-t"].code, 2))],
        thorough=like_others,
    ),
)
def test_any_recurrence_diverges_where_the_reference_finds_it(backend, law, seeds):
    """The reference looks at every step."""
    found = set()
    for seed in range(seeds):
        *arguments, state = job(seed, law)
        alive = np.ones(state.shape[:2], dtype=bool)
        answers = []
        for module in (reference.BACKEND, load_backend(backend)):
            own = state.copy()
            answers.append((*module.advance(Chunk(*arguments, own, alive, 1)), own))
        for a, b in zip(*answers, strict=True):
            assert np.array_equal(a, b, equal_nan=True)
        found |= set(answers[0][1].ravel().tolist())
    assert len(found) > 2


def test_looks_are_remembered_for_equal_timelines_only(monkeypatch):
    """Whatever changes, looks and harmless sizes are those of a process that begins with it."""
    monkeypatch.setattr(remembering, "LARGEST_KEY", 1 << 20)
    noise, model, timeline, state = job(4, -1)
    alive = np.ones(state.shape[:2], dtype=bool)
    timeline = timeline._replace(amplitude=np.full_like(timeline.amplitude, 1e15))
    others = [
        (noise, model, timeline, alive),
        (noise._replace(summed=True), model, timeline, alive),
        (noise, model, timeline, alive & [[True], [False], [True]]),
        (noise, model, timeline._replace(begin=3), alive),
        (noise, model._replace(extremes=model.extremes * 1e9), timeline, alive),
        (noise, model._replace(offsets=model.offsets - [0, 5, 0, 0]), timeline, alive),
        *(
            (noise, model, timeline._replace(**{name: 1e9 * getattr(timeline, name)}), alive)
            for name in ("weights", "amplitude")
        ),
        *(
            (noise, model._replace(**{name: 1e7 * getattr(model, name)}), timeline, alive)
            for name in ("factors", "read")
        ),
    ]
    known = [excursions.watched(*arguments) for arguments in others for _ in range(2)][1::2]
    for arguments, found in zip(others, known, strict=True):
        monkeypatch.setattr(excursions, "_looks_of", {})
        monkeypatch.setattr(excursions, "_layouts", {})
        fresh = excursions.watched(*arguments)
        assert np.array_equal(fresh.looks, found.looks)
        assert np.array_equal(fresh.harmless, found.harmless)
    assert len({(*x.looks.tolist(), *x.harmless.ravel().tolist()) for x in known}) > 4


def looks(algorithm, steps=10_000):
    """The gaps between looks in a run, in its longest call."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        chunks_of(patch, steps)
        usual = excursions.watched

        def watched(*arguments):
            seen.append(usual(*arguments))
            return seen[-1]

        patch.setattr("nqm_fast.kernels.tiled.watched", watched)
        nqm.simulate(nqm.Problem.power_law(LEAF), algorithm, 8, steps, record=[steps])
    return np.diff(seen[0].looks)


@pytest.mark.parametrize(
    ("algorithm", "apart"),
    [
        (nqm.SGD(1.9), 10_000),
        (nqm.SGD(3.7, momentum=0.9), 64),
        (nqm.SGD(0.5, momentum=0.9, ema=0.99), 200),
        (nqm.SGD(nqm.schedules.Cosine(1.9, 10_000)), 10_000),
        (nqm.SGD(nqm.schedules.Cosine(1.0, 10_000), momentum=0.9), 150),
        (nqm.SGD(1e-5, momentum=0.99), 200),
    ],
)
def test_looks_are_far_apart_where_settings_are_stable(algorithm, apart):
    gaps = looks(algorithm)
    assert gaps[:-1].min(initial=NEVER) >= apart - 1
    assert gaps.sum() == 10_000
