"""The figure critical: its numbers are those of the library, and its findings follow from them."""

import math

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast.drawing.critical import draw_critical
from nqm_fast.drawing.output import write_png
from nqm_fast.drawing.study import Study
from nqm_fast.figures import critical
from nqm_fast.output.columns import rows_where, table_of_rows

COLUMNS = ("panel", "series", "momentum", "x", "value")


@pytest.fixture(scope="module")
def few():
    """Some of the figure's jobs, as a table."""
    rows = [
        *critical.definitions("target", 1.0, 0.0),
        *critical.definitions("exponent", 1.0, 0.0),
        *critical.scale_over_time(1),
        *critical.scale_over_time(2),
    ]
    return table_of_rows(COLUMNS, rows)


def test_definitions_are_those_of_the_library(few):
    problem = nqm.Problem.power_law(10_000)
    knee = rows_where(few, panel="target", series="knee")["value"]
    assert knee == nqm.critical_batch_size(problem, 1.0).value
    half = rows_where(few, panel="exponent", series="half")["value"]
    expected = nqm.critical_batch_size(problem, 0.01, definition="half").value
    assert math.isclose(half[0], expected, rel_tol=1e-9)


def test_the_published_finding_holds_for_plain_sgd_and_not_for_momentum(few):
    plain, heavy = (rows_where(few, series=number) for number in ("1", "2"))
    assert critical.finding(plain["x"], plain["value"]) == "all seen"
    said = critical.finding(heavy["x"], heavy["value"])
    assert said == "not seen: rises, levels off"


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        ([0.1, 5.0, 10.0, 10.0], "all seen"),
        ([2.0, 5.0, 10.0, 10.0], "not seen: near 0 at first"),
        ([0.1, 12.0, 10.0, 10.0], "not seen: rises"),
        ([0.1, 5.0, 6.0, 10.0], "not seen: levels off"),
    ],
)
def test_each_part_of_the_finding_can_be_missed(scale, said):
    assert critical.finding(np.array([0.0, 0.2, 0.5, 1.0]), np.array(scale)) == said


def test_all_jobs_fit_into_one_table():
    jobs = critical.jobs(Study())
    solved = {job: [("target", "knee", 0.0, 1.0, 2.0)] for job in jobs}
    table = critical.compute(Study(), solved)
    assert tuple(table) == COLUMNS
    assert len(table["x"]) == len(jobs) == len(set(jobs))


def test_pictures_are_drawn(few, tmp_path):
    write_png(tmp_path / "a.png", lambda f, t: critical.plot(f, t, Study()), few)
    problem = nqm.Problem.power_law(100)
    found = {"knee": nqm.critical_batch_size(problem, 0.5)}
    draw_critical(found, problem, tmp_path / "b.png", "--plot")
    for name in "ab":
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
