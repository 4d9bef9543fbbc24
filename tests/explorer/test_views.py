"""What the explorer computes and writes, without a browser: numbers, code, words, links, files."""

import dataclasses
import math

import numpy as np
import pytest
from helpers import python

import nqm_fast as nqm
from nqm_fast import cli
from nqm_fast.explorer import figures, plane
from nqm_fast.explorer.dropped import MOST_BYTES, read_dropped
from nqm_fast.explorer.parameters import (
    Choice,
    Slider,
    Switch,
    decades,
    defaults,
    evenly,
    from_link,
    to_link,
)
from nqm_fast.explorer.views import VIEWS, batch_sizes, best_schedule, own_data, paths, risk_curves

SMALL = {
    "paths": {"steps": 90, "momentum": 0.95, "batch_size": 2, "replicas": 3, "sigma": 0.4},
    "risk": {"compare": "ema", "lr": 0.123, "dim": 100, "target": 0.02, "power": 0.25},
    "batch": {"method": "momentum", "momentum": 0.8, "dim": 100, "target": 0.05},
    "schedule": {"over": "lr", "steps": 128, "mean_batch": 8, "pieces": 4, "dim": 100},
    "data": {"lr": 0.2, "target": 0.03, "momentum": 0.5},
}
"""Other values than the defaults, which are quickly computed."""


def values_of(view):
    return defaults(view.parameters) | SMALL[view.name]


def assert_same(a, b):
    if isinstance(a, dict):
        assert list(a) == list(b)
        for name in a:
            assert_same(a[name], b[name])
    else:
        assert np.array_equal(a, b, equal_nan=True)


# -- what is compared ---------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("momentum", 0.999), ("ema", 0.995), ("power", 0.3)])
def test_the_chosen_value_is_among_those_that_are_compared(name, value):
    values = defaults(risk_curves.PARAMETERS) | {"compare": name, name: value}
    found = risk_curves.compared(values)
    assert len(found) == 5
    assert f"{name} {value}" in found


def test_large_batch_sizes_are_named_in_full():
    values = defaults(risk_curves.PARAMETERS) | {"compare": "batch_size", "batch_size": 4096}
    assert "batch_size 1048576" in risk_curves.compared(values)


def test_no_two_stops_of_a_slider_have_the_same_text():
    from nqm_fast.explorer.widgets import _shown

    assert _shown(0.1) == "0.1"
    assert _shown(0.09999999) == "0.09999999"
    assert _shown(1000) == "1,000"


# -- code ---------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_code_gives_the_same_numbers(view, capsys):
    values = values_of(view)
    numbers, names = view.numbers(values, None), {}
    exec(view.code(values, None), names)
    shared = [name for name in view.results if name in numbers]
    assert len(shared) >= 3
    for name in shared:
        assert_same(numbers[name], names[name])
    assert capsys.readouterr().out
    assert view.words(numbers).endswith(".")


def test_the_name_of_a_dropped_file_is_no_line_of_the_code():
    """Whoever pastes the code runs what the page wrote, whatever the file is called."""
    dropped = dataclasses.replace(own_data.EXAMPLE, name="a\nraise SystemExit\n.csv")
    lines = own_data.code(values_of(own_data.VIEW), dropped).splitlines()
    assert "raise SystemExit" not in lines


def test_the_code_of_a_dropped_file_gives_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt("it's mine.csv", 1.0 / np.arange(1.0, 31.0))
    nqm.Problem.power_law(10**9).save("large.npz")
    for name, algorithm in (("six", nqm.SGD), ("adam", nqm.Adam)):
        nqm.simulate(
            nqm.Problem.power_law(20), [algorithm(lr) for lr in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)], 4,
            40, replicas=3, record=10, out=f"{name}.h5", progress=False,
        )  # fmt: skip
    values = values_of(own_data.VIEW)
    for name in ("it's mine.csv", "large.npz", "six.h5", "adam.h5"):
        dropped = read_dropped(name, (tmp_path / name).read_bytes())
        numbers, names = own_data.numbers(values, dropped), {}
        exec(own_data.code(values, dropped), names)
        shared = [key for key in own_data.VIEW.results if key in numbers]
        assert {"rank", "h", "steps"} < set(shared)
        for key in shared:
            assert_same(numbers[key], names[key])


# -- numbers ------------------------------------------------------------------------------


