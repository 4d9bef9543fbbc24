"""The critical batch size by its four definitions, against searches by hand and known limits."""

import math
from pathlib import Path

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast.exact.batches.critical import by_every_definition
from nqm_fast.exact.batches.tuned_sizes import TunedSizes

LAW = nqm.Problem.power_law(1000)
TARGET = 0.02
HUGE = 2.0**60


def steps(size, problem=LAW, target=TARGET):
    return nqm.tune(problem, size, target).steps


@pytest.fixture(scope="module")
def found():
    kinds = ("knee", "overhead", "noise-scale", "half")
    return {kind: nqm.critical_batch_size(LAW, TARGET, definition=kind) for kind in kinds}


def test_the_knee_is_where_asymptotes_meet(found):
    assert found["knee"].value == steps(1) / steps(HUGE)


def test_the_overhead_is_in_samples(found):
    """Steps are whole numbers, so that samples jump by one part in as many."""
    size = found["overhead"].value
    most = 1.2 * steps(1)
    assert math.isclose(size * steps(size), most, rel_tol=2e-3)


def test_half_as_fast_as_possible(found):
    size = found["half"].value
    assert steps(1.002 * size) <= 2 * steps(HUGE) <= steps(size / 1.002)


def least_risk(size, taken, curvatures):
    """The lowest risk after so many steps, over 20,000 learning rates, in NumPy."""
    lr = np.linspace(1e-4, 2.0, 20_000, endpoint=False)
    second = np.ones((len(curvatures), lr.size))
    h = np.array(curvatures)[:, None]
    for _ in range(taken):
        second = (1.0 - lr * h) ** 2 * second + lr**2 * h / size
    return (0.5 * h * second).sum(axis=0).min()


@pytest.mark.parametrize(("curvatures", "target"), [([1.0], 0.1), ([1.0, 0.1], 0.05)])
def test_few_steps_count_as_whole_ones(curvatures, target):
    """Twice the fewest steps are taken from a batch size on; samples rise above a limit last."""
    problem = nqm.Problem(curvatures)
    half = nqm.critical_batch_size(problem, target, definition="half")
    assert half.curve.least_steps == 1
    assert least_risk(0.999 * half.value, 2, curvatures) > target
    assert least_risk(1.001 * half.value, 2, curvatures) <= target

    found = nqm.critical_batch_size(problem, target, definition="overhead")
    limit = 1.2 * found.curve.samples[0]
    taken = round(limit / found.value)
    assert math.isclose(found.value * taken, limit, rel_tol=1e-9)
    assert least_risk(found.value, taken, curvatures) <= target
    assert all(least_risk(limit / fewer, fewer, curvatures) > target for fewer in range(1, taken))


def test_the_noise_scale_is_that_at_the_end_of_training(found):
    best = nqm.tune(LAW, 1, TARGET)
    scale = nqm.noise_scale(LAW, best.algorithm, 1, best.steps)
    assert found["noise-scale"].value == scale.weighted
    assert found["noise-scale"].noise_scale.simple == scale.simple
    assert found["knee"].noise_scale is None


def test_the_noise_scale_at_a_step():
    at_start = nqm.critical_batch_size(LAW, TARGET, definition="noise-scale", step=0)
    expected = (1.0 / np.arange(1, 1001) ** 2).sum() / (1.0 / np.arange(1, 1001) ** 3).sum()
    assert math.isclose(at_start.value, expected, rel_tol=1e-12)


def test_the_curve_has_what_was_tuned(found):
    curve = found["half"].curve
    assert curve.batch_sizes[0] == 1
    assert curve.batch_sizes[-1] > 60 * found["knee"].value
    for size, best in zip(curve.batch_sizes, curve.tuned, strict=True):
        assert nqm.steps_to_target(LAW, best.algorithm, size, TARGET) == best.steps
    np.testing.assert_array_equal(curve.samples, curve.steps * curve.batch_sizes)
    assert found["half"].reference == curve.tuned[0]


def test_definitions_differ_and_keep_their_order(found):
    """On a hyperbola the overhead is at a fifth of the knee, and half of the steps at the knee."""
    value = {kind: x.value for kind, x in found.items()}
    assert 0.1 * value["knee"] < value["overhead"] < value["half"] < value["knee"]
    assert math.isclose(value["noise-scale"], value["knee"], rel_tol=0.5)


def test_more_overhead_allows_larger_batches():
    sizes = [
        nqm.critical_batch_size(LAW, 0.1, definition="overhead", overhead=x).value
        for x in (0.05, 0.2, 1.0)
    ]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3


