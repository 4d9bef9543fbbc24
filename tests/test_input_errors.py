"""Bad input gets one clear error that names the argument, its value and what is allowed."""

import math
import re

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import bounds, schedules

NAN, INF = math.nan, math.inf
EYE = np.eye(2)
LARGE = nqm.Problem.power_law(10**9)  # touching it takes long, see `no_work`
SMALL = nqm.Problem([1.0, 0.5, 0.25])
PLAIN = nqm.SGD(0.1)


@pytest.fixture
def no_work(monkeypatch):
    """Make it an error to look at a coordinate or to load a kernel: checks come before any work."""

    def work(*_):
        raise AssertionError("work began before the arguments were checked")

    monkeypatch.setattr(nqm.Problem, "block", work)
    monkeypatch.setattr("nqm_fast.kernels.fastest_backend", work)


def matrices(H=EYE, C=EYE, mean0=(0, 0), second_moment0=EYE, P=None):
    return nqm.Problem.from_matrices(H, C, mean0=mean0, second_moment0=second_moment0, P=P)


def least_squares(X=((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)), y=(1.0, 2.0, 3.0), ridge=0.0):
    return nqm.Problem.from_least_squares(X, y, ridge=ridge)


def risk(algorithm=PLAIN, batch_size=4, steps=10, problem=LARGE):
    return nqm.expected_risk(problem, algorithm, batch_size, steps)


def first(algorithm=PLAIN, batch_size=4, target=0.1, problem=LARGE, **limits):
    return nqm.steps_to_target(problem, algorithm, batch_size, target, **limits)


def passages(algorithm=PLAIN, batch_size=4, target=0.1, problem=LARGE, **more):
    return nqm.first_passage_distribution(problem, algorithm, batch_size, target, **more)


def tune(batch_size=4, target=0.1, over=("lr",), problem=LARGE, **fixed):
    return nqm.tune(problem, batch_size, target, over, **fixed)


def schedule(batch_size=4, target=0.1, pieces=10, problem=LARGE, **more):
    return nqm.optimal_schedule(problem, batch_size, target, pieces, **more)


def sgd(lr=0.1, **more):
    return nqm.SGD(lr, **more)


def risk_with_lr(lr, steps):
    return risk(sgd(lr), steps=steps)


def tune_momentum(**lr):
    return tune(over=("momentum",), **lr)


def problem(h=(1.0, 0.5), c=None, **more):
    return nqm.Problem(h, c, **more)