def test_compared_settings_change_one_thing():
    values = defaults(risk_curves.PARAMETERS)
    for name in risk_curves.PARAMETERS[0].options:
        found = risk_curves.compared(values | {"compare": name})
        assert 3 <= len(found) <= len(figures.COLORS)
        assert len({repr(setting) for setting in found.values()}) == len(found)
    lr = risk_curves.compared(values)
    assert lr["lr 0.1"] == (nqm.SGD(0.1), 64)


def test_the_critical_batch_size_is_that_of_more_batch_sizes():
    values = defaults(batch_sizes.PARAMETERS)
    few = batch_sizes.numbers(values)["critical"]
    many = nqm.critical_batch_size(nqm.Problem.power_law(10_000), 0.01, over=("lr",))
    assert few == pytest.approx(many.curve.hyperbola.critical_batch_size, rel=0.2)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"target": 1e-4, "dim": 10**10},
            "With batch size 1 the target risk 0.0001 is not reached in 1,000,000,000 steps, "
            "whatever the learning rate: choose a higher target, fewer coordinates or a steeper "
            "spectrum.",
        ),
        (
            {"target": 1.0, "dim": 1},
            "Training begins at or below the target risk 1: choose a lower one.",
        ),
    ],
)
def test_what_no_batch_size_can_do_is_said_in_the_words_of_the_page(changed, sentence):
    with pytest.raises(nqm.InputError) as refusal:
        batch_sizes.numbers(defaults(batch_sizes.PARAMETERS) | changed)
    assert str(refusal.value) == sentence


def test_a_target_that_is_never_reached_is_said():
    values = values_of(risk_curves.VIEW) | {"target": 1e-4, "batch_size": 1, "compare": "lr"}
    assert "None of these" in risk_curves.words(risk_curves.numbers(values))


def test_the_best_schedule_is_that_of_optimal_control():
    values = values_of(best_schedule.VIEW)
    numbers = best_schedule.numbers(values)
    best = nqm.optimal_control(
        nqm.Problem.power_law(100), steps=128, samples=1024, max_lr=1.0, over=("lr",), pieces=4
    )
    assert numbers["best_risk"] == best.risk < numbers["best_constant_risk"]
    stairs = best_schedule.stairs(128, numbers["lr"])
    assert (stairs["x"][0], stairs["x"][-1]) == (0, 128)
    assert stairs["y"].tolist() == np.repeat(best.lr.to_table(128)["value"], 2).tolist()


def test_paths_share_noise_and_agree_with_their_laws():
    """The first method is plain SGD; without momentum the second one is, too."""
    values = defaults(paths.PARAMETERS) | {"momentum": 0.0, "replicas": 32}
    numbers = paths.numbers(values)
    walked = numbers["paths"]
    assert walked.shape == (4, 32, 41, 2)
    assert np.array_equal(walked[0], walked[1])
    inside = np.sum(((walked - numbers["mean"][:, None]) / plane.DEVIATIONS
                     / np.maximum(numbers["deviation"][:, None], 1e-300)) ** 2, -1) < 1  # fmt: skip
    assert inside[:, :, 1:].mean() == pytest.approx(plane.INSIDE / 100, abs=0.05)
    h = numbers["plane"].problem.h
    risk = 0.5 * h * (numbers["mean"] ** 2 + numbers["deviation"] ** 2)
    assert np.allclose(numbers["convergence"] + numbers["steady_state"], risk)


def test_a_path_that_diverges_leaves_no_gap_in_the_page():
    values = defaults(paths.PARAMETERS) | {"lr": 2.5, "steps": 600, "sigma": 30.0}
    numbers = paths.numbers(values)
    limits = np.array(plane.limits(numbers["walks"]))
    assert np.isfinite(limits).all()
    assert paths.words(numbers)


# -- links --------------------------------------------------------------------------------

PARAMETERS = (
    Slider("lr", "learning rate", decades(0.01, 1.0, 3), 0.1),
    Slider("steps", "steps", (1, 10, 100), 10),
    Choice("method", "method", {"a": "one", "b": "other"}, "a"),
    Switch("fine", "finer", False),
)