def test_momentum_scales_further_but_for_the_noise_scale():
    """The noise scale knows a step, and not what momentum makes of many."""
    problem = nqm.Problem.power_law(500)
    plain, heavy = (
        by_every_definition(
            TunedSizes(problem, 0.1, ("lr",), nqm.SGD, 10**9, "full", {"momentum": momentum})
        )
        for momentum in (0.0, 0.95)
    )
    plain, heavy = ({name: x.value for name, x in found.items()} for found in (plain, heavy))
    assert heavy["knee"] > 2 * plain["knee"]
    assert heavy["half"] > 1.5 * plain["half"]
    assert math.isclose(heavy["noise-scale"], plain["noise-scale"], rel_tol=0.2)


def test_without_noise_a_larger_batch_never_pays():
    problem = nqm.Problem([1.0], c=0.0)
    value = {
        kind: nqm.critical_batch_size(problem, 0.01, definition=kind).value
        for kind in ("knee", "overhead", "noise-scale", "half")
    }
    assert value["knee"] == value["half"] == 1.0
    assert math.isclose(value["overhead"], 1.2, rel_tol=1e-3)
    assert value["noise-scale"] == 0.0


def test_the_noise_times_ten_and_the_batch_times_ten():
    quiet, loud = (nqm.Problem([1.0], [c]) for c in (1.0, 10.0))
    first = nqm.critical_batch_size(quiet, 0.01, reference=2.0).value
    second = nqm.critical_batch_size(loud, 0.01, reference=20.0).value
    assert math.isclose(second, 10.0 * first, rel_tol=1e-9)


def test_batch_sizes_without_noise_follow_the_noise():
    """Noise of 1e32 is not gone in batches of 2^100, which are small to it."""
    scale = 2.0**107
    loud = nqm.Problem(LAW.h, LAW.c * scale)
    first = nqm.critical_batch_size(LAW, 0.5)
    second = nqm.critical_batch_size(loud, 0.5, reference=scale)
    assert second.value == pytest.approx(first.value * scale, rel=1e-9)
    assert second.curve.least_steps == first.curve.least_steps


def test_it_is_shown():
    found = nqm.critical_batch_size(LAW, 0.5)
    assert repr(found).startswith("<CriticalBatchSize ")
    assert repr(found).endswith(" by knee, to the target 0.5>")
    assert "definition" in found._repr_html_()


DOCUMENTED = {
    ("lr",): (903, 601, 435, 804, 3497),
    ("lr", "momentum"): (35092, 19763, 24275, 773, 3351),
    ("lr", "ema"): (130, 71, 88, 62, 270),
    ("lr", "momentum", "ema"): (6122, 3443, 4967, 62, 270),
}
"""The table in docs/batch_size.md."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "over",
    [pytest.param(x, marks=[pytest.mark.thorough] * (len(x) > 2)) for x in DOCUMENTED],
    ids="+".join,
)
def test_the_documented_table(over):
    text = (Path(__file__).parents[3] / "docs" / "batch_size.md").read_text()
    assert " | ".join(map(str, DOCUMENTED[over])) in text
    problem = nqm.Problem.power_law(10_000)
    sizes = TunedSizes(problem, 0.01, over, nqm.SGD, 10**9, "full", {})
    found = by_every_definition(sizes)
    names = ("knee", "half", "overhead", "noise-scale")
    values = [found[name].value for name in names] + [found["noise-scale"].noise_scale.simple]
    assert tuple(map(round, values)) == DOCUMENTED[over]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"problem": 3}, "problem must be"),
        ({"target": -1}, "target must be > 0, not -1"),
        ({"definition": "best"}, "definition must be one of knee, overhead, noise-scale, half"),
        ({"definition": "overhead", "overhead": 0}, "overhead must be > 0, not 0"),
        (
            {"definition": "overhead", "overhead": 1e300},
            "overhead must be less than .* here, from which on batches are larger than any with "
            "noise, not 1e\\+300",
        ),
        ({"reference": 0.5}, "reference must be >= 1, not 0.5"),
        ({"step": 3}, "step = 3 is for definition='noise-scale'"),
        ({"definition": "noise-scale", "step": -1}, "step must be a whole number >= 0, not -1"),
        ({"definition": "noise-scale", "step": 10**8}, "step must be a whole number from 0 to"),
        (
            {"max_steps": 10},
            "reference must be a batch size at which the target 0.02 is reached in max_steps = 10 "
            "steps, not 1, where the lowest risk is",
        ),
        ({"lr": 0.1}, r"lr is searched \(over\) and given"),
        (
            {
                "problem": LAW.with_noise(nqm.noise.Gaussian()),
                "definition": "noise-scale",
            },
            "problem must have noise that is the same everywhere for definition='noise-scale'",
        ),
    ],
)
def test_mistakes_are_named(changed, message):
    usual = {"problem": LAW, "target": TARGET}
    with pytest.raises(nqm.InputError, match=message):
        nqm.critical_batch_size(**(usual | changed))
