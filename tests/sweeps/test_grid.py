"""What a sweep takes as its grid and its arguments."""

from dataclasses import dataclass

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import InputError, schedules
from nqm_fast.machine.packing import packed, unpacked
from nqm_fast.sweeps.grid import as_grid, coordinate
from nqm_fast.sweeps.plan import as_plan

pytest.importorskip("xarray")


def test_ranges():
    grid = as_grid(
        {
            "lr": {"start": 0.01, "stop": 1.0, "num": 3, "log": True},
            "batch_size": {"start": 1, "stop": 1024, "num": 11, "log": True},
            "seed": {"start": 0, "stop": 4, "num": 5},
            "ema": {"start": 0, "stop": 1, "num": 3},
        }
    )
    assert np.allclose(grid.axes["lr"], [0.01, 0.1, 1.0])
    assert grid.axes["batch_size"] == tuple(2**k for k in range(11))
    assert grid.axes["seed"] == (0, 1, 2, 3, 4)
    assert all(isinstance(seed, int) for seed in grid.axes["seed"])
    assert grid.axes["ema"] == (0.0, 0.5, 1.0)


def test_points_are_numbered_with_the_last_axis_first():
    grid = as_grid({"a": [1, 2], "b": [3, 4, 5]})
    assert [grid.values(k) for k in (0, 1, 5)] == [
        {"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 5}
    ]  # fmt: skip
    assert sorted(grid.examples()) == [0, 1, 2, 3]
    part = grid.part([5, 1])
    assert [part.values(k) for k in (0, 1)] == [{"a": 2, "b": 5}, {"a": 1, "b": 4}]


def test_tables_are_algorithms_and_schedules():
    cosine = {"kind": "Cosine", "peak": 1.0, "steps": 20}
    grid = as_grid({"lr": [0.1, cosine], "algorithm": [{"lr": 0.5}]})
    assert grid.axes["lr"][1] == schedules.Cosine(1.0, 20)
    assert grid.axes["algorithm"] == (nqm.SGD(0.5),)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], [1, 2]),
        ([0.5, 2], [0.5, 2.0]),
        ([0, 2**64 - 1], [0, 2**64 - 1]),
        (["a", "b"], ["a", "b"]),
        ([nqm.SGD, 1], ["SGD", "1"]),
        ([["lr"], ["lr", "ema"]], ["lr", "lr, ema"]),
        ([nqm.SGD(0.1), nqm.SGD(0.1)], ["SGD(0.1) (0)", "SGD(0.1) (1)"]),
    ],
)
def test_coordinates(values, expected):
    found = coordinate(values).tolist()
    assert found == expected or [x.split(" (")[-1] for x in found] == ["0)", "1)"]


@dataclass(frozen=True)
class Named(nqm.SGD):
    """An algorithm whose parameter has the name of a result."""

    steps: int = 1


GOOD = {"dim": 10, "batch_size": 8, "target": 0.5}


@pytest.mark.parametrize(
    ("grid", "common", "message"),
    [
        (3, {}, "grid must be a dict of axes"),
        ({}, {}, "grid must have one or more points"),
        ([], {}, "grid must have one or more points"),
        (
            {"lr": 0.1},
            {},
            "lr must be a list .* not 0.1: what is the same at all points is no axis",
        ),
        ({"lr": []}, {}, "lr must be a list of one or more values"),
        ({"lr": {"start": 1}}, {}, "lr must be .* num is missing"),
        ({"lr": {"start": 1, "stop": 2, "num": 3, "lag": 1}}, {}, "lr must be .* lag is none"),
        ({"lr": {"start": 0, "stop": 2, "num": 3, "log": True}}, {}, "lr.start must be > 0"),
        ({"lr": {"start": 1, "stop": 2, "num": 1e12}}, {}, "lr.num must be .* from 1 to 10000000"),
        ({"lr": range(10**20)}, {}, "lr must have at most 10000000 values"),
        ({"lr": np.ma.array([0.1, 0.2], mask=[0, 1])}, {}, "lr must not have masked"),
        ({"lr": [{"lag": 3}]}, {}, "lr must be a value, or a schedule as a table of its kind"),
        ({"lr": [{"kind": "Cosin"}]}, {}, "lr is not what its table describes: kind must be"),
        ({"problem": [{"h": [1.0]}]}, {"dim": None}, "problem must be a Problem or the name of"),
        ({"momentum": [0.1]}, {"algorithm": "SGD"}, "lr of SGD must be given"),
        ({"lr": [0.1]}, {"batch_size": [64, 128]}, "batch_size must be one number or schedule"),
        ({3: [1]}, {}, "grid must have names of arguments"),
        ([{"lr": 1}, {"momentum": 1}], {}, "grid must give values to the same names"),
        ({"lr": [0.1]}, {"lr": 0.2}, "lr is an axis of the grid"),
        ({"lr": [0.1, -1.0]}, {}, r"lr must be .*\(at lr = -1\)"),
        (
            {"speed": [0.1]},
            {},
            "speed is not an argument of steps_to_target, nor of SGD, which has lr,",
        ),
        ({"lr": [0.1]}, {"dim": None}, "problem or dim must be given"),
        ({"lr": [0.1]}, {"target": None}, "target must be given"),
        ({"lr": [0.1]}, {"problem": nqm.Problem([1.0])}, "dim cannot be given beside problem"),
        ({"lr": [0.1]}, {"algorithm": "SDG"}, "algorithm must be one of Accumulate, "),
        ({"lr": [0.1]}, {"algorithm": 3}, "algorithm must be an algorithm"),
        ({"steps": [1]}, {"algorithm": Named, "lr": 0.1}, "steps is a name of results"),
    ],
)
def test_one_sentence_says_what_is_wrong(grid, common, message):
    given = {name: x for name, x in (GOOD | common).items() if x is not None}
    with pytest.raises(InputError, match=message):
        as_plan("steps", grid, given)