# What is called, with which arguments, of which the first is wrong; what the message must say
# besides its name.
CASES = [
    # curvatures and the fields beside them
    (problem, {"h": [1.0, 0.0]}, "> 0", "0"),
    (problem, {"h": [1.0, -2.5]}, "> 0", "-2.5"),
    (problem, {"h": [1.0, NAN]}, "finite", "nan"),
    (problem, {"h": [1.0, INF]}, "finite", "inf"),
    (problem, {"h": [[1.0, 2.0]]}, "one-dimensional", "(1, 2)"),
    (problem, {"h": 1.0}, "one-dimensional", "()"),
    (problem, {"h": []}, "not empty", "(0,)"),
    (problem, {"h": ["a", "b"]}, "real numbers", "'a'"),
    (problem, {"h": [1.0, 2j]}, "real numbers", "2j"),
    (problem, {"h": [[1.0], [1.0, 2.0]]}, "real numbers", "[1.0, 2.0]"),
    (problem, {"h": None}, "real numbers", "None"),
    (problem, {"c": [1.0]}, "(2,)", "(1,)"),
    (problem, {"c": [1.0, -1.5]}, ">= 0", "-1.5"),
    (problem, {"c": [1.0, NAN]}, "finite", "nan"),
    (problem, {"sigma": [1.0, 2.0, 3.0]}, "(2,)", "(3,)"),
    (problem, {"sigma": -1.5}, ">= 0", "-1.5"),
    (problem, {"sigma": 1.0, "c": 1.0}, "c", "not both"),
    (problem, {"mean0": [1.0, 2.0, 3.0]}, "(2,)", "(3,)"),
    (problem, {"mean0": INF}, "finite", "inf"),
    (problem, {"mean0": "x"}, "real numbers", "'x'"),
    (problem, {"var0": -1.5}, ">= 0", "-1.5"),
    (problem, {"var0": [[1.0, 1.0]]}, "(2,)", "(1, 2)"),
    (problem, {"count": [1.0, 0.0]}, "> 0", "0"),
    (problem, {"count": NAN}, "finite", "nan"),
    (nqm.Problem.power_law, {"dim": 0}, "whole number >= 1", "0"),
    (nqm.Problem.power_law, {"dim": 2.5}, "whole number >= 1", "2.5"),
    (nqm.Problem.power_law, {"dim": "many"}, "whole number >= 1", "'many'"),
    (nqm.Problem.power_law, {"dim": NAN}, "whole number >= 1", "nan"),
    (nqm.Problem.power_law, {"exponent": -1.0, "dim": 10}, ">= 0", "-1"),
    (nqm.Problem.power_law, {"exponent": NAN, "dim": 10}, ">= 0", "nan"),
    (nqm.Problem.power_law, {"exponent": 400, "dim": 10}, "vanish", "400"),
    (nqm.Problem.power_law, {"start_exponent": -30, "dim": 10**12}, "range of a double", "= -30"),
    # dense matrices and data
    (matrices, {"H": [[1.0, 2.0]]}, "square", "(1, 2)"),
    (matrices, {"H": [[1.0, 2.0], [0.0, 5.0]]}, "symmetric", "2"),
    (matrices, {"H": [[1.0, 2.0], [2.0, 1.0]]}, "positive definite", "-1"),
    (matrices, {"H": [[1.0, NAN], [NAN, 1.0]]}, "finite", "nan"),
    (matrices, {"C": np.eye(3)}, "(2, 2)", "(3, 3)"),
    (matrices, {"C": -EYE}, "positive semi-definite", "-1"),
    (matrices, {"mean0": [0.0, 0.0, 0.0]}, "(2,)", "(3,)"),
    (matrices, {"second_moment0": np.eye(3)}, "(2, 2)", "(3, 3)"),
    (matrices, {"second_moment0": EYE, "mean0": [2.0, 0.0]}, "positive semi-definite", "-3"),
    (matrices, {"P": [[1.0, 0.0], [0.0, 0.0]]}, "positive definite", "0"),
    (matrices, {"P": [[1.0, 1.0], [0.0, 1.0]]}, "symmetric", "1"),
    (least_squares, {"X": [1.0, 2.0]}, "(n, d)", "(2,)"),
    (least_squares, {"X": [[1.0, NAN]] * 3}, "finite", "nan"),
    (least_squares, {"y": [1.0, 2.0]}, "(3,)", "(2,)"),
    (least_squares, {"y": [1.0, 2.0, INF]}, "finite", "inf"),
    (least_squares, {"ridge": -1.0}, ">= 0", "-1"),
    (least_squares, {"ridge": 0.0, "X": np.ones((3, 2))}, "choose ridge > 0", "0"),
    # algorithms
    (sgd, {"lr": -0.5}, ">= 0", "-0.5"),
    (sgd, {"lr": NAN}, ">= 0", "nan"),
    (sgd, {"lr": INF}, "finite and >= 0", "inf"),
    (sgd, {"lr": 10**400}, "finite and >= 0", "1000"),
    (sgd, {"lr": "fast"}, "number", "'fast'"),
    (sgd, {"lr": None}, "number", "None"),
    (sgd, {"lr": [0.1, -0.5]}, ">= 0", "-0.5"),
    (sgd, {"lr": [0.1, NAN]}, "finite", "nan"),
    (sgd, {"lr": []}, "one value per step", "(0,)"),
    (sgd, {"lr": [[0.1]]}, "one value per step", "(1, 1)"),
    (sgd, {"lr": [[0.1], [0.1, 0.2]]}, "one value per step", "[0.1, 0.2]"),
    (sgd, {"momentum": 1.0}, ">= 0 and < 1", "1"),
    (sgd, {"momentum": -0.5}, ">= 0 and < 1", "-0.5"),
    (sgd, {"momentum": NAN}, ">= 0 and < 1", "nan"),
    (sgd, {"momentum": "0.9"}, ">= 0 and < 1", "'0.9'"),
    (sgd, {"momentum": [0.9, 1.5]}, ">= 0 and < 1", "1.5"),
    (sgd, {"momentum": [[0.9], [0.9, 0.9]]}, "a number, one value per step", "[0.9, 0.9]"),
    (sgd, {"ema": 1.0}, ">= 0 and < 1", "1"),
    (sgd, {"ema": -0.5}, ">= 0 and < 1", "-0.5"),
    (sgd, {"ema": NAN}, ">= 0 and < 1", "nan"),
    (sgd, {"power": INF}, "finite", "inf"),
    (sgd, {"power": "half"}, "number", "'half'"),
    # expected risk
    (risk, {"problem": 3}, "Problem", "3"),
    (risk, {"algorithm": 0.1}, "algorithm", "0.1"),
    (risk, {"batch_size": 0.5}, ">= 1", "0.5"),
    (risk, {"batch_size": 0}, ">= 1", "0"),
    (risk, {"batch_size": -4}, ">= 1", "-4"),
    (risk, {"batch_size": NAN}, ">= 1", "nan"),
    (risk, {"batch_size": "16"}, ">= 1", "'16'"),
    (risk, {"batch_size": [4.0, 0.5]}, ">= 1", "0.5"),
    (risk, {"batch_size": schedules.Linear(0.5, 4, 10)}, ">= 1", "0.5"),
    (risk, {"batch_size": schedules.Warmup(10, 4)}, ">= 1", "0"),
    (risk, {"steps": -1}, ">= 0", "-1"),
    (risk, {"steps": [3, -2]}, ">= 0", "-2"),
    (risk, {"steps": 1.5}, "whole numbers", "1.5"),
    (risk, {"steps": [1.0, NAN]}, "whole numbers", "nan"),
    (risk, {"steps": INF}, "whole numbers", "inf"),
    (risk, {"steps": "ten"}, "whole numbers", "'ten'"),
    (risk, {"steps": None}, "whole numbers", "None"),
    (risk, {"steps": True}, "whole numbers", "True"),
    (risk, {"steps": [[1], [1, 2]]}, "whole numbers", "[1, 2]"),
    (risk, {"steps": 10**30}, "whole numbers", "1" + 30 * "0"),
    # schedules shorter than the steps asked for
    (risk_with_lr, {"lr": [0.1, 0.1], "steps": 3}, "2 steps", "3"),
    (risk_with_lr, {"lr": schedules.Warmup(2, [0.1]), "steps": 4}, "3 steps", "4"),
    (risk, {"batch_size": [4, 4, 4], "steps": [0, 9]}, "3 steps", "9"),
    # first passage
    (first, {"problem": "power law"}, "Problem", "'power law'"),
    (first, {"algorithm": "sgd"}, "algorithm", "'sgd'"),
    (first, {"batch_size": 0.5}, ">= 1", "0.5"),
    (first, {"batch_size": [4, 8]}, "for several batch sizes call once for each", "[4, 8]"),
    (passages, {"batch_size": [4, 8]}, "for several batch sizes call once for each", "[4, 8]"),
    (first, {"target": 0.0}, "> 0", "0"),
    (first, {"target": -0.5}, "> 0", "-0.5"),
    (first, {"target": NAN}, "> 0", "nan"),
    (first, {"target": INF}, "> 0", "inf"),
    (first, {"target": "low"}, "> 0", "'low'"),
    (first, {"target": [0.1]}, "> 0", "[0.1]"),
    (first, {"max_steps": -1}, ">= 0", "-1"),
    (first, {"max_steps": 1.5}, ">= 0", "1.5"),
    (first, {"max_steps": INF}, ">= 0", "inf"),
    # tuning
    (tune, {"problem": None}, "Problem", "None"),
    (tune, {"batch_size": 0.5}, ">= 1", "0.5"),
    (tune, {"target": 0}, "> 0", "0"),
    (tune, {"over": ("speed",)}, "lr, momentum, ema", "'speed'"),
    (tune, {"over": ()}, "one or more of the hyper-parameters lr, momentum", "()"),
    (tune, {"over": ("lr", "lr")}, "different", "('lr', 'lr')"),
    (tune, {"over": 3}, "lr, momentum, ema", "3"),
    (tune, {"lr": 0.5, "over": ("lr",)}, "over", "0.5"),
    (tune_momentum, {"lr": -0.5}, ">= 0", "-0.5"),
    (tune, {"momentum": 1.5}, ">= 0 and < 1", "1.5"),
    (tune, {"momentun": 0.5}, "SGD does not take", "momentun"),
    (tune, {"foo": 0.9, "momentum": 0.5}, "SGD does not take foo, but lr, momentum", "foo"),
    (tune, {"max_steps": 0}, ">= 1", "0"),
    (tune, {"algorithm": "sgd"}, "SGD", "'sgd'"),
    (schedule, {"problem": None}, "Problem", "None"),
    (schedule, {"batch_size": 0.5}, ">= 1", "0.5"),
    (schedule, {"batch_size": [4, 4]}, ">= 1", "[4, 4]"),
    (schedule, {"target": -1}, "> 0", "-1"),
    (schedule, {"pieces": 0}, "whole number >= 1", "0"),
    (schedule, {"pieces": 2.5}, "whole number >= 1", "2.5"),
    (schedule, {"power": NAN}, "finite", "nan"),
    (schedule, {"max_steps": 0}, ">= 1", "0"),
    # points
    (SMALL.population_loss, {"w": [1.0, 2.0]}, "3", "(2,)"),
    (SMALL.population_loss, {"w": 1.0}, "3", "()"),
    (SMALL.population_loss, {"w": [1.0, 2.0, NAN]}, "finite", "nan"),
    (SMALL.sample_loss, {"x": [1.0], "w": [1, 2, 3]}, "3", "(1,)"),
    (SMALL.sample_gradient, {"w": [1.0], "x": [1, 2, 3]}, "3", "(1,)"),
    (SMALL.sample_loss, {"w": np.ones((2, 3)), "x": np.ones((4, 3))}, "(2, 3)", "(4, 3)"),
    (SMALL.sample_gradient, {"w": np.ones((2, 3)), "x": np.ones((4, 3))}, "(2, 3)", "(4, 3)"),
    # schedules
    (schedules.Constant, {"value": -1.0}, ">= 0", "-1"),
    (schedules.PerStep, {"array": []}, "one value per step", "(0,)"),
    (schedules.Linear, {"steps": 0, "start": 1, "end": 0}, ">= 1", "0"),
    (schedules.Linear, {"end": -1, "start": 1, "steps": 5}, ">= 0", "-1"),
    (schedules.Cosine, {"peak": NAN, "steps": 5}, ">= 0", "nan"),
    (schedules.Cosine, {"steps": 2.5, "peak": 1}, ">= 1", "2.5"),
    (
        schedules.WarmupStableDecay,
        {"warmup": -1, "peak": 1, "stable": 2, "decay": 3},
        ">= 0",
        "-1",
    ),
    (schedules.Piecewise, {"values_": [], "lengths": []}, "one or more numbers", "(0,)"),
    (schedules.Piecewise, {"lengths": [1], "values_": [1.0, 2.0]}, "(2,)", "(1,)"),
    (schedules.Piecewise, {"lengths": [1, 0], "values_": [1.0, 2.0]}, ">= 1", "0"),
    (schedules.Piecewise, {"values_": [1.0, -2.0], "lengths": [1, 1]}, ">= 0", "-2"),
    (schedules.Step, {"factor": 0, "initial": 1, "every": 10}, "> 0", "0"),
    (schedules.Step, {"every": 0, "initial": 1, "factor": 0.5}, ">= 1", "0"),
    (schedules.Warmup, {"steps": 0, "then": 1.0}, ">= 1", "0"),
    (schedules.Warmup, {"then": "later", "steps": 5}, "number", "'later'"),
    (schedules.Warmup, {"start": -1, "steps": 5, "then": 1.0}, ">= 0", "-1"),
]

