"""The command critical: all definitions side by side, choices, and one sentence for mistakes."""

import json

import pytest

import nqm_fast as nqm

ASKED = ["critical", "--dim", "100", "--target", "0.3"]
LAW = nqm.Problem.power_law(100)


def test_json_agrees_with_the_library(nqm_fast):
    choices = ["--cost-step", "30", "--cost-sample", "1", "--deadline", "100"]
    status, out, _ = nqm_fast(*ASKED, "--overhead", "0.5", *choices, "--json")
    content = json.loads(out)
    assert status == 0
    assert list(content) == [
        "format", "problem", "target", "over", "algorithm", "reference", "overhead", "step",
        "pieces", "results", "curve", "least_steps", "hyperbola", "choices",
    ]  # fmt: skip
    sizes = {row["definition"]: row["batch_size"] for row in content["results"]}
    for name in ("knee", "overhead", "noise-scale", "half"):
        found = nqm.critical_batch_size(LAW, 0.3, definition=name, overhead=0.5)
        assert sizes.pop(name) == found.value
        if found.noise_scale is not None:
            assert sizes.pop("simple-noise-scale") == found.noise_scale.simple
    assert not sizes
    curve = found.curve
    assert [row["steps"] for row in content["curve"]] == curve.steps.tolist()
    assert [row["lr"] for row in content["curve"]] == [x.algorithm.lr.value for x in curve.tuned]
    assert content["least_steps"] == curve.least_steps
    assert content["hyperbola"] == curve.hyperbola._asdict()
    cheapest = curve.cheapest(30.0, 1.0)
    assert content["choices"]["cheapest"]["batch_size"] == cheapest.batch_size
    assert content["choices"]["within_deadline"]["steps"] == curve.within(100).steps


def test_tables_and_a_picture(nqm_fast, tmp_path):
    picture = tmp_path / "mine.png"
    status, out, _ = nqm_fast(
        *ASKED, "--momentum", "0.5", "--deadline", "100", "--reference", "2", "--plot", str(picture)
    )
    best = nqm.critical_batch_size(LAW, 0.3, momentum=0.5, reference=2.0)
    assert status == 0
    assert f"{best.value:.8g}" in out
    assert str(best.reference.steps) in out
    for text in ("knee", "overhead", "noise-scale", "half", "20 % more", "within 100 steps"):
        assert text in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_step_and_pieces_are_those_of_the_library(nqm_fast):
    _, out, _ = nqm_fast(*ASKED, "--step", "7", "--pieces", "2", "--json")
    content = json.loads(out)
    sizes = {row["definition"]: row["batch_size"] for row in content["results"]}
    found = nqm.critical_batch_size(LAW, 0.3, definition="noise-scale", step=7, pieces=2)
    assert sizes["noise-scale"] == found.value
    assert (content["step"], content["pieces"]) == (7, 2)
    first, best = content["curve"][0]["lr"], found.curve.tuned[0].algorithm.lr
    assert [row["value"] for row in first] == best.to_table()["value"].tolist()
    _, out, _ = nqm_fast(*ASKED, "--step", "7", "--pieces", "2")
    assert "at step 7 of the best training" in out
    assert f"{first[0]['value']:.4g} to {first[-1]['value']:.4g}" in out
    assert "They differ: the knee is where" in out


@pytest.mark.slow
def test_noise_that_depends_on_the_iterate_has_no_noise_scale(nqm_fast):
    options = ["--dim", "100", "--target", "2", "--noise-model", "Gaussian"]
    status, out, _ = nqm_fast("critical", *options)
    assert status == 0
    assert "not defined, as the noise depends on the iterate" in out
    status, out, _ = nqm_fast("critical", *options, "--json")
    assert status == 0
    assert [x["definition"] for x in json.loads(out)["results"]] == ["knee", "overhead", "half"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--overhead", "0"], "overhead must be > 0, not 0"),
        (["--reference", "0.5"], "reference must be >= 1, not 0.5"),
        (["--cost-step", "1"], "--cost-step and --cost-sample are given together"),
        (["--cost-step", "-1", "--cost-sample", "1"], "--cost-step must be >= 0, not -1"),
        (["--deadline", "1"], "steps must be"),
        (["--max-steps", "0"], "max_steps must be a whole number >= 1, not 0"),
        (["--max-steps", "5"], "max_steps = 5 steps"),
        (["--lr", "0.1"], "lr is searched"),
        (["--over", "momentum"], "--lr is required"),
        (["--plot", "x.foo"], "--plot must end with one of"),
        (["--target", "100"], "target must be below the initial risk"),
        (["--algorithm", "Adam"], "algorithm must be linear here"),
    ],
)
def test_mistakes_are_named(nqm_fast, options, message):
    status, _, said = nqm_fast(*ASKED, *options)
    assert status == 2
    assert message in said
    assert said.count("\n") == 1
