"""Algorithms that are not linear, on the command line."""

import json

import pytest
from helpers import InProcess

import nqm_fast as nqm

EXPERIMENT = """
steps = 40
batch_size = 8
replicas = 2
[problem]
dim = 100
[[setting]]
kind = "Adam"
lr = 0.02
beta2 = 0.9
[[setting]]
lr = 0.2
"""


def test_a_run_of_adam_beside_sgd(nqm_fast, tmp_path):
    """Its picture and its summary leave out the expectation, which is not known."""
    (tmp_path / "my.toml").write_text(EXPERIMENT)
    out = tmp_path / "run.h5"
    status, printed, _ = nqm_fast("run", str(tmp_path / "my.toml"), "--out", str(out))
    assert status == 0
    assert "Adam(0.02, beta2=0.9)" in printed
    assert "nan" not in printed
    run = nqm.open_run(out)
    alone = nqm.simulate(nqm.Problem.power_law(100), nqm.Adam(0.02, beta2=0.9), 8, 40, replicas=2)
    assert run.risk[0].tolist() == alone.risk.tolist()
    assert (tmp_path / "run.png").exists()


def test_tuning_by_simulation(nqm_fast):
    problem = ["--dim", "100", "--batch-size", "32", "--target", "0.3"]
    by = ["--algorithm", "Adam", "--by", "simulation", "--replicas", "4", "--json"]
    status, out, _ = nqm_fast("tune", *problem, *by)
    best = nqm.tune(
        nqm.Problem.power_law(100), 32, 0.3, algorithm=nqm.Adam, by="simulation", replicas=4
    )
    content = json.loads(out)
    (row,) = content["results"]
    assert status == 0
    assert (content["algorithm"], content["by"]) == ("Adam", "simulation")
    assert (row["steps"], row["low"], row["high"]) == (best.steps, best.low, best.high)
    assert row["lr"] == best.algorithm.lr.value
    assert row["beta1"] == 0.9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--algorithm", "Adam"], "must be linear here"),
        (["--algorithm", "Adem"], "--algorithm must be one of"),
        (["--replicas", "4"], "replicas = 4 is for by='simulation'"),
    ],
)
def test_mistakes(nqm_fast, options, said):
    problem = ["--dim", "100", "--batch-size", "32", "--target", "0.3"]
    status, _, error = nqm_fast("tune", *problem, *options)
    assert status == 2
    assert said in error


def test_a_sweep_over_algorithms():
    pytest.importorskip("xarray")
    axes = {"algorithm": ["Adam", "SGD"], "lr": [0.01, 0.02]}
    found = nqm.sweep("simulate", axes, dim=100, batch_size=8, steps=20, executor=InProcess())
    alone = nqm.simulate(nqm.Problem.power_law(100), nqm.Adam(0.02), 8, 20)
    assert found.risk.sel(algorithm="Adam", lr=0.02).values[..., -1] == alone.risk[..., -1]
