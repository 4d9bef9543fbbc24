"""The command line and TOML read spectra, damp them, and drop what is negative."""

import json

import pytest

import nqm_fast as nqm
from nqm_fast.cli import config


def test_the_command_line_reads_a_spectrum(nqm_fast, here):
    (here / "s.csv").write_text("h,c\n1.0,0.2\n-0.1,0.1\n0.3,0.1\n")
    asked = ["risk", "--problem", "s.csv", "--batch-size", "2", "--lr", "0.1", "--steps", "7"]
    status, out, err = nqm_fast(*asked)
    assert (status, out) == (2, "")
    assert "s.csv', line 3, column 1 (h): h must be > 0" in err
    status, out, _ = nqm_fast(*asked, "--negative", "drop")
    assert status == 0
    assert "2 curvatures from 0.3 to 1, 1 dropped with 0.071 of the trace" in out
    _, out, _ = nqm_fast(*asked, "--negative", "drop", "--damping", "0.05", "--json")
    problem = nqm.Problem([1.0, -0.1, 0.3], [0.2, 0.1, 0.1], negative="drop", damping=0.05)
    said = json.loads(out)
    assert said["results"][0]["risk"] == nqm.expected_risk(problem, nqm.SGD(0.1), 2, 7)
    assert said["problem"]["dropped"]["count"] == 1
    assert said["problem"]["least_curvature"] == 0.35


def test_the_command_line_takes_a_dim_for_weights(nqm_fast, here):
    (here / "s.txt").write_text("0.1 0.75\n2 0.25\n")
    asked = ["risk", "--problem", "s.txt", "--batch-size", "2", "--lr", "0.1", "--steps", "7"]
    status, _, err = nqm_fast(*asked)
    assert status == 2
    assert "give dim" in err
    _, out, _ = nqm_fast(*asked, "--dim", "8", "--json")
    problem = nqm.Problem([0.1, 2.0], count=[6.0, 2.0])
    risk = nqm.expected_risk(problem, nqm.SGD(0.1), 2, 7)
    assert json.loads(out)["results"][0]["risk"] == risk
    status, _, err = nqm_fast(*asked, "--dim", "8", "--exponent", "1")
    assert status == 2
    assert "so that --exponent cannot be given too" in err


def test_negative_is_for_a_file(nqm_fast):
    status, _, err = nqm_fast(
        "risk", "--negative", "drop", "--batch-size", "2", "--lr", "0.1", "--steps", "7"
    )
    assert status == 2
    assert "--negative drop is for --problem FILE" in err
    law = ["risk", "--dim", "9", "--damping", "0.5", "--batch-size", "2", "--lr", "0.1"]
    _, out, _ = nqm_fast(*law, "--steps", "7", "--json")
    risk = nqm.expected_risk(nqm.Problem.power_law(9, damping=0.5), nqm.SGD(0.1), 2, 7)
    assert json.loads(out)["results"][0]["risk"] == risk


def test_toml_reads_a_spectrum(here):
    (here / "s.txt").write_text("0.1 0.75\n-2 0.25\n")
    toml = "[problem]\nfile = 's.txt'\ndim = 8\nnegative = 'abs'\n[[setting]]\nlr = 0.1\n"
    (here / "a.toml").write_text(toml)
    problem = config.load(here / "a.toml").arguments["problem"]
    assert problem == nqm.Problem([0.1, 2.0], count=[6.0, 2.0])
    (here / "b.toml").write_text(toml.replace("dim = 8\n", ""))
    with pytest.raises(
        nqm.InputError, match=r"line 2: file = 's\.txt' has two columns without nam"
    ):
        config.load(here / "b.toml")
    (here / "c.toml").write_text(toml.replace("'abs'", "'error'"))
    with pytest.raises(nqm.InputError, match=r"line 2: file = 's.txt', line 2, column 1 \(h\): h "):
        config.load(here / "c.toml")


def test_toml_damps_and_drops(here):
    (here / "a.toml").write_text(
        "[problem]\nh = [2.0, -0.5, 1.0]\ndamping = 0.1\nnegative = 'drop'\n[[setting]]\nlr = 0.1\n"
    )
    problem = config.load(here / "a.toml").arguments["problem"]
    assert problem == nqm.Problem([2.1, 1.1])
    assert problem.dropped.count == 1
    law = config.load(None, ["problem.dim=10", "problem.damping=0.5"]).arguments["problem"]
    assert law == nqm.Problem.power_law(10, damping=0.5)
    (here / "b.toml").write_text("[problem]\nh = [2.0, -0.5]\n[[setting]]\nlr = 0.1\n")
    with pytest.raises(nqm.InputError, match=r"line 2: h must be > 0.*negative='drop'"):
        config.load(here / "b.toml")
    (here / "c.toml").write_text("[problem]\nnegative = 'x'\n[[setting]]\nlr = 0.1\n")
    with pytest.raises(nqm.InputError, match=r"line 2: problem\.negative must be 'error', 'drop'"):
        config.load(here / "c.toml")
