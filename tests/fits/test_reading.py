"""Training runs, and the tables that they are read from."""

import gzip
import json
import re

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import schedules

ROWS = "N,B,K,loss,lr\n1000,64,100,3.5,0.1\n2000,128,200,3.25,0.05\n"
COLUMNS = {"dim": "N", "batch_size": "B", "steps": "K"}


@pytest.fixture
def table(tmp_path):
    """Write a table, and read it."""

    def read(text, name="runs.csv", **more):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return nqm.read_runs(path, **more)

    return read


# -- runs --------------------------------------------------------------------------------


def test_a_run_knows_what_its_schedules_do():
    lr = schedules.Warmup(10, then=schedules.Cosine(0.3, 90))
    batch = schedules.Piecewise([8, 24], [50, 50])
    run = nqm.TrainingRun([3.0, 2.0], [50, 100], batch_size=batch, lr=lr, dim=500)
    assert run.peak_lr == 0.3
    assert run.last_step == 100
    assert run.mean_batch_size == 16
    assert run.samples == 1600
    assert run.work == 800_000
    assert not run.has_diverged
    assert repr(run) == "<TrainingRun of 100 steps, 2 records>"


def test_runs_are_values():
    def run(loss=2.5):
        return nqm.TrainingRun(loss, 10, batch_size=4, lr=0.1, name="a")

    assert run() == run()
    assert run() != run(2.0)
    assert repr(run()) == "<TrainingRun 'a' of 10 steps, loss 2.5>"
    with pytest.raises((AttributeError, ValueError)):
        run().steps[...] = 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"loss": -1.0}, "loss must be > 0, but contains -1"),
        ({"loss": 0.0}, "loss must be > 0, but contains 0"),
        ({"loss": float("nan")}, "loss must not be NaN: write inf where a run has diverged"),
        ({"loss": [1.0, 2.0]}, "loss must have the shape of steps, (), but has shape (2,)"),
        ({"loss": "low"}, "loss must be numbers, not 'low'"),
        ({"steps": [[1]]}, "steps must be a number or a list of them, not of shape (1, 1)"),
        ({"steps": 1.5}, "steps must be whole numbers >= 0, but contains 1.5"),
        ({"batch_size": 0.5}, "batch_size must be >= 1, not 0.5"),
        ({"lr": [0.1]}, "lr has values for 1 step, but 10 are asked for"),
        ({"lr": 0.0}, "lr must be above 0 at some step"),
        ({"dim": 0}, "dim must be a whole number >= 1, not 0"),
        ({"momentum": 1.0}, "momentum must be >= 0 and < 1, not 1"),
        ({"weight": 0.0}, "weight must be > 0, not 0"),
        ({"sharpness": -1}, "sharpness must be > 0, not -1"),
        ({"name": 3}, "name must be text, not 3"),
    ],
)
def test_a_run_that_cannot_be_is_refused(more, message):
    given = {"loss": 2.0, "steps": 10, "batch_size": 4, "lr": 0.1} | more
    with pytest.raises(nqm.InputError, match=re.escape(message)):
        nqm.TrainingRun(given.pop("loss"), given.pop("steps"), **given)


# -- tables ------------------------------------------------------------------------------


def test_a_row_is_a_run(table):
    first, second = table(ROWS, columns=COLUMNS)
    assert (float(first.loss), int(first.steps), first.dim) == (3.5, 100, 1000)
    assert second.lr == schedules.Constant(0.05)
    assert second.batch_size == schedules.Constant(128.0)
    assert (first.name, second.name) == ("line 2", "line 3")