BOUNDS = [
    (bounds.plain_risk, {"lr": 0.1, "batch_size": 4, "steps": 10}),
    (bounds.theorem1, {"lr": 0.1, "momentum": 0.9, "batch_size": 4, "steps": 10}),
    (bounds.theorem2, {"lr": 0.1, "ema": 0.9, "batch_size": 4, "steps": 10}),
]
WRONG = [
    ({"lr": 0.0}, "> 0", "0"),
    ({"lr": [0.1, 0.1]}, "> 0", "[0.1, 0.1]"),
    ({"batch_size": 0.5}, ">= 1", "0.5"),
    ({"steps": -1}, ">= 0", "-1"),
    ({"steps": 0.5}, "whole numbers", "0.5"),
    ({"power": NAN}, "finite", "nan"),
    ({"problem": 3}, "Problem", "3"),
    ({"momentum": 1.0}, ">= 0 and < 1", "1"),
    ({"ema": -0.5}, ">= 0 and < 1", "-0.5"),
]


def assert_says(call, arguments, name, allowed, value):
    with pytest.raises(nqm.InputError) as caught:
        call(**arguments)
    message = str(caught.value)
    assert re.search(rf"\b{name}\b", message), message
    assert allowed in message
    assert value[:50] in message
    assert "\n" not in message
    assert len(message) < 250


