"""Values that public functions take: nothing that they mean is lost, and nothing changes later."""

import copy
import math
import pickle
import warnings
from dataclasses import FrozenInstanceError
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import nqm_fast as nqm
from nqm_fast import bounds, schedules
from nqm_fast.foundation.messages import counted, shown
from nqm_fast.simulation.experiment import as_experiment

SMALL = nqm.Problem([1.0, 0.5])
MASKED = np.ma.array([1.0, 999.0], mask=[0, 1])

# -- array-likes that mean more than their numbers ---------------------------------------


class Foreign:
    """An array of another library: it can be converted, and has attributes."""

    def __init__(self, values, error=None, warning=None, **attributes):
        self.values, self.error, self.warning = np.array(values), error, warning
        self.__dict__.update(attributes)

    def __array__(self, dtype=None, copy=None):
        if self.error is not None:
            raise self.error
        if self.warning is not None:
            warnings.warn(self.warning, stacklevel=2)
        return self.values


class Metres(np.ndarray):
    """A subclass of NumPy's arrays, whose meaning is in its class."""


class Nullable:
    """An array of pandas with a type that may have missing integers."""

    def __init__(self, values, missing):
        self.values, self.missing = values, missing
        self.dtype = np.dtype(np.int64)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=object)

    def to_numpy(self, dtype):
        if self.missing:
            raise ValueError("cannot convert NA to integer")
        return np.array(self.values, dtype=dtype)


REFUSED = {
    "masked": MASKED,
    "masked in a list": [[1.0, 2.0], MASKED],
    "a masked number": np.ma.masked,
    "a masked number in a list": [1.0, np.ma.masked],
    "a masked number in an array": np.array([1.0, np.ma.masked], dtype=object),
    "masked elsewhere": Foreign([1.0, 2.0], mask=np.array([False, True])),
    "a unit": Foreign([1.0, 2.0], unit="m"),
    "units": Foreign([1.0, 2.0], units="1/s"),
    "units among attributes": Foreign([1.0, 2.0], attrs={"units": "m"}),
    "numbers with units": [Foreign(1.0, units="m"), Foreign(2.0, units="m")],
    "a subclass": np.array([1.0, 2.0]).view(Metres),
    "missing integers": Nullable([1, None], missing=True),
    "a warning": Foreign([1.0, 2.0], warning="The unit of the quantity is stripped"),
    "a gradient": Foreign([1.0], RuntimeError("Can't call numpy() on Tensor that requires grad")),
    "a type": Foreign([1.0], TypeError("Got unsupported ScalarType BFloat16\n" + 500 * "x")),
    "missing numbers": Foreign([1.0, math.nan]),
    "exact numbers": [Fraction(1, 2), Fraction(1, 3)],
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "records": np.zeros(2, dtype=[("a", float)]),
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize(
    "take",
    [
        nqm.Problem,
        nqm.SGD,
        schedules.PerStep,
        lambda x: nqm.SGD(0.1, momentum=x),
        lambda x: nqm.Problem([1.0, 0.5], var0=x),
        lambda x: nqm.Problem.from_least_squares([[1.0], [1.0]], x),
        lambda x: nqm.expected_risk(SMALL, nqm.SGD(0.1), x, 2),
        lambda x: nqm.expected_risk(SMALL, nqm.SGD(0.1), 4, x),
        lambda x: nqm.tune(SMALL, x, 0.1),
        lambda x: nqm.steps_to_target(SMALL, nqm.SGD(0.1), 4, x),
        lambda x: nqm.simulate(SMALL, nqm.SGD(0.1), 4, 2, replicas=x),
        lambda x: nqm.simulate(SMALL, nqm.SGD(0.1), 4, 2, bands=x),
        lambda x: bounds.bayes_risk(SMALL, x),
        SMALL.population_loss,
    ],
)
def test_nothing_that_numbers_mean_is_stripped(take, value):
    with pytest.raises(nqm.InputError) as caught:
        take(value)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        np.ma.array([1.0, 0.5]),
        np.ma.array([1.0, 0.5], mask=[0, 0]),
        [np.ma.array(1.0), 0.5],
        Foreign([1.0, 0.5]),
        Foreign([1.0, 0.5], unit="", mask=np.zeros(2, dtype=bool)),
        Foreign([1.0, 0.5], units="dimensionless", attrs={"units": "1"}),
        [Foreign(1.0), Foreign(0.5)],
        np.array([1.0, 0.5], dtype=object),
        (np.float32(1.0), np.float64(0.5)),
        memoryview(np.array([1.0, 0.5])),
    ],
)
def test_plain_numbers_are_read_from_wherever_they_are(value):
    np.testing.assert_array_equal(nqm.Problem(value).h, [1.0, 0.5])
    np.testing.assert_array_equal(nqm.SGD(value).lr.array, [1.0, 0.5])


