"""Fits find the problem that runs were simulated from, and predict runs that were not fitted."""

import math
import re

import numpy as np
import pytest
from simulated_runs import (
    DIM,
    FLOOR,
    PROBLEM,
    START,
    TRUTH,
    cosine,
    finals,
    simulated,
    sum_beyond,
)

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.fits.model import PreparedRun, predict
from nqm_fast.fits.parameters import ALL
from nqm_fast.fits.units import Units

# -- what is found -----------------------------------------------------------------------


def test_parameters_are_those_that_runs_were_simulated_from():
    fitted = nqm.fit(finals(), extra=())
    found = {name: one.value for name, one in fitted.parameters.items()}
    tail = 0.5 * found["start"] * sum_beyond(found["start_exponent"])
    assert found.pop("irreducible") + tail == pytest.approx(FLOOR, rel=1e-3)
    for name, value in TRUTH.items():
        assert found[name] == pytest.approx(value, rel=0.01), name
    assert fitted.error < 1e-5


def test_fits_to_constant_rates_predict_cosine_runs(fitted):
    run = cosine()
    assert fitted.predict(run) == pytest.approx(float(run.loss), rel=1e-3)


def test_fits_predict_momentum_averages_and_batch_ramps(fitted):
    ramp = schedules.Piecewise([4, 64], [300, 300])
    for run in (
        simulated(0.2, 8, 400, momentum=0.9),
        simulated(0.5, 4, 400, ema=0.95),
        simulated(0.3, ramp, np.array([100, 600])),
    ):
        assert fitted.predict(run) == pytest.approx(run.loss, rel=2e-3)


def test_predictions_are_the_exact_model_of_the_problem(fitted):
    run = cosine()
    tail = (
        0.5
        * fitted.parameters["start"].value
        * sum_beyond(fitted.parameters["start_exponent"].value)
    )
    risk = nqm.expected_risk(fitted.problem(DIM), nqm.SGD(run.lr), 16, 1000)
    assert fitted.predict(run) == pytest.approx(fitted.irreducible + tail + risk, rel=1e-4)


def test_noise_in_losses_is_no_harm(fitted):
    fitted = nqm.fit(finals(noise=0.01), extra=(), start=fitted.start)
    assert 0.002 < fitted.error < 0.02
    run = cosine()
    assert fitted.predict(run) == pytest.approx(float(run.loss), rel=0.02)
    low, high = fitted.interval(run)
    assert low < float(run.loss) < high
    wider = fitted.interval(run, 0.99)
    assert wider[0] < low < high < wider[1]


def test_curves_of_two_schedules_predict_a_third():
    steps = np.arange(20, 801, 20)
    flat = simulated(0.5, 4, steps, name="flat")
    drop = simulated(schedules.Piecewise([0.5, 0.1], [400, 400]), 4, steps, name="drop")
    fitted = nqm.fit([flat, drop])
    third = simulated(schedules.WarmupStableDecay(0.5, 0, 500, 300), 4, steps)
    assert fitted.predict(third) == pytest.approx(third.loss, rel=2e-3)


# -- what does not matter ----------------------------------------------------------------


def test_the_order_of_runs_does_not_matter(fitted):
    one, other = (
        nqm.fit(runs, extra=(), start=fitted.start) for runs in (finals(), finals()[::-1])
    )
    assert other.x.tolist() == one.x.tolist()


def test_units_of_the_learning_rate_do_not_matter(fitted):
    def scaled(run):
        return nqm.TrainingRun(
            run.loss, run.steps, batch_size=run.batch_size, lr=1e4 * run.peak_lr, dim=DIM
        )

    other = nqm.fit([scaled(run) for run in finals()], extra=(), start=fitted.start)
    assert other.parameters["scale"].value == pytest.approx(TRUTH["scale"] / 1e4, rel=0.06)
    new = nqm.TrainingRun(None, 900, batch_size=7, lr=0.3, dim=DIM)
    assert other.predict(scaled(new)) == pytest.approx(fitted.predict(new), rel=1e-4)


def test_curves_can_be_split(fitted):
    steps = np.arange(20, 801, 20)
    settings = [(0.5, 4), (0.1, 4), (0.5, 64)]
    whole = nqm.fit([simulated(*s, steps) for s in settings], extra=(), start=fitted.start)
    halves = [simulated(*s, part) for s in settings for part in (steps[:15], steps[15:])]
    parts = nqm.fit(halves, extra=(), start=fitted.start)
    run = cosine()
    assert parts.predict(run) == pytest.approx(whole.predict(run), rel=1e-3)


