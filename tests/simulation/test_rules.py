"""Algorithms that are not linear do what their papers say, and are simulated like the others."""

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import assert_same, chunks_of, irregular
from nqm_fast.kernels import noise, reference
from nqm_fast.kernels.contract import Noise

import nqm_fast as nqm
from nqm_fast import schedules

PROBLEM = irregular(70)
STEPS, BATCH, SEED, REPLICA = 40, 8, 11, 3


# -- the published updates, one number at a time ---------------------------------------------


def adam(w, gradient, lr, *, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    """Kingma and Ba 2015, algorithm 1; with a decay Loshchilov and Hutter 2019, algorithm 2."""
    m = v = 0.0
    for t in range(1, len(lr) + 1):
        g = gradient(w, t - 1)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        w = w - lr[t - 1] * (m_hat / (math.sqrt(v_hat) + eps) + decay * w)
        yield w


def rmsprop(w, gradient, lr, *, beta=0.99, momentum=0.0, eps=1e-8):
    """torch.optim.RMSprop."""
    v = buffer = 0.0
    for t, rate in enumerate(lr):
        g = gradient(w, t)
        v = beta * v + (1 - beta) * g**2
        buffer = momentum * buffer + g / (math.sqrt(v) + eps)
        w = w - rate * buffer
        yield w


def signum(w, gradient, lr, *, momentum=0.0):
    """Bernstein et al. 2018, algorithms 1 and 2."""
    m = 0.0
    for t, rate in enumerate(lr):
        m = momentum * m + (1 - momentum) * gradient(w, t)
        w = w - rate * ((m > 0) - (m < 0))
        yield w


RAMP = schedules.Warmup(7, schedules.Constant(0.05))
CASES = {
    "Adam": (nqm.Adam(0.03), adam, {}),
    "Adam, other values": (
        nqm.Adam(RAMP, beta1=0.5, beta2=0.8, eps=0.3, ema=0.7),
        adam,
        {"beta1": 0.5, "beta2": 0.8, "eps": 0.3},
    ),
    "Adam without memory": (nqm.Adam(0.1, beta1=0, beta2=0), adam, {"beta1": 0.0, "beta2": 0.0}),
    "AdamW": (nqm.AdamW(0.03, decay=2.0), adam, {"decay": 2.0}),
    "RMSProp": (nqm.RMSProp(RAMP), rmsprop, {}),
    "RMSProp, other values": (
        nqm.RMSProp(0.01, beta=0.7, momentum=0.9, eps=0.1, ema=0.5),
        rmsprop,
        {"beta": 0.7, "momentum": 0.9, "eps": 0.1},
    ),
    "SignSGD": (nqm.SignSGD(RAMP, ema=0.9), signum, {}),
    "Signum": (nqm.Signum(0.02, momentum=0.8), signum, {"momentum": 0.8}),
}


def by_hand(problem, algorithm, rule, values):
    """The evaluated iterates after every step, (steps, d), coordinate by coordinate."""
    key = np.array([SEED, 0], dtype=np.uint64)
    stream = Noise(key, np.array([REPLICA]), 0, 0, False, np.float32(0.0))
    size = problem.dim
    z = np.array([reference._gradient_noise(stream, size, t, REPLICA, 1) for t in range(STEPS)])
    words = reference._draw_words(stream, size, 0, REPLICA, 0, noise.START)
    start = np.float64(noise.box_muller(words[0], words[1])[0])
    lr = algorithm.lr.values(np.arange(STEPS)).tolist()
    paths = []
    for i in range(size):
        h, c = float(problem.h[i]), float(problem.c[i])

        def gradient(w, t, i=i, h=h, c=c):
            return h * w + math.sqrt(c / BATCH) * float(z[t, i])

        w0 = float(problem.mean0[i]) + math.sqrt(problem.var0[i]) * float(start[i])
        path, average = [], w0
        for w in rule(w0, gradient, lr, **values):
            average = algorithm.ema * average + (1 - algorithm.ema) * w
            path.append(average)
        paths.append(path)
    return np.array(paths).T


def simulated(algorithm=None, problem=PROBLEM, steps=STEPS, **changes):
    usual = {"replicas": [REPLICA], "seed": SEED, "record": 1, "keep_state": True, "threads": 1}
    return nqm.simulate(problem, algorithm, BATCH, steps, **usual | changes)


@pytest.mark.parametrize("name", CASES)
def test_the_published_update(name):
    algorithm, rule, values = CASES[name]
    run = simulated(algorithm)
    iterates = by_hand(PROBLEM, algorithm, rule, values)
    risk = 0.5 * (PROBLEM.h * iterates**2).sum(axis=1)
    np.testing.assert_allclose(run.risk[0, 1:], risk, rtol=1e-10)
    evaluated = run.state[0, -1 if algorithm.ema else 0]
    np.testing.assert_allclose(evaluated, iterates[-1], rtol=1e-9, atol=1e-12)


def test_bias_corrections_end_where_they_are_one():
    """Where the averages have forgotten their start, steps no longer differ."""
    algorithm = nqm.Adam(0.1, beta1=0.5, beta2=0.9)
    late = np.array([algorithm.varies_until, 10**9])
    early = late[:1] - 1
    numbers = algorithm.numbers(np.full(2, 0.1), late)
    assert np.array_equal(numbers[0], numbers[1])
    assert numbers[0, :2].tolist() == [0.1, 1.0]
    assert np.allclose(algorithm.numbers(np.full(1, 0.1), early), numbers[:1], rtol=1e-15)
    first = algorithm.numbers(np.full(1, 0.1), np.zeros(1, dtype=np.int64))[0]
    assert np.allclose(first[:2], [0.1 / 0.5, 1 / math.sqrt(0.1)])


def test_zero_gradients_stay():
    """The sign of 0 is 0, and 0 over a root of 0 is no step."""
    flat = nqm.Problem([1.0, 0.5], c=0.0, mean0=[0.0, 0.3], var0=0.0)
    for algorithm in (nqm.SignSGD(0.1), nqm.Signum(0.1), nqm.Adam(0.1), nqm.RMSProp(0.1)):
        run = simulated(algorithm, flat, 5)
        assert run.state[0, 0, 0] == 0.0
        assert run.state[0, 0, 1] != 0.3


# -- what simulate does with them ------------------------------------------------------------

MIXED = [nqm.Adam(0.03), nqm.SGD(0.3), nqm.AdamW(0.02, ema=0.5), nqm.SGD(0.1, momentum=0.9),
         nqm.Adam(0.01, ema=0.9), nqm.Signum(0.02)]  # fmt: skip


def test_settings_of_all_kinds_share_one_noise_stream():
    together = simulated(MIXED, replicas=2)
    for g, algorithm in enumerate(MIXED):
        alone = simulated(algorithm, replicas=2)
        assert np.array_equal(together.risk[g], alone.risk)
        assert np.array_equal(together.state[g], alone.state)


@pytest.mark.parametrize("length", [1, 7, 22])
def test_chunks(length, monkeypatch):
    whole = simulated(MIXED, replicas=2)
    chunks_of(monkeypatch, length)
    assert_same(simulated(MIXED, replicas=2), whole)


def test_records_do_not_change_the_path():
    few = simulated(MIXED, record=[STEPS], replicas=2)
    assert np.array_equal(few.risk[..., 0], simulated(MIXED, replicas=2).risk[..., -1])


@pytest.mark.parametrize("law", noise.LAWS)
def test_per_sample_noise(law):
    """Every law draws what it draws for SGD: with no memory of it, the sign is all that is left."""
    how = {"sampling": "per-sample", "data": law, "steps": 1}
    plain, sign = simulated(nqm.SGD(1.0), **how), simulated(nqm.SignSGD(0.25), **how)
    start = simulated(nqm.SGD(0.0), **how).state[0, 0]
    gradient = start - plain.state[0, 0]
    assert np.array_equal(sign.state[0, 0], start - 0.25 * np.sign(gradient))


def test_files_resume_and_labels(tmp_path):
    """A run of all kinds of settings goes through a file, and goes on in it."""
    whole = simulated(MIXED, steps=60, replicas=2, record=10)
    path = tmp_path / "run.h5"
    simulated(MIXED, steps=30, replicas=2, record=10, out=path)
    longer = nqm.resume(path, steps=60)
    assert_same(longer, whole)
    read = nqm.open_run(path)
    assert [setting.algorithm for setting in read.experiment.settings] == MIXED
    assert "Adam(0.03)" in repr(MIXED[0])
    assert repr(replace(MIXED[0], beta2=0.5)) == "Adam(0.03, beta2=0.5)"


def test_bands_and_norms():
    run = simulated(nqm.Adam(0.03, ema=0.5), bands=3, observe=["weight_norm"])
    assert np.allclose(run.observed["band_risk"].sum(axis=-1), run.risk, rtol=1e-12)
    assert np.allclose(run.weight_norm[0, -1], (run.state[0, -1] ** 2).sum(), rtol=1e-12)


@pytest.mark.parametrize("backend", ["numpy", None])
def test_divergence_at_its_first_step(backend):
    """Nothing bounds how fast a rule grows, so that every step is looked at."""
    rates = np.full(STEPS, 0.01)
    rates[17] = 1e160  # one step out, and the next one back
    rates[18] = 1e160
    how = {} if backend is None else {"backend": backend}
    run = simulated([nqm.SignSGD(rates), nqm.Adam(0.1)], record=5, **how)
    assert run.diverged_at.tolist() == [[18], [-1]]
    assert run.status == "diverged"
    assert "SignSGD" in run.message
    assert np.isinf(run.risk[0, 0, -1])
    at_once = simulated(nqm.SignSGD(0.1), nqm.Problem([1.0], mean0=1e150), **how)
    assert at_once.diverged_at.tolist() == [0]


def test_small_steps_follow_the_flow_of_the_sign():
    """Without noise, Adam without memory goes lr a step to the minimum, as the sign does."""
    problem = nqm.Problem([1.0, 0.1], c=0.0, mean0=[1.0, -2.0], var0=0.0)
    forgetful = nqm.Adam(1e-3, beta1=0.0, beta2=0.0, eps=1e-20)
    adam, sign = simulated([forgetful, nqm.SignSGD(1e-3)], problem, 500, record=[500]).state
    assert np.allclose(sign[0, 0], [0.5, -1.5])
    assert np.allclose(adam[0, 0], [0.5, -1.5])


def test_where_noise_rules_adam_is_momentum():
    """With its root at the noise's size, Adam is SGD with momentum, preconditioned by it."""
    problem = nqm.Problem([1.0, 0.3], c=[100.0, 900.0], mean0=1.0, var0=0.0)
    lr, last = 1e-3, 4000
    how = {"record": [last], "replicas": 64, "steps": last}
    risk = simulated(nqm.Adam(lr, beta2=0.9999), problem, **how).risk.mean()
    scale = np.sqrt(problem.c / BATCH)
    # w' = w - lr / scale (averaged gradient): the curvature is h / scale, the noise 1
    own = nqm.Problem(problem.h / scale, c=1.0 * BATCH, mean0=1.0, var0=0.0)
    decay = (1 - lr * problem.h / scale) ** last
    variance = lr / (2 * problem.h / scale) * (1 - decay**2)
    expected = 0.5 * (problem.h * (decay**2 + variance)).sum()
    assert own.dim == 2
    assert abs(risk / expected - 1) < 0.25


# -- refusals --------------------------------------------------------------------------------


def test_the_exact_functions_offer_what_there_is():
    problem, algorithm = nqm.Problem.power_law(10), nqm.Adam(0.1)
    offered = r"linear here, which Adam\(0.1\) is not: use nqm.simulate, nqm.simulated_steps_to_t"
    calls = [
        lambda: nqm.expected_risk(problem, algorithm, 8, 10),
        lambda: nqm.steps_to_target(problem, algorithm, 8, 0.1),
        lambda: nqm.risk_distribution(problem, algorithm, 8, 10),
        lambda: nqm.first_passage_distribution(problem, algorithm, 8, 0.1),
    ]
    for call in calls:
        with pytest.raises(nqm.InputError, match=offered):
            call()
    with pytest.raises(nqm.InputError, match=r"linear here.*by='simulation'"):
        nqm.tune(problem, 8, 0.1, algorithm=nqm.Adam)
    for sampling in ("leap", "collapsed"):
        with pytest.raises(nqm.InputError, match=f"sampling='{sampling}' needs a linear algorithm"):
            nqm.simulate(problem, [nqm.SGD(0.1), algorithm], 8, 10, sampling=sampling)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nqm.Adam(-1), "lr must be"),
        (lambda: nqm.Adam(0.1, beta1=1), "beta1 must be >= 0 and < 1, not 1"),
        (lambda: nqm.Adam(0.1, beta2=-0.1), "beta2 must be >= 0 and < 1"),
        (lambda: nqm.Adam(0.1, eps=0), "eps must be > 0, not 0"),
        (lambda: nqm.AdamW(0.1, decay=-1), "decay must be >= 0"),
        (lambda: nqm.RMSProp(0.1, momentum=1), "momentum must be >= 0 and < 1"),
        (lambda: nqm.RMSProp(0.1, eps=-1), "eps must be > 0"),
        (lambda: nqm.Signum(0.1, momentum=2), "momentum must be >= 0 and < 1"),
        (lambda: nqm.SignSGD(0.1, ema=1), "ema must be >= 0 and < 1"),
    ],
)
def test_values_outside_their_limits(make, message):
    with pytest.raises(nqm.InputError, match=message):
        make()
