"""The law of the first passage of the realised risk, against sampled coordinates."""

import math

import numpy as np
import pytest
from scipy import stats

import nqm_fast as nqm

PROBLEM = nqm.Problem(np.repeat(np.geomspace(1.0, 0.01, 10), 20))


@pytest.mark.parametrize(
    "algorithm", [nqm.SGD(0.3), nqm.SGD(0.1, momentum=0.8)], ids=["plain", "momentum"]
)
def test_it_is_that_of_sampled_coordinates(algorithm):
    law = nqm.first_passage_distribution(PROBLEM, algorithm, 8, 3.0, replicas=400, every=1)
    run = nqm.simulate(PROBLEM, algorithm, 8, 400, replicas=400, seed=3, record=1)
    reached = run.risk <= 3.0
    assert reached.any(axis=1).all()
    assert stats.ks_2samp(law.steps, np.argmax(reached, axis=1)).pvalue > 1e-3
    assert law.never == 0.0
    assert law.of_expected_risk == nqm.steps_to_target(PROBLEM, algorithm, 8, 3.0)


def test_shares_quantiles_and_mean_belong_together():
    law = nqm.first_passage_distribution(PROBLEM, nqm.SGD(0.3), 8, 3.0, replicas=300)
    assert law.mean == law.steps.mean()
    for q in (0.1, 0.5, 1.0):
        step = law.quantile(q)
        assert law.cdf(step) >= q > law.cdf(step - 1)
    assert law.quantile([0.0, 1.0]).tolist() == [law.steps.min(), law.steps.max()]
    assert np.isin(law.steps, law.looks).all()


def test_any_dimension_will_do():
    problem = nqm.Problem.power_law(10**12)
    risk = nqm.expected_risk(problem, nqm.SGD(0.5), 64, 5000)
    law = nqm.first_passage_distribution(problem, nqm.SGD(0.5), 64, risk, replicas=50)
    assert law.of_expected_risk == 5000
    assert law.quantile(0.0) <= 5000
    assert law.quantile(0.9) == pytest.approx(5000, rel=0.2)


def test_a_target_that_is_out_of_reach_is_never_reached():
    law = nqm.first_passage_distribution(
        nqm.Problem(np.ones(500)), nqm.SGD(0.5), 1, 1e-3, replicas=7
    )
    assert (law.never, law.mean, law.quantile(0.5), law.looks.size) == (1.0, math.inf, math.inf, 0)
    assert law.of_expected_risk == math.inf


def test_some_may_never_reach_what_the_mean_does_not():
    # The plateau is 1/6 in the mean; few of the looks at so short a run find a twentieth of it.
    law = nqm.first_passage_distribution(
        nqm.Problem(np.ones(3), var0=0.01, mean0=1.0),
        nqm.SGD(0.5),
        1,
        0.05,
        replicas=400,
        max_steps=6,
        every=1,
    )
    assert 0.0 < law.never < 1.0
    assert law.mean == math.inf
    assert law.of_expected_risk == math.inf


def test_a_start_below_the_target_is_reached_at_once():
    law = nqm.first_passage_distribution(PROBLEM, nqm.SGD(0.3), 8, 1e6, replicas=9)
    assert law.steps.tolist() == [0.0] * 9
    assert law.of_expected_risk == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target": 0}, "target must be > 0"),
        ({"every": 0}, "every must be a whole number >= 1"),
        ({"replicas": 0}, "replicas must be a whole number >= 1"),
        ({"max_steps": -1}, "max_steps must be a whole number >= 0"),
    ],
)
def test_mistakes_are_named(given, said):
    with pytest.raises(nqm.InputError, match=said):
        nqm.first_passage_distribution(PROBLEM, nqm.SGD(0.3), 8, **({"target": 3.0} | given))


def test_shares_outside_their_limits_are_refused():
    law = nqm.first_passage_distribution(PROBLEM, nqm.SGD(0.3), 8, 1e6, replicas=9)
    with pytest.raises(nqm.InputError, match="q must be shares from 0 to 1"):
        law.quantile(1.5)
