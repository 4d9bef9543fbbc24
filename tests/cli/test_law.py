"""The command law: tables and JSON of the law of single runs."""

import json

import nqm_fast as nqm

SMALL = ["--dim", "100", "--batch-size", "16", "--lr", "0.5"]


def test_the_law_as_json_agrees_with_the_library(nqm_fast):
    status, out, _ = nqm_fast(
        "law", *SMALL, "--steps", "10", "1e3", "--quantiles", "0.25", "--target", "0.1",
        "--replicas", "50", "--seed", "3", "--every", "2", "--json",
    )  # fmt: skip
    content = json.loads(out)
    assert status == 0
    assert list(content) == [
        "format", "problem", "algorithm", "target", "results", "first_passage",
    ]  # fmt: skip
    problem, algorithm = nqm.Problem.power_law(100), nqm.SGD(0.5)
    law = nqm.risk_distribution(problem, algorithm, 16, [10, 1000])
    for k, row in enumerate(content["results"]):
        assert (row["batch_size"], row["steps"]) == (16, [10, 1000][k])
        assert (row["mean"], row["std"], row["skewness"]) == (
            law.mean[k],
            law.std[k],
            law.skewness[k],
        )
        assert row["quantiles"] == [{"q": 0.25, "value": law.quantile(0.25)[k]}]
    first = nqm.first_passage_distribution(
        problem, algorithm, 16, 0.1, replicas=50, seed=3, every=2
    )
    assert content["first_passage"] == [
        {
            "batch_size": 16,
            "of_expected_risk": first.of_expected_risk,
            "mean": first.mean,
            "never": first.never,
            "quantiles": [{"q": 0.25, "value": first.quantile(0.25)}],
        }
    ]


def test_the_law_is_printed_as_tables(nqm_fast):
    status, out, _ = nqm_fast("law", *SMALL, "--steps", "10", "--target", "1e-6")
    law = nqm.risk_distribution(nqm.Problem.power_law(100), nqm.SGD(0.5), 16, 10)
    assert status == 0
    assert f"{law.quantile(0.95):.8g}" in out
    assert "first step at which the risk is at most 1e-06" in out
    assert "inf" in out


def test_a_law_without_learning_rate_or_with_a_wrong_probability_is_refused(nqm_fast):
    status, _, said = nqm_fast("law", "--batch-size", "4", "--steps", "1")
    assert status == 2
    assert "--lr is required" in said
    status, _, said = nqm_fast("law", *SMALL, "--steps", "1", "--quantiles", "2")
    assert status == 2
    assert "--quantiles must be probabilities from 0 to 1, not 2" in said


def test_options_on_sampled_runs_need_a_target(nqm_fast):
    status, out, err = nqm_fast("law", *SMALL, "--steps", "10", "--every", "5", "--seed", "3")
    assert (status, out) == (2, "")
    assert "--seed and --every cannot be given without --target" in err
