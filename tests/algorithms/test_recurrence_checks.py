"""A recurrence that a user wrote is checked before a kernel sees it: no garbage, no crash."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast.algorithms.sparse import checked_recurrence, sparse_recurrence

PROBLEM = nqm.Problem.power_law(70)


@dataclass(frozen=True)
class Custom(nqm.Algorithm):
    """Plain SGD with a part of its recurrence replaced."""

    lr: Any
    part: str = ""
    value: Any = None

    def __post_init__(self):
        object.__setattr__(self, "lr", nqm.schedules.as_schedule("lr", self.lr))

    def recurrence(self, h):
        fixed, per_lr = ([[0.0]], [0.0]), ([[(-1.0, h)]], [-1.0])
        parts = {"terms": [fixed, per_lr], "start": [1.0], "read": [1.0], "gradient": None}
        if self.part == "entry":
            parts["terms"][0] = ([[self.value(h)]], [0.0])
        elif self.part in parts:
            parts[self.part] = self.value(parts[self.part])
        return nqm.Recurrence(**parts)

    def largest_lr(self, h):
        return 2.0 / h.max()


@dataclass(frozen=True)
class Weighted(Custom):
    """The same algorithm with weights of its own."""

    def weights(self, lr, step):
        return self.value(lr)


CALLS = {
    "risk": lambda a: nqm.expected_risk(PROBLEM, a, 8, 10),
    "first passage": lambda a: nqm.steps_to_target(PROBLEM, a, 8, 0.1, max_steps=100),
    "minibatch": lambda a: nqm.simulate(PROBLEM, a, 8, 10),
    "leap": lambda a: nqm.simulate(PROBLEM, a, 8, 10, sampling="leap"),
    "tune": lambda a: nqm.tune(
        PROBLEM, 8, 0.5, ("lr",), algorithm=type(a), part=a.part, value=a.value
    ),
}

WRONG = {
    "start one too short": ("start", lambda s: [], "as many numbers in start as in read"),
    "start one too long": ("start", lambda s: [1.0, 1.0], "as many numbers in start as in read"),
    "read of two": ("read", lambda r: [1.0, 0.0], "as many numbers in start as in read"),
    "nothing to read": ("read", lambda r: [], "at least one"),
    "start that is not a number": ("start", lambda s: ["w"], "start in the recurrence of Custom"),
    "infinite start": ("start", lambda s: [np.inf], "must be finite numbers, not inf"),
    "read that is not a number": ("read", lambda r: [np.nan], "must be finite numbers, not nan"),
    "gradient of two": ("gradient", lambda g: [1.0, 0.0], "as many numbers in gradient as in"),
    "gradient that is not a number": ("gradient", lambda g: ["w"], "gradient in the recurrence"),
    "two rows": (
        "terms", lambda t: [([[0.0], [0.0]], [0.0]), t[1]], "term 0 in the recurrence of Custom"
    ),
    "a row of two": ("terms", lambda t: [([[0.0, 0.0]], [0.0]), t[1]], "1 rows of 1 entries"),
    "a kick of two": ("terms", lambda t: [t[0], ([[0.0]], [0.0, 1.0])], "a kick of 2"),
    "a term without a kick": ("terms", lambda t: [[[[0.0]]], t[1]], r"a pair \(matrix, kick\)"),
    "no terms at all": ("terms", lambda t: None, "must be a Recurrence"),
    "a third term": ("terms", lambda t: [*t, t[0]], "has 3 terms"),
    "a term too few": ("terms", lambda t: t[:1], "has 1 terms"),
    "an array too short": ("entry", lambda h: h[1:], "must have the shape of h"),
    "an array too long": ("entry", lambda h: np.append(h, 1.0), "must have the shape of h"),
    "an array of one": ("entry", lambda h: h[:1] if h.size > 1 else h, "must have the shape of h"),
    "a matrix": ("entry", lambda h: h[:, None] * h, "must have the shape of h"),
    "an array with nan": ("entry", lambda h: h * np.nan, "not of finite numbers"),
    "an infinite array": ("entry", lambda h: h + np.inf, "not of finite numbers"),
    "an array of objects": ("entry", lambda h: h.astype(object), "not of finite numbers"),
    "a complex array": ("entry", lambda h: h * 1j, "not of finite numbers"),
    "a word": ("entry", lambda h: "h", "allowed are finite numbers, arrays like h"),
    "nan": ("entry", lambda h: float("nan"), "allowed are finite numbers, arrays like h"),
    "a pair of three": ("entry", lambda h: (1.0, h, h), r"a pair must be \(number, array like h\)"),
    "a pair of numbers": ("entry", lambda h: (1.0, 2.0), r"a pair must be \(number, array"),
    "a pair with nan": ("entry", lambda h: (np.nan, h), "allowed are finite numbers"),
    "a pair of a short array": ("entry", lambda h: (1.0, h[1:]), "must have the shape of h"),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", WRONG)
def test_one_sentence_says_what_is_wrong(name, call):
    part, value, said = WRONG[name]
    with pytest.raises(nqm.InputError, match=said) as error:
        CALLS[call](Custom(0.1, part, value))
    assert "\n" not in str(error.value)
    assert "Custom" in str(error.value)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda lr: np.stack([np.ones(lr.size), lr, lr], axis=1), "has 2 terms"),
        (lambda lr: lr[:, None], "has 2 terms"),
        (lambda lr: np.ones(2), r"not \(2,\)"),
        (lambda lr: np.full((lr.size, 2), np.nan), "contain NaN"),
    ],
)
def test_weights_belong_to_the_terms(value, said, call):
    with pytest.raises(nqm.InputError, match=f"weights of Weighted must.*{said}"):
        CALLS[call](Weighted(0.1, "", value))


def test_what_is_right_is_right():
    """Whole numbers, arrays of them, and NumPy's numbers are numbers."""
    plain = nqm.expected_risk(PROBLEM, nqm.SGD(0.1), 8, 10)
    for value in (lambda h: 0, lambda h: np.float64(0.0), lambda h: np.zeros(h.size, dtype=int)):
        found = nqm.expected_risk(PROBLEM, Custom(0.1, "entry", value), 8, 10)
        assert found == pytest.approx(plain, rel=1e-14)