def test_nullable_integers_without_a_gap_are_integers():
    np.testing.assert_array_equal(nqm.Problem(Nullable([2, 1], missing=False)).h, [2.0, 1.0])
    large = 2**53 + 1
    risk = nqm.expected_risk(SMALL, nqm.SGD(0.1), 4, Nullable([large, 0], missing=False))
    assert risk.shape == (2,)


# -- descriptions do not change ----------------------------------------------------------

WAYS = {
    "as it was": lambda x: x,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "an old pickle": lambda x: pickle.loads(pickle.dumps(x, protocol=2)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy within": lambda x: copy.deepcopy([x, {"x": x}])[1]["x"],
}


def experiment(**changes):
    usual = {"replicas": [0, 3], "seed": 1, "record": [0, 2], "sampling": "minibatch"}
    usual |= {"data": "normal", "df": None, "bands": [0.1, 0.5, 2.0], "keep_state": False}
    usual |= {"observe": "risk"}
    return as_experiment(SMALL, nqm.SGD([0.1, 0.2]), [4, 8], 2, **usual | changes)


def arrays_of(description):
    if isinstance(description, nqm.Problem):
        names = ("h", "c", "sigma", "mean0", "var0", "count")
        return [getattr(description, name) for name in names]
    return [x for x in vars(description).values() if isinstance(x, np.ndarray)]


DESCRIPTIONS = {
    "problem": nqm.Problem([1.0, 0.5], mean0=[0.0, 1.0], var0=[1.0, 2.0], count=[1.0, 2.0]),
    "noise": nqm.Problem([1.0, 0.5], sigma=[1.0, 2.0]),
    "power law": nqm.Problem.power_law(3),
    "per step": schedules.PerStep([0.1, 0.2]),
    "experiment": experiment(),
    "many settings": nqm.SGD(0.1, momentum=0.5).with_values(momentum=np.array([0.1, 0.2])),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_arrays_are_frozen_whatever_way_they_were_made(description, way):
    made = way(description)
    assert arrays_of(made)
    for array in arrays_of(made):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = -5
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)
    assert made == description
    assert hash(made) == hash(description)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_loaded_problem_is_frozen(way, tmp_path):
    DESCRIPTIONS["problem"].save(tmp_path / "problem.npz")
    problem = way(nqm.Problem.load(tmp_path / "problem.npz"))
    assert problem == DESCRIPTIONS["problem"]
    with pytest.raises(ValueError, match="read-only"):
        problem.h[0] = -5.0


@pytest.mark.parametrize(
    ("description", "name"),
    [
        (SMALL, "dim"),
        (SMALL, "h"),
        (SMALL, "_h"),
        (SMALL, "mean0"),
        (SMALL, "new"),
        (nqm.SGD(0.1), "lr"),
        (schedules.Constant(0.1), "value"),
        (experiment(), "steps"),
    ],
)
def test_attributes_cannot_be_set(description, name):
    for made in (description, pickle.loads(pickle.dumps(description))):
        with pytest.raises((FrozenInstanceError, AttributeError)):
            setattr(made, name, 5)
        with pytest.raises((FrozenInstanceError, AttributeError)):
            delattr(made, name)


def test_arrays_are_not_shared_with_who_gave_them():
    h, rate, replicas, record, bands = np.array([1.0, 0.5]), np.array([0.1, 0.2]), [0, 3], 2, 3
    replicas, record, bands = np.array([0, 3]), np.array([0, 2]), np.array([0.1, 2.0])
    gamma = np.array([0.1, 0.2])
    problem, algorithm = nqm.Problem(h, mean0=h), nqm.SGD(rate)
    changed = nqm.SGD(0.1).with_values(ema=gamma)
    made = experiment(replicas=replicas, record=record, bands=bands)
    for array in (h, rate, replicas, record, bands, gamma):
        array[:] = 77
    for array in (
        problem.h, problem.mean0, algorithm.lr.array, changed.ema, made.replicas, made.records,
        made.bands,
    ):  # fmt: skip
        assert 77 not in array


def test_what_is_computed_stays_after_an_attempt_to_change():
    problem = pickle.loads(pickle.dumps(nqm.Problem([1.0, 0.5])))
    with pytest.raises(ValueError, match="read-only"):
        problem.h[0] = -5.0
    assert nqm.expected_risk(problem, nqm.SGD(0.1), 4, 0) == 0.75


def test_a_run_does_not_change_its_experiment():
    run = nqm.simulate(SMALL, nqm.SGD(0.1), 4, 5, record=[0, 5])
    run.steps[0] = 3
    assert run.experiment.records.tolist() == [0, 5]


# -- equality, hashes and reprs ----------------------------------------------------------


class ByHand(nqm.Algorithm):
    """An algorithm that is no dataclass."""

    def __init__(self, table):
        self.table = table


ALIKE = {
    "problems": (nqm.Problem([1, 2]), nqm.Problem((1.0, 2.0), c=[1, 2], var0=[1.0, 1.0])),
    "power laws": (nqm.Problem.power_law(5), nqm.Problem.power_law(5.0, 1)),
    "algorithms": (nqm.SGD([0.1, 0.2]), nqm.SGD(np.array([0.1, 0.2]))),
    "schedules": (schedules.PerStep([0.0, 1]), schedules.PerStep([-0.0, 1.0])),
    "within": (schedules.Warmup(2, [0.1, 0.2]), schedules.Warmup(2.0, (0.1, 0.2))),
    "numbers": (schedules.Linear(1, 0, 5), schedules.Linear(np.float64(1), np.int64(0), 5.0)),
    "answers": tuple(nqm.Tuned(3, nqm.SGD([0.1]), 0.5) for _ in range(2)),
    "by hand": (ByHand(np.array([1.0])), ByHand(np.array([1.0]))),
    "by hand, with lists": (ByHand([1, {2: [3]}]), ByHand([1, {2: [3]}])),
}
UNLIKE = [
    nqm.Problem([1, 2]), nqm.Problem([1, 2], c=3), nqm.Problem([1, 2], count=2), nqm.SGD(0.1),
    nqm.Problem.power_law(2), nqm.Problem.power_law(2, 2), nqm.SGD([0.1]), nqm.SGD([0.1, 0.1]),
    nqm.SGD(0.1, ema=0.5), schedules.Constant(0.1), schedules.PerStep([0.1]), 0.1, "x", None,
    schedules.PerStep([0.1, 0.2]), nqm.Tuned(3, nqm.SGD([0.1]), 0.5), ByHand(3), ByHand({1}),
    nqm.Recurrence([([[np.ones(2)]], [1.0])], [1.0], [1.0]),
    nqm.Recurrence([([[np.zeros(2)]], [1.0])], [1.0], [1.0]),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ALIKE.values(), ids=ALIKE)
def test_equal_descriptions_are_equal_and_have_one_hash(one, other):
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other}) == 1