def label(value):
    return getattr(value, "__name__", None)


@pytest.mark.parametrize(("call", "arguments", "allowed", "value"), CASES, ids=label)
def test_one_clear_error(call, arguments, allowed, value, no_work):
    name = next(iter(arguments))
    assert_says(call, arguments, name.removesuffix("_"), allowed, value)


@pytest.mark.parametrize(("wrong", "allowed", "value"), WRONG, ids=str)
@pytest.mark.parametrize(("bound", "right"), BOUNDS, ids=label)
def test_one_clear_error_from_bounds(bound, right, wrong, allowed, value, no_work):
    (name,) = wrong
    if name in right or name in ("power", "problem"):
        assert_says(bound, {"problem": LARGE} | right | wrong, name, allowed, value)


@pytest.mark.parametrize(
    ("bound", "name", "limit"),
    [
        (bounds.cramer_rao_samples, "target", "> 0"),
        (bounds.bayes_samples, "target", "> 0"),
        (bounds.bayes_risk, "samples", ">= 0"),
    ],
    ids=label,
)
def test_one_clear_error_from_lower_bounds(bound, name, limit, no_work):
    assert_says(bound, {"problem": LARGE, name: -0.5}, name, limit, "-0.5")
    assert_says(bound, {"problem": LARGE, name: NAN}, name, limit, "nan")
    assert_says(bound, {"problem": 3, name: 0.5}, "problem", "Problem", "3")