@pytest.mark.parametrize(
    ("what", "common", "message"),
    [
        ("simulate", {"steps": 5, "threads": 2}, "threads = 2 cannot be given .* threads_per_task"),
        ("simulate", {"steps": 5, "keep_state": True}, "keep_state = True cannot be given"),
        ("simulate", {}, "steps must be given"),
        (
            "tune",
            {"target": 0.1, "algorithm": nqm.EMA},
            "lr is not an argument of tune, nor of EMA",
        ),
        ("schedule", {"target": 0.1, "pieces": 2}, "lr is not an argument of optimal_schedule"),
        ("tune", {"target": 0.1, "over": ("foo",)}, "over must be one of lr, momentum, ema"),
        ("tune", {"target": 0.1, "over": 5}, "over must be one of lr, momentum, ema, not 5"),
        ("tune", {"target": 0.1, "over": "ema", "effort": "x"}, "effort must be one of full, fast"),
        ("risk", {"steps": [[1]]}, "steps must be a number, or one list"),
        ("train", {}, "what must be one of simulate, tune, risk, steps, schedule"),
    ],
)
def test_one_sentence_says_what_a_kind_of_work_does_not_take(what, common, message):
    with pytest.raises(InputError, match=message):
        as_plan(what, {"lr": [0.1]}, {"dim": 10, "batch_size": 8} | common)


@pytest.mark.parametrize("pieces", ["a", float("nan"), None, 1e13, -3])
def test_pieces_that_are_no_number_of_them(pieces):
    with pytest.raises(InputError, match="pieces must be a whole number"):
        as_plan("schedule", {"batch_size": [8]}, {"dim": 10, "target": 0.1, "pieces": pieces})


def test_a_schedule_is_searched_for_plain_sgd():
    common = {"dim": 10, "target": 0.1, "pieces": 2, "algorithm": nqm.SGD(0.1)}
    with pytest.raises(InputError, match="algorithm is not an argument of optimal_schedule"):
        as_plan("schedule", {"batch_size": [8]}, common)


def test_records_must_be_the_same_at_all_points():
    common = {"dim": 10, "batch_size": 8, "lr": 0.1}
    with pytest.raises(InputError, match="risk has the dimension step, which must be the same"):
        as_plan("simulate", {"steps": [5, 6]}, common)
    assert as_plan("simulate", {"steps": [5, 6]}, common | {"record": [5]}).fields


def test_the_digest_is_that_of_equal_plans_in_any_process():
    def digest(**changes):
        given = {"problem": nqm.Problem([1.0, 0.5]), "batch_size": 8, "target": 0.1} | changes
        return as_plan("steps", {"lr": [0.1, schedules.PerStep([0.1, 0.2])]}, given).digest

    assert digest() == digest(problem=nqm.Problem([1.0, 0.5]))
    others = {digest(problem=nqm.Problem([1.0, 0.25])), digest(target=0.2), digest(momentum=0.5)}
    assert len(others | {digest()}) == 4


def test_a_file_is_read_again_when_its_content_has_changed(tmp_path):
    def problem(h):
        nqm.Problem(h).save(tmp_path / "p.npz")
        common = {"problem": str(tmp_path / "p.npz"), "batch_size": 8, "target": 0.1}
        return as_plan("steps", {"lr": [0.1]}, common).arguments(0).problem

    for h in ([1.0, 0.5], [1.0, 0.05]):
        assert problem(h) == nqm.Problem(h)


def test_a_file_that_changes_after_the_plan_is_refused(tmp_path):
    path = tmp_path / "p.npz"
    nqm.Problem([1.0]).save(path)
    common = {"problem": path, "batch_size": 8, "target": 0.1}
    plan = unpacked(packed(as_plan("steps", {"lr": [0.1, 0.2]}, common)))
    nqm.Problem([2.0]).save(path)
    for changed in (plan, plan.part([1])):
        with pytest.raises(InputError, match=r"p.npz' has changed since the sweep was planned"):
            changed.arguments(0)


def test_the_digest_is_that_of_the_content_of_a_file(tmp_path):
    def digest(h):
        nqm.Problem(h).save(tmp_path / "p.npz")
        common = {"lr": 0.1, "batch_size": 8, "target": 0.1}
        return as_plan("steps", {"problem": [str(tmp_path / "p.npz")]}, common).digest

    assert digest([1.0]) != digest([2.0])
