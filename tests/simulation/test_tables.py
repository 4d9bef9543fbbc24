"""Runs as datasets of xarray and tables of pandas, and objects as notebooks show them."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import xarray
from helpers import TWO_SETTINGS, simulate, simulate_to

import nqm_fast as nqm
from nqm_fast.simulation import tables

MORE = {"replicas": [3, 1], "bands": 2, "observe": "weight_norm", "keep_state": True}


def test_a_dataset_of_several_settings(tmp_path):
    run = simulate_to(tmp_path / "run.h5", **MORE)
    data = run.to_xarray()
    assert data.risk.dims == ("setting", "replica", "step")
    assert np.array_equal(data.risk, run.risk)
    assert np.array_equal(data.band_risk, run.band_risk)
    assert data.replica.values.tolist() == [3, 1]
    assert data.lr.values.tolist() == [0.3, 0.1]
    assert data.batch_size.values.tolist() == [8.0, 8.0]
    assert float(data.risk.sel(step=60, replica=1)[1]) == run.risk[1, 1, -1]
    with xarray.open_dataset(tmp_path / "run.h5", engine="h5netcdf") as stored:
        for name in ("risk", "band_risk", "weight_norm", "diverged_at", "wall_time", "state_1"):
            xarray.testing.assert_equal(data[name].drop_vars(["band_low", "band_high"], errors="ignore"), stored[name])  # fmt: skip  # noqa: E501
            assert data[name].attrs == stored[name].attrs


def test_a_dataset_of_one_setting():
    run = simulate(replicas=2)
    data = run.to_xarray()
    assert data.risk.shape == run.risk.shape
    assert (float(data.lr), float(data.batch_size)) == (0.3, 8.0)
    assert data.attrs["seed"] == "0"


def test_a_table():
    run = simulate(TWO_SETTINGS, **MORE)
    table = run.to_pandas()
    assert len(table) == run.risk.size
    row = table[(table.setting == 1) & (table.replica == 1) & (table.step == 20)].iloc[0]
    assert row.risk == run.risk[1, 1, -1]
    assert (row.lr, row.momentum, row.batch_size) == (0.1, 0.9, 8.0)
    assert row.band_risk_1 == run.band_risk[1, 1, -1, 1]
    assert row.weight_norm == run.weight_norm[1, 1, -1]


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(tables, "find_spec", lambda _: None)
    for action in ("to_xarray", "to_pandas"):
        with pytest.raises(nqm.InputError, match=r"pip install 'nqm-fast\[xarray\]'"):
            getattr(simulate(), action)()


def test_objects_are_tables_in_notebooks():
    run = simulate(TWO_SETTINGS)
    for thing, words in (
        (nqm.Problem.power_law(100), ("Problem", "100", "i^-1")),
        (nqm.Problem([1.0, 0.5], count=[1, 2]), ("0.5 to 1", "1 to 2")),
        (nqm.SGD(0.1, momentum=0.9), ("SGD", "momentum", "0.9")),
        (run, ("finished", "SGD(0.1, momentum=0.9)", f"{run.risk[1, :, -1].mean():.8g}")),
        (nqm.Tuned(5, nqm.SGD(0.1), 0.25), ("Tuned", "5", "0.25")),
    ):
        text = thing._repr_html_()
        for word in words:
            assert word in text
        assert text.count("<table>") == text.count("</table>") > 0
    escaped = nqm.SGD(nqm.schedules.PerStep([0.1]))._repr_html_()
    assert "<PerStep" not in escaped


def test_completion_offers_public_names_only():
    assert {name for name in dir(nqm) if not name.startswith("__")} == set(nqm.__all__)
    assert not hasattr(nqm, "run")
    for module in (nqm.bounds, nqm.schedules, nqm.figures):
        assert {name for name in dir(module) if not name.startswith("__")} == set(module.__all__)


def test_single_numbers_are_those_of_python():
    problem = nqm.Problem.power_law(20)
    found = [
        nqm.expected_risk(problem, nqm.SGD(0.1), 4, 10),
        nqm.bounds.bayes_samples(problem, 0.1),
        nqm.bounds.plain_risk(problem, 0.1, 4, 10),
        problem.population_loss(np.ones(20)),
        problem.sample_loss(np.ones(20), np.zeros(20)),
        nqm.tune(problem, 4, 0.5).risk,
        nqm.SGD(np.float32(0.5)).lr.value,
    ]
    assert {type(value) for value in found} == {float}


@dataclass(frozen=True)
class Stepping(nqm.SGD):
    """SGD with a parameter that has the name of a column."""

    step: float = field(default=2.0, kw_only=True)


def test_a_parameter_with_the_name_of_a_column():
    run = simulate([Stepping(0.1), Stepping(0.2, step=3.0)], replicas=2)
    assert run.to_xarray().step_of_setting.values.tolist() == [2.0, 3.0]
    table = run.to_pandas()
    assert set(table.step) == set(run.steps.tolist())
    assert set(table.step_of_setting) == {2.0, 3.0}
