"""Figures of networks, also of studies that have little, and of tables that are none."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

import nqm_fast as nqm
from nqm_fast import figures, networks
from nqm_fast.drawing.study import Study
from nqm_fast.figures import networks as steps_figure
from nqm_fast.figures import networks_lr
from nqm_fast.output.columns import write_csv

SHIPPED = networks.shipped()


def part(keep):
    return {name: column[keep] for name, column in SHIPPED.items()}


def drawn(module, table):
    figure = Figure(layout="constrained")
    module.plot(figure, table, Study())
    figure.draw_without_rendering()
    return figure


def dotted(axes):
    return [line for line in axes.lines if line.get_linestyle() == ":"]


@pytest.mark.parametrize(("module", "power"), [(steps_figure, -1.0), (networks_lr, 1.0)])
@pytest.mark.parametrize("missing", [None, False, True])
def test_the_guide_is_a_straight_line(module, power, missing):
    is_missing = (SHIPPED["optimizer"] == "sgd") & (SHIPPED["ema"] == missing)
    for axes in drawn(module, part(~is_missing)).axes:
        (line,) = dotted(axes)
        x, y = line.get_data()
        slope = np.log(y[-1] / y[0]) / np.log(x[-1] / x[0])
        assert slope == pytest.approx(power)
        assert x[0] < 1
        assert x[-1] >= 512
        low, high = axes.get_ylim()
        points = np.concatenate(
            [line.get_ydata() for line in axes.lines if line.get_marker() in "os^D"]
        )
        assert low > np.nanmin(points) / 3
        assert high < np.nanmax(points) * 3


@pytest.mark.parametrize("module", [steps_figure, networks_lr])
def test_one_batch_size_is_drawn_within_the_axes(module):
    one = (SHIPPED["batch_size"] == 64) & (SHIPPED["task"] == "digits")
    (axes,) = drawn(module, part(one & (SHIPPED["optimizer"] == "sgd"))).axes
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert [line.get_xdata().tolist() for line in points] == [[64], [64]]
    low, high = axes.get_xlim()
    assert 30 < low < 64 < high < 130


def test_a_target_that_is_never_reached_is_said():
    table = part(SHIPPED["task"] == "digits")
    table["steps"] = np.full_like(table["steps"], np.inf)
    (axes,) = drawn(steps_figure, table).axes
    assert [text.get_text() for text in axes.texts] == ["the target is never reached"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no rows"),
        ("a,b\n1\n", "it has no rows, or some that are not as long as the first"),
        ("a,b\n1,2\n", "it has no column task"),
    ],
)
def test_a_foreign_table_is_refused(tmp_path, text, said):
    (tmp_path / "networks.csv").write_text(text)
    with pytest.raises(nqm.InputError, match=f"is not the table of a study of networks: {said}"):
        figures.draw("networks", tmp_path / "out", results=tmp_path, workers=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": "lion"}, "its column optimizer has 'lion'"),
        ({"ema": "maybe"}, "its column ema has 'maybe'"),
        ({"lr": "high"}, "its column lr has other things than numbers"),
        ({"batch_size": 0}, "it has batch sizes below 1"),
    ],
)
def test_a_table_with_foreign_values_is_refused(tmp_path, changes, said):
    table = part(SHIPPED["task"] == "digits")
    table |= {name: np.full(table["lr"].size, value) for name, value in changes.items()}
    write_csv(tmp_path / "networks.csv", table)
    with pytest.raises(nqm.InputError, match=re.escape(said)):
        figures.draw("networks", tmp_path / "out", results=tmp_path, workers=1)