def test_descriptions_that_differ_are_unlike_and_comparing_never_raises():
    for i, one in enumerate(UNLIKE):
        hash(one)
        for j, other in enumerate(UNLIKE):
            assert (one == other) == (i == j)


def test_runs_are_compared_and_hashed():
    runs = [nqm.simulate(SMALL, nqm.SGD(0.1), 4, 5) for _ in range(2)]
    assert runs[0] == runs[0]
    assert runs[0] != runs[1]
    assert len(set(runs)) == 2


def test_numbers_print_as_floats_of_python():
    x = np.float64(0.25)
    described = [
        nqm.SGD(x, momentum=x, ema=np.float32(0.5), power=x), schedules.Constant(x),
        schedules.Linear(x, x, np.int64(3)), schedules.Cosine(x, np.int64(3), x),
        schedules.WarmupStableDecay(x, *np.arange(3), end=x), schedules.Step(x, x, np.int64(3)),
        schedules.Piecewise(np.array([x, x]), np.array([1, 2])),
        schedules.Warmup(np.int64(2), x, x),
        nqm.Problem([x]), nqm.tune(nqm.Problem([x]), np.float64(8), np.float64(0.1)),
    ]  # fmt: skip
    for value in described:
        assert "np." not in repr(value)
    assert repr(described[0]) == "SGD(0.25, momentum=0.25, ema=0.5, power=0.25)"


