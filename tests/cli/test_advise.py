"""The command advise: best constants and schedules, and what methods save."""

import json
import math
import re

import pytest

import nqm_fast as nqm

SMALL = ["--dim", "50", "--steps", "200"]
PROBLEM = nqm.Problem.power_law(50)


@pytest.mark.slow
def test_advice_as_json_agrees_with_the_library(nqm_fast):
    status, out, _ = nqm_fast("advise", *SMALL, "--target", "0.05", "--json")
    content = json.loads(out)
    assert status == 0
    assert list(content) == [
        "format", "problem", "target", "steps", "samples", "cost_step", "cost_sample", "results",
        "schedules", "critical", "batch_size", "methods",
    ]  # fmt: skip
    assert content["format"] == "nqm-fast advise 1"
    ways = ((), ("lr",), ("batch_size",), ("lr", "batch_size"))
    for row, over in zip(content["results"], ways, strict=True):
        best = nqm.optimal_control(PROBLEM, steps=200, target=0.05, over=over)
        assert (row["steps"], row["samples"], row["risk"]) == (200, best.samples, best.risk)
    table = best.lr.to_table()
    assert [x["value"] for x in content["schedules"]["lr"]] == table["value"].tolist()
    assert content["schedules"]["batch_size"][-1]["end"] == 200
    size = content["batch_size"]
    assert size == max(round(content["results"][0]["samples"] / 200), 1)
    by_name = {row["method"]: row for row in content["methods"]}
    for name, over, fixed in (
        ("plain SGD", ("lr",), {}),
        ("momentum", ("lr", "momentum"), {}),
        ("EMA", ("lr", "ema"), {}),
        ("preconditioner h^0.5", ("lr",), {"power": 0.5}),
    ):
        tuned = nqm.tune(PROBLEM, size, 0.05, over, **fixed)
        assert by_name[name]["steps"] == tuned.steps
        assert by_name[name]["power"] == fixed.get("power", 0.0)


@pytest.mark.slow
def test_batch_sizes_and_costs_agree_with_the_library(nqm_fast):
    costs = "--cost-step", "30", "--cost-sample", "1"
    _, out, _ = nqm_fast("advise", "--dim", "50", "--target", "0.3", *costs, "--json")
    content = json.loads(out)["critical"]
    found = {row["definition"]: row["batch_size"] for row in content["definitions"]}
    for name in ("knee", "overhead", "noise-scale", "half"):
        critical = nqm.critical_batch_size(PROBLEM, 0.3, definition=name)
        assert found[name] == critical.value
    assert content["reference"] == 1
    assert content["least_steps"] == critical.curve.least_steps
    cheapest = critical.curve.cheapest(30.0, 1.0)
    assert content["cheapest"]["batch_size"] == cheapest.batch_size
    # Searches that begin elsewhere have half of the digits in common: the risk is flat there.
    assert content["cheapest"]["lr"] == pytest.approx(cheapest.algorithm.lr.value, rel=1e-7)


@pytest.mark.slow
def test_targets_too_low_for_batches_of_one_have_a_larger_reference(nqm_fast):
    status, out, _ = nqm_fast("advise", "--dim", "2", "--target", "1e-10")
    assert status == 0
    assert "Constants of plain SGD do not reach 1e-10 in batches of 1 within 1e+09 steps." in out
    reference = int(re.search(r"the reference is batch size (\d+):", out)[1])
    problem = nqm.Problem.power_law(2)
    assert nqm.tune(problem, reference / 4, 1e-10).steps == math.inf
    assert f"{nqm.critical_batch_size(problem, 1e-10, reference=reference).value:.8g}" in out


def test_advice_is_one_screen_and_a_picture(nqm_fast, here):
    pytest.importorskip("matplotlib")
    costs = "--cost-step", "30", "--cost-sample", "1"
    status, out, _ = nqm_fast("advise", *SMALL, "--samples", "5e3", *costs, "--plot", "best.png")
    assert status == 0
    assert (here / "best.png").read_bytes().startswith(b"\x89PNG")
    assert len(out.splitlines()) <= 40
    both = nqm.optimal_control(PROBLEM, steps=200, samples=5000)
    constant = nqm.optimal_control(PROBLEM, steps=200, samples=5000, over=())
    saved = 100 * (1 - both.risk / constant.risk)
    assert f"{saved:.3g} % by both schedules" in out
    assert "Lower risk than that of the best constants" in out
    plain, ema = (
        nqm.tune(PROBLEM, 25, constant.risk, over).steps for over in (("lr",), ("lr", "ema"))
    )
    assert f"{100 * (1 - ema / plain):.3g} % by EMA" in out
    knee = nqm.critical_batch_size(PROBLEM, constant.risk)
    cheapest = knee.curve.cheapest(30.0, 1.0)
    cost = 30 * cheapest.steps + cheapest.samples
    assert f"cost {cost:.6g}: batch size {cheapest.batch_size}, {cheapest.steps} steps" in out
    assert f"no batch size takes fewer than {knee.curve.least_steps:g}." in out
    assert f"{knee.value:.8g}" in out


@pytest.mark.slow
def test_constants_that_do_not_reach_a_target_never_do(nqm_fast):
    reached = nqm.optimal_control(PROBLEM, steps=200, samples=10**18).risk
    constant = nqm.optimal_control(PROBLEM, steps=200, samples=10**18, over=()).risk
    target = math.sqrt(reached * constant)
    assert reached < target < constant
    status, out, _ = nqm_fast("advise", "--dim", "50", "--steps", "200", "--target", str(target))
    assert status == 0
    assert "never" in out
    assert "No constants reach the target." in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "samples must be given, or a target"),
        (("--target", "1e-9", "--steps", "5"), "target must be at least"),
        (("--target", "0.1", "--steps", "5", "--samples", "50"), "not with both"),
        (("--target", "0.1", "--cost-step", "1"), "are given together"),
        (("--target", "0.1", "--cost-step", "0", "--cost-sample", "0"), "must not both be 0"),
        (("--noise", "0", "--steps", "1e5", "--samples", "1e5"), "must leave a risk above 0"),
        (("--samples", "50", "--plot", "best.nothing"), "--plot must end with one of"),
    ],
)
def test_mistakes_get_one_sentence(nqm_fast, arguments, said):
    status, _, error = nqm_fast("advise", "--dim", "50", *arguments)
    assert status == 2
    assert said in error
