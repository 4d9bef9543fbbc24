"""Every figure is drawn, and its table holds what the library says."""

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import figures
from nqm_fast.figures import digits, family, plane

METHODS_PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
QUICK = ["training_curves", "one_coordinate", "plane", "digits", "risk_law"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    return {figure.name: figure for figure in figures.draw(QUICK, folder, workers=2)}


def test_there_are_the_nine_of_the_paper_and_ten_others():
    assert len(figures.names()) == 20
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
    error = table["standard_error"] / model
    gap = (table["mean_excess_loss"] / model - 1.0) / error
    assert np.abs(gap).max() < 4.0
    assert 0.5 < np.sqrt(np.mean(gap**2)) < 1.6
    # Where noise is the same everywhere the first steps at small batches differ by percents.
    additive = np.abs(table["additive_risk"] / model - 1.0)
    assert 0.03 < additive[table["batch_size"] == 4].max() < 0.1


def test_simulated_runs_lie_on_the_density_and_within_the_band(drawn):
    table = drawn["risk_law"].table
    exact, simulated = (table["quantity"] == name for name in ("density", "simulated density"))
    for step in np.unique(table["steps"][exact]):
        here, there = exact & (table["steps"] == step), simulated & (table["steps"] == step)
        density = np.interp(table["x"][there], table["x"][here], table["value"][here])
        error = np.sqrt(density * density.max() / 500)  # 20 000 runs in 40 bins
        assert (np.abs(table["value"][there] - density) < 4.0 * error + 0.05 * density.max()).all()
    of = {
        q: table["value"][(table["quantity"] == "quantile") & (table["x"] == q)]
        for q in (0.05, 0.95)
    }
    mean = table["value"][table["quantity"] == "mean"]
    assert ((of[0.05] < mean) & (mean < of[0.95])).all()


def test_the_plane_has_paths_and_exact_means_of_one_noise_stream(drawn):
    table = drawn["plane"].table
    problem = nqm.Problem([0.1, 1.0], mean0=[8.0, 2.5], var0=0.0)
    for name, more in (("SGD", {}), ("momentum", {"momentum": 0.8}), ("EMA", {"ema": 0.95})):
        rows = {x: column[table["optimiser"] == name] for x, column in table.items()}
        algorithm, size = nqm.SGD(0.3, **more), 2.0
        exact = nqm.moments(problem, algorithm, size, rows["steps"])
        means = np.stack([rows["mean_x"], rows["mean_y"]], axis=1)
        assert means == pytest.approx(exact.evaluated_mean, rel=1e-12, abs=1e-14)
        last = len(means) - 1
        paths = nqm.simulate(
            problem, algorithm, size, last, record=1, trajectory=[0, 1], seed=plane.SEED
        ).trajectory
        assert np.array_equal(rows["x"], paths.evaluated[0, :, 0])
        assert np.array_equal(rows["w_y"], paths.w[0, :, 1])


def test_the_plane_is_of_any_two_coordinates(tmp_path):
    problem = nqm.Problem.power_law(10**12)
    (far,) = figures.draw("plane", tmp_path, workers=1, problem=problem, coordinates=[99, 0])
    assert far.table["x"][0] == far.table["y"][0] == 1.0
    chosen = plane.plane_of(pickle.dumps(OWN), (3, 11), (64.0,))
    assert (chosen.numbers, chosen.batch_size) == ((11, 3), 64.0)
    assert chosen.problem.h.tolist() == OWN.h[[11, 3]].tolist()
    assert plane.plane_of(pickle.dumps(OWN), None, None).numbers == (9, 0)


def test_problems_of_one_coordinate_have_no_plane(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_draw", lambda study, needed, *_: drawn.extend(needed) or [])
    figures.draw(out=tmp_path, problem=nqm.Problem([1.0]))
    assert "momentum" in drawn
    assert "plane" not in drawn


def test_a_sweep_finds_what_tune_finds(tmp_path):
    from nqm_fast.drawing.study import Study, Sweep
    from nqm_fast.machine.jobs import solve

    sweep, study = Sweep(("plain", "momentum"), (0.5,), (5.0,), (2**6, 2**18)), Study()
    table = sweep.table(study, dict(solve(sweep.jobs(study), 1)))
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


OWN = nqm.Problem(np.geomspace(1.0, 0.01, 12), 0.3, mean0=1.0)


def test_a_problem_of_ones_own(tmp_path):
    """Its numbers are those of `tune` for it, with the target and batch sizes that were given."""
    arguments = {"problem": OWN, "target": 0.1, "batch_sizes": [4096, 8.5]}
    (drawn,) = figures.draw("momentum", tmp_path, workers=1, **arguments)
    table = drawn.table
    assert sorted(set(table["batch_size"].tolist())) == [8.5, 4096]
    assert set(table["target"].tolist()) == {0.1}
    for k in range(0, table["steps"].size, 3):
        over = ("lr",) if table["optimiser"][k] == "plain" else ("lr", "momentum")
        fixed = {"power": float(table["power"][k])}
        best = nqm.tune(OWN, float(table["batch_size"][k]), 0.1, over, **fixed)
        assert table["steps"][k] == best.steps
    bayes = nqm.bounds.bayes_samples(OWN, 0.1) / table["batch_size"]
    assert table["bayes_steps"] == pytest.approx(np.maximum(bayes, 1.0))


@pytest.mark.thorough
def test_all_figures_of_a_problem_of_ones_own(tmp_path):
    """Those that have a problem of their own are left out; what is never reached leaves a gap."""
    drawn = figures.draw(out=tmp_path, workers=1, problem=nqm.Problem([1.0, 0.5]), batch_sizes=[4])
    own = ("one_coordinate", "digits", "risk_law", "adam", "multiplicative", "critical")
    assert [figure.name for figure in drawn] == [
        name for name in figures.names() if name not in own and not name.startswith("networks")
    ]
    assert len(list(tmp_path.iterdir())) == 20


@pytest.mark.parametrize(
    ("names", "changes", "said"),
    [
        ("digits", {"target": 0.1}, "target must be left out for digits"),
        ("momentum", {"target": 50.0}, "target must be below the initial risk"),
        ("momentum", {"batch_sizes": [0.5]}, "batch_sizes must be >= 1"),
        ("momentum", {"batch_sizes": []}, "batch_sizes must be one or more"),
        ("momentum", {"problem": 3}, "problem must be a Problem"),
        ("plane", {"coordinates": [0, 2]}, "coordinates must be two from 0 to 1 .*contain 2"),
        ("plane", {"coordinates": [1, 1]}, "coordinates must be two different numbers"),
        ("plane", {"coordinates": 1}, "coordinates must be two different numbers"),
        ("plane", {"problem": nqm.Problem([1.0])}, "problem must have 2 coordinates or more"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path, names, changes, said):
    with pytest.raises(nqm.InputError, match=said):
        figures.draw(names, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_where_the_rule_of_the_root_holds():
    """It is marked over the longest run of batch sizes with slopes near one half."""
    from nqm_fast.figures.adam import root_rule

    sizes = 4.0 ** np.arange(1, 8)
    lr = np.array([0.1, 0.2, 0.9, 1.8, 3.6, 7.2, 7.2])
    assert root_rule(sizes, lr).tolist() == [2, 3, 4, 5]
    assert root_rule(sizes, sizes).size == 0


SMALL = nqm.Problem.power_law(300)


def test_the_family_is_what_tune_finds(tmp_path, monkeypatch):
    """Methods of other figures too; what is not the same in all steps begins at larger batches."""
    kept = ("plain SGD", "EMA", "Nesterov", "Schedule-Free")
    monkeypatch.setattr(family, "METHODS", {name: family.METHODS[name] for name in kept})
    given = {"problem": SMALL, "target": 0.3, "batch_sizes": [16, 4096]}
    (drawn,) = figures.draw("family", tmp_path, workers=1, **given)
    table = drawn.table
    found = {
        (name, size): (steps, setting)
        for name, size, steps, setting in zip(
            *(table[x].tolist() for x in list(table)[:4]), strict=True
        )
    }
    assert len(found) == 7
    assert ("Schedule-Free", 16) not in found
    for size in (16, 4096):
        best = nqm.tune(SMALL, size, 0.3, ("lr", "ema"))
        assert found["EMA", size] == (best.steps, repr(best.algorithm))
        best = nqm.tune(SMALL, size, 0.3, ("lr", "momentum"), algorithm=nqm.Nesterov, effort="fast")
        assert found["Nesterov", size] == (best.steps, repr(best.algorithm))
    assert table["bayes_steps"] == pytest.approx(
        nqm.bounds.bayes_samples(SMALL, 0.3) / table["batch_size"]
    )


@pytest.mark.slow
def test_the_family_on_the_papers_problem(tmp_path):
    """An average beside momentum wins, and docs/methods.md has these numbers."""
    (drawn,) = figures.draw("family", tmp_path, workers=2)
    table = drawn.table
    steps = {
        name: dict(
            zip(*(table[x][table["method"] == name] for x in ("batch_size", "steps")), strict=True)
        )
        for name in family.METHODS
    }
    for name, of_method in steps.items():
        for size, found in of_method.items():
            assert steps["momentum, EMA"][size] <= 1.01 * found, (name, size)
    rows = {}
    for line in METHODS_PAGE.read_text().splitlines():
        name, *cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
        if name in steps and len(cells) == 5:
            rows[name] = [float(cell) for cell in cells if cell]
    assert rows.keys() == steps.keys()
    for name, written in rows.items():
        assert list(steps[name].values()) == pytest.approx(written, rel=0.02), name


@pytest.mark.slow
def test_adam_beside_the_others(tmp_path):
    """Adam gains at small batches, where it preconditions; its rate grows as the root there."""
    (drawn,) = figures.draw("adam", tmp_path, workers=2)
    table = drawn.table
    steps = {kind: table["steps"][table["kind"] == kind] for kind in np.unique(table["kind"])}
    assert (steps["momentum"] <= steps["plain"]).all()
    assert steps["adam"][0] < 0.6 * steps["plain"][0]
    adam = table["kind"] == "adam"
    slope = np.diff(np.log(table["lr"][adam][:4])) / np.log(4.0)
    assert ((slope > 0.35) & (slope < 0.65)).all()


def test_every_figure_says_what_it_is_in_the_paper():
    assert list(figures.counterparts()) == figures.names()
    assert figures.counterparts()["one_coordinate"].startswith("figure 2")


def test_bounds_that_coincide_are_drawn_once():
    from nqm_fast.drawing.style import drawn_bounds

    rows = {"cramer_rao_steps": np.array([100.0, 1.0]), "bayes_steps": np.array([99.0, 1.0])}
    assert len(drawn_bounds(rows)) == 1
    assert len(drawn_bounds(rows | {"bayes_steps": np.array([50.0, 1.0])})) == 2


def test_what_is_saved_is_said_in_the_caption():
    from nqm_fast.drawing.style import saving_note

    table = {
        "optimiser": np.array(["plain", "plain", "momentum", "momentum"]),
        "batch_size": np.array([4, 1024, 4, 1024]),
        "steps": np.array([100, 10, 97, 5]),
    }
    said = "Momentum saves 3 % of the steps at $B=4$, and 50 % of the steps at $B=2^{10}$."
    assert saving_note(table, "momentum", "Momentum") == said
