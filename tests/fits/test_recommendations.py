"""Settings that fits recommend, and steps and batch sizes to a loss."""

import math
import re

import numpy as np
import pytest
from simulated_runs import DIM, FLOOR, PROBLEM, TRUTH

import nqm_fast as nqm


def test_the_best_rate_is_that_of_the_exact_model(fitted):
    found = fitted.tune(dim=DIM, steps=400, batch_size=4)
    best = nqm.expected_risk(PROBLEM, nqm.SGD(found.lr), 4, 400)
    others = [nqm.expected_risk(PROBLEM, nqm.SGD(found.lr * f), 4, 400) for f in (0.8, 1.25)]
    assert best < min(others)
    assert found.loss == pytest.approx(FLOOR + best, rel=1e-3)
    decayed = fitted.tune(dim=DIM, steps=400, batch_size=4, schedule="cosine lr")
    assert decayed.loss < found.loss


def test_the_best_batch_size_spends_the_samples(fitted):
    found = fitted.tune(dim=DIM, samples=256, over=("lr", "batch_size"))
    assert found.steps == round(256 / found.batch_size)
    assert found.loss <= fitted.tune(dim=DIM, samples=256, batch_size=32).loss


def test_tuned_runs_are_those_of_the_best_rate(fitted):
    tuned = nqm.TrainingRun(None, 400, batch_size=4, lr=1.0, dim=DIM, tuned_lr=True)
    found = fitted.tune(dim=DIM, steps=400, batch_size=4)
    assert fitted.predict(tuned) == pytest.approx(found.loss, rel=1e-4)


def test_steps_to_a_loss_are_those_at_which_it_is_predicted(fitted):
    steps = fitted.steps_to_target(2.5, batch_size=8, dim=DIM, lr=0.2)
    first = nqm.steps_to_target(PROBLEM, nqm.SGD(0.2), 8, 2.5 - FLOOR)
    assert steps == pytest.approx(first, rel=0.01)
    tuned = fitted.steps_to_target(2.5, batch_size=8, dim=DIM)
    assert tuned < steps
    assert fitted.steps_to_target(1.45, batch_size=8, dim=DIM) == math.inf
    with pytest.raises(nqm.InputError, match="target must be above the irreducible loss"):
        fitted.steps_to_target(1.0, batch_size=8)


def test_tuned_rates_are_within_a_limit_of_stability_whatever_the_unit_of_curvature():
    """A tuned run has rates with a shape alone; 1.0, which stands for them, is no rate."""
    problem = nqm.Problem.power_law(DIM, scale=10.0)

    def run(lr, steps, batch=8):
        loss = FLOOR + nqm.expected_risk(problem, nqm.SGD(lr), batch, steps)
        return nqm.TrainingRun(loss, steps, batch_size=batch, lr=lr, dim=DIM)

    runs = [run(lr, steps) for lr in (0.02, 0.05, 0.1, 0.15) for steps in (50, 200, 800)]
    runs.append(nqm.TrainingRun(math.inf, 50, batch_size=8, lr=0.5, dim=DIM))
    fitted = nqm.fit(runs, extra=())
    target = FLOOR + 0.5 * (fitted.predict(run(0.1, 200)) - FLOOR)
    constant = fitted.steps_to_target(target, batch_size=8, dim=DIM, lr=0.1)
    assert math.isfinite(constant)
    assert fitted.steps_to_target(target, batch_size=8, dim=DIM) <= constant


def test_tuned_rates_of_momentum_reach_its_own_edge(fitted):
    """A direction is stable up to 2 (1 + momentum), so that products beyond 2 are best at times."""

    def loss(lr, **more):
        run = nqm.TrainingRun(None, 20, batch_size=1e6, lr=lr, dim=DIM, momentum=0.8, **more)
        return fitted.predict(run)

    rates = np.geomspace(0.1, 4.0, 60)
    losses = [loss(lr) for lr in rates]
    assert TRUTH["scale"] * rates[np.argmin(losses)] > 2.0
    assert 0.97 * min(losses) < loss(1.0, tuned_lr=True) <= 1.001 * min(losses)


def test_losses_at_the_edge_of_stability_are_those_of_the_exact_model(fitted):
    """There the steepest direction's share of the loss rises from nothing within a few places."""
    for steps in (15, 40, 140):
        lrs = np.linspace(1.6, 1.98, 39) / TRUTH["scale"]
        risks = [nqm.expected_risk(PROBLEM, nqm.SGD(lr), 2**20, steps) for lr in lrs]
        tuned = nqm.TrainingRun(None, steps, batch_size=2**20, lr=1.0, dim=DIM, tuned_lr=True)
        assert fitted.predict(tuned) == pytest.approx(FLOOR + min(risks), rel=3e-3)


def test_oscillations_of_momentum_are_those_of_the_exact_model(fitted):
    for product in (1.0, 2.0, 2.8):
        lr = product / TRUTH["scale"]
        run = nqm.TrainingRun(None, 20, batch_size=2**20, lr=lr, dim=DIM, momentum=0.9)
        risk = nqm.expected_risk(PROBLEM, nqm.SGD(lr, momentum=0.9), 2**20, 20)
        assert fitted.predict(run) == pytest.approx(FLOOR + risk, rel=2e-3)


def test_a_measured_sharpness_limits_rates_that_are_tuned(fitted):
    def loss(**more):
        return fitted.predict(nqm.TrainingRun(None, 40, batch_size=64, dim=DIM, **more))

    free = loss(lr=1.0, tuned_lr=True)
    assert loss(lr=1.0, tuned_lr=True, sharpness=0.5) == free
    limited = loss(lr=1.0, tuned_lr=True, sharpness=20.0)
    assert limited == pytest.approx(loss(lr=1.99 / 20.0), rel=1e-6)
    assert limited > free
    steps = [
        fitted.steps_to_target(2.5, batch_size=64, dim=DIM, momentum=m, sharpness=20.0)
        for m in (0.0, 0.5, 0.9)
    ]
    assert steps[0] > steps[1]
    several = fitted.steps_to_target(
        2.5, batch_size=64, dim=DIM, momentum=(0.0, 0.5, 0.9), sharpness=20.0
    )
    assert several == min(steps)


