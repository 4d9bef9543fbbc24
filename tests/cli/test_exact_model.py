"""The commands risk, tune and figures: tables, JSON, and one sentence for every mistake."""

import json

import pytest
from helpers import python

import nqm_fast as nqm
from nqm_fast import cli

SMALL = ["--dim", "100", "--batch-size", "16"]


def test_tune_as_json_agrees_with_the_library(nqm_fast):
    status, out, _ = nqm_fast(
        "tune", *SMALL, "--target", "0.05", "--over", "lr", "momentum", "--json"
    )
    best = nqm.tune(nqm.Problem.power_law(100), 16, 0.05, ("lr", "momentum"))
    (row,) = json.loads(out)["results"]
    assert status == 0
    assert row["steps"] == best.steps
    assert row["lr"] == best.algorithm.lr.value
    assert row["momentum"] == best.algorithm.momentum
    assert row["risk"] == best.risk


def test_tune_prints_a_row_for_every_batch_size(nqm_fast):
    status, out, _ = nqm_fast("tune", "--dim", "1e2", "--batch-size", "4", "64", "--target", "0.1")
    problem = nqm.Problem.power_law(100)
    assert status == 0
    for batch_size in (4, 64):
        assert str(nqm.tune(problem, batch_size, 0.1).steps) in out


def test_risk_with_fixed_settings(nqm_fast):
    status, out, _ = nqm_fast(
        "risk", *SMALL, "--lr", "0.5", "--ema", "0.9", "--steps", "0", "1e3", "--json"
    )
    expected = nqm.expected_risk(nqm.Problem.power_law(100), nqm.SGD(0.5, ema=0.9), 16, [0, 1000])
    assert status == 0
    assert [row["risk"] for row in json.loads(out)["results"]] == expected.tolist()


def test_risk_of_three_power_laws_of_any_dimension(nqm_fast):
    laws = {"exponent": 0.9, "noise_exponent": 1.2, "start_exponent": 1.1}
    laws |= {"scale": 2.0, "noise": 0.5, "start": 3.0}
    options = [x for name, value in laws.items() for x in (f"--{name.replace('_', '-')}", value)]
    problem = ["--dim", "1e12", *map(str, options), "--batch-size", "16"]
    status, out, _ = nqm_fast("risk", *problem, "--lr", "0.5", "--steps", "0", "1e15", "--json")
    law = nqm.Problem.power_law(10**12, **laws)
    assert status == 0
    risks = nqm.expected_risk(law, nqm.SGD(0.5), 16, [0, 10**15])
    content = json.loads(out)
    assert [row["risk"] for row in content["results"]] == risks.tolist()
    assert {name: content["problem"][name] for name in laws} == laws


def test_risk_says_when_the_target_is_reached(nqm_fast):
    _, out, _ = nqm_fast("risk", *SMALL, "--lr", "0.5", "--steps", "0", "--target", "0.1", "--json")
    first = nqm.steps_to_target(nqm.Problem.power_law(100), nqm.SGD(0.5), 16, 0.1)
    assert json.loads(out)["steps_to_target"] == [{"batch_size": 16, "steps": first}]


HYPER_PARAMETERS = ["lr", "momentum", "ema", "power"]


def test_keys_of_json_are_always_the_same(nqm_fast):
    """They are those that docs/json.md lists, in its order."""
    for target in ([], ["--target", "0.1"]):
        _, out, _ = nqm_fast("risk", *SMALL, "--lr", "9", "--steps", "0", *target, "--json")
        content = json.loads(out)
        keys = ["format", "problem", "algorithm", "target", "results", "steps_to_target"]
        assert list(content) == keys
        assert content["format"] == "nqm-fast risk 1"
        assert list(content["algorithm"]) == HYPER_PARAMETERS
        assert list(content["results"][0]) == ["batch_size", "steps", "risk"]
        assert content["problem"] == {
            "file": None,
            "dim": 100,
            "exponent": 1.0,
            "least_curvature": 0.01,
            "largest_curvature": 1.0,
        }
    for over in ("lr", "lr,momentum"):
        _, out, _ = nqm_fast("tune", *SMALL, "--target", "0.5", "--over", over, "--json")
        content = json.loads(out)
        assert list(content) == ["format", "problem", "target", "over", "results"]
        assert content["over"] == over.split(",")
        assert list(content["results"][0]) == ["batch_size", "steps", *HYPER_PARAMETERS, "risk"]


