"""The simulation against the exact model: the law of the risk, and leaps against steps.

Scores are standard normal if all is right. Limits allow for how many scores a test is one of:
chance alone would exceed one of them for one in a thousand choices of the seeds. The seeds are
fixed, and so are the scores.
"""

from collections import namedtuple
from functools import cache
from itertools import combinations, cycle, product
from math import comb

import numpy as np
import pytest
from nqm_fast.kernels import noise, reference
from scipy import stats

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.schedules import as_schedule
from nqm_fast.simulation import propagation

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
    "student-t of 12": (0.75, 5.0, 124.6875),
    "student-t": (6.0, np.nan, np.nan),
}
Case = namedtuple("Case", "algorithm batch sampling law records problem replicas seed")


def sgd(name, rate):
    lr, others = ALGORITHMS[name]
    return nqm.SGD(RATES[rate](lr), **others)


def example(noise_level, away, seed):
    """Noise in proportion, so that no batch size hides it; starts at 0 or away from it."""
    rng = np.random.default_rng(seed)
    h = rng.permutation(np.geomspace(3e-3, 1.0, D))
    c = 0.1 * noise_level * rng.uniform(0.5, 1.5, D) / h
    mean0, var0 = away * rng.uniform(-1, 1, D) / np.sqrt(h), away * rng.uniform(0, 1, D) / h
    spread = {"sigma": np.sqrt(c) / h} if seed % 2 else {"c": c}
    return nqm.Problem(h, **spread, mean0=mean0, var0=var0)


def rows():
    """Algorithm, learning rate, batch size, sampling, law, records."""
    kinds = ALGORITHMS, RATES, (1, 2.5, 10**6, "grows")
    yield from product(*kinds, ["minibatch"], ["normal"], [(0, 1, 5, 17, 40)])
    kinds = ALGORITHMS, JUMPED, (1, 10**6, "grows")
    yield from product(*kinds, ["leap"], ["normal"], [(1, 2, 3, 20, 64)])
    rate, algorithm = cycle(RATES), cycle(ALGORITHMS)
    for law, name, batch in product(LAWS, ALGORITHMS, (1, 3, 32, "varies")):
        yield name, next(rate), batch, "per-sample", law, (1, 4, 9, 16)
    for law, batch in product(list(LAWS)[:-1], (10**3, 10**4, 10**5, 10**6)):
        yield next(algorithm), next(rate), batch, "per-sample", law, (2, 4)


def table():
    """All combinations, with replicas for the time they take and seeds of their own."""
    for seed, (name, rate, batch, sampling, law, records) in enumerate(rows()):
        size = batch if isinstance(batch, int | float) else 4
        drawn = size if sampling == "per-sample" else 1
        cost = D * records[-1] * (drawn / 30 if law == "rademacher" else drawn)
        replicas = int(np.clip(2e7 / cost, 2, 20_000))
        problem = example(size, drawn < 1000, seed)
        sizes = BATCHES.get(batch, batch)
        case = Case(sgd(name, rate), sizes, sampling, law, records, problem, replicas, seed)
        yield f"{name}, lr {rate}, batch {batch}, {sampling}, {law}", case


CASES = dict(table())


def simulated(case, **changes):
    """Risks, (replicas, records)."""
    law, _, df = case.law.partition(" of ")
    how = {"replicas": case.replicas, "seed": case.seed, "record": case.records}
    how |= {"sampling": case.sampling, "data": law, "df": int(df) if df else None} | changes
    algorithm = how.pop("algorithm", case.algorithm)
    return nqm.simulate(case.problem, algorithm, case.batch, case.records[-1], **how).risk


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
    name for name, case in CASES.items() if case.replicas >= 1000 and case.law != "student-t"
]
GROUPS = ["minibatch, normal", "leap, normal", *(f"per-sample, {law}" for law in LAWS)]


def limit_for(number):
    return stats.norm.isf(CHANCE / 2 / number)


LIMIT = limit_for(sum(len(case.records) for case in CASES.values()))


