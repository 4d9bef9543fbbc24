"""The study in miniature: from the command line, killed and continued, and what is refused."""

import copy
import csv
import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import command, python

import nqm_fast as nqm
from nqm_fast import networks
from nqm_fast.networks import studies
from nqm_fast.networks.tasks import as_task
from nqm_fast.networks.training import Outcome, Trial
from nqm_fast.networks.tuning import Best, Result

slow = pytest.mark.slow
EASY = {
    "mnist1d": (2.2, ["kfac"]),
    "language": (3.8, ["momentum"]),
}
"""A high target for each task but digits, which is killed below, and optimisers; K-FAC on language
takes a minute to compile."""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder in which JAX keeps what it has compiled, for the next process of a test."""
    return str(tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def needs_jax(monkeypatch, compiled):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", compiled)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    for name in ("jax", "optax", "kfac_jax", "mnist1d"):
        pytest.importorskip(name)


def rows_of(folder):
    with (folder / "networks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@slow
@pytest.mark.parametrize(
    "task",
    [pytest.param(task, marks=[pytest.mark.thorough] * (task == "language")) for task in EASY],
)
def test_a_miniature_of_each_task(tmp_path, needs_jax, task):
    target, optimizers = EASY[task]
    done = subprocess.run(
        command(
            "networks", task, "--optimizer", *optimizers, "--batch-size", "256", "--seeds", "1",
            "--target", str(target), "--out", tmp_path,
        ),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path)
    wanted = [(name, ema) for name in optimizers for ema in ("False", "True")]
    assert [(row["optimizer"], row["ema"]) for row in rows] == wanted
    assert all(1 <= float(row["steps"]) < 100 for row in rows)
    assert all(float(row["lowest_loss"]) < target for row in rows)
    assert task in done.stdout


@slow
def test_a_study_that_is_killed_goes_on_to_the_same_numbers(tmp_path, needs_jax):
    arguments = [
        "networks", "digits", "--optimizer", "sgd", "--batch-size", "512", "128",
        "--target", "1.0", "--seeds", "2", "--workers", "1", "--out",
    ]  # fmt: skip
    process = subprocess.Popen(command(*arguments, tmp_path / "killed"))
    limit = time.monotonic() + 300
    while not (tmp_path / "killed" / "networks.csv").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(rows_of(tmp_path / "killed"))
    for name in ("killed", "whole"):
        subprocess.run(command(*arguments, tmp_path / name), check=True, capture_output=True)
    assert 0 < before < 4
    assert (tmp_path / "killed" / "networks.csv").read_bytes() == (
        tmp_path / "whole" / "networks.csv"
    ).read_bytes()
    begin = time.monotonic()
    subprocess.run(command(*arguments, tmp_path / "whole"), check=True, capture_output=True)
    assert time.monotonic() - begin < 30.0  # it is read, and not computed again


@slow
def test_a_task_of_ones_own_as_the_docs_have_it(tmp_path, needs_jax):
    (tmp_path / "mine.py").write_text(
        """
import jax
import numpy as np

import nqm_fast as nqm


class Waves:
    target = 0.4

    def __init__(self):
        x = np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)
        y = (np.sin(x).sum(axis=1) > 0).astype(np.int32)
        self.train, self.validation = (x[:192], y[:192]), (x[192:], y[192:])

    def init(self, key):
        return 0.1 * jax.random.normal(key, (3, 2))

    def loss(self, parameters, batch):
        x, y = batch
        return nqm.networks.softmax_loss(x @ parameters, y)


if __name__ == "__main__":
    print(nqm.networks.study(Waves(), ["sgd", "kfac"], [64], seeds=1)["steps"].max())