JSON_LINES = "\n".join(
    json.dumps({"N": n, "B": b, "K": k, "loss": loss, "lr": lr})
    for n, b, k, loss, lr in ((1000, 64, 100, 3.5, 0.1), (2000, 128, 200, 3.25, 0.05))
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("runs.jsonl", JSON_LINES),
        ("runs.csv.gz", gzip.compress(ROWS.encode(), mtime=0)),
        ("runs.jsonl.gz", gzip.compress(JSON_LINES.encode(), mtime=0)),
        ("runs.csv", "\ufeff" + ROWS.replace("\n", "\r\n")),
    ],
)
def test_all_formats_have_the_same_runs(table, name, content):
    def bare(runs):
        return [(run.loss, run.steps, run.lr, run.batch_size, run.dim) for run in runs]

    assert bare(table(content, name, columns=COLUMNS)) == bare(table(ROWS, columns=COLUMNS))


def test_parquet_is_read_by_pandas(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = tmp_path / "runs.parquet"
    pd.DataFrame({"loss": [3.5], "steps": [10], "batch_size": [4], "lr": [0.1]}).to_parquet(path)
    (run,) = nqm.read_runs(path)
    assert float(run.loss) == 3.5


CURVES = "size,schedule,step,lr,loss\nS,a,4,0.1,3\nS,a,2,0.3,4\nS,b,4,0.2,3.5\n"


def test_records_of_a_run_are_a_curve(table):
    first, second = table(
        CURVES,
        columns={"run": ["size", "schedule"], "steps": "step", "group": "size"},
        batch_size=1,
    )
    assert (first.name, second.name, first.group) == ("S a", "S b", "S")
    assert first.loss.tolist() == [3.0, 4.0]
    # Before its first record the learning rate is that of the record.
    assert first.lr.values(np.arange(4)).tolist() == pytest.approx([0.3, 0.3, 0.3, 0.2])
    assert second.lr == schedules.Constant(0.2)


def test_a_recorded_rate_drops_at_its_first_lower_record(table):
    rows = "".join(f"{t},{lr},3\n" for t, lr in ((2, 0.4), (4, 0.4), (8, 0.1), (10, 0.1)))
    (run,) = table(f"steps,lr,loss\n{rows}", columns={"run": []}, batch_size=1)
    assert run.lr.values(np.arange(10)).tolist() == [0.4] * 8 + [0.1] * 2


def test_a_warm_up_without_records_is_named(table):
    rows = "".join(f"{t},{lr},3\n" for t, lr in ((10, 0.1), (8, 0.1), (4, 0.4), (6, 0.4)))
    (run,) = table(
        f"steps,rate,loss\n{rows}", columns={"run": []}, batch_size=1, lr="warmup 4, recorded rate"
    )
    first = [0.0, 0.1, 0.2, 0.3]
    assert run.lr.values(np.arange(10)).tolist() == pytest.approx(first + [0.4] * 4 + [0.1] * 2)
    (flat,) = table(
        "steps,rate,loss\n6,0.4,3\n", columns={"run": []}, batch_size=1, lr="recorded rate"
    )
    assert flat.lr.values(np.arange(6)).tolist() == [0.4] * 6


def test_templates_are_relative_to_the_run(table):
    runs = table(ROWS, columns=COLUMNS, lr="warmup 0.1, cosine lr to 0.01")
    assert [run.lr for run in runs] == [
        schedules.Warmup(10, then=schedules.Cosine(0.1, 90, 0.01)),
        schedules.Warmup(20, then=schedules.Cosine(0.05, 180, 0.01)),
    ]
    (run,) = table(ROWS.rsplit("\n", 2)[0], columns=COLUMNS, lr="wsd lr over 30")
    assert run.lr == schedules.WarmupStableDecay(0.1, 0, 70, 30)


def test_callables_are_given_the_columns(table):
    runs = table(ROWS, columns=COLUMNS, lr=lambda row: schedules.Linear(row["lr"], 0.0, row["K"]))
    assert runs[1].lr == schedules.Linear(0.05, 0.0, 200)
    with pytest.raises(nqm.InputError, match="lr as a callable has raised KeyError: 'rate'"):
        table(ROWS, columns=COLUMNS, lr=lambda row: row["rate"])


def test_rows_can_be_left_out(table):
    (run,) = table(ROWS, columns=COLUMNS, where=lambda row: row["N"] == "2000")
    assert run.dim == 2000


def test_runs_without_losses_are_to_be_predicted(table):
    (run,) = table("steps,batch_size,lr\n5,2,0.1\n", measured=False)
    assert run.loss is None


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (ROWS, {}, "runs.csv has no column 'steps' for steps: give columns={'steps': ...}"),
        (ROWS, {"columns": {**COLUMNS, "dim": "M"}}, "has no column 'M' for dim"),
        (ROWS, {"columns": {"size": "N"}}, "columns may name loss, steps, batch_size"),
        (ROWS, {"columns": {**COLUMNS, "run": "id"}}, "no column 'id', which names runs"),
        (ROWS.replace("3.25", "low"), {"columns": COLUMNS}, "runs.csv, line 3, column 'loss': must "
         "be a number, not 'low'"),
        (ROWS.replace("3.25", ""), {"columns": COLUMNS}, "line 3, column 'loss': is empty"),
        (ROWS.replace("3.25", "nan"), {"columns": COLUMNS}, "line 3, column 'loss': loss must"),
        (ROWS.replace("3.25", "-2"), {"columns": COLUMNS}, "line 3, column 'loss': loss must be"),
        (ROWS.replace("128", "0"), {"columns": COLUMNS}, "line 3, column 'B': batch_size must be"),
        (ROWS.replace(",0.05", ""), {"columns": COLUMNS}, "line 3: 4 cells, but there are 5"),
        ("", {}, "runs.csv is empty"),
        ("a,a\n1,2\n", {}, "runs.csv has two columns 'a'"),
        ("loss,steps\n", {}, "runs.csv has no rows that are read"),
        (b"\xff\xfe\x00\x01", {}, "runs.csv is no table of text"),
        (ROWS, {"columns": COLUMNS, "lr": "sine 3"}, "lr must be '[warmup W,] KIND PEAK"),
        (ROWS, {"columns": COLUMNS, "lr": "cosine peak"}, "lr has 'peak', which is neither a"),
        (ROWS, {"columns": COLUMNS, "lr": "recorded rate"}, "lr has 'recorded rate', but"),
        (ROWS, {"columns": COLUMNS, "lr": "recorded lr to 0"}, "lr must be '[warmup W,] KIND PEAK"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said(table, content, more, message):
    with pytest.raises(nqm.InputError, match=re.escape(message)):
        table(content, **more)


def test_what_is_wrong_with_json_lines_is_said(table):
    with pytest.raises(nqm.InputError, match=r"runs.jsonl, line 2: no JSON"):
        table('{"loss": 1}\n{', "runs.jsonl")
    with pytest.raises(nqm.InputError, match=r"runs.jsonl, line 1: must be an object"):
        table("[1]", "runs.jsonl")


def test_a_file_that_is_not_there_is_its_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        nqm.read_runs(tmp_path / "none.csv")


def test_the_highest_rate_of_a_long_run_is_found():
    lr = schedules.Warmup(3001, then=schedules.Cosine(0.3, 10**7))
    assert nqm.TrainingRun(2.0, 10**7, batch_size=4, lr=lr).peak_lr == 0.3


@pytest.mark.parametrize("none", ["", "nan", "NaN", "NA", "null"])
def test_runs_to_predict_may_say_that_they_have_no_loss(table, none):
    text = f"steps,batch_size,lr,loss\n5,2,0.1,3.0\n9,2,0.1,{none}\n"
    measured, predicted = table(text, measured=None)
    assert float(measured.loss) == 3.0
    assert predicted.loss is None


@pytest.mark.parametrize("text", ["256", "2.56e2", "constant 256"])
def test_a_number_alone_is_a_constant_template(table, text):
    (run,) = table("steps,lr,loss\n5,0.1,3.0\n", batch_size=text, lr="warmup 2, 0.1")
    assert run.batch_size == schedules.Constant(256.0)
    assert run.lr == schedules.Warmup(2, then=schedules.Constant(0.1))
