"""Observables: one entry of a table is summed in every backend, stored, resumed and read."""

import copy
import pickle

import numpy as np
import pytest
import xarray
from helpers import chunks_of, stopped_at_the_first_chunk

import nqm_fast as nqm
from nqm_fast.simulation.observables import OBSERVABLES, Observable, RecordLayout

PROBLEM = nqm.Problem(np.random.default_rng(0).uniform(0.01, 1.0, 700), mean0=0.3)
ALGORITHMS = [nqm.SGD(0.3), nqm.SGD(0.1, momentum=0.9, ema=0.5)]
BOTH = ("risk", "weight_norm")


def simulate(**changes):
    arguments = {"replicas": 2, "record": [0, 7, 30], "seed": 4, "observe": BOTH} | changes
    return nqm.simulate(PROBLEM, ALGORITHMS, 8, 30, **arguments)


@pytest.fixture(scope="module")
def usual():
    return simulate(keep_state=True, bands=3)


def test_it_is_the_squared_norm_of_the_evaluated_iterate(usual):
    """The evaluated iterate of SGD is w, or its average, which is the third component."""
    assert usual.weight_norm.shape == (2, 2, 3)
    for norms, state, evaluated in zip(usual.weight_norm, usual.state, (0, 2), strict=True):
        expected = (state[:, evaluated] ** 2).sum(axis=1)
        assert norms[:, -1] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("sampling", ["minibatch", "per-sample", "leap"])
def test_every_backend_has_its_bits(machine, sampling):
    found, oracle = (
        simulate(backend=name, sampling=sampling, bands=3) for name in (machine, "numpy")
    )
    assert list(found.observed) == ["risk", "band_risk", "weight_norm"]
    for name, array in found.observed.items():
        assert np.array_equal(array, oracle.observed[name])


def test_the_others_do_not_mind(usual):
    alone = simulate(observe="risk", bands=3)
    assert np.array_equal(alone.risk, usual.risk)
    assert np.array_equal(alone.band_risk, usual.band_risk)
    assert np.array_equal(simulate().weight_norm, usual.weight_norm)


def test_its_mean_is_that_of_the_exact_model():
    """The squared norm is twice the risk in a problem of curvature 1 with the same recurrence."""
    problem = nqm.Problem(np.ones(50), mean0=0.5)
    run = nqm.simulate(
        problem, nqm.SGD(0.3), 4, 20, replicas=400, observe="weight_norm", record=[20]
    )
    assert run.weight_norm == pytest.approx(2.0 * run.risk, rel=1e-14)
    exact = 2.0 * nqm.expected_risk(problem, nqm.SGD(0.3), 4, 20)
    error = run.weight_norm.std() / np.sqrt(run.weight_norm.size)
    assert abs(run.weight_norm.mean() - exact) < 4 * error


def test_it_is_in_the_file(usual, tmp_path):
    path = tmp_path / "run.h5"
    simulate(bands=3, out=path)
    read = nqm.open_run(path)
    for name, array in usual.observed.items():
        assert np.array_equal(read.observed[name], array)
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert data["weight_norm"].dims == ("setting", "replica", "step")
        assert data["weight_norm"].attrs["description"].startswith("squared norm")
        assert np.array_equal(data["weight_norm"], usual.weight_norm)


def test_it_is_resumed(usual, tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    with monkeypatch.context() as context:
        chunks_of(context, 10)
        stopped_at_the_first_chunk(context)
        part = simulate(bands=3, out=path)
    assert part.status == "interrupted"
    assert np.array_equal(part.weight_norm, usual.weight_norm[..., : part.steps.size])
    whole = nqm.resume(path)
    for name, array in usual.observed.items():
        assert np.array_equal(whole.observed[name], array)


def test_it_is_inf_where_a_setting_has_diverged():
    run = nqm.simulate(PROBLEM, nqm.SGD(1e30), 8, 30, observe=BOTH)
    late = run.steps >= run.diverged_at[0]
    assert np.isinf(run.weight_norm[0, late]).all()
    assert np.isfinite(run.weight_norm[0, ~late]).all()


def test_one_setting_has_no_axis_of_settings():
    run = nqm.simulate(PROBLEM, nqm.SGD(0.3), 8, 30, observe=BOTH, replicas=2)
    assert run.weight_norm.shape == run.risk.shape == (2, run.steps.size)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_run_may_be_copied(usual, duplicate):
    assert np.array_equal(duplicate(usual).weight_norm, usual.weight_norm)


@pytest.mark.parametrize(
    ("observe", "said"),
    [
        ("nothing", "observe must be one of risk, weight_norm, not 'nothing'"),
        (["risk", 3], "observe must be one of risk, weight_norm, not 3"),
        (None, "observe must be one of risk, weight_norm, not None"),
        (("band_risk",), "band_risk is recorded with bands="),
    ],
)
def test_one_sentence_says_what_can_be_observed(observe, said):
    with pytest.raises(nqm.InputError, match=said):
        simulate(observe=observe)


def test_one_sentence_says_how_to_get_what_was_not_observed():
    run = simulate(observe="risk")
    with pytest.raises(AttributeError, match=r"ask for it with observe=\('weight_norm',\)"):
        _ = run.weight_norm
    with pytest.raises(AttributeError, match="a Run has no speed"):
        _ = run.speed


# -- a new one ------------------------------------------------------------------------------


@pytest.fixture
def _loss_of_flat_directions(monkeypatch):
    """An entry of the table is all that it takes."""
    entry = Observable("squared norm in flat directions", lambda h: np.where(h < 0.1, 1.0, 0.0))
    monkeypatch.setitem(OBSERVABLES, "flat_norm", entry)


@pytest.mark.usefixtures("_loss_of_flat_directions")
def test_a_new_observable_is_one_entry(tmp_path):
    observe = ("flat_norm", "weight_norm")
    run = simulate(observe=observe, keep_state=True, out=tmp_path / "run.h5", bands=2)
    assert list(run.observed) == ["risk", "band_risk", "weight_norm", "flat_norm"]
    flat = PROBLEM.h < 0.1
    expected = (run.state[0][:, 0, flat] ** 2).sum(axis=1)
    assert run.flat_norm[0, :, -1] == pytest.approx(expected, rel=1e-14)
    assert np.array_equal(nqm.open_run(tmp_path / "run.h5").flat_norm, run.flat_norm)


def test_rows_share_weights_and_come_apart_again():
    layout = RecordLayout(("risk", "band_risk", "weight_norm"), np.array([0.1, 0.5, 1.0]))
    assert layout.rows.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0]]
    values = np.random.default_rng(1).normal(size=(3, 2, 4))
    parts = layout.split(values)
    assert [parts[name].shape for name in layout.names] == [(3, 2), (3, 2, 2), (3, 2)]
    assert np.array_equal(layout.joined(parts), values)