def test_rates_of_tuned_runs_have_no_size():
    """They are no highest rate that was measured, nor typical of others."""

    def run(lr, steps):
        loss = FLOOR + nqm.expected_risk(PROBLEM, nqm.SGD(lr), 8, steps)
        return nqm.TrainingRun(loss, steps, batch_size=8, lr=lr, dim=DIM)

    runs = [run(lr, steps) for lr in (1e-3, 4e-3) for steps in (400, 2000)]
    best = nqm.tune(PROBLEM, 8, 0.5, over=("lr",), effort="fast").steps
    tuned = nqm.TrainingRun(FLOOR + 0.5, best, batch_size=8, lr=7.0, dim=DIM, tuned_lr=True)
    fitted = nqm.fit([*runs, tuned], extra=())
    assert fitted.units.lr == pytest.approx(2e-3)
    assert np.isnan(fitted.measured["lr"]).sum() == 1
    assert "lr tuned" in fitted.report()
    assert fitted.tune(dim=DIM, steps=10, batch_size=2**20).lr < 7.0


def test_fits_to_tuned_runs_predict_steps_at_other_batch_sizes():
    def run(batch, target=0.4):
        best = nqm.tune(PROBLEM, batch, target, over=("lr",), effort="fast")
        return nqm.TrainingRun(
            FLOOR + target, best.steps, batch_size=batch, lr=1.0, dim=DIM, tuned_lr=True
        )

    runs = [run(batch, target) for batch in (4, 16, 64) for target in (0.8, 0.5, 0.3)]
    fitted = nqm.fit(runs, extra=())
    for batch in (2, 256):
        measured = run(batch).last_step
        assert fitted.steps_to_target(FLOOR + 0.4, batch_size=batch, dim=DIM) == pytest.approx(
            measured, rel=0.2
        )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "give either steps or samples"),
        ({"steps": 3, "samples": 3}, "give either steps or samples"),
        ({"steps": 3, "over": ("ema",)}, "over must be ('lr',) or ('lr', 'batch_size')"),
        ({"steps": 3, "over": ("lr", "batch_size")}, "over 'batch_size' needs samples"),
        ({"steps": 3}, "batch_size must be a number >= 1, not None"),
        ({"steps": 3, "batch_size": 4, "schedule": "sine"}, "schedule must be '[warmup W,] KIND"),
    ],
)
def test_what_cannot_be_recommended_is_said(fitted, more, message):
    with pytest.raises(nqm.InputError, match=re.escape(message)):
        fitted.tune(**more)


# -- critical batch sizes ----------------------------------------------------------------


@pytest.mark.parametrize("definition", ["knee", "overhead", "half"])
def test_critical_batch_sizes_are_those_of_the_problem(fitted, definition):
    found = fitted.critical_batch_size(2.2, dim=DIM, definition=definition)
    exact = nqm.critical_batch_size(PROBLEM, 2.2 - FLOOR, definition=definition, effort="fast")
    assert found.value == pytest.approx(exact.value, rel=0.1)
    assert found.steps[0] == pytest.approx(exact.reference.steps, rel=0.02)
    assert found.steps[-1] >= found.least_steps


def test_critical_batch_sizes_are_measured_from_a_reference(fitted):
    first = fitted.critical_batch_size(2.2, dim=DIM, reference=64)
    assert first.batch_sizes[0] == 64
    assert first.value > fitted.critical_batch_size(2.2, dim=DIM).value
    fixed = fitted.critical_batch_size(2.2, dim=DIM, lr=0.1)
    assert fixed.least_steps > first.least_steps


def test_a_loss_is_an_excess_risk_of_the_problem(fitted):
    risk = fitted.excess_risk(2.2, DIM)
    assert risk == pytest.approx(2.2 - FLOOR, rel=1e-3)
    steps = nqm.steps_to_target(fitted.problem(DIM), nqm.SGD(0.2), 8, risk)
    assert steps == pytest.approx(
        fitted.steps_to_target(2.2, batch_size=8, dim=DIM, lr=0.2), rel=2e-3
    )
    with pytest.raises(nqm.InputError, match=r"loss must be above 1\.7.*, which is left at dim"):
        fitted.excess_risk(1.6, DIM)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"definition": "noise"}, "definition must be one of knee, overhead, half, not 'noise'"),
        ({"overhead": 0.0}, "overhead must be > 0, not 0"),
        ({"reference": 0.5}, "reference must be >= 1, not 0.5"),
        ({"target": 1.6}, "target = 1.6 is not reached at the batch size reference = 1"),
        ({"schedule": "sine"}, "schedule must be '[warmup W,] KIND"),
        ({"target": 1.0}, "target must be above the irreducible loss"),
    ],
)
def test_critical_batch_sizes_that_are_none_are_refused(fitted, more, message):
    target = more.pop("target", 2.2)
    with pytest.raises(nqm.InputError, match=re.escape(message)):
        fitted.critical_batch_size(target, dim=DIM, **more)


@pytest.mark.parametrize("name", ["momentum", "ema"])
def test_no_values_to_choose_from_are_answered(fitted, name):
    said = rf"{name} must be a number or a list of one or more, not \[\]"
    with pytest.raises(nqm.InputError, match=said):
        fitted.steps_to_target(3.0, batch_size=8, dim=500, **{name: []})