def test_overflow_of_powers_is_an_answer_not_a_mistake():
    """SGD says that its powers of curvatures may leave the range of a double."""
    problem = nqm.Problem([1.0, 1e-3])
    assert nqm.SGD.may_overflow
    assert nqm.expected_risk(problem, nqm.SGD(1.0, power=200.0), 1, 5) == np.inf


def test_an_algorithm_with_a_recurrence_is_linear():
    assert issubclass(Custom, nqm.LinearAlgorithm)
    assert isinstance(Custom(0.1), nqm.LinearAlgorithm)
    assert issubclass(nqm.SGD, nqm.LinearAlgorithm)

    class Rule(nqm.Algorithm):
        lr = nqm.schedules.Constant(0.1)

    assert not isinstance(Rule(), nqm.LinearAlgorithm)
    for call in ("risk", "minibatch"):
        with pytest.raises(nqm.InputError, match="algorithm must be linear, with a recurrence"):
            CALLS[call](Rule())


# -- hyper-parameters as arrays ------------------------------------------------------------


@dataclass(frozen=True)
class Averaged(Custom):
    tunable: ClassVar[dict[str, str]] = {"lr": "positive", "value": "unit"}


def test_hyper_parameters_may_be_arrays():
    h = np.array([1.0, 0.5, 0.25])
    momentum = np.array([0.0, 0.5, 0.9])
    several = nqm.SGD(0.1, momentum=0.5).with_values(momentum=momentum)
    matrix, _ = several.recurrence(h).terms[0]
    assert np.array_equal(matrix[1][1], momentum - 1.0)
    for k, beta in enumerate(momentum[1:], 1):
        alone = nqm.SGD(0.1, momentum=beta).recurrence(h[k : k + 1])
        assert alone.terms[0][0][1][1] == pytest.approx(matrix[1][1][k], rel=1e-15)


def test_the_original_is_left_alone():
    one = nqm.SGD(0.1, momentum=0.5)
    one.with_values(momentum=np.ones(3))
    assert one == nqm.SGD(0.1, momentum=0.5)


@pytest.mark.parametrize("name", ["lr", "power", "speed"])
def test_only_what_is_searched_may_be_an_array(name):
    with pytest.raises(nqm.InputError, match=f"{name} cannot be an array here: allowed are"):
        nqm.SGD(0.1).with_values(**{name: np.ones(3)})


def test_arrays_of_one_length_stand_once():
    h = np.array([1.0, 0.5])
    sparse = sparse_recurrence(checked_recurrence(nqm.SGD(0.1, momentum=0.9), h), 2)
    assert sparse.values.shape == (1, 2)
    assert sparse.entries.shape == (len(sparse.factors), 4)


@pytest.mark.parametrize(
    "weights",
    [lambda lr: np.ma.array(lr[:, None], mask=True), lambda lr: lr[:, None] * (1.0 + 1.0j)],
)
def test_weights_lose_neither_a_mask_nor_an_imaginary_part(weights):
    class Odd(nqm.SGD):
        def weights(self, lr, step):
            return weights(lr)

    with pytest.raises(nqm.InputError, match=r"^weights of Odd must "):
        nqm.expected_risk(nqm.Problem([1.0]), Odd(0.1), 4, 7)


def test_collapsed_sampling_checks_a_recurrence_too():
    class Odd(nqm.SGD):
        def recurrence(self, h):
            return super().recurrence(h)._replace(read=(x for x in (1.0,)))

    with pytest.raises(nqm.InputError, match=r"^recurrence of Odd must be a Recurrence"):
        nqm.simulate(nqm.Problem([1.0]), Odd(0.1), 4, 7, sampling="collapsed")
