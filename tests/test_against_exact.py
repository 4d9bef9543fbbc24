"""The simulation against the exact model: the law of the risk, and leaps against steps.

Scores are standard normal if all is right. The limits allow for how many are looked at, so
that chance alone would exceed one of them in a thousand choices of the seeds.
"""

from functools import cache
from itertools import combinations, count, cycle, product
from math import comb
from typing import Any, NamedTuple

import numpy as np
import pytest
from nqm_fast.kernels import noise, numba_cpu, reference
from scipy import stats

import nqm_fast as nqm
from nqm_fast import engine, schedules
from nqm_fast.schedules import as_schedule

CHANCE = 1e-3
D = 64

# -- what is simulated -------------------------------------------------------------------

ALGORITHMS = {
    "plain": (0.8, {}),
    "momentum": (0.2, {"momentum": 0.8}),
    "ema": (0.8, {"ema": 0.7}),
    "power": (0.6, {"power": 0.5}),
    "all": (0.1, {"momentum": 0.7, "ema": 0.8, "power": 0.5}),
}
RATES = {
    "constant": lambda lr: lr,
    "pieces": lambda lr: schedules.Piecewise([lr, 0.3 * lr, 0.6 * lr], [2, 8, 30]),
    "halved": lambda lr: schedules.Step(1.2 * lr, 0.5, 6),
    "linear": lambda lr: schedules.Linear(1.3 * lr, 0.2 * lr, 14),
    "cosine": lambda lr: schedules.Cosine(1.2 * lr, 45, 0.1 * lr),
    "decay": lambda lr: schedules.WarmupStableDecay(lr, 4, 6, 20, 0.1 * lr),
    "warmup": lambda lr: schedules.Warmup(5, schedules.Cosine(lr, 12, 0.3 * lr), 0.2 * lr),
    "by step": lambda lr: lr * np.random.default_rng(5).uniform(0.1, 1.2, 64),
}
JUMPED = ("constant", "pieces", "halved")
BATCHES = {
    "grows": schedules.Piecewise([1.0, 8.0, 100.0], [3, 7, 54]),
    "varies": np.random.default_rng(6).integers(1, 12, 64),
}
# cumulants of order 4, 6 and 8 of a sample of variance 1
LAWS = {
    "normal": (0.0, 0.0, 0.0),
    "uniform": (-6 / 5, 48 / 7, -432 / 5),
    "rademacher": (-2.0, 16.0, -272.0),
    "laplace": (3.0, 30.0, 630.0),
    "student-t": (0.75, 5.0, 124.6875),  # of 12 degrees of freedom
    "student-t of 5": (6.0, np.nan, np.nan),
}


class Case(NamedTuple):
    """A simulation of which the law of the risk is known."""

    algorithm: nqm.SGD
    batch: Any
    sampling: str
    law: str
    records: tuple[int, ...]
    problem: nqm.Problem
    replicas: int
    seed: int


def sgd(name, rate):
    lr, others = ALGORITHMS[name]
    return nqm.SGD(RATES[rate](lr), **others)


def example(noise_level, moves, seed):
    """Noise in proportion, so that no batch size hides it; where `moves`, all starts at 0."""
    rng = np.random.default_rng(seed)
    h = rng.permutation(np.geomspace(3e-3, 1.0, D))
    c = 0.1 * noise_level * rng.uniform(0.5, 1.5, D) / h
    begin = {"mean0": 0.0, "var0": 0.0} if moves else {
        "mean0": rng.uniform(-1.0, 1.0, D) / np.sqrt(h),
        "var0": rng.uniform(0.0, 1.0, D) / h,
    }  # fmt: skip
    return nqm.Problem(h, sigma=np.sqrt(c) / h, **begin) if seed % 2 else nqm.Problem(h, c, **begin)