def test_there_are_enough_combinations():
    assert len(CASES) >= 200
    assert {case.sampling for case in CASES.values()} == {"minibatch", "per-sample", "leap"}
    assert {case.law.partition(" of ")[0] for case in CASES.values()} == set(noise.LAWS)


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
    for i, among in enumerate((CASES, HAVE_VARIANCE)):
        z = [scores(name)[i][-1] for name in among if name.endswith(group)]
        assert not z or p_values_together(np.array(z)).min() > CHANCE / (6 * len(GROUPS))


# -- leaps against steps -----------------------------------------------------------------

CURVATURES = np.geomspace(3e-3, 1.0, 8)
ALIKE = 64  # coordinates of each curvature: more replicas of it
STOPS = {"one": (1,), "two": (2,), "three": (3,), "forty": (3, 10, 40), "two thousand": (2000,)}
LEAPS = list(product(ALGORITHMS, JUMPED, STOPS))


def states(name, rate, stops, sampling, seed, **arguments):
    """After the last stop: (components, curvatures, samples)."""
    h = np.repeat(CURVATURES, ALIKE)
    problem = nqm.Problem(h, 0.3 / h, mean0=1.0 / np.sqrt(h), var0=0.0)
    batch = BATCHES["grows"] if rate == "pieces" else 2
    how = {"replicas": 50, "record": stops, "sampling": sampling, "seed": seed, **arguments}
    run = nqm.simulate(problem, sgd(name, rate), batch, stops[-1], keep_state=True, **how)
    by_curvature = run.state.reshape(*run.state.shape[:2], CURVATURES.size, ALIKE)
    return np.concatenate(list(by_curvature), axis=-1)


def p_values_of_two(a, b):
    """Kolmogorov-Smirnov for every component and curvature, and products of components."""
    p = list(stats.ks_2samp(a, b, axis=-1, method="asymp").pvalue.ravel())
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
    seed = 2 * LEAPS.index((name, rate, stops))
    leapt = states(name, rate, STOPS[stops], "leap", seed)
    walked = states(name, rate, STOPS[stops], "minibatch", seed + 1)
    assert p_values_of_two(leapt, walked).min() > P_LIMIT


def test_components_that_are_functions_of_others():
    """One step has one source of noise, two have two, but a leap draws three normals."""
    lr, beta, gamma, power = 0.1, 0.7, 0.8, 0.5
    assert sgd("all", "constant") == nqm.SGD(lr, momentum=beta, ema=gamma, power=power)
    scale = 1.0 / np.sqrt(CURVATURES[:, None])  # of w and e, begin with w = scale
    k = lr * scale
    w, v, e = states("all", "constant", (1,), "leap", 3)
    assert np.abs((w + k * v) / scale - 1.0).max() < 1e-6
    assert np.abs((e - (1 - gamma) * w) / scale - gamma).max() < 1e-6
    w, v, e = states("all", "constant", (2,), "leap", 3)
    middle = gamma * scale + (1 - gamma) * (w + k * v)
    assert np.abs((e - gamma * middle - (1 - gamma) * w) / scale).max() < 1e-6


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_leap_of_a_billion_steps(name):
    problem, algorithm = example(4, False, 0), sgd(name, "constant")
    how = {"sampling": "leap", "record": [10**9], "replicas": 20_000}
    risk = nqm.simulate(problem, algorithm, 4, 10**9, **how).risk[:, 0]
    z = (risk.mean() - nqm.expected_risk(problem, algorithm, 4, 10**9)) / stats.sem(risk)
    assert abs(z) < limit_for(len(ALGORITHMS))


# -- these tests can fail: deliberate errors ---------------------------------------------


def named(*parts):
    """Combinations that are described by all the parts."""
    found = [name for name in CASES if set(parts) <= set(name.split(", "))]
    assert found
    return found


def worst(name, of=mean_scores, **changes):
    return np.abs(of(name, simulated(CASES[name], **changes))).max()


CHANGES = {
    "over the batch": lambda t: {"amplitude": t.amplitude**2},
    "over its root": lambda t: {"amplitude": t.amplitude * np.sqrt(t.samples)},
    "next step": lambda t: {"weights": np.roll(t.weights, -1, axis=0)},
    "a little more": lambda t: {"amplitude": 1.0025 * t.amplitude},
}


