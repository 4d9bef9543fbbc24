"""Runs of every linear method: the same bits everywhere, the exact mean, and files."""

import numpy as np
import pytest
from family import METHODS, PERIODIC, VARYING
from helpers import COMPILED, assert_same, chunks_of

import nqm_fast as nqm
from nqm_fast.labels import setting_labels

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


# -- leaps over periods ------------------------------------------------------------------


@pytest.mark.parametrize("name", PERIODIC)
def test_leaps_over_periods_are_their_steps(name):
    """Records are within periods, at their ends and many apart; without noise all is the same."""
    how = {"steps": 3000, "record": [1, 3, 7, 10, 34, 35, 70, 71, 105, 2001, 2002, 3000]}
    leapt = nqm.simulate(SILENT, METHODS[name], 4, sampling="leap", **how)
    walked = nqm.simulate(SILENT, METHODS[name], 4, **how)
    np.testing.assert_allclose(leapt.risk, walked.risk, rtol=1e-9)
    leapt = nqm.simulate(PROBLEM, METHODS[name], 4, sampling="leap", replicas=500, **how)
    expected = nqm.expected_risk(PROBLEM, METHODS[name], 4, leapt.steps)
    error = leapt.risk.std(axis=-2) / np.sqrt(500)
    assert (np.abs(leapt.risk.mean(axis=-2) - expected) < 5 * error).all()


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("name", PERIODIC)
def test_leaps_over_periods_cost_what_leaps_cost(name):
    """A leap of a billion steps would take hours step by step."""
    run = nqm.simulate(
        PROBLEM, METHODS[name], 4, 10**9, sampling="leap", replicas=400, record=[10, 10**9]
    )
    expected = nqm.expected_risk(PROBLEM, METHODS[name], 4, run.steps)
    error = run.risk.std(axis=-2) / 20
    assert (np.abs(run.risk.mean(axis=-2) - expected) < 5 * error).all()


def test_leaps_over_periods_do_not_depend_on_other_settings_or_chunks(monkeypatch, tmp_path):
    settings = [METHODS[name] for name in PERIODIC]
    settings += [nqm.Lookahead(nqm.SGD(0.3, momentum=0.5), 7, 0.9), nqm.SGD(0.3, momentum=0.5)]
    how = {"sampling": "leap", "replicas": 2, "keep_state": True}
    records = [4, 14, 21, 28, 30, 57, 60]
    together = nqm.simulate(PROBLEM, settings, [4] * 5, 60, record=records, **how)
    for g, setting in enumerate(settings):
        alone = nqm.simulate(PROBLEM, setting, 4, 60, record=records, **how)
        np.testing.assert_array_equal(together.risk[g], alone.risk)
        np.testing.assert_array_equal(together.state[g], alone.state)
    traced = nqm.simulate(PROBLEM, settings[0], 4, 60, record=records, trajectory=[0, 69], **how)
    np.testing.assert_array_equal(traced.trajectory.w[:, -1], traced.state[:, 0, [0, 69]])
    np.testing.assert_array_equal(traced.state, together.state[0])
    out = tmp_path / "run.h5"
    nqm.simulate(PROBLEM, settings, [4] * 5, 24, record=4, out=out, **how)
    whole = nqm.simulate(PROBLEM, settings, [4] * 5, 60, record=4, **how)
    np.testing.assert_array_equal(nqm.resume(out, steps=60).risk, whole.risk)
    chunks_of(monkeypatch, 9)
    assert_same(nqm.simulate(PROBLEM, settings, [4] * 5, 60, record=records, **how), together)


# -- means, files, labels ----------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_without_noise_a_run_is_its_expectation(name):
    run = nqm.simulate(SILENT, METHODS[name], 4, STEPS, record=1)
    expected = nqm.expected_risk(SILENT, METHODS[name], 4, run.steps)
    np.testing.assert_allclose(run.risk.ravel(), expected, rtol=1e-11)


def test_runs_have_the_exact_mean():
    settings = list(METHODS.values())
    run = nqm.simulate(PROBLEM, settings, [4] * len(settings), STEPS, replicas=200, record=[STEPS])
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