def rows():
    """Algorithm, learning rate, batch size, sampling, law, records."""
    yield from product(
        ALGORITHMS, RATES, (1, 2.5, 10**6, "grows"), ["minibatch"], ["normal"], [(0, 1, 5, 17, 40)]
    )
    yield from product(
        ALGORITHMS, JUMPED, (1, 10**6, "grows"), ["leap"], ["normal"], [(1, 2, 3, 20, 64)]
    )
    rate, algorithm = cycle(RATES), cycle(ALGORITHMS)
    for law, name, batch in product(LAWS, ALGORITHMS, (1, 3, 32, "varies")):
        yield name, next(rate), batch, "per-sample", law, (1, 4, 9, 16)
    for law, batch in product(LAWS, (10**3, 10**4, 10**5, 10**6)):
        if law != "student-t of 5":
            yield next(algorithm), next(rate), batch, "per-sample", law, (2, 4)


def table():
    for seed, (name, rate, batch, sampling, law, records) in zip(count(1), rows(), strict=False):
        size = batch if isinstance(batch, int | float) else 4
        drawn = size if sampling == "per-sample" else 1
        cost = D * records[-1] * (drawn / 30 if law == "rademacher" else drawn)
        replicas = int(np.clip(3e7 / cost, 2, 20_000))
        yield (
            f"{name}, lr {rate}, batch {batch}, {sampling}, {law}",
            Case(
                sgd(name, rate),
                BATCHES.get(batch, batch),
                sampling,
                law,
                records,
                example(size, drawn >= 1000, seed),
                replicas,
                seed,
            ),
        )


CASES = dict(table())


def simulated(case, **changes):
    """Risks, (replicas, records)."""
    law, _, _ = case.law.partition(" of ")
    arguments = {"data": law, "record": case.records, "sampling": case.sampling, "seed": case.seed}
    if case.law == "student-t":
        arguments["df"] = 12
    arguments |= {"replicas": case.replicas} | changes
    algorithm = arguments.pop("algorithm", case.algorithm)
    return nqm.simulate(case.problem, algorithm, case.batch, case.records[-1], **arguments).risk


# -- what is known -----------------------------------------------------------------------


def cumulants_of_iterate(case, steps):
    """Of order 1 to 8 at every coordinate, from the response to w_0 and to every step's noise."""
    h, k = case.problem.h, case.problem.h**-case.algorithm.power
    lr = case.algorithm.lr.values(np.arange(steps))
    batch = as_schedule("batch_size", case.batch).values(np.arange(steps))[:, None]
    w = np.zeros((1 + steps, h.size))  # row 0 starts at 1, row 1 + t has noise 1 in step t only
    w[0] = 1.0
    v, e = np.zeros_like(w), w
    for t in range(steps):
        gradient = h * w
        gradient[1 + t] += 1.0
        v = case.algorithm.momentum * v + gradient
        w = w - lr[t] * k * v
        e = case.algorithm.ema * e + (1.0 - case.algorithm.ema) * w
    kappa = np.zeros((9, h.size))
    for n, of_law in zip((2, 4, 6, 8), (1.0, *LAWS[case.law]), strict=True):
        kappa[n] = of_law * np.sum(e[1:] ** n * case.problem.c ** (n / 2) / batch ** (n - 1), 0)
    kappa[1] += e[0] * case.problem.mean0
    kappa[2] += e[0] ** 2 * case.problem.var0
    return kappa


def cumulants_of_risk(case, steps):
    """Mean, variance and fourth cumulant."""
    kappa = cumulants_of_iterate(case, steps)
    m = [np.ones(D)]
    for n in range(1, 9):
        m.append(sum(comb(n - 1, j - 1) * kappa[j] * m[n - j] for j in range(1, n + 1)))
    _, _, a, _, b, _, c, _, d = m
    of_square = a, b - a**2, d - 4 * c * a - 3 * b**2 + 12 * b * a**2 - 6 * a**4
    weight = 0.5 * case.problem.h
    return [weight**n @ x for n, x in zip((1, 2, 4), of_square, strict=True)]