"""
    )
    assert float(python("mine.py", cwd=tmp_path).stdout) < 100
    arguments = ["--optimizer", "momentum", "--batch-size", "16", "64", "--seeds", "1"]
    subprocess.run(
        command("networks", "mine:Waves", *arguments, "--out", "found"), cwd=tmp_path, check=True
    )
    rows = rows_of(tmp_path / "found")
    assert [row["batch_size"] for row in rows] == ["16", "16", "64", "64"]
    assert {row["task"] for row in rows} == {"waves"}
    assert all(float(row["steps"]) < math.inf and float(row["momentum"]) < 1.0 for row in rows)
    assert {row["beta1"] for row in rows} == {""}


@slow
def test_a_target_below_the_minimum_says_what_was_reached(needs_jax):
    task = copy.copy(as_task("digits"))
    task.most_epochs, task.least_steps = 0.0, 60
    with pytest.raises(nqm.InputError, match=r"target must be above \d\.\d+, the lowest loss of"):
        networks.study(task, "sgd", [1024], target=0.01, seeds=1)


def test_a_quick_study_is_of_few_batch_sizes_and_roughly_measured(needs_jax):
    pytest.importorskip("sklearn")
    chains = studies._chains(None, ["sgd", "kfac"], None, None, 3, True)
    assert [(x.name, x.optimizer, x.batch_sizes) for x in chains] == [
        ("digits", name, (size,)) for name in ("sgd", "kfac") for size in (4, 64, 1024)
    ]
    task = as_task("digits")
    facts, rough = task.facts(), task.roughly_measured().facts()
    assert (facts["measured samples"], rough["measured samples"]) == (1437, 512)
    assert facts["resolution"] < rough["resolution"]


@slow
def test_another_study_is_not_mixed_in(tmp_path, needs_jax):
    networks.study("digits", "sgd", [512], target=1.0, seeds=1, out=tmp_path)
    import h5py

    with h5py.File(tmp_path / "networks.h5", "r+") as file:
        file.attrs["facts"] = file.attrs["facts"].replace(
            '"samples of digits": ', '"samples of digits": 1'
        )
    with pytest.raises(nqm.InputError, match="choose another folder"):
        networks.study("digits", "sgd", [512], target=1.0, seeds=1, out=tmp_path)


@pytest.fixture
def untrained(needs_jax, monkeypatch):
    """Units have a result at once, the steps of which are 10 for each seed; they are counted."""
    pytest.importorskip("sklearn")
    solved = []

    def tune_unit(unit):
        solved.append(unit)
        steps = 10.0 * unit.seeds
        best = Best(steps, steps, steps, 0.1, 0.0, 0.9, 0.5, 0.05)
        outcome = Outcome(
            Trial(0.1, 0.0, 0), np.array([1.0]), np.array([1.0]), np.array([1.0]), False, 1,
            np.empty((0, 2)),
        )  # fmt: skip
        return Result((best, best), (0, 0), np.ones((3, 2)), [outcome])

    monkeypatch.setattr(studies, "tune_unit", tune_unit)
    monkeypatch.setattr(studies, "_is_importable", lambda task: False)
    return solved


def test_a_folder_keeps_all_that_was_ever_found(tmp_path, untrained):
    arguments = {"target": 1.0, "seeds": 1, "out": tmp_path}
    networks.study("digits", "sgd", [256, 64], **arguments)
    assert [unit.batch_size for unit in untrained] == [256, 64]
    table = networks.study("digits", "momentum", [256], **arguments)
    assert table["optimizer"].tolist() == ["momentum"] * 2
    whole = [("sgd", "64")] * 2 + [("sgd", "256")] * 2 + [("momentum", "256")] * 2
    assert [(row["optimizer"], row["batch_size"]) for row in rows_of(tmp_path)] == whole
    del untrained[:]
    # A batch size between the two is found, and 64 is not found again.
    networks.study("digits", "sgd", [256, 128, 64], **arguments)
    assert [unit.batch_size for unit in untrained] == [128]
    assert len(rows_of(tmp_path)) == 8
    (tmp_path / "networks.csv").unlink()
    networks.study("digits", "sgd", [256], **arguments)
    assert len(rows_of(tmp_path)) == 8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": 1.2}, "digits with target=1.0, as of sgd at batch size 256, and not target=1"),
        ({"target": None}, "and not target=0.15: choose another folder"),
        ({"seeds": 2}, "with seeds=1, as of sgd at batch size 256, and not seeds=2"),
    ],
)
def test_another_target_or_other_seeds_are_not_mixed_in(tmp_path, untrained, changes, said):
    arguments = {"target": 1.0, "seeds": 1, "out": tmp_path}
    networks.study("digits", "sgd", [256], **arguments)
    before = (tmp_path / "networks.h5").read_bytes()
    for batch_size in (256, 64):
        with pytest.raises(nqm.InputError, match=said):
            networks.study("digits", "sgd", [batch_size], **(arguments | changes))
    assert (tmp_path / "networks.h5").read_bytes() == before
    assert len(untrained) == 1


def test_what_is_named_twice_is_done_once(untrained):
    table = networks.study(["digits", "digits"], ["sgd", "sgd"], [64, 64], seeds=1)
    assert len(untrained) == 1
    assert table["ema"].tolist() == [False, True]
    with pytest.raises(nqm.InputError, match="two of the name digits"):
        networks.study(["digits", copy.copy(as_task("digits"))], "sgd", [64])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("digit",), {}, "task must be one of digits, language, mnist1d, or MODULE:CLASS"),
        (("nowhere:Task",), {}, "task nowhere:Task cannot be imported"),
        ((3,), {}, "3 has no init"),
        (("digits", "lion"), {}, "optimizer must be one of sgd, momentum, adam, kfac, not 'lion'"),
        (("digits", "sgd", [0]), {}, "batch_sizes must be a whole number"),
        (("digits", "sgd", []), {}, "batch_sizes must be one or more"),
        (("digits", "sgd", [5000]), {}, "batch_sizes must be a whole number from 1 to 1437"),
        (("digits", "sgd", "64"), {}, "batch_sizes must be a list, not '64'"),
        (("digits", "sgd", 64), {}, "batch_sizes must be a list, not 64"),
        (("digits", 5, [64]), {}, "optimizers must be a list, not 5"),
        (("digits",), {"target": -1}, "target must be > 0"),
        (("digits",), {"seeds": 0}, "seeds must be a whole number >= 1"),
        (("digits",), {"seeds": 2**40}, "seeds must be a whole number from 1 to 1000"),
        (("digits",), {"quick": "yes"}, "quick must be True or False"),
        (("digits",), {"workers": 0}, "workers must be a whole number >= 1"),
    ],
)
def test_bad_input(needs_jax, arguments, options, message):
    with pytest.raises(nqm.InputError, match=message):
        networks.study(*arguments, **options)


def test_without_jax_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    from nqm_fast.networks import environment

    monkeypatch.setattr(
        environment.importlib.util, "find_spec", lambda name: None if name == "jax" else object()
    )
    with pytest.raises(nqm.InputError, match=r"need JAX.*pip install 'nqm-fast\[networks\]'"):
        networks.study("digits")