def test_lr_must_come_from_somewhere(no_work):
    with pytest.raises(nqm.InputError, match=r"lr must be given.*lr=\.\.\."):
        tune_momentum()


def test_an_input_error_is_a_value_error():
    assert issubclass(nqm.InputError, ValueError)
    with pytest.raises(ValueError, match="momentum must be"):
        nqm.SGD(0.1, momentum=2.0)


def test_it_is_one_error_not_a_chain():
    with pytest.raises(nqm.InputError) as caught:
        nqm.Problem(["a"])
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_long_value_is_shortened():
    with pytest.raises(nqm.InputError) as caught:
        nqm.SGD(0.1, momentum=list(range(1000)))
    assert len(str(caught.value)) < 150


def test_what_is_allowed_is_allowed():
    """The limits themselves are allowed, and so are numbers of every type."""
    nqm.Problem([5e-324], c=0.0, var0=0.0, count=1e-9, mean0=-3)
    nqm.SGD(0.0, momentum=0.0, ema=0.0, power=-1.5)
    nqm.SGD(np.float32(0.5), momentum=np.float64(0.5), power=1)
    for batch_size in (1, 1.0, np.int64(1), np.float32(2.5)):
        risk(problem=SMALL, batch_size=batch_size)
    risk(problem=SMALL, algorithm=sgd([0.1] * 10), batch_size=[1] * 10, steps=10)
    assert first(problem=SMALL, max_steps=np.int64(0)) == INF
    assert first(problem=SMALL, max_steps=1e3) == first(problem=SMALL, max_steps=1000)


def test_a_curvature_far_out_of_range_is_inf_or_zero_not_nan():
    """Powers of curvatures that leave the range of a double give inf, without a warning."""
    for power in (-200.0, 200.0):
        got = nqm.expected_risk(nqm.Problem([1.0, 1e-3]), nqm.SGD(1.0, power=power), 1, [0, 1, 5])
        assert not np.isnan(got).any()


@pytest.mark.parametrize("over", ["lr,momentum", "lr momentum", "lr, momentum"])
def test_several_names_in_one_word_are_explained(no_work, over):
    expected = f"over must list several names, as in ('lr', 'momentum'), not {over!r}"
    with pytest.raises(nqm.InputError, match=re.escape(expected)):
        nqm.tune(SMALL, 8, 0.1, over=over)
