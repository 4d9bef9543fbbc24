"""Every figure is drawn, and its table holds what the library says."""

import csv

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import figures
from nqm_fast.figures import digits

QUICK = ["training_curves", "one_coordinate", "digits"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    return {figure.name: figure for figure in figures.draw(QUICK, folder, workers=2)}


def test_there_are_the_nine_of_the_paper_and_real_data():
    assert len(figures.names()) == 10
    assert "digits" in figures.names()


@pytest.mark.parametrize("name", QUICK)
def test_one_picture_and_one_table_each(drawn, name):
    figure = drawn[name]
    assert figure.picture.read_bytes().startswith(b"\x89PNG")
    with figure.data.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == set(figure.table)
    assert len(rows) == len(next(iter(figure.table.values())))
    for column, values in figure.table.items():
        if values.dtype.kind == "f":
            written = [float(row[column] or "nan") for row in rows]
            assert written == pytest.approx(values, nan_ok=True)


def test_training_curves_are_expected_risks(drawn):
    table = drawn["training_curves"].table
    problem = nqm.Problem.power_law(10_000)
    for k in np.linspace(0, table["steps"].size - 1, 7).astype(int):
        lr, batch_size, step = table["lr"][k], table["batch_size"][k], table["steps"][k]
        risk = nqm.expected_risk(problem, nqm.SGD(float(lr)), float(batch_size), int(step))
        assert table["risk"][k] == pytest.approx(risk, rel=1e-12)


def test_sgd_on_real_data_agrees_with_the_model(drawn):
    table = drawn["digits"].table
    assert len(set(table["batch_size"].tolist())) >= 3
    assert digits.DRAWS // max(digits.BATCHES) >= 50
    model = table["expected_risk"]
    gap = np.abs(table["mean_excess_loss"] / model - 1.0)
    assert np.median(gap) < 0.05
    # two standard errors of the mean on top of what the model leaves out
    assert (gap < 0.12 + 2.0 * table["standard_error"] / model).all()


def test_a_sweep_finds_what_tune_finds(tmp_path):
    from nqm_fast.figures._jobs import solve
    from nqm_fast.figures._model import Sweep

    sweep = Sweep(("plain", "momentum"), (0.5,), (0.05,), (2**6, 2**18))
    table = sweep.table(dict(solve(sweep.jobs(), 1)))
    for k in range(table["steps"].size):
        over = ("lr",) if table["optimiser"][k] == "plain" else ("lr", "momentum")
        batch_size = int(table["batch_size"][k])
        best = nqm.tune(nqm.Problem.power_law(10_000), batch_size, 0.05, over, power=0.5)
        assert table["steps"][k] == best.steps
        assert table["bayes_steps"][k] <= best.steps


def test_the_knee_is_where_the_asymptotes_meet(tmp_path):
    columns = {
        "optimiser": ["plain"] * 3,
        "power": [0.0] * 3,
        "target": [0.01] * 3,
        "batch_size": [1, 100, 10_000],
        "steps": [1000, 20, 10],
    }
    table = {name: np.array(values) for name, values in columns.items()}
    figure = figures.Drawn("any", "any", tmp_path, tmp_path, table)
    (row,) = figures.critical_batch_sizes([figure])
    assert row.batch_size == 100.0


def test_an_unknown_name_is_refused_before_any_work(tmp_path):
    with pytest.raises(nqm.InputError, match=r"figure must be one of .* not 'foo'"):
        figures.draw(["training_curves", "foo"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(nqm.InputError, match="out"):
        figures.draw(["training_curves"], tmp_path / "file")