def test_words_of_messages():
    assert shown(Path(".")) == "'.'"
    assert shown([Path("a"), np.float64(0.5)]) == "['a', 0.5]"
    assert shown(np.int64(3)) == "3"
    assert "cannot be written" in shown(10**5000)
    assert [counted(n, "record") for n in (0, 1, 2)] == ["0 records", "1 record", "2 records"]
    with pytest.raises(nqm.InputError, match=r"^power must be a finite number, not 'half'$"):
        nqm.SGD(0.1, power="half")
    run = nqm.simulate(SMALL, nqm.SGD(0.1), 4, 0)
    assert repr(run) == "<Run finished, 1 replica, 1 record>"
    assert repr(nqm.Problem([2.0])) == "<Problem: 1 curvature from 2 to 2>"


# -- whole numbers -----------------------------------------------------------------------

LIMIT = 2**62
WHOLE = {
    "max_steps": lambda n: nqm.steps_to_target(SMALL, nqm.SGD(0.5), 1e9, 0.1, max_steps=n),
    "tune": lambda n: nqm.tune(SMALL, 1e9, 0.1, max_steps=n).steps,
    "steps": lambda n: nqm.expected_risk(SMALL, nqm.SGD(0.5), 4, n),
    "steps, several": lambda n: nqm.expected_risk(SMALL, nqm.SGD(0.5), 4, [0, n])[1],
    "closed form": lambda n: bounds.plain_risk(SMALL, 0.5, 4, n),
    "every": lambda n: nqm.expected_risk(SMALL, nqm.SGD(schedules.Step(0.1, 0.5, n)), 4, 5),
    "warm-up": lambda n: nqm.expected_risk(SMALL, nqm.SGD(schedules.Warmup(n, 0.1)), 4, 5),
    "ramp": lambda n: nqm.expected_risk(SMALL, nqm.SGD(schedules.Linear(0.1, 0, n)), 4, 5),
    "decay": lambda n: nqm.expected_risk(SMALL, nqm.SGD(schedules.Cosine(0.1, n)), 4, 5),
    "stable": lambda n: nqm.expected_risk(
        SMALL, nqm.SGD(schedules.WarmupStableDecay(0.1, 0, n, 0)), 4, LIMIT
    ),
    "pieces": lambda n: nqm.expected_risk(
        SMALL, nqm.SGD(schedules.Piecewise([0.1, 0.2], [n - 1, 1])), 4, LIMIT
    ),
}


@pytest.mark.parametrize("take", WHOLE.values(), ids=WHOLE)
def test_whole_numbers_up_to_the_limit_are_taken_and_refused_above(take):
    for n in (LIMIT - 1, LIMIT):
        assert math.isfinite(take(n))
    for n in (LIMIT + 1, 10**19, 2**63, 2**64, 10**30, 10**400, 1e300):
        with pytest.raises(nqm.InputError, match=r"2\^62") as caught:
            take(n)
        assert len(str(caught.value)) < 200


def test_a_step_that_no_double_has_is_that_step():
    at = [2**53, 2**53 + 1]
    lr = schedules.Piecewise([0.0, 0.5], [2**53, 1])
    risk = nqm.expected_risk(nqm.Problem([1.0], c=0.0), nqm.SGD(lr), 1, at)
    assert risk.tolist() == [0.5, 0.125]


@pytest.mark.parametrize("dim", [2**53 + 1, 10**30])
def test_more_coordinates_than_doubles_are_refused(dim):
    with pytest.raises(nqm.InputError, match=r"dim must be a whole number from 1 to 2\^53"):
        nqm.Problem.power_law(dim)


def test_arrays_that_no_memory_holds_are_refused():
    for name in ("h", "c", "sigma"):
        with pytest.raises(nqm.InputError, match="dim = 9007199254740992 is more coordinates"):
            getattr(nqm.Problem.power_law(2**53), name)


# -- arguments that contradict, or mean two things ---------------------------------------

TWO = [nqm.SGD(0.1), nqm.SGD(0.2)]