def test_a_fit_is_the_same_after_it_was_saved(fitted, tmp_path):
    path = tmp_path / "fit.json"
    fitted.save(path)
    loaded = nqm.Fitted.load(path)
    run = cosine()
    assert loaded.predict(run) == fitted.predict(run)
    assert loaded.interval(run) == fitted.interval(run)
    assert loaded.report() == fitted.report()
    assert loaded.parameters == fitted.parameters
    path.write_text("{}")
    with pytest.raises(nqm.InputError, match=r"fit.json is no fit that `save` has written"):
        nqm.Fitted.load(path)


# -- extra parameters, groups, stability -------------------------------------------------


def square_root_runs():
    """Runs whose rates go with the square root of lr."""
    steps = np.arange(100, 801, 100)

    def run(lr, batch):
        risk = nqm.expected_risk(PROBLEM, nqm.SGD(0.5 * math.sqrt(lr)), batch, steps)
        return nqm.TrainingRun(FLOOR + risk, steps, batch_size=batch, lr=lr, dim=DIM)

    return [run(lr, batch) for lr in (0.04, 0.2, 1.0) for batch in (4, 32)]


@pytest.mark.slow
def test_a_power_of_the_rate_is_found():
    fitted = nqm.fit(square_root_runs(), extra=["lr_power"])
    assert fitted.parameters["lr_power"].value == pytest.approx(-0.5, abs=0.01)
    assert fitted.parameters["exponent"].value == pytest.approx(TRUTH["exponent"], rel=0.02)


@pytest.mark.slow
def test_extra_parameters_are_admitted_where_runs_need_them():
    fitted = nqm.fit(square_root_runs())
    assert "lr_power" in fitted.extra
    assert fitted.parameters["lr_power"].value == pytest.approx(-0.5, abs=0.05)
    assert nqm.fit(finals(noise=0.01)).extra == ()


@pytest.mark.slow
def test_first_records_are_left_out_if_runs_are_predicted_better_by_it():
    """They are where they are off by other amounts in every run, and say nothing of the others."""
    steps = np.arange(20, 801, 20)
    lrs = 0.5, schedules.Linear(0.5, 0.0, 800), schedules.Piecewise([0.5, 0.1], [400, 400])

    def runs(errors):
        found = [simulated(lr, 16, steps) for lr in lrs]
        return [
            nqm.TrainingRun(
                run.loss * (1.0 + error * (steps < 100)), steps, batch_size=16, lr=run.lr, dim=DIM
            )
            for run, error in zip(found, errors, strict=True)
        ]

    chosen = []
    for errors in ((0.1, 0.1, 0.1), (0.1, -0.1, 0.0)):
        fitted = nqm.fit(runs(errors), extra=(), start=START)
        whole, cut = fitted.tried
        assert (whole["burn_in"], cut["burn_in"]) == (0, 100)
        is_better = cut["error"] < 0.95 * whole["error"]
        chosen.append(is_better)
        assert fitted.left_out_error == (cut if is_better else whole)["error"]
        assert fitted.measured["steps"].min() == (100 if is_better else 20)
    assert chosen == [False, True]
    assert "without records before step 100" in fitted.report()
    kept = nqm.fit(runs(errors), extra=(), start=START, burn_in=0)
    assert kept.measured["steps"].min() == 20
    assert kept.error > 10 * fitted.error
    with pytest.raises(nqm.InputError, match="burn_in must be 'auto' or a whole number"):
        nqm.fit(runs(errors), burn_in="some")


def test_groups_have_parameters_of_their_own(fitted):
    def moved(run, by, group):
        return nqm.TrainingRun(
            run.loss + by, run.steps, batch_size=run.batch_size, lr=run.lr, dim=DIM, group=group
        )

    runs = [moved(run, by, g) for by, g in ((0.0, "a"), (0.5, "b")) for run in finals()]
    share = [name for name in ALL if name != "irreducible"]
    fitted = nqm.fit(runs, share=share, extra=(), start=fitted.start)
    low, high = (fitted.parameters[f"irreducible[{group}]"].value for group in "ab")
    assert high - low == pytest.approx(0.5, rel=0.03)
    with pytest.raises(nqm.InputError, match="group must be one of those fitted, a, b, not 'c'"):
        fitted.predict(moved(finals()[0], 0.0, "c"))