@cache
def known(name):
    """Cumulants of the risk, (3, records)."""
    case = CASES[name]
    return np.array([cumulants_of_risk(case, t) for t in case.records]).T


def mean_scores(name, risk):
    case = CASES[name]
    mean = nqm.expected_risk(case.problem, case.algorithm, case.batch, case.records)
    return (risk.mean(axis=0) - mean) / np.sqrt(known(name)[1] / len(risk))


def variance_scores(name, risk):
    _, variance, fourth = known(name)
    error = np.sqrt(fourth / len(risk) + 2 * variance**2 / (len(risk) - 1))
    return (risk.var(axis=0, ddof=1) - variance) / error


@cache
def scores(name):
    """Of the means, and of the variances, at the records."""
    risk = simulated(CASES[name])
    return mean_scores(name, risk), variance_scores(name, risk)


# -- the table ---------------------------------------------------------------------------

HAVE_VARIANCE = [
    name for name, case in CASES.items() if case.replicas >= 1000 and case.law != "student-t of 5"
]
GROUPS = {"minibatch": "minibatch, normal", "leap": "leap, normal"} | {
    law: f"per-sample, {law}" for law in LAWS
}


def limit_for(number):
    return stats.norm.isf(CHANCE / 2 / number)


LIMIT = limit_for(sum(len(case.records) for case in CASES.values()))


def test_there_are_enough_combinations():
    assert len(CASES) >= 200
    assert {case.sampling for case in CASES.values()} == {"minibatch", "per-sample", "leap"}
    assert {case.law.partition(" of ")[0] for case in CASES.values()} == set(noise.DATA)


@pytest.mark.parametrize("name", CASES)
def test_mean_risk(name):
    case = CASES[name]
    mean = nqm.expected_risk(case.problem, case.algorithm, case.batch, case.records)
    assert known(name)[0] == pytest.approx(mean, rel=1e-10)
    assert np.abs(scores(name)[0]).max() < LIMIT


@pytest.mark.parametrize("name", HAVE_VARIANCE)
def test_variance_of_the_risk(name):
    assert np.abs(scores(name)[1]).max() < LIMIT


def p_values_together(z):
    """Of a common shift, of the spread, and of the shape of independent scores."""
    shift = 2 * stats.norm.sf(abs(z.sum()) / np.sqrt(z.size))
    square = stats.chi2(z.size)
    total = np.sum(z**2)
    spread = 2 * min(square.sf(total), square.cdf(total))
    return np.array([shift, spread, stats.kstest(z, "norm").pvalue])


@pytest.mark.parametrize("group", GROUPS)
def test_scores_are_standard_normal_together(group):
    """What is slightly wrong everywhere shows here: combinations have seeds of their own."""
    names = [name for name in CASES if name.endswith(GROUPS[group])]
    p = p_values_together(np.array([scores(name)[0][-1] for name in names]))
    assert p.min() > CHANCE / (6 * len(GROUPS))


# -- leaps against steps -----------------------------------------------------------------

CURVATURES = np.geomspace(3e-3, 1.0, 8)
ALIKE = 64  # coordinates of each curvature: more replicas of it
STOPS = {"one": (1,), "two": (2,), "three": (3,), "forty": (3, 10, 40), "two thousand": (2000,)}
LEAPS = list(product(ALGORITHMS, JUMPED, STOPS))


def states(name, rate, stops, sampling, seed, **arguments):
    """After the last stop: (components, curvatures, samples)."""
    h = np.repeat(CURVATURES, ALIKE)
    problem = nqm.Problem(h, 0.3 / h, mean0=1.0 / np.sqrt(h), var0=0.0)
    arguments = {"replicas": 50, "record": stops, "keep_state": True} | arguments
    batch = BATCHES["grows"] if rate == "pieces" else 2
    run = nqm.simulate(
        problem, sgd(name, rate), batch, stops[-1], sampling=sampling, seed=seed, **arguments
    )
    replicas, components, _ = run.state.shape
    by_curvature = run.state.reshape(replicas, components, CURVATURES.size, ALIKE)
    return by_curvature.transpose(1, 2, 0, 3).reshape(components, CURVATURES.size, -1)


