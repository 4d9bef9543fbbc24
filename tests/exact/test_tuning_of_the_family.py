"""Tuning of other methods than SGD, over hyper-parameters of their own."""

import math

import pytest

import nqm_fast as nqm

PROBLEM = nqm.Problem.power_law(60)
TARGET = 0.3
SEARCHES = {
    "Nesterov": (nqm.Nesterov, ("lr", "momentum"), {}),
    "original": (nqm.Nesterov, ("lr", "momentum"), {"form": "original"}),
    "QHM": (nqm.QHM, ("lr", "momentum", "nu"), {}),
    "AdEMAMix": (nqm.AdEMAMix, ("lr", "alpha"), {"slow": 0.99}),
    "DANA": (nqm.DANA, ("lr", "weight", "delta"), {}),
    "delay": (nqm.DelayedSGD, ("lr",), {"delay": 2}),
    "Schedule-Free": (nqm.ScheduleFree, ("lr",), {}),
    "EMA": (nqm.EMA(nqm.Nesterov(0.1, 0.5)), ("lr", "decay"), {}),
    "Lookahead": (nqm.Lookahead(nqm.SGD(0.1), 5), ("lr", "alpha"), {}),
    "tail average": (nqm.TailAverage(nqm.SGD(0.1), 20), ("lr",), {}),
}


SLOW = ("Schedule-Free", "Lookahead", "tail average")


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=pytest.mark.slow) if x in SLOW else x for x in SEARCHES]
)
def test_what_is_found_reaches_the_target_and_nothing_nearby_is_better(name):
    kind, over, fixed = SEARCHES[name]
    best = nqm.tune(PROBLEM, 16, TARGET, over, algorithm=kind, effort="fast", **fixed)
    assert best.steps == nqm.steps_to_target(PROBLEM, best.algorithm, 16, TARGET)
    for factor in (0.9, 1.1):
        nearby = best.algorithm.with_hyper_parameters(lr=factor * best.algorithm.lr.value)
        assert nqm.steps_to_target(PROBLEM, nearby, 16, TARGET) >= best.steps


@pytest.mark.slow
def test_more_general_methods_need_no_more_steps():
    plain = nqm.tune(PROBLEM, 16, TARGET).steps
    momentum = nqm.tune(PROBLEM, 16, TARGET, ("lr", "momentum")).steps
    wrapped = nqm.EMA(nqm.SGD(0.1), 0.5)
    assert (
        nqm.tune(PROBLEM, 16, TARGET, ("lr", "momentum", "nu"), algorithm=nqm.QHM).steps <= momentum
    )
    assert nqm.tune(PROBLEM, 16, TARGET, ("lr", "decay"), algorithm=wrapped).steps == (
        nqm.tune(PROBLEM, 16, TARGET, ("lr", "ema")).steps
    )
    lookahead = nqm.Lookahead(nqm.SGD(0.1), 1, 0.5)
    assert nqm.tune(PROBLEM, 16, TARGET, ("lr", "alpha"), algorithm=lookahead).steps <= plain


def test_an_example_keeps_what_is_not_searched():
    best = nqm.tune(PROBLEM, 16, TARGET, algorithm=nqm.EMA(nqm.Nesterov(0.1, 0.3), 0.7))
    assert (best.algorithm.decay, best.algorithm.inner.momentum) == (0.7, 0.3)
    assert best.steps < math.inf


def test_what_cannot_be_searched_is_named():
    with pytest.raises(nqm.InputError, match=r"such as EMA\(nqm.SGD\(0.1\)"):
        nqm.tune(PROBLEM, 16, TARGET, algorithm=nqm.EMA)
    with pytest.raises(nqm.InputError, match="over must be one of lr, momentum, alpha"):
        nqm.tune(PROBLEM, 16, TARGET, "nu", algorithm=nqm.Lookahead(nqm.Nesterov(0.1, 0.5)))