def test_diverged_runs_are_evidence(fitted):
    runs = finals()
    limit = 2.0 / TRUTH["scale"]
    for lr in (1.1 * limit, 2.0 * limit):
        runs.append(nqm.TrainingRun(math.inf, 100, batch_size=4, lr=lr, dim=DIM))
    runs.append(simulated(0.9 * limit, 32, 200))
    fitted = nqm.fit(runs, extra=(), start=fitted.start)
    assert 2.0 / fitted.parameters["scale"].value == pytest.approx(limit, rel=0.12)
    new = nqm.TrainingRun(None, 50, batch_size=4, lr=1.5 * limit, dim=DIM)
    assert fitted.predict(new) == math.inf


def test_a_measured_sharpness_is_evidence():
    runs = [simulated(0.05, b, t, sharpness=0.8) for b in (2, 32) for t in (30, 200, 1500)]
    fitted = nqm.fit(runs, extra=())
    assert fitted.parameters["scale"].value == pytest.approx(0.8, rel=0.02)


def test_slopes_are_those_of_predictions():
    run = simulated(schedules.Cosine(0.7, 300), 16, np.array([0, 50, 300]))
    units = Units.of(finals())
    values = dict.fromkeys(ALL, 0.1) | {"exponent": 1.1, "start_exponent": 1.3}
    values |= {"noise": -2.0, "scale": -1.53}
    slopes = predict(values, PreparedRun(run), units).slopes
    assert set(slopes) == set(ALL)
    step = 1e-4
    for name, slope in slopes.items():
        high, low = (
            predict(values | {name: values[name] + s}, PreparedRun(run), units).loss
            for s in (step, -step)
        )
        assert slope == pytest.approx((high - low) / (2.0 * step), rel=2e-4, abs=1e-6), name


# -- nonsense ----------------------------------------------------------------------------


def plain(loss, steps=100, lr=0.1, **more):
    return nqm.TrainingRun(loss, steps, batch_size=8, lr=lr, **more)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "runs must be a list of TrainingRun, not an empty list"),
        (3, "runs must be a list of TrainingRun, not 3"),
        ([plain(2.0), "run"], "runs must be a list of TrainingRun, not a list with 'run'"),
        ([plain(2.0)], "runs must have at least 4 finite losses, not 1"),
        ([plain(2.0, t) for t in range(9)], "runs have the same loss 2 in all 9 records"),
        ([plain(2.0 + k) for k in range(9)], "runs must differ: all 9 have 100 steps"),
        ([plain([1.0, 2, 3, 4], [1, 2, 3, 4])], "loss only rises with the steps"),
        ([plain(1e-3), plain(1e3, 5), plain(2.0, 7), plain(3.0, 9)], "one loss in the same units"),
        ([plain(math.inf, t) for t in range(1, 9)], "at least 4 finite losses, not 0"),
        ([plain(None)], "runs[0] has no loss"),
        ([plain(2.0 + k, 9 - k, dim=k or None) for k in range(9)], "has no dim, but others do"),
    ],
)
def test_nonsense_is_answered_in_a_sentence(runs, message):
    with pytest.raises(nqm.InputError, match=re.escape(message)):
        nqm.fit(runs)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": "linear"}, "model must be one of power-law, not 'linear'"),
        ({"loss": "hinge"}, "loss must be one of log, absolute, not 'hinge'"),
        ({"share": ["lr"]}, "share may have scale, exponent"),
        ({"extra": ["momentum"]}, "extra may have lr_power"),
        ({"stability": "no"}, "stability must be one of auto, edge, limit, not 'no'"),
        ({"start": {"scale": 1.0}}, "start must have scale, exponent"),
        ({"seed": -1}, "seed must be a whole number >= 0, not -1"),
    ],
)
def test_arguments_outside_their_limits_are_refused(more, message):
    with pytest.raises(nqm.InputError, match=re.escape(message)):
        nqm.fit(finals()[:6], **more)


def test_a_burn_in_is_said_where_it_is_given():
    with pytest.raises(nqm.InputError, match="burn_in must be 'auto' or a whole number of steps"):
        nqm.fit([nqm.TrainingRun(2.0, 5, batch_size=2, lr=0.1)] * 4, burn_in="some")


def test_two_runs_are_not_left_out_in_turn():
    """One schedule alone says nothing of what the other needs."""
    steps = np.arange(40, 801, 40)
    runs = [simulated(lr, 16, steps) for lr in (0.5, schedules.Linear(0.5, 0.0, 800))]
    fitted = nqm.fit(runs, start=START)
    assert "lr_power" in fitted.parameters
    assert fitted.measured["steps"].min() == 40