def batch_sizes(batch_size, steps, algorithms=TWO):
    run = nqm.simulate(SMALL, algorithms, batch_size, steps)
    at = np.arange(steps)
    return [setting.batch_size.values(at).tolist() for setting in run.experiment.settings]


def test_batch_sizes_of_listed_settings():
    assert batch_sizes([64, 128], 3) == [[64] * 3, [128] * 3]
    assert batch_sizes((64, 128), 2) == [[64] * 2, [128] * 2]
    assert batch_sizes(np.array([64, 128]), 3) == [[64] * 3, [128] * 3]
    assert batch_sizes(64, 3) == [[64] * 3] * 2
    assert batch_sizes(np.array([1, 2, 3]), 3) == [[1, 2, 3]] * 2
    assert batch_sizes(schedules.PerStep([1, 2, 3]), 3) == [[1, 2, 3]] * 2
    assert batch_sizes([schedules.PerStep([1, 2]), 8], 2) == [[1, 2], [8, 8]]
    assert batch_sizes([[1, 2, 3], 8], 3) == [[1, 2, 3], [8] * 3]
    assert batch_sizes([1, 2, 3], 3, nqm.SGD(0.1)) == [[1, 2, 3]]
    assert batch_sizes([7], 3, [nqm.SGD(0.1)]) == [[7] * 3]


@pytest.mark.parametrize(
    ("batch_size", "steps"),
    [
        ([64, 128, 3, 4, 5], 5),
        ([64, 128, 3], 3),
        ((64, 128, 3), 5),
        ([64], 5),
        ([], 5),
        (np.arange(1, 8), 5),
        (np.array([64, 128]), 2),
        (range(1, 4), 5),
    ],
)
def test_batch_sizes_with_two_meanings_are_refused_with_both(batch_size, steps):
    with pytest.raises(nqm.InputError, match=r"batch_size has .*each setting.*PerStep.*each step"):
        nqm.simulate(SMALL, TWO, batch_size, steps)


def test_tune_answers_for_every_batch_size():
    alone = [nqm.tune(SMALL, size, 0.01) for size in (1, 16, 1024)]
    assert nqm.tune(SMALL, [1, 16, 1024], 0.01) == alone
    assert nqm.tune(SMALL, np.array([1, 16, 1024]), 0.01) == alone
    assert nqm.tune(SMALL, [16], 0.01) == alone[1:2]
    growing = schedules.Piecewise([1, 1024], [10, 1])
    assert nqm.tune(SMALL, [growing, 1], 0.01) == [nqm.tune(SMALL, growing, 0.01), alone[0]]
    per_step = nqm.tune(SMALL, schedules.PerStep([1e9] * 50), 0.01)
    assert per_step.steps == nqm.tune(SMALL, 1e9, 0.01).steps
    for wrong in ([], [[1, 2]], np.ones((2, 2)), [16, "x"], [16, 0.5]):
        with pytest.raises(nqm.InputError, match="batch_size"):
            nqm.tune(SMALL, wrong, 0.01)


def test_steps_to_target_takes_no_list_of_batch_sizes():
    with pytest.raises(nqm.InputError, match=r"several batch sizes.*PerStep"):
        nqm.steps_to_target(SMALL, nqm.SGD(0.1), [1, 2, 4], 0.01)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nqm.Problem([1.0], c=1.0, sigma=1.0), "c and sigma"),
        (lambda: nqm.simulate(SMALL, nqm.SGD(0.1), 4, 2, df=5), "df = 5 is for"),
        (lambda: nqm.simulate(SMALL, nqm.SGD(0.1), 4, 2, data="laplace"), "needs sampling="),
        (lambda: nqm.simulate(SMALL, nqm.SGD(0.1), 4, 2, devices=0), "devices must be left out"),
        (lambda: nqm.simulate(SMALL, nqm.SGD(0.1), 4, 2, observe="band_risk"), "with bands="),
        (lambda: nqm.simulate(SMALL, nqm.SGD(0.1), 4, 2, keep_state="no"), "True or False"),
        (lambda: nqm.tune(SMALL, 4, 0.1, lr=0.5), "searched"),
    ],
)
def test_arguments_that_contradict_are_refused(call, said):
    with pytest.raises(nqm.InputError, match=said):
        call()