def make_wrong(monkeypatch, change):
    """Change the noise or learning rates that kernels are told to use."""
    right, new = propagation.timeline, CHANGES[change]
    monkeypatch.setattr(propagation, "timeline", lambda *a: (t := right(*a))._replace(**new(t)))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        *product(["over the batch"], named("minibatch", "lr constant", "batch 2.5")),
        *product(["over the batch"], named("minibatch", "lr cosine", "batch 1000000")),
        *product(["over the batch"], named("minibatch", "lr warmup", "batch grows")),
        *product(["over the batch"], named("leap", "lr constant", "batch 1000000")),
        *product(["over the batch"], named("leap", "lr pieces", "batch grows")),
        *product(["over its root"], named("per-sample", "batch 3")),
        *product(["next step"], named("minibatch", "lr by step", "batch grows")),
    ],
)
def test_a_wrong_timeline_is_seen(change, name, monkeypatch):
    make_wrong(monkeypatch, change)
    assert worst(name) > LIMIT


def test_half_a_percent_of_the_noise_everywhere_is_seen(monkeypatch):
    """Too little for the combinations by themselves."""
    make_wrong(monkeypatch, "a little more")
    z = [mean_scores(name, simulated(CASES[name]))[-1] for name in named("leap")]
    assert np.abs(z).max() < LIMIT
    assert p_values_together(np.array(z)).min() < 1e-3 * CHANCE


class AverageOfOldIterates(nqm.SGD):
    """``e' = ema e + (1 - ema) w`` instead of w'."""

    def recurrence(self, h):
        right = super().recurrence(h)
        (fixed, no_kick), (per_lr, kick) = right.terms
        old = [*per_lr[:-1], [0.0] * len(kick)], [*kick[:-1], 0.0]
        return right._replace(terms=[(fixed, no_kick), old])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", ["ema", "all"])
def test_the_old_iterate_in_the_average_is_seen(name, rate):
    lr, others = ALGORITHMS[name]
    wrong = AverageOfOldIterates(RATES[rate](lr), **others)
    for case in named(name, f"lr {rate}", "batch 1", "minibatch"):
        assert worst(case, algorithm=wrong) > LIMIT


@pytest.mark.parametrize("name", named("per-sample", "batch 1"))
def test_two_percent_of_the_variance_of_a_law_are_seen(name, monkeypatch):
    for law, right in noise.LAWS.items():
        wrong = right._replace(scale=lambda df, scale=right.scale: 1.01 * scale(df))
        monkeypatch.setitem(noise.LAWS, law, wrong)
    assert worst(name) > LIMIT


def test_another_law_of_the_same_variance_is_seen(monkeypatch):
    """By the variance of the risk; its mean is the same."""
    monkeypatch.setitem(noise.LAWS, "laplace", noise.LAWS["normal"])
    (name,) = named("all", "batch 1", "per-sample", "laplace")
    assert worst(name, of=variance_scores) > LIMIT
    assert worst(name) < LIMIT


def without_covariances(V):
    return np.sqrt(V * np.eye(len(V))[:, :, None])


@pytest.mark.parametrize("name", ["momentum", "ema", "all"])
def test_a_leap_with_independent_components_is_seen(name, monkeypatch):
    walked = states(name, "constant", (3,), "minibatch", 1)
    leapt = states(name, "constant", (3,), "leap", 0, backend="numpy")
    assert p_values_of_two(leapt, walked).min() > P_LIMIT
    monkeypatch.setattr(reference, "_cholesky", without_covariances)
    leapt = states(name, "constant", (3,), "leap", 0, backend="numpy")
    assert p_values_of_two(leapt, walked).min() < P_LIMIT


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_leap_that_is_short_of_a_step_is_seen(name):
    walked = states(name, "constant", (3,), "minibatch", 1)
    assert p_values_of_two(states(name, "constant", (2,), "leap", 0), walked).min() < P_LIMIT
