"""Noise that grows with the loss, simulated: a plain loop, the exact mean, and the same bits."""

import math

import numpy as np
import pytest
from family import METHODS
from helpers import assert_same
from nqm_fast.kernels import noise as stream
from nqm_fast.kernels import present_backends

import nqm_fast as nqm
from nqm_fast.noise import LossDependent

BACKENDS = [name for name in ("numpy", "numba", "cython") if name in present_backends()]
PROBLEM = nqm.Problem(1.0 / np.arange(1, 131), mean0=0.5, var0=0.2)
GROWING = PROBLEM.with_noise(LossDependent(2.0))
FASTEST = BACKENDS[-1]


def normal(seed, replica, coordinate, step, purpose):
    """A normal of the stream of noise, from its definition alone."""
    c1, c2, c3 = stream.counter(step // 4, replica, 0, purpose)
    a, b, c, d = stream.philox(
        np.array([coordinate], dtype=np.uint64), c1, c2, c3, np.uint64(seed), np.uint64(0)
    )
    pairs = stream.box_muller(a, b) + stream.box_muller(c, d)
    return float(pairs[step % 4][0])


def by_hand(problem, slope, lr, momentum, batch_size, steps, seed, looks_ahead):
    """Risks of momentum, or of Nesterov's gradient at w + momentum (w - its last value)."""
    h, c, d = problem.h.tolist(), problem.c.tolist(), problem.dim
    mean, var = problem.mean0.tolist(), problem.var0.tolist()
    w = [mean[j] + math.sqrt(var[j]) * normal(seed, 1, j, 0, stream.START) for j in range(d)]
    last = list(w)
    risks = []
    for t in range(steps + 1):
        risks.append(0.5 * sum(h[j] * w[j] ** 2 for j in range(d)))
        moved = [momentum * (w[j] - last[j]) for j in range(d)]
        q = [w[j] + moved[j] for j in range(d)] if looks_ahead else w
        loss = 0.5 * sum(h[j] * q[j] ** 2 for j in range(d))
        last, old = w, q
        w = []
        for j in range(d):
            variance = c[j] * (1.0 + slope * loss) / batch_size
            xi = math.sqrt(variance) * normal(seed, 1, j, t, stream.GRADIENT)
            w.append(last[j] + moved[j] - lr * (h[j] * old[j] + xi))
    return risks


@pytest.mark.parametrize(
    ("algorithm", "looks_ahead"),
    [
        (nqm.SGD(0.3, momentum=0.7), False),
        (nqm.Nesterov(0.3, momentum=0.7, form="original"), True),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_the_plain_loop(algorithm, looks_ahead, backend):
    want = by_hand(PROBLEM, 2.0, 0.3, 0.7, 3, 6, seed=5, looks_ahead=looks_ahead)
    run = nqm.simulate(GROWING, algorithm, 3, 6, replicas=[1], record=1, seed=5, backend=backend)
    np.testing.assert_allclose(run.risk[0], want, rtol=1e-11)


@pytest.mark.parametrize("name", METHODS)
def test_without_growth_the_numbers_are_those_of_the_same_noise_everywhere(name):
    how = {"replicas": 2, "record": 4, "seed": 3, "backend": FASTEST, "keep_state": True}
    same = nqm.simulate(PROBLEM, METHODS[name], 3, 22, **how)
    got = nqm.simulate(PROBLEM.with_noise(LossDependent(0.0)), METHODS[name], 3, 22, **how)
    np.testing.assert_allclose(got.risk, same.risk, rtol=1e-11)
    np.testing.assert_allclose(got.state, same.state, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("data", stream.LAWS)
def test_samples_of_all_laws_are_those_of_the_same_noise_everywhere(data):
    how = {"replicas": 2, "record": 1, "data": data, "sampling": "per-sample", "backend": FASTEST}
    sizes = nqm.schedules.Piecewise([7, 34], [3, 2])
    same = nqm.simulate(PROBLEM, nqm.SGD(0.2), sizes, 7, **how)
    got = nqm.simulate(PROBLEM.with_noise(LossDependent(0.0)), nqm.SGD(0.2), sizes, 7, **how)
    np.testing.assert_allclose(got.risk, same.risk, rtol=1e-12)


@pytest.mark.parametrize("name", ["Nesterov, original", "Schedule-Free", "Lookahead"])
def test_the_mean_risk_is_the_exact_one(name):
    algorithm, steps = METHODS[name], [0, 1, 5, 20]
    how = {"replicas": 2000, "record": steps, "seed": 3, "backend": FASTEST}
    run = nqm.simulate(GROWING, algorithm, 4, 20, **how)
    want = nqm.expected_risk(GROWING, algorithm, 4, steps)
    error = run.risk.std(axis=0, ddof=1) / run.risk.shape[0] ** 0.5
    assert (np.abs(run.risk.mean(axis=0) - want) < 4.0 * error).all()
    assert (
        abs(run.risk.mean(axis=0)[-1] - nqm.expected_risk(PROBLEM, algorithm, 4, 20))
        > 8 * error[-1]
    )


@pytest.mark.parametrize("data", stream.LAWS)
def test_backends_have_the_same_bits_for_all_laws(data):
    runs = [
        nqm.simulate(
            GROWING, nqm.SGD(0.1, momentum=0.8), 35, 9,
            replicas=[2, 7], record=[0, 2, 9], seed=11, data=data, sampling="per-sample",
            keep_state=True, observe=["risk", "weight_norm"], bands=3, backend=name,
        )
        for name in BACKENDS
    ]  # fmt: skip
    for run in runs[1:]:
        assert {"risk", "weight_norm"} <= run.observed.keys()
        assert_same(run, runs[0])


@pytest.mark.parametrize("name", METHODS)
def test_backends_have_the_same_bits_for_all_methods(name):
    rest = {"replicas": 2, "record": 5, "keep_state": True}
    one, *others = (
        nqm.simulate(GROWING, METHODS[name], 2.5, 21, backend=backend, **rest)
        for backend in BACKENDS
    )
    for other in others:
        assert_same(one, other)


def test_bits_do_not_depend_on_records_threads_or_other_replicas():
    falling = nqm.SGD(np.linspace(0.3, 0.0, 13), momentum=0.5)
    few = nqm.simulate(GROWING, falling, 3, 13, replicas=[4], record=[13], threads=1)
    many = nqm.simulate(GROWING, falling, 3, 13, replicas=6, record=1, threads=2)
    assert few.risk[0, -1] == many.risk[4, -1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_divergence_is_an_answer(backend):
    how = {"replicas": 2, "record": 100, "backend": backend}
    run = nqm.simulate(GROWING, nqm.SGD(2.5), 1, 2000, **how)
    assert run.status == "diverged"
    assert "stable up to" in run.message
    # Noise that grows with the risk makes it grow faster than by 1.5^2 in a step, to 1e290.
    np.testing.assert_array_equal(run.diverged_at, [400, 400])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": "leap"}, "sampling must be 'minibatch' or 'per-sample'"),
        ({"sampling": "collapsed"}, "sampling must be 'minibatch' or 'per-sample'"),
        ({"executor": 2}, "executor must be left out"),
        ({"coordinates": (0, 64)}, "coordinates must be left out"),
        ({"devices": [0]}, "devices must be left out"),
        ({"backend": "cuda"}, "cuda"),
        ({"algorithm": nqm.Adam(0.1)}, "algorithm must be linear for noise that depends"),
    ],
)
def test_what_cannot_be_simulated_says_so(options, message):
    arguments = {"algorithm": nqm.SGD(0.1), "batch_size": 2, "replicas": 1} | options
    with pytest.raises(nqm.InputError, match=message):
        nqm.simulate(GROWING, steps=3, **arguments)
