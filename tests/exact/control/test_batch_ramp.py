"""batch_ramp writes batch sizes for trainers, in whole micro-batches."""

import numpy as np
import pytest
from helpers import PAPER
from hypothesis import given, settings
from hypothesis import strategies as st

import nqm_fast as nqm
from nqm_fast.schedules import Linear, Piecewise

PROBLEM = nqm.Problem.power_law(50)
SUFFIX = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def batches_of_a_trainer(text, steps, per_sample=1):
    """Batch sizes of a trainer that looks at what it has seen before each step."""
    stages = []
    for word in text.split():
        threshold, size = word.split(":")
        factor = SUFFIX.get(threshold[-1], 1)
        stages.append((int(threshold.rstrip("KMBT")) * factor, int(size)))
    assert stages[0][0] == 0
    assert stages == sorted(stages)
    seen, sizes = 0, []
    for _ in range(steps):
        sizes.append([size for threshold, size in stages if threshold <= seen][-1])
        seen += sizes[-1] * per_sample
    return sizes


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1.0, 5000.0), st.integers(1, 60)), min_size=1, max_size=8),
    st.sampled_from([1, 8, 96]),
    st.sampled_from([None, 1, 2048, 10**9]),
    st.sampled_from([None, 1, 3]),
)
def test_a_trainer_follows_the_text(stages, micro_batch, tokens_per_sample, most):
    given_ = Piecewise([size for size, _ in stages], [n for _, n in stages])
    steps = sum(n for _, n in stages)
    ramp = nqm.batch_ramp(
        PROBLEM, nqm.SGD(0.1), given_, steps,
        micro_batch=micro_batch, tokens_per_sample=tokens_per_sample, stages=most,
    )  # fmt: skip
    sizes = ramp.batch_size.values(np.arange(steps))
    assert batches_of_a_trainer(ramp.text, steps, tokens_per_sample or 1) == sizes.tolist()
    assert (sizes % micro_batch == 0).all()
    assert sizes.min() >= micro_batch
    assert sizes.sum() == ramp.samples
    assert len(ramp.batch_size.lengths) <= (most or len(stages))
    before = given_.values(np.arange(steps)).sum()
    assert ramp.samples <= max(before * (1 + 1e-9), micro_batch * steps)
    assert ramp.samples / before - 1 == pytest.approx(ramp.samples_price)


def test_the_price_is_that_of_the_risk():
    best = nqm.optimal_control(PAPER, steps=8192, samples=2**20)
    setting = best.algorithm, best.batch_size, best.steps
    ramp = nqm.batch_ramp(PAPER, *setting, micro_batch=8, stages=16)
    risk = nqm.expected_risk(PAPER, best.algorithm, ramp.batch_size, best.steps)
    assert ramp.risk == risk
    assert ramp.risk_price == pytest.approx(risk / best.risk - 1.0)
    prices = [
        nqm.batch_ramp(PAPER, *setting, micro_batch=unit, stages=stages).risk_price
        for unit, stages in ((1, None), (8, 16), (64, 4))
    ]
    assert 0.0 <= prices[0] < 1e-9
    assert prices == sorted(prices)
    assert 0.001 < prices[1] < 0.02


def test_sizes_that_grow_go_on_growing():
    sizes = Linear(3.0, 900.0, 500)
    ramp = nqm.batch_ramp(PROBLEM, nqm.SGD(0.1), sizes, 500, micro_batch=16)
    assert list(ramp.batch_size.values_) == sorted(ramp.batch_size.values_)
    assert 1.0 - ramp.samples / sizes.values(np.arange(500)).sum() < 0.01


def test_thresholds_are_round_and_have_letters():
    sizes = Piecewise([768, 1536], [162_761, 1000])
    ramp = nqm.batch_ramp(PROBLEM, nqm.SGD(0.1), sizes, 163_761, tokens_per_sample=2000)
    assert ramp.text == "0:768 250B:1536"
    assert ramp.samples_price == ramp.risk_price == 0.0


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"micro_batch": 0}, "micro_batch must be a whole number >= 1"),
        ({"stages": 0}, "stages must be a whole number >= 1"),
        ({"tokens_per_sample": 0.5}, "tokens_per_sample must be a whole number >= 1"),
        ({"steps": 0}, "steps must be a whole number >= 1"),
        ({"batch_size": 0.5}, "batch_size must be >= 1"),
        ({"batch_size": [1.0, 2.0]}, "steps must be at most 2"),
    ],
)
def test_mistakes_get_one_sentence(named, said):
    with pytest.raises(nqm.InputError, match=said):
        nqm.batch_ramp(**{"problem": PROBLEM, "algorithm": nqm.SGD(0.1), "batch_size": 4,
                          "steps": 10} | named)  # fmt: skip
