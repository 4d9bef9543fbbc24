"""What is on the picture of a run."""

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from helpers import simulate

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.drawing.run import figure_of


def drawn(algorithms, batch_size=8, bands=False, **arguments):
    more = {"steps": 100, "threads": 1} | arguments
    run = simulate(algorithms, batch_size, bands=3 if bands else None, **more)
    return figure_of(run, bands)


def legend_texts(figure):
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for legend in legends if legend for text in legend.get_texts()]


def caption(figure):
    return " ".join(figure._supxlabel.get_text().split())


def rates(count):
    return [nqm.SGD(lr) for lr in np.geomspace(0.01, 1.0, count).tolist()]


def test_names_and_bands_that_cannot_be_are_refused():
    run = simulate([nqm.SGD(0.1)], steps=5)
    for name in ("x.xyz", ""):
        with pytest.raises(nqm.InputError, match=r"path must (end with one of|be the name)"):
            run.plot(name)
    with pytest.raises(nqm.InputError, match="bands must be True or False, not 'yes'"):
        run.plot(bands="yes")


def test_eight_entries_are_inside_the_axes():
    figure = drawn(rates(7))
    inside = figure.axes[0].get_legend().get_texts()
    assert len(inside) == 8
    assert not figure.legends
    assert len(figure.axes) == 1
    assert inside[0].get_text() == "lr = 0.01"


@pytest.mark.parametrize("sizes", [False, True])
def test_many_numbers_have_a_colour_scale(sizes):
    count = 12
    algorithms = [nqm.SGD(0.1)] * count if sizes else rates(count)
    figure = drawn(algorithms, list(range(1, count + 1)) if sizes else 8)
    assert legend_texts(figure) == ["exact expectation"]
    bar = figure.axes[1]
    assert bar.get_ylabel() == ("batch size $B$" if sizes else "learning rate")
    assert bar.get_ylim() == pytest.approx((1, count) if sizes else (0.01, 1.0))


def test_a_grid_has_a_scale_and_line_styles():
    algorithms = [nqm.SGD(lr, momentum=m) for lr in (0.1, 0.2, 0.3, 0.4, 0.5) for m in (0.0, 0.9)]
    figure = drawn(algorithms)
    assert legend_texts(figure) == ["momentum = 0", "momentum = 0.9", "exact expectation"]
    assert figure.axes[1].get_ylabel() == "learning rate"


@pytest.mark.parametrize(("count", "entries"), [(10, 11), (60, 41)])
def test_many_schedules_are_listed_beside_the_axes(count, entries):
    ends = np.linspace(0.1, 0.9, count).tolist()
    figure = drawn([nqm.SGD(schedules.Cosine(1.0, 50, end)) for end in ends])
    assert figure.axes[0].get_legend() is None
    texts = legend_texts(figure)
    assert len(texts) == entries
    assert texts[0] == "lr = Cosine(1, 50, 0.1)"
    assert count < 41 or "and 21 more" in texts


def test_what_never_has_a_finite_record_is_said():
    run = simulate([nqm.SGD(0.1), nqm.SGD(1e200)], 8, steps=100, record=[10, 100], threads=1)
    first = int(run.diverged_at[1, 0])
    expected = f"lr = 1e+200 (diverged at step {first}, before its first record)"
    assert expected in legend_texts(figure_of(run))


def test_a_shard_is_called_one():
    run = simulate([nqm.SGD(0.1)], 8, 20, nqm.Problem.power_law(200), coordinates=(128, 200))
    assert "a shard of it (coordinates 128 to 199 of 200)" in caption(figure_of(run))
    assert run.to_xarray().attrs["shard"] == "coordinates 128 to 199 of 200"


def test_what_diverged_and_what_is_unfinished_is_said():
    run = simulate([nqm.SGD(0.1), nqm.SGD(1e3)], 8, 300, record=10)
    figure = figure_of(run)
    first = int(run.diverged_at[1, 0])
    assert f"lr = 1000 (diverged at step {first})" in legend_texts(figure)
    title = figure.axes[0].get_title()
    assert "1 of 2 settings diverged" in title
    assert "unfinished" not in title
    part = {name: values[:, :, :16] for name, values in run.observed.items()}
    for status in ("interrupted", "running", "killed"):
        unfinished = replace(run, status=status, steps=run.steps[:16], observed=part)
        title = figure_of(unfinished).axes[0].get_title()
        assert "unfinished" in title
        assert "up to step 150 of 300" in title


def test_the_caption_is_a_sentence_with_the_batch_size():
    assert caption(drawn(nqm.SGD(0.3), 64, replicas=3)) == (
        "The curve is the mean of 3 replicas of SGD(0.3) at batch size 64, on the power law of 100 "
        "coordinates, $h_i=c_i=1/i$, with minibatch sampling from seed 0."
    )
    figure = drawn([nqm.SGD(0.3), nqm.SGD(0.1)], [16, 64])
    assert "batch size" not in caption(figure)
    assert "lr = 0.3, B = 16" in legend_texts(figure)


def test_ticks_have_one_notation():
    for lr, steps in ((0.01, 100), (1.0, 100_000)):
        figure = drawn(nqm.SGD(lr), 2**20, steps=steps)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        labels = [t.get_text() for axis in (axes.xaxis, axes.yaxis) for t in axis.get_ticklabels()]
        assert len(labels) > 4
        assert len({"10^{" in label for label in labels}) == 1


def test_bands_are_drawn_in_panels():
    figure = drawn([nqm.SGD(0.3), nqm.SGD(0.1)], bands=True)
    assert [axes.get_title() for axes in figure.axes] == ["lr = 0.3", "lr = 0.1"]
    assert len(legend_texts(figure)) == 5
    lines = figure.axes[0].get_lines()
    assert len(lines) == 8  # mean and exact risk of all coordinates and of three bands
    total = sum(line.get_ydata()[-1] for line in lines[3::2])
    assert total == pytest.approx(lines[1].get_ydata()[-1], rel=1e-9)
    with pytest.raises(nqm.InputError, match="no bands to draw"):
        simulate().plot(bands=True)


def test_a_run_is_drawn_from_python(tmp_path):
    before = dict(matplotlib.rcParams)
    figure = simulate(replicas=2).plot(tmp_path / "run.png")
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("path", [5, b"run.png"])
def test_a_picture_has_the_name_of_a_file(path):
    run = simulate([nqm.SGD(0.1)], 8, steps=10)
    with pytest.raises(nqm.InputError, match="path must be the name of a file"):
        run.plot(path)
