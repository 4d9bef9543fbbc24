"""Simulated risks have the law that the exact model gives, in hundreds of combinations."""

from collections import namedtuple
from functools import cache
from itertools import cycle, product

import numpy as np
import pytest
from nqm_fast.kernels import noise
from oracles import cumulants_of_risk
from scipy import stats
from statistical_cases import ALGORITHMS, BATCHES, CHANCE, JUMPED, RATES, D, example, limit_for, sgd

import nqm_fast as nqm
from nqm_fast.simulation import propagation

# -- what is simulated -------------------------------------------------------------------

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


def rows():
    """Rows of algorithm, learning rate, batch size, sampling, law and records."""
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
    """Risks of a combination, (replicas, records)."""
    law, _, df = case.law.partition(" of ")
    how = {"replicas": case.replicas, "seed": case.seed, "record": case.records}
    how |= {"sampling": case.sampling, "data": law, "df": int(df) if df else None} | changes
    algorithm = how.pop("algorithm", case.algorithm)
    return nqm.simulate(case.problem, algorithm, case.batch, case.records[-1], **how).risk


# -- what is known -----------------------------------------------------------------------


@cache
def known(name):
    """Mean, variance and fourth cumulant of the risk, (3, records)."""
    case = CASES[name]
    what = case.problem, case.algorithm, case.batch, LAWS[case.law]
    return np.array([cumulants_of_risk(*what, t) for t in case.records]).T


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
    """Scores of the means and of the variances at the records."""
    risk = simulated(CASES[name])
    return mean_scores(name, risk), variance_scores(name, risk)


# -- the table ---------------------------------------------------------------------------

HAVE_VARIANCE = [
    name for name, case in CASES.items() if case.replicas >= 1000 and case.law != "student-t"
]
GROUPS = ["minibatch, normal", "leap, normal", *(f"per-sample, {law}" for law in LAWS)]


LIMIT = limit_for(sum(len(case.records) for case in CASES.values()))


def test_there_are_enough_combinations():
    assert len(CASES) >= 200
    assert {case.sampling for case in CASES.values()} == {"minibatch", "per-sample", "leap"}
    assert {case.law.partition(" of ")[0] for case in CASES.values()} == set(noise.LAWS)


@pytest.mark.mostly_slow(40, slow=100)
@pytest.mark.parametrize("name", CASES)
def test_mean_risk(name):
    case = CASES[name]
    mean = nqm.expected_risk(case.problem, case.algorithm, case.batch, case.records)
    assert known(name)[0] == pytest.approx(mean, rel=1e-10)
    assert np.abs(scores(name)[0]).max() < LIMIT


@pytest.mark.mostly_slow(20, slow=80)
@pytest.mark.parametrize("name", HAVE_VARIANCE)
def test_variance_of_the_risk(name):
    assert np.abs(scores(name)[1]).max() < LIMIT


def p_values_together(z):
    """P-values of a common shift, of the spread, and of the shape of independent scores."""
    shift = 2 * stats.norm.sf(abs(z.sum()) / np.sqrt(z.size))
    square = stats.chi2(z.size)
    total = np.sum(z**2)
    spread = 2 * min(square.sf(total), square.cdf(total))
    return np.array([shift, spread, stats.kstest(z, "norm").pvalue])


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_scores_are_standard_normal_together(group):
    """An error that is small everywhere shows here, as combinations have seeds of their own."""
    for i, among in enumerate((CASES, HAVE_VARIANCE)):
        z = [scores(name)[i][-1] for name in among if name.endswith(group)]
        assert not z or p_values_together(np.array(z)).min() > CHANCE / (6 * len(GROUPS))


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


@pytest.mark.mostly_slow(4)
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


@pytest.mark.slow
def test_half_a_percent_of_the_noise_everywhere_is_seen(monkeypatch):
    """Such an error is too small to be seen in any combination by itself."""
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


@pytest.mark.mostly_slow(2)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", ["ema", "all"])
def test_the_old_iterate_in_the_average_is_seen(name, rate):
    lr, others = ALGORITHMS[name]
    wrong = AverageOfOldIterates(RATES[rate](lr), **others)
    for case in named(name, f"lr {rate}", "batch 1", "minibatch"):
        assert worst(case, algorithm=wrong) > LIMIT


@pytest.mark.mostly_slow(2)
@pytest.mark.parametrize("name", named("per-sample", "batch 1"))
def test_two_percent_of_the_variance_of_a_law_are_seen(name, monkeypatch):
    for law, right in noise.LAWS.items():
        wrong = right._replace(scale=lambda df, scale=right.scale: 1.01 * scale(df))
        monkeypatch.setitem(noise.LAWS, law, wrong)
    assert worst(name) > LIMIT


@pytest.mark.slow
def test_another_law_of_the_same_variance_is_seen(monkeypatch):
    """The mean of the risk is the same, and its variance is not."""
    monkeypatch.setitem(noise.LAWS, "laplace", noise.LAWS["normal"])
    (name,) = named("all", "batch 1", "per-sample", "laplace")
    assert worst(name, of=variance_scores) > LIMIT
    assert worst(name) < LIMIT
