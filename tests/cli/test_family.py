"""Other algorithms than SGD on the command line and in TOML."""

import json

import pytest

import nqm_fast as nqm
from nqm_fast.cli import config, sweep_config

SMALL = ["--dim", "100", "--batch-size", "16"]
PROBLEM = nqm.Problem.power_law(100)


def test_tune_another_algorithm(nqm_fast):
    options = ["--target", "0.05", "--algorithm", "Nesterov", "--over", "lr", "momentum", "--json"]
    status, out, _ = nqm_fast("tune", *SMALL, *options)
    best = nqm.tune(PROBLEM, 16, 0.05, ("lr", "momentum"), algorithm=nqm.Nesterov)
    (row,) = json.loads(out)["results"]
    assert status == 0
    assert (row["kind"], row["steps"]) == ("Nesterov", best.steps)
    assert (row["lr"], row["momentum"]) == (best.algorithm.lr.value, best.algorithm.momentum)


def test_tune_an_algorithm_around_another(nqm_fast):
    options = ["--algorithm", "Lookahead(SGD)", "--over", "lr", "--parameter", "period=3"]
    status, out, _ = nqm_fast("tune", *SMALL, "--target", "0.3", *options)
    template = nqm.Lookahead(nqm.SGD(1.0), 3)
    best = nqm.tune(PROBLEM, 16, 0.3, algorithm=template)
    assert status == 0
    assert "Lookahead(SGD)" in out
    assert str(best.steps) in out


def test_risk_of_an_algorithm_around_another(nqm_fast):
    options = ["--lr", "0.1", "--algorithm", "EMA(Nesterov)", "--parameter", "decay=0.8"]
    options += ["form=original", "--momentum", "0.5", "--steps", "9", "--json"]
    status, out, _ = nqm_fast("risk", *SMALL, *options)
    algorithm = nqm.EMA(nqm.Nesterov(0.1, 0.5, form="original"), 0.8)
    assert status == 0
    content = json.loads(out)
    assert content["results"][0]["risk"] == nqm.expected_risk(PROBLEM, algorithm, 16, 9)
    assert content["algorithm"]["kind"] == "EMA(Nesterov)"
    assert content["algorithm"]["decay"] == 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--algorithm", "Adan"], "--algorithm must be one of"),
        (["--algorithm", "EMA"], "--algorithm EMA must be EMA(SGD) there"),
        (["--algorithm", "DelayedSGD"], "--parameter delay=... is required"),
        (["--algorithm", "QHM", "--ema", "0.5"], "ema is not a parameter of QHM"),
        (["--parameter", "nu"], "--parameter must be NAME=VALUE"),
    ],
)
def test_mistakes_are_named(nqm_fast, options, message):
    status, _, err = nqm_fast("risk", *SMALL, "--lr", "0.1", "--steps", "1", *options)
    assert status == 2
    assert message in err


TABLES = """
[problem]
dim = 10
[[setting]]
kind = "EMA"
decay = 0.5
inner = { kind = "Nesterov", lr = { kind = "Cosine", peak = 0.1, steps = 9 }, momentum = 0.8 }
[[setting]]
lr = 0.1
momentum = { kind = "Linear", start = 0.5, end = 0.9, steps = 100 }
[[setting]]
kind = "Lookahead"
inner.lr = 0.3
"""


def test_tables_within_tables(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(TABLES)
    cosine = nqm.schedules.Cosine(0.1, 9)
    ramp = nqm.schedules.Linear(0.5, 0.9, 100)
    assert config.load(file).arguments["algorithm"] == [
        nqm.EMA(nqm.Nesterov(cosine, 0.8), 0.5),
        nqm.SGD(0.1, momentum=ramp),
        nqm.Lookahead(nqm.SGD(0.3)),
    ]


def test_sweeps_have_axes_of_algorithms_within_algorithms(tmp_path):
    algorithms = [nqm.Nesterov(0.1, 0.5), nqm.EMA(nqm.SGD(0.1), 0.5)]
    grid = {"algorithm": algorithms, "lr": [0.05, 0.2]}
    found = nqm.sweep("risk", grid, dim=50, batch_size=8, steps=20)
    for k, algorithm in enumerate(algorithms):
        for j, lr in enumerate(grid["lr"]):
            expected = nqm.expected_risk(
                nqm.Problem.power_law(50), algorithm.with_hyper_parameters(lr=lr), 8, 20
            )
            assert float(found.risk[k, j]) == expected
    file = tmp_path / "sweep.toml"
    file.write_text(
        'what = "tune"\ndim = 50\ntarget = 0.5\nover = ["lr", "decay"]\n'
        '[setting]\nkind = "EMA"\ninner = { kind = "SGD", lr = 1.0 }\n'
        "[grid]\nbatch_size = [16, 64]\n"
    )
    read = sweep_config.load(file, [])
    tuned = nqm.sweep(read.what, read.grid, **read.common)
    best = nqm.tune(
        nqm.Problem.power_law(50), 64, 0.5, ("lr", "decay"), algorithm=nqm.EMA(nqm.SGD(1.0))
    )
    assert float(tuned.steps[1]) == best.steps
    assert float(tuned.best_decay[1]) == best.algorithm.decay
