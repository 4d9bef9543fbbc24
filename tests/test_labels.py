"""Settings are named by what tells them apart, and schedules shortly."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import schedules
from nqm_fast.labels import common_text, coordinates, setting_labels, short_name
from nqm_fast.unknown import UnknownAlgorithm, UnknownSchedule

COSINE = schedules.Cosine(1.0, 2000)


def settings(*pairs):
    return [
        SimpleNamespace(algorithm=a, batch_size=schedules.as_schedule("batch_size", b))
        for a, b in pairs
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (COSINE, "Cosine(1, 2000)"),
        (schedules.Cosine(1.0, 2000, 0.1), "Cosine(1, 2000, 0.1)"),
        (schedules.PerStep(np.full(20, 0.1)), "PerStep(20 values)"),
        (schedules.PerStep([0.1]), "PerStep(1 value)"),
        (schedules.Piecewise(range(1, 11), [5] * 10), "Piecewise(10 pieces)"),
        (schedules.Warmup(100, COSINE), "Warmup(100, Cosine(1, 2000))"),
        (schedules.Constant(0.3), "0.3"),
        (nqm.SGD(np.float64(0.2), momentum=0.9), "SGD(0.2, momentum=0.9)"),
        (nqm.SGD(1 / 3), f"SGD({1 / 3!r})"),
    ],
)
def test_short_names(value, name):
    assert short_name(value) == name


@pytest.mark.parametrize(
    ("pairs", "labels", "common"),
    [
        ([(nqm.SGD(0.1), 16)], ["SGD(0.1)"], "SGD(0.1) at batch size 16"),
        ([(nqm.SGD(0.1), 16), (nqm.SGD(0.1), 64)], ["B = 16", "B = 64"], "SGD(0.1)"),
        (
            [(nqm.SGD(0.1, ema=0.5), 8), (nqm.SGD(0.2, ema=0.5), 8)],
            ["lr = 0.1", "lr = 0.2"],
            "SGD with ema = 0.5 at batch size 8",
        ),
        (
            [(nqm.SGD(0.1), 16), (nqm.SGD(0.2), 64)],
            ["lr = 0.1, B = 16", "lr = 0.2, B = 64"],
            "SGD",
        ),
        (
            [(nqm.SGD(1.0), 16), (nqm.SGD(0.2, momentum=0.9), 16), (nqm.SGD(1.8, ema=0.99), 64)],
            ["SGD(1), B = 16", "SGD(0.2, momentum=0.9), B = 16", "SGD(1.8, ema=0.99), B = 64"],
            "",
        ),
        (
            [(nqm.SGD(0.123456), 1), (nqm.SGD(0.123457), 1)],
            ["lr = 0.123456", "lr = 0.123457"],
            "SGD at batch size 1",
        ),
        (
            [(nqm.SGD([0.1, 0.2]), 1), (nqm.SGD([0.2, 0.1]), 1)],
            ["lr = PerStep(2 values), setting 0", "lr = PerStep(2 values), setting 1"],
            "SGD at batch size 1",
        ),
    ],
)
def test_labels_have_what_differs(pairs, labels, common):
    assert setting_labels(settings(*pairs)) == labels
    assert common_text(settings(*pairs)) == common


def test_coordinates_are_numbers():
    columns = coordinates(settings((nqm.SGD(0.1), 4), (nqm.SGD(COSINE, momentum=0.9), COSINE)))
    assert list(columns) == ["label", "lr", "momentum", "ema", "power", "batch_size"]
    assert columns["lr"][0] == 0.1
    assert math.isnan(columns["lr"][1])
    assert columns["momentum"].tolist() == [0.0, 0.9]
    assert columns["batch_size"][0] == 4.0
    assert columns["label"][1].startswith("SGD(Cosine(1, 2000), momentum=0.9)")


def test_settings_of_unknown_classes_have_the_parameters_of_their_description():
    """They are in files whose algorithms are not defined here; a schedule is a table there."""
    cosine = {"kind": "Cosine", "peak": 0.5, "steps": 9}
    mine = [UnknownAlgorithm({"kind": "lab:Mine", "lr": lr}, "import lab") for lr in (0.25, cosine)]
    warm = UnknownSchedule({"kind": "lab:Warm"}, "import lab")
    found = settings((mine[0], 8), (mine[1], 8))
    found.append(SimpleNamespace(algorithm=nqm.SGD(0.1), batch_size=warm))
    columns = coordinates(found)
    assert setting_labels(found)[0] == "lab:Mine(lr=0.25), B = 8"
    np.testing.assert_array_equal(columns["lr"], [0.25, np.nan, 0.1])
    np.testing.assert_array_equal(columns["batch_size"], [8.0, 8.0, np.nan])