@pytest.mark.parametrize(
    ("given", "searched"),
    [
        (["lr,momentum"], ["lr", "momentum"]),
        (["lr,", "ema"], ["lr", "ema"]),
        (["all"], ["lr", "momentum", "ema"]),
    ],
)
def test_what_to_search_is_written_in_many_ways(nqm_fast, given, searched):
    asked = ["tune", "--dim", "3", "--batch-size", "64", "--target", "0.5", "--json"]
    status, out, err = nqm_fast(*asked, "--over", *given)
    assert (status, err) == (0, "")
    assert json.loads(out)["over"] == searched


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_shells_complete_commands_and_options(nqm_fast, shell):
    pytest.importorskip("shtab")
    status, out, _ = nqm_fast("completion", shell)
    assert status == 0
    for word in ("resume", "figures", "batch-size", "over"):
        assert word in out


def test_figures_are_listed(nqm_fast, here):
    from nqm_fast import figures

    status, out, _ = nqm_fast("figures", "--list")
    assert status == 0
    for name, paper in figures.counterparts().items():
        assert name in out
        assert paper in out
    assert list(here.iterdir()) == []


def test_a_figure_of_a_saved_problem(nqm_fast, here):
    nqm.Problem([1.0, 0.3], [0.2, 0.1]).save(here / "mine.npz")
    asked = ["figures", "training_curves", "--problem", "mine.npz", "--target", "0.1"]
    status, out, _ = nqm_fast(*asked, "--batch-size", "2", "8")
    assert status == 0
    assert "training_curves.png  Plain SGD" in out
    assert (here / "figures" / "training_curves.csv").read_text().count("\n") > 100


def test_what_is_never_reached_is_null_in_json_and_never_in_the_table(nqm_fast):
    asked = ["tune", "--dim", "5", "--batch-size", "1", "--target", "1e-12", "--over", "momentum"]
    asked += ["--lr", "0.1"]
    _, out, _ = nqm_fast(*asked, "--json")
    assert json.loads(out)["results"][0]["steps"] is None
    assert "never" in nqm_fast(*asked)[1]


def test_an_overflowing_risk_is_null_in_json(nqm_fast):
    _, out, _ = nqm_fast("risk", *SMALL, "--lr", "9", "--steps", "10000", "--json")
    assert json.loads(out)["results"][0]["risk"] is None


def test_whole_numbers_stay_what_they_are(nqm_fast):
    """A double has no digit for the last 3, and rounding errors add up to 1 step in 10^16."""
    steps = ["9007199254740993", "4611686018427387904", "2e3", "0"]
    _, out, _ = nqm_fast("risk", *SMALL, "--lr", "1e-16", "--steps", *steps, "--json")
    rows = json.loads(out)["results"]
    assert [row["steps"] for row in rows] == [2**53 + 1, 2**62, 2000, 0]
    asked = [2**53 + 1, 2**62, 2000, 0]
    risk = nqm.expected_risk(nqm.Problem.power_law(100), nqm.SGD(1e-16), 16, asked)
    assert [row["risk"] for row in rows] == risk.tolist()


