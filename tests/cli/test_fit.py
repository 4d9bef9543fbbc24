"""The command fit: a table of runs in, a report, predictions and files out."""

import json

import numpy as np

import nqm_fast as nqm

PROBLEM = nqm.Problem.power_law(500, 1.2, start_exponent=1.3)


def loss(rate, batch, steps):
    return 1.0 + nqm.expected_risk(PROBLEM, nqm.SGD(rate), batch, steps)


def write_runs(folder):
    rows = ["rate,B,K,N,loss"]
    for rate in (0.1, 0.6):
        for batch in (4, 64):
            for steps in (40, 200, 1500):
                rows.append(f"{rate},{batch},{steps},500,{loss(rate, batch, steps)}")
    (folder / "runs.csv").write_text("\n".join(rows) + "\n")
    (folder / "new.csv").write_text("rate,B,K,N\n0.3,16,800,500\n")


COLUMNS = ("--columns", "steps=K", "batch_size=B", "lr=rate", "dim=N")


def test_runs_are_fitted_and_others_predicted(nqm_fast, here):
    write_runs(here)
    status, out, _ = nqm_fast(
        "fit", "runs.csv", "--predict", "new.csv", *COLUMNS, "--extra", "--out", "report",
    )  # fmt: skip
    assert status == 0
    assert "12 runs, 12 records" in out
    assert "predictions:" in out
    fitted = nqm.Fitted.load(here / "report" / "fit.json")
    (run,) = nqm.read_runs(
        here / "new.csv",
        columns={"steps": "K", "batch_size": "B", "lr": "rate", "dim": "N"},
        measured=False,
    )
    assert abs(fitted.predict(run) / loss(0.3, 16, 800) - 1.0) < 1e-3
    names = {path.name for path in (here / "report").iterdir()}
    assert names == {
        "fit.json", "residuals.csv", "predictions.csv", "report.txt", "fit.png", "predictions.png"
    }  # fmt: skip
    first = (here / "report" / "predictions.csv").read_text().splitlines()[0]
    assert first == "run,name,steps,loss,low,high"


def test_predictions_are_compared_with_losses_where_there_are_some(nqm_fast, here):
    write_runs(here)
    rows = [f"a,{steps},0.3,16,500,{loss(0.3, 16, steps)}" for steps in (1, 3, 10, 40, 200, 800)]
    rows += ["b,700,0.2,8,500,"]
    (here / "new.csv").write_text("run,K,rate,B,N,loss\n" + "\n".join(rows) + "\n")
    (here / "runs.csv").write_text(
        "\n".join(
            f"{head},{line}"
            for head, line in zip(
                ["run", *map(str, range(12))],
                (here / "runs.csv").read_text().splitlines(),
                strict=True,
            )
        )
    )
    status, _, _ = nqm_fast(
        "fit", "runs.csv", "--predict", "new.csv", *COLUMNS, "run=run", "--extra", "--out", "out",
    )  # fmt: skip
    assert status == 0
    lines = [line.split(",") for line in (here / "out" / "predictions.csv").read_text().split()]
    assert lines[0] == ["run", "name", "steps", "loss", "low", "high", "measured"]
    for line in lines[1:-1]:
        assert abs(float(line[3]) / float(line[6]) - 1.0) < 2e-3
    assert lines[-1][-1] == ""
    assert (here / "out" / "predictions.png").stat().st_size > 5000


def test_json_has_parameters_and_predictions(nqm_fast, here):
    write_runs(here)
    status, out, _ = nqm_fast(
        "fit", "runs.csv", "--predict", "new.csv", *COLUMNS, "--extra", "--json",
        "--lr", "linear rate",
    )  # fmt: skip
    content = json.loads(out)
    assert status == 0
    assert content["format"] == "nqm-fast fit 1"
    assert set(content["parameters"]) >= {"scale", "exponent", "irreducible"}
    (row,) = content["results"]
    assert row["low"] < row["loss"] < row["high"]


def test_mistakes_are_said(nqm_fast, here):
    write_runs(here)
    for arguments, message in [
        (("runs.csv",), "nqm-fast fit: runs.csv has no column 'steps' for steps"),
        (("none.csv",), "nqm-fast fit: none.csv: No such file or directory"),
        (("runs.csv", "--columns", "K"), "--columns must be NAME=COLUMN, such as steps=K"),
        (("runs.csv", *COLUMNS, "--own", "lr"), "--own may have scale, exponent"),
        (("runs.csv", *COLUMNS, "--level", "2"), "--level must be > 0 and < 1, not 2"),
    ]:
        status, _, err = nqm_fast("fit", *arguments)
        assert status == 2
        assert message in err


def test_curves_are_drawn(here):
    steps = np.arange(10, 400, 30)
    runs = [
        nqm.TrainingRun(loss(lr, 16, steps), steps, batch_size=16, lr=lr, group=f"lr {lr}")
        for lr in (0.1, 0.5)
    ]
    figure = nqm.fit(runs, extra=()).plot()
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["predicted loss", "steps", "steps", "learning rate"]


def test_rows_and_intervals_can_be_chosen(nqm_fast, here):
    write_runs(here)
    status, out, _ = nqm_fast(
        "fit", "runs.csv", *COLUMNS, "--extra", "--where", "B=4", "N=500", "--bootstrap", "2",
        "--out", "report",
    )  # fmt: skip
    assert status == 0
    assert "6 runs, 6 records" in out
    assert len(nqm.Fitted.load(here / "report" / "fit.json").repeated) == 2
    status, _, err = nqm_fast("fit", "runs.csv", *COLUMNS, "--where", "split=train")
    assert (status, "--where has no column 'split': there are rate, B, K" in err) == (2, True)
    status, _, err = nqm_fast("fit", "runs.csv", *COLUMNS, "--where", "B")
    assert (status, "--where must be COLUMN=VALUE" in err) == (2, True)
