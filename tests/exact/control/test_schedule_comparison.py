"""compare_schedules tunes named schedules, and says what they leave on the table."""

import math

import numpy as np
import pytest
from helpers import PAPER

import nqm_fast as nqm
from nqm_fast import figures
from nqm_fast.exact.control.named_schedules import SHAPES
from nqm_fast.exact.control.schedule_comparison import NAMES
from nqm_fast.output.columns import rows_where
from nqm_fast.schedules import Constant, Cosine, InverseTime, Linear, Piecewise, WarmupStableDecay

STEPS, SAMPLES = 2048, 2**16


@pytest.fixture(scope="module")
def comparison():
    return nqm.compare_schedules(PAPER, SAMPLES, STEPS, NAMES)


def risk_of(lr, batch_size=SAMPLES // STEPS, steps=STEPS):
    return nqm.expected_risk(PAPER, nqm.SGD(lr), batch_size, steps)


# -- each at its best ----------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_its_schedule(name):
    shape, steps = SHAPES[name], 1000
    numbers = np.array(shape.starts[-1])
    values = shape.schedule(0.7, numbers, steps).values(np.arange(steps))
    assert 0.7 * shape.values(numbers, np.arange(steps) / steps) == pytest.approx(values, rel=1e-9)


def test_risks_are_those_of_the_schedules(comparison):
    assert [row.name for row in comparison.schedules] == list(NAMES)
    for row in comparison.schedules:
        risk = nqm.expected_risk(PAPER, nqm.SGD(row.lr), row.batch_size, STEPS)
        assert row.risk == risk
        assert row.excess == pytest.approx(risk / comparison.optimum.risk - 1.0)
        spent = sum(
            n * b for n, b in zip(row.batch_size.lengths, row.batch_size.values_, strict=True)
        )
        assert spent == SAMPLES
    assert comparison["optimal"].excess == 0.0


RATES = np.geomspace(0.05, 1.999, 16)
GRIDS = {
    "constant": [Constant(x) for x in RATES],
    "cosine": [Cosine(x, STEPS, x * e) for x in RATES for e in (0, 0.2, 0.5, 0.8)],
    "linear": [Linear(x, x * e, STEPS) for x in RATES for e in (0, 0.2, 0.5, 0.8)],
    "wsd": [
        WarmupStableDecay(x, 0, STEPS - n, n)
        for x in RATES
        for n in (30, 100, 200, 500, 1000, STEPS)
    ],
    "power": [
        InverseTime(x, STEPS * k, p)
        for x in RATES
        for k in (0.01, 0.1, 1, 10)
        for p in (0.3, 1.0, 3.0, 10.0)
    ],
}


@pytest.mark.parametrize("name", GRIDS)
def test_no_grid_of_a_shape_s_numbers_is_better(name, comparison):
    """Rates are tuned as those of pieces, so that a little is left."""
    lowest = min(risk_of(lr) for lr in GRIDS[name])
    assert comparison[name].risk <= lowest * (1.0 + 1e-3)
    assert comparison[name].risk >= lowest * 0.9


def test_the_order_is_that_of_freedom(comparison):
    excess = {row.name: row.excess for row in comparison.schedules}
    assert min(excess.values()) == excess["optimal"] == 0.0
    assert all(excess["optimal-lr"] <= excess[name] for name in SHAPES)
    assert all(excess[name] <= excess["constant"] for name in SHAPES)


# -- other horizons ------------------------------------------------------------------------


@pytest.mark.slow
def test_wsd_can_stop_at_any_time_and_cosine_cannot():
    """Where the noise counts, a cosine that is cut off has not fallen, and a plateau can decay."""
    many = nqm.compare_schedules(PAPER, 2**20, 32768, ["cosine", "wsd"], horizons=[0.25, 0.5, 1])
    cosine, wsd = many["cosine"].anytime, many["wsd"].anytime
    assert cosine[2] == pytest.approx(many["cosine"].excess)
    assert cosine[0] > 5 * cosine[2]
    assert (wsd[:2] < cosine[:2]).all()
    assert many.horizons.tolist() == [8192, 16384, 32768]


def test_anytime_risks_are_those_of_schedules_cut_off_or_gone_on_with(comparison):
    at = comparison.horizons.tolist()
    assert at == [512, 1024, 2048, 4096]
    for k, steps in enumerate(at):
        best = nqm.optimal_control(PAPER, steps=steps, samples=32 * steps).risk
        for name in ("constant", "cosine", "linear", "power"):
            risk = risk_of(comparison[name].lr, 32, steps)
            assert comparison[name].anytime[k] == pytest.approx(risk / best - 1.0)
        peak, decay = comparison["wsd"].lr.peak, comparison["wsd"].lr.decay
        decay = round(decay * steps / STEPS)
        risk = risk_of(WarmupStableDecay(peak, 0, steps - decay, decay), 32, steps)
        assert comparison["wsd"].anytime[k] == pytest.approx(risk / best - 1.0, rel=0.02)
        assert comparison["optimal"].anytime[k] == 0.0


def test_a_comparison_is_a_table(comparison):
    table = comparison.to_table()
    assert list(table)[:3] == ["schedule", "risk", "excess"]
    assert table["schedule"].tolist() == list(NAMES)
    assert table["excess at 2048 steps"].tolist() == [x.anytime[2] for x in comparison.schedules]
    assert "optimal-lr" in comparison._repr_html_()
    schedules, _, horizons = comparison
    assert comparison[0] is schedules
    assert comparison[2] is horizons
    with pytest.raises(nqm.InputError, match="schedule must be one of constant, cosine"):
        comparison["cosin"]


def test_samples_that_are_no_multiple_of_the_steps():
    few = nqm.compare_schedules(nqm.Problem.power_law(20), 1000, 300, ["constant", "optimal"])
    assert few["constant"].batch_size == Piecewise([3, 4], [200, 100])
    assert few["constant"].excess > 0.0


def test_a_problem_without_noise():
    problem = nqm.Problem([1.0, 0.1], 0.0)
    both = nqm.compare_schedules(problem, 64, 16, ["constant", "optimal"])
    assert all(math.isfinite(row.risk) for row in both.schedules)


# -- rules that are equivalent, or not -----------------------------------------------------


@pytest.mark.parametrize("first", [0.01, 0.1, 0.4])
def test_halving_the_rate_is_doubling_the_batch(first):
    """In phases of equal samples both go through the same noise in the same time, lr times steps.

    Where steps are small they are one diffusion; what is left grows with lr h.
    """
    phases = np.arange(5)
    halved = Piecewise(first * 0.5**phases, 200 * 2**phases)
    constant = Piecewise([first], [1000])
    doubled = Piecewise(16 * 2**phases, [200] * 5)
    steps = int((200 * 2**phases).sum())
    assert 16 * steps == (doubled.values(np.arange(1000))).sum()
    one = nqm.expected_risk(PAPER, nqm.SGD(halved), 16, steps)
    other = nqm.expected_risk(PAPER, nqm.SGD(constant), doubled, 1000)
    assert other == pytest.approx(one, rel=0.02 * first + 1e-4)
    # Phases alike in steps instead are not the same.
    apart = nqm.expected_risk(PAPER, nqm.SGD(Piecewise(first * 0.5**phases, [200] * 5)), 16, 1000)
    assert abs(apart / one - 1.0) > 0.02


def test_rates_scale_with_the_batch_size_and_not_with_its_root():
    """At equal samples, as long as the largest stable rate is far."""
    best = nqm.optimal_control(PAPER, steps=2**14, samples=2**14, over=())
    rate = best.lr.values_[0]
    linear, root = (
        [risk_of(rate * rule(size), size, 2**14 // size) for size in (2, 4, 8)]
        for rule in (lambda b: b, math.sqrt)
    )
    assert linear == pytest.approx([best.risk] * 3, rel=0.1)
    assert root[2] > 1.3 * best.risk


def test_batches_grow_and_most_of_all_at_the_end():
    best = nqm.optimal_control(PAPER, steps=8192, samples=2**20, over=("batch_size",))
    sizes = best.batch_size.values(np.arange(8192))
    assert (np.diff(best.batch_size.values_) >= -1).all()  # whole batches
    assert sizes[-800:].sum() > 0.3 * sizes.sum()
    reverse = Piecewise(best.batch_size.values_[::-1], best.batch_size.lengths[::-1])
    assert nqm.expected_risk(PAPER, best.algorithm, reverse, 8192) > 1.5 * best.risk


# -- the figure ----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_figure_is_of_any_problem(tmp_path):
    problem = nqm.Problem.power_law(30, 1.5)
    (drawn,) = figures.draw("schedules_compared", tmp_path, workers=1, problem=problem)
    wsd = rows_where(drawn.table, panel="excess", schedule="wsd")
    assert wsd["x"].size == 11
    assert (wsd["y"] >= 0.0).all()
    double, halve = (
        rows_where(drawn.table, panel="phases", schedule=name)["y"]
        for name in ("double B", "halve lr")
    )
    assert double[3:] == pytest.approx(halve[3:], rel=0.1)
    tuned = rows_where(drawn.table, panel="scaling", schedule="tuned")
    assert (np.diff(tuned["y"]) >= -1e-9).all()


# -- mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"names": "cosine"}, "names must be a list of constant, cosine, linear"),
        ({"names": []}, "names must be a list of"),
        ({"names": ["step"]}, "names must be one of constant, cosine"),
        ({"names": ["wsd", "wsd"]}, "names must differ from each other"),
        ({"samples": 9}, "samples must be at least steps = 10, not 9"),
        ({"steps": 0}, "steps must be a whole number >= 1"),
        ({"horizons": [0.0]}, "horizons must be > 0"),
    ],
)
def test_mistakes_get_one_sentence(named, said):
    with pytest.raises(nqm.InputError, match=said):
        nqm.compare_schedules(
            **{"problem": nqm.Problem.power_law(10), "samples": 100, "steps": 10} | named
        )