def test_a_link_keeps_every_bit():
    values = {"lr": 0.1 + 1e-17 + 0.2, "steps": 77, "method": "b", "fine": True}
    assert from_link(PARAMETERS, to_link(values)) == (values, "")
    for view in VIEWS:
        chosen = values_of(view)
        assert from_link(view.parameters, to_link(chosen)) == (chosen, "")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"lr": "2"}, "lr must be a number from 0.01 to 1, not '2'; here it is 0.1"),
        ({"lr": "nan"}, "lr must be a number from 0.01 to 1, not 'nan'"),
        ({"steps": "1.5"}, "steps must be a whole number from 1 to 100, not '1.5'; here it is 10"),
        ({"steps": "inf"}, "steps must be a whole number from 1 to 100"),
        ({"method": "c"}, "method must be one of a, b, not 'c'; here it is a"),
        ({"fine": "yes"}, "fine must be on or off, not 'yes'; here it is off"),
    ],
)
def test_a_wrong_link_is_complained_about(query, sentence):
    values, complaint = from_link(PARAMETERS, query)
    assert sentence in complaint
    assert values == defaults(PARAMETERS)


def test_stops_are_round_numbers():
    assert evenly(0.0, 0.3, 0.1) == (0, 0.1, 0.2, 0.3)
    assert decades(0.01, 1.0, 3) == (0.01, 0.0215, 0.0464, 0.1, 0.215, 0.464, 1)
    assert PARAMETERS[0].stops_with(0.3)[4:7] == [0.215, 0.3, 0.464]
    for view in VIEWS:
        for one in view.parameters:
            if isinstance(one, Slider):
                assert one.default in one.stops
                assert list(one.stops) == sorted(set(one.stops))


# -- files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.exe", b"", "a.exe must be a spectrum (.npz, .npy, .csv, .txt) or a run (.h5, .hdf5)"),
        ("b.h5", b"x" * 99, "b.h5 is not an HDF5 file, and so not a run of nqm_fast"),
        ("c.csv", b"1,2,x", "c.csv, line 1, column 3: there must be a number, not 'x'"),
        ("../../etc/d.txt", b"-1\n", "d.txt"),
        ("C:\\secret\\e.npy", b"\x93NUMPY", "e.npy"),
    ],
)
def test_a_wrong_file_is_refused_by_a_sentence(name, content, sentence):
    with pytest.raises(nqm.InputError) as refusal:
        read_dropped(name, content)
    assert str(refusal.value).startswith(sentence)
    assert "/" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_large_file_is_refused():
    with pytest.raises(nqm.InputError, match=r"big\.csv has 64 MiB: at most 64 can be dropped"):
        read_dropped("big.csv", bytes(MOST_BYTES + 1))


def test_a_name_is_never_opened(tmp_path):
    """The bytes count, not a file that this machine has under that name."""
    np.savetxt(tmp_path / "there.csv", [3.0, 2.0, 1.0, 0.5, 0.3, 0.2])
    dropped = read_dropped(str(tmp_path / "there.csv"), b"7\n6\n5\n4\n3\n2\n")
    assert dropped.name == "there.csv"
    assert dropped.problem.h.tolist() == [7, 6, 5, 4, 3, 2]


# -- looks, libraries, command --------------------------------------------------------------


def luminance(color):
    """Of a colour like #112233, as the contrast of texts and pictures is defined by (WCAG 2)."""
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(x * share for x, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.parametrize("ground", ["#ffffff", "#121212"])
def test_colors_can_be_seen_in_light_and_dark(ground):
    for color in (*figures.COLORS, figures.NEUTRAL):
        low, high = sorted([luminance(color), luminance(ground)])
        assert (high + 0.05) / (low + 0.05) >= 3.0, color


def test_views_load_no_library_of_pages():
    """They are imported when a page is made, and the command line not even then."""
    code = "import sys, nqm_fast.explorer.views, nqm_fast.cli.commands.explore;print(*sys.modules)"
    loaded = set(python("-c", code).stdout.split())
    assert not {"panel", "bokeh", "param", "tornado"} & loaded


def test_a_missing_library_is_said(monkeypatch, capsys):
    from nqm_fast.explorer import environment

    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    assert cli.main(["explore", "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "nqm-fast explore: the explorer needs panel, which is not installed: "
        "pip install 'nqm-fast[explore]'\n"
    )


def test_a_wrong_port_is_refused(capsys):
    assert cli.main(["explore", "--no-browser", "--port", "70000"]) == 2
    assert "--port must be a whole number from 0 to 65535, not 70000" in capsys.readouterr().err


def test_infinite_numbers_are_gaps():
    assert figures.drawable(np.array([1.0, 0.0, -1.0, math.inf])).tolist()[:1] == [1.0]
    assert np.isnan(figures.drawable(np.array([0.0, -1.0, math.inf, math.nan]))).all()