def test_a_saved_problem(nqm_fast, here):
    problem = nqm.Problem([1.0, 0.3], [0.2, 0.1])
    problem.save(here / "problem.npz")
    asked = ["--problem", str(here / "problem.npz"), "--batch-size", "2"]
    _, out, _ = nqm_fast("risk", *asked, "--lr", "0.1", "--steps", "7", "--json")
    risk = nqm.expected_risk(problem, nqm.SGD(0.1), 2, 7)
    assert json.loads(out)["results"][0]["risk"] == risk


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tune", *SMALL, "--target", "-1"], "target must be > 0, not -1"),
        (["tune", *SMALL, "--target", "1", "--over", "speed"], "over must be one of lr, momentum"),
        (["tune", *SMALL, "--target", "1", "--momentum", "1.5"], "momentum must be >= 0 and < 1"),
        (["tune", "--dim", "0", "--batch-size", "4", "--target", "1"], "dim must be"),
        (["tune", "--batch-size", "0.5", "--target", "1"], "batch_size must be >= 1, not 0.5"),
        (["risk", *SMALL, "--steps", "1"], "lr is required"),
        (["risk", *SMALL, "--lr", "1", "--steps", "-1"], "steps must be whole numbers >= 0"),
        (["risk", "--problem", "no-such.npz", "--batch-size", "4", "--lr", "1", "--steps", "1"],
         "no-such.npz"),
        (["figures", "--problem", "x.npz", "--dim", "3"], "so that --dim cannot be given too"),
        (["risk", *SMALL, "--problem", "p.npz", "--lr", "1", "--steps", "1"],
         "--problem p.npz is a problem by itself, so that --dim cannot be given too"),
        (["tune", "--problem", "p.npz", "--noise-exponent", "1", "--batch-size", "1", "--target=1"],
         "so that --noise-exponent cannot be given too"),
        (["tune", "--problem", "p.npz", "--exponent", "1", "--batch-size", "1", "--target", "1"],
         "so that --exponent cannot be given too"),
        (["risk", *SMALL, "--lr", "1", "--steps", "1e30"], "steps must be whole numbers from 0 to"),
        (["risk", "--dim", "9" * 30, "--batch-size", "1", "--lr", "1", "--steps", "1"],
         "dim must be a whole number from 1 to 2^53"),
        (["figures", "no-such-figure"], "figure must be one of training_curves"),
    ],
)  # fmt: skip
def test_mistakes_get_one_sentence_and_status_2(nqm_fast, arguments, said):
    status, out, err = nqm_fast(*arguments)
    assert status == 2
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["tune"], ["risk", *SMALL, "--steps", "1.5"], ["risk", *SMALL, "--steps", "nan"],
        ["risk", *SMALL, "--steps", "1e99999999"], ["risk", *SMALL, "--steps", "9" * 5000],
    ],
    ids=len,
)  # fmt: skip
def test_unusable_arguments_end_with_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    assert "nqm-fast" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from nqm_fast.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numba', 'scipy', 'matplotlib', 'rich') if m in sys.modules])"
    )
    assert python("-c", code).stdout.splitlines()[-1] == "[]"


def test_risk_with_noise_that_depends_on_the_iterate(nqm_fast):
    noise = ["--noise-model", "Gaussian", "kurtosis=1", "label_noise=0.3"]
    status, out, _ = nqm_fast("risk", *SMALL, *noise, "--lr", "0.5", "--steps", "0", "50", "--json")
    problem = nqm.Problem.power_law(100).with_noise(nqm.noise.Gaussian(1.0, label_noise=0.3))
    content = json.loads(out)
    expected = nqm.expected_risk(problem, nqm.SGD(0.5), 16, [0, 50])
    assert status == 0
    assert [row["risk"] for row in content["results"]] == expected.tolist()
    assert content["problem"]["noise_model"] == repr(problem.noise_model)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Gauss"], "noise_model must have a kind, one of Gaussian, LossDependent"),
        (["Gaussian", "width=1"], "width is not a parameter of Gaussian"),
        (["Gaussian", "kurtosis"], "--noise-model must be a kind and NAME=VALUE"),
        (["LossDependent"], "noise_model = 'LossDependent' needs slope"),
    ],
)
def test_mistakes_in_a_noise_model_are_named(nqm_fast, words, message):
    status, _, err = nqm_fast(
        "risk", *SMALL, "--noise-model", *words, "--lr", "0.1", "--steps", "1"
    )
    assert status != 0
    assert message in err


@pytest.mark.parametrize("command", ["risk", "law"])
def test_whole_numbers_are_not_rounded(nqm_fast, command):
    large = 2**53 + 1
    options = ["--dim", "3", "--lr", "0.1", "--steps", "1", "--batch-size", str(large), "--json"]
    status, out, _ = nqm_fast(command, *options)
    assert status == 0
    assert json.loads(out)["results"][0]["batch_size"] == large


def test_what_is_no_number_is_called_so(nqm_fast, capsys):
    with pytest.raises(SystemExit, match="2"):
        nqm_fast("risk", "--dim", "3", "--lr", "0.1", "--batch-size", "x")
    assert "argument --batch-size: invalid number value: 'x'" in capsys.readouterr().err
