"""Runs of every linear method: the same bits everywhere, the exact mean, and files."""

import numpy as np
import pytest
from helpers import COMPILED

import nqm_fast as nqm
from nqm_fast.labels import setting_labels
from nqm_fast.schedules import InverseTime, Linear, Warmup

MOMENTUM = nqm.SGD(0.2, momentum=0.7)
METHODS = {
    "momentum by a schedule": nqm.SGD(0.1, momentum=Linear(0.5, 0.9, 20), ema=Linear(0.9, 0.5, 9)),
    "Nesterov": nqm.Nesterov(0.1, 0.9),
    "Nesterov, original": nqm.Nesterov(0.1, 0.9, form="original", power=0.5),
    "QHM": nqm.QHM(0.5, 0.9, 0.7),
    "AdEMAMix": nqm.AdEMAMix(0.1, 0.9, 0.99, 2.0),
    "DANA": nqm.DANA(0.2, 0.05, InverseTime(1.0, 8.0)),
    "delay": nqm.DelayedSGD(0.1, 3, momentum=0.2),
    "long delay": nqm.DelayedSGD(0.05, 12),
    "Schedule-Free": nqm.ScheduleFree(Warmup(9, 0.5, start=0.05), 0.9),
    "tail average": nqm.TailAverage(nqm.Nesterov(0.1, 0.9), 13),
    "Lookahead": nqm.Lookahead(MOMENTUM, 7, 0.4),
    "EMA of Lookahead": nqm.EMA(nqm.Lookahead(nqm.Nesterov(0.1, 0.8, form="original"), 5), 0.5),
    "accumulated": nqm.Accumulate(MOMENTUM, 2),
}
VARYING = ("momentum by a schedule", "DANA", "Schedule-Free", "tail average")
"""Those whose settings change at every step, so that a leap cannot cross it."""
STEPS = 40
PROBLEM = nqm.Problem(np.geomspace(1.0, 0.02, 70), mean0=0.5)
SILENT = nqm.Problem(np.geomspace(1.0, 0.02, 70), np.zeros(70), mean0=0.5, var0=0.0)


@pytest.mark.parametrize("sampling", ["minibatch", "per-sample", "leap"])
@pytest.mark.parametrize("name", METHODS)
def test_backends_give_the_same_bits(name, sampling):
    if sampling == "leap" and (name in VARYING or "long" in name):
        return
    same = {"steps": STEPS, "replicas": 2, "record": 5, "keep_state": True, "sampling": sampling}
    one, other = (
        nqm.simulate(PROBLEM, METHODS[name], 4, backend=backend, **same)
        for backend in ("numpy", COMPILED)
    )
    np.testing.assert_array_equal(one.risk, other.risk)
    np.testing.assert_array_equal(one.state, other.state)


@pytest.mark.parametrize("name", METHODS)
def test_without_noise_a_run_is_its_expectation(name):
    run = nqm.simulate(SILENT, METHODS[name], 4, STEPS, record=1)
    expected = nqm.expected_risk(SILENT, METHODS[name], 4, run.steps)
    np.testing.assert_allclose(run.risk.ravel(), expected, rtol=1e-11)


def test_runs_have_the_exact_mean():
    settings = list(METHODS.values())
    run = nqm.simulate(PROBLEM, settings, [4] * len(settings), STEPS, replicas=60, record=[STEPS])
    for number, algorithm in enumerate(settings):
        risk = run.risk[number, :, -1]
        expected = nqm.expected_risk(PROBLEM, algorithm, 4, STEPS)
        assert abs(risk.mean() - expected) < 5 * risk.std() / np.sqrt(risk.size), algorithm


@pytest.mark.parametrize("name", ["EMA of Lookahead", "delay"])
def test_collapsed_runs_have_the_exact_mean(name):
    run = nqm.simulate(
        PROBLEM, METHODS[name], 4, 33, sampling="collapsed", replicas=400, record=[7, 33]
    )
    expected = nqm.expected_risk(PROBLEM, METHODS[name], 4, [7, 33])
    error = run.risk.std(axis=-2) / 20
    assert (np.abs(run.risk.mean(axis=-2) - expected) < 5 * error).all()


def test_files_hold_algorithms_within_algorithms(tmp_path):
    out = tmp_path / "run.h5"
    settings = list(METHODS.values())
    whole = nqm.simulate(PROBLEM, settings, [4] * len(settings), STEPS, record=5)
    nqm.simulate(PROBLEM, settings, [4] * len(settings), 20, record=5, out=out)
    run = nqm.open_run(out)
    assert [setting.algorithm for setting in run.experiment.settings] == settings
    longer = nqm.resume(out, steps=STEPS)
    np.testing.assert_array_equal(longer.risk, whole.risk)


def test_labels_name_the_parameters_within():
    settings = [nqm.EMA(nqm.Nesterov(lr, 0.9), 0.5) for lr in (0.1, 0.2)]
    run = nqm.simulate(SILENT, settings, 4, 3)
    assert setting_labels(run.experiment.settings) == ["lr = 0.1", "lr = 0.2"]