def p_values_of_two(a, b):
    """Kolmogorov-Smirnov for every component and curvature, and products of components."""
    p = [
        stats.ks_2samp(x, y, method="asymp").pvalue
        for of_a, of_b in zip(a, b, strict=True)
        for x, y in zip(of_a, of_b, strict=True)
    ]
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (a, b))
    for i, j in combinations(range(len(a)), 2):
        x, y = a[i] * a[j], b[i] * b[j]
        error = np.sqrt(x.var(axis=-1) / x.shape[-1] + y.var(axis=-1) / y.shape[-1])
        z = (x.mean(axis=-1) - y.mean(axis=-1)) / error
        p += list(2 * stats.norm.sf(np.abs(z)))
    return np.array(p)


P_LIMIT = CHANCE / (len(LEAPS) * CURVATURES.size * 3)  # components and pairs: 3 on average


@pytest.mark.parametrize(("name", "rate", "stops"), LEAPS)
def test_leaps_end_where_steps_do(name, rate, stops):
    leapt, walked = (
        states(name, rate, STOPS[stops], sampling, seed)
        for seed, sampling in enumerate(("leap", "minibatch"))
    )
    assert p_values_of_two(leapt, walked).min() > P_LIMIT


def test_components_that_are_functions_of_others():
    """One step has one source of noise, two have two, and a leap draws three normals."""
    h = CURVATURES[:, None]
    lr, beta, gamma = 0.1, 0.7, 0.8
    begin, k = 1.0 / np.sqrt(h), lr * h**-0.5
    assert sgd("all", "constant") == nqm.SGD(lr, momentum=beta, ema=gamma, power=0.5)
    w, v, e = states("all", "constant", (1,), "leap", 3)
    assert w == pytest.approx(begin - k * v, rel=1e-6)
    assert e == pytest.approx(gamma * begin + (1 - gamma) * w, rel=1e-6)
    w, v, e = states("all", "constant", (2,), "leap", 3)
    middle = gamma * begin + (1 - gamma) * (w + k * v)
    assert e == pytest.approx(gamma * middle + (1 - gamma) * w, rel=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_leap_of_a_billion_steps(name):
    problem, algorithm = example(4, True, 0), sgd(name, "constant")
    risk = nqm.simulate(
        problem, algorithm, 4, 10**9, sampling="leap", record=[10**9], replicas=20_000
    ).risk[:, 0]
    z = (risk.mean() - nqm.expected_risk(problem, algorithm, 4, 10**9)) / stats.sem(risk)
    assert abs(z) < limit_for(len(ALGORITHMS))


# -- these tests can fail: deliberate errors ---------------------------------------------


def named(*parts):
    found = [name for name in CASES if all(part in name.split(", ") for part in parts)]
    assert found
    return found


def worst(name, of=mean_scores, **changes):
    return np.abs(of(name, simulated(CASES[name], **changes))).max()


def change_timeline(monkeypatch, change):
    right = engine.timeline
    monkeypatch.setattr(engine, "timeline", lambda *args: change(right(*args)))


@pytest.mark.parametrize("batch", ["2.5", "1000000", "grows"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_noise_over_B_for_its_root_is_seen(name, batch, monkeypatch):
    wrong = named(name, "lr constant", f"batch {batch}", "minibatch")
    wrong += named(name, "lr pieces", f"batch {batch}", "leap") if batch != "2.5" else []
    change_timeline(monkeypatch, lambda right: right._replace(amplitude=right.amplitude**2))
    for case in wrong:
        assert worst(case) > LIMIT


@pytest.mark.parametrize("law", LAWS)
def test_samples_over_the_root_of_B_are_seen(law, monkeypatch):
    change_timeline(monkeypatch, lambda t: t._replace(amplitude=t.amplitude * np.sqrt(t.samples)))
    for case in named("batch 3", "per-sample", law):
        assert worst(case) > LIMIT


class AverageOfOldIterates(nqm.SGD):
    """``e' = ema e + (1 - ema) w`` instead of w'."""

    def recurrence(self, h):
        (fixed, no_kick), (per_lr, kick) = super().recurrence(h).terms
        zeros = [0.0] * len(kick)
        return (
            super()
            .recurrence(h)
            ._replace(terms=[(fixed, no_kick), ([*per_lr[:-1], zeros], [*kick[:-1], 0.0])])
        )


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", ["ema", "all"])
def test_the_old_iterate_in_the_average_is_seen(name, rate):
    right = sgd(name, rate)
    wrong = AverageOfOldIterates(
        right.lr, momentum=right.momentum, ema=right.ema, power=right.power
    )
    for case in named(name, f"lr {rate}", "batch 1", "minibatch"):
        assert worst(case, algorithm=wrong) > LIMIT


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_learning_rate_of_the_next_step_is_seen(name, monkeypatch):
    change_timeline(monkeypatch, lambda t: t._replace(weights=np.roll(t.weights, -1, axis=0)))
    assert worst(*named(name, "lr by step", "batch 1", "minibatch")) > LIMIT


@pytest.mark.parametrize("law", LAWS)
def test_two_percent_of_the_variance_of_a_law_are_seen(law, monkeypatch):
    right = noise.scale
    monkeypatch.setattr(noise, "scale", lambda *args: 1.01 * right(*args))
    assert worst(*named("plain", "batch 1", "per-sample", law)) > LIMIT


def test_another_law_of_the_same_variance_is_seen(monkeypatch):
    """By the variance of the risk; its mean is the same."""
    monkeypatch.setitem(noise.DATA, "laplace", noise.NORMAL)
    monkeypatch.setattr(noise, "scale", lambda *_: 1.0)
    for case in named("batch 1", "per-sample", "laplace"):
        assert worst(case, of=variance_scores) > LIMIT
        assert worst(case) < LIMIT


def test_a_start_of_the_wrong_spread_is_seen(monkeypatch):
    def start(noise, mean, deviation, threads):
        return right(noise, mean, deviation**2, threads)

    right = numba_cpu.start
    monkeypatch.setattr(numba_cpu, "start", start)
    for case in named("lr constant", "batch 1", "minibatch"):
        assert worst(case) > LIMIT


def test_half_a_percent_of_the_noise_everywhere_is_seen(monkeypatch):
    """Too little for most combinations by themselves."""
    change_timeline(monkeypatch, lambda t: t._replace(amplitude=1.0025 * t.amplitude))
    names = named("leap")
    z = np.array([mean_scores(name, simulated(CASES[name]))[-1] for name in names])
    assert p_values_together(z).min() < 1e-3 * CHANCE


@pytest.mark.parametrize("name", ["momentum", "ema", "all"])
def test_a_leap_with_independent_components_is_seen(name, monkeypatch):
    """Variances without covariances."""

    def without_covariances(V):
        L = np.zeros_like(V)
        for a in range(len(V)):
            L[a, a] = np.sqrt(V[a, a])
        return L

    what = name, "constant", (3,)
    walked = states(*what, "minibatch", 1)
    leapt = states(*what, "leap", 0, backend="numpy")
    assert p_values_of_two(leapt, walked).min() > P_LIMIT
    monkeypatch.setattr(reference, "_cholesky", without_covariances)
    leapt = states(*what, "leap", 0, backend="numpy")
    assert p_values_of_two(leapt, walked).min() < 1e-3 * P_LIMIT


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_leap_that_is_short_of_a_step_is_seen(name):
    leapt = states(name, "constant", (39,), "leap", 0)
    assert p_values_of_two(leapt, states(name, "constant", (40,), "minibatch", 1)).min() < P_LIMIT
